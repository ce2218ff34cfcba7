//! The relay as a service: one task owns the [log](crate::log), one writes to the store, and each WebSocket has a
//! task of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::routing::get;
use sotto_protocol::relay::{ErrorCode, Event, Request};
use sotto_protocol::{PublicKey, Signature, UnixMillis, Verify};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::access::{Directory, Principal, Revocation, Revocations, TokenVerifier};
use crate::log::{Failed, Found, Input, Log, LogConfig, LookUp, Output, SessionId};
use crate::socket::{self, Outgoing};
use crate::store::Store;

/// What the tasks of the relay's sockets say to the one that owns the log.
const INBOX: usize = 4_096; // a full one makes sockets wait, and TCP their clients

/// Signatures by `ring`.
#[derive(Debug, Clone, Copy, Default)]
struct Engine;

impl Verify for Engine {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        let key = ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key.0);
        key.verify(message, &signature.0).is_ok()
    }
}

/// What an operator may set.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Rules of the log.
    pub log: LogConfig,
    /// Origins that a browser may open the socket from. A request without one is no browser's.
    pub origins: Vec<String>,
}

/// Counters, for metrics.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Open sockets.
    pub sockets: AtomicU64,
    /// Batches committed.
    pub batches: AtomicU64,
    /// Entries committed.
    pub entries: AtomicU64,
    /// Batches that the store could not write.
    pub failures: AtomicU64,
}

pub(crate) enum Message {
    Connected { principal: Principal, out: Outgoing, reply: oneshot::Sender<SessionId> },
    Request { session: SessionId, request: Box<Request> },
    Room { session: SessionId },
    Disconnected { session: SessionId },
    Log(Box<Input>),
    Drain { within: Duration, done: oneshot::Sender<()> },
}

pub(crate) struct Shared {
    pub config: Config,
    pub verifier: Arc<dyn TokenVerifier>,
    pub inbox: mpsc::Sender<Message>,
    pub metrics: Metrics,
    pub draining: AtomicBool,
}

/// The relay. Cheap to clone.
#[derive(Clone)]
pub struct Relay(Arc<Shared>);

impl Relay {
    /// Starts the relay over a store.
    pub fn open(
        store: Arc<dyn Store>,
        verifier: Arc<dyn TokenVerifier>,
        directory: Arc<dyn Directory>,
        revocations: Revocations,
        config: Config,
    ) -> Self {
        let (inbox, messages) = mpsc::channel(INBOX);
        let log = Log::new(config.log.clone(), Engine);
        let shared = Arc::new(Shared {
            config,
            verifier,
            inbox,
            metrics: Metrics::default(),
            draining: AtomicBool::new(false),
        });
        let actor =
            Actor { log, store, directory, shared: shared.clone(), sockets: HashMap::new(), last_session: 0 };
        tokio::spawn(actor.run(messages, revocations));
        Self(shared)
    }

    /// `GET /v1/relay`.
    pub fn router(&self) -> Router {
        Router::new().route("/v1/relay", get(socket::upgrade)).with_state(self.0.clone())
    }

    /// Counters.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Tells every socket to come back within this time, writes out what is under way, and closes them.
    pub async fn drain(&self, within: Duration) {
        self.0.draining.store(true, Ordering::Relaxed);
        let (done, drained) = oneshot::channel();
        if self.0.inbox.send(Message::Drain { within, done }).await.is_ok() {
            let _ = drained.await;
        }
    }
}

struct Actor {
    log: Log<Engine>,
    store: Arc<dyn Store>,
    directory: Arc<dyn Directory>,
    shared: Arc<Shared>,
    sockets: HashMap<SessionId, Outgoing>,
    last_session: u64,
}

impl Actor {
    async fn run(mut self, mut messages: mpsc::Receiver<Message>, mut revocations: Revocations) {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        let mut writing: Option<JoinHandle<()>> = None;
        loop {
            tokio::select! {
                message = messages.recv() => {
                    let Some(message) = message else { return };
                    if let Message::Drain { within, done } = message {
                        self.drain(within);
                        if let Some(writing) = writing.take() {
                            let _ = writing.await;
                        }
                        let _ = done.send(());
                        continue;
                    }
                    self.take(message);
                    // Whatever waits already shares the next batch.
                    while let Ok(message) = messages.try_recv() {
                        self.take(message);
                    }
                }
                revoked = revocations.recv() => match revoked {
                    Ok(Revocation::Device(device)) => self.handle(Input::Revoked { device }),
                    Ok(Revocation::Account(account)) => self.handle(Input::Disabled { account }),
                    // Who was revoked is not known: every socket shows its token again.
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => self.close_all(),
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
                },
                _ = tick.tick() => self.handle(Input::Tick),
            }
            self.carry_out(&mut writing);
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Connected { principal, out, reply } => {
                self.last_session += 1;
                let session = SessionId(self.last_session);
                self.sockets.insert(session, out);
                if reply.send(session).is_err() {
                    self.sockets.remove(&session);
                    return;
                }
                let Principal { account, device, .. } = principal;
                self.handle(Input::Connected { session, account, device });
            }
            Message::Request { session, request } => {
                self.handle(Input::Request { session, request: *request });
            }
            Message::Room { session } => self.handle(Input::Writable { session }),
            Message::Disconnected { session } => {
                if self.sockets.remove(&session).is_some() {
                    self.handle(Input::Disconnected { session });
                }
            }
            Message::Log(input) => self.handle(*input),
            Message::Drain { done, .. } => drop(done),
        }
    }

