//! Links as a whole: who is linked to, and what comes and goes over links.

use std::collections::BTreeSet;
use std::time::Duration;

use sotto_protocol::cbor::Bounded;
use sotto_protocol::keys::Nonce;
use sotto_protocol::link::{Holding, LinkFrame};
use sotto_protocol::{AccountId, ConversationId, DeviceId, limits};

use super::Peer;
use super::signals::EARLY_OFFER_LIFE;
use crate::content::Ephemeral;
use crate::conversation::Conversation;
use crate::effects::Gated;
use crate::identity::Identity;
use crate::io::{Channel, Event, LinkCommand, LinkEvent, LinkPath, Output, PathPolicy, Socket};
use crate::link::{Link, LinkCtx, LinkCursor, Upshot};
use crate::seal;
use crate::sequence::SeqSet;
use crate::timers::Timer;

/// Beyond this many linked devices a conversation relies on the relay's fan-out.
const LINKS_A_CONVERSATION: usize = 8;

/// Links of one device in all: each costs about 300 kB.
const LINKS: usize = 64;

/// Conversations quiet for longer get no link until something happens there.
const ACTIVE: Duration = Duration::from_secs(3600);

/// Device lists of who is linked to are fetched this often: a revoked device keeps no link.
const LIST_AGE: Duration = Duration::from_secs(600);

/// An ACK owed to a link.
pub(super) struct Ack {
    to: DeviceId,
    conversation: ConversationId,
    holding: Holding,
}

impl Conversation {
    /// The ACKs owed, each to the author's own device and to the link that brought something.
    pub(super) fn take_acks(&mut self, me: &Identity) -> Vec<Ack> {
        let (due, to) = (std::mem::take(&mut self.ack_due), std::mem::take(&mut self.ack_to));
        if self.is_request() {
            return Vec::new();
        }
        let pairs: BTreeSet<_> = due.into_iter().map(|author| (author, author)).chain(to).collect();
        pairs
            .into_iter()
            .filter(|(to, _)| *to != me.device)
            .filter_map(|(to, author)| {
                let holding = self.authors.get(&author)?.holding(author);
                Some(Ack { to, conversation: self.id, holding })
            })
            .collect()
    }
}

impl Peer {
    /// Whether a device may be linked to now.
    pub(super) fn may_link(&self, device: &DeviceId) -> bool {
        let Some(account) = self.people.owner(device, &self.me) else { return false };
        self.policy != PathPolicy::Relay
            && account != self.me.account
            && self.people.is_listed(device)
            && self.conversations.values().any(|conversation| conversation.may_link(account, &self.people))
    }

    pub(super) fn ensure_link(&mut self, device: DeviceId) {
        if let Some(account) = self.people.owner(&device, &self.me) {
            self.links.entry(device).or_insert_with(|| Link::new(device, account));
        }
    }

    /// Runs `f` on a link with what it needs around it, and sees to what comes of it.
    pub(super) fn with_link(
        &mut self,
        device: DeviceId,
        f: impl FnOnce(&mut Link, &mut LinkCtx) -> Option<Upshot>,
    ) {
        let Some(key) = self.people.key(&device, &self.me) else { return };
        let signal_ready = self.session.is_ready(Socket::Signal);
        let Some(link) = self.links.get_mut(&device) else { return };
        let mut ctx = LinkCtx {
            fx: &mut self.fx,
            timers: &mut self.timers,
            me: &self.me,
            key,
            ice_servers: &self.ice_servers,
            signal_ready,
        };
        match f(link, &mut ctx) {
            Some(Upshot::Ready) => self.link_ready(device),
            Some(Upshot::Down) => self.links_due = true,
            Some(Upshot::Frames(frames)) => {
                for frame in frames {
                    self.on_frame(device, frame);
                }
            }
            None => {}
        }
    }

    pub(super) fn on_link(&mut self, device: DeviceId, session: Nonce, event: LinkEvent) {
        self.with_link(device, |link, ctx| link.on_event(ctx, session, event));
    }

