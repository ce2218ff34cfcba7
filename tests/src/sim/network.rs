//! What carries messages: links between peers, and the sockets to the server.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use sotto_peer_core::{Channel, Input, LinkCommand, LinkEvent, Socket, SocketCommand, SocketEvent};
use sotto_protocol::keys::Nonce;
use sotto_protocol::link::{DescriptionKind, LinkFrame};
use sotto_protocol::{DeviceId, Hash, cbor, limits};
use sotto_relay::log::SessionId;

use super::World;
use super::world::{Happening, Node};

#[derive(Default)]
pub(super) struct Network {
    /// Directions in which nothing gets through.
    pub cut: BTreeSet<(usize, usize)>,
    /// What a reliable channel sends again once its path is back.
    held: VecDeque<Happening>,
    /// When the last message of each ordered stream arrives.
    streams: BTreeMap<(SessionId, bool), Duration>,
    /// Directions of relay sockets (`true`: to the relay) that swallow everything.
    pub stalled: BTreeSet<(SessionId, bool)>,
    /// Messages put on links by each peer, if they are counted.
    counted: Option<BTreeMap<usize, usize>>,
}

#[derive(Default)]
pub(super) struct Connection {
    local: bool,
    remote: bool,
    pub open: bool,
}

impl World {
    /// Cuts the path between two peers in both directions, or heals it.
    pub fn set_cut(&mut self, a: usize, b: usize, cut: bool) {
        self.set_one_way(a, b, cut);
        self.set_one_way(b, a, cut);
    }

    /// Cuts the path from one peer to another, or heals it.
    pub fn set_one_way(&mut self, from: usize, to: usize, cut: bool) {
        if cut {
            self.network.cut.insert((from, to));
            return;
        }
        self.network.cut.remove(&(from, to));
        for happening in std::mem::take(&mut self.network.held) {
            let delay = self.delay();
            self.at(delay, happening);
        }
    }

    /// What waits for a path that is cut is lost with the machine that would have sent it again.
    pub fn lose_what_is_held(&mut self) {
        self.network.held.clear();
    }

    pub(super) fn link_arrives(
        &mut self,
        from: usize,
        to: usize,
        session: Nonce,
        channel: Channel,
        message: Bytes,
    ) {
        if self.network.cut.contains(&(from, to)) {
            if channel == Channel::Msg {
                self.network.held.push_back(Happening::ToLink { from, to, session, channel, message });
            }
            return;
        }
        if self.nodes[to].connections.get(&session).is_some_and(|connection| connection.open) {
            let device = self.nodes[from].identity.device;
            let event = LinkEvent::Message { channel, message };
            self.give(to, Input::Link { device, session, event });
        }
    }

    /// Streams keep their order.
    pub(super) fn in_order(&mut self, session: SessionId, up: bool) -> Duration {
        let arrival = self.now + self.delay();
        let last = self.network.streams.entry((session, up)).or_default();
        *last = arrival.max(*last + Duration::from_nanos(1));
        *last - self.now
    }

    pub(super) fn socket(&mut self, index: usize, socket: Socket, command: SocketCommand) {
        match (socket, command) {
            (Socket::Signal, SocketCommand::Open) => {
                self.nodes[index].signal = true;
                let event = SocketEvent::Opened;
                self.tell_peer(index, Duration::from_millis(1), Input::Socket { socket, event });
            }
            (Socket::Relay, SocketCommand::Open) => {
                let event = if self.open_relay_session(index) {
                    SocketEvent::Opened
                } else {
                    SocketEvent::Closed("connection refused".into())
                };
                self.tell_peer(index, Duration::from_micros(400), Input::Socket { socket, event });
            }
            (Socket::Relay, SocketCommand::Send(message)) => {
                let Some(session) = self.nodes[index].relay else { return };
                if self.network.stalled.contains(&(session, true)) {
                    return;
                }
                let delay = self.in_order(session, true);
                self.at(delay, Happening::ToRelay { session, message: message.to_vec() });
            }
            (Socket::Signal, SocketCommand::Send(message)) => self.signal(index, &message),
            (Socket::Signal, SocketCommand::Close) => self.nodes[index].signal = false,
            (Socket::Relay, SocketCommand::Close) => self.end_relay_session(index),
        }
    }

    /// Counts the messages put on links from here on.
    pub fn count_on_links(&mut self) {
        self.network.counted = Some(BTreeMap::new());
    }

    /// How many messages a peer has put on links since they are counted.
    pub fn on_links(&self, index: usize) -> usize {
        self.network.counted.as_ref().and_then(|counted| counted.get(&index)).copied().unwrap_or(0)
    }

    /// From here on one direction of a peer's relay socket swallows everything; later the socket dies.
    pub fn stall(&mut self, index: usize, up: bool) {
        let Some(session) = self.nodes[index].relay else { return };
        if self.network.stalled.insert((session, up)) {
            let later = Duration::from_millis(500 + self.below(15_000));
            self.at(later, Happening::SocketDies { session });
        }
    }

    pub(super) fn drop_signal(&mut self, index: usize) {
        if std::mem::take(&mut self.nodes[index].signal) {
            let event = SocketEvent::Closed("connection reset".into());
            self.give(index, Input::Socket { socket: Socket::Signal, event });
        }
    }

    pub(super) fn link(&mut self, index: usize, device: DeviceId, session: Nonce, command: LinkCommand) {
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
                self.overhear(channel, &message);
                if let Some(counted) = self.network.counted.as_mut().filter(|_| channel == Channel::Msg) {
                    let frames = cbor::decode_sequence::<LinkFrame>(&message, limits::MAX_LINK_MESSAGE);
                    let data = frames.unwrap().iter().filter(|f| matches!(f, LinkFrame::Data { .. })).count();
                    *counted.entry(index).or_default() += data;
                }
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
        let cut = self.network.cut.contains(&(a, b)) || self.network.cut.contains(&(b, a));
        if cut || !agreed(&self.nodes[a]) || !agreed(&self.nodes[b]) {
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
}
