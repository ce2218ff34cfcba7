//! A device by hand: signed up over REST, with sockets of its own, for what a whole peer would only blur.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use ring::rand::SecureRandom as _;
use serde_json::json;
use sotto_peer_core::Identity;
use sotto_protocol::cbor::{self, Blob, Bounded, Text};
use sotto_protocol::limits::MAX_RELAY_MESSAGE;
use sotto_protocol::membership::{Action, Change, SignedChange};
use sotto_protocol::relay::{Event, RELAY_VERSION, Request};
use sotto_protocol::rest::{Challenge, ChallengeRequest, Session};
use sotto_protocol::{
    ConversationId, ConversationKind, Frame, FrameBody, Handle, MembershipEpoch, Seq, UnixMillis,
};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::server::{PATIENCE, ServerProcess, request};

/// The length of all messages measured, in bytes.
pub const MESSAGE: usize = 200;

pub type Socket = WebSocketStream<TcpStream>;

pub struct Device {
    pub identity: Identity,
    pub token: String,
}

impl Device {
    /// Signed up and in, under the server's name `origin`. `from` is the address that the server's proxy, if it trusts
    /// one, says this device has.
    pub async fn join(server: &ServerProcess, origin: &str, handle: &str, from: Ipv4Addr) -> Self {
        let identity = identity(handle, origin);
        let forwarded = format!("x-forwarded-for: {from}\r\n");
        let body = serde_json::to_string(&identity.sign_up("bench", None, UnixMillis(1))).unwrap();
        request(server.address, "POST", "/v1/accounts", &forwarded, &body).await;
        let body = serde_json::to_string(&ChallengeRequest { device: identity.device }).unwrap();
        let challenge = request(server.address, "POST", "/v1/challenges", &forwarded, &body).await;
        let challenge: Challenge = serde_json::from_str(&challenge).unwrap();
        let answer = serde_json::to_string(&identity.answer_challenge(challenge.nonce)).unwrap();
        let session = request(server.address, "POST", "/v1/sessions", &forwarded, &answer).await;
        let session: Session = serde_json::from_str(&session).unwrap();
        Self { identity, token: session.token }
    }

    /// A signaling socket that the server has said `ready` on.
    pub async fn signal(&self, server: &ServerProcess, from: Ipv4Addr) -> Socket {
        let mut socket = open(server.address, "/v1/signal", from).await;
        let first = json!({ "type": "authenticate", "token": self.token }).to_string();
        socket.send(Message::text(first)).await.unwrap();
        match tokio::time::timeout(PATIENCE, socket.next()).await.unwrap() {
            Some(Ok(Message::Text(text))) if text.contains("\"ready\"") => socket,
            other => panic!("{other:?}"),
        }
    }
}

/// Keys that no server knows yet.
pub fn identity(handle: &str, origin: &str) -> Identity {
    let mut random = [0; 64];
    ring::rand::SystemRandom::new().fill(&mut random).unwrap();
    Identity::generate(Handle::parse(handle).unwrap(), origin.to_owned(), random)
}

pub async fn open(address: std::net::SocketAddr, path: &str, from: Ipv4Addr) -> Socket {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    request.headers_mut().insert("x-forwarded-for", from.to_string().parse().unwrap());
    tokio_tungstenite::client_async(request, stream).await.unwrap().0
}

/// A relay socket in a group of its own.
pub struct RelaySocket {
    socket: Socket,
    events: VecDeque<Event>,
    pub group: ConversationId,
    next: Seq,
}

impl RelaySocket {
    /// Signs in and creates the group.
    pub async fn join(socket: Socket, identity: &Identity, token: &str) -> Self {
        let mut id = [0; 15];
        id.copy_from_slice(&identity.device.0[..15]);
        let group = ConversationId::group(id);
        let mut relay = Self { socket, events: VecDeque::new(), group, next: Seq(1) };
        relay
            .send(&[Request::Authenticate { version: RELAY_VERSION, token: Text::new(token).unwrap() }])
            .await;
        relay.find(|event| matches!(event, Event::Listed {})).await;
        let change = Change {
            conversation: group,
            epoch: MembershipEpoch(1),
            account: identity.account,
            device: identity.device,
            action: Action::Create {
                kind: ConversationKind::Group,
                members: Bounded::new(vec![identity.account]).unwrap(),
            },
        };
        let change = SignedChange::sign(&change, |message| identity.key.sign(message));
        relay.send(&[Request::Commit { change }]).await;
        relay.find(|event| matches!(event, Event::Committed { .. })).await;
        relay
    }

    /// Appends of the next messages of its group, `burst` in a message under as few signatures as a peer's, as bytes that
    /// only wait to be sent: what is measured is the relay.
    pub fn bursts(&mut self, identity: &Identity, count: usize, burst: usize) -> Vec<Burst> {
        let bodies = (0..count).map(|_| {
            let seq = self.next;
            self.next = seq.next();
            let mut sealed = vec![7; MESSAGE];
            sealed[..8].copy_from_slice(&seq.0.to_be_bytes());
            let sealed = Blob::new(sealed).unwrap();
            FrameBody { conversation: self.group, device: identity.device, seq, sealed }
        });
        let frames = Frame::sign_all(bodies.collect(), |message| identity.key.sign(message));
        let requests: Vec<_> = frames.into_iter().map(|frame| Request::Append { frame }).collect();
        requests.chunks(burst).map(|burst| Burst { bytes: encode(burst), count: burst.len() }).collect()
    }

    async fn send(&mut self, requests: &[Request]) {
        self.socket.send(Message::Binary(encode(requests))).await.unwrap();
    }

    async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            match tokio::time::timeout(PATIENCE, self.socket.next()).await.unwrap() {
                Some(Ok(Message::Binary(bytes))) => {
                    self.events.extend(cbor::decode_sequence::<Event>(&bytes, MAX_RELAY_MESSAGE).unwrap());
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn find(&mut self, such: impl Fn(&Event) -> bool) {
        while !such(&self.next().await) {}
    }

    /// Appends these, with at most `window` unacknowledged, and returns when all are durable.
    pub async fn append_all(&mut self, bursts: Vec<Burst>, window: usize) {
        let (mut sent, mut acked) = (0, 0);
        let mut bursts = bursts.into_iter().peekable();
        while acked < sent || bursts.peek().is_some() {
            while let Some(burst) =
                bursts.next_if(|burst| sent == acked || sent - acked + burst.count <= window)
            {
                self.socket.send(Message::Binary(burst.bytes)).await.unwrap();
                sent += burst.count;
            }
            match self.next().await {
                Event::Appended { run, .. } => acked += usize::try_from(run.messages()).unwrap(),
                // Its creation, told again.
                Event::Conversation { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

/// Appends that go out as one message.
pub struct Burst {
    bytes: Bytes,
    count: usize,
}

fn encode(requests: &[Request]) -> Bytes {
    let mut bytes = Vec::new();
    for request in requests {
        cbor::encode_into(request, &mut bytes);
    }
    bytes.into()
}
