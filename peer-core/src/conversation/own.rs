//! One's own messages: numbered and sealed at once, signed in bursts, durable before they leave, then put in the
//! relay's log and sent over links, each destination with a window of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use sotto_protocol::cbor::Bounded;
use sotto_protocol::relay::Request;
use sotto_protocol::{AccountId, DeviceId, Frame, FrameBody, MessageId, Position, Seq, limits};

use super::timeline::DisplayKey;
use super::{Author, Conversation, Ctx, Stage, TailMessage, unlogged_id};
use crate::content::{Body, Content};
use crate::effects::{Gated, id_in};
use crate::identity::Identity;
use crate::io::{CommandError, Event, PathPolicy, ReceiptState, Table};
use crate::link::LinkCursor;
use crate::peer::relay_out::RelayOut;
use crate::people::People;
use crate::seal;
use crate::store::{MessageRecord, displaced_key, history_key, message_key};
use crate::timers::Timer;

/// Messages that may wait in one conversation's outbox: a day of a talkative person offline, some 10 MB.
const MAX_OUTBOX: usize = 20_000;

/// Own frames kept in memory after they are logged, for links that are behind: a window.
const RECENT: usize = limits::WINDOW as usize;

/// How long an own message waits for its deps to be logged by their authors before this device appends them.
const DEPS_GRACE: Duration = Duration::from_millis(150);

/// How long a peer's word that it holds unknown own messages is believed before it has sent any.
const CLAIM_PATIENCE: Duration = Duration::from_secs(5);

/// How long another's message may be unlogged before this device appends it for its author.
const APPEND_FOR_OTHERS: Duration = Duration::from_secs(3);

/// Under the hedging policy: how long messages gather before they are appended anyway.
const HEDGE_BATCH: Duration = Duration::from_secs(2);

/// Bytes unconfirmed on one link in one conversation.
const LINK_BYTES: usize = 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// The last seq given out.
    pub last: Seq,
    /// Durable up to here: may be sent.
    pub durable: Seq,
    /// Signed up to here.
    signed: Seq,
    unsigned: Vec<FrameBody>,
    /// Frames that are logged but may still be wanted by a link.
    recent: BTreeMap<Seq, (Frame, Position)>,
    /// Messages whose seqs were taken by others of this device, unknown to this (older) copy of the profile: they
    /// wait for new ones.
    pub displaced: BTreeMap<Seq, Content>,
    /// Since when the next own message waits for its deps to be logged.
    blocked_since: Option<Duration>,
    /// How often own messages were given other seqs: what was written under the old ones says nothing of the new.
    renumberings: u64,
    /// The last seq that this run began with.
    began_at: Seq,
    /// The last seq that any link was given.
    given: Seq,
    /// Peers that say they hold own messages which this copy of the profile has not given out, up to where, and until
    /// when that is believed without a proof. Each is believed once.
    claims: BTreeMap<DeviceId, (Seq, Duration)>,
}

impl Outbox {
    pub fn restore(&mut self, last: Seq, displaced: Vec<(Seq, Content)>) {
        self.last = last;
        self.durable = last;
        self.signed = last;
        self.began_at = last;
        self.displaced = displaced.into_iter().collect();
    }
}

impl Conversation {
    /// Whether a new message can be numbered now: not while own messages of another copy of this profile are
    /// still coming in.
    pub fn can_send(&self, me: &Identity, now: Duration) -> bool {
        let coming = self.authors.get(&me.device).is_some_and(Author::is_waiting);
        let claimed = self.own.claims.values().any(|(seq, until)| *seq > self.own.last && now < *until);
        self.own.displaced.is_empty() && self.own.last >= self.log.resume_at && !coming && !claimed
    }

    /// Whether the other side waits to hear that this account accepts: it began the conversation too, and has said
    /// nothing in it.
    pub fn owes_acceptance(&self, ctx: &Ctx) -> bool {
        self.own.last == Seq(0)
            && !self.accepted_by.is_empty()
            && self.member
            && !self.is_request()
            && !self.is_blocked(ctx.me.account, ctx.people)
            && self.can_send(ctx.me, ctx.now())
    }

