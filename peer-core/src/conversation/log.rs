//! How far the relay's log of a conversation is read, and what happens when the relay lost its end.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sotto_protocol::membership::Membership;
use sotto_protocol::relay::{Held, Request};
use sotto_protocol::{DeviceId, Hash, LogEpoch, Position, Seq, limits};

use super::timeline::DisplayKey;
use super::{Conversation, Ctx, Stage, TailMessage};
use crate::effects::Gated;
use crate::io::{GapRange, LoadId, Row, Table};
use crate::peer::relay_out::RelayOut;
use crate::store::{Consent, ConversationRecord, MessageRecord, history_range, message_key};
use crate::timers::Timer;

/// Rows read at a time while a rollback is undone.
const ROLLBACK_PAGE: u32 = 512;

/// Rows looked through for the last that is listed: accepting is the only message that is not.
const ANCHOR_PAGE: u32 = 512;

/// How long an answer to a subscription may take before it is asked for again.
const SUBSCRIBE_AGAIN: Duration = Duration::from_secs(10);

/// How often the log is read again at once because of the same hole.
const REREAD: u32 = 4;

/// Where the subscription stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Subscription {
    /// Not asked for, on this socket.
    #[default]
    None,
    /// Asked for.
    Asked,
    /// Granted; older entries are coming.
    CatchingUp,
    /// Entries come as they are made.
    Live,
    /// The log was rolled back: this device puts what it holds beyond `common` back into its tail, and asks anew.
    RollingBack { epoch: LogEpoch, common: Position, load: LoadId },
    /// That is done, but for finding the row of the list that what follows `common` follows.
    Anchoring { load: LoadId },
}

/// The log as this device knows it.
#[derive(Debug, Default)]
pub(crate) struct LogState {
    pub epoch: LogEpoch,
    /// Read without a hole up to here.
    pub position: Position,
    /// The hashes of the last entries read, up to `position`, as far as they are known.
    pub held: VecDeque<Hash>,
    /// Hashes of messages whose positions beyond `position` are known already.
    pub ahead: BTreeMap<Position, Hash>,
    /// The highest position known to exist.
    pub known_head: Position,
    /// The relay or a peer has own messages up to here: no new ones before they are held.
    pub resume_at: Seq,
    pub subscription: Subscription,
    /// The last own seq that the relay had when the subscription began.
    pub relay_has: Seq,
    /// The next own seq to append on this socket.
    pub append_next: Seq,
    /// Durably read up to here: what the cursor may say.
    pub durable: Position,
    /// What the relay was last told.
    pub told: Position,
    /// Where a hole was met last, and how often the log was read once more from there.
    hole: (Position, u32),
    /// The last position at which something could not be read, and how often.
    pub unreadable: (Position, u32),
}

impl LogState {
    pub fn restore(record: &ConversationRecord) -> Self {
        Self {
            epoch: record.log_epoch,
            position: record.position,
            held: record.held.iter().copied().collect(),
            known_head: record.known_head,
            resume_at: record.resume_at,
            durable: record.position,
            ..Self::default()
        }
    }

    /// Skips what was logged before the account joined, in the log of this epoch.
    pub fn start_at(&mut self, joined: Position, epoch: LogEpoch) {
        if joined.previous() > self.position {
            self.position = joined.previous();
            self.epoch = epoch;
            self.held.clear();
        }
    }

    pub fn is_live(&self) -> bool {
        self.subscription == Subscription::Live
    }

    fn is_rolling_back(&self) -> bool {
        matches!(self.subscription, Subscription::RollingBack { .. } | Subscription::Anchoring { .. })
    }

    /// Whether frames may be appended: the relay has said which of the own it has.
    pub fn may_append(&self) -> bool {
        matches!(self.subscription, Subscription::CatchingUp | Subscription::Live)
    }
}

impl Conversation {
    /// The relay's socket is gone.
    pub fn relay_closed(&mut self) {
        if !self.log.is_rolling_back() {
            self.log.subscription = Subscription::None;
        }
    }

