//! A person's two sockets.

use futures::{SinkExt, StreamExt};
use sotto_protocol::cbor::{self, Text};
use sotto_protocol::relay::{Event, RELAY_VERSION, Request};
use sotto_protocol::signal::{ClientMessage, ServerMessage};
use tokio_tungstenite::tungstenite::Message;

use super::{PATIENCE, Running};

pub type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// Runs a test with both sockets open and authenticated.
#[tokio::main(flavor = "current_thread")]
pub async fn on_sockets(server: &Running, token: &str, test: impl AsyncFnOnce(Socket, Socket)) {
    let work = async {
        let signal = signal_socket(server, token).await;
        let relay = relay_socket(server, token).await;
        test(signal, relay).await;
    };
    tokio::time::timeout(PATIENCE, work).await.expect("the sockets hang");
}

/// A socket that has not said whose it is.
pub async fn connect(server: &Running, path: &str) -> Socket {
    let (socket, _) =
        tokio_tungstenite::connect_async(format!("ws://{}{path}", server.authority())).await.unwrap();
    socket
}

pub async fn signal_socket(server: &Running, token: &str) -> Socket {
    let mut socket = connect(server, "/v1/signal").await;
    let hello = ClientMessage::Authenticate { token: token.to_owned() };
    socket.send(Message::text(serde_json::to_string(&hello).unwrap())).await.unwrap();
    let answer = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert!(matches!(serde_json::from_str(&answer).unwrap(), ServerMessage::Ready { .. }), "{answer}");
    socket
}

pub async fn relay_socket(server: &Running, token: &str) -> Socket {
    let mut socket = connect(server, "/v1/relay").await;
    let hello = Request::Authenticate { version: RELAY_VERSION, token: Text::new(token).unwrap() };
    socket.send(Message::binary(cbor::encode(&hello))).await.unwrap();
    let answer = socket.next().await.unwrap().unwrap().into_data();
    let events = cbor::decode_sequence::<Event>(&answer, answer.len()).unwrap();
    assert!(matches!(events[0], Event::Ready { .. }), "{events:?}");
    socket
}