    /// Numbers, seals and shows an own message. It leaves once it is durable.
    pub fn send(&mut self, ctx: &mut Ctx, body: Body) -> Result<MessageId, CommandError> {
        let waiting = self.own.last.0.saturating_sub(self.own_author(ctx.me).logged.0) as usize;
        if waiting >= MAX_OUTBOX {
            return Err(CommandError::OutboxFull(waiting));
        }
        Ok(self.send_unchecked(ctx, body))
    }

    fn send_unchecked(&mut self, ctx: &mut Ctx, body: Body) -> MessageId {
        self.accept(ctx);
        let seq = self.own.last.next();
        let device = ctx.me.device;
        let depth = self.heads.values().map(|(_, depth)| *depth).max().unwrap_or(0).saturating_add(1);
        let mut deps: Vec<(DeviceId, Seq, u64)> = self
            .heads
            .iter()
            .filter(|(head, _)| **head != device)
            .map(|(head, (seq, depth))| (*head, *seq, *depth))
            .collect();
        // Of more heads than fit, the deepest: they follow most of what was seen.
        deps.sort_by_key(|(_, _, depth)| std::cmp::Reverse(*depth));
        let deps = deps.into_iter().map(|(device, seq, _)| (device, seq)).collect();
        let capability = self.capability.filter(|_| !self.capability_told);
        if capability.is_some() {
            self.capability_told = true;
        }
        let content =
            Content { deps: Bounded::truncated(deps), depth, sent_at: ctx.fx.now.wall, body, capability };
        // The bounds of the content's parts add up to less than MAX_SEALED.
        let sealed = seal::seal(&content).unwrap_or_default();
        self.own.last = seq;
        self.own.unsigned.push(FrameBody { conversation: self.id, device, seq, sealed });
        let author = self.own_author(ctx.me);
        author.opened = seq;
        let message = TailMessage {
            frame: None,
            content: Some(content),
            stage: Stage::Opened,
            position: None,
            made: true,
            since: ctx.now(),
            stored: false,
        };
        self.tail.insert((device, seq), message);
        self.stir(ctx.fx);
        self.show(ctx, (device, seq));
        self.pump = true;
        id_in(self.id, (device, seq))
    }

    /// The bodies to sign at the end of the turn.
    pub fn take_unsigned(&mut self) -> Vec<FrameBody> {
        std::mem::take(&mut self.own.unsigned)
    }

    /// Takes in a signed frame of this turn and stages its row.
    pub fn signed(&mut self, ctx: &mut Ctx, frame: Frame) {
        let seq = frame.body().seq;
        let id = (ctx.me.device, seq);
        if let Some(message) = self.tail.get_mut(&id) {
            message.frame = Some(frame);
        }
        self.touch_message(ctx.fx, id);
        self.own.signed = self.own.signed.max(seq);
        ctx.fx.after_write(Gated::OwnDurable(self.id, seq, self.own.renumberings));
    }

    /// Own messages are durable up to a seq, as they were numbered after that many renumberings.
    pub fn own_durable(&mut self, seq: Seq, renumberings: u64) {
        if renumberings != self.own.renumberings {
            return;
        }
        self.own.durable = self.own.durable.max(seq).min(self.own.last);
        self.pump = true;
    }

    /// The relay or a peer has messages of this device up to `seq`. If this copy of the profile has not given them
    /// out, it is an older one, and must hold them before it gives out more.
    pub(super) fn note_own_seq(&mut self, ctx: &mut Ctx, seq: Seq) {
        if seq > self.own.last && seq > self.log.resume_at {
            self.log.resume_at = seq;
            self.touch(ctx.fx);
        }
    }

    /// A peer says that it holds own messages up to `seq`. Answers those of this run that it may hold others of, if it
    /// was not asked before: this copy of the profile may be an older one, whose numbers were given out already.
    pub fn note_peer_has_own(&mut self, ctx: &mut Ctx, from: DeviceId, seq: Seq) -> Option<(Seq, Seq)> {
        let first_word = !self.own.claims.contains_key(&from);
        let until = ctx.now() + CLAIM_PATIENCE;
        let (claimed, until) = self.own.claims.entry(from).or_insert((seq, until));
        *claimed = seq.max(*claimed);
        if seq > self.own.last {
            // Whoever waits for a number looks again then.
            ctx.timers.set_earlier(Timer::Append(self.id), *until);
        }
        let logged = self.own_author(ctx.me).logged;
        let (first, last) = (self.own.began_at.max(logged).next(), seq.min(self.own.last));
        (first_word && first <= last).then_some((first, last))
    }