    pub(super) fn on_link_timer(&mut self, device: DeviceId, at: Duration) {
        self.with_link(device, |link, ctx| link.on_timer(ctx, at));
        self.links_due = true;
    }

    /// Builds the links that are wanted, and ends those that are not allowed any more.
    pub(super) fn review_links(&mut self) {
        let now = self.fx.now.monotonic;
        let mut wanted = BTreeSet::new();
        let mut active: Vec<&Conversation> =
            self.conversations.values().filter(|c| now.saturating_sub(c.active) < ACTIVE).collect();
        active.sort_by_key(|conversation| std::cmp::Reverse(conversation.active));
        for conversation in active {
            let allowed = conversation.others(self.me.account);
            let allowed = allowed.filter(|account| conversation.may_link(*account, &self.people));
            let devices: Vec<_> = allowed.flat_map(|account| self.people.devices(account)).collect();
            wanted.extend(devices.into_iter().take(LINKS_A_CONVERSATION));
            if wanted.len() >= LINKS {
                break;
            }
        }
        let gone: Vec<DeviceId> =
            self.links.keys().copied().filter(|device| !self.may_link(device)).collect();
        for device in gone {
            self.with_link(device, |link, ctx| {
                link.close(ctx, "not linked: not accepted, blocked or revoked")
            });
        }
        if self.policy == PathPolicy::Relay {
            return;
        }
        self.early_offers.retain(|_, (at, _)| *at + EARLY_OFFER_LIFE > now);
        self.refresh_linked(&wanted);
        for device in wanted.into_iter().take(LINKS) {
            self.ensure_link(device);
            match self.early_offers.remove(&device) {
                Some((_, offer)) => self.with_link(device, |link, ctx| link.on_negotiation(ctx, offer)),
                None => self.with_link(device, |link, ctx| {
                    link.want(ctx);
                    None
                }),
            }
        }
    }

    /// Fetches the device lists of linked accounts again, once they have grown old.
    fn refresh_linked(&mut self, wanted: &BTreeSet<DeviceId>) {
        let owners = wanted.iter().filter_map(|device| self.people.owner(device, &self.me));
        let accounts: BTreeSet<AccountId> = owners.take(LINKS).collect();
        if accounts.is_empty() || !self.session.is_ready(Socket::Signal) {
            return;
        }
        for account in accounts {
            self.refresh_account(account, LIST_AGE);
        }
        self.timers.set_earlier(Timer::People, self.fx.now.monotonic + LIST_AGE);
    }

    fn link_ready(&mut self, device: DeviceId) {
        let Some(account) = self.links.get(&device).map(|link| link.account) else { return };
        for id in self.shared_with(account) {
            self.sync(device, id);
        }
    }

    fn shared_with(&self, account: AccountId) -> Vec<ConversationId> {
        let shared = self.conversations.values().filter(|c| c.may_link(account, &self.people));
        shared.map(|conversation| conversation.id).collect()
    }

    /// Tells a link what this device holds of a conversation.
    fn sync(&mut self, device: DeviceId, id: ConversationId) {
        let Some(conversation) = self.conversations.get(&id) else { return };
        let holdings = conversation.authors.iter().map(|(device, author)| author.holding(*device)).collect();
        let frame = LinkFrame::Sync {
            conversation: id,
            holdings: Bounded::truncated(holdings),
            position: conversation.log.durable,
        };
        self.send_gated(device, &frame);
    }

    /// Tells every link of a conversation what is held, so that peers without a relay find what they lack.
    pub(super) fn sync_links(&mut self, id: ConversationId) {
        let ready: Vec<DeviceId> = self.links.values().filter(|l| l.is_usable()).map(|l| l.device).collect();
        for device in ready {
            let account = self.links[&device].account;
            if self.conversations.get(&id).is_some_and(|c| c.may_link(account, &self.people)) {
                self.sync(device, id);
            }
        }
    }

    /// Sends a frame that says what is held, once that is durable.
    fn send_gated(&mut self, device: DeviceId, frame: &LinkFrame) {
        let Some(session) = self.links.get(&device).filter(|l| l.is_ready()).and_then(Link::session) else {
            return;
        };
        let message = sotto_protocol::cbor::encode(frame).into();
        let command = LinkCommand::Send { channel: Channel::Msg, message };
        self.fx.after_write(Gated::Output(Output::Link { device, session, command }));
    }

