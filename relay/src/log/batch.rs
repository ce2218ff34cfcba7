//! Forming a batch: admitted requests, in order, applied to staged copies of their conversations. Everything is
//! decided again here, since what came before in the batch counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use sotto_protocol::cbor::Text;
use sotto_protocol::membership::{Action, Change, Membership, MembershipError, SignedChange};
use sotto_protocol::relay::{ErrorCode, Event, Held, Request, Run};
use sotto_protocol::{
    AccountId, ConversationId, DeviceId, Frame, Hash, LogEpoch, MembershipEpoch, Position, Verify, limits,
};

use super::commit::{Appended, Effect};
use super::conversation::Staged;
use super::request::is_rollback;
use super::{BatchToken, Log, Output, SessionId};
use crate::store::{
    Batch, BumpRow, ConversationRow, CursorRow, EntryRow, MemberRow, Record, SenderRow, TrimRow,
};

/// Most requests of one batch. Beyond about a thousand, a larger batch is hardly faster but later.
const MAX_REQUESTS: usize = limits::MAX_RUN as usize;

/// Most bytes of requests of one batch.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// An admitted request.
pub(super) struct Pending {
    pub session: SessionId,
    pub weight: usize,
    /// Whether it holds its conversation in memory; one that is not made yet cannot be held.
    pub pinned: bool,
    pub wish: Wish,
}

/// What an admitted request wants changed. Who may, and with whose signature, is checked; whether it still fits is
/// not.
pub(super) enum Wish {
    Append {
        frame: Frame,
        hash: Hash,
        account: AccountId,
        author_account: AccountId,
    },
    Commit {
        signed: SignedChange,
        change: Change,
    },
    Cursor(CursorRow),
    /// Somebody has read beyond the head.
    Bump {
        conversation: ConversationId,
        account: AccountId,
        log_epoch: LogEpoch,
        after: Position,
        held: Option<Held>,
        /// It holds other entries than stand there, instead.
        differs: bool,
    },
    /// Retention's.
    Trim(TrimRow),
}

impl Wish {
    pub(super) fn conversation(&self) -> ConversationId {
        match self {
            Self::Append { frame, .. } => frame.body().conversation,
            Self::Commit { change, .. } => change.conversation,
            Self::Cursor(row) => row.conversation,
            Self::Bump { conversation, .. } => *conversation,
            Self::Trim(row) => row.conversation,
        }
    }
}

impl Pending {
    /// The device whose signature it rests on.
    pub(super) fn author(&self) -> Option<DeviceId> {
        match &self.wish {
            Wish::Append { frame, .. } => Some(frame.body().device),
            Wish::Commit { change, .. } => Some(change.device),
            Wish::Cursor(row) => Some(row.device),
            Wish::Bump { .. } | Wish::Trim(_) => None,
        }
    }

    /// That device's account.
    pub(super) fn author_account(&self) -> Option<AccountId> {
        match &self.wish {
            Wish::Append { author_account, .. } => Some(*author_account),
            Wish::Commit { change, .. } => Some(change.account),
            Wish::Cursor(row) => Some(row.account),
            Wish::Bump { account, .. } => Some(*account),
            Wish::Trim(_) => None,
        }
    }
}

/// The batch that is being written.
pub(super) struct InFlight {
    pub token: BatchToken,
    pub staged: BTreeMap<ConversationId, Staged>,
    /// What happens once it is durable, in order.
    pub effects: Vec<Effect>,
    /// Whom to tell if it fails, and what to release: session, weight, conversation, whether a commit.
    pub requests: Vec<(SessionId, usize, ConversationId, bool)>,
}

/// A batch while it is formed.
#[derive(Default)]
pub(super) struct Forming {
    pub staged: BTreeMap<ConversationId, Staged>,
    pub effects: Vec<Effect>,
    entries: Vec<EntryRow>,
    cursors: BTreeMap<(ConversationId, DeviceId), CursorRow>,
    trims: BTreeMap<ConversationId, Position>,
}

/// Whether a wish was dealt with, or what it was is to be looked at anew.
enum Applied {
    Yes,
    Anew(Request),
}

