//! A relay on a port of its own over a SQLite file, and clients that speak its frames.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::{SinkExt, StreamExt};
use ring::signature::{Ed25519KeyPair, KeyPair};
use sotto_protocol::cbor::{self, Blob, Bounded, Text};
use sotto_protocol::membership::{Action, Change, SignedChange};
use sotto_protocol::relay::{Event, RELAY_VERSION, Request, Run};
use sotto_protocol::rest::DeviceRecord;
use sotto_protocol::{
    AccountId, ConversationId, ConversationKind, DeviceId, Frame, FrameBody, LogEpoch, MembershipEpoch,
    Position, PublicKey, Seq, Signature, UnixMillis,
};
use sotto_relay::access::{Directory, DirectoryError, Principal, Revocation, TokenError, TokenVerifier};
use sotto_relay::store::{Answer, Batch, Query, SqliteStore, Store, StoreError};
use sotto_relay::{Config, Relay, Timing};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, broadcast};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

pub const GROUP: ConversationId = ConversationId([2; 16]);

/// A token that cannot be checked now.
pub const AWAY: &str = "away";

/// Tests wait on conditions; this only ends one whose condition never comes.
pub const NEVER: Duration = Duration::from_secs(60);

/// A device with a real key.
pub struct Person {
    pub account: AccountId,
    pub device: DeviceId,
    keys: Ed25519KeyPair,
}

pub fn person(n: u8) -> Person {
    let keys = Ed25519KeyPair::from_seed_unchecked(&[n; 32]).unwrap();
    let device = DeviceId::of(&key(&keys));
    Person { account: AccountId([n; 32]), device, keys }
}

fn key(keys: &Ed25519KeyPair) -> PublicKey {
    PublicKey(keys.public_key().as_ref().try_into().unwrap())
}

impl Person {
    fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.keys.sign(message).as_ref().try_into().unwrap())
    }

    pub fn frame(&self, seq: u64, text: &str) -> Frame {
        self.frame_in_the_name_of(self, seq, text)
    }

    /// What another would write, signed by this one.
    pub fn frame_in_the_name_of(&self, author: &Person, seq: u64, text: &str) -> Frame {
        let sealed = Blob::new(text.as_bytes().to_vec()).unwrap();
        let body = FrameBody { conversation: GROUP, device: author.device, seq: Seq(seq), sealed };
        Frame::sign_all(vec![body], |message| self.sign(message)).remove(0)
    }

    pub fn create(&self, members: &[&Person]) -> Request {
        let members = Bounded::new(members.iter().map(|member| member.account).collect()).unwrap();
        self.change(1, Action::Create { kind: ConversationKind::Group, members })
    }

    pub fn leave(&self) -> Request {
        self.change(2, Action::Leave {})
    }

    fn change(&self, epoch: u64, action: Action) -> Request {
        let change = Change {
            conversation: GROUP,
            epoch: MembershipEpoch(epoch),
            account: self.account,
            device: self.device,
            action,
        };
        Request::Commit { change: SignedChange::sign(&change, |message| self.sign(message)) }
    }

    /// A token as [`People`] reads them.
    pub fn token(&self, valid_for: Duration) -> String {
        let until = unix_now().0 + valid_for.as_millis() as u64;
        format!("{} {} {until}", self.account, self.device)
    }
}

fn unix_now() -> UnixMillis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    UnixMillis(since.as_millis() as u64)
}

/// Knows everybody who has the tests' kind of key.
struct People(Mutex<Vec<DeviceRecord>>);

#[async_trait]
impl TokenVerifier for People {
    async fn verify(&self, token: &str) -> Result<Principal, TokenError> {
        if token == AWAY {
            return Err(TokenError::Unavailable);
        }
        let mut parts = token.split(' ');
        let mut next = || parts.next().ok_or(TokenError::Invalid);
        let account = next()?.parse().map_err(|_| TokenError::Invalid)?;
        let device = next()?.parse().map_err(|_| TokenError::Invalid)?;
        let expires_at = UnixMillis(next()?.parse().map_err(|_| TokenError::Invalid)?);
        if expires_at <= unix_now() {
            return Err(TokenError::Expired);
        }
        Ok(Principal { account, device, expires_at })
    }
}

#[async_trait]
impl Directory for People {
    async fn device(&self, device: DeviceId) -> Result<Option<DeviceRecord>, DirectoryError> {
        Ok(self.0.lock().unwrap().iter().find(|record| record.device == device).copied())
    }

    async fn account_exists(&self, account: AccountId) -> Result<bool, DirectoryError> {
        Ok(self.0.lock().unwrap().iter().any(|record| record.account == account))
    }
}