    pub(super) fn send_acks(&mut self, acks: Vec<Ack>) {
        for Ack { to, conversation, holding } in acks {
            let frame = LinkFrame::Ack { conversation, holding, delay_ms: 0, credit: limits::WINDOW as u32 };
            self.send_gated(to, &frame);
        }
    }

    pub(super) fn send_link_receipts(&mut self, id: ConversationId) {
        let Some(conversation) = self.conversations.get(&id) else { return };
        let Some(sealed) = conversation.sealed_receipt(self.me.device) else { return };
        self.broadcast(id, &LinkFrame::Receipt { conversation: id, sealed });
    }

    /// Sends a frame to every link of a conversation. Answers the accounts that are reached.
    pub(super) fn broadcast(&mut self, id: ConversationId, frame: &LinkFrame) -> BTreeSet<AccountId> {
        let mut reached = BTreeSet::new();
        for link in self.links.values_mut().filter(|l| l.is_usable() && l.cursors.contains_key(&id)) {
            reached.insert(link.account);
            link.send(&mut self.fx, frame);
        }
        reached
    }

    fn on_frame(&mut self, from: DeviceId, frame: LinkFrame) {
        let id = match &frame {
            LinkFrame::Hello { .. } => return,
            LinkFrame::Data { frame } => frame.body().conversation,
            LinkFrame::Ack { conversation, .. }
            | LinkFrame::Nack { conversation, .. }
            | LinkFrame::Sync { conversation, .. }
            | LinkFrame::Receipt { conversation, .. }
            | LinkFrame::Ephemeral { conversation, .. } => *conversation,
        };
        let Some(account) = self.links.get(&from).map(|link| link.account) else { return };
        if !self.conversations.get(&id).is_some_and(|c| c.may_link(account, &self.people)) {
            return;
        }
        let me = self.me.device;
        match frame {
            LinkFrame::Hello { .. } => {}
            LinkFrame::Data { frame } => {
                if frame.body().device == me {
                    self.sign();
                }
                self.with(id, |conversation, ctx| conversation.receive_from_link(ctx, from, frame));
                // An ACK is owed even if nothing changed: the first one may be lost with its link.
                self.fx.dirty = true;
                self.fx.hurry();
            }
            LinkFrame::Ack { holding, credit, .. } => {
                if let Some(cursor) = self.links.get_mut(&from).and_then(|link| link.cursors.get_mut(&id)) {
                    cursor.learn(me, &holding);
                    cursor.credit = credit;
                }
                if holding.device == me {
                    let state = crate::io::ReceiptState::Delivered;
                    self.with(id, |c, ctx| {
                        c.note_receipt(ctx.fx, me, from, state, holding.cumulative);
                        c.pump = true;
                    });
                }
            }
            LinkFrame::Nack { device, missing, .. } => {
                self.supply(from, id, device, SeqSet::from_ranges(missing.iter()));
            }
            LinkFrame::Sync { holdings, .. } => {
                self.fx.hurry();
                self.on_sync(from, id, &holdings);
            }
            LinkFrame::Receipt { sealed, .. } => {
                self.with(id, |c, ctx| c.on_receipt(ctx.fx, me, from, &sealed));
            }
            LinkFrame::Ephemeral { sealed, .. } => self.on_ephemeral(id, account, &sealed),
        }
    }

    pub(super) fn on_ephemeral(&mut self, id: ConversationId, account: AccountId, sealed: &[u8]) {
        let Ok(Ephemeral { typing }) = seal::open(sealed) else { return };
        let Some(handle) = self.people.handle(&account, &self.me) else { return };
        self.fx.mention(Event::Typing { conversation: id, handle, on: typing });
    }

