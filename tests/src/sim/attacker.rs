//! Somebody who hears all, is a member or a stranger, and signs only with keys of its own.

use std::collections::VecDeque;

use bytes::Bytes;
use rand_core::RngCore as _;
use sotto_peer_core::Channel;
use sotto_protocol::cbor::{self, Blob, Bounded, Text};
use sotto_protocol::keys::Nonce;
use sotto_protocol::link::{
    DescriptionClaim, DescriptionKind, Holding, LinkFrame, Negotiation, SeqRange, SignedDescription,
};
use sotto_protocol::signal::ServerMessage;
use sotto_protocol::{AccountId, DeviceId, Frame, FrameBody, Hash, Position, Seq, limits};

use super::World;
use super::world::Happening;

/// How much of each kind it remembers.
const MEMORY: usize = 64;

#[derive(Default)]
pub(super) struct Attacker {
    messages: VecDeque<Bytes>,
    frames: VecDeque<Frame>,
    signals: VecDeque<String>,
}

fn remember<T>(memory: &mut VecDeque<T>, what: T) {
    memory.push_back(what);
    if memory.len() > MEMORY {
        memory.pop_front();
    }
}

impl World {
    /// A link's message passes by.
    pub(super) fn overhear(&mut self, channel: Channel, message: &Bytes) {
        if self.faults.attack == 0 || channel != Channel::Msg {
            return;
        }
        for frame in cbor::decode_sequence::<LinkFrame>(message, limits::MAX_LINK_MESSAGE).unwrap() {
            if let LinkFrame::Data { frame } = frame {
                remember(&mut self.attacker.frames, frame);
            }
        }
        remember(&mut self.attacker.messages, message.clone());
    }

    pub(super) fn overhear_signal(&mut self, _from: usize, payload: &str) {
        if self.faults.attack > 0 {
            remember(&mut self.attacker.signals, payload.to_owned());
        }
    }

    /// One misdeed.
    pub(super) fn attack(&mut self) {
        if self.below(5) == 0 {
            return self.attack_by_signal();
        }
        let open: Vec<(usize, usize, Nonce)> = self.open_connections();
        if open.is_empty() {
            return;
        }
        let (from, to, session) = open[self.below(open.len() as u64) as usize];
        let (channel, message) = match self.below(16) {
            0 => (Channel::Probe, self.noise()),
            1 => (Channel::Msg, self.noise()),
            2 | 3 => match self.overheard_message() {
                Some(message) => (Channel::Msg, message),
                None => return,
            },
            4 => match self.overheard_message() {
                Some(message) => {
                    let length = self.below(message.len() as u64) as usize;
                    (Channel::Msg, message.slice(..length))
                }
                None => return,
            },
            5 | 6 => (Channel::Msg, self.lie_about_holdings(from, to)),
            kind => match self.forge(from, kind) {
                Some(frame) => (Channel::Msg, cbor::encode(&LinkFrame::Data { frame }).into()),
                None => return,
            },
        };
        let delay = self.delay();
        self.at(delay, Happening::ToLink { from, to, session, channel, message });
    }

    fn open_connections(&self) -> Vec<(usize, usize, Nonce)> {
        let mut open = Vec::new();
        for (from, node) in self.nodes.iter().enumerate() {
            for session in node.connections.iter().filter(|(_, c)| c.open).map(|(session, _)| *session) {
                let other = self.nodes.iter().enumerate().position(|(to, other)| {
                    to != from && other.connections.get(&session).is_some_and(|c| c.open)
                });
                open.extend(other.map(|to| (from, to, session)));
            }
        }
        open
    }

    fn noise(&mut self) -> Bytes {
        let mut bytes = vec![0; self.below(80) as usize + 1];
        self.rng.fill_bytes(&mut bytes);
        bytes.into()
    }

    fn overheard_message(&mut self) -> Option<Bytes> {
        let count = self.attacker.messages.len() as u64;
        if count == 0 {
            return None;
        }
        let which = self.below(count) as usize;
        self.attacker.messages.get(which).cloned()
    }

    /// A frame that was never written, in the name of somebody who writes.
    fn forge(&mut self, from: usize, kind: u64) -> Option<Frame> {
        let count = self.attacker.frames.len() as u64;
        if count == 0 {
            return None;
        }
        let which = self.below(count) as usize;
        let real = self.attacker.frames[which].clone();
        if kind < 9 {
            return self.damage(&real);
        }
        let of_author = self.attacker.frames.iter().filter(|frame| frame.body().device == real.body().device);
        let last = of_author.map(|frame| frame.body().seq).max()?;
        let mut sealed = real.body().sealed.to_vec();
        // What nobody said, in a content that opens.
        let at = sealed.windows(4).position(|window| window == b"from")?;
        sealed[at..at + 4].copy_from_slice(b"FROM");
        let seq = Seq(last.0 + self.below(3));
        let body = FrameBody { sealed: Blob::new(sealed)?, seq, ..real.body().clone() };
        let own = &self.nodes[from].identity;
        if own.device == body.device {
            return None;
        }
        let (_, borrowed) = real.signed_root();
        let frames = Frame::sign_all(vec![body], |message| {
            if kind.is_multiple_of(2) { own.key.sign(message) } else { borrowed }
        });
        frames.into_iter().next()
    }

