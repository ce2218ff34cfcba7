//! One WebSocket: authenticated first, then a pipe between its client and the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{Message as Frame, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use sotto_protocol::cbor::{self, Text};
use sotto_protocol::limits::{MAX_RELAY_MESSAGE, MAX_SOCKET_QUEUE};
use sotto_protocol::relay::{ErrorCode, Event, RELAY_VERSION, Request};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::access::{Principal, TokenError};
use crate::log::SessionId;
use crate::service::{Message, Shared, now};

/// From the upgrade to the token.
const AUTHENTICATE: Duration = Duration::from_secs(5);

/// Between pings; who answers none for two of them is gone.
const PING: Duration = Duration::from_secs(30);

/// Frames are gathered into one message up to this.
const GATHER: usize = 16 * 1024;

/// With less than this queued, there is room for another page.
const ROOM: usize = MAX_SOCKET_QUEUE / 4;

/// WebSocket buffers: idle sockets are many (see the memory bench).
const BUFFER: usize = 4 * 1024;

enum Item {
    Event(Vec<u8>),
    Room(SessionId),
    End,
}

/// The way to one socket; never waits.
pub(crate) struct Outgoing {
    items: mpsc::UnboundedSender<Item>,
    queued: Arc<AtomicUsize>,
    cut: Arc<Notify>,
    paused: watch::Sender<bool>,
}

impl Outgoing {
    /// Queues an event; false if the queue is full.
    pub fn send(&self, event: &Event) -> bool {
        let bytes = cbor::encode(event);
        if self.queued.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len() > MAX_SOCKET_QUEUE {
            return false;
        }
        let _ = self.items.send(Item::Event(bytes));
        true
    }

    /// Has the log told once what is queued now is nearly all sent.
    pub fn await_room(&self, session: SessionId) {
        let _ = self.items.send(Item::Room(session));
    }

    pub fn pause(&self, paused: bool) {
        let _ = self.paused.send(paused);
    }

    /// Closes after what is queued.
    pub fn end(&self) {
        let _ = self.items.send(Item::End);
    }

    /// Closes at once.
    pub fn cut(&self) {
        self.cut.notify_one();
    }
}

pub(crate) async fn upgrade(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default().to_owned());
    if origin.is_some_and(|origin| !shared.config.origins.contains(&origin)) {
        let body = r#"{"type":"urn:sotto:problem:origin","title":"Origin not allowed","status":403,"detail":"this page's origin is not among the server's origins","field":"Origin"}"#;
        return (StatusCode::FORBIDDEN, [(header::CONTENT_TYPE, "application/problem+json")], body)
            .into_response();
    }
    let upgrade = upgrade
        .max_message_size(MAX_RELAY_MESSAGE)
        .max_frame_size(MAX_RELAY_MESSAGE)
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER);
    upgrade.on_upgrade(move |socket| async move {
        shared.metrics.sockets.fetch_add(1, Ordering::Relaxed);
        serve(&shared, socket).await;
        shared.metrics.sockets.fetch_sub(1, Ordering::Relaxed);
    })
}

async fn serve(shared: &Arc<Shared>, mut socket: WebSocket) {
    let first = tokio::time::timeout(AUTHENTICATE, authenticate(shared, &mut socket)).await;
    let Ok(Ok(principal)) = first else {
        let code = match first {
            Ok(Err(code)) => code,
            _ => ErrorCode::Unauthenticated,
        };
        refuse(&mut socket, code, "expected authenticate with a valid token within 5 s").await;
        return;
    };
    let (items, queue) = mpsc::unbounded_channel();
    let (paused, pause) = watch::channel(false);
    let (queued, cut) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let out = Outgoing { items, queued: queued.clone(), cut: cut.clone(), paused };
    let Principal { account, device, .. } = principal;
    out.send(&Event::Ready { version: RELAY_VERSION, account, device });
    let (reply, session) = oneshot::channel();
    if shared.inbox.send(Message::Connected { principal, out, reply }).await.is_err() {
        return;
    }
    let Ok(session) = session.await else { return };
    let (sink, stream) = socket.split();
    let writer = write(shared.clone(), sink, queue, queued);
    let reader = read(shared.clone(), stream, session, principal, pause);
    tokio::select! {
        () = writer => {}
        () = reader => {}
        () = cut.notified() => {}
    }
    let _ = shared.inbox.send(Message::Disconnected { session }).await;
}

