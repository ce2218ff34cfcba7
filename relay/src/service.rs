//! The relay as a service: one task owns the [log](crate::log), at most one writes to the store, and each WebSocket
//! has a task of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::routing::get;
use sotto_protocol::relay::{ErrorCode, Event, Request};
use sotto_protocol::{UnixMillis, cbor};
use tokio::runtime::Handle;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use crate::access::{Directory, Principal, Revocation, Revocations, TokenVerifier};
use crate::log::{Failed, Found, Input, Log, LogConfig, LookUp, Output, SessionId};
use crate::metrics::{Metrics, add};
use crate::socket::{self, GATHER, Outgoing};
use crate::store::{Batch, Query, Store};
use crate::verify::Ring;

/// Messages (of up to 64 KiB) from sockets that wait for the log. A full inbox makes sockets wait, and TCP their
/// clients.
const INBOX: usize = 256;

/// Messages taken from the inbox before their outcome is carried out: enough to share a batch, few enough that a
/// flood does not hold back what is ready.
const TOGETHER: usize = 256;

/// How long a drain waits for the sockets to take their last bytes.
const LAST_BYTES: Duration = Duration::from_secs(3);

/// What an operator may set.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Rules of the log.
    pub log: LogConfig,
    /// Origins that a browser may open the socket from. A request without one is no browser's.
    pub origins: Vec<String>,
}

/// How long the relay waits for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// From a socket's opening to its token.
    pub authenticate: Duration,
    /// Between two pings. Who says nothing for two and a half of them is gone.
    pub ping: Duration,
    /// For a socket to take one message. A phone on 2G takes its whole queue in about 10 s.
    pub stall: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            authenticate: Duration::from_secs(5),
            ping: Duration::from_secs(30),
            stall: Duration::from_secs(15),
        }
    }
}

/// What comes to the task that owns the log.
pub(crate) enum Message {
    Connected {
        principal: Principal,
        out: Outgoing,
        session: oneshot::Sender<SessionId>,
    },
    /// The permit goes back once the log has room for more of this session.
    Requests {
        session: SessionId,
        requests: Vec<Request>,
        permit: OwnedSemaphorePermit,
    },
    Room {
        session: SessionId,
    },
    Disconnected {
        session: SessionId,
    },
    Drain {
        within: Duration,
        done: oneshot::Sender<()>,
    },
}

pub(crate) struct Shared {
    pub config: Config,
    pub timing: Timing,
    pub verifier: Arc<dyn TokenVerifier>,
    pub inbox: mpsc::Sender<Message>,
    /// What store and directory answer, past what waits in the inbox: while it waits, the disk does nothing. Never more
    /// than the log has asked.
    pub answers: mpsc::UnboundedSender<Input>,
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
        Self::open_with_timing(store, verifier, directory, revocations, config, Timing::default())
    }

    /// [`Relay::open`], with other than the usual waits.
    pub fn open_with_timing(
        store: Arc<dyn Store>,
        verifier: Arc<dyn TokenVerifier>,
        directory: Arc<dyn Directory>,
        revocations: Revocations,
        config: Config,
        timing: Timing,
    ) -> Self {
        let (inbox, messages) = mpsc::channel(INBOX);
        let (answers, answered) = mpsc::unbounded_channel();
        let log = Log::new(config.log.clone(), Ring);
        let draining = AtomicBool::new(false);
        let metrics = Metrics::default();
        let shared = Arc::new(Shared { config, timing, verifier, inbox, answers, metrics, draining });
        let sockets = BTreeMap::new();
        let owner = Owner {
            log,
            store,
            directory,
            shared: shared.clone(),
            sockets,
            last_session: 0,
            heard: Vec::new(),
            told: Vec::new(),
            drain: None,
        };
        tokio::spawn(owner.run(messages, answered, revocations));
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

    /// Tells every socket to come back within this time, writes out and acknowledges what is under way, and closes
    /// them. New sockets are refused from here on.
    pub async fn drain(&self, within: Duration) {
        self.0.draining.store(true, Ordering::Relaxed);
        let (done, drained) = oneshot::channel();
        if self.0.inbox.send(Message::Drain { within, done }).await.is_ok() {
            // An owner that is gone has nothing left to flush.
            let _ = drained.await;
        }
    }
}

/// The task that owns the log.
struct Owner {
    log: Log<Ring>,
    store: Arc<dyn Store>,
    directory: Arc<dyn Directory>,
    shared: Arc<Shared>,
    sockets: BTreeMap<SessionId, Socket>,
    last_session: u64,
    /// Sessions whose requests were just taken in.
    heard: Vec<SessionId>,
    /// Sessions that have events to go out together.
    told: Vec<SessionId>,
    drain: Option<Drain>,
}