    /// An own message whose seq is taken by another one: it and all unlogged ones that were made after it get new
    /// seqs, once the ones that took them are held. If a peer was given any of those already, or others came in
    /// between, the later ones keep theirs, or they would be shown twice.
    pub fn on_own_conflict(&mut self, ctx: &mut Ctx, seq: Seq, last_seq: Seq) {
        let device = ctx.me.device;
        if self.tail.get(&(device, seq)).is_none_or(|message| message.position.is_some()) {
            return;
        }
        let later = self.tail.range((device, seq.next())..=(device, Seq(u64::MAX)));
        let others_came = later.clone().any(|(_, message)| !message.made && message.stage != Stage::Early);
        // What is on its way to the relay may be logged by now.
        let keep_rest = self.own.given > seq || self.log.append_next > seq.next() || others_came;
        let made_later = later.filter(|(_, message)| message.made && !keep_rest).map(|((_, s), _)| *s);
        let taken: Vec<Seq> = std::iter::once(seq).chain(made_later).collect();
        for seq in taken {
            let Some(message) = self.take_message(ctx.fx, (device, seq)) else { continue };
            let key = DisplayKey::Unlogged(message.depth(), device, seq);
            self.unlogged.remove(&key);
            self.timeline.remove(key, id_in(self.id, (device, seq)));
            let (Some(frame), Some(content)) = (message.frame, message.content) else { continue };
            let record = MessageRecord { frame, content: Some(content.clone()), position: None, made: true };
            ctx.fx.put(Table::Tail, displaced_key(self.id, device, seq), record.to_bytes());
            self.own.displaced.insert(seq, content);
        }
        self.own.renumberings += 1;
        self.log.resume_at = self.log.resume_at.max(last_seq).max(seq);
        self.log.append_next = self.log.append_next.min(seq);
        self.touch_author(ctx.fx, device);
        if keep_rest {
            // The one that has its name is taken in when it comes.
            self.own_author(ctx.me).gaps.insert(seq);
            return;
        }
        let before = seq.previous();
        self.own.unsigned.retain(|body| body.seq < seq);
        self.own.last = before;
        self.own.durable = self.own.durable.min(before);
        self.own.signed = self.own.signed.min(before);
        if self.heads.get(&device).is_some_and(|(head, _)| *head > before) {
            self.heads.remove(&device);
        }
        let author = self.own_author(ctx.me);
        author.opened = before;
        author.shown = before;
    }

    /// Own messages came in from the log or a peer: this device's numbering goes on after them.
    pub(super) fn own_advanced(&mut self, me: &Identity) {
        let opened = self.own_author(me).opened;
        if opened > self.own.last {
            self.own.last = opened;
            self.own.durable = opened;
            self.own.signed = opened;
        }
    }

    /// A displaced message that is found to have its seq after all needs no other.
    pub(super) fn keep_displaced_out(&mut self, ctx: &mut Ctx, seq: Seq) {
        let device = ctx.me.device;
        let content = self.tail.get(&(device, seq)).and_then(|message| message.content.as_ref());
        if content.is_some() && self.own.displaced.get(&seq) == content {
            self.own.displaced.remove(&seq);
            ctx.fx.delete(Table::Tail, displaced_key(self.id, device, seq));
        }
    }

    /// Gives displaced messages their new seqs, if all that they must follow is held.
    pub(super) fn resume(&mut self, ctx: &mut Ctx) {
        let coming = self.own_author(ctx.me).is_waiting();
        if self.own.displaced.is_empty()
            || coming
            || self.own.last < self.log.resume_at
            || !self.log.is_live()
        {
            return;
        }
        for (seq, content) in std::mem::take(&mut self.own.displaced) {
            let device = ctx.me.device;
            ctx.fx.delete(Table::Tail, displaced_key(self.id, device, seq));
            let to = self.send_unchecked(ctx, content.body);
            ctx.fx.notify(Event::Renumbered { from: id_in(self.id, (device, seq)), to });
        }
    }

