//! The two WebSockets to the server: a task each while it is open.

use std::collections::HashMap;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use sotto_peer_core::{Input, Socket, SocketCommand, SocketEvent};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

/// A server that is silent for longer is gone; the relay pings every 30 s.
const SILENCE: Duration = Duration::from_secs(75);

/// Open sockets, by the attempt that opened them.
pub(crate) struct Sockets {
    server: String,
    inputs: mpsc::Sender<Input>,
    open: HashMap<Socket, mpsc::UnboundedSender<Message>>,
}

impl Sockets {
    pub fn new(server: &str, inputs: mpsc::Sender<Input>) -> Self {
        // http → ws, https → wss.
        Self { server: server.replacen("http", "ws", 1), inputs, open: HashMap::new() }
    }

    pub fn command(&mut self, socket: Socket, command: SocketCommand) {
        match command {
            SocketCommand::Open => {
                let (sender, messages) = mpsc::unbounded_channel();
                self.open.insert(socket, sender);
                let url = format!("{}{}", self.server, socket.path());
                tokio::spawn(run(url, socket, messages, self.inputs.clone()));
            }
            SocketCommand::Send(message) => {
                let message = match socket {
                    Socket::Relay => Message::Binary(message),
                    Socket::Signal => Message::Text(String::from_utf8_lossy(&message).into_owned().into()),
                };
                if let Some(open) = self.open.get(&socket) {
                    // What the brain may have under way bounds this queue.
                    let _ = open.send(message);
                }
            }
            SocketCommand::Close => {
                self.open.remove(&socket);
            }
        }
    }
}

async fn run(
    url: String,
    socket: Socket,
    mut messages: mpsc::UnboundedReceiver<Message>,
    inputs: mpsc::Sender<Input>,
) {
    let say = async |event| {
        let _ = inputs.send(Input::Socket { socket, event }).await;
    };
    let stream = match tokio_tungstenite::connect_async_with_config(&url, None, true).await {
        Ok((stream, _)) => stream,
        Err(error) => return say(SocketEvent::Closed(error.to_string())).await,
    };
    say(SocketEvent::Opened).await;
    let (mut sink, mut stream) = stream.split();
    let why = loop {
        tokio::select! {
            message = messages.recv() => match message {
                Some(message) => {
                    if let Err(error) = sink.send(message).await {
                        break error.to_string();
                    }
                }
                None => {
                    // Closed by the brain, which wants no answer.
                    let _ = sink.close().await;
                    return;
                }
            },
            message = tokio::time::timeout(SILENCE, stream.next()) => match message {
                Ok(Some(Ok(Message::Binary(bytes)))) => say(SocketEvent::Message(bytes)).await,
                Ok(Some(Ok(Message::Text(text)))) => say(SocketEvent::Message(text.into())).await,
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)))) => {}
                Ok(Some(Ok(Message::Close(_))) | None) => break "closed by the server".to_owned(),
                Ok(Some(Err(error))) => break error.to_string(),
                Err(_) => break "the server is silent".to_owned(),
            },
        }
    };
    if !messages.is_closed() {
        say(SocketEvent::Closed(why)).await;
    }
}