struct Socket {
    out: Outgoing,
    /// Events that go out together, encoded.
    events: Vec<u8>,
    paused: bool,
    /// Of messages taken in. While the socket is paused they are not given back, so that it is not read.
    held: Vec<OwnedSemaphorePermit>,
}

struct Drain {
    done: Vec<oneshot::Sender<()>>,
    /// Once flushed: when to stop waiting for the sockets.
    until: Option<Instant>,
}

impl Owner {
    async fn run(
        mut self,
        mut messages: mpsc::Receiver<Message>,
        mut answers: mpsc::UnboundedReceiver<Input>,
        mut revocations: Revocations,
    ) {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut listens = true;
        loop {
            tokio::select! {
                revoked = revocations.recv(), if listens => match revoked {
                    Ok(Revocation::Device(device)) => self.handle(Input::Revoked { device }),
                    Ok(Revocation::Account(account)) => self.handle(Input::Disabled { account }),
                    Err(RecvError::Lagged(_)) => self.handle(Input::RevocationsMissed),
                    Err(RecvError::Closed) => listens = false,
                },
                Some(answer) = answers.recv() => self.handle(answer),
                message = messages.recv() => {
                    let Some(message) = message else { return };
                    self.take(message);
                    // Whatever waits already shares the next batch.
                    for _ in 1..TOGETHER {
                        if let Ok(answer) = answers.try_recv() {
                            self.handle(answer);
                            break;
                        }
                        let Ok(message) = messages.try_recv() else { break };
                        self.take(message);
                    }
                }
                _ = tick.tick() => self.handle(Input::Tick),
            }
            self.carry_out();
            self.go_on_draining();
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Connected { principal, out, session } => self.connected(principal, out, session),
            Message::Requests { session, requests, permit } => {
                // What is not acknowledged before the end is sent again after it.
                if self.drain.is_some() {
                    return;
                }
                for request in requests {
                    self.handle(Input::Request { session, request });
                }
                // Kept until it is known whether these requests pause the socket.
                if let Some(socket) = self.sockets.get_mut(&session) {
                    socket.held.push(permit);
                    self.heard.push(session);
                }
            }
            Message::Room { session } => self.handle(Input::Writable { session }),
            Message::Disconnected { session } => {
                if self.sockets.remove(&session).is_some() {
                    self.handle(Input::Disconnected { session });
                }
            }
            Message::Drain { within, done } => self.start_drain(within, done),
        }
    }

    fn connected(&mut self, principal: Principal, out: Outgoing, session: oneshot::Sender<SessionId>) {
        self.last_session += 1;
        let id = SessionId(self.last_session);
        if session.send(id).is_err() {
            return;
        }
        if self.drain.is_some() {
            out.send(&Event::Drain { reconnect_in_ms: 1_000 });
            out.end();
        }
        self.sockets.insert(id, Socket { out, events: Vec::new(), paused: false, held: Vec::new() });
        let Principal { account, device, .. } = principal;
        self.handle(Input::Connected { session: id, account, device });
    }

    fn handle(&mut self, input: Input) {
        self.log.handle(now(), input);
    }

    fn carry_out(&mut self) {
        loop {
            self.carry_out_all();
            // Who is cut off meanwhile has the log say more.
            if self.tell() == 0 {
                break;
            }
        }
        for session in self.heard.drain(..) {
            if let Some(socket) = self.sockets.get_mut(&session).filter(|socket| !socket.paused) {
                socket.held.clear();
            }
        }
    }

    fn carry_out_all(&mut self) {
        while let Some(output) = self.log.poll() {
            match output {
                Output::Write { token, batch } => {
                    let (shared, store) = (self.shared.clone(), self.store.clone());
                    let runtime = Handle::current();
                    // On a thread of its own: between its statements it does not queue behind the sockets' work.
                    tokio::task::spawn_blocking(move || {
                        let result = runtime.block_on(write(&*store, &batch, &shared.metrics));
                        reply(&shared, Input::Committed { token, result });
                    });
                }
                Output::Load { load, query } => {
                    let (shared, store) = (self.shared.clone(), self.store.clone());
                    tokio::spawn(async move {
                        let result = read(&*store, &query).await;
                        reply(&shared, Input::Loaded { load, result });
                    });
                }
                Output::LookUp { load, what } => {
                    let (shared, directory) = (self.shared.clone(), self.directory.clone());
                    tokio::spawn(async move {
                        let result = look_up(&*directory, what).await;
                        reply(&shared, Input::Found { load, result });
                    });
                }
                Output::Send { session, event } => self.send(session, &event),
                Output::AwaitRoom { session } => {
                    self.tell_one(session);
                    if let Some(socket) = self.sockets.get(&session) {
                        socket.out.await_room(session);
                    }
                }
                Output::Pause { session } => {
                    if let Some(socket) = self.sockets.get_mut(&session) {
                        socket.paused = true;
                    }
                }
                Output::Resume { session } => {
                    if let Some(socket) = self.sockets.get_mut(&session) {
                        socket.paused = false;
                        socket.held.clear();
                    }
                }
                Output::Close { session, code } => {
                    self.tell_one(session);
                    if let Some(socket) = self.sockets.remove(&session) {
                        socket.out.send(&error(code, "this session has ended: sign in again"));
                        socket.out.end();
                    }
                }
            }
        }
    }