    /// Puts in the log what may go there now.
    pub fn pump_relay(&mut self, ctx: &mut Ctx, relay: &mut RelayOut, policy: PathPolicy, linked_all: bool) {
        if !relay.is_ready() || !self.member || !self.log.may_append() || policy == PathPolicy::Direct {
            return;
        }
        let device = ctx.me.device;
        let logged = self.own_author(ctx.me).logged;
        if logged < self.log.relay_has && !self.log.is_live() {
            // The log has own messages that are to be read first: they may be others of the same names.
            return;
        }
        self.log.append_next = self.log.append_next.max(logged.next());
        let mut bytes: usize = 0;
        while self.log.append_next <= self.own.durable {
            let seq = self.log.append_next;
            if seq.0 - logged.0 > limits::WINDOW || bytes > Self::APPEND_BYTES {
                break;
            }
            let Some(message) = self.tail.get(&(device, seq)) else {
                self.log.append_next = seq.next();
                continue;
            };
            if policy == PathPolicy::Hedge && linked_all && ctx.now() < message.since + HEDGE_BATCH {
                ctx.timers.set_earlier(Timer::Append(self.id), message.since + HEDGE_BATCH);
                break;
            }
            let Some(frame) = message.frame.clone() else { break };
            if !self.append_deps(ctx, relay, (device, seq)) {
                break;
            }
            bytes += frame.weight();
            relay.push(&Request::Append { frame });
            self.log.append_next = seq.next();
        }
    }

    /// Whether all deps of an own message are in the log. If not, and their authors have had their time, appends
    /// them first.
    fn append_deps(&mut self, ctx: &mut Ctx, relay: &mut RelayOut, id: (DeviceId, Seq)) -> bool {
        let missing = self.unlogged_ancestors(id);
        if missing.is_empty() {
            self.own.blocked_since = None;
            return true;
        }
        let since = *self.own.blocked_since.get_or_insert(ctx.now());
        if ctx.now() < since + DEPS_GRACE {
            ctx.timers.set_earlier(Timer::Append(self.id), since + DEPS_GRACE);
            return false;
        }
        for id in missing {
            if let Some(frame) = self.tail.get(&id).and_then(|message| message.frame.clone()) {
                relay.push(&Request::Append { frame });
            }
        }
        self.own.blocked_since = None;
        true
    }

    /// Others' messages that this one follows and that are not logged, those that come first in front.
    fn unlogged_ancestors(&self, id: (DeviceId, Seq)) -> Vec<(DeviceId, Seq)> {
        let mut found: BTreeMap<DisplayKey, (DeviceId, Seq)> = BTreeMap::new();
        let mut open = vec![id];
        while let Some(at) = open.pop() {
            let Some(content) = self.tail.get(&at).and_then(|message| message.content.as_ref()) else {
                continue;
            };
            let previous = (at != id).then(|| (at.0, at.1.previous()));
            for dep in content.deps.iter().copied().chain(previous) {
                let logged = self.authors.get(&dep.0).map_or(Seq(u64::MAX), |author| author.logged);
                // Own messages go out in their order anyway.
                if dep.0 == id.0 || dep.1 <= logged {
                    continue;
                }
                let Some(message) = self.tail.get(&dep) else { continue };
                if message.stage == Stage::Shown
                    && found.insert(DisplayKey::Unlogged(message.depth(), dep.0, dep.1), dep).is_none()
                {
                    open.push(dep);
                }
            }
        }
        found.into_values().collect()
    }

    /// Others' shown messages may have to be appended for their authors, in a while.
    pub fn arm_append_for_others(&mut self, ctx: &mut Ctx) {
        let timer = Timer::AppendForOthers(self.id);
        if !ctx.timers.is_set(timer) {
            // Not all members at once: whoever is first spares the others the work.
            let jitter = ctx.fx.jitter(APPEND_FOR_OTHERS / 2);
            ctx.timers.set(timer, ctx.now() + APPEND_FOR_OTHERS + jitter);
        }
    }

