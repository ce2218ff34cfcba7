//! People with keys: they sign up, sign in, sign device-list entries, and open sockets.

use futures::{SinkExt as _, StreamExt as _};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use sotto_protocol::cbor::{self, Text};
use sotto_protocol::device_list::{DeviceChange, Entry, SignedEntry, Signer};
use sotto_protocol::keys::{Hash, Nonce};
use sotto_protocol::rest::{
    Challenge, ChallengeRequest, Session, SessionRequest, SignUp, session_signing_input,
};
use sotto_protocol::{AccountId, DeviceId, Handle, PublicKey, Signature, UnixMillis};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::harness::{Answer, ORIGIN, PATIENCE, Server};

pub struct Key(Ed25519KeyPair);

impl Key {
    pub fn new() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key().as_ref().try_into().unwrap())
    }

    pub fn device(&self) -> DeviceId {
        DeviceId::of(&self.public())
    }

    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).as_ref().try_into().unwrap())
    }
}

pub struct Person {
    pub handle: String,
    pub root: Key,
    pub device: Key,
    pub first: SignedEntry,
}

impl Person {
    /// Not signed up yet.
    pub fn new(handle: &str) -> Self {
        Self::with_device(handle, Key::new())
    }

    pub fn with_device(handle: &str, device: Key) -> Self {
        let root = Key::new();
        let account = AccountId(root.public().0);
        let first = add(account, 0, Hash([0; 32]), Signer::Root, &root, &device);
        Self { handle: handle.into(), root, device, first }
    }

    pub fn account(&self) -> AccountId {
        AccountId(self.root.public().0)
    }

    pub fn head(&self) -> Hash {
        Hash::of(&[&self.first.payload])
    }

    pub fn sign_up_body(&self) -> Value {
        let handle = Handle::parse("placeholder").unwrap();
        let body = SignUp { handle, account: self.account(), device: self.first.clone(), invite: None };
        let mut body = serde_json::to_value(body).unwrap();
        body["handle"] = json!(self.handle);
        body
    }

    pub async fn sign_up(&self, server: &Server) -> Answer {
        server.post("/v1/accounts", &self.sign_up_body()).await
    }

    /// Signed up.
    pub async fn join(server: &Server, handle: &str) -> Self {
        let person = Self::new(handle);
        assert_eq!(person.sign_up(server).await.status, 201);
        person
    }

    pub async fn token(&self, server: &Server) -> String {
        sign_in(server, &self.device).await.read::<Session>(200).token
    }

    pub async fn socket(&self, server: &Server) -> Socket {
        let mut socket = Socket::open(server).await;
        socket.send(json!({"type": "authenticate", "token": self.token(server).await})).await;
        let ready = socket.next().await;
        assert_eq!(ready["type"], "ready", "{ready}");
        socket
    }
}

pub fn entry(account: AccountId, index: u32, previous: Hash, signer: Signer, change: DeviceChange) -> Entry {
    Entry { account, index, previous, change, signer, at: UnixMillis(1) }
}

pub fn add(
    account: AccountId,
    index: u32,
    previous: Hash,
    signer: Signer,
    by: &Key,
    device: &Key,
) -> SignedEntry {
    let change = DeviceChange::Add { key: device.public(), name: Text::new("laptop").unwrap() };
    let entry = entry(account, index, previous, signer, change);
    SignedEntry::sign(&entry, |input| by.sign(input), Some(&|input| device.sign(input)))
}

pub fn revoke(
    account: AccountId,
    index: u32,
    previous: Hash,
    signer: Signer,
    by: &Key,
    device: DeviceId,
) -> SignedEntry {
    let entry = entry(account, index, previous, signer, DeviceChange::Revoke { device });
    SignedEntry::sign(&entry, |input| by.sign(input), None)
}

pub fn payload(entry: &Entry) -> Vec<u8> {
    cbor::encode(entry)
}

pub async fn nonce(server: &Server, device: DeviceId) -> Nonce {
    server.post("/v1/challenges", &ChallengeRequest { device }).await.read::<Challenge>(200).nonce
}

pub fn session_request(key: &Key, nonce: Nonce, origin: &str) -> SessionRequest {
    let signature = key.sign(&session_signing_input(origin, &nonce));
    SessionRequest { device: key.device(), nonce, origin: origin.into(), signature }
}

pub async fn sign_in(server: &Server, key: &Key) -> Answer {
    let nonce = nonce(server, key.device()).await;
    server.post("/v1/sessions", &session_request(key, nonce, ORIGIN)).await
}

pub struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    pub async fn open(server: &Server) -> Self {
        Self::upgrade(server, TcpStream::connect(server.address).await.unwrap()).await
    }

    /// One whose kernel takes little on behalf of a reader that never reads.
    pub async fn open_narrow(server: &Server) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        Self::upgrade(server, socket.connect(server.address).await.unwrap()).await
    }

    async fn upgrade(server: &Server, stream: TcpStream) -> Self {
        let url = format!("ws://{}/v1/signal", server.address);
        Self(tokio_tungstenite::client_async(url, stream).await.unwrap().0)
    }

    pub async fn send(&mut self, message: Value) {
        self.send_text(&message.to_string()).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    pub async fn send_binary(&mut self, bytes: Vec<u8>) {
        self.0.send(Message::binary(bytes)).await.unwrap();
    }

    /// Like [`Self::send_text`], towards a server that may be gone.
    pub async fn try_send_text(&mut self, text: &str) -> bool {
        self.0.send(Message::text(text)).await.is_ok()
    }

    /// The next message.
    pub async fn next(&mut self) -> Value {
        match self.next_or_close().await {
            Ok(message) => message,
            Err(code) => panic!("closed with {code:?}"),
        }
    }

    /// The next message that is not presence.
    pub async fn next_signal(&mut self) -> Value {
        loop {
            let message = self.next().await;
            if message["type"] != "presence_update" {
                return message;
            }
        }
    }

    /// Reads to the end; the close code, if one came.
    pub async fn closed(&mut self) -> Option<u16> {
        loop {
            if let Err(code) = self.next_or_close().await {
                return code;
            }
        }
    }

    async fn next_or_close(&mut self) -> Result<Value, Option<u16>> {
        loop {
            match tokio::time::timeout(PATIENCE, self.0.next()).await.expect("a message or a close") {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(Error::ConnectionClosed | Error::Protocol(_) | Error::Io(_))) | None => {
                    return Err(None);
                }
                Some(Err(error)) => panic!("{error}"),
            }
        }
    }

    pub async fn say_goodbye(mut self) {
        self.0.close(None).await.unwrap();
    }
}
