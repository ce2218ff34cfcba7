//! Requests as they come in: answered at once from what is durable, or admitted to the next batch, or kept until
//! what decides them is loaded.

use sotto_protocol::membership::{Action, Change, Membership, SignedChange};
use sotto_protocol::relay::{ErrorCode, Event, Held, Request, Run};
use sotto_protocol::rest::DeviceRecord;
use sotto_protocol::{
    AccountId, ConversationId, ConversationKind, DeviceId, Frame, LogEpoch, MembershipEpoch, Position,
    Verify, limits,
};

use super::batch::{Pending, Wish};
use super::session::{Facts, weight};
use super::{Log, LookUp, Need, Purpose, SessionId};
use crate::store::{CursorRow, Query};

/// How far beyond the log's own epoch a claimed one may be. A real one is a few rollbacks ahead; without a bound one
/// member could use all epochs up.
const MAX_EPOCH_LEAP: u64 = 1_000_000;

/// What becomes of a request for now.
#[allow(clippy::large_enum_variant, reason = "made and taken apart at once, never stored")]
enum Step {
    /// Answered, or nothing to answer.
    Done,
    /// Admitted to the next batch.
    Admitted(Wish),
    /// Has to wait.
    Wait(Need),
}

/// A conversation, as far as a request sees it.
enum Seen {
    /// The account is a member; it came in here.
    Member(Position),
    /// Not a member, or no such conversation.
    Outside,
    /// Not in memory.
    Unloaded,
}

impl<V: Verify> Log<V> {
    pub(super) fn serve_ready(&mut self) {
        while let Some(id) = self.ready.pop_front() {
            while self.serve_next(id) {}
        }
    }