    /// Asks the relay for what comes after what is held, if that makes sense now.
    pub fn subscribe(&mut self, ctx: &mut Ctx, relay: &mut RelayOut) {
        let wanted = relay.is_ready()
            && self.member
            && self.creation.is_none()
            && self.log.subscription == Subscription::None
            && !self.is_blocked(ctx.me.account, ctx.people)
            // Members whose devices are unknown are looked up first, or their entries could not be checked.
            && self.others(ctx.me.account).all(|a| ctx.people.get(&a).is_some() || ctx.people.is_gone(&a));
        if !wanted {
            return;
        }
        self.log.subscription = Subscription::Asked;
        relay.push(&Request::Subscribe {
            conversation: self.id,
            log_epoch: self.log.epoch,
            // Of no epoch nothing was read: what came before is not for this account.
            after: if self.log.epoch == LogEpoch(0) { Position(0) } else { self.log.position },
            held: Held::of(self.log.held.make_contiguous()),
        });
        ctx.timers.set(Timer::Subscribe(self.id), ctx.now() + SUBSCRIBE_AGAIN);
    }

    /// Reads the log from where it is held once more.
    pub fn resubscribe(&mut self, ctx: &mut Ctx, relay: &mut RelayOut) {
        if self.log.is_rolling_back() {
            return;
        }
        self.log.subscription = Subscription::None;
        self.subscribe(ctx, relay);
    }

    /// Something is missing or cannot be: the log is read once more; at once the first times, then after a while.
    pub fn reread(&mut self, ctx: &mut Ctx, relay: &mut RelayOut) {
        let (at, times) = self.log.hole;
        let times = if at == self.log.position { times + 1 } else { 1 };
        self.log.hole = (self.log.position, times);
        if times > REREAD { self.stall(ctx) } else { self.resubscribe(ctx, relay) }
    }

    /// An account has to be looked up first: what follows is read again once it is known.
    pub fn stall(&mut self, ctx: &mut Ctx) {
        self.log.subscription = Subscription::None;
        ctx.timers.set(Timer::Subscribe(self.id), ctx.now() + SUBSCRIBE_AGAIN);
    }

    pub fn on_subscribe_timer(&mut self, ctx: &mut Ctx, relay: &mut RelayOut) {
        if matches!(self.log.subscription, Subscription::Asked | Subscription::None) {
            self.resubscribe(ctx, relay);
        }
    }

    pub fn on_subscribed(
        &mut self,
        ctx: &mut Ctx,
        relay: &mut RelayOut,
        log_epoch: LogEpoch,
        head: Position,
        last_seq: Seq,
    ) {
        if self.log.subscription != Subscription::Asked {
            return;
        }
        ctx.timers.cancel(Timer::Subscribe(self.id));
        if head < self.log.known_head {
            // An append was acknowledged beyond this head: the relay lost its end without knowing. Naming the
            // position makes it find out.
            relay.push(&Request::Subscribe {
                conversation: self.id,
                log_epoch: self.log.epoch,
                after: self.log.known_head,
                held: None,
            });
            ctx.timers.set(Timer::Subscribe(self.id), ctx.now() + SUBSCRIBE_AGAIN);
            return;
        }
        self.log.subscription = Subscription::CatchingUp;
        self.log.epoch = log_epoch;
        self.note_own_seq(ctx, last_seq);
        self.log.relay_has = last_seq;
        let logged = self.own_author(ctx.me).logged;
        self.log.append_next = logged.next();
        self.log.told = Position(0);
        self.touch(ctx.fx);
        self.pump = true;
        self.receipt_due = true;
    }

    pub fn on_live(&mut self, ctx: &mut Ctx) {
        if self.log.subscription == Subscription::CatchingUp {
            self.log.subscription = Subscription::Live;
            self.pump = true;
            self.resume(ctx);
        }
    }

    /// A position was confirmed to exist.
    pub(super) fn know_head(&mut self, position: Position) {
        self.log.known_head = self.log.known_head.max(position);
    }