/// A SQLite store whose writes can be made to fail or to wait.
pub struct Disk {
    store: SqliteStore,
    pub full: AtomicBool,
    pub gate: Semaphore,
}

#[async_trait]
impl Store for Disk {
    async fn write(&self, batch: &Batch) -> Result<(), StoreError> {
        let _open = self.gate.acquire().await.unwrap();
        if self.full.load(Ordering::SeqCst) {
            return Err(StoreError::Full);
        }
        self.store.write(batch).await
    }

    async fn read(&self, query: &Query) -> Result<Answer, StoreError> {
        self.store.read(query).await
    }
}

pub struct Server {
    pub relay: Relay,
    pub address: std::net::SocketAddr,
    pub disk: Arc<Disk>,
    pub revocations: broadcast::Sender<Revocation>,
    _folder: tempfile::TempDir,
}

impl Server {
    pub async fn start() -> Self {
        Self::with(Config::default(), Timing::default()).await
    }

    pub async fn with(config: Config, timing: Timing) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path().join("relay.db")).await.unwrap();
        let disk = Arc::new(Disk { store, full: AtomicBool::new(false), gate: Semaphore::new(1) });
        let records = (1..=20).map(person).map(|person| DeviceRecord {
            account: person.account,
            device: person.device,
            key: key(&person.keys),
            revoked: false,
        });
        let people = Arc::new(People(Mutex::new(records.collect())));
        let (revocations, revoked) = broadcast::channel(16);
        let relay = Relay::open_with_timing(disk.clone(), people.clone(), people, revoked, config, timing);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = relay.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { relay, address, disk, revocations, _folder: folder }
    }

    /// A WebSocket that has not said who it is.
    pub async fn open(&self) -> Client {
        let socket = TcpSocket::new_v4().unwrap();
        // Small, so that a client that does not read is noticed early.
        socket.set_recv_buffer_size(4_096).unwrap();
        let stream = socket.connect(self.address).await.unwrap();
        let url = format!("ws://{}/v1/relay", self.address);
        let (socket, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
        Client { socket, events: VecDeque::new() }
    }

    /// A signed-in socket whose conversations are listed.
    pub async fn sign_in(&self, person: &Person) -> Client {
        let mut client = self.open().await;
        client.authenticate(&person.token(Duration::from_secs(600))).await;
        assert!(matches!(client.next().await, Some(Event::Ready { device, .. }) if device == person.device));
        client.find(|event| matches!(event, Event::Listed {})).await;
        client
    }

    /// Waits until the relay has counted so.
    pub async fn until(&self, what: &str, reached: impl Fn(&sotto_relay::Metrics) -> bool) {
        let waited = tokio::time::timeout(NEVER, async {
            while !reached(self.relay.metrics()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("never {what}"));
    }
}

pub struct Client {
    pub socket: WebSocketStream<TcpStream>,
    events: VecDeque<Event>,
}

impl Client {
    pub async fn authenticate(&mut self, token: &str) {
        let token = Text::new(token).unwrap();
        self.send(&Request::Authenticate { version: RELAY_VERSION, token }).await;
    }

    pub async fn send(&mut self, request: &Request) {
        self.send_raw(cbor::encode(request)).await;
    }

    pub async fn send_raw(&mut self, bytes: Vec<u8>) {
        self.socket.send(Message::Binary(bytes.into())).await.unwrap();
    }

    pub async fn append(&mut self, frame: &Frame) {
        self.send(&Request::Append { frame: frame.clone() }).await;
    }

    pub async fn subscribe(&mut self, after: u64) {
        self.send(&Request::Subscribe {
            conversation: GROUP,
            log_epoch: LogEpoch(u64::from(after > 0)),
            after: Position(after),
            held: None,
        })
        .await;
    }

    /// The next event; `None` once the socket is closed.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let message = tokio::time::timeout(NEVER, self.socket.next()).await.expect("nothing came");
            match message {
                Some(Ok(Message::Binary(bytes))) => {
                    let limit = sotto_protocol::limits::MAX_RELAY_MESSAGE;
                    self.events.extend(cbor::decode_sequence::<Event>(&bytes, limit).unwrap());
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(_) | Err(_)) | None => return None,
            }
        }
    }

    /// The first event that is such, those before it dropped.
    pub async fn find(&mut self, such: impl Fn(&Event) -> bool) -> Event {
        while let Some(event) = self.next().await {
            if such(&event) {
                return event;
            }
        }
        panic!("the socket closed before");
    }

    /// Everything until the socket is closed.
    pub async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

pub fn appended(frame: &Frame, position: u64) -> Event {
    let id = frame.id();
    Event::Appended {
        conversation: id.conversation,
        device: id.device,
        seq: id.seq,
        position: Position(position),
        run: Run::ONE,
    }
}