    fn handle(&mut self, input: Input) {
        self.log.handle(now(), input);
    }

    fn carry_out(&mut self, writing: &mut Option<JoinHandle<()>>) {
        while let Some(output) = self.log.poll() {
            let inbox = self.shared.inbox.clone();
            match output {
                Output::Write { token, batch } => {
                    let (store, shared) = (self.store.clone(), self.shared.clone());
                    *writing = Some(tokio::spawn(async move {
                        let result = store.write(&batch).await;
                        match &result {
                            Ok(()) => {
                                shared.metrics.batches.fetch_add(1, Ordering::Relaxed);
                                shared
                                    .metrics
                                    .entries
                                    .fetch_add(batch.entries.len() as u64, Ordering::Relaxed);
                            }
                            Err(error) => {
                                shared.metrics.failures.fetch_add(1, Ordering::Relaxed);
                                tracing::error!(%error, "the log could not be written; nothing of the batch is stored");
                            }
                        }
                        let result = result.map_err(|_| Failed);
                        let _ = inbox.send(Message::Log(Box::new(Input::Committed { token, result }))).await;
                    }));
                }
                Output::Load { load, query } => {
                    let store = self.store.clone();
                    tokio::spawn(async move {
                        let result = store.read(&query).await.map_err(|error| {
                            tracing::error!(%error, "the log could not be read");
                            Failed
                        });
                        let _ = inbox.send(Message::Log(Box::new(Input::Loaded { load, result }))).await;
                    });
                }
                Output::LookUp { load, what } => {
                    let directory = self.directory.clone();
                    tokio::spawn(async move {
                        let result = look_up(&*directory, what).await;
                        let _ = inbox.send(Message::Log(Box::new(Input::Found { load, result }))).await;
                    });
                }
                Output::Send { session, event } => {
                    if let Some(out) = self.sockets.get(&session)
                        && !out.send(&event)
                    {
                        // It does not read: it is cut off, the others are unharmed.
                        out.cut();
                        self.sockets.remove(&session);
                        self.handle(Input::Disconnected { session });
                    }
                }
                Output::AwaitRoom { session } => {
                    if let Some(out) = self.sockets.get(&session) {
                        out.await_room(session);
                    }
                }
                Output::Pause { session } => self.pause(session, true),
                Output::Resume { session } => self.pause(session, false),
                Output::Close { session, code } => {
                    if let Some(out) = self.sockets.remove(&session) {
                        let detail = sotto_protocol::cbor::Text::truncated("the session has ended");
                        out.send(&Event::Error { code, conversation: None, detail });
                        out.end();
                    }
                }
            }
        }
    }

    fn pause(&self, session: SessionId, paused: bool) {
        if let Some(out) = self.sockets.get(&session) {
            out.pause(paused);
        }
    }

    fn drain(&mut self, within: Duration) {
        let count = self.sockets.len().max(1) as u32;
        for (index, out) in self.sockets.values().enumerate() {
            // Spread evenly, so that they do not come back at once.
            let wait = within / count * index as u32;
            out.send(&Event::Drain { reconnect_in_ms: wait.as_millis() as u32 });
            out.end();
        }
        let sessions: Vec<SessionId> = self.sockets.drain().map(|(session, _)| session).collect();
        for session in sessions {
            self.handle(Input::Disconnected { session });
        }
    }

    fn close_all(&mut self) {
        for (session, out) in std::mem::take(&mut self.sockets) {
            let detail = sotto_protocol::cbor::Text::truncated("sign in again");
            out.send(&Event::Error { code: ErrorCode::Unauthenticated, conversation: None, detail });
            out.end();
            self.handle(Input::Disconnected { session });
        }
    }
}

async fn look_up(directory: &dyn Directory, what: LookUp) -> Result<Found, Failed> {
    let failed = |error| {
        tracing::error!(%error, "the directory cannot be asked");
        Failed
    };
    match what {
        LookUp::Device(device) => Ok(Found::Device(directory.device(device).await.map_err(failed)?)),
        LookUp::Accounts(accounts) => {
            let mut unknown = Vec::new();
            for account in accounts {
                if !directory.account_exists(account).await.map_err(failed)? {
                    unknown.push(account);
                }
            }
            Ok(Found::UnknownAccounts(unknown))
        }
    }
}

pub(crate) fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(since.as_millis() as u64)
}
