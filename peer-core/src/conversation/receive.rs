//! Frames that come in, from a link or as an entry of the log: checked, held durably, opened in each author's
//! order, shown after what they follow.
//!
//! An entry of the log needs no look at its deps: whoever appended it appended those first, so that everything it
//! follows has been read already, or lies below the log's floor or before this account joined.

use sotto_protocol::membership::Action;
use sotto_protocol::relay::Run;
use sotto_protocol::{AccountId, DeviceId, Frame, Hash, Position, Seq, limits};

use super::timeline::DisplayKey;
use super::{Author, Conversation, Ctx, Stage, TailMessage};
use crate::content::{Body, Content};
use crate::crypto::Ed25519;
use crate::effects::id_in;
use crate::io::{Event, GapRange};
use crate::seal;
use sotto_protocol::membership::SignedChange;

/// How often an entry that cannot be read is asked for again.
const UNREADABLE: u32 = 3;

/// What became of an entry of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryOutcome {
    /// Taken in.
    Read,
    /// Its author's device is not known: look it up, then read on from here.
    UnknownDevice(DeviceId),
    /// It names an account that is not known: look it up, then read on from here.
    UnknownAccount(AccountId),
    /// A position is missing before it: subscribe again.
    Hole,
    /// Another message was there before: the log was rolled back.
    Differs,
    /// Not asked for.
    Ignored,
}

impl Conversation {
    /// A frame came over a link, from `from`.
    pub fn receive_from_link(&mut self, ctx: &mut Ctx, from: DeviceId, frame: Frame) {
        let id = (frame.body().device, frame.body().seq);
        let Some(account) = ctx.people.owner(&id.0, ctx.me) else { return };
        if !self.membership.members.contains_key(&account) && !self.authors.contains_key(&id.0) {
            return;
        }
        self.ack_due.insert(id.0);
        self.ack_to.insert((from, id.0));
        self.stir(ctx.fx);
        let author = self.authors.entry(id.0).or_insert_with(|| Author::new(account));
        let filling = author.gaps.contains(id.1);
        let held = id.1 <= author.opened || author.early.contains(id.1);
        // Not while the relay is deciding which of the two counts.
        let undecided = self.log.may_append() && id.1 < self.log.append_next;
        let own = self.tail.get(&id).filter(|message| id.0 == ctx.me.device && message.position.is_none());
        let own = own.filter(|_| !undecided);
        let another =
            own.and_then(|message| message.frame.as_ref()).is_some_and(|own| !own.says_the_same(&frame));
        if held && !filling && !another || id.1.0 > author.opened.0.saturating_add(limits::WINDOW) {
            return;
        }
        let Some(key) = ctx.people.key(&id.0, ctx.me) else { return };
        if !ctx.verified.verify(&frame, &key) {
            tracing::debug!(conversation = %self.id, device = %id.0, "a frame's signature is wrong");
            return;
        }
        if filling {
            self.fill_gap(ctx, id, frame, None);
            return;
        }
        if another {
            // This profile is an older copy of itself: its number was given to another message before.
            self.replace(ctx, id, frame);
        } else {
            self.hold(ctx, id, frame, None);
        }
        self.advance(ctx, id.0);
        self.show_ready(ctx);
        self.own_advanced(ctx.me);
        self.resume(ctx);
        self.arm_missing(ctx);
    }

