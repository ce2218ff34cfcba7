//! The two WebSockets: a task each while one is open.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use sotto_peer_core::{Socket, SocketCommand, SocketEvent};
use sotto_protocol::limits;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};

use super::Server;
use super::connect::Stream;

/// How often the server is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(20);

/// Silence after which it is gone: two pings missed.
const SILENCE: Duration = Duration::from_secs(50);

/// From connecting to the server's agreement to speak WebSocket.
const UPGRADE_PATIENCE: Duration = Duration::from_secs(10);

/// For sending what is queued, and the good-bye.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// Bytes waiting to be sent: a full window of the longest messages. The core keeps far below.
const QUEUE: usize = limits::WINDOW as usize * limits::MAX_RELAY_MESSAGE;

/// An event, and the opening of the socket that it belongs to.
pub(crate) struct SocketReport {
    pub socket: Socket,
    pub event: SocketEvent,
    opening: u64,
}

/// The server's two sockets.
pub(crate) struct Sockets {
    server: Arc<Server>,
    reports: mpsc::Sender<SocketReport>,
    open: HashMap<Socket, Open>,
    openings: u64,
    tasks: JoinSet<()>,
}

/// The sending end of an open socket. Dropping it closes the socket once everything is sent.
struct Open {
    opening: u64,
    messages: mpsc::UnboundedSender<Bytes>,
    queue: Arc<Queue>,
}

/// What the two ends of a socket's queue know of it.
#[derive(Default)]
struct Queue {
    bytes: AtomicUsize,
    overflow: Notify,
}

impl Sockets {
    pub fn new(server: Arc<Server>, reports: mpsc::Sender<SocketReport>) -> Self {
        Self { server, reports, open: HashMap::new(), openings: 0, tasks: JoinSet::new() }
    }

    /// Never waits.
    pub fn command(&mut self, socket: Socket, command: SocketCommand) {
        match command {
            SocketCommand::Open => self.start(socket),
            SocketCommand::Send(message) => {
                let Some(open) = self.open.get(&socket) else { return };
                let bytes = open.queue.bytes.fetch_add(message.len(), Ordering::Relaxed) + message.len();
                if bytes > QUEUE {
                    open.queue.overflow.notify_one();
                    return;
                }
                // Fails once the socket has closed, which is reported.
                drop(open.messages.send(message));
            }
            SocketCommand::Close => drop(self.open.remove(&socket)),
        }
    }

    /// Whether a report is of the socket that is open now; of an earlier one it is out of date.
    pub fn is_current(&self, report: &SocketReport) -> bool {
        self.open.get(&report.socket).is_some_and(|open| open.opening == report.opening)
    }

    /// Sends what is queued and says good-bye.
    pub async fn close(mut self) {
        self.open.clear();
        while self.tasks.join_next().await.is_some() {}
    }

    fn start(&mut self, socket: Socket) {
        while self.tasks.try_join_next().is_some() {}
        self.openings += 1;
        let (messages, to_send) = mpsc::unbounded_channel();
        let queue = Arc::new(Queue::default());
        self.open.insert(socket, Open { opening: self.openings, messages, queue: Arc::clone(&queue) });
        let task = Task {
            server: Arc::clone(&self.server),
            socket,
            opening: self.openings,
            reports: self.reports.clone(),
            queue,
        };
        self.tasks.spawn(task.run(to_send));
    }
}

struct Task {
    server: Arc<Server>,
    socket: Socket,
    opening: u64,
    reports: mpsc::Sender<SocketReport>,
    queue: Arc<Queue>,
}

impl Task {
    async fn run(self, mut to_send: mpsc::UnboundedReceiver<Bytes>) {
        let opened = tokio::select! {
            opened = self.open() => opened,
            // The core has lost interest.
            () = closed(&mut to_send) => return,
        };
        let why = match opened {
            Ok(stream) => {
                self.report(SocketEvent::Opened).await;
                match self.exchange(stream, to_send).await {
                    Some(why) => why,
                    None => return,
                }
            }
            Err(why) => why,
        };
        tracing::debug!(socket = self.socket.path(), why, "closed");
        self.report(SocketEvent::Closed(why)).await;
    }

