//! One WebSocket: authenticated first, then a pipe between its client and the log.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message as Frame, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use sotto_protocol::cbor;
use sotto_protocol::limits::{MAX_RELAY_MESSAGE, MAX_SOCKET_QUEUE};
use sotto_protocol::relay::{ErrorCode, Event, RELAY_VERSION, Request};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, sleep_until, timeout};

use crate::access::{Principal, TokenError};
use crate::log::SessionId;
use crate::metrics::add;
use crate::service::{Message, Shared, error, now};

/// Events are gathered into one message up to this; the longest event beyond it still fits a message.
pub(crate) const GATHER: usize = 16 * 1024;

/// WebSocket buffers: idle sockets are many, and with these one takes 6 KB instead of 137.
const BUFFER: usize = 4 * 1024;

/// Messages of one socket on their way to the log: one being handled, one read meanwhile.
const AHEAD: usize = 2;

/// For a socket that ends to take its last bytes. A revoked device's must be gone within a second.
const GRACE: Duration = Duration::from_millis(500);

/// Why a socket ends: what its client is told.
type Ending = (ErrorCode, String);

enum Item {
    Events(Vec<u8>),
    Room(SessionId),
    End,
}

/// The way to one socket; never waits.
#[derive(Clone)]
pub(crate) struct Outgoing {
    items: mpsc::UnboundedSender<Item>,
    queued: Arc<AtomicUsize>,
    cut: Arc<Notify>,
    ending: Arc<Notify>,
}

impl Outgoing {
    /// Queues an event; false if the queue is full.
    pub fn send(&self, event: &Event) -> bool {
        self.send_encoded(cbor::encode(event))
    }

    /// Queues encoded events; false if the queue is full.
    pub fn send_encoded(&self, bytes: Vec<u8>) -> bool {
        if bytes.is_empty() {
            return true;
        }
        if self.queued.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len() > MAX_SOCKET_QUEUE {
            return false;
        }
        // Fails only when the socket is gone, which its own message will say.
        let _ = self.items.send(Item::Events(bytes));
        true
    }

    /// Has the log told once what is queued now is sent.
    pub fn await_room(&self, session: SessionId) {
        let _ = self.items.send(Item::Room(session));
    }

    /// Closes after what is queued, or soon.
    pub fn end(&self) {
        let _ = self.items.send(Item::End);
        self.ending.notify_one();
    }

    /// Closes at once.
    pub fn cut(&self) {
        self.cut.notify_one();
    }
}

pub(crate) async fn upgrade(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    if origin.is_some_and(|origin| !shared.config.origins.iter().any(|allowed| allowed == origin)) {
        return problem(
            StatusCode::FORBIDDEN,
            r#"{"type":"urn:sotto:problem:origin","title":"Origin not allowed","status":403,"detail":"this page's origin is not among the server's origins","field":"Origin"}"#,
        );
    }
    if shared.draining.load(Ordering::Relaxed) {
        return problem(
            StatusCode::SERVICE_UNAVAILABLE,
            r#"{"type":"urn:sotto:problem:draining","title":"Restarting","status":503,"detail":"the server is about to restart","retry_after_ms":1000}"#,
        );
    }
    let Ok(upgrade) = upgrade else {
        return problem(
            StatusCode::UPGRADE_REQUIRED,
            r#"{"type":"urn:sotto:problem:not-a-websocket","title":"Not a WebSocket","status":426,"detail":"expected a WebSocket upgrade by GET, over HTTP/1.1"}"#,
        );
    };
    let upgrade = upgrade
        .max_message_size(MAX_RELAY_MESSAGE)
        .max_frame_size(MAX_RELAY_MESSAGE)
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER);
    upgrade.on_upgrade(move |socket| async move {
        add(&shared.metrics.sockets, 1);
        serve(&shared, socket).await;
        shared.metrics.sockets.fetch_sub(1, Ordering::Relaxed);
    })
}

fn problem(status: StatusCode, body: &'static str) -> Response {
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
}

async fn serve(shared: &Arc<Shared>, mut socket: WebSocket) {
    let within = shared.timing.authenticate;
    let first = match timeout(within, authenticate(shared, &mut socket)).await {
        Ok(first) => first,
        Err(_) => {
            let why = format!("expected authenticate within {} ms", within.as_millis());
            Err((ErrorCode::Unauthenticated, why))
        }
    };
    let principal = match first {
        Ok(principal) => principal,
        Err((code, why)) => {
            // A client that does not take this either is not waited for.
            let _ = timeout(GRACE, refuse(&mut socket, code, &why)).await;
            return;
        }
    };
    let (items, queue) = mpsc::unbounded_channel();
    let out = Outgoing { items, queued: Arc::default(), cut: Arc::default(), ending: Arc::default() };
    let (reply, session) = oneshot::channel();
    let connected = Message::Connected { principal, out: out.clone(), session: reply };
    if shared.inbox.send(connected).await.is_err() {
        return;
    }
    let Ok(session) = session.await else { return };
    let (sink, stream) = socket.split();
    let writer = write(shared, sink, queue, &out);
    let reader = async {
        if let Err((code, why)) = read(shared, stream, session, principal, &out).await {
            tracing::debug!(?session, why, "socket closed");
            out.send(&error(code, &why));
            out.end();
            // The writer ends the socket, once this is sent.
            std::future::pending::<()>().await;
        }
    };
    let ended = async {
        out.ending.notified().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        () = writer => {}
        () = reader => {}
        () = ended => {}
        () = out.cut.notified() => {}
    }
    // Fails only when the log is gone too.
    let _ = shared.inbox.send(Message::Disconnected { session }).await;
}