impl<V: Verify> Log<V> {
    /// Starts the next batch, unless one is being written or there is nothing to write. Says whether it did
    /// anything.
    pub(super) fn start_batch(&mut self) -> bool {
        if self.in_flight.is_some() || self.pending.is_empty() {
            return false;
        }
        let mut forming = Forming::default();
        let mut requests = Vec::new();
        let mut bytes = 0;
        while requests.len() < MAX_REQUESTS && bytes < MAX_BYTES {
            let Some(pending) = self.pending.pop_front() else { break };
            let conversation = pending.wish.conversation();
            if pending.pinned {
                self.unpin(conversation);
            }
            bytes += pending.weight;
            let is_commit = matches!(pending.wish, Wish::Commit { .. });
            match self.apply(&mut forming, pending.session, pending.wish) {
                Applied::Yes => requests.push((pending.session, pending.weight, conversation, is_commit)),
                Applied::Anew(request) => self.look_anew(pending.session, request),
            }
        }
        let token = BatchToken(self.number());
        let batch = forming.rows();
        let in_flight = InFlight { token, staged: forming.staged, effects: forming.effects, requests };
        if batch.is_empty() {
            // All were refused or answered: nothing to wait for.
            self.settle(in_flight);
            return true;
        }
        self.in_flight = Some(in_flight);
        // Before the acknowledgements of the last batch: the disk works while those are encoded and sent.
        self.outputs.push_front(Output::Write { token, batch });
        true
    }

    /// Holds a conversation in memory; false if it is not there.
    pub(super) fn pin(&mut self, id: ConversationId) -> bool {
        let conversation = self.conversations.get_mut(&id);
        conversation.map(|conversation| conversation.pins += 1).is_some()
    }

    pub(super) fn unpin(&mut self, id: ConversationId) {
        if let Some(conversation) = self.conversations.get_mut(&id) {
            conversation.pins = conversation.pins.saturating_sub(1);
        }
    }