    /// The log's next message.
    pub fn receive_entry(&mut self, ctx: &mut Ctx, position: Position, frame: Frame) -> EntryOutcome {
        if let Some(outcome) = self.out_of_place(position) {
            return outcome;
        }
        let id = (frame.body().device, frame.body().seq);
        let known = ctx.people.key(&id.0, ctx.me).zip(ctx.people.owner(&id.0, ctx.me));
        let Some((key, account)) = known else {
            if !ctx.people.is_device_gone(&id.0) {
                return EntryOutcome::UnknownDevice(id.0);
            }
            return self.pass_over(
                ctx,
                position,
                "its author's account was deleted: nobody can say whose it is",
            );
        };
        self.stir(ctx.fx);
        // What came over a link already was checked then.
        let held = self.tail.get(&id).and_then(|message| message.frame.as_ref());
        let agrees = held.map(|held| held.says_the_same(&frame));
        if agrees != Some(true) && !ctx.verified.verify(&frame, &key) {
            let advice = "It passed on a message with a wrong signature, which is not shown. If this repeats, \
                          tell whoever runs the server.";
            return self.distrust(ctx, position, advice);
        }
        if self.is_elsewhere(position, id) {
            return EntryOutcome::Differs;
        }
        let hash = Some(frame.hash());
        let author = self.authors.entry(id.0).or_insert_with(|| Author::new(account));
        let (opened, filling) = (author.opened, author.gaps.contains(id.1));
        if filling {
            self.fill_gap(ctx, id, frame, Some(position));
        } else if self.tail.contains_key(&id) {
            if agrees == Some(false) {
                self.replace(ctx, id, frame);
            }
        } else if id.1 > opened {
            self.hold(ctx, id, frame, Some(position));
        }
        self.reach(ctx, id);
        self.place(ctx, id, position);
        self.after_entry(ctx, id.0, position, hash);
        EntryOutcome::Read
    }

    /// The log's next entries are messages that this device appended on this socket.
    pub fn receive_known(
        &mut self,
        ctx: &mut Ctx,
        position: Position,
        (device, seq): (DeviceId, Seq),
        run: Run,
    ) -> EntryOutcome {
        let mut outcome = EntryOutcome::Ignored;
        for (seq, position) in run.places(seq, position) {
            match self.receive_one_known(ctx, position, (device, seq)) {
                // What was read before, in front of what was not.
                EntryOutcome::Ignored => {}
                EntryOutcome::Read => outcome = EntryOutcome::Read,
                other => return other,
            }
        }
        outcome
    }

    fn receive_one_known(&mut self, ctx: &mut Ctx, position: Position, id: (DeviceId, Seq)) -> EntryOutcome {
        if let Some(outcome) = self.out_of_place(position) {
            return outcome;
        }
        if self.is_elsewhere(position, id) {
            return EntryOutcome::Differs;
        }
        // What was appended here is held here.
        let held = |author: &Author| id.1 <= author.opened || author.early.contains(id.1);
        if !self.authors.get(&id.0).is_some_and(held) {
            return self.distrust(ctx, position, "It says that this device appended what it never had.");
        }
        self.reach(ctx, id);
        self.place(ctx, id, position);
        self.after_entry(ctx, id.0, position, None);
        EntryOutcome::Read
    }

    fn after_entry(&mut self, ctx: &mut Ctx, device: DeviceId, position: Position, hash: Option<Hash>) {
        self.ack_due.insert(device);
        self.advance(ctx, device);
        self.show_ready(ctx);
        self.own_advanced(ctx.me);
        self.read_up_to(ctx, position, hash);
        self.resume(ctx);
        self.pump = true;
    }

    /// The log's next entry is a membership change.
    pub fn receive_change(
        &mut self,
        ctx: &mut Ctx,
        position: Position,
        signed: &SignedChange,
    ) -> EntryOutcome {
        if let Some(outcome) = self.out_of_place(position) {
            return outcome;
        }
        ctx.fx.hurry();
        let hash = Some(Hash::of(&[&signed.to_bytes()]));
        let Ok(claims) = signed.claims() else {
            self.read_up_to(ctx, position, hash);
            return EntryOutcome::Read;
        };
        let key = ctx.people.key(&claims.device, ctx.me);
        // Of an account that was deleted nothing can be checked: the relay is believed.
        let gone = key.is_none()
            && (ctx.people.is_gone(&claims.account) || ctx.people.is_device_gone(&claims.device));
        if key.is_none() && !gone {
            return match ctx.people.get(&claims.account) {
                Some(_) => EntryOutcome::UnknownDevice(claims.device),
                None => EntryOutcome::UnknownAccount(claims.account),
            };
        }
        if let Action::Create { members, .. } | Action::Add { members } = &claims.action {
            let me = ctx.me.account;
            let unknown = |account: &AccountId| {
                *account != me && ctx.people.get(account).is_none() && !ctx.people.is_gone(account)
            };
            if let Some(new) = members.iter().find(|account| unknown(account)) {
                return EntryOutcome::UnknownAccount(*new);
            }
        }
        let good = gone
            || key.is_some_and(|key| signed.verify(&key, &Ed25519).is_ok())
                && ctx.people.owner(&claims.device, ctx.me) == Some(claims.account);
        if !good {
            let advice =
                "It showed a change of members that no member signed. Do not trust who is listed here.";
            return self.distrust(ctx, position, advice);
        }
        if claims.epoch == self.membership.epoch.next() {
            let before = self.membership.members.keys().copied().collect();
            let _ = self.membership.apply(&claims, position);
            self.note_joined(&before, ctx.me);
            self.member = self.membership.members.contains_key(&ctx.me.account);
            self.members_news = true;
        }
        self.read_up_to(ctx, position, hash);
        EntryOutcome::Read
    }

