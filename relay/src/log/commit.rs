//! After a batch: what it changed becomes visible, its requests are answered, and live subscriptions hear of it.

use std::collections::BTreeSet;

use sotto_protocol::cbor::Blob;
use sotto_protocol::membership::SignedChange;
use sotto_protocol::relay::{EntryBody, ErrorCode, Event, Run};
use sotto_protocol::{AccountId, ConversationId, DeviceId, Frame, MembershipEpoch, Position, Verify, limits};

use super::batch::InFlight;
use super::catch_up::Phase;
use super::{BatchToken, Failed, Log, Need, SessionId};
use crate::store::CursorRow;

/// What happens once a batch is durable.
pub(super) enum Effect {
    /// An answer that rests on the batch.
    Answer { session: SessionId, event: Event },
    /// A new message.
    Appended(Appended),
    /// A new membership.
    Committed {
        session: SessionId,
        conversation: ConversationId,
        position: Position,
        signed: SignedChange,
        epoch: MembershipEpoch,
        /// The members before the batch.
        before: BTreeSet<AccountId>,
        /// Who is out.
        left: Option<AccountId>,
    },
    /// A new cursor.
    Cursor { row: CursorRow },
    /// The log epoch was raised: everybody subscribes anew.
    RolledBack { session: SessionId, conversation: ConversationId, common: Position, event: Event },
}

/// A message that a batch appended, and whose request that was.
pub(super) struct Appended {
    pub session: SessionId,
    pub position: Position,
    pub frame: Frame,
}

impl Appended {
    /// Whether this goes on with the run that ends with `last`.
    fn follows(&self, last: &Self) -> bool {
        let (id, before) = (self.frame.id(), last.frame.id());
        self.session == last.session
            && (id.conversation, id.device) == (before.conversation, before.device)
            && id.seq == before.seq.next()
            && self.position == last.position.next()
    }
}

impl<V: Verify> Log<V> {
    pub(super) fn committed(&mut self, token: BatchToken, result: Result<(), Failed>) {
        let Some(in_flight) = self.in_flight.take_if(|batch| batch.token == token) else { return };
        match result {
            Ok(()) => self.settle(in_flight),
            Err(Failed) => self.drop_batch(in_flight),
        }
    }

    pub(super) fn settle(&mut self, in_flight: InFlight) {
        for (id, staged) in in_flight.staged {
            match self.conversations.get_mut(&id) {
                Some(conversation) => conversation.settle(staged),
                None => {
                    self.conversations.insert(id, staged.into_conversation());
                }
            }
            self.touch(id);
        }
        let mut run = Vec::new();
        for effect in in_flight.effects {
            // A sender in a hurry has whole batches to itself: it hears of them in a word, not in thousands.
            if let Effect::Appended(message) = effect {
                if run.last().is_some_and(|last| !message.follows(last)) {
                    self.run_appended(&mut run);
                }
                run.push(message);
                continue;
            }
            self.run_appended(&mut run);
            self.happen(effect);
        }
        self.run_appended(&mut run);
        for (session, weight, _, is_commit) in in_flight.requests {
            if is_commit {
                self.commit_settled(session);
            }
            self.release(session, weight);
        }
        self.evict();
    }

    /// Nothing of a failed batch happened; what it staged was only a copy.
    fn drop_batch(&mut self, in_flight: InFlight) {
        for (session, weight, conversation, is_commit) in in_flight.requests {
            let why = "the relay cannot store now; nothing was stored";
            self.refuse(session, ErrorCode::Unavailable, Some(conversation), why);
            if is_commit {
                self.commit_settled(session);
            }
            self.release(session, weight);
        }
    }

    /// A session's membership change is decided: what follows it may go on.
    pub(super) fn commit_settled(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.commits = session.commits.saturating_sub(1);
        if session.commits == 0 {
            self.meet(Need::OwnCommit(id), |_| {});
        }
    }

    fn happen(&mut self, effect: Effect) {
        match effect {
            Effect::Answer { session, event } => self.send(session, event),
            Effect::Appended(message) => self.run_appended(&mut vec![message]),
            Effect::Committed { session, conversation, position, signed, epoch, before, left } => {
                self.send(session, Event::Committed { conversation, epoch });
                if let Some(account) = left {
                    self.end_subscriptions(conversation, &account);
                }
                self.tell_members(conversation, before);
                for id in self.subscribers(conversation) {
                    self.send_live(id, conversation, position, EntryBody::Membership(signed.clone()));
                }
            }
            Effect::Cursor { row } => self.fan_out_cursor(row),
            Effect::RolledBack { session, conversation, common, event } => {
                self.roll_back_subscribers(session, conversation, common);
                self.send(session, event);
            }
        }
    }