    fn look_anew(&mut self, id: SessionId, request: Request) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.waiting {
            // The facts loaded so far are about another request.
            session.queue.insert(1, request);
        } else {
            session.queue.push_front(request);
            self.ready.push_back(id);
        }
    }

    /// Refuses admitted requests whose author has lost its trust.
    pub(super) fn refuse_pending(&mut self, which: impl Fn(&Pending) -> bool) {
        let (refused, kept) = std::mem::take(&mut self.pending).into_iter().partition(|p| which(p));
        self.pending = kept;
        let refused: std::collections::VecDeque<Pending> = refused;
        for Pending { session, weight, pinned, wish } in refused {
            if pinned {
                self.unpin(wish.conversation());
            }
            let code = ErrorCode::BadAuthor;
            match wish {
                Wish::Append { frame, .. } => {
                    let id = frame.id();
                    let (conversation, device, seq) = (id.conversation, id.device, id.seq);
                    self.send(session, Event::AppendRefused { conversation, device, seq, code });
                }
                Wish::Commit { change, .. } => {
                    let why = "change: device: revoked";
                    self.send(session, commit_refused(change.conversation, MembershipEpoch(0), code, why));
                    self.commit_settled(session);
                }
                Wish::Cursor(_) | Wish::Bump { .. } | Wish::Trim(_) => {}
            }
            self.release(session, weight);
        }
    }

    fn apply(&self, forming: &mut Forming, session: SessionId, wish: Wish) -> Applied {
        match wish {
            Wish::Append { frame, hash, account, author_account } => {
                self.apply_append(forming, session, frame, hash, account, author_account)
            }
            Wish::Commit { signed, change } => {
                self.apply_commit(forming, session, signed, &change);
                Applied::Yes
            }
            Wish::Cursor(row) => {
                self.apply_cursor(forming, session, row);
                Applied::Yes
            }
            Wish::Bump { conversation, account, log_epoch, after, held, differs } => {
                let anew = Request::Subscribe { conversation, log_epoch, after, held };
                self.apply_bump(forming, session, account, anew, differs)
            }
            Wish::Trim(row) => {
                self.apply_trim(forming, row);
                Applied::Yes
            }
        }
    }

    /// The conversation as this batch leaves it so far.
    fn stage<'a>(&self, forming: &'a mut Forming, id: ConversationId) -> Option<&'a mut Staged> {
        use std::collections::btree_map::Entry;
        match forming.staged.entry(id) {
            Entry::Occupied(staged) => Some(staged.into_mut()),
            Entry::Vacant(place) => self.conversations.get(&id).map(|log| place.insert(Staged::over(log))),
        }
    }

    fn apply_append(
        &self,
        forming: &mut Forming,
        session: SessionId,
        frame: Frame,
        hash: Hash,
        account: AccountId,
        author_account: AccountId,
    ) -> Applied {
        let id = frame.id();
        let (conversation, device, seq) = (id.conversation, id.device, id.seq);
        let log = self.conversations.get(&conversation);
        let Some(staged) = self.stage(forming, conversation) else {
            return Applied::Anew(Request::Append { frame });
        };
        let answer = |event| Effect::Answer { session, event };
        let code = if !staged.membership.members.contains_key(&account) {
            Some(ErrorCode::NotAMember)
        } else if !staged.membership.members.contains_key(&author_account) {
            Some(ErrorCode::BadAuthor)
        } else {
            None
        };
        if let Some(code) = code {
            forming.effects.push(answer(Event::AppendRefused { conversation, device, seq, code }));
            return Applied::Yes;
        }
        let logged = log.map(|log| log.last_seq(&device)).unwrap_or_default();
        let last_seq = staged.senders.get(&device).copied().unwrap_or(logged);
        if seq <= last_seq {
            let place = staged.entries.get(&(device, seq)).copied();
            let Some((position, other)) = place.or_else(|| log.and_then(|log| log.recent(&device, seq)))
            else {
                return Applied::Anew(Request::Append { frame });
            };
            forming.effects.push(answer(if other == hash {
                Event::Appended { conversation, device, seq, position, run: Run::ONE }
            } else {
                Event::Conflict { conversation, device, seq, position, last_seq }
            }));
            return Applied::Yes;
        }
        let expected = last_seq.next();
        if seq != expected {
            forming.effects.push(answer(Event::Nack { conversation, device, expected }));
            return Applied::Yes;
        }
        let position = staged.head.next();
        staged.head = position;
        staged.dirty = true;
        staged.senders.insert(device, seq);
        staged.entries.insert((device, seq), (position, hash));
        forming.effects.push(Effect::Appended(Appended { session, position, frame: frame.clone() }));
        let record = Record::Message(frame, hash);
        forming.entries.push(EntryRow { conversation, position, record, logged_at: self.now });
        Applied::Yes
    }

    fn apply_commit(&self, forming: &mut Forming, session: SessionId, signed: SignedChange, change: &Change) {
        let conversation = change.conversation;
        let made = match self.stage(forming, conversation) {
            Some(staged) => change_members(staged, change),
            None => Membership::create(change, Position(1)).map(|membership| {
                forming.staged.insert(conversation, Staged::create(membership));
                Made::Changed { position: Position(1) }
            }),
        };
        let event = match made {
            Ok(Made::Already(epoch)) => Event::Committed { conversation, epoch },
            Ok(Made::Changed { position }) => {
                let record = Record::Membership(signed.clone());
                forming.entries.push(EntryRow { conversation, position, record, logged_at: self.now });
                let before = self.conversations.get(&conversation);
                let before =
                    before.map(|log| log.membership.members.keys().copied().collect()).unwrap_or_default();
                let left = matches!(change.action, Action::Leave {}).then_some(change.account);
                let epoch = change.epoch;
                forming.effects.push(Effect::Committed {
                    session,
                    conversation,
                    position,
                    signed,
                    epoch,
                    before,
                    left,
                });
                return;
            }
            Err(error) => {
                let staged = forming.staged.get(&conversation);
                refusal(conversation, staged.map(|staged| staged.membership.epoch), &error)
            }
        };
        forming.effects.push(Effect::Answer { session, event });
    }

    fn apply_cursor(&self, forming: &mut Forming, session: SessionId, row: CursorRow) {
        let conversation = row.conversation;
        let member = self
            .stage(forming, conversation)
            .is_some_and(|staged| staged.membership.members.contains_key(&row.account));
        if !member {
            let why = "conversation: not a member";
            let event = super::session::error(ErrorCode::NotAMember, Some(conversation), why);
            forming.effects.push(Effect::Answer { session, event });
            return;
        }
        forming.cursors.insert((conversation, row.device), row.clone());
        forming.effects.push(Effect::Cursor { row });
    }

    fn apply_bump(
        &self,
        forming: &mut Forming,
        session: SessionId,
        account: AccountId,
        request: Request,
        differs: bool,
    ) -> Applied {
        let Request::Subscribe { conversation, log_epoch, after, .. } = request else { return Applied::Yes };
        let loaded_head = self.conversations.get(&conversation).map(|log| log.loaded_head);
        let Some(staged) = self.stage(forming, conversation) else { return Applied::Anew(request) };
        let member = staged.membership.members.contains_key(&account);
        let differs = differs && log_epoch == staged.log_epoch;
        if !member || !differs && !is_rollback(staged.log_epoch, staged.head, log_epoch, after) {
            return Applied::Anew(request);
        }
        // What was there when the log came into memory is as old as the store; what came since need not be what was lost.
        let old = loaded_head.map_or(staged.head, |loaded| loaded.min(staged.head));
        // Of an epoch that this log never reached nothing is known: its bumps are lost too. Nor is known where a log that
        // had grown again by then began to differ.
        let unknown = differs && after <= old || log_epoch > staged.log_epoch;
        let common = if unknown { Position(0) } else { old };
        staged.bump(log_epoch, common);
        let event =
            Event::RolledBack { conversation, log_epoch: staged.log_epoch, common: common.min(after) };
        forming.effects.push(Effect::RolledBack { session, conversation, common, event });
        Applied::Yes
    }

    fn apply_trim(&self, forming: &mut Forming, row: TrimRow) {
        if let Some(staged) = self.stage(forming, row.conversation) {
            if row.floor <= staged.floor || row.floor > staged.head.next() {
                return;
            }
            staged.floor = row.floor;
        }
        forming.trims.insert(row.conversation, row.floor);
    }
}

