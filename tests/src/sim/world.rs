//! The world: who is up, what is on its way, and what time it is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use sotto_peer_core::crypto::Ed25519;
use sotto_peer_core::{
    Channel, Command, CommandId, Config, Event, HttpRequest, HttpResponse, Identity, Input, LinkCommand,
    LinkEvent, MessageBody, MessageView, Moment, Output, Peer, Reply, Socket, SocketCommand, SocketEvent,
    WriteSet,
};
use sotto_protocol::device_list::SignedEntry;
use sotto_protocol::keys::Nonce;
use sotto_protocol::link::DescriptionKind;
use sotto_protocol::relay::{Event as RelayEvent, RELAY_VERSION, Request};
use sotto_protocol::rest;
use sotto_protocol::signal::{ClientMessage, ServerMessage};
use sotto_protocol::{ConversationId, DeviceId, Handle, Hash, MessageId, UnixMillis, cbor, limits};
use sotto_relay::log::{self, Found, Log, LogConfig, LookUp, SessionId};
use sotto_relay::store::MemoryStore;

use super::disk::Disk;

/// How often what goes wrong, in thousandths of the steps.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    /// A peer dies; it comes back later.
    pub peer_crash: u32,
    /// The relay dies; it comes back later.
    pub relay_crash: u32,
    /// A pair's path is cut, or healed.
    pub cut: u32,
    /// A message over a link arrives twice.
    pub duplicate: u32,
}

#[derive(Debug)]
enum Happening {
    ToPeer { peer: usize, life: u64, input: Input },
    ToRelay { session: SessionId, message: Vec<u8> },
    ToLink { from: usize, to: usize, session: Nonce, channel: Channel, message: bytes::Bytes },
    Written { peer: usize, life: u64, token: sotto_peer_core::WriteToken, writes: WriteSet },
    RelayWritten { life: u64, token: log::BatchToken, batch: Box<sotto_relay::store::Batch> },
    PeerUp { peer: usize },
    RelayUp,
}

struct Node {
    identity: Identity,
    entry: SignedEntry,
    peer: Option<Peer>,
    disk: Disk,
    /// Counts lives: what is meant for an earlier one is lost.
    life: u64,
    signal: bool,
    relay: Option<SessionId>,
    /// RTCPeerConnections by attempt.
    connections: BTreeMap<Nonce, Connection>,
    replies: BTreeMap<CommandId, Result<Reply, sotto_peer_core::CommandError>>,
    shown: BTreeSet<MessageId>,
    /// The texts of those.
    texts: BTreeSet<String>,
    /// It never comes back.
    dead: bool,
}

#[derive(Default)]
struct Connection {
    local: bool,
    remote: bool,
    open: bool,
}

/// A history in the making.
pub struct World {
    rng: ChaCha20Rng,
    now: Duration,
    queue: BTreeMap<(Duration, u64), Happening>,
    last: u64,
    nodes: Vec<Node>,
    log: Option<Log<Ed25519>>,
    log_life: u64,
    store: MemoryStore,
    sessions: BTreeMap<SessionId, usize>,
    /// When the last message of each ordered stream arrives.
    streams: BTreeMap<(SessionId, bool), Duration>,
    cut: BTreeSet<(usize, usize)>,
    held: VecDeque<Happening>,
    faults: Faults,
    next_command: u64,
    /// Texts whose `send` was answered, by sender, in order.
    pub accepted: Vec<(usize, String)>,
    sends: BTreeMap<(usize, CommandId), String>,
    /// By text: what its sender had been shown when it was sent.
    causes: BTreeMap<String, BTreeSet<String>>,
}

impl World {
    /// Peers that have signed up, all online.
    pub fn new(seed: u64, peers: usize, faults: Faults) -> Self {
        let mut world = Self {
            rng: ChaCha20Rng::seed_from_u64(seed),
            now: Duration::from_secs(1),
            queue: BTreeMap::new(),
            last: 0,
            nodes: Vec::new(),
            log: Some(Log::new(LogConfig::default(), Ed25519)),
            log_life: 0,
            store: MemoryStore::default(),
            sessions: BTreeMap::new(),
            streams: BTreeMap::new(),
            cut: BTreeSet::new(),
            held: VecDeque::new(),
            faults,
            next_command: 0,
            accepted: Vec::new(),
            sends: BTreeMap::new(),
            causes: BTreeMap::new(),
        };
        for index in 0..peers {
            let mut random = [0; 64];
            world.rng.fill_bytes(&mut random);
            let handle = Handle::parse(&format!("peer{index}")).unwrap();
            let identity = Identity::generate(handle, "http://localhost:8080".into(), random);
            let entry = identity.sign_up("sim", None, UnixMillis(1)).device;
            let mut disk = Disk::default();
            disk.write(&identity.write_set());
            world.nodes.push(Node {
                identity,
                entry,
                peer: None,
                disk,
                life: 0,
                signal: false,
                relay: None,
                connections: BTreeMap::new(),
                replies: BTreeMap::new(),
                shown: BTreeSet::new(),
                texts: BTreeSet::new(),
                dead: false,
            });
            world.start(index);
        }
        world
    }