    /// Gathers an event: an item in a socket's queue is one event or many small ones.
    fn send(&mut self, session: SessionId, event: &Event) {
        let Some(socket) = self.sockets.get_mut(&session) else { return };
        self.shared.metrics.sent(event);
        let before = socket.events.len();
        cbor::encode_into(event, &mut socket.events);
        if before == 0 {
            self.told.push(session);
        } else if socket.events.len() > GATHER {
            let last = socket.events.split_off(before);
            let full = std::mem::replace(&mut socket.events, last);
            self.queue(session, full);
        }
    }

    /// Queues what was gathered for all sockets; answers how many were cut off.
    fn tell(&mut self) -> usize {
        let told = std::mem::take(&mut self.told);
        told.into_iter().filter(|session| !self.tell_one(*session)).count()
    }

    fn tell_one(&mut self, session: SessionId) -> bool {
        let Some(socket) = self.sockets.get_mut(&session) else { return true };
        let events = std::mem::take(&mut socket.events);
        self.queue(session, events)
    }

    fn queue(&mut self, session: SessionId, events: Vec<u8>) -> bool {
        let Some(socket) = self.sockets.get(&session) else { return true };
        let queued = socket.out.send_encoded(events);
        if !queued {
            // Nobody reads there. It is cut off; the others are unharmed.
            add(&self.shared.metrics.cut, 1);
            socket.out.cut();
            self.sockets.remove(&session);
            self.handle(Input::Disconnected { session });
        }
        queued
    }

    fn start_drain(&mut self, within: Duration, done: oneshot::Sender<()>) {
        if let Some(drain) = &mut self.drain {
            drain.done.push(done);
            return;
        }
        self.drain = Some(Drain { done: vec![done], until: None });
        // Spread evenly, so that they do not all come back at once.
        let share = within / u32::try_from(self.sockets.len().max(1)).unwrap_or(u32::MAX);
        let sessions: Vec<SessionId> = self.sockets.keys().copied().collect();
        for (index, session) in (0u32..).zip(sessions) {
            let wait = share.saturating_mul(index);
            let reconnect_in_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
            self.send(session, &Event::Drain { reconnect_in_ms });
        }
    }

    /// First everything is written and acknowledged, then the sockets close, then the drain is done.
    fn go_on_draining(&mut self) {
        let Some(drain) = &mut self.drain else { return };
        if drain.until.is_none() && self.log.is_flushed() {
            drain.until = Some(Instant::now() + LAST_BYTES);
            for socket in self.sockets.values() {
                socket.out.end();
            }
        }
        let is_over = self.sockets.is_empty() || drain.until.is_some_and(|until| until <= Instant::now());
        if drain.until.is_some() && is_over {
            for done in drain.done.drain(..) {
                // Who asked may have stopped waiting.
                let _ = done.send(());
            }
        }
    }
}

fn reply(shared: &Shared, input: Input) {
    // Fails only when the owner is gone, and with it who asked.
    let _ = shared.answers.send(input);
}

async fn write(store: &dyn Store, batch: &Batch, metrics: &Metrics) -> Result<(), Failed> {
    let start = Instant::now();
    match store.write(batch).await {
        Ok(()) => {
            metrics.committed(batch, start.elapsed());
            Ok(())
        }
        Err(error) => {
            add(&metrics.failures, 1);
            tracing::error!(%error, "the log could not be written; nothing of the batch is stored");
            Err(Failed)
        }
    }
}

async fn read(store: &dyn Store, query: &Query) -> Result<crate::store::Answer, Failed> {
    store.read(query).await.map_err(|error| {
        tracing::error!(%error, "the log could not be read");
        Failed
    })
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

pub(crate) fn error(code: ErrorCode, detail: &str) -> Event {
    Event::Error { code, conversation: None, detail: sotto_protocol::cbor::Text::truncated(detail) }
}

pub(crate) fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