    /// The relay lies about what stands at a position, or its disk does: it is asked again, a few times. Then the
    /// position counts, so that what follows can be read; the forgery never does.
    pub fn distrust(&mut self, ctx: &mut Ctx, position: Position, advice: &str) -> EntryOutcome {
        if let Some(outcome) = self.out_of_place(position) {
            return outcome;
        }
        if self.is_tried_enough(position) {
            return self.pass_over(ctx, position, "the server shows something forged in its place");
        }
        ctx.fx.notify(Event::Alarm { about: "the relay".into(), advice: advice.into() });
        EntryOutcome::Hole
    }

    /// Counts how often an entry could not be read; whether it is to be passed over now.
    fn is_tried_enough(&mut self, position: Position) -> bool {
        let (at, times) = self.log.unreadable;
        let times = if at == position { times } else { 0 };
        self.log.unreadable = (position, times + 1);
        times >= UNREADABLE
    }

    /// Reads on after an entry that cannot be read, and says so.
    fn pass_over(&mut self, ctx: &mut Ctx, position: Position, why: &str) -> EntryOutcome {
        self.note_gap(ctx, GapRange::Positions(position, position), why);
        self.read_up_to(ctx, position, None);
        EntryOutcome::Read
    }

    /// Whether another message is known at this position already.
    pub(super) fn is_elsewhere(&self, position: Position, id: (DeviceId, Seq)) -> bool {
        self.timeline.at(position).is_some_and(|known| known != id)
    }

    fn out_of_place(&self, position: Position) -> Option<EntryOutcome> {
        if !self.log.may_append() || position <= self.log.position {
            return Some(EntryOutcome::Ignored);
        }
        (position > self.log.position.next()).then_some(EntryOutcome::Hole)
    }

    /// Stores a new frame as early.
    fn hold(&mut self, ctx: &mut Ctx, id: (DeviceId, Seq), frame: Frame, position: Option<Position>) {
        ctx.fx.hurry();
        let message = TailMessage {
            frame: Some(frame),
            content: None,
            stage: Stage::Early,
            position,
            made: false,
            since: ctx.now(),
            stored: false,
        };
        self.tail.insert(id, message);
        if let Some(author) = self.authors.get_mut(&id.0) {
            author.early.insert(id.1);
        }
        self.touch_message(ctx.fx, id);
        self.touch_author(ctx.fx, id.0);
    }

    /// Opens what is next of an author, as far as it goes without a hole.
    pub(super) fn advance(&mut self, ctx: &mut Ctx, device: DeviceId) {
        loop {
            let Some(author) = self.authors.get_mut(&device) else { return };
            let next = author.opened.next();
            if !author.early.remove(next) {
                return;
            }
            author.opened = next;
            self.open(ctx, (device, next));
        }
    }

    fn open(&mut self, ctx: &mut Ctx, id: (DeviceId, Seq)) {
        let Some(message) = self.tail.get_mut(&id) else { return };
        message.stage = Stage::Opened;
        let frame = message.frame.as_ref();
        message.content = frame.and_then(|frame| seal::open::<Content>(&frame.body().sealed).ok());
        if message.content.is_none() {
            self.undecryptable += 1;
        }
        if id.0 == ctx.me.device {
            self.keep_displaced_out(ctx, id.1);
        }
        self.touch_message(ctx.fx, id);
        self.touch_author(ctx.fx, id.0);
    }

