//! The world: who is up, what is on its way, and what time it is.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use sotto_peer_core::{
    Channel, Command, CommandError, CommandId, Config, Event, Identity, Input, MessageView, Moment, Output,
    Peer, Reply, WriteSet, WriteToken,
};
use sotto_protocol::device_list::SignedEntry;
use sotto_protocol::keys::Nonce;
use sotto_protocol::rest::Profile;
use sotto_protocol::{ConversationId, Handle, UnixMillis};
use sotto_relay::log::{BatchToken, LogConfig, SessionId};
use sotto_relay::store::Batch;

use super::attacker::Attacker;
use super::disk::Disk;
use super::faults::Faults;
use super::judge::Judge;
use super::network::{Connection, Network};
use super::relay::Relay;
use super::witness::{Traffic, Witness};

#[derive(Debug)]
pub(super) enum Happening {
    ToPeer { peer: usize, life: u64, input: Input },
    ToRelay { session: SessionId, message: Vec<u8> },
    ToLink { from: usize, to: usize, session: Nonce, channel: Channel, message: bytes::Bytes },
    Written { peer: usize, life: u64, token: WriteToken, writes: WriteSet },
    RelayWritten { life: u64, token: BatchToken, batch: Box<Batch> },
    RelayTick { life: u64 },
    SocketDies { session: SessionId },
    SignalDies { peer: usize, life: u64 },
    PeerUp { peer: usize },
    RelayUp,
}

pub(super) struct Node {
    pub identity: Identity,
    /// Its account's device list.
    pub entries: Vec<SignedEntry>,
    /// What the server has of the account's profile.
    pub profile: Profile,
    pub peer: Option<Peer>,
    pub disk: Disk,
    /// Counts lives: what is meant for an earlier one is lost.
    pub life: u64,
    /// Whether the signaling socket stands.
    pub signal: bool,
    pub relay: Option<SessionId>,
    /// RTCPeerConnections by attempt.
    pub connections: BTreeMap<Nonce, Connection>,
    pub replies: BTreeMap<CommandId, Result<Reply, CommandError>>,
    /// What its user was told.
    pub witness: Witness,
    pub traffic: Traffic,
    /// An older copy of its profile.
    pub saved: Option<Box<(Disk, Witness)>>,
    /// It never comes back.
    pub dead: bool,
    /// It comes back only when it is told to.
    pub away: bool,
}

/// A history in the making.
pub struct World {
    pub(super) rng: ChaCha20Rng,
    pub(super) now: Duration,
    queue: BTreeMap<(Duration, u64), Happening>,
    pub(super) last: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) relay: Relay,
    pub(super) network: Network,
    pub(super) attacker: Attacker,
    pub(super) faults: Faults,
    pub(super) judge: Judge,
    /// Whether what goes to and from the relay is printed: `SOTTO_SIM_TRACE` is set.
    pub(super) traced: bool,
    next_command: u64,
}

impl World {
    /// Peers that have signed up, all online.
    pub fn new(seed: u64, peers: usize) -> Self {
        Self::with_log(seed, peers, LogConfig::default())
    }

    /// The same, with a relay that is set up in this way.
    pub fn with_log(seed: u64, peers: usize, config: LogConfig) -> Self {
        let mut world = Self {
            rng: ChaCha20Rng::seed_from_u64(seed),
            now: Duration::from_secs(1),
            queue: BTreeMap::new(),
            last: 0,
            nodes: Vec::new(),
            relay: Relay::new(config),
            network: Network::default(),
            attacker: Attacker::default(),
            faults: Faults::default(),
            judge: Judge::default(),
            traced: std::env::var_os("SOTTO_SIM_TRACE").is_some(),
            next_command: 0,
        };
        world.at(Duration::from_secs(1), Happening::RelayTick { life: 0 });
        for index in 0..peers {
            let mut random = [0; 64];
            world.rng.fill_bytes(&mut random);
            let handle = Handle::parse(&format!("peer{index}")).unwrap();
            let identity = Identity::generate(handle, "http://localhost:8080".into(), random);
            let entries = vec![identity.sign_up("sim", None, UnixMillis(1)).device];
            let mut disk = Disk::default();
            disk.write(&identity.write_set());
            world.nodes.push(Node {
                identity,
                entries,
                profile: Profile::default(),
                peer: None,
                disk,
                life: 0,
                signal: false,
                relay: None,
                connections: BTreeMap::new(),
                replies: BTreeMap::new(),
                witness: Witness::default(),
                traffic: Traffic::default(),
                saved: None,
                dead: false,
                away: false,
            });
            world.start(index);
        }
        world
    }