    async fn open(&self) -> Result<WebSocketStream<Box<dyn Stream>>, String> {
        let stream = self.server.connect().await.map_err(|error| error.to_string())?;
        let longest = match self.socket {
            Socket::Signal => limits::MAX_SIGNAL_MESSAGE,
            Socket::Relay => limits::MAX_RELAY_MESSAGE,
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(16 * 1024)
            .write_buffer_size(16 * 1024)
            .max_write_buffer_size(1024 * 1024)
            .max_message_size(Some(longest))
            .max_frame_size(Some(longest));
        let scheme = if self.server.origin().is_tls() { "wss" } else { "ws" };
        let url = format!("{scheme}://{}{}", self.server.origin().authority(), self.socket.path());
        let upgrade = tokio_tungstenite::client_async_with_config(url, stream, Some(config));
        match tokio::time::timeout(UPGRADE_PATIENCE, upgrade).await {
            Ok(Ok((stream, _))) => Ok(stream),
            Ok(Err(error)) => Err(explain(error)),
            Err(_) => Err("the server did not answer in time".into()),
        }
    }

    /// Sends and receives until it ends; `None` if the core ended it.
    async fn exchange(
        &self,
        stream: WebSocketStream<Box<dyn Stream>>,
        mut to_send: mpsc::UnboundedReceiver<Bytes>,
    ) -> Option<String> {
        let (mut sink, mut stream) = stream.split();
        let heard = std::sync::Mutex::new(Instant::now());
        let hear = || *heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Instant::now();
        let silence = || heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner).elapsed();

        // Two halves side by side: reading must go on while the server does not take what is sent.
        let receive = async {
            loop {
                let message = stream.next().await;
                hear();
                match message {
                    Some(Ok(Message::Binary(bytes))) => self.report(SocketEvent::Message(bytes)).await,
                    Some(Ok(Message::Text(text))) => self.report(SocketEvent::Message(text.into())).await,
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                    Some(Ok(Message::Close(frame))) => {
                        let reason = frame.filter(|frame| !frame.reason.is_empty());
                        return reason.map_or_else(
                            || "the server closed the connection".to_owned(),
                            |frame| format!("the server closed the connection: {}", frame.reason.as_str()),
                        );
                    }
                    Some(Err(error)) => return explain(error),
                    None => return "the connection was lost".to_owned(),
                }
                // Waiting for the core is not the server's silence.
                hear();
            }
        };
        let send = async {
            let mut pings = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
            pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                let message = tokio::select! {
                    message = to_send.recv() => match message {
                        Some(message) => self.message(message),
                        None => {
                            let _ = tokio::time::timeout(CLOSE_PATIENCE, sink.close()).await;
                            return None;
                        }
                    },
                    _ = pings.tick() => Message::Ping(Bytes::new()),
                };
                let mut sent = sink.feed(message).await;
                // What waits already goes out in the same packets.
                while let (Ok(()), Ok(message)) = (&sent, to_send.try_recv()) {
                    sent = sink.feed(self.message(message)).await;
                }
                if let Err(error) = match sent {
                    Ok(()) => sink.flush().await,
                    Err(error) => Err(error),
                } {
                    return Some(explain(error));
                }
            }
        };
        // Apart from sending, which waits for as long as the server takes nothing.
        let watch = async {
            while silence() < SILENCE {
                tokio::time::sleep(SILENCE.saturating_sub(silence())).await;
            }
        };
        tokio::select! {
            why = receive => Some(why),
            why = send => why,
            () = watch => Some("the server is silent".to_owned()),
            () = self.queue.overflow.notified() => Some("the server does not take what is sent".to_owned()),
        }
    }

    fn message(&self, bytes: Bytes) -> Message {
        self.queue.bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
        match self.socket {
            Socket::Relay => Message::Binary(bytes),
            Socket::Signal => match Utf8Bytes::try_from(bytes) {
                Ok(text) => Message::Text(text),
                // The core sends JSON there.
                Err(_) => Message::Text(Utf8Bytes::default()),
            },
        }
    }

    async fn report(&self, event: SocketEvent) {
        let report = SocketReport { socket: self.socket, event, opening: self.opening };
        // Fails once the driver has ended.
        drop(self.reports.send(report).await);
    }
}

/// Resolves when nothing more will be sent.
async fn closed(to_send: &mut mpsc::UnboundedReceiver<Bytes>) {
    // Nothing is sent before the socket is open.
    while to_send.recv().await.is_some() {}
}

fn explain(error: tungstenite::Error) -> String {
    match error {
        tungstenite::Error::Http(response) => match response.status().as_u16() {
            404 => "there is no Sotto server at this address".into(),
            429 | 503 => "the server is busy".into(),
            status => format!("the server refused the connection (status {status})"),
        },
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            "the connection was closed".into()
        }
        tungstenite::Error::Protocol(_) | tungstenite::Error::Io(_) => "the connection was lost".into(),
        tungstenite::Error::Capacity(_) => "the server sent a message longer than allowed".into(),
        error => error.to_string(),
    }
}