    /// The log was read without a hole up to here.
    pub(super) fn read_up_to(&mut self, ctx: &mut Ctx, position: Position, held: Option<Hash>) {
        self.log.position = position;
        match held.or(self.log.ahead.remove(&position)) {
            Some(hash) => self.log.held.push_back(hash),
            None => self.log.held.clear(),
        }
        if self.log.held.len() > limits::MAX_HELD {
            self.log.held.pop_front();
        }
        self.log.ahead = self.log.ahead.split_off(&position);
        self.know_head(position);
        self.touch(ctx.fx);
        self.receipt_due = true;
        ctx.fx.after_write(Gated::LogDurable(self.id, position));
    }

    pub fn on_trimmed(&mut self, ctx: &mut Ctx, floor: Position) {
        let from = self.log.position.next();
        if floor <= from {
            return;
        }
        let range = GapRange::Positions(from, floor.previous());
        self.note_gap(ctx, range, "the server no longer keeps these messages");
        self.read_up_to(ctx, floor.previous(), None);
        self.arm_append_for_others(ctx);
    }

    /// The log holds something else than it did where this device has read or appended: it was rolled back and has
    /// grown again. The relay is made to find out.
    pub fn claim_rollback(&mut self, ctx: &mut Ctx, relay: &mut RelayOut) {
        self.log.subscription = Subscription::Asked;
        relay.push(&Request::Subscribe {
            conversation: self.id,
            log_epoch: self.log.epoch.next(),
            after: self.log.position,
            held: None,
        });
        ctx.timers.set(Timer::Subscribe(self.id), ctx.now() + SUBSCRIBE_AGAIN);
    }

    pub fn on_rolled_back(&mut self, ctx: &mut Ctx, epoch: LogEpoch, common: Position) {
        if self.log.subscription == Subscription::None || self.log.is_rolling_back() {
            return;
        }
        ctx.timers.cancel(Timer::Subscribe(self.id));
        // What was logged beyond stands in History by position; it goes back to the tail page by page. The epoch is
        // the new one only once all is back: whoever dies before that has to be told again.
        let load = self.load_rolled_back(ctx, common);
        self.log.subscription = Subscription::RollingBack { epoch, common, load };
    }

    fn load_rolled_back(&self, ctx: &mut Ctx, common: Position) -> LoadId {
        let mut query = history_range(self.id, common.next(), Position(u64::MAX));
        query.limit = ROLLBACK_PAGE;
        ctx.fx.load(query)
    }

    /// A page of what the relay lost came from the store; answers whether it was this conversation's.
    pub fn on_loaded(&mut self, ctx: &mut Ctx, relay: &mut RelayOut, id: LoadId, rows: &[Row]) -> bool {
        if self.log.subscription == (Subscription::Anchoring { load: id }) {
            self.anchor(rows);
            self.touch(ctx.fx);
            self.log.subscription = Subscription::None;
            self.subscribe(ctx, relay);
            return true;
        }
        let Subscription::RollingBack { epoch, common, load } = self.log.subscription else { return false };
        if load != id {
            return false;
        }
        for row in rows {
            self.unlog_row(ctx, row);
        }
        if rows.len() == ROLLBACK_PAGE as usize {
            let load = self.load_rolled_back(ctx, common);
            self.log.subscription = Subscription::RollingBack { epoch, common, load };
            return true;
        }
        self.log.epoch = epoch;
        self.log.ahead.clear();
        if common < self.log.position {
            let lost = usize::try_from(self.log.position.0 - common.0).unwrap_or(usize::MAX);
            self.log.held.truncate(self.log.held.len().saturating_sub(lost));
            self.log.position = common;
            // Below its own joining there is nothing for this account.
            self.log.start_at(self.joined_at(ctx.me.account), epoch);
        }
        let floor = common.max(self.log.position);
        self.log.known_head = self.log.known_head.min(floor);
        self.log.durable = self.log.durable.min(floor);
        // Nothing in the tail keeps a position beyond: those of held messages go too.
        let held: Vec<_> = self.tail.iter().filter(|(_, m)| m.position.is_some_and(|p| p > common)).collect();
        let held: Vec<_> = held.into_iter().map(|(id, _)| *id).collect();
        for id in held {
            if let Some(message) = self.tail.get_mut(&id) {
                message.position = None;
            }
            self.unlog_author(ctx, id);
            self.touch_message(ctx.fx, id);
        }
        self.touch(ctx.fx);
        self.arm_append_for_others(ctx);
        self.log.subscription = Subscription::None;
        let mut query = history_range(self.id, Position(0), common.next());
        (query.limit, query.descending) = (ANCHOR_PAGE, true);
        self.log.subscription = Subscription::Anchoring { load: ctx.fx.load(query) };
        true
    }