    fn moment(&self) -> Moment {
        Moment { monotonic: self.now, wall: UnixMillis(1_700_000_000_000 + self.now.as_millis() as u64) }
    }

    fn below(&mut self, bound: u64) -> u64 {
        u64::from(self.rng.next_u32()) % bound
    }

    fn at(&mut self, delay: Duration, happening: Happening) {
        self.last += 1;
        self.queue.insert((self.now + delay, self.last), happening);
    }

    fn delay(&mut self) -> Duration {
        Duration::from_micros(500 + self.below(20_000))
    }

    /// Virtual time since the start.
    pub fn elapsed(&self) -> Duration {
        self.now
    }

    fn start(&mut self, index: usize) {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let (now, node) = (self.moment(), &mut self.nodes[index]);
        let peer = Peer::restore(Config::default(), now, seed, node.disk.snapshot());
        node.peer = Some(peer.unwrap_or_else(|e| panic!("peer {index}: {e}")));
        self.drain(index);
    }

    /// Kills a peer: whatever its disk does not hold is gone.
    pub fn crash(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if node.peer.take().is_none() {
            return;
        }
        node.life += 1;
        node.signal = false;
        node.connections.clear();
        node.replies.clear();
        self.sends.retain(|(peer, _), _| *peer != index);
        if let Some(session) = node.relay.take() {
            self.sessions.remove(&session);
            self.feed(log::Input::Disconnected { session });
        }
        let later = Duration::from_millis(200 + self.below(4_000));
        self.at(later, Happening::PeerUp { peer: index });
    }

    /// A message is shown after everything that its sender had been shown. (A peer that crashed may have shown
    /// something just before, unheard: it is not judged.)
    fn check_causes(&self, index: usize, text: &str) {
        let node = &self.nodes[index];
        let Some(causes) = self.causes.get(text).filter(|_| node.life == 0) else { return };
        let missing: Vec<&String> = causes.difference(&node.texts).collect();
        assert!(
            missing.is_empty(),
            "peer {index} was shown {text:?} before {missing:?}, which its sender had seen"
        );
    }

    /// Kills a peer for good.
    pub fn kill(&mut self, index: usize) {
        self.crash(index);
        self.nodes[index].dead = true;
    }

    /// Whether a peer was killed for good.
    pub fn is_dead(&self, index: usize) -> bool {
        self.nodes[index].dead
    }

    /// Kills the relay: a batch on its way to the disk may be lost.
    pub fn crash_relay(&mut self) {
        let time = Duration::from_millis(200 + self.below(4_000));
        self.crash_relay_for(time);
    }

    /// The same, and it comes back after this time.
    pub fn crash_relay_for(&mut self, time: Duration) {
        if self.log.take().is_none() {
            return;
        }
        self.log_life += 1;
        self.sessions.clear();
        for index in 0..self.nodes.len() {
            if self.nodes[index].relay.take().is_some() {
                let event = SocketEvent::Closed("connection reset".into());
                self.tell_peer(
                    index,
                    Duration::from_millis(1),
                    Input::Socket { socket: Socket::Relay, event },
                );
            }
        }
        self.at(time, Happening::RelayUp);
    }

    /// Cuts the path between two peers, or heals it.
    pub fn set_cut(&mut self, a: usize, b: usize, cut: bool) {
        let pair = (a.min(b), a.max(b));
        if cut {
            self.cut.insert(pair);
            return;
        }
        self.cut.remove(&pair);
        for happening in std::mem::take(&mut self.held) {
            let delay = self.delay();
            self.at(delay, happening);
        }
    }

    fn tell_peer(&mut self, peer: usize, delay: Duration, input: Input) {
        let life = self.nodes[peer].life;
        self.at(delay, Happening::ToPeer { peer, life, input });
    }

