//! The relay's log, sans-IO: every rule of what may be appended, who reads it, and when it is acknowledged.
//!
//! # Contract
//!
//! ```text
//! log.handle(now, input);                        // any number of inputs, then
//! while let Some(output) = log.poll() { … }      // drain
//! ```
//!
//! The log never touches a clock, a socket or a disk. `now` is the wall clock; it labels entries and refills
//! budgets, so that a step of it does no harm. Equal inputs give equal outputs.
//!
//! | output | what the driver does | and answers with |
//! |---|---|---|
//! | [`Output::Write`] | has the store write the batch; there is never more than one | [`Input::Committed`] |
//! | [`Output::Load`] | has the store answer the query | [`Input::Loaded`] |
//! | [`Output::LookUp`] | asks the directory of devices and accounts | [`Input::Found`] |
//! | [`Output::Send`] | queues the event to the socket | – |
//! | [`Output::AwaitRoom`] | waits until nearly all that was queued to that socket is sent | [`Input::Writable`] |
//! | [`Output::Pause`], [`Output::Resume`] | stops reading from that socket, goes on | – |
//! | [`Output::Close`] | closes the socket after what is queued; the log has forgotten it already | – |
//!
//! Call [`Input::Tick`] about once a second. A driver may answer in any order, but must answer every `Write`, `Load`
//! and `LookUp` once.
//!
//! # What holds
//!
//! - Nothing is acknowledged or fanned out before the batch that holds it is committed. Requests that change the
//!   log wait while a batch is being written and then all go into the next one (group commit). A failed batch
//!   leaves no trace: its requests are answered `Unavailable`, those that waited are tried in the next.
//! - A session's requests are handled in order. A membership change holds back what follows it on its socket.
//! - To who is no member, a conversation looks as if it did not exist.
//! - A subscription gets each entry from its start once, in order, without a hole. One that lags is served from the
//!   store at its reader's pace; it never makes the log wait or queue without end.
//! - All that is kept in memory can be had from the store again: dropping the log and making a new one loses
//!   nothing that was acknowledged.

mod author;
mod batch;
mod catch_up;
mod commit;
mod conversation;
mod request;
mod session;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sotto_protocol::relay::{ErrorCode, Event, Held, Request};
use sotto_protocol::rest::DeviceRecord;
use sotto_protocol::{AccountId, ConversationId, DeviceId, Position, Seq, UnixMillis, Verify};

use crate::store::{Answer, Batch, Query};
use author::{Budget, Devices, Verified};
use batch::{InFlight, Pending};
use conversation::Conversation;
use session::{Facts, Session};

/// One authenticated socket. The driver numbers them and never uses a number twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// One write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchToken(pub u64);

/// One query or look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadId(pub u64);

/// The store or the directory could not do it. The driver logs why; the log only needs to know that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed;

/// What happens to the log.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A socket authenticated.
    Connected {
        /// Its number from now on.
        session: SessionId,
        /// Whose it is.
        account: AccountId,
        /// Which device's.
        device: DeviceId,
    },
    /// A request came in over it. `Authenticate` is the driver's and is ignored here.
    Request {
        /// The socket.
        session: SessionId,
        /// The decoded request.
        request: Request,
    },
    /// The socket is gone.
    Disconnected {
        /// The socket.
        session: SessionId,
    },
    /// The socket that [`Output::AwaitRoom`] named has room again.
    Writable {
        /// The socket.
        session: SessionId,
    },
    /// The batch is durable, or failed as a whole.
    Committed {
        /// Which one.
        token: BatchToken,
        /// What came of it.
        result: Result<(), Failed>,
    },
    /// The store answered.
    Loaded {
        /// Which query.
        load: LoadId,
        /// The answer.
        result: Result<Answer, Failed>,
    },
    /// The directory answered.
    Found {
        /// Which look-up.
        load: LoadId,
        /// The answer.
        result: Result<Found, Failed>,
    },
    /// A device was revoked.
    Revoked {
        /// The device.
        device: DeviceId,
    },
    /// An account was disabled or deleted.
    Disabled {
        /// The account.
        account: AccountId,
    },
    /// Some revocations were missed and are not known: everybody signs in again.
    RevocationsMissed,
    /// Time has passed.
    Tick,
}