    /// The last listed row of what the log still has, and the hashes of the last of all: should the log hold others
    /// there, it had grown again before it was found out.
    fn anchor(&mut self, rows: &[Row]) {
        let mut held = VecDeque::new();
        let (mut next, mut anchored) = (self.log.position, false);
        for row in rows {
            let Ok(record) = crate::store::decode::<MessageRecord>(Table::History, &row.value) else {
                continue;
            };
            if record.position == Some(next) && held.len() < limits::MAX_HELD {
                held.push_front(record.frame.hash());
                next = next.previous();
            }
            let listed = record.content.as_ref().is_none_or(|content| content.body.is_shown());
            let Some(position) = record.position.filter(|_| listed) else { continue };
            let id = (record.frame.body().device, record.frame.body().seq);
            if !anchored {
                self.timeline.restore(DisplayKey::Logged(position), id);
                anchored = true;
            }
        }
        if held.len() > self.log.held.len() {
            self.log.held = held;
        }
    }

    fn unlog_row(&mut self, ctx: &mut Ctx, row: &Row) {
        let Ok(record) = crate::store::decode::<MessageRecord>(Table::History, &row.value) else { return };
        let Some(position) = record.position else { return };
        let id = (record.frame.body().device, record.frame.body().seq);
        ctx.fx.delete(Table::History, row.key.clone());
        ctx.fx.delete(Table::Index, message_key(self.id, id.0, id.1));
        let message = TailMessage {
            frame: Some(record.frame),
            content: record.content,
            stage: Stage::Shown,
            position: None,
            made: record.made,
            since: ctx.now(),
            stored: false,
        };
        let key = DisplayKey::Unlogged(message.depth(), id.0, id.1);
        if message.is_listed() {
            self.timeline.rekey(crate::effects::id_in(self.id, id), DisplayKey::Logged(position), key);
        }
        self.tail.insert(id, message);
        self.unlogged.insert(key);
        self.unlog_author(ctx, id);
        self.touch_message(ctx.fx, id);
    }

    fn unlog_author(&mut self, ctx: &mut Ctx, (device, seq): (DeviceId, Seq)) {
        if device == ctx.me.device {
            self.note_states(seq, self.own.last);
        }
        if let Some(author) = self.authors.get_mut(&device) {
            author.logged = author.logged.min(seq.previous());
            self.touch_author(ctx.fx, device);
        }
    }

    /// The relay says who the members are.
    pub fn on_membership(&mut self, ctx: &mut Ctx, membership: Membership, epoch: LogEpoch) {
        let was_member = self.member;
        let changed = membership != self.membership;
        if changed {
            self.refused.clear();
        }
        let before = self.membership.members.keys().copied().collect();
        self.membership = membership;
        self.note_joined(&before, ctx.me);
        self.creation = None;
        self.member = self.membership.members.contains_key(&ctx.me.account);
        if self.member {
            // Joined, or joined again: what was logged in between is not for this account.
            self.log.start_at(self.joined_at(ctx.me.account), epoch);
        } else {
            self.log.subscription = Subscription::None;
        }
        self.pump = true;
        self.members_news = true;
        if changed || was_member != self.member || !self.announced {
            self.touch(ctx.fx);
        }
    }

    /// Whether the user agreed, by starting it, accepting it or writing in it.
    pub fn accept(&mut self, ctx: &mut Ctx) {
        if self.consent == Consent::Request {
            self.consent = Consent::Accepted;
            self.touch(ctx.fx);
            self.receipt_due = true;
            self.pump = true;
        }
    }

    /// Bytes that one conversation may have unconfirmed at the relay.
    pub(super) const APPEND_BYTES: usize = 4 * limits::MAX_RELAY_MESSAGE;
}