    /// Says that it holds, or lacks, everything that there ever could be.
    fn lie_about_holdings(&mut self, from: usize, to: usize) -> Bytes {
        let which = self.below(self.nodes.len() as u64) as usize;
        let device = self.nodes[which].identity.device;
        let Some(conversation) = self.attacker.frames.back().map(|frame| frame.body().conversation) else {
            return self.noise();
        };
        let everything = Bounded::truncated(vec![SeqRange { first: Seq(1), last: Seq(u64::MAX) }]);
        let holding = |device| Holding { device, cumulative: Seq(u64::MAX), ranges: everything.clone() };
        let frame = match self.below(4) {
            0 => LinkFrame::Ack { conversation, holding: holding(device), delay_ms: 0, credit: u32::MAX },
            1 => LinkFrame::Nack { conversation, device, missing: everything.clone() },
            2 => LinkFrame::Receipt { conversation, sealed: Blob::new(self.noise()).unwrap_or_default() },
            _ => {
                let known = [from, to].map(|index| self.nodes[index].identity.device);
                let mut holdings: Vec<Holding> = known.map(holding).to_vec();
                holdings.push(holding(DeviceId(self.random_id())));
                let position = Position(u64::MAX);
                LinkFrame::Sync { conversation, holdings: Bounded::truncated(holdings), position }
            }
        };
        cbor::encode(&frame).into()
    }

    fn random_id<const N: usize>(&mut self) -> [u8; N] {
        let mut id = [0; N];
        self.rng.fill_bytes(&mut id);
        id
    }

    /// An offer that a lying signaling server makes up in the name of one peer, for another.
    pub fn forge_offer(&mut self, in_the_name_of: usize, to: usize) {
        // Any key but the right one.
        self.offer(in_the_name_of, to, to);
    }

    /// A peer of a program of its own offers a link to one that did not ask for it.
    pub fn offer_unasked(&mut self, from: usize, to: usize) {
        self.offer(from, to, from);
    }

    /// How many RTCPeerConnections a peer has, and how many signals it has sent.
    pub fn connections_and_signals(&self, index: usize) -> (usize, u64) {
        let node = &self.nodes[index];
        (node.connections.len(), node.traffic.signals)
    }

    fn offer(&mut self, in_the_name_of: usize, to: usize, signer: usize) {
        let (session, fingerprint) = (Nonce(self.random_id()), Hash(self.random_id()));
        let digits = fingerprint.0.map(|byte| format!("{byte:02X}")).join(":");
        let sdp = format!("v=0\r\na=fingerprint:sha-256 {digits}\r\n");
        let (kind, offer) = (DescriptionKind::Offer, None);
        let (from, account) = {
            let identity = &self.nodes[in_the_name_of].identity;
            (identity.device, identity.account)
        };
        let recipient = &self.nodes[to].identity;
        let claim = DescriptionClaim { kind, from, to: recipient.device, session, fingerprint, offer };
        let key = &self.nodes[signer].identity.key;
        let sdp = Text::new(sdp).unwrap();
        let description = SignedDescription::sign(&claim, sdp, |message| key.sign(message));
        let payload = Negotiation::Description { description }.to_payload();
        self.signal_says(to, &ServerMessage::Signal { from, account, payload });
    }

    fn attack_by_signal(&mut self) {
        let peers = self.nodes.len() as u64;
        let (to, other) = (self.below(peers) as usize, self.below(peers) as usize);
        if !self.nodes[to].signal {
            return;
        }
        let payload = match self.attacker.signals.len() as u64 {
            count if count > 0 && self.below(3) > 0 => {
                let which = self.below(count) as usize;
                self.attacker.signals[which].clone()
            }
            _ => sotto_protocol::keys::base64url::encode(&self.noise()),
        };
        let (from, account) = if self.below(2) == 0 {
            (DeviceId(self.random_id()), AccountId(self.random_id()))
        } else {
            (self.nodes[other].identity.device, self.nodes[other].identity.account)
        };
        self.signal_says(to, &ServerMessage::Signal { from, account, payload });
    }
}