    /// Deals with a session's next request; false when there is none or it has to wait.
    fn serve_next(&mut self, id: SessionId) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        if session.waiting {
            return false;
        }
        let Some(request) = session.queue.pop_front() else { return false };
        let mut facts = std::mem::take(&mut session.facts);
        match self.decide(id, &request, &mut facts) {
            Step::Done => self.release(id, weight(&request)),
            Step::Admitted(wish) => {
                let pinned = self.pin(wish.conversation());
                if let (Wish::Commit { .. }, Some(session)) = (&wish, self.sessions.get_mut(&id)) {
                    session.commits += 1;
                }
                self.pending.push_back(Pending { session: id, weight: weight(&request), pinned, wish });
            }
            Step::Wait(need) => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.queue.push_front(request);
                    session.facts = facts;
                    session.waiting = true;
                }
                self.wait(id, need);
            }
        }
        true
    }

    fn wait(&mut self, id: SessionId, need: Need) {
        let waiting = self.needs.entry(need).or_default();
        waiting.push(id);
        if waiting.len() > 1 {
            return;
        }
        match need {
            Need::Conversation(conversation) => {
                self.load(Query::Conversation(conversation), Purpose::Need(need))
            }
            Need::Entry(conversation, device, seq) => {
                self.load(Query::Entry { conversation, device, seq }, Purpose::Need(need))
            }
            Need::Held(conversation, through, entries) => {
                let (after, bytes) = (Position(through.0 - u64::from(entries)), usize::MAX);
                let query = Query::Page { conversation, after, through, limit: entries as usize, bytes };
                self.load(query, Purpose::Need(need));
            }
            Need::Device(device) => self.look_up(LookUp::Device(device), Purpose::Need(need)),
            Need::Counts(session) => {
                let accounts = self.entrants(session);
                self.load(Query::Counts { accounts }, Purpose::Need(need));
            }
            Need::Accounts(session) => {
                let accounts = self.entrants(session);
                self.look_up(LookUp::Accounts(accounts), Purpose::Need(need));
            }
            Need::OwnCommit(_) => {}
        }
    }

    /// The accounts that a session's first request wants to let in.
    fn entrants(&self, id: SessionId) -> Vec<AccountId> {
        let first = self.sessions.get(&id).and_then(|session| session.queue.front());
        let Some(Request::Commit { change }) = first else { return Vec::new() };
        change.claims().map(|change| entrants(&change)).unwrap_or_default()
    }

    fn decide(&mut self, id: SessionId, request: &Request, facts: &mut Facts) -> Step {
        let Some(session) = self.sessions.get(&id) else { return Step::Done };
        if session.commits > 0 {
            return Step::Wait(Need::OwnCommit(id));
        }
        let (account, device) = (session.account, session.device);
        if facts.failed {
            let conversation = conversation_of(request);
            self.refuse(id, ErrorCode::Unavailable, conversation, "the relay cannot look this up now");
            return Step::Done;
        }
        match request {
            Request::Authenticate { .. } => Step::Done,
            Request::Append { frame } => self.append(id, account, frame, facts),
            Request::Commit { change } => self.commit(id, account, device, change, facts),
            Request::Subscribe { conversation, log_epoch, after, held } => {
                self.subscribe(id, *conversation, *log_epoch, *after, *held, facts)
            }
            Request::Unsubscribe { conversation } => {
                self.unsubscribe(id, *conversation);
                Step::Done
            }
            Request::Cursor { conversation, position, receipt } => {
                let row = CursorRow {
                    conversation: *conversation,
                    device,
                    account,
                    position: *position,
                    receipt: receipt.clone(),
                };
                self.cursor(id, row, facts)
            }
            Request::Ephemeral { conversation, sealed } => {
                match self.seen(*conversation, &account, facts) {
                    Seen::Unloaded => return Step::Wait(Need::Conversation(*conversation)),
                    Seen::Outside => self.refuse_outsider(id, *conversation),
                    Seen::Member(_) => {
                        self.fan_out_ephemeral(id, device, *conversation, sealed.clone());
                    }
                }
                Step::Done
            }
        }
    }

    fn seen(&mut self, id: ConversationId, account: &AccountId, facts: &Facts) -> Seen {
        let Some(conversation) = self.conversations.get(&id) else {
            return if facts.absent { Seen::Outside } else { Seen::Unloaded };
        };
        let seen = conversation.joined(account).map_or(Seen::Outside, Seen::Member);
        self.touch(id);
        seen
    }

    fn refuse_outsider(&mut self, id: SessionId, conversation: ConversationId) {
        self.refuse(id, ErrorCode::NotAMember, Some(conversation), "conversation: not a member");
    }

    fn append(&mut self, id: SessionId, account: AccountId, frame: &Frame, facts: &Facts) -> Step {
        let name = frame.id();
        let refused = |code| Event::AppendRefused {
            conversation: name.conversation,
            device: name.device,
            seq: name.seq,
            code,
        };
        match self.seen(name.conversation, &account, facts) {
            Seen::Unloaded => return Step::Wait(Need::Conversation(name.conversation)),
            Seen::Outside => {
                self.send(id, refused(ErrorCode::NotAMember));
                return Step::Done;
            }
            Seen::Member(_) => {}
        }
        let Some(conversation) = self.conversations.get(&name.conversation) else { return Step::Done };
        let last_seq = conversation.last_seq(&name.device);
        let hash = frame.hash();
        let mut stored = None;
        if name.seq <= last_seq {
            stored = conversation.recent(&name.device, name.seq).or(facts.place.flatten());
            match (stored, facts.place) {
                // What stands in the log already was verified when it came in.
                (Some((position, other)), _) if other == hash => {
                    let answer = Event::Appended {
                        conversation: name.conversation,
                        device: name.device,
                        seq: name.seq,
                        position,
                        run: Run::ONE,
                    };
                    self.send(id, answer);
                    return Step::Done;
                }
                (None, None) => return Step::Wait(Need::Entry(name.conversation, name.device, name.seq)),
                (Some(_), _) | (None, Some(_)) => {}
            }
        }
        let Some(author) = self.devices.get(&name.device) else {
            if !facts.unknown_author {
                return Step::Wait(Need::Device(name.device));
            }
            self.send(id, refused(ErrorCode::BadAuthor));
            return Step::Done;
        };
        let member = conversation.joined(&author.account).is_some();
        if author.revoked || !member || !self.verified.check(frame, &author, &self.engine) {
            self.send(id, refused(ErrorCode::BadAuthor));
            return Step::Done;
        }
        match stored {
            Some((position, _)) => {
                let answer = Event::Conflict {
                    conversation: name.conversation,
                    device: name.device,
                    seq: name.seq,
                    position,
                    last_seq,
                };
                self.send(id, answer);
                Step::Done
            }
            None if name.seq <= last_seq => {
                let why = "frame: its seq is in the log, but not its entry";
                self.refuse(id, ErrorCode::Unavailable, Some(name.conversation), why);
                Step::Done
            }
            None => Step::Admitted(Wish::Append {
                frame: frame.clone(),
                hash,
                account,
                author_account: author.account,
            }),
        }
    }

    fn commit(
        &mut self,
        id: SessionId,
        account: AccountId,
        device: DeviceId,
        signed: &SignedChange,
        facts: &mut Facts,
    ) -> Step {
        let change = match signed.claims() {
            Ok(change) => change,
            Err(e) => {
                // It names no conversation that could stand in `CommitRefused`.
                self.refuse(id, ErrorCode::NotAllowed, None, &format!("change: {e}"));
                return Step::Done;
            }
        };
        let conversation = change.conversation;
        if change.account != account || change.device != device {
            let why = "change: account, device: not those of this socket";
            return self.refuse_commit(id, conversation, MembershipEpoch(0), ErrorCode::NotAllowed, why);
        }
        let Some(author) = self.devices.get(&device) else {
            if !facts.unknown_author {
                return Step::Wait(Need::Device(device));
            }
            let why = "change: device: not listed";
            return self.refuse_commit(id, conversation, MembershipEpoch(0), ErrorCode::BadAuthor, why);
        };
        if !facts.paid {
            if !self.budget.take(device, self.now) {
                let why = "too many membership changes: try again later";
                return self.refuse_commit(id, conversation, MembershipEpoch(0), ErrorCode::RateLimited, why);
            }
            facts.paid = true;
            if !may_sign(&author, &account) || signed.verify(&author.key, &self.engine).is_err() {
                let why = "change: signature: not by this socket's device";
                return self.refuse_commit(id, conversation, MembershipEpoch(0), ErrorCode::BadAuthor, why);
            }
        }
        match self.seen(conversation, &account, facts) {
            Seen::Unloaded => return Step::Wait(Need::Conversation(conversation)),
            Seen::Member(_) => {
                if let Some(epoch) = self.exists_as_wanted(&change) {
                    self.send(id, Event::Committed { conversation, epoch });
                    return Step::Done;
                }
            }
            Seen::Outside if is_create(&change) => {}
            Seen::Outside => {
                let why = "conversation: not a member";
                return self.refuse_commit(id, conversation, MembershipEpoch(0), ErrorCode::NotAMember, why);
            }
        }
        match self.may_enter(id, &change, facts) {
            Ok(()) => Step::Admitted(Wish::Commit { signed: signed.clone(), change }),
            Err(step) => step,
        }
    }

    /// Both sides of a direct conversation may create it, at once or again: the second finds it made.
    pub(super) fn exists_as_wanted(&self, change: &Change) -> Option<MembershipEpoch> {
        let there = &self.conversations.get(&change.conversation)?.membership;
        let wanted = Membership::create(change, Position(1)).ok()?;
        let same = wanted.kind == ConversationKind::Direct && there.members.keys().eq(wanted.members.keys());
        same.then_some(there.epoch)
    }

    /// Whether the accounts that a change lets in exist and have place for one more conversation.
    #[allow(clippy::result_large_err, reason = "a step is made and taken apart at once")]
    fn may_enter(&mut self, id: SessionId, change: &Change, facts: &Facts) -> Result<(), Step> {
        if entrants(change).is_empty() {
            return Ok(());
        }
        let unknown = facts.unknown.as_ref().ok_or(Step::Wait(Need::Accounts(id)))?;
        let counts = facts.counts.as_ref().ok_or(Step::Wait(Need::Counts(id)))?;
        let current =
            self.conversations.get(&change.conversation).map_or(MembershipEpoch(0), |c| c.membership.epoch);
        if let Some(account) = unknown.first() {
            let why = format!("change: members: no such account: {account}");
            return Err(self.refuse_commit(id, change.conversation, current, ErrorCode::NotAllowed, &why));
        }
        if counts.iter().any(|count| *count >= limits::MAX_CONVERSATIONS as u64) {
            let why = format!("change: members: in {} conversations already", limits::MAX_CONVERSATIONS);
            return Err(self.refuse_commit(id, change.conversation, current, ErrorCode::Limit, &why));
        }
        Ok(())
    }

    fn refuse_commit(
        &mut self,
        id: SessionId,
        conversation: ConversationId,
        current: MembershipEpoch,
        code: ErrorCode,
        why: &str,
    ) -> Step {
        self.send(id, super::batch::commit_refused(conversation, current, code, why));
        Step::Done
    }

    fn subscribe(
        &mut self,
        id: SessionId,
        conversation: ConversationId,
        log_epoch: LogEpoch,
        after: Position,
        held: Option<Held>,
        facts: &mut Facts,
    ) -> Step {
        let Some(session) = self.sessions.get(&id) else { return Step::Done };
        let (account, device) = (session.account, session.device);
        let full = session.subscriptions.len() >= limits::MAX_SUBSCRIPTIONS
            && !session.subscriptions.contains_key(&conversation);
        let joined = match self.seen(conversation, &account, facts) {
            Seen::Unloaded => return Step::Wait(Need::Conversation(conversation)),
            Seen::Outside => {
                self.refuse_outsider(id, conversation);
                return Step::Done;
            }
            Seen::Member(joined) => joined,
        };
        if full {
            let why = format!("subscriptions: at most {} on one socket", limits::MAX_SUBSCRIPTIONS);
            self.refuse(id, ErrorCode::Limit, Some(conversation), &why);
            return Step::Done;
        }
        let Some(log) = self.conversations.get(&conversation) else { return Step::Done };
        let current = log.log_epoch;
        if log_epoch.0 > current.0.saturating_add(MAX_EPOCH_LEAP) {
            let why = "log_epoch: far beyond the log's";
            self.refuse(id, ErrorCode::BeyondHead, Some(conversation), why);
            return Step::Done;
        }
        if is_rollback(current, log.head, log_epoch, after) {
            if !facts.paid && !self.budget.take(device, self.now) {
                let why = "after: beyond the head; too many such claims, try again later";
                self.refuse(id, ErrorCode::RateLimited, Some(conversation), why);
                return Step::Done;
            }
            let differs = false;
            return Step::Admitted(Wish::Bump { conversation, account, log_epoch, after, held, differs });
        }
        let in_sight = |held: &Held| {
            let before = after.0.checked_sub(u64::from(held.entries)).map(Position);
            (1..=limits::MAX_HELD as u32).contains(&held.entries)
                && before.is_some_and(|before| before.next() >= log.floor && before.next() >= joined)
        };
        if let Some(held) = held.filter(in_sight).filter(|_| log_epoch == current) {
            let stored = match (log.recent_until(after, held.entries), facts.held) {
                (Some(hash), _) => Some(hash),
                (None, Some(hash)) => hash,
                (None, None) => return Step::Wait(Need::Held(conversation, after, held.entries)),
            };
            // `None`: trimmed while it was looked up.
            if stored.is_some_and(|stored| stored != held) {
                if !facts.paid && !self.budget.take(device, self.now) {
                    let why = "held: another entry stands there; too many such claims, try again later";
                    self.refuse(id, ErrorCode::RateLimited, Some(conversation), why);
                    return Step::Done;
                }
                let (held, differs) = (Some(held), true);
                return Step::Admitted(Wish::Bump { conversation, account, log_epoch, after, held, differs });
            }
        }
        let nothing_read = log_epoch == LogEpoch(0) && after == Position(0);
        if log_epoch < current && !nothing_read {
            let common = log.common(log_epoch, after);
            self.unsubscribe(id, conversation);
            self.send(id, Event::RolledBack { conversation, log_epoch: current, common });
            return Step::Done;
        }
        self.open_subscription(id, conversation, device, after.max(joined.previous()));
        Step::Done
    }

    fn cursor(&mut self, id: SessionId, row: CursorRow, facts: &Facts) -> Step {
        let conversation = row.conversation;
        match self.seen(conversation, &row.account, facts) {
            Seen::Unloaded => return Step::Wait(Need::Conversation(conversation)),
            Seen::Outside => {
                self.refuse_outsider(id, conversation);
                return Step::Done;
            }
            Seen::Member(_) => {}
        }
        let head = self.conversations.get(&conversation).map_or(Position(0), |log| log.head);
        if row.position > head {
            let why = format!("position: beyond the head {head}");
            self.refuse(id, ErrorCode::BeyondHead, Some(conversation), &why);
            return Step::Done;
        }
        Step::Admitted(Wish::Cursor(row))
    }
}

/// Whether somebody who read up to `after` in `epoch` has seen what this log does not have.
pub(super) fn is_rollback(current: LogEpoch, head: Position, epoch: LogEpoch, after: Position) -> bool {
    epoch > current || (epoch == current && after > head)
}

fn may_sign(author: &DeviceRecord, account: &AccountId) -> bool {
    !author.revoked && author.account == *account
}

fn is_create(change: &Change) -> bool {
    matches!(change.action, Action::Create { .. })
}

fn entrants(change: &Change) -> Vec<AccountId> {
    match &change.action {
        Action::Create { members, .. } | Action::Add { members } => members.to_vec(),
        Action::Leave {} => Vec::new(),
    }
}

fn conversation_of(request: &Request) -> Option<ConversationId> {
    match request {
        Request::Authenticate { .. } => None,
        Request::Append { frame } => Some(frame.body().conversation),
        Request::Commit { change } => change.claims().ok().map(|change| change.conversation),
        Request::Subscribe { conversation, .. }
        | Request::Unsubscribe { conversation }
        | Request::Cursor { conversation, .. }
        | Request::Ephemeral { conversation, .. } => Some(*conversation),
    }
}
