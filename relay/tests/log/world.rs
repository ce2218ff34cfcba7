//! A log with its driver: a store in memory, a directory, and sockets that collect what they are sent.

use std::collections::{BTreeMap, VecDeque};

use sotto_protocol::cbor::{Blob, Bounded};
use sotto_protocol::membership::{Action, Change, SignedChange};
use sotto_protocol::relay::{EntryBody, Event, Request, Run};
use sotto_protocol::rest::DeviceRecord;
use sotto_protocol::{
    AccountId, ConversationId, ConversationKind, DeviceId, Frame, FrameBody, Hash, LogEpoch, MembershipEpoch,
    Position, PublicKey, Seq, Signature, UnixMillis, Verify,
};
use sotto_relay::log::{Failed, Found, Input, Log, LogConfig, LookUp, Output, SessionId};
use sotto_relay::store::{Batch, MemoryStore};

/// A stand-in for Ed25519 that anybody can forge, but nobody does by accident; counts what it checks.
#[derive(Clone, Default)]
pub struct Digest(pub std::rc::Rc<std::cell::Cell<usize>>);

pub fn digest(key: &PublicKey, message: &[u8]) -> Signature {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&Hash::of(&[&key.0, message]).0);
    Signature(bytes)
}

impl Verify for Digest {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        self.0.set(self.0.get() + 1);
        digest(key, message) == *signature
    }
}

/// A device and its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person {
    pub account: AccountId,
    pub device: DeviceId,
    pub key: PublicKey,
}

/// Device `d` of account `a`.
pub fn person(a: u8, d: u8) -> Person {
    let mut key = [a; 32];
    key[31] = d;
    let key = PublicKey(key);
    Person { account: AccountId([a; 32]), device: DeviceId::of(&key), key }
}

impl Person {
    pub fn record(&self) -> DeviceRecord {
        DeviceRecord { account: self.account, device: self.device, key: self.key, revoked: false }
    }

    pub fn frame(&self, conversation: ConversationId, seq: u64, text: &str) -> Frame {
        self.frames(conversation, seq, &[text]).remove(0)
    }

    /// One burst.
    pub fn frames(&self, conversation: ConversationId, first: u64, texts: &[&str]) -> Vec<Frame> {
        let bodies = texts.iter().enumerate().map(|(index, text)| FrameBody {
            conversation,
            device: self.device,
            seq: Seq(first + index as u64),
            sealed: Blob::new(text.as_bytes().to_vec()).unwrap(),
        });
        Frame::sign_all(bodies.collect(), |message| digest(&self.key, message))
    }

    pub fn change(&self, conversation: ConversationId, epoch: u64, action: Action) -> SignedChange {
        let change = Change {
            conversation,
            epoch: MembershipEpoch(epoch),
            account: self.account,
            device: self.device,
            action,
        };
        SignedChange::sign(&change, |message| digest(&self.key, message))
    }
}

pub fn create(kind: ConversationKind, members: &[Person]) -> Action {
    Action::Create { kind, members: accounts(members) }
}

pub fn add(members: &[Person]) -> Action {
    Action::Add { members: accounts(members) }
}

fn accounts<const MAX: usize>(members: &[Person]) -> Bounded<AccountId, MAX> {
    Bounded::new(members.iter().map(|member| member.account).collect()).unwrap()
}

pub const GROUP: ConversationId = ConversationId([2; 16]);

/// What a driver still has to answer.
pub enum Task {
    Answer(Input),
    Write(sotto_relay::log::BatchToken, Batch),
}

pub struct World {
    pub log: Log<Digest>,
    pub config: LogConfig,
    pub engine: Digest,
    pub store: MemoryStore,
    pub now: UnixMillis,
    pub directory: BTreeMap<DeviceId, DeviceRecord>,
    pub tasks: VecDeque<Task>,
    pub sent: BTreeMap<SessionId, Vec<Event>>,
    /// Outputs other than events, as words.
    pub signs: Vec<(SessionId, &'static str)>,
    /// Whether sockets drain at once.
    pub reads: bool,
    last_session: u64,
}

impl World {
    pub fn new() -> Self {
        Self::with(LogConfig::default())
    }

    pub fn with(config: LogConfig) -> Self {
        let engine = Digest::default();
        Self {
            log: Log::new(config.clone(), engine.clone()),
            config,
            engine,
            store: MemoryStore::default(),
            now: UnixMillis(1_000_000),
            directory: BTreeMap::new(),
            tasks: VecDeque::new(),
            sent: BTreeMap::new(),
            signs: Vec::new(),
            reads: true,
            last_session: 0,
        }
    }

    /// Drops the log with all it had under way, as kill -9 does, and starts a new one over what is stored.
    pub fn crash(&mut self) {
        self.log = Log::new(self.config.clone(), self.engine.clone());
        self.tasks.clear();
        self.sent.clear();
        self.signs.clear();
    }

    pub fn connect(&mut self, person: Person) -> SessionId {
        self.directory.entry(person.device).or_insert(person.record());
        self.last_session += 1;
        let session = SessionId(self.last_session);
        self.input(Input::Connected { session, account: person.account, device: person.device });
        session
    }

    /// Connects, and lets everything settle.
    pub fn join(&mut self, person: Person) -> SessionId {
        let session = self.connect(person);
        self.settle();
        self.events(session);
        session
    }