    pub(super) fn moment(&self) -> Moment {
        Moment { monotonic: self.now, wall: UnixMillis(1_700_000_000_000 + self.now.as_millis() as u64) }
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        u64::from(self.rng.next_u32()) % bound
    }

    pub(super) fn at(&mut self, delay: Duration, happening: Happening) {
        self.last += 1;
        self.queue.insert((self.now + delay, self.last), happening);
    }

    pub(super) fn delay(&mut self) -> Duration {
        Duration::from_micros(500 + self.below(20_000))
    }

    /// Virtual time since the start.
    pub fn elapsed(&self) -> Duration {
        self.now
    }

    /// How many peers there are, dead ones included.
    pub fn peers(&self) -> usize {
        self.nodes.len()
    }

    fn start(&mut self, index: usize) {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        let (now, node) = (self.moment(), &mut self.nodes[index]);
        let peer = Peer::restore(Config::default(), now, seed, node.disk.snapshot());
        node.peer = Some(peer.unwrap_or_else(|e| panic!("peer {index}: {e}")));
        self.drain(index);
    }

    /// From now on the server says this of a peer's account, true or not.
    pub fn say_of(&mut self, index: usize, profile: Profile) {
        self.nodes[index].profile = profile;
    }

    /// How often a peer's user was told of a profile.
    pub fn profiles_told(&self, index: usize) -> usize {
        self.nodes[index].witness.profiles
    }

    /// Kills a peer: whatever its disk does not hold is gone. It comes back in some seconds.
    pub fn crash(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if node.peer.take().is_none() {
            return;
        }
        node.life += 1;
        node.signal = false;
        node.connections.clear();
        node.replies.clear();
        node.witness.start_anew();
        self.judge.forget_unanswered(index);
        self.end_relay_session(index);
        let later = Duration::from_millis(200 + self.below(4_000));
        self.at(later, Happening::PeerUp { peer: index });
    }

    /// Kills a peer; it comes back when [`World::wake`] says so.
    pub fn send_away(&mut self, index: usize) {
        self.nodes[index].away = true;
        self.crash(index);
    }