    /// The log has come to this message: everything of its author up to it is opened and shown now. What is
    /// missing before it lies below the log's floor, or before this account joined.
    fn reach(&mut self, ctx: &mut Ctx, (device, seq): (DeviceId, Seq)) {
        loop {
            let Some(author) = self.authors.get_mut(&device) else { return };
            if author.opened >= seq {
                break;
            }
            let next = author.opened.next();
            if author.early.remove(next) {
                author.opened = next;
                self.open(ctx, (device, next));
                continue;
            }
            // Nothing held next: skip to the first that is.
            let first_held = author.early.ranges().next().map_or(seq.next(), |range| range.first);
            let skipped = first_held.min(seq.next()).previous();
            if author.shown == author.opened {
                author.shown = skipped;
            } else {
                author.gaps.insert_range(next, skipped);
            }
            author.opened = skipped;
            self.touch_author(ctx.fx, device);
        }
        while let Some(author) = self.authors.get(&device) {
            if author.shown >= seq {
                break;
            }
            self.show_next(ctx, device);
        }
    }

    /// Shows every opened message whose deps are shown.
    pub(super) fn show_ready(&mut self, ctx: &mut Ctx) {
        loop {
            let ready: Vec<DeviceId> = self
                .authors
                .iter()
                .filter(|(device, author)| {
                    author.shown < author.opened && self.next_is_ready(**device, author)
                })
                .map(|(device, _)| *device)
                .collect();
            if ready.is_empty() {
                return;
            }
            for device in ready {
                while self
                    .authors
                    .get(&device)
                    .is_some_and(|a| a.shown < a.opened && self.next_is_ready(device, a))
                {
                    self.show_next(ctx, device);
                }
            }
        }
    }

    fn next_is_ready(&self, device: DeviceId, author: &Author) -> bool {
        let next = author.shown.next();
        let content = self.tail.get(&(device, next)).and_then(|message| message.content.as_ref());
        content.is_none_or(|content| {
            content
                .deps
                .iter()
                .all(|(dep, seq)| self.authors.get(dep).is_some_and(|author| author.shown >= *seq))
        })
    }

    /// Shows the next opened message of an author, or passes its gap.
    pub(super) fn show_next(&mut self, ctx: &mut Ctx, device: DeviceId) {
        let Some(author) = self.authors.get_mut(&device) else { return };
        let next = author.shown.next();
        author.waiting_since = None;
        // Gaps are passed in one step: whoever names a seq decides how long they are.
        let held = self.tail.range((device, next)..=(device, author.opened.max(next))).next();
        match held.map(|((_, seq), _)| *seq) {
            Some(seq) if seq == next => return self.show(ctx, (device, next)),
            Some(seq) => author.shown = seq.previous(),
            None => author.shown = author.opened.max(next),
        }
        self.touch_author(ctx.fx, device);
    }

    /// Puts a message in the list and takes in what it says.
    pub(super) fn show(&mut self, ctx: &mut Ctx, id: (DeviceId, Seq)) {
        if let Some(author) = self.authors.get_mut(&id.0) {
            author.shown = author.shown.max(id.1);
        }
        self.touch_author(ctx.fx, id.0);
        let Some(message) = self.tail.get_mut(&id) else { return };
        message.stage = Stage::Shown;
        let (content, position, depth) = (message.content.clone(), message.position, message.depth());
        self.follow(id, content.as_ref());
        if let Some(content) = &content {
            self.learn(ctx, id.0, content);
        }
        let key = position.map_or(DisplayKey::Unlogged(depth, id.0, id.1), DisplayKey::Logged);
        if content.as_ref().is_none_or(|content| content.body.is_shown()) {
            self.place_gaps(id, position);
        }
        if let Some(view) = self.message_view(id, content.as_ref(), position, ctx.me, ctx.people) {
            if !view.own {
                self.unread += 1;
            }
            self.timeline.insert(key, view.clone());
            if !self.announced {
                self.announce(ctx);
            }
            ctx.fx.notify(Event::Message(view));
        }
        match position {
            Some(position) => {
                if let Some(message) = self.take_message(ctx.fx, id) {
                    self.write_history(ctx, id, message, position);
                }
            }
            None => {
                self.unlogged.insert(key);
                if id.0 != ctx.me.device {
                    self.arm_append_for_others(ctx);
                }
            }
        }
    }

