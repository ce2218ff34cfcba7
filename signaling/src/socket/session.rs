//! One socket's life: upgrade, authenticate, messages both ways, close. One task a socket, and as little memory
//! as it can do with, since most sockets are idle most of the time.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use sotto_protocol::keys::Hash;
use sotto_protocol::limits::MAX_SIGNAL_MESSAGE;
use sotto_protocol::presence::Capability;
use sotto_protocol::signal::{ClientMessage, Rejected, ServerMessage, SignalError};

use super::hub::Socket;
use super::outbound::{Close, Next};
use crate::metrics::count;
use crate::presence::LEASE_MS;
use crate::problem::{ApiError, truncated};
use crate::token::{Principal, TokenError};
use crate::{Signaling, lock};

/// Read and write buffers of a socket; the default of 128 KiB each would be most of an idle server's memory.
const BUFFER: usize = 4 * 1024;

/// Messages up to this long get an answer that says what is allowed; longer ones are not even read to the end.
const READ_AT_MOST: usize = 2 * MAX_SIGNAL_MESSAGE;

/// A socket to be closed may take this long to hear why; it is cut off within a second in all.
const GOODBYE: Duration = Duration::from_millis(500);

/// Messages that are none, in a row, before the socket closes.
const MALFORMED_AT_MOST: u32 = 8;

/// Messages refused for their rate, in a row, before the socket closes: the client does not listen.
const RATE_LIMITED_AT_MOST: u32 = 1_000;

/// Renewing the lease more often than this, in milliseconds, would only cost locks.
const RENEW_EVERY_MS: u64 = 1_000;

/// `GET /v1/signal`
#[utoipa::path(
    get,
    path = "/v1/signal",
    tag = "Signaling",
    summary = "Open the signaling WebSocket",
    description = "One JSON object a text message, told apart by `type`. The first is `{\"type\":\"authenticate\",\
        \"token\":…}` within 5 s, answered by `ready`; another one before the token expires renews it. Then \
        `presence_set`, `presence_subscribe`, `signal` and `ping`; from the server `presence_update`, `signal`, \
        `unreachable`, `pong`, `drain` and `error`. Close codes: 4401 not signed in or token expired, 4403 revoked, \
        4408 silent for too long, 4409 the device connected again, 1008 too many bad messages, 1009 message too \
        big, 1012 server restarts, 1013 too slow a reader.",
    responses(
        (status = 101, description = "A WebSocket from here on"),
        (status = 403, description = "A browser's Origin that is not configured", body = sotto_protocol::rest::Problem),
        (status = 426, description = "No WebSocket upgrade", body = sotto_protocol::rest::Problem),
        (status = 503, description = "Too many sockets, or about to restart", body = sotto_protocol::rest::Problem),
    )
)]
pub(crate) async fn upgrade(
    State(signaling): State<Signaling>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let config = &signaling.0.config;
    // Only browsers send Origin, and only there can a page act for someone who does not know.
    if let Some(origin) = headers.get(header::ORIGIN) {
        let known = config.origins.iter().chain(&config.cors_origins);
        if !known.into_iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()) {
            return Err(ApiError::OriginNotAllowed);
        }
    }
    let upgrade = upgrade.map_err(|_| ApiError::NotWebSocket)?;
    let full = signaling.0.counters.sockets.load(Ordering::Relaxed) >= config.max_sockets as u64;
    if full || signaling.0.hub.is_draining() {
        return Err(ApiError::Busy(Duration::from_secs(5)));
    }
    let open = OpenSocket::new(signaling.clone());
    Ok(upgrade
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_message_size(READ_AT_MOST)
        .max_frame_size(READ_AT_MOST)
        .on_upgrade(move |ws| async move {
            let open = open;
            serve(&open.0, ws).await;
        }))
}

/// Counts itself among the open sockets.
struct OpenSocket(Signaling);