    /// Brings a peer back that was sent away.
    pub fn wake(&mut self, index: usize) {
        self.nodes[index].away = false;
        self.at(Duration::ZERO, Happening::PeerUp { peer: index });
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

    /// Copies a peer's profile as its disk holds it, for [`World::restore_profile`].
    pub fn save_profile(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.saved = Some(Box::new((node.disk.clone(), node.witness.clone())));
        self.judge.saved(index);
    }

    /// Kills a peer and puts the copy in the place of its profile.
    pub fn restore_profile(&mut self, index: usize) {
        let Some(saved) = self.nodes[index].saved.take() else { return };
        self.crash(index);
        let reached = self.reached_somebody(index);
        self.judge.restored(index, &reached);
        let node = &mut self.nodes[index];
        (node.disk, node.witness) = *saved;
        node.witness.start_anew();
    }

    pub(super) fn tell_peer(&mut self, peer: usize, delay: Duration, input: Input) {
        let life = self.nodes[peer].life;
        self.at(delay, Happening::ToPeer { peer, life, input });
    }

    /// Gives a peer a command; its reply is in [`World::reply`] later.
    pub fn command(&mut self, index: usize, command: Command) -> CommandId {
        self.next_command += 1;
        let id = CommandId(self.next_command);
        self.give(index, Input::Command { id, command });
        id
    }

    /// The reply to a command, once it is there.
    pub fn reply(&self, index: usize, id: CommandId) -> Option<Result<Reply, CommandError>> {
        self.nodes[index].replies.get(&id).cloned()
    }

    /// Runs until a command is answered.
    pub fn run_command(&mut self, index: usize, command: Command) -> Reply {
        self.try_command(index, command.clone()).unwrap_or_else(|e| panic!("peer {index}: {command:?}: {e}"))
    }

    /// Runs until a command is answered, well or not.
    pub fn try_command(&mut self, index: usize, command: Command) -> Result<Reply, CommandError> {
        let id = self.command(index, command.clone());
        for _ in 0..200_000 {
            if let Some(reply) = self.reply(index, id) {
                return reply;
            }
            self.step_until(self.now + Duration::from_secs(3600));
        }
        panic!("peer {index}: no answer to {command:?}");
    }

    /// Sends a text, never used before, from a peer that is up.
    pub fn send(&mut self, index: usize, conversation: ConversationId, text: &str) {
        self.next_command += 1;
        let id = CommandId(self.next_command);
        let seen = self.nodes[index].witness.texts(conversation);
        let up = self.nodes[index].peer.is_some();
        self.judge.sends(index, up.then_some(id), conversation, text, seen);
        let command = Command::Send { conversation, text: text.to_owned() };
        self.give(index, Input::Command { id, command });
    }

    /// What a peer answers about a conversation's list.
    pub fn history(&mut self, index: usize, conversation: ConversationId) -> Vec<MessageView> {
        let command = Command::History { conversation, before: None, after: None, limit: 5_000 };
        match self.run_command(index, command) {
            Reply::History(messages) => messages,
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

    pub(super) fn give(&mut self, index: usize, input: Input) {
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
            Happening::ToRelay { session, message } => self.relay_hears(session, &message),
            Happening::ToLink { from, to, session, channel, message } => {
                self.link_arrives(from, to, session, channel, message);
            }
            Happening::Written { peer, life, token, writes } => {
                if self.nodes[peer].life == life {
                    self.nodes[peer].disk.write(&writes);
                    self.give(peer, Input::Persisted(token));
                }
            }
            Happening::RelayWritten { life, token, batch } => self.relay_written(life, token, &batch),
            Happening::RelayTick { life } => self.relay_tick(life),
            Happening::SocketDies { session } => self.relay_socket_dies(session),
            Happening::SignalDies { peer, life } => {
                if self.nodes[peer].life == life {
                    self.drop_signal(peer);
                }
            }
            Happening::PeerUp { peer } => {
                let node = &self.nodes[peer];
                if node.peer.is_none() && !node.dead && !node.away {
                    self.start(peer);
                }
            }
            Happening::RelayUp => self.relay_up(),
        }
    }

    fn drain(&mut self, index: usize) {
        let mut outputs = Vec::new();
        if let Some(peer) = &mut self.nodes[index].peer {
            while let Some(output) = peer.poll() {
                outputs.push(output);
            }
        }
        for output in outputs {
            self.nodes[index].traffic.count(&output);
            self.carry_out(index, output);
        }
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        match output {
            Output::Persist { token, writes } => {
                let (life, delay) = (self.nodes[index].life, self.delay() * self.faults.slow_disk.max(1));
                self.at(delay, Happening::Written { peer: index, life, token, writes });
            }
            Output::Load { id, query } => {
                let rows = self.nodes[index].disk.read(&query);
                let delay = self.delay();
                self.tell_peer(index, delay, Input::Loaded { id, rows });
            }
            Output::Http { id, request } => {
                let result = self.answer(index, &request);
                let delay = self.delay();
                self.tell_peer(index, delay, Input::Http { id, result });
            }
            Output::Socket { socket, command } => self.socket(index, socket, command),
            Output::Link { device, session, command } => self.link(index, device, session, command),
            Output::Reply { id, result } => {
                self.judge.answered(index, id, &result);
                self.nodes[index].replies.insert(id, result);
            }
            Output::Event(notification) => self.witness(index, notification.event),
        }
    }

    fn witness(&mut self, index: usize, event: Event) {
        let handles = self.nodes.iter().map(|node| &node.identity.handle).collect::<Vec<_>>();
        let causes_known = self.nodes[index].life == 0;
        if let Event::Message(view) = &event {
            self.judge.shown(index, &handles, &self.nodes[index].witness, view, causes_known);
        }
        self.nodes[index].witness.take(index, event);
    }
}