    /// A peer says what it holds: it gets what it lacks and is not logged, and is asked for what this device lacks.
    fn on_sync(&mut self, from: DeviceId, id: ConversationId, holdings: &[Holding]) {
        let me = self.me.device;
        let Some(link) = self.links.get_mut(&from) else { return };
        let first = !link.cursors.contains_key(&id);
        let cursor = link.cursors.entry(id).or_insert_with(|| LinkCursor::new(me, &[]));
        for holding in holdings {
            cursor.learn(me, holding);
        }
        let Some(conversation) = self.conversations.get_mut(&id) else { return };
        conversation.pump = true;
        let lacked: Vec<_> = conversation
            .unlogged
            .iter()
            .filter_map(crate::conversation::unlogged_id)
            .filter(|(device, seq)| *device != me && !cursor.peer_holds(*device, *seq))
            .take(limits::WINDOW as usize)
            .filter_map(|message| conversation.frame(&self.me, link.account, message))
            .collect();
        for frame in lacked {
            link.send(&mut self.fx, &LinkFrame::Data { frame });
        }
        if let Some(own) = holdings.iter().find(|holding| holding.device == me) {
            let (last, state) = (own.cumulative, crate::io::ReceiptState::Delivered);
            let highest = own.ranges.last().map_or(last, |range| range.last);
            let doubtful = self.with(id, |c, ctx| {
                c.note_receipt(ctx.fx, me, from, state, last);
                c.note_peer_has_own(ctx, from, highest)
            });
            if let (Some((first, last)), Some(link)) = (doubtful.flatten(), self.links.get_mut(&from)) {
                let mut set = SeqSet::default();
                set.insert_range(first, last);
                let frame = LinkFrame::Nack { conversation: id, device: me, missing: set.to_wire() };
                link.send(&mut self.fx, &frame);
            }
        }
        if first {
            self.sync(from, id);
        }
        self.ask_links(id, false);
    }

    /// Asks links for what this device lacks and they have. With the log readable, only for what is waited for.
    fn ask_links(&mut self, id: ConversationId, waited: bool) {
        let Some(conversation) = self.conversations.get(&id) else { return };
        let relay_brings_it = self.relay.is_ready() && conversation.log.may_append() && !waited;
        let missing = conversation.missing();
        let opened =
            |device: &DeviceId| conversation.authors.get(device).map_or_else(Default::default, |a| a.opened);
        for link in self.links.values_mut().filter(|link| link.is_usable()) {
            let Some(cursor) = link.cursors.get(&id) else { continue };
            let mut wanted: std::collections::BTreeMap<DeviceId, SeqSet> = missing.iter().cloned().collect();
            for (device, have, last) in cursor.ahead(opened) {
                // Own messages that this copy of the profile does not know are needed before it numbers more.
                if !relay_brings_it || device == self.me.device {
                    let last = last.min(sotto_protocol::Seq(have.0 + limits::WINDOW));
                    wanted.entry(device).or_default().insert_range(have.next(), last);
                }
            }
            for (device, set) in wanted {
                let frame = LinkFrame::Nack { conversation: id, device, missing: set.to_wire() };
                link.send(&mut self.fx, &frame);
            }
        }
    }

    pub(super) fn on_missing_timer(&mut self, id: ConversationId) {
        self.ask_links(id, true);
        self.with(id, |conversation, ctx| conversation.give_up_missing(ctx));
    }

    /// Tells the user how devices are reached, where that changed.
    pub(super) fn tell_paths(&mut self) {
        let mut changed = Vec::new();
        let relay = self.relay.is_ready();
        for link in self.links.values_mut() {
            let path = match link.path() {
                LinkPath::None if relay => LinkPath::Relay,
                path => path,
            };
            // A new link is told of with its first round trip.
            let measured = link.rtt().is_some() || !matches!(path, LinkPath::Direct | LinkPath::Turn);
            if measured && link.told != Some(path) {
                link.told = Some(path);
                changed.push((link.account, link.device, path, link.rtt()));
            }
        }
        for (account, device, path, rtt) in changed {
            if let Some(handle) = self.people.handle(&account, &self.me) {
                self.fx.now(Output::Event(crate::io::Notification {
                    sequence: 0,
                    event: Event::Path { handle, device, path, rtt },
                }));
            }
        }
    }
}