impl Forming {
    fn rows(&mut self) -> Batch {
        let mut batch = Batch {
            entries: std::mem::take(&mut self.entries),
            cursors: std::mem::take(&mut self.cursors).into_values().collect(),
            ..Batch::default()
        };
        for (conversation, floor) in std::mem::take(&mut self.trims) {
            batch.trims.push(TrimRow { conversation, floor });
        }
        for (id, staged) in &self.staged {
            let conversation = *id;
            if staged.dirty {
                batch.conversations.push(ConversationRow {
                    conversation,
                    log_epoch: staged.log_epoch,
                    head: staged.head,
                    membership: staged.membership.epoch,
                });
            }
            for (device, last_seq) in &staged.senders {
                batch.senders.push(SenderRow { conversation, device: *device, last_seq: *last_seq });
            }
            for account in &staged.moved {
                let joined = staged.membership.members.get(account).copied();
                batch.members.push(MemberRow { conversation, account: *account, joined });
            }
            if staged.bumped {
                batch.bumps.push(BumpRow { conversation, bumps: staged.bumps.clone() });
            }
        }
        batch
    }
}

/// What a commit did.
enum Made {
    Already(MembershipEpoch),
    Changed { position: Position },
}

fn change_members(staged: &mut Staged, change: &Change) -> Result<Made, MembershipError> {
    if let Action::Create { .. } = change.action
        && let Ok(wanted) = Membership::create(change, Position(1))
        && wanted.kind == sotto_protocol::ConversationKind::Direct
        && staged.membership.members.keys().eq(wanted.members.keys())
    {
        return Ok(Made::Already(staged.membership.epoch));
    }
    // Who is out learns nothing, not even the epoch.
    if !staged.membership.members.contains_key(&change.account) {
        return Err(MembershipError::NotAMember);
    }
    let position = staged.head.next();
    let mut after = (*staged.membership).clone();
    after.apply(change, position)?;
    let before = std::mem::replace(&mut staged.membership, Arc::new(after));
    let (before, after) = (&before.members, &staged.membership.members);
    let came = after.iter().filter(|(account, joined)| before.get(account) != Some(joined));
    let went = before.keys().filter(|account| !after.contains_key(account));
    staged.moved.extend(came.map(|(account, _)| *account).chain(went.copied()));
    staged.head = position;
    staged.dirty = true;
    Ok(Made::Changed { position })
}

fn refusal(conversation: ConversationId, current: Option<MembershipEpoch>, error: &MembershipError) -> Event {
    let current = current.unwrap_or_default();
    let (current, code) = match error {
        MembershipError::Epoch { current } => (*current, ErrorCode::Epoch),
        MembershipError::NotAMember => (MembershipEpoch(0), ErrorCode::NotAMember),
        MembershipError::TooMany => (current, ErrorCode::Limit),
        MembershipError::Signature => (current, ErrorCode::BadAuthor),
        MembershipError::Malformed(_) | MembershipError::NotAllowed(_) => (current, ErrorCode::NotAllowed),
    };
    commit_refused(conversation, current, code, &error.to_string())
}

pub(super) fn commit_refused(
    conversation: ConversationId,
    current: MembershipEpoch,
    code: ErrorCode,
    why: &str,
) -> Event {
    Event::CommitRefused { conversation, current, code, detail: Text::truncated(why) }
}