async fn refuse(socket: &mut WebSocket, code: ErrorCode, why: &str) {
    // Whoever hung up already needs no answer.
    let _ = socket.send(Frame::Binary(cbor::encode(&error(code, why)).into())).await;
    let _ = socket.send(Frame::Close(None)).await;
}

async fn authenticate(shared: &Shared, socket: &mut WebSocket) -> Result<Principal, Ending> {
    let malformed = |why: String| (ErrorCode::Malformed, why);
    loop {
        let message = match socket.recv().await {
            Some(Ok(Frame::Binary(message))) => message,
            Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => continue,
            Some(Ok(Frame::Text(_))) => return Err(malformed("expected binary frames".into())),
            Some(Ok(Frame::Close(_))) | None => return Err(malformed("closed".into())),
            Some(Err(e)) => return Err(malformed(e.to_string())),
        };
        let request = cbor::decode::<Request>(&message, MAX_RELAY_MESSAGE);
        let Request::Authenticate { version, token } = request.map_err(|e| malformed(e.to_string()))? else {
            return Err((ErrorCode::Unauthenticated, "expected authenticate first".into()));
        };
        check_version(version)?;
        return shared.verifier.verify(&token).await.map_err(refusal);
    }
}

fn check_version(version: u32) -> Result<(), Ending> {
    if version != RELAY_VERSION {
        return Err((ErrorCode::Version, format!("version: {RELAY_VERSION} is spoken here")));
    }
    Ok(())
}

fn refusal(error: TokenError) -> Ending {
    let code = match error {
        TokenError::Invalid | TokenError::Expired | TokenError::Revoked => ErrorCode::Unauthenticated,
        TokenError::Unavailable => ErrorCode::Unavailable,
    };
    (code, error.to_string())
}

/// Sends what is queued, several events in a message, and pings. Ends with the queue or the connection, or when its
/// client takes nothing.
async fn write(
    shared: &Shared,
    mut sink: SplitSink<WebSocket, Frame>,
    mut queue: mpsc::UnboundedReceiver<Item>,
    out: &Outgoing,
) {
    let every = shared.timing.ping;
    let mut ping = tokio::time::interval_at(Instant::now() + every, every);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let first = tokio::select! {
            item = queue.recv() => item,
            _ = ping.tick() => {
                if !transmit(shared, &mut sink, Frame::Ping(Bytes::new())).await {
                    return;
                }
                continue;
            }
        };
        let gathered = gather(first, &mut queue);
        let length = gathered.bytes.len();
        if length > 0 && !transmit(shared, &mut sink, Frame::Binary(gathered.bytes.into())).await {
            return;
        }
        out.queued.fetch_sub(length, Ordering::Relaxed);
        if let Some(session) = gathered.room {
            let _ = shared.inbox.send(Message::Room { session }).await;
        }
        if gathered.is_last {
            transmit(shared, &mut sink, Frame::Close(None)).await;
            return;
        }
    }
}

async fn transmit(shared: &Shared, sink: &mut SplitSink<WebSocket, Frame>, frame: Frame) -> bool {
    match timeout(shared.timing.stall, sink.send(frame)).await {
        Ok(sent) => sent.is_ok(),
        Err(_) => {
            add(&shared.metrics.cut, 1);
            false
        }
    }
}

/// What goes out in one message.
#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    room: Option<SessionId>,
    is_last: bool,
}

fn gather(first: Option<Item>, queue: &mut mpsc::UnboundedReceiver<Item>) -> Gathered {
    let mut gathered = Gathered::default();
    let mut next = first;
    loop {
        match next {
            Some(Item::Events(event)) if gathered.bytes.is_empty() => gathered.bytes = event,
            Some(Item::Events(event)) => gathered.bytes.extend_from_slice(&event),
            Some(Item::Room(session)) => gathered.room = Some(session),
            Some(Item::End) | None => gathered.is_last = true,
        }
        if gathered.is_last || gathered.room.is_some() || gathered.bytes.len() >= GATHER {
            return gathered;
        }
        match queue.try_recv() {
            Ok(item) => next = Some(item),
            Err(_) => return gathered,
        }
    }
}

