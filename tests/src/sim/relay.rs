//! The relay: the log that ships over a store in memory, its sockets, and its ways to fail.

use std::collections::BTreeMap;
use std::time::Duration;

use sotto_peer_core::crypto::Ed25519;
use sotto_peer_core::{Input, Socket, SocketEvent};
use sotto_protocol::relay::{EntryBody, Event, RELAY_VERSION, Request};
use sotto_protocol::{AccountId, ConversationId, Frame, MessageId, Position, cbor, limits};
use sotto_relay::log::{self, BatchToken, Found, Log, LogConfig, LookUp, SessionId};
use sotto_relay::store::{Answer, Batch, MemoryStore, Query};

use super::World;
use super::world::Happening;

/// Older copies of the store that are kept, to come back with.
const COPIES: usize = 6;

pub(super) struct Relay {
    config: LogConfig,
    log: Option<Log<Ed25519>>,
    life: u64,
    store: MemoryStore,
    sessions: BTreeMap<SessionId, usize>,
    /// Conversations, to roll back.
    conversations: Vec<ConversationId>,
    copies: Vec<MemoryStore>,
    /// What a lying relay holds back until after the next event.
    swapped: BTreeMap<SessionId, Event>,
}

impl Relay {
    pub fn new(config: LogConfig) -> Self {
        Self {
            log: Some(Log::new(config.clone(), Ed25519)),
            config,
            life: 0,
            store: MemoryStore::default(),
            sessions: BTreeMap::new(),
            conversations: Vec::new(),
            copies: Vec::new(),
            swapped: BTreeMap::new(),
        }
    }

    /// Where a message stands in what is durable.
    pub fn place(&self, id: MessageId) -> Option<Position> {
        let query = Query::Entry { conversation: id.conversation, device: id.device, seq: id.seq };
        match self.store.answer(&query) {
            Answer::Entry(place) => place.map(|(position, _)| position),
            other => panic!("{other:?}"),
        }
    }
}

impl World {
    /// From here on copies of the relay's store are kept, and the conversation may be rolled back.
    pub fn keep_copies(&mut self, conversation: ConversationId) {
        self.relay.conversations.push(conversation);
        self.relay.copies = vec![self.relay.store.clone()];
    }

    /// Kills the relay: a batch on its way to the disk may be lost.
    pub fn crash_relay(&mut self) {
        let time = Duration::from_millis(200 + self.below(4_000));
        self.crash_relay_for(time);
    }

    /// The same, and it comes back after this time.
    pub fn crash_relay_for(&mut self, time: Duration) {
        if self.relay.log.take().is_none() {
            return;
        }
        self.relay.life += 1;
        self.relay.sessions.clear();
        self.relay.swapped.clear();
        for index in 0..self.nodes.len() {
            if self.nodes[index].relay.take().is_some() {
                let event = SocketEvent::Closed("connection reset".into());
                let input = Input::Socket { socket: Socket::Relay, event };
                self.tell_peer(index, Duration::from_millis(1), input);
            }
        }
        self.at(time, Happening::RelayUp);
    }

    /// The dead relay's store loses its end, or is an older copy of itself.
    pub(super) fn roll_back_relay(&mut self) {
        if self.relay.log.is_some() || self.relay.conversations.is_empty() {
            return;
        }
        if self.below(2) == 0 && !self.relay.copies.is_empty() {
            let which = self.below(self.relay.copies.len() as u64) as usize;
            self.relay.copies.truncate(which + 1);
            self.relay.store = self.relay.copies[which].clone();
            return;
        }
        for conversation in self.relay.conversations.clone() {
            let head = self.log_state(conversation).0;
            let lost = self.below(head.0.min(20));
            self.roll_back(conversation, Position(head.0 - lost));
        }
    }

    /// The store of the relay forgets what a conversation's log has beyond a position.
    pub fn roll_back(&mut self, conversation: ConversationId, head: Position) {
        self.relay.store.roll_back(conversation, head);
    }