    /// Appends others' messages that their authors have not: they died, or are offline. Answers whether any remain.
    pub fn append_for_others(&mut self, ctx: &mut Ctx, relay: &mut RelayOut, policy: PathPolicy) -> bool {
        let old = |message: &TailMessage| message.since + APPEND_FOR_OTHERS <= ctx.fx.now.monotonic;
        // And own ones that the log was trimmed past: the relay knows where they stood.
        let logged = self.own_author(ctx.me).logged;
        let others: Vec<(DeviceId, Seq)> = self
            .unlogged
            .iter()
            .filter_map(unlogged_id)
            .filter(|(device, seq)| *device != ctx.me.device || *seq <= logged)
            .collect();
        if others.is_empty() {
            return false;
        }
        if relay.is_ready() && self.member && self.log.is_live() && policy != PathPolicy::Direct {
            let due = others
                .into_iter()
                .filter(|id| self.tail.get(id).is_some_and(old) && !self.refused.contains(id));
            let mut pushed: BTreeMap<DeviceId, Seq> = BTreeMap::new();
            for id in due.take(limits::WINDOW as usize).collect::<Vec<_>>() {
                let Some(message) = self.tail.get(&id).filter(|_| self.may_follow(id, &pushed)) else {
                    continue;
                };
                if let Some(frame) = message.frame.clone() {
                    relay.push(&Request::Append { frame });
                    pushed.insert(id.0, id.1);
                }
            }
        }
        self.arm_append_for_others(ctx);
        true
    }

    /// Whether what a message follows is logged, or on its way to the log in front of it. What is not held here, or what
    /// the relay does not take, is not waited for. An own message is: it goes out in its own time, and a log that
    /// had it after this one would show them so.
    fn may_follow(&self, id: (DeviceId, Seq), pushed: &BTreeMap<DeviceId, Seq>) -> bool {
        let content = self.tail.get(&id).and_then(|message| message.content.as_ref());
        let deps = content.into_iter().flat_map(|content| content.deps.iter().copied());
        deps.chain([(id.0, id.1.previous())]).all(|dep| {
            let logged = self.authors.get(&dep.0).map_or(Seq(u64::MAX), |author| author.logged);
            dep.1 <= logged
                || pushed.get(&dep.0).is_some_and(|last| dep.1 <= *last)
                || self.refused.contains(&dep)
                || self.tail.get(&dep).is_none_or(|message| message.stage != Stage::Shown)
        })
    }

    /// The relay has a frame at a position.
    pub fn on_appended(&mut self, ctx: &mut Ctx, id: (DeviceId, Seq), position: Position) {
        if !self.log.may_append() || self.is_elsewhere(position, id) {
            // Of a log that is being rolled back: the position may be another message's still. Asked for again later.
            return;
        }
        self.know_head(position);
        self.place(ctx, id, position);
        self.touch(ctx.fx);
        self.pump = true;
    }

    /// The relay expects an earlier seq of the author.
    pub fn on_nack(&mut self, ctx: &mut Ctx, relay: &mut RelayOut, device: DeviceId, expected: Seq) {
        let logged = self.authors.get(&device).map_or(Seq(0), |author| author.logged);
        if expected <= logged {
            // It does not have what it acknowledged.
            self.claim_rollback(ctx, relay);
            return;
        }
        if device == ctx.me.device {
            self.log.append_next = self.log.append_next.min(expected);
            self.pump = true;
        }
    }

    /// Gives a message its position: out of the tail, into history, if it is shown.
    pub(super) fn place(&mut self, ctx: &mut Ctx, id: (DeviceId, Seq), position: Position) {
        let own = id.0 == ctx.me.device;
        if let Some(author) = self.authors.get_mut(&id.0)
            && author.logged < id.1
        {
            let before = std::mem::replace(&mut author.logged, id.1);
            self.touch_author(ctx.fx, id.0);
            if own {
                self.note_states(before.next(), id.1);
                self.owe_receipt_event(ctx.fx, id.0, ReceiptState::Logged, id.1);
            }
        }
        let Some(message) = self.tail.get_mut(&id) else { return };
        message.position = Some(position);
        if message.stage != Stage::Shown {
            self.touch_message(ctx.fx, id);
            return;
        }
        let Some(message) = self.take_message(ctx.fx, id) else { return };
        let old = DisplayKey::Unlogged(message.depth(), id.0, id.1);
        self.unlogged.remove(&old);
        if message.is_listed() {
            self.timeline.rekey(id_in(self.id, id), old, DisplayKey::Logged(position));
            if self.place_gaps(id, Some(position)) {
                self.tell_missing(id);
            }
        }
        self.write_history(ctx, id, message, position);
    }