    /// The causal frontier after a message.
    fn follow(&mut self, (device, seq): (DeviceId, Seq), content: Option<&Content>) {
        let previous = self.heads.values().map(|(_, depth)| *depth).max().unwrap_or(0);
        let depth = content.map_or(previous.saturating_add(1), |content| content.depth);
        for (dep, seen) in content.into_iter().flat_map(|content| content.deps.iter()) {
            if *dep != device && self.heads.get(dep).is_some_and(|(head, _)| head <= seen) {
                self.heads.remove(dep);
            }
        }
        let head = self.heads.entry(device).or_insert((seq, depth));
        if head.0 <= seq {
            *head = (seq, depth);
        }
    }

    /// What a message says beyond its text.
    fn learn(&mut self, ctx: &mut Ctx, device: DeviceId, content: &Content) {
        let Some(account) = ctx.people.owner(&device, ctx.me) else { return };
        if account != ctx.me.account {
            if self.accepted_by.insert(account) {
                self.touch(ctx.fx);
            }
            if let Some(capability) = content.capability
                && self.capabilities.insert(account, capability) != Some(capability)
            {
                self.capability_news = true;
                self.touch(ctx.fx);
            }
        }
        match &content.body {
            Body::Rename { name } if self.name.as_deref() != Some(name) => {
                self.name = Some(name.to_string());
                self.announce(ctx);
            }
            Body::Text { .. } | Body::Accept {} | Body::Rename { .. } => {}
        }
    }

    /// A message that was given up turns up after all.
    fn fill_gap(&mut self, ctx: &mut Ctx, id: (DeviceId, Seq), frame: Frame, position: Option<Position>) {
        let Some(author) = self.authors.get_mut(&id.0) else { return };
        author.gaps.remove(id.1);
        let shown = id.1 <= author.shown;
        self.close_gaps(id);
        let message = TailMessage {
            frame: Some(frame),
            content: None,
            stage: Stage::Early,
            position,
            made: false,
            since: ctx.now(),
            stored: false,
        };
        self.tail.insert(id, message);
        self.open(ctx, id);
        if shown {
            self.show(ctx, id);
        }
    }

    /// The log has another message under this name than a peer sent: the log's counts.
    fn replace(&mut self, ctx: &mut Ctx, id: (DeviceId, Seq), frame: Frame) {
        if id.0 == ctx.me.device {
            self.on_own_conflict(ctx, id.1, id.1);
            if self.own_author(ctx.me).gaps.contains(id.1) {
                self.fill_gap(ctx, id, frame, None);
            } else {
                self.hold(ctx, id, frame, None);
            }
            return;
        }
        let Some(message) = self.tail.get_mut(&id) else { return };
        let old_key = DisplayKey::Unlogged(message.depth(), id.0, id.1);
        message.frame = Some(frame);
        if message.stage == Stage::Early {
            self.touch_message(ctx.fx, id);
            return;
        }
        let stage = message.stage;
        self.open(ctx, id);
        let Some(message) = self.tail.get_mut(&id) else { return };
        message.stage = stage;
        if stage != Stage::Shown {
            return;
        }
        let (content, depth) = (message.content.clone(), message.depth());
        let key = DisplayKey::Unlogged(depth, id.0, id.1);
        self.unlogged.remove(&old_key);
        self.unlogged.insert(key);
        if message.is_listed() {
            self.timeline.rekey(id_in(self.id, id), old_key, key);
        }
        if let Some(view) = self.message_view(id, content.as_ref(), None, ctx.me, ctx.people) {
            self.timeline.replace(view);
        }
    }
}