    /// A relay that lies: says this on a peer's socket.
    pub fn relay_claims(&mut self, index: usize, event: &Event) {
        let session = self.nodes[index].relay.expect("a socket to the relay");
        self.send_event(session, event);
    }

    /// A log's head and floor, as stored.
    pub fn log_state(&self, conversation: ConversationId) -> (Position, Position) {
        match self.relay.store.answer(&Query::Conversation(conversation)) {
            Answer::Conversation(Some(stored)) => (stored.head, stored.floor),
            other => panic!("{other:?}"),
        }
    }

    /// A conversation's members as stored, and where each came in.
    pub(super) fn members(&self, conversation: ConversationId) -> BTreeMap<AccountId, Position> {
        match self.relay.store.answer(&Query::Conversation(conversation)) {
            Answer::Conversation(Some(stored)) => stored.membership.members,
            Answer::Conversation(None) => BTreeMap::new(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn relay_up(&mut self) {
        self.relay.log = Some(Log::new(self.relay.config.clone(), Ed25519));
        self.at(Duration::from_secs(1), Happening::RelayTick { life: self.relay.life });
    }

    pub(super) fn relay_tick(&mut self, life: u64) {
        if self.relay.life == life {
            self.feed(log::Input::Tick);
            self.at(Duration::from_secs(1), Happening::RelayTick { life });
        }
    }

    pub(super) fn relay_written(&mut self, life: u64, token: BatchToken, batch: &Batch) {
        if self.relay.life != life {
            return;
        }
        self.relay.store.apply(batch).unwrap();
        if !self.relay.conversations.is_empty() && self.below(8) == 0 {
            self.relay.copies.push(self.relay.store.clone());
            if self.relay.copies.len() > COPIES {
                self.relay.copies.remove(0);
            }
        }
        self.feed(log::Input::Committed { token, result: Ok(()) });
    }

    /// A socket to a relay that listens; false if it does not.
    pub(super) fn open_relay_session(&mut self, index: usize) -> bool {
        if self.relay.log.is_none() {
            return false;
        }
        self.last += 1;
        let session = SessionId(self.last);
        self.relay.sessions.insert(session, index);
        self.nodes[index].relay = Some(session);
        true
    }

    pub(super) fn end_relay_session(&mut self, index: usize) {
        if let Some(session) = self.nodes[index].relay.take() {
            self.relay.sessions.remove(&session);
            self.feed(log::Input::Disconnected { session });
        }
    }

    /// A stalled socket is given up by both ends.
    pub(super) fn relay_socket_dies(&mut self, session: SessionId) {
        let Some(index) = self.relay.sessions.remove(&session) else { return };
        self.nodes[index].relay = None;
        let event = SocketEvent::Closed("timed out".into());
        self.give(index, Input::Socket { socket: Socket::Relay, event });
        self.feed(log::Input::Disconnected { session });
    }

    pub(super) fn relay_hears(&mut self, session: SessionId, message: &[u8]) {
        if !self.relay.sessions.contains_key(&session) {
            return;
        }
        for request in cbor::decode_sequence::<Request>(message, limits::MAX_RELAY_MESSAGE).unwrap() {
            let Some(&index) = self.relay.sessions.get(&session) else { return };
            let identity = &self.nodes[index].identity;
            let (account, device) = (identity.account, identity.device);
            if let Request::Authenticate { .. } = request {
                self.relay_says(session, Event::Ready { version: RELAY_VERSION, account, device });
                self.feed(log::Input::Connected { session, account, device });
            } else {
                if self.traced {
                    eprintln!("{:?} {index} to relay: {:.300}", self.now, format!("{request:?}"));
                }
                self.feed(log::Input::Request { session, request });
            }
        }
    }

    pub(super) fn feed(&mut self, input: log::Input) {
        let now = self.moment().wall;
        let Some(log) = &mut self.relay.log else { return };
        log.handle(now, input);
        let mut outputs = Vec::new();
        while let Some(output) = log.poll() {
            outputs.push(output);
        }
        for output in outputs {
            self.carry_out_log(output);
        }
    }

    fn carry_out_log(&mut self, output: log::Output) {
        match output {
            log::Output::Write { token, batch } => {
                let (life, delay) = (self.relay.life, self.delay());
                self.at(delay, Happening::RelayWritten { life, token, batch: Box::new(batch) });
            }
            log::Output::Load { load, query } => {
                let result = Ok(self.relay.store.answer(&query));
                self.feed(log::Input::Loaded { load, result });
            }
            log::Output::LookUp { load, what } => {
                let result = Ok(self.look_up(&what));
                self.feed(log::Input::Found { load, result });
            }
            log::Output::Send { session, event } => self.relay_says(session, event),
            log::Output::AwaitRoom { session } => self.feed(log::Input::Writable { session }),
            log::Output::Pause { .. } | log::Output::Resume { .. } => {}
            log::Output::Close { session, .. } => {
                if let Some(index) = self.relay.sessions.remove(&session) {
                    self.nodes[index].relay = None;
                    let event = SocketEvent::Closed("closed by the relay".into());
                    let input = Input::Socket { socket: Socket::Relay, event };
                    self.tell_peer(index, Duration::from_millis(1), input);
                }
            }
        }
    }

    fn look_up(&self, what: &LookUp) -> Found {
        match what {
            LookUp::Device(device) => Found::Device(self.device_record(device)),
            LookUp::Accounts(accounts) => {
                let exists = |account| self.nodes.iter().any(|node| node.identity.account == account);
                Found::UnknownAccounts(accounts.iter().copied().filter(|account| !exists(*account)).collect())
            }
        }
    }

    /// Says an event to a session, or lies about it.
    fn relay_says(&mut self, session: SessionId, event: Event) {
        let lie = self.faults.lie;
        if lie == 0 || self.below(1_000) >= u64::from(lie) || matches!(event, Event::Ready { .. }) {
            self.send_event(session, &event);
            // One that was held back comes after the one that should have followed it.
            if let Some(held) = self.relay.swapped.remove(&session) {
                self.send_event(session, &held);
            }
            return;
        }
        match self.below(4) {
            0 => {}
            1 => {
                self.send_event(session, &event);
                self.send_event(session, &event);
            }
            2 => {
                self.relay.swapped.insert(session, event);
            }
            _ => match event {
                Event::Entry { conversation, position, body: EntryBody::Message(frame) } => {
                    if let Some(frame) = self.damage(&frame) {
                        let body = EntryBody::Message(frame);
                        self.send_event(session, &Event::Entry { conversation, position, body });
                    }
                }
                other => {
                    let mut bytes = cbor::encode(&other);
                    bytes.truncate(self.below(bytes.len() as u64) as usize);
                    self.send_relay_bytes(session, bytes);
                }
            },
        }
    }

    /// The frame with one byte changed, if it still is one.
    pub(super) fn damage(&mut self, frame: &Frame) -> Option<Frame> {
        let mut bytes = frame.to_bytes();
        let at = self.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << self.below(8);
        Frame::from_bytes(&bytes).ok().filter(|damaged| damaged != frame && damaged.id() == frame.id())
    }

    fn send_event(&mut self, session: SessionId, event: &Event) {
        if self.traced {
            let to = self.relay.sessions.get(&session);
            eprintln!("{:?} relay to {to:?}: {:.300}", self.now, format!("{event:?}"));
        }
        self.send_relay_bytes(session, cbor::encode(event));
    }

    pub(super) fn send_relay_bytes(&mut self, session: SessionId, bytes: Vec<u8>) {
        let Some(&index) = self.relay.sessions.get(&session) else { return };
        if self.network.stalled.contains(&(session, false)) {
            return;
        }
        let delay = self.in_order(session, false);
        let event = SocketEvent::Message(bytes.into());
        self.tell_peer(index, delay, Input::Socket { socket: Socket::Relay, event });
    }
}