    /// Moves a shown message's record to its place in history.
    pub(super) fn write_history(
        &mut self,
        ctx: &mut Ctx,
        id: (DeviceId, Seq),
        message: TailMessage,
        position: Position,
    ) {
        let Some(frame) = message.frame else { return };
        if id.0 == ctx.me.device {
            self.own.recent.insert(id.1, (frame.clone(), position));
            while self.own.recent.len() > RECENT {
                self.own.recent.pop_first();
            }
        }
        if position > self.log.position {
            self.log.ahead.insert(position, frame.hash());
        }
        let (content, made) = (message.content, message.made);
        let record = MessageRecord { frame, content, position: Some(position), made };
        ctx.fx.put(Table::History, history_key(self.id, position), record.to_bytes());
        let place = position.0.to_be_bytes().to_vec();
        ctx.fx.put(Table::Index, message_key(self.id, id.0, id.1), place);
    }

    /// The frames that a link may be sent now: own ones, in order, within the window and what the peer grants.
    pub fn frames_for_link(&mut self, me: &Identity, to: AccountId, cursor: &mut LinkCursor) -> Vec<Frame> {
        let joined = self.joined_at(to);
        let mut frames = Vec::new();
        let mut seq = cursor.sent.max(cursor.acked).next();
        while seq <= self.own.durable
            && seq.0 - cursor.acked.0 <= u64::from(cursor.credit).min(limits::WINDOW)
            && cursor.unacked_bytes() < LINK_BYTES
        {
            // Not held: it is logged, and long ago; the peer gets it from the log or asks for it.
            if let Some(frame) = self.held(me, (me.device, seq), joined)
                && !cursor.peer_holds(me.device, seq)
            {
                cursor.sent_frame(seq, frame.weight());
                frames.push(frame.clone());
                self.own.given = self.own.given.max(seq);
            }
            cursor.sent = seq;
            seq = seq.next();
        }
        frames
    }

    /// A frame that is held in memory, for a member: what was logged before it joined is not for it.
    pub fn frame(&self, me: &Identity, to: AccountId, id: (DeviceId, Seq)) -> Option<Frame> {
        if id.0 == me.device && id.1 > self.own.durable {
            return None;
        }
        self.held(me, id, self.joined_at(to)).cloned()
    }

    /// A frame that is held in memory, unless it was logged before this position.
    fn held(&self, me: &Identity, id: (DeviceId, Seq), joined: Position) -> Option<&Frame> {
        let recent = || self.own.recent.get(&id.1).filter(|_| id.0 == me.device);
        let (frame, position) = match self.tail.get(&id) {
            Some(message) => (message.frame.as_ref()?, message.position),
            None => recent().map(|(frame, position)| (frame, Some(*position)))?,
        };
        position.is_none_or(|position| position >= joined).then_some(frame)
    }

    /// Own messages that are not in the log.
    pub fn unlogged_own(&self, me: &Identity) -> u64 {
        let logged = self.authors.get(&me.device).map_or(Seq(0), |author: &Author| author.logged);
        self.own.last.0.saturating_sub(logged.0) + self.own.displaced.len() as u64
    }

    /// Own messages that neither the log nor all other members' devices have.
    pub(super) fn unacked(&self, me: &Identity, people: &People) -> u64 {
        if !self.member {
            // Nobody takes anything of a group that was left.
            return 0;
        }
        let logged = self.authors.get(&me.device).map_or(Seq(0), |author: &Author| author.logged);
        let devices = self.others(me.account).flat_map(|account| people.devices(account));
        let everywhere =
            devices.map(|d| self.receipts.get(&d).map_or(Seq(0), |receipt| receipt.delivered)).min();
        let known = everywhere.unwrap_or_default().max(logged);
        self.own.last.0.saturating_sub(known.0) + self.own.displaced.len() as u64
    }

    /// The last own seq that is durable.
    pub fn own_durable_seq(&self) -> Seq {
        self.own.durable
    }
}