impl OpenSocket {
    fn new(signaling: Signaling) -> Self {
        count(&signaling.0.counters.sockets);
        Self(signaling)
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.0.0.counters.sockets.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve(signaling: &Signaling, mut ws: WebSocket) {
    let within = signaling.0.config.authenticate_within;
    // Boxed, as everything that an idle socket does not need while it waits.
    let authenticated = Box::pin(tokio::time::timeout(within, authenticate(signaling, &mut ws))).await;
    let socket = match authenticated {
        Ok(Ok(socket)) => socket,
        Ok(Err(why)) => return Box::pin(refuse(ws, why)).await,
        Err(_) => return Box::pin(refuse(ws, Close::Unauthenticated("did not authenticate in time"))).await,
    };
    let said_goodbye = Session { signaling, socket: &socket, malformed: 0, rate_limited: 0 }.run(ws).await;
    signaling.0.hub.unregister(&socket);
    let meant = said_goodbye
        || socket.outbound.closed_for().is_some_and(|why| !matches!(why, Close::Slow | Close::Silent));
    lock(&signaling.0.presence).disconnect(signaling.0.config.now(), socket.id, meant);
}

/// Waits for the first message; registers the socket if it carries a good token.
async fn authenticate(signaling: &Signaling, ws: &mut WebSocket) -> Result<Arc<Socket>, Close> {
    let first = loop {
        match ws.recv().await {
            Some(Ok(Message::Text(text))) => break text,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Binary(_))) => return Err(Close::Abuse("expected text messages")),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Close::Silent),
        }
    };
    let Ok(ClientMessage::Authenticate { token }) = ClientMessage::parse(&first) else {
        return Err(Close::Unauthenticated("expected an authenticate message first"));
    };
    let principal = signaling.verify_token(&token).await.map_err(refusal)?;
    let now = signaling.0.config.now();
    let socket = signaling.0.hub.register(now, &principal).ok_or(Close::Drain { reconnect_in_ms: 5_000 })?;
    // Once more, now that a revocation would find the socket: one in between would have missed it.
    if let Err(error) = signaling.verify_token(&token).await {
        signaling.0.hub.unregister(&socket);
        return Err(refusal(error));
    }
    lock(&signaling.0.presence).connect(now, socket.id, principal.account, principal.device);
    ready(&socket, &principal);
    Ok(socket)
}

fn ready(socket: &Socket, principal: &Principal) {
    let Principal { account, device, expires_at: _ } = *principal;
    socket.outbound.push(&ServerMessage::Ready { account, device, lease_ms: LEASE_MS });
}

fn refusal(error: TokenError) -> Close {
    match error {
        TokenError::Malformed => Close::Unauthenticated("malformed"),
        TokenError::Algorithm | TokenError::Signature => Close::Unauthenticated("not signed by this server"),
        TokenError::Audience => Close::Unauthenticated("made for another server"),
        TokenError::Expired => Close::Unauthenticated("expired"),
        TokenError::Revoked | TokenError::Disabled => Close::Revoked,
        TokenError::Unavailable(error) => {
            tracing::error!(%error, "storage failed");
            Close::Unavailable
        }
    }
}

/// Closes a socket that never got in.
async fn refuse(mut ws: WebSocket, why: Close) {
    let outbound = super::outbound::Outbound::default();
    outbound.close(why);
    if let Next::Message(last_words) = outbound.next() {
        let _ = tokio::time::timeout(GOODBYE, ws.send(Message::Text(last_words))).await;
    }
    say_goodbye(&mut ws, why).await;
}

async fn say_goodbye(ws: &mut WebSocket, why: Close) {
    let (code, reason) = why.frame();
    let frame = Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::from_static(reason) }));
    let _ = tokio::time::timeout(GOODBYE, async {
        ws.send(frame).await?;
        // Closing with unread input would reset the connection, and the last words be lost with it.
        if why == Close::TooBig {
            // Nothing reads past such a message: give the client the time instead.
            tokio::time::sleep(GOODBYE).await;
        }
        while let Some(message) = ws.recv().await {
            message?;
        }
        Ok::<_, axum::Error>(())
    })
    .await;
}

struct Session<'a> {
    signaling: &'a Signaling,
    socket: &'a Arc<Socket>,
    malformed: u32,
    rate_limited: u32,
}