/// What the log wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Write this, then say [`Input::Committed`].
    Write {
        /// Names it.
        token: BatchToken,
        /// What to write, all or nothing.
        batch: Batch,
    },
    /// Read this, then say [`Input::Loaded`].
    Load {
        /// Names it.
        load: LoadId,
        /// What to read.
        query: Query,
    },
    /// Ask the directory this, then say [`Input::Found`].
    LookUp {
        /// Names it.
        load: LoadId,
        /// What to ask.
        what: LookUp,
    },
    /// Queue this to the socket.
    Send {
        /// The socket.
        session: SessionId,
        /// What to send.
        event: Event,
    },
    /// Say [`Input::Writable`] once what is queued to this socket is nearly all sent.
    AwaitRoom {
        /// The socket.
        session: SessionId,
    },
    /// Read nothing more from this socket for now: it has enough requests under way.
    Pause {
        /// The socket.
        session: SessionId,
    },
    /// Read on.
    Resume {
        /// The socket.
        session: SessionId,
    },
    /// Close this socket, after saying why.
    Close {
        /// The socket.
        session: SessionId,
        /// Why.
        code: ErrorCode,
    },
}

/// A question to the directory.
#[derive(Debug, Clone, PartialEq)]
pub enum LookUp {
    /// Whose is this device, and what is its key?
    Device(DeviceId),
    /// Which of these accounts do not exist?
    Accounts(Vec<AccountId>),
}

/// The directory's answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// The device, if it is known.
    Device(Option<DeviceRecord>),
    /// Those of the accounts that do not exist.
    UnknownAccounts(Vec<AccountId>),
}

/// What an operator may set.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// Entries go this many milliseconds after they were logged; `None` keeps them.
    pub retention_age: Option<u64>,
    /// A conversation's oldest entries go beyond this many bytes of bodies; `None` keeps them.
    pub retention_bytes: Option<u64>,
    /// Membership changes (and claims of a rolled-back log) that a device may make at once.
    pub commit_burst: u32,
    /// Milliseconds in which a device earns one more.
    pub commit_refill: u64,
    /// Conversations kept in memory that nobody subscribes to: about 10 KiB each, a full group 30.
    pub idle_conversations: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            retention_age: None,
            retention_bytes: Some(256 * 1024 * 1024),
            commit_burst: 60,
            commit_refill: 1_000,
            idle_conversations: 4_096,
        }
    }
}

/// The log. See the [module](self) for how to drive it.
pub struct Log<V> {
    engine: V,
    config: LogConfig,
    now: UnixMillis,
    outputs: VecDeque<Output>,
    sessions: BTreeMap<SessionId, Session>,
    by_account: BTreeMap<AccountId, BTreeSet<SessionId>>,
    conversations: BTreeMap<ConversationId, Conversation>,
    devices: Devices,
    verified: Verified,
    budget: Budget,
    /// Sessions whose next request can be looked at.
    ready: VecDeque<SessionId>,
    /// What requests wait for, and whose.
    needs: BTreeMap<Need, Vec<SessionId>>,
    loads: BTreeMap<LoadId, Purpose>,
    /// Admitted requests for the next batch.
    pending: VecDeque<Pending>,
    in_flight: Option<InFlight>,
    retention: catch_up::Retention,
    /// Sessions whose paging met a failing store; the next tick tries again.
    stalled: BTreeSet<SessionId>,
    /// Numbers batches, loads and subscriptions, and orders the use of conversations.
    counter: u64,
}

/// What keeps a request from being decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Need {
    /// A conversation's state.
    Conversation(ConversationId),
    /// A device's record.
    Device(DeviceId),
    /// Where a message stands.
    Entry(ConversationId, DeviceId, Seq),
    /// What stands at a position and before it, so many entries in all.
    Held(ConversationId, Position, u32),
    /// Whether the accounts that a session wants to let in exist.
    Accounts(SessionId),
    /// In how many conversations they are already.
    Counts(SessionId),
    /// The batch that holds a session's own membership change.
    OwnCommit(SessionId),
}

/// Why something was loaded.
#[derive(Debug, Clone, PartialEq)]
enum Purpose {
    Need(Need),
    /// A device's record, of which a revocation came in meanwhile: the answer may be from before.
    StaleDevice(DeviceId),
    Page(catch_up::PageFor),
    Retention,
}