    /// Gives a peer a command; its reply is in [`World::reply`] later.
    pub fn command(&mut self, index: usize, command: Command) -> CommandId {
        self.next_command += 1;
        let id = CommandId(self.next_command);
        let now = self.moment();
        if let Some(peer) = &mut self.nodes[index].peer {
            peer.handle(now, Input::Command { id, command });
            self.drain(index);
        }
        id
    }

    /// The reply to a command, once it is there.
    pub fn reply(&self, index: usize, id: CommandId) -> Option<Result<Reply, sotto_peer_core::CommandError>> {
        self.nodes[index].replies.get(&id).cloned()
    }

    /// Runs until a command is answered.
    pub fn run_command(&mut self, index: usize, command: Command) -> Reply {
        let id = self.command(index, command.clone());
        for _ in 0..200_000 {
            if let Some(reply) = self.reply(index, id) {
                return reply.unwrap_or_else(|e| panic!("peer {index}: {command:?}: {e}"));
            }
            self.step();
        }
        panic!("peer {index}: no answer to {command:?}");
    }

    /// Sends a text from a peer that is up.
    pub fn send(&mut self, index: usize, conversation: ConversationId, text: &str) {
        self.causes.insert(text.to_owned(), self.nodes[index].texts.clone());
        let id = self.command(index, Command::Send { conversation, text: text.to_owned() });
        if self.nodes[index].peer.is_some() {
            self.sends.insert((index, id), text.to_owned());
        }
    }