async fn refuse(socket: &mut WebSocket, code: ErrorCode, detail: &str) {
    let event = Event::Error { code, conversation: None, detail: Text::truncated(detail) };
    let _ = socket.send(Frame::Binary(cbor::encode(&event).into())).await;
    let _ = socket.send(Frame::Close(None)).await;
}

async fn authenticate(shared: &Shared, socket: &mut WebSocket) -> Result<Principal, ErrorCode> {
    loop {
        let message = match socket.recv().await {
            Some(Ok(Frame::Binary(message))) => message,
            Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => continue,
            _ => return Err(ErrorCode::Malformed),
        };
        return match cbor::decode::<Request>(&message, MAX_RELAY_MESSAGE) {
            Ok(Request::Authenticate { version: RELAY_VERSION, token }) => {
                shared.verifier.verify(&token).await.map_err(token_error)
            }
            Ok(Request::Authenticate { .. }) => Err(ErrorCode::Version),
            Ok(_) => Err(ErrorCode::Unauthenticated),
            Err(_) => Err(ErrorCode::Malformed),
        };
    }
}

fn token_error(error: TokenError) -> ErrorCode {
    match error {
        TokenError::Invalid | TokenError::Expired | TokenError::Revoked => ErrorCode::Unauthenticated,
        TokenError::Unavailable => ErrorCode::Unavailable,
    }
}

/// Sends what is queued, several events in a message, and pings. Ends with the queue or the connection.
async fn write(
    shared: Arc<Shared>,
    mut sink: futures::stream::SplitSink<WebSocket, Frame>,
    mut queue: mpsc::UnboundedReceiver<Item>,
    queued: Arc<AtomicUsize>,
) {
    let mut ping = tokio::time::interval_at(Instant::now() + PING, PING);
    loop {
        let mut next = tokio::select! {
            item = queue.recv() => item,
            _ = ping.tick() => {
                if sink.send(Frame::Ping(Bytes::new())).await.is_err() {
                    return;
                }
                continue;
            }
        };
        let mut buffer = Vec::new();
        let mut room = None;
        let mut end = false;
        loop {
            match next {
                Some(Item::Event(event)) if buffer.is_empty() => buffer = event,
                Some(Item::Event(event)) => buffer.extend_from_slice(&event),
                Some(Item::Room(session)) => room = Some(session),
                Some(Item::End) | None => end = true,
            }
            if end || room.is_some() || buffer.len() >= GATHER {
                break;
            }
            match queue.try_recv() {
                // A message never grows beyond what a client accepts.
                Ok(item) => next = Some(item),
                Err(_) => break,
            }
        }
        let bytes = buffer.len();
        if bytes > 0 && sink.send(Frame::Binary(buffer.into())).await.is_err() {
            return;
        }
        let left = queued.fetch_sub(bytes, Ordering::Relaxed) - bytes;
        if let Some(session) = room {
            debug_assert!(left <= MAX_SOCKET_QUEUE + ROOM);
            let _ = shared.inbox.send(Message::Room { session }).await;
        }
        if end {
            let _ = sink.send(Frame::Close(None)).await;
            return;
        }
    }
}

/// Passes requests to the log. Ends with the connection, with trust, or with the token.
async fn read(
    shared: Arc<Shared>,
    mut stream: futures::stream::SplitStream<WebSocket>,
    session: SessionId,
    principal: Principal,
    mut pause: watch::Receiver<bool>,
) {
    let mut expires = deadline(&principal);
    loop {
        if pause.wait_for(|paused| !paused).await.is_err() {
            return;
        }
        let message = tokio::select! {
            message = tokio::time::timeout(2 * PING + PING / 2, stream.next()) => message,
            () = tokio::time::sleep_until(expires) => return,
        };
        let message = match message {
            Ok(Some(Ok(Frame::Binary(message)))) => message,
            Ok(Some(Ok(Frame::Ping(_) | Frame::Pong(_)))) => continue,
            _ => return,
        };
        let Ok(requests) = cbor::decode_sequence::<Request>(&message, MAX_RELAY_MESSAGE) else {
            tracing::debug!(?session, "a malformed frame");
            return;
        };
        for request in requests {
            if let Request::Authenticate { token, .. } = &request {
                match shared.verifier.verify(token).await {
                    Ok(again) if again.device == principal.device => expires = deadline(&again),
                    _ => return,
                }
                continue;
            }
            let request = Box::new(request);
            if shared.inbox.send(Message::Request { session, request }).await.is_err() {
                return;
            }
        }
    }
}

fn deadline(principal: &Principal) -> Instant {
    Instant::now() + Duration::from_millis(principal.expires_at.0.saturating_sub(now().0))
}
