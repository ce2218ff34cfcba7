//! The server: HTTP and the two sockets.

use bytes::Bytes;

/// An HTTP request to the server; paths start with `/v1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: &'static str,
    /// Absolute path on the server's origin.
    pub path: String,
    /// JSON body, if any.
    pub body: Option<Vec<u8>>,
    /// For `Authorization: Bearer`, if any. Never logged.
    pub token: Option<String>,
}

impl HttpRequest {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self { method: "GET", path: path.into(), body: None, token: None }
    }

    pub(crate) fn post(path: impl Into<String>, body: &impl serde::Serialize) -> Self {
        Self { method: "POST", path: path.into(), body: serde_json::to_vec(body).ok(), token: None }
    }
}

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// The two WebSockets to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Socket {
    /// `/v1/signal`, text messages.
    Signal,
    /// `/v1/relay`, binary messages.
    Relay,
}

impl Socket {
    /// Its path on the server.
    pub fn path(self) -> &'static str {
        match self {
            Socket::Signal => "/v1/signal",
            Socket::Relay => "/v1/relay",
        }
    }
}

/// What to do with a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketCommand {
    /// Connect; answered by [`SocketEvent::Opened`] or [`SocketEvent::Closed`].
    Open,
    /// Send one message: text on `Signal` (the bytes are UTF-8), binary on `Relay`.
    Send(Bytes),
    /// Close, without an answer.
    Close,
}

/// What happened on a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketEvent {
    /// It is connected.
    Opened,
    /// A message came, text or binary.
    Message(Bytes),
    /// It could not connect, or is closed now; why, for people.
    Closed(String),
}