impl<V: Verify> Log<V> {
    /// An empty log over whatever the store holds.
    pub fn new(config: LogConfig, engine: V) -> Self {
        Self {
            engine,
            now: UnixMillis(0),
            outputs: VecDeque::new(),
            sessions: BTreeMap::new(),
            by_account: BTreeMap::new(),
            conversations: BTreeMap::new(),
            devices: Devices::default(),
            verified: Verified::default(),
            budget: Budget::new(config.commit_burst, config.commit_refill),
            config,
            ready: VecDeque::new(),
            needs: BTreeMap::new(),
            loads: BTreeMap::new(),
            pending: VecDeque::new(),
            in_flight: None,
            retention: catch_up::Retention::default(),
            stalled: BTreeSet::new(),
            counter: 0,
        }
    }

    /// Takes in one thing that happened. What follows from it comes out of [`Log::poll`].
    pub fn handle(&mut self, now: UnixMillis, input: Input) {
        self.now = now;
        match input {
            Input::Connected { session, account, device } => self.connected(session, account, device),
            Input::Request { session, request } => self.received(session, request),
            Input::Disconnected { session } => self.forget(session),
            Input::Writable { session } => self.writable(session),
            Input::Committed { token, result } => self.committed(token, result),
            Input::Loaded { load, result } => self.loaded(load, result),
            Input::Found { load, result } => self.found(load, result),
            Input::Revoked { device } => self.revoked(device),
            Input::Disabled { account } => self.disabled(account),
            Input::RevocationsMissed => self.trust_nobody(),
            Input::Tick => self.tick(),
        }
        self.serve_ready();
    }

    /// What to do next; `None` once there is nothing more until the next input.
    pub fn poll(&mut self) -> Option<Output> {
        // Only now, so that all inputs that came together share one batch.
        while self.start_batch() {
            self.serve_ready();
        }
        self.outputs.pop_front()
    }

    /// Whether no change is waiting or being written: what a driver waits for before it stops.
    pub fn is_flushed(&self) -> bool {
        self.pending.is_empty() && self.in_flight.is_none()
    }

    fn number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn load(&mut self, query: Query, purpose: Purpose) {
        let load = LoadId(self.number());
        self.loads.insert(load, purpose);
        self.outputs.push_back(Output::Load { load, query });
    }

    fn look_up(&mut self, what: LookUp, purpose: Purpose) {
        let load = LoadId(self.number());
        self.loads.insert(load, purpose);
        self.outputs.push_back(Output::LookUp { load, what });
    }

    fn loaded(&mut self, load: LoadId, result: Result<Answer, Failed>) {
        match (self.loads.remove(&load), result) {
            (Some(Purpose::Need(need)), Ok(answer)) => self.need_loaded(need, answer),
            (Some(Purpose::Need(need)), Err(Failed)) => self.meet(need, |facts| facts.failed = true),
            (Some(Purpose::Page(page)), Ok(answer)) => self.page_loaded(page, answer),
            (Some(Purpose::Page(page)), Err(Failed)) => self.page_failed(page),
            (Some(Purpose::Retention), Ok(answer)) => self.retention_loaded(answer),
            (Some(Purpose::Retention), Err(Failed)) => self.retention = catch_up::Retention::default(),
            (Some(Purpose::StaleDevice(_)) | None, _) => {}
        }
    }

    fn need_loaded(&mut self, need: Need, answer: Answer) {
        match (need, answer) {
            (Need::Conversation(id), Answer::Conversation(Some(stored))) => {
                // A batch may have made it while the question was under way; then memory is newer.
                self.conversations.entry(id).or_insert_with(|| Conversation::load(stored));
                self.touch(id);
                self.meet(need, |_| {});
                self.evict();
            }
            (Need::Conversation(_), Answer::Conversation(None)) => {
                self.meet(need, |facts| facts.absent = true)
            }
            (Need::Entry(..), Answer::Entry(place)) => self.meet(need, |facts| facts.place = Some(place)),
            (Need::Held(_, through, count), Answer::Page { entries, .. }) => {
                let whole = entries.len() == count as usize
                    && entries.last().is_some_and(|last| last.position == through)
                    && entries.windows(2).all(|pair| pair[0].position.next() == pair[1].position);
                let hashes: Vec<_> = entries.iter().filter_map(|entry| entry.body.hash()).collect();
                let held = if whole { Held::of(&hashes) } else { None };
                self.meet(need, |facts| facts.held = Some(held));
            }
            (Need::Counts(_), Answer::Counts(counts)) => {
                self.meet(need, |facts| facts.counts = Some(counts.clone()))
            }
            // An answer to another question than the one asked is as good as none.
            (_, _) => self.meet(need, |facts| facts.failed = true),
        }
    }