    /// What a peer shows of a conversation.
    pub fn history(&mut self, index: usize, conversation: ConversationId) -> Vec<MessageView> {
        let command = Command::History { conversation, before: None, after: None, limit: 5_000 };
        match self.run_command(index, command) {
            Reply::History(messages) => {
                messages.into_iter().filter(|m| matches!(m.body, MessageBody::Text(_))).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Whether a peer says that it is linked directly to another.
    pub fn is_direct(&mut self, index: usize) -> bool {
        let Reply::Status(status) = self.run_command(index, Command::Status) else { return false };
        status.links.iter().any(|link| link.path == sotto_peer_core::LinkPath::Direct)
    }

    /// Runs for a while, with faults.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.misfortune();
            self.step_until(end);
        }
    }

    /// From here on this goes wrong.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// Heals everything, and runs without faults.
    pub fn heal(&mut self, time: Duration) {
        self.faults = Faults { peer_crash: 0, relay_crash: 0, cut: 0, duplicate: 0 };
        for (a, b) in self.cut.clone() {
            self.set_cut(a, b, false);
        }
        self.run(time);
    }

    fn misfortune(&mut self) {
        let faults = self.faults;
        let peers = self.nodes.len() as u64;
        let roll = |world: &mut Self, odds: u32| odds > 0 && world.below(10_000) < u64::from(odds);
        if roll(self, faults.peer_crash) {
            let victim = self.below(peers) as usize;
            self.crash(victim);
        }
        if roll(self, faults.relay_crash) {
            self.crash_relay();
        }
        if roll(self, faults.cut) {
            let (a, b) = (self.below(peers) as usize, self.below(peers) as usize);
            let cut = !self.cut.contains(&(a.min(b), a.max(b)));
            if a != b {
                self.set_cut(a, b, cut);
            }
        }
    }

    fn step(&mut self) {
        self.step_until(self.now + Duration::from_secs(3600));
    }

    /// Does what is next, be it a message or a timer, but nothing after `end`.
    fn step_until(&mut self, end: Duration) {
        let timers = self.nodes.iter().enumerate();
        let timer = timers.filter_map(|(i, node)| Some((node.peer.as_ref()?.next_timeout()?, i))).min();
        let message = self.queue.keys().next().copied();
        let next = timer.map(|(at, _)| at).into_iter().chain(message.map(|(at, _)| at)).min().unwrap_or(end);
        if next > end {
            self.now = end;
            return;
        }
        self.now = self.now.max(next);
        match (timer, message) {
            (Some((at, index)), message) if message.is_none_or(|(m, _)| at <= m) => {
                self.give(index, Input::Timeout);
            }
            (_, Some(key)) => {
                if let Some(happening) = self.queue.remove(&key) {
                    self.happen(happening);
                }
            }
            _ => self.now = end,
        }
    }

    fn give(&mut self, index: usize, input: Input) {
        let now = self.moment();
        if let Some(peer) = &mut self.nodes[index].peer {
            peer.handle(now, input);
            self.drain(index);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::ToPeer { peer, life, input } => {
                if self.nodes[peer].life == life {
                    self.give(peer, input);
                }
            }
            Happening::ToRelay { session, message } => {
                if !self.sessions.contains_key(&session) {
                    return;
                }
                for request in cbor::decode_sequence::<Request>(&message, limits::MAX_RELAY_MESSAGE).unwrap()
                {
                    self.request(session, request);
                }
            }
            Happening::ToLink { from, to, session, channel, message } => {
                if self.cut.contains(&(from.min(to), from.max(to))) {
                    if channel == Channel::Msg {
                        self.held.push_back(Happening::ToLink { from, to, session, channel, message });
                    }
                    return;
                }
                if self.nodes[to].connections.get(&session).is_some_and(|connection| connection.open) {
                    let device = self.nodes[from].identity.device;
                    let event = LinkEvent::Message { channel, message };
                    self.give(to, Input::Link { device, session, event });
                }
            }
            Happening::Written { peer, life, token, writes } => {
                if self.nodes[peer].life == life {
                    self.nodes[peer].disk.write(&writes);
                    self.give(peer, Input::Persisted(token));
                }
            }
            Happening::RelayWritten { life, token, batch } => {
                if self.log_life == life {
                    self.store.apply(&batch).unwrap();
                    self.feed(log::Input::Committed { token, result: Ok(()) });
                }
            }
            Happening::PeerUp { peer } => {
                if self.nodes[peer].peer.is_none() && !self.nodes[peer].dead {
                    self.start(peer);
                }
            }
            Happening::RelayUp => self.log = Some(Log::new(LogConfig::default(), Ed25519)),
        }
    }

    fn request(&mut self, session: SessionId, request: Request) {
        let index = self.sessions[&session];
        let identity = &self.nodes[index].identity;
        let (account, device) = (identity.account, identity.device);
        if !matches!(request, Request::Authenticate { .. }) {
            self.feed(log::Input::Request { session, request });
            return;
        }
        let ready = RelayEvent::Ready { version: RELAY_VERSION, account, device };
        self.relay_says(session, &ready);
        self.feed(log::Input::Connected { session, account, device });
    }

    fn feed(&mut self, input: log::Input) {
        let now = self.moment().wall;
        let Some(log) = &mut self.log else { return };
        log.handle(now, input);
        let mut outputs = Vec::new();
        while let Some(output) = log.poll() {
            outputs.push(output);
        }
        for output in outputs {
            match output {
                log::Output::Write { token, batch } => {
                    let (life, delay) = (self.log_life, self.delay());
                    self.at(delay, Happening::RelayWritten { life, token, batch: Box::new(batch) });
                }
                log::Output::Load { load, query } => {
                    let result = Ok(self.store.answer(&query));
                    self.feed(log::Input::Loaded { load, result });
                }
                log::Output::LookUp { load, what } => {
                    let result = Ok(self.look_up(&what));
                    self.feed(log::Input::Found { load, result });
                }
                log::Output::Send { session, event } => self.relay_says(session, &event),
                log::Output::AwaitRoom { session } => self.feed(log::Input::Writable { session }),
                log::Output::Pause { .. } | log::Output::Resume { .. } => {}
                log::Output::Close { session, .. } => {
                    if let Some(index) = self.sessions.remove(&session) {
                        self.nodes[index].relay = None;
                        let event = SocketEvent::Closed("closed by the relay".into());
                        self.tell_peer(
                            index,
                            Duration::from_millis(1),
                            Input::Socket { socket: Socket::Relay, event },
                        );
                    }
                }
            }
        }
    }

    fn look_up(&self, what: &LookUp) -> Found {
        let known = |device: &DeviceId| self.nodes.iter().map(|n| &n.identity).find(|i| i.device == *device);
        match what {
            LookUp::Device(device) => Found::Device(known(device).map(|identity| rest::DeviceRecord {
                account: identity.account,
                device: identity.device,
                key: identity.key.public(),
                revoked: false,
            })),
            LookUp::Accounts(accounts) => {
                let exists = |account| self.nodes.iter().any(|node| node.identity.account == account);
                Found::UnknownAccounts(accounts.iter().copied().filter(|account| !exists(*account)).collect())
            }
        }
    }

    /// Streams keep their order.
    fn in_order(&mut self, session: SessionId, up: bool) -> Duration {
        let arrival = self.now + self.delay();
        let last = self.streams.entry((session, up)).or_default();
        *last = arrival.max(*last + Duration::from_nanos(1));
        *last - self.now
    }

    fn relay_says(&mut self, session: SessionId, event: &RelayEvent) {
        let Some(&index) = self.sessions.get(&session) else { return };
        let delay = self.in_order(session, false);
        let event = SocketEvent::Message(cbor::encode(event).into());
        self.tell_peer(index, delay, Input::Socket { socket: Socket::Relay, event });
    }

    fn drain(&mut self, index: usize) {
        let mut outputs = Vec::new();
        if let Some(peer) = &mut self.nodes[index].peer {
            while let Some(output) = peer.poll() {
                outputs.push(output);
            }
        }
        for output in outputs {
            self.carry_out(index, output);
        }
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        match output {
            Output::Persist { token, writes } => {
                let (life, delay) = (self.nodes[index].life, self.delay());
                self.at(delay, Happening::Written { peer: index, life, token, writes });
            }
            Output::Load { id, query } => {
                let rows = self.nodes[index].disk.read(&query);
                let delay = self.delay();
                self.tell_peer(index, delay, Input::Loaded { id, rows });
            }
            Output::Http { id, request } => {
                let result = Ok(self.answer(index, &request));
                let delay = self.delay();
                self.tell_peer(index, delay, Input::Http { id, result });
            }
            Output::Socket { socket, command } => self.socket(index, socket, command),
            Output::Link { device, session, command } => self.link(index, device, session, command),
            Output::Reply { id, result } => {
                if let (Some(text), Ok(_)) = (self.sends.remove(&(index, id)), &result) {
                    self.accepted.push((index, text));
                }
                self.nodes[index].replies.insert(id, result);
            }
            Output::Event(notification) => {
                if let Event::Message(view) = notification.event {
                    assert!(
                        self.nodes[index].shown.insert(view.id),
                        "peer {index} was shown {} twice",
                        view.id
                    );
                    if let MessageBody::Text(text) = view.body {
                        self.check_causes(index, &text);
                        self.nodes[index].texts.insert(text);
                    }
                }
            }
        }
    }

    fn socket(&mut self, index: usize, socket: Socket, command: SocketCommand) {
        match (socket, command) {
            (Socket::Signal, SocketCommand::Open) => {
                self.nodes[index].signal = true;
                let event = SocketEvent::Opened;
                self.tell_peer(index, Duration::from_millis(1), Input::Socket { socket, event });
            }
            (Socket::Relay, SocketCommand::Open) => {
                let event = if self.log.is_some() {
                    self.last += 1;
                    let session = SessionId(self.last);
                    self.sessions.insert(session, index);
                    self.nodes[index].relay = Some(session);
                    SocketEvent::Opened
                } else {
                    SocketEvent::Closed("connection refused".into())
                };
                self.tell_peer(index, Duration::from_micros(400), Input::Socket { socket, event });
            }
            (Socket::Relay, SocketCommand::Send(message)) => {
                let Some(session) = self.nodes[index].relay else { return };
                let delay = self.in_order(session, true);
                self.at(delay, Happening::ToRelay { session, message: message.to_vec() });
            }
            (Socket::Signal, SocketCommand::Send(message)) => self.signal(index, &message),
            (Socket::Signal, SocketCommand::Close) => self.nodes[index].signal = false,
            (Socket::Relay, SocketCommand::Close) => {
                if let Some(session) = self.nodes[index].relay.take() {
                    self.sessions.remove(&session);
                    self.feed(log::Input::Disconnected { session });
                }
            }
        }
    }

    fn signal(&mut self, index: usize, message: &[u8]) {
        let identity = &self.nodes[index].identity;
        let (account, device) = (identity.account, identity.device);
        let text = std::str::from_utf8(message).unwrap();
        let (to, answer) = match ClientMessage::parse(text).unwrap() {
            ClientMessage::Authenticate { .. } => {
                (index, ServerMessage::Ready { account, device, lease_ms: 45_000 })
            }
            ClientMessage::Signal { to, payload } => {
                let found = self.nodes.iter().position(|node| node.identity.device == to && node.signal);
                match found {
                    Some(other) => (other, ServerMessage::Signal { from: device, account, payload }),
                    None => (index, ServerMessage::Unreachable { to }),
                }
            }
            ClientMessage::Ping {} => (index, ServerMessage::Pong {}),
            ClientMessage::PresenceSet { .. } | ClientMessage::PresenceSubscribe { .. } => return,
        };
        let event = SocketEvent::Message(serde_json::to_vec(&answer).unwrap().into());
        // One stream for all signals keeps a description before its candidates.
        let delay = self.in_order(SessionId(u64::MAX - to as u64), false);
        self.tell_peer(to, delay, Input::Socket { socket: Socket::Signal, event });
    }

    fn link(&mut self, index: usize, device: DeviceId, session: Nonce, command: LinkCommand) {
        let other = self.nodes.iter().position(|node| node.identity.device == device).unwrap();
        match command {
            LinkCommand::Open { .. } => {
                self.nodes[index].connections.insert(session, Connection::default());
            }
            LinkCommand::Offer { .. } => self.describe(index, device, session, DescriptionKind::Offer),
            LinkCommand::SetRemote { kind, .. } => {
                if let Some(connection) = self.nodes[index].connections.get_mut(&session) {
                    connection.remote = true;
                }
                if kind == DescriptionKind::Offer {
                    self.describe(index, device, session, DescriptionKind::Answer);
                }
                self.connect(index, other, session);
            }
            LinkCommand::AddCandidate { .. } => {}
            LinkCommand::Send { channel, message } => {
                let duplicate = self.below(1_000) < u64::from(self.faults.duplicate);
                for _ in 0..if duplicate { 2 } else { 1 } {
                    let (delay, message) = (self.delay(), message.clone());
                    self.at(delay, Happening::ToLink { from: index, to: other, session, channel, message });
                }
            }
            LinkCommand::Close => {
                self.nodes[index].connections.remove(&session);
            }
        }
    }

    fn describe(&mut self, index: usize, device: DeviceId, session: Nonce, kind: DescriptionKind) {
        if let Some(connection) = self.nodes[index].connections.get_mut(&session) {
            connection.local = true;
        }
        let own = self.nodes[index].identity.device;
        let fingerprint = Hash::of(&[&session.0, &own.0]).0.map(|byte| format!("{byte:02X}")).join(":");
        let sdp = format!("v=0\r\na=fingerprint:sha-256 {fingerprint}\r\n");
        let event = LinkEvent::Description { kind, sdp };
        self.tell_peer(index, Duration::from_millis(1), Input::Link { device, session, event });
    }

    /// Opens the channels once both ends have both descriptions.
    fn connect(&mut self, a: usize, b: usize, session: Nonce) {
        let agreed =
            |node: &Node| node.connections.get(&session).is_some_and(|c| c.local && c.remote && !c.open);
        if !agreed(&self.nodes[a]) || !agreed(&self.nodes[b]) || self.cut.contains(&(a.min(b), a.max(b))) {
            return;
        }
        for (this, that) in [(a, b), (b, a)] {
            self.nodes[this].connections.get_mut(&session).unwrap().open = true;
            let device = self.nodes[that].identity.device;
            for channel in [Channel::Msg, Channel::Probe] {
                let (delay, event) = (self.delay(), LinkEvent::ChannelOpen(channel));
                self.tell_peer(this, delay, Input::Link { device, session, event });
            }
        }
    }

    /// The parts of the REST API that a peer uses.
    fn answer(&mut self, index: usize, request: &HttpRequest) -> HttpResponse {
        let ok = |body: serde_json::Value| HttpResponse { status: 200, body: body.to_string().into_bytes() };
        let path: Vec<&str> = request.path.trim_start_matches("/v1/").split('/').collect();
        let found = |name: &str| {
            self.nodes
                .iter()
                .find(|n| n.identity.handle.as_str() == name || n.identity.account.to_string() == name)
        };
        match path.as_slice() {
            ["challenges"] => {
                ok(serde_json::json!({ "nonce": Nonce([7; 16]).to_string(), "expires_in_ms": 60_000 }))
            }
            ["sessions"] => ok(serde_json::json!({
                "token": "token", "expires_in_ms": 600_000, "account": self.nodes[index].identity.account,
            })),
            ["handles" | "accounts", name] => match found(name) {
                Some(node) => ok(serde_json::json!({
                    "account": node.identity.account, "handle": node.identity.handle, "profile": {},
                })),
                None => HttpResponse { status: 404, body: Vec::new() },
            },
            ["accounts", name, "devices"] => {
                let node = found(name).unwrap();
                ok(serde_json::json!({ "account": node.identity.account, "entries": [node.entry] }))
            }
            _ => HttpResponse { status: 404, body: Vec::new() },
        }
    }
}