/// Passes requests to the log. Ends with the connection, or with an error when trust is gone.
async fn read(
    shared: &Shared,
    mut stream: SplitStream<WebSocket>,
    session: SessionId,
    principal: Principal,
    out: &Outgoing,
) -> Result<(), Ending> {
    let silence = shared.timing.ping * 5 / 2;
    let permits = Arc::new(Semaphore::new(AHEAD));
    let mut expires = deadline(&principal);
    loop {
        let permit = tokio::select! {
            permit = permits.clone().acquire_owned() => permit,
            () = sleep_until(expires) => return Err(refusal(TokenError::Expired)),
        };
        // Never closed: it lives here.
        let Ok(permit) = permit else { return Ok(()) };
        let message = tokio::select! {
            message = timeout(silence, stream.next()) => message,
            () = sleep_until(expires) => return Err(refusal(TokenError::Expired)),
        };
        let message = match message {
            Ok(Some(Ok(Frame::Binary(message)))) => message,
            Ok(Some(Ok(Frame::Ping(_) | Frame::Pong(_)))) => continue,
            Ok(Some(Ok(Frame::Close(_))) | None) | Err(_) => return Ok(()),
            Ok(Some(Ok(Frame::Text(_)))) => return Err(malformed(shared, "expected binary frames")),
            Ok(Some(Err(e))) if is_lost(&e) => return Ok(()),
            // Among others a message that is too long.
            Ok(Some(Err(e))) => return Err(malformed(shared, &e.to_string())),
        };
        let requests = cbor::decode_sequence::<Request>(&message, MAX_RELAY_MESSAGE);
        let requests = requests.map_err(|e| malformed(shared, &e.to_string()))?;
        let mut passed = Vec::with_capacity(requests.len());
        for request in requests {
            match request {
                Request::Authenticate { version, token } => {
                    check_version(version)?;
                    let again = match shared.verifier.verify(&token).await {
                        Ok(again) => again,
                        // Nothing is known against this device: what it showed before counts until it expires.
                        Err(unavailable @ TokenError::Unavailable) => {
                            let (code, why) = refusal(unavailable);
                            out.send(&error(code, &why));
                            continue;
                        }
                        Err(refused) => return Err(refusal(refused)),
                    };
                    if (again.account, again.device) != (principal.account, principal.device) {
                        return Err((ErrorCode::Unauthenticated, "token: of another device".into()));
                    }
                    expires = deadline(&again);
                }
                Request::Commit { .. }
                | Request::Append { .. }
                | Request::Subscribe { .. }
                | Request::Unsubscribe { .. }
                | Request::Cursor { .. }
                | Request::Ephemeral { .. } => passed.push(request),
            }
        }
        let message = Message::Requests { session, requests: passed, permit };
        if shared.inbox.send(message).await.is_err() {
            return Ok(());
        }
    }
}

fn malformed(shared: &Shared, why: &str) -> Ending {
    add(&shared.metrics.malformed, 1);
    (ErrorCode::Malformed, why.to_owned())
}

/// Whether it is the connection that failed, and not its client. axum hides the error's type; the text is tungstenite's.
fn is_lost(error: &axum::Error) -> bool {
    let mut cause = error.source();
    let mut is_io = false;
    while let Some(inner) = cause {
        is_io |= inner.is::<std::io::Error>();
        cause = inner.source();
    }
    is_io || error.to_string().contains("without closing handshake")
}

fn deadline(principal: &Principal) -> Instant {
    // Far beyond any token's life, so that a hostile verifier cannot overflow the clock.
    const LONGEST: u64 = 1_000 * 60 * 60 * 24 * 365;
    Instant::now() + Duration::from_millis(principal.expires_at.0.saturating_sub(now().0).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use sotto_protocol::cbor::Blob;
    use sotto_protocol::{ConversationId, DeviceId, Position};

    use super::*;

    #[tokio::test]
    async fn no_more_than_256_kib_are_queued_to_a_socket() {
        let (items, mut queue) = mpsc::unbounded_channel();
        let out = Outgoing { items, queued: Arc::default(), cut: Arc::default(), ending: Arc::default() };
        let event = Event::Cursor {
            conversation: ConversationId([1; 16]),
            device: DeviceId([2; 16]),
            position: Position(3),
            receipt: Blob::new(vec![0; 10_000]),
        };
        let mut accepted = 0;
        while out.send(&event) {
            accepted += 1;
        }
        let length = cbor::encode(&event).len();
        assert_eq!(accepted, MAX_SOCKET_QUEUE / length);
        assert_eq!(MAX_SOCKET_QUEUE, 256 * 1024);
        let mut queued = 0;
        while queue.try_recv().is_ok() {
            queued += 1;
        }
        assert_eq!(queued, accepted, "what is refused is not queued");
    }
}