impl Session<'_> {
    /// Until the socket ends; whether the client meant it to.
    async fn run(mut self, mut ws: WebSocket) -> bool {
        loop {
            match self.socket.outbound.next() {
                Next::Message(text) => {
                    if !Box::pin(self.send(&mut ws, Message::Text(text))).await {
                        return false;
                    }
                    continue;
                }
                Next::Ping => {
                    if !Box::pin(self.send(&mut ws, Message::Ping(Default::default()))).await {
                        return false;
                    }
                    continue;
                }
                Next::Close(why) => {
                    if why == Close::Slow {
                        count(&self.signaling.0.counters.slow_sockets);
                    }
                    tracing::debug!(device = %self.socket.device, ?why, "socket closes");
                    Box::pin(say_goodbye(&mut ws, why)).await;
                    return false;
                }
                Next::Empty => {}
            }
            tokio::select! {
                () = self.socket.outbound.wake.notified() => {}
                received = ws.recv() => match received {
                    Some(Ok(Message::Close(_))) => return true,
                    Some(Ok(message)) => Box::pin(self.receive(message)).await,
                    // Tungstenite reads no further after a message beyond the limit; anything else is a lost link.
                    Some(Err(error)) if is_too_big(&error) => self.socket.outbound.close(Close::TooBig),
                    Some(Err(_)) | None => return false,
                },
            }
        }
    }

    /// Sends one message; false if the link is lost or its reader does not read.
    async fn send(&self, ws: &mut WebSocket, message: Message) -> bool {
        tokio::select! {
            biased;
            sent = ws.send(message) => sent.is_ok(),
            () = async {
                self.socket.outbound.closing.notified().await;
                tokio::time::sleep(GOODBYE).await;
            } => {
                // The one permit is used up here, but nobody waits for another.
                count(&self.signaling.0.counters.slow_sockets);
                false
            }
            () = tokio::time::sleep(self.signaling.0.config.write_timeout) => {
                count(&self.signaling.0.counters.slow_sockets);
                false
            }
        }
    }

    async fn receive(&mut self, message: Message) {
        let service = &self.signaling.0;
        let now = service.config.now();
        if self.socket.heard(now) >= RENEW_EVERY_MS {
            lock(&service.presence).renew(now, self.socket.id);
        }
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => {
                return self.reject(SignalError::Malformed, "expected text messages".into());
            }
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return,
        };
        count(&service.counters.messages);
        if lock(&service.message_limits).take(now, self.socket.device).is_err() {
            count(&service.counters.rate_limited);
            self.rate_limited += 1;
            if self.rate_limited > RATE_LIMITED_AT_MOST {
                return self.socket.outbound.close(Close::Abuse("far too many messages"));
            }
            return self.reply(&error(SignalError::RateLimited, "too many messages".into()));
        }
        self.rate_limited = 0;
        if self.socket.expired(now) {
            return self.socket.outbound.close(Close::Unauthenticated("expired"));
        }
        match ClientMessage::parse(&text) {
            Ok(message) => {
                self.malformed = 0;
                self.handle(message).await;
            }
            Err(Rejected { code, detail }) => self.reject(code, detail),
        }
    }

    fn reject(&mut self, code: SignalError, detail: String) {
        count(&self.signaling.0.counters.malformed_messages);
        self.malformed += 1;
        self.reply(&error(code, truncated(detail)));
        if self.malformed >= MALFORMED_AT_MOST {
            self.socket.outbound.close(Close::Abuse("too many messages that are none"));
        }
    }

    fn reply(&self, message: &ServerMessage) {
        self.socket.outbound.push(message);
    }

    async fn handle(&self, message: ClientMessage) {
        let service = &self.signaling.0;
        match message {
            ClientMessage::Authenticate { token } => self.renew_token(&token).await,
            ClientMessage::PresenceSet { state, text, capabilities } => {
                if let Some(capabilities) = capabilities
                    && let Err(error) = self.grant(capabilities.into_iter().collect()).await
                {
                    return self.unavailable(&error);
                }
                lock(&service.presence).set(service.config.now(), self.socket.id, state, text);
            }
            ClientMessage::PresenceSubscribe { capabilities } => {
                if let Err(error) = self.subscribe(capabilities).await {
                    self.unavailable(&error);
                }
            }
            ClientMessage::Signal { to, payload } => {
                let signal =
                    ServerMessage::Signal { from: self.socket.device, account: self.socket.account, payload };
                if service.hub.deliver(&to, &signal) {
                    count(&service.counters.signals);
                } else {
                    count(&service.counters.signals_unreachable);
                    self.reply(&ServerMessage::Unreachable { to });
                }
            }
            ClientMessage::Ping {} => self.reply(&ServerMessage::Pong {}),
        }
    }

    async fn renew_token(&self, token: &str) {
        match self.signaling.verify_token(token).await {
            Ok(principal) if principal.device == self.socket.device => {
                self.socket.extend(&principal);
                ready(self.socket, &principal);
            }
            Ok(_) => self.socket.outbound.close(Close::Unauthenticated("belongs to another device")),
            // Nothing is known against this device: what it showed before counts until it expires.
            Err(TokenError::Unavailable(error)) => self.unavailable(&error),
            Err(error) => self.socket.outbound.close(refusal(error)),
        }
    }

    async fn grant(&self, wanted: HashSet<Hash>) -> Result<(), sqlx::Error> {
        let service = &self.signaling.0;
        let now = service.config.now();
        let _writing = service.capabilities.write().await;
        let live = service.store.set_capabilities(now, self.socket.account, &wanted).await?;
        lock(&service.presence).grant(now, self.socket.account, &live);
        Ok(())
    }

    async fn subscribe(&self, capabilities: Vec<Capability>) -> Result<(), sqlx::Error> {
        let service = &self.signaling.0;
        let hashes: Vec<Hash> = capabilities.iter().map(Capability::hash).collect();
        // Nobody's capabilities change between looking owners up and watching them.
        let _reading = service.capabilities.read().await;
        let owners = service.store.owners(&hashes).await?;
        lock(&service.presence).subscribe(service.config.now(), self.socket.id, capabilities, &owners);
        Ok(())
    }

    fn unavailable(&self, failed: &sqlx::Error) {
        tracing::error!(error = %failed, "storage failed");
        let detail = "the server's storage is full, read-only or busy; nothing was changed".into();
        self.reply(&error(SignalError::Unavailable, detail));
    }
}

fn error(code: SignalError, detail: String) -> ServerMessage {
    ServerMessage::Error { code, detail }
}

/// axum hides the error's type; its text is tungstenite's.
fn is_too_big(error: &axum::Error) -> bool {
    error.to_string().contains("too long") || error.to_string().contains("too big")
}