    fn found(&mut self, load: LoadId, result: Result<Found, Failed>) {
        match (self.loads.remove(&load), result) {
            (Some(Purpose::Need(need @ Need::Device(device))), Ok(Found::Device(record))) => {
                match record.filter(|record| record.device == device) {
                    Some(record) => {
                        self.devices.insert(record);
                        self.meet(need, |_| {});
                    }
                    None => self.meet(need, |facts| facts.unknown_author = true),
                }
            }
            (Some(Purpose::Need(need)), Ok(Found::UnknownAccounts(unknown))) => {
                self.meet(need, |facts| facts.unknown = Some(unknown.clone()))
            }
            (Some(Purpose::StaleDevice(device)), _) => {
                let need = Need::Device(device);
                self.look_up(LookUp::Device(device), Purpose::Need(need));
            }
            (Some(Purpose::Need(need)), Ok(Found::Device(_)) | Err(Failed)) => {
                self.meet(need, |facts| facts.failed = true)
            }
            (Some(Purpose::Page(_) | Purpose::Retention) | None, _) => {}
        }
    }

    /// Lets everybody go on who waited for this.
    fn meet(&mut self, need: Need, tell: impl Fn(&mut Facts)) {
        for id in self.needs.remove(&need).unwrap_or_default() {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            tell(&mut session.facts);
            session.waiting = false;
            self.ready.push_back(id);
        }
    }

    fn touch(&mut self, id: ConversationId) {
        let used = self.number();
        if let Some(conversation) = self.conversations.get_mut(&id) {
            conversation.last_used = used;
        }
    }

    /// Forgets the idle conversations used longest ago, an eighth at once so that the sorting pays.
    fn evict(&mut self) {
        let most = self.config.idle_conversations;
        if self.conversations.len() <= most {
            return;
        }
        let staged = self.in_flight.as_ref().map(|batch| &batch.staged);
        let idle = self.conversations.iter().filter(|(id, conversation)| {
            conversation.is_idle() && !staged.is_some_and(|staged| staged.contains_key(id))
        });
        let mut idle: Vec<_> = idle.map(|(id, conversation)| (conversation.last_used, *id)).collect();
        if idle.len() <= most {
            return;
        }
        idle.sort_unstable();
        // The one that was just loaded stays: somebody is about to use it.
        let surplus = (idle.len() - most + most / 8).min(idle.len() - 1);
        for (_, id) in &idle[..surplus] {
            self.conversations.remove(id);
        }
    }

    fn revoked(&mut self, device: DeviceId) {
        self.devices.revoke(&device);
        for purpose in self.loads.values_mut() {
            if *purpose == Purpose::Need(Need::Device(device)) {
                *purpose = Purpose::StaleDevice(device);
            }
        }
        self.refuse_pending(|pending| pending.author() == Some(device));
        let of_device = self.sessions.iter().filter(|(_, session)| session.device == device);
        for id in of_device.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.close(id, ErrorCode::Unauthenticated);
        }
    }

    fn disabled(&mut self, account: AccountId) {
        self.devices.forget_account(&account);
        self.refuse_pending(|pending| pending.author_account() == Some(account));
        for purpose in self.loads.values_mut() {
            // Whose device an unanswered look-up is about is not known yet, so all are asked again.
            if let Purpose::Need(Need::Device(device)) = *purpose {
                *purpose = Purpose::StaleDevice(device);
            }
        }
        for id in self.by_account.get(&account).cloned().unwrap_or_default() {
            self.close(id, ErrorCode::Unauthenticated);
        }
    }

    fn trust_nobody(&mut self) {
        self.devices = Devices::default();
        self.refuse_pending(|pending| pending.author().is_some());
        for purpose in self.loads.values_mut() {
            if let Purpose::Need(Need::Device(device)) = *purpose {
                *purpose = Purpose::StaleDevice(device);
            }
        }
        for id in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.close(id, ErrorCode::Unauthenticated);
        }
    }

    fn close(&mut self, id: SessionId, code: ErrorCode) {
        self.forget(id);
        self.outputs.push_back(Output::Close { session: id, code });
    }

    fn tick(&mut self) {
        self.budget.forget_full(self.now);
        self.evict();
        for id in std::mem::take(&mut self.stalled) {
            self.page_on(id);
        }
        self.look_for_trims();
    }
}