    fn subscribers(&self, id: ConversationId) -> Vec<SessionId> {
        let conversation = self.conversations.get(&id);
        conversation.map(|c| c.subscribers.iter().copied().collect()).unwrap_or_default()
    }

    /// Answers who appended a run of messages, and sends it to the live subscriptions.
    fn run_appended(&mut self, run: &mut Vec<Appended>) {
        // A batch has no more messages than a run may have.
        let (Some(first), Some(length)) = (run.first(), Run::new(run.len())) else { return };
        let (id, position, author) = (first.frame.id(), first.position, first.session);
        let (conversation, device, seq) = (id.conversation, id.device, id.seq);
        self.send(author, Event::Appended { conversation, device, seq, position, run: length });
        for id in self.subscribers(conversation) {
            if id == author {
                self.send_live(id, conversation, position, EntryBody::Known(device, seq, length));
                continue;
            }
            for message in &*run {
                self.send_live(id, conversation, message.position, EntryBody::Message(message.frame.clone()));
            }
        }
        run.clear();
    }

    /// Sends new entries to a subscription that is live and keeps up. Others read them from the store in their time.
    fn send_live(
        &mut self,
        id: SessionId,
        conversation: ConversationId,
        position: Position,
        body: EntryBody,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let has_room = session.has_live_room();
        let Some(subscription) = session.subscriptions.get_mut(&conversation) else { return };
        if subscription.phase != Phase::Live {
            return;
        }
        if !has_room || subscription.sent.next() != position {
            subscription.phase = Phase::Behind;
            session.catch_up(conversation);
            self.page_on(id);
            return;
        }
        subscription.sent = Position(position.0.saturating_add(body.entries() - 1));
        self.send(id, Event::Entry { conversation, position, body });
    }

    fn fan_out_cursor(&mut self, row: CursorRow) {
        let conversation = row.conversation;
        for id in self.subscribers(conversation) {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            if session.device == row.device {
                continue;
            }
            let has_room = session.has_live_room();
            let Some(subscription) = session.subscriptions.get_mut(&conversation) else { continue };
            if !has_room {
                // It is stored: the session reads all cursors again once it has room.
                let was_live = subscription.phase == Phase::Live;
                subscription.phase = Phase::Cursors { after: None };
                subscription.newer.clear();
                if was_live {
                    session.catch_up(conversation);
                }
                continue;
            }
            if subscription.phase != Phase::Live {
                subscription.newer.insert(row.device);
            }
            let (device, position, receipt) = (row.device, row.position, row.receipt.clone());
            self.send(id, Event::Cursor { conversation, device, position, receipt });
        }
    }

    pub(super) fn fan_out_ephemeral(
        &mut self,
        from: SessionId,
        device: DeviceId,
        conversation: ConversationId,
        sealed: Blob<{ limits::MAX_EPHEMERAL }>,
    ) {
        for id in self.subscribers(conversation) {
            let has_room = self.sessions.get(&id).is_some_and(|session| session.room);
            if id != from && has_room {
                self.send(id, Event::Ephemeral { conversation, device, sealed: sealed.clone() });
            }
        }
    }

    /// Tells the members before and after about the membership as it is now.
    fn tell_members(&mut self, conversation: ConversationId, before: BTreeSet<AccountId>) {
        let Some(log) = self.conversations.get(&conversation) else { return };
        let mut accounts = before;
        accounts.extend(log.membership.members.keys());
        for account in accounts {
            for id in self.by_account.get(&account).cloned().unwrap_or_default() {
                let Some(session) = self.sessions.get_mut(&id) else { continue };
                if session.news.insert(conversation) {
                    self.pin(conversation);
                }
                self.page_on(id);
            }
        }
    }

    fn end_subscriptions(&mut self, conversation: ConversationId, account: &AccountId) {
        for id in self.by_account.get(account).cloned().unwrap_or_default() {
            self.unsubscribe(id, conversation);
        }
    }

    fn roll_back_subscribers(&mut self, claimant: SessionId, id: ConversationId, common: Position) {
        let log_epoch = self.conversations.get(&id).map(|log| log.log_epoch).unwrap_or_default();
        for session in self.subscribers(id) {
            let subscription = self.sessions.get(&session).and_then(|session| session.subscriptions.get(&id));
            let held = subscription.map(|subscription| subscription.sent).unwrap_or_default();
            self.unsubscribe(session, id);
            if session != claimant {
                let common = common.min(held);
                self.send(session, Event::RolledBack { conversation: id, log_epoch, common });
            }
        }
    }
}