    /// A group of these, made by the first; its session comes back.
    pub fn group(&mut self, members: &[Person]) -> SessionId {
        for member in members {
            self.directory.insert(member.device, member.record());
        }
        let session = self.join(members[0]);
        let change = members[0].change(GROUP, 1, create(ConversationKind::Group, members));
        self.ask(session, Request::Commit { change });
        session
    }

    pub fn input(&mut self, input: Input) {
        self.log.handle(self.now, input);
        self.drain();
    }

    pub fn request(&mut self, session: SessionId, request: Request) {
        self.input(Input::Request { session, request });
    }

    /// A request and all that follows from it.
    pub fn ask(&mut self, session: SessionId, request: Request) -> Vec<Event> {
        self.events(session);
        self.request(session, request);
        self.settle();
        self.events(session)
    }

    pub fn append(&mut self, session: SessionId, frame: Frame) -> Vec<Event> {
        self.ask(session, Request::Append { frame })
    }

    pub fn subscribe(&mut self, session: SessionId, epoch: u64, after: u64) -> Vec<Event> {
        self.ask(
            session,
            Request::Subscribe {
                conversation: GROUP,
                log_epoch: LogEpoch(epoch),
                after: Position(after),
                held: None,
            },
        )
    }

    fn drain(&mut self) {
        while let Some(output) = self.log.poll() {
            match output {
                Output::Write { token, batch } => self.tasks.push_back(Task::Write(token, batch)),
                Output::Load { load, query } => {
                    let result = Ok(self.store.answer(&query));
                    self.tasks.push_back(Task::Answer(Input::Loaded { load, result }));
                }
                Output::LookUp { load, what } => {
                    let found = match what {
                        LookUp::Device(device) => Found::Device(self.directory.get(&device).copied()),
                        LookUp::Accounts(accounts) => Found::UnknownAccounts(
                            accounts
                                .into_iter()
                                .filter(|account| self.directory.values().all(|r| r.account != *account))
                                .collect(),
                        ),
                    };
                    self.tasks.push_back(Task::Answer(Input::Found { load, result: Ok(found) }));
                }
                Output::Send { session, event } => self.sent.entry(session).or_default().push(event),
                Output::AwaitRoom { session } => {
                    self.signs.push((session, "await room"));
                    if self.reads {
                        self.tasks.push_back(Task::Answer(Input::Writable { session }));
                    }
                }
                Output::Pause { session } => self.signs.push((session, "pause")),
                Output::Resume { session } => self.signs.push((session, "resume")),
                Output::Close { session, .. } => self.signs.push((session, "close")),
            }
        }
    }

    /// Carries out the task at `index`, in any order.
    pub fn perform(&mut self, index: usize) {
        let Some(task) = self.tasks.remove(index) else { return };
        match task {
            Task::Answer(input) => self.input(input),
            Task::Write(token, batch) => {
                self.store.apply(&batch).unwrap();
                self.input(Input::Committed { token, result: Ok(()) });
            }
        }
    }

    /// Has the write under way fail, with nothing stored.
    pub fn fail_write(&mut self) -> bool {
        let write = self.tasks.iter().position(|task| matches!(task, Task::Write(..)));
        let Some(Task::Write(token, _)) = write.and_then(|index| self.tasks.remove(index)) else {
            return false;
        };
        self.input(Input::Committed { token, result: Err(Failed) });
        true
    }

    /// All but writes.
    pub fn settle_reads(&mut self) {
        while let Some(index) = self.tasks.iter().position(|task| matches!(task, Task::Answer(_))) {
            self.perform(index);
        }
    }

    pub fn settle(&mut self) {
        while !self.tasks.is_empty() {
            self.perform(0);
        }
    }

    /// What the session was sent since it was asked last.
    pub fn events(&mut self, session: SessionId) -> Vec<Event> {
        self.sent.remove(&session).unwrap_or_default().into_iter().flat_map(singly).collect()
    }

    /// The same, as it travels: with the runs that the relay makes.
    pub fn events_in_runs(&mut self, session: SessionId) -> Vec<Event> {
        self.sent.remove(&session).unwrap_or_default()
    }
}

/// An event as if the relay had told of each message by itself.
fn singly(event: Event) -> Vec<Event> {
    match event {
        Event::Appended { conversation, device, seq, position, run } => run
            .places(seq, position)
            .map(|(seq, position)| Event::Appended { conversation, device, seq, position, run: Run::ONE })
            .collect(),
        Event::Entry { conversation, position, body: EntryBody::Known(device, seq, run) } => run
            .places(seq, position)
            .map(|(seq, position)| {
                let body = EntryBody::Known(device, seq, Run::ONE);
                Event::Entry { conversation, position, body }
            })
            .collect(),
        other => vec![other],
    }
}

/// The positions of the entries among the events.
pub fn positions(events: &[Event]) -> Vec<u64> {
    let position = |event: &Event| match event {
        Event::Entry { position, .. } => Some(position.0),
        _ => None,
    };
    events.iter().filter_map(position).collect()
}

/// The bodies of the entries among the events.
pub fn bodies(events: &[Event]) -> Vec<EntryBody> {
    let body = |event: &Event| match event {
        Event::Entry { body, .. } => Some(body.clone()),
        _ => None,
    };
    events.iter().filter_map(body).collect()
}

pub fn appended(frame: &Frame, position: u64) -> Event {
    let id = frame.id();
    Event::Appended {
        conversation: id.conversation,
        device: id.device,
        seq: id.seq,
        position: Position(position),
        run: Run::ONE,
    }
}
