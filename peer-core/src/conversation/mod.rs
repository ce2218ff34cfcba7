//! One conversation: what its members wrote, what of it is held, shown, logged, and what must still go out.
//!
//! - [`receive`]: frames from links and entries of the log → opened in each author's order → shown after their deps.
//! - [`missing`]: what is missing before what is held: asked for, and shown as a gap in the end.
//! - [`gaps`]: gaps and where they stand; [`states`]: how far own messages got.
//! - [`own`]: one's own messages: numbered, sealed, signed; then to the relay's log and over links.
//! - [`log`]: how far the relay's log is read, and its rollbacks.
//! - [`timeline`]: the display order and its diffs.

mod gaps;
pub(crate) mod log;
mod missing;
mod own;
pub(crate) use gaps::GapRecord;
pub(crate) use receive::EntryOutcome;
mod receipts;
mod receive;
mod states;
pub(crate) mod timeline;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sotto_protocol::cbor::{self, Text};
use sotto_protocol::link::Holding;
use sotto_protocol::membership::{Membership, SignedChange};
use sotto_protocol::plain::display_name;
use sotto_protocol::presence::Capability;
use sotto_protocol::{
    AccountId, ConversationId, ConversationKind, DeviceId, Frame, Handle, Position, Seq, UnixMillis, limits,
};

use crate::content::{Body, Content};
use crate::effects::{Effects, id_in};
use crate::identity::Identity;
use crate::io::{ConversationStatus, ConversationView, Event, MessageBody, MessageView, ReceiptState, Table};
use crate::people::{People, VerifiedRoots};
use crate::sequence::SeqSet;
use crate::store::{
    AuthorRecord, Consent, ConversationRecord, MessageRecord, ReceiptRecord, author_key, message_key,
};
use crate::timers::Timers;
use log::LogState;
use timeline::{DisplayKey, Timeline};

/// What a conversation needs around it.
pub(crate) struct Ctx<'a> {
    pub fx: &'a mut Effects,
    pub timers: &'a mut Timers,
    pub me: &'a Identity,
    pub people: &'a People,
    pub verified: &'a mut VerifiedRoots,
}

impl Ctx<'_> {
    fn now(&self) -> Duration {
        self.fx.now.monotonic
    }
}

/// What was received of one device. Seqs in `(opened, …)` may be early; seqs in `(shown, opened]` wait for deps.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    pub account: AccountId,
    /// Everything up to here is opened, or in `gaps`. "Seen" in the protocol's sense, and what ACKs cover.
    pub opened: Seq,
    /// Everything up to here is shown, or in `gaps`.
    pub shown: Seq,
    /// Everything up to here has a position in the log, or is below its floor.
    pub logged: Seq,
    /// Held beyond `opened`, as ciphertext.
    pub early: SeqSet,
    /// Given up below `opened`; still taken in if they turn up.
    pub gaps: SeqSet,
    /// Since when something waits here without progress.
    pub waiting_since: Option<Duration>,
}

impl Author {
    fn new(account: AccountId) -> Self {
        Self {
            account,
            opened: Seq(0),
            shown: Seq(0),
            logged: Seq(0),
            early: SeqSet::default(),
            gaps: SeqSet::default(),
            waiting_since: None,
        }
    }

    /// What this device holds of the author, as ACKs say it.
    pub fn holding(&self, device: DeviceId) -> Holding {
        Holding { device, cumulative: self.opened, ranges: self.early.to_wire() }
    }

    fn is_waiting(&self) -> bool {
        self.shown < self.opened || !self.early.is_empty()
    }
}

/// A message without a position that is known for good.
#[derive(Debug, Clone)]
pub(crate) struct TailMessage {
    /// `None` only until the end of the turn in which an own message is made.
    pub frame: Option<Frame>,
    /// `None` while early, or if it cannot be opened.
    pub content: Option<Content>,
    pub stage: Stage,
    pub position: Option<Position>,
    /// Made here: not an own one that came back to an older copy of the profile.
    pub made: bool,
    /// When it came in, in this run.
    pub since: Duration,
    /// Whether the store has a row of it, or is about to.
    pub stored: bool,
}

/// How far a message in the tail got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Ciphertext that waits for an earlier seq.
    Early,
    /// Opened; waits for its deps.
    Opened,
    /// In the list.
    Shown,
}

impl TailMessage {
    /// Whether a person sees it in the list, once it is shown.
    pub(crate) fn is_listed(&self) -> bool {
        self.content.as_ref().is_none_or(|content| content.body.is_shown())
    }

    pub(crate) fn depth(&self) -> u64 {
        self.content.as_ref().map_or(0, |content| content.depth)
    }
}

pub(crate) struct Conversation {
    pub id: ConversationId,
    pub membership: Membership,
    /// The creation, until the relay has it.
    pub creation: Option<SignedChange>,
    /// Whether the own account is a member.
    pub member: bool,
    pub name: Option<String>,
    pub consent: Consent,
    /// Accounts that have accepted, by saying so or by writing.
    pub accepted_by: BTreeSet<AccountId>,
    /// The own presence capability handed out here.
    pub capability: Option<Capability>,
    /// Whether a message has carried it.
    pub capability_told: bool,
    /// The other members' capabilities.
    pub capabilities: BTreeMap<AccountId, Capability>,
    /// Another member's capability was learned: the server must hear of it.
    capability_news: bool,
    /// Whether the user was told of it.
    pub announced: bool,
    /// The members that the user was last told, and whether this account is one.
    told: (Vec<Handle>, bool),
    /// The members, or what is known of them, may have changed.
    pub members_news: bool,
    pub log: LogState,
    pub authors: BTreeMap<DeviceId, Author>,
    gaps: Vec<GapRecord>,
    pub tail: BTreeMap<(DeviceId, Seq), TailMessage>,
    /// Shown messages without a position, in display order.
    pub unlogged: BTreeSet<DisplayKey>,
    /// The causal frontier: by device, its last shown seq that nothing shown follows, and its depth.
    heads: BTreeMap<DeviceId, (Seq, u64)>,
    own: own::Outbox,
    timeline: Timeline,
    /// By member device: how far it has the own messages.
    pub receipts: BTreeMap<DeviceId, ReceiptRecord>,
    /// By member that joined later: the last own message that was logged before.
    joined: BTreeMap<AccountId, Seq>,
    /// Own messages whose states are to be told anew.
    states_due: Option<(Seq, Seq)>,
    /// How far the user has read, by author.
    read: BTreeMap<DeviceId, Seq>,
    unread: u64,
    pub undecryptable: u64,
    /// When something last happened here: in this run, and as a label.
    pub active: Duration,
    active_at: UnixMillis,
    /// ACKs owed at the end of the turn, by author.
    pub ack_due: BTreeSet<DeviceId>,
    /// Links that sent something of an author and are owed the ACK too.
    pub ack_to: BTreeSet<(DeviceId, DeviceId)>,
    receipt_due: bool,
    receipt_events: BTreeMap<(DeviceId, ReceiptState), Seq>,
    dirty: bool,
    dirty_authors: BTreeSet<DeviceId>,
    /// Messages of the tail whose rows changed.
    dirty_messages: BTreeSet<(DeviceId, Seq)>,
    /// Others' messages that the log does not take, as its members are now: their authors are out.
    pub refused: BTreeSet<(DeviceId, Seq)>,
    /// Something may go out now.
    pub pump: bool,
}

impl Conversation {
    pub fn new(id: ConversationId, membership: Membership, consent: Consent, ctx: &mut Ctx) -> Self {
        let member = membership.members.contains_key(&ctx.me.account);
        let mut conversation = Self {
            id,
            membership,
            creation: None,
            member,
            name: None,
            consent,
            accepted_by: BTreeSet::new(),
            capability: None,
            capability_told: false,
            capabilities: BTreeMap::new(),
            capability_news: false,
            announced: false,
            told: Default::default(),
            members_news: false,
            log: LogState::default(),
            authors: BTreeMap::new(),
            gaps: Vec::new(),
            joined: BTreeMap::new(),
            states_due: None,
            tail: BTreeMap::new(),
            unlogged: BTreeSet::new(),
            heads: BTreeMap::new(),
            own: own::Outbox::default(),
            timeline: Timeline::default(),
            receipts: BTreeMap::new(),
            read: BTreeMap::new(),
            unread: 0,
            undecryptable: 0,
            active: ctx.now(),
            active_at: ctx.fx.now.wall,
            ack_due: BTreeSet::new(),
            ack_to: BTreeSet::new(),
            receipt_due: false,
            receipt_events: BTreeMap::new(),
            dirty: false,
            dirty_authors: BTreeSet::new(),
            dirty_messages: BTreeSet::new(),
            refused: BTreeSet::new(),
            pump: false,
        };
        conversation.touch(ctx.fx);
        conversation
    }

    pub fn restore(id: ConversationId, record: ConversationRecord, now: Duration) -> Self {
        let log = LogState::restore(&record);
        let mut timeline = Timeline::default();
        for (position, device, seq) in record.anchors {
            timeline.restore(DisplayKey::Logged(position), (device, seq));
        }
        Self {
            id,
            membership: record.membership,
            creation: record.creation,
            member: record.member,
            name: record.name.map(|name| name.to_string()),
            consent: record.consent,
            accepted_by: record.accepted_by,
            capability: record.capability,
            capability_told: record.capability_told,
            capabilities: record.capabilities,
            capability_news: false,
            announced: record.announced,
            told: Default::default(),
            members_news: false,
            log,
            authors: BTreeMap::new(),
            gaps: record.gaps,
            joined: record.joined,
            states_due: None,
            tail: BTreeMap::new(),
            unlogged: BTreeSet::new(),
            heads: record.heads,
            own: own::Outbox::default(),
            timeline,
            receipts: BTreeMap::new(),
            read: record.read,
            unread: record.unread,
            undecryptable: record.undecryptable,
            active: now,
            active_at: record.active_at,
            ack_due: BTreeSet::new(),
            ack_to: BTreeSet::new(),
            receipt_due: false,
            receipt_events: BTreeMap::new(),
            dirty: false,
            dirty_authors: BTreeSet::new(),
            dirty_messages: BTreeSet::new(),
            refused: BTreeSet::new(),
            pump: false,
        }
    }

    pub fn restore_author(&mut self, device: DeviceId, record: AuthorRecord) {
        let mut author = Author::new(record.account);
        author.opened = record.opened;
        author.shown = record.shown;
        author.logged = record.logged;
        author.gaps = SeqSet::from_ranges(&record.gaps);
        self.authors.insert(device, author);
    }

    /// Takes in a row of the tail; authors must be restored first.
    pub fn restore_message(&mut self, device: DeviceId, seq: Seq, record: MessageRecord, now: Duration) {
        let Some(author) = self.authors.get_mut(&device) else { return };
        let stage = if seq <= author.shown {
            Stage::Shown
        } else if seq <= author.opened {
            Stage::Opened
        } else {
            author.early.insert(seq);
            Stage::Early
        };
        if author.is_waiting() {
            author.waiting_since = Some(now);
        }
        let message = TailMessage {
            frame: Some(record.frame),
            content: record.content,
            stage,
            position: record.position,
            made: record.made,
            since: now,
            stored: true,
        };
        if stage == Stage::Shown && message.position.is_none() {
            let key = DisplayKey::Unlogged(message.depth(), device, seq);
            self.unlogged.insert(key);
            if message.is_listed() {
                self.timeline.restore(key, (device, seq));
            }
        }
        self.tail.insert((device, seq), message);
    }

    /// Ends a restore: own messages in the tail are durable and wait to go out.
    pub fn restored(&mut self, me: &Identity, displaced: Vec<(Seq, Content)>) {
        let last = self.authors.get(&me.device).map_or(Seq(0), |own| own.opened);
        self.own.restore(last, displaced);
        self.pump = true;
    }

    pub fn kind(&self) -> ConversationKind {
        self.membership.kind
    }

    pub fn joined_at(&self, account: AccountId) -> Position {
        self.membership.members.get(&account).copied().unwrap_or_default()
    }

    pub fn others(&self, me: AccountId) -> impl Iterator<Item = AccountId> {
        self.membership.members.keys().copied().filter(move |account| *account != me)
    }

    /// The other account of a direct conversation.
    pub fn peer(&self, me: AccountId) -> Option<AccountId> {
        if self.kind() == ConversationKind::Direct { self.others(me).next() } else { None }
    }

    pub fn is_request(&self) -> bool {
        self.consent == Consent::Request
    }

    pub fn is_blocked(&self, me: AccountId, people: &People) -> bool {
        self.peer(me).is_some_and(|peer| people.is_blocked(&peer))
    }

    /// Whether the account may be linked to for this conversation: both have accepted it and nobody is blocked.
    pub fn may_link(&self, account: AccountId, people: &People) -> bool {
        self.member
            && !self.is_request()
            && self.membership.members.contains_key(&account)
            && self.accepted_by.contains(&account)
            && !people.is_blocked(&account)
    }

    /// Marks the conversation's record as changed.
    pub fn touch(&mut self, fx: &mut Effects) {
        self.dirty = true;
        fx.dirty = true;
    }

    fn touch_author(&mut self, fx: &mut Effects, device: DeviceId) {
        self.dirty_authors.insert(device);
        self.touch(fx);
    }

    fn stir(&mut self, fx: &mut Effects) {
        self.active = fx.now.monotonic;
        self.active_at = fx.now.wall;
    }

    /// Stages the records that changed. Called when a write is about to be handed out.
    pub fn save(&mut self, ctx: &mut Ctx) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        self.emit_receipts(ctx);
        let record = ConversationRecord {
            membership: self.membership.clone(),
            creation: self.creation.clone(),
            member: self.member,
            name: self.name.as_deref().map(Text::truncated),
            consent: self.consent,
            accepted_by: self.accepted_by.clone(),
            capability: self.capability,
            capability_told: self.capability_told,
            capabilities: self.capabilities.clone(),
            log_epoch: self.log.epoch,
            position: self.log.position,
            known_head: self.log.known_head,
            heads: self.heads.clone(),
            read: self.read.clone(),
            unread: self.unread,
            active_at: self.active_at,
            undecryptable: self.undecryptable,
            resume_at: self.log.resume_at,
            announced: self.announced,
            anchors: self.timeline.anchors(self.log.position),
            held: self.log.held.iter().copied().collect(),
            gaps: self.gaps.clone(),
            joined: self.joined.clone(),
        };
        ctx.fx.put(Table::Conversation, self.id.0.to_vec(), cbor::encode(&record));
        for device in std::mem::take(&mut self.dirty_authors) {
            let Some(author) = self.authors.get(&device) else { continue };
            let record = AuthorRecord {
                account: author.account,
                opened: author.opened,
                shown: author.shown,
                logged: author.logged,
                gaps: author.gaps.ranges().collect(),
            };
            ctx.fx.put(Table::Author, author_key(self.id, device), cbor::encode(&record));
        }
        self.save_messages(ctx.fx);
    }

    /// Marks a message of the tail as changed. Its row is made when a write is about to be handed out: by then the
    /// message is opened, and under load often in the log, where it needs none here.
    fn touch_message(&mut self, fx: &mut Effects, id: (DeviceId, Seq)) {
        self.dirty_messages.insert(id);
        self.touch(fx);
    }

    fn save_messages(&mut self, fx: &mut Effects) {
        for id in std::mem::take(&mut self.dirty_messages) {
            let Some(message) = self.tail.get_mut(&id) else { continue };
            let Some(frame) = message.frame.clone() else { continue };
            message.stored = true;
            let record = MessageRecord {
                frame,
                content: message.content.clone(),
                position: message.position,
                made: message.made,
            };
            fx.put(Table::Tail, message_key(self.id, id.0, id.1), record.to_bytes());
        }
    }

    /// Takes a message out of the tail, and its row out of the store.
    fn take_message(&mut self, fx: &mut Effects, id: (DeviceId, Seq)) -> Option<TailMessage> {
        let message = self.tail.remove(&id)?;
        if message.stored {
            fx.delete(Table::Tail, message_key(self.id, id.0, id.1));
        }
        Some(message)
    }

    /// Hands the timeline's diffs of this turn to the user.
    pub fn emit_diffs(&mut self, ctx: &mut Ctx) {
        self.settle_states(ctx);
        let diffs = self.timeline.take_diffs();
        if !diffs.is_empty() && self.announced {
            ctx.fx.mention(Event::Timeline { conversation: self.id, diffs });
        }
    }

    /// Tells the user that the conversation appeared or changed.
    pub fn announce(&mut self, ctx: &mut Ctx) {
        self.announced = true;
        self.touch(ctx.fx);
        let view = self.view(ctx.me, ctx.people);
        self.told = (view.members.clone(), view.member);
        ctx.fx.notify(Event::Conversation(view));
    }

    /// What an earlier run told the user.
    pub fn restore_told(&mut self, me: &Identity, people: &People) {
        let view = self.view(me, people);
        self.told = (view.members, view.member);
    }

    /// Tells the user of members who came or went.
    pub fn announce_members(&mut self, ctx: &mut Ctx) {
        if !std::mem::take(&mut self.members_news) {
            return;
        }
        self.note_states(Seq(1), self.own.last);
        if !self.announced {
            return;
        }
        let view = self.view(ctx.me, ctx.people);
        if self.told != (view.members, view.member) {
            self.announce(ctx);
        }
    }

    pub fn view(&self, me: &Identity, people: &People) -> ConversationView {
        let members = self.membership.members.keys();
        ConversationView {
            id: self.id,
            kind: self.kind(),
            name: self.name.as_deref().and_then(display_name),
            members: members.filter_map(|account| people.handle(account, me)).collect(),
            request: self.is_request(),
            blocked: self.is_blocked(me.account, people),
            member: self.member,
            unread: self.unread,
        }
    }

    pub fn status(&self, me: &Identity, people: &People) -> ConversationStatus {
        ConversationStatus {
            id: self.id,
            log_epoch: self.log.epoch,
            head: self.log.position,
            unacked: self.unacked(me, people),
            unlogged: if self.member { self.unlogged_own(me) } else { 0 },
            undecryptable: self.undecryptable,
            last_seq: self.own.last,
        }
    }

    /// Whether another member's capability was learned since the last call.
    pub fn take_capability_news(&mut self) -> bool {
        std::mem::take(&mut self.capability_news)
    }

    /// Last activity, for sorting lists.
    pub fn active_at(&self) -> UnixMillis {
        self.active_at
    }

    /// A message as shown; `None` for what is only bookkeeping, or of an author not known.
    pub fn message_view(
        &self,
        (device, seq): (DeviceId, Seq),
        content: Option<&Content>,
        position: Option<Position>,
        me: &Identity,
        people: &People,
    ) -> Option<MessageView> {
        let account = people.owner(&device, me)?;
        let body = match content.map(|content| &content.body) {
            Some(Body::Text { text }) => MessageBody::Text(text.to_string()),
            Some(Body::Rename { name }) => MessageBody::Renamed(display_name(name).unwrap_or_default()),
            Some(Body::Accept {}) => return None,
            None => MessageBody::Unreadable,
        };
        Some(MessageView {
            id: id_in(self.id, (device, seq)),
            from: people.handle(&account, me)?,
            body,
            sent_at: content.map_or(UnixMillis(0), |content| content.sent_at),
            position,
            own: account == me.account,
            state: (device == me.device).then(|| self.own_reach(me, people).state(seq)),
            missing: self.missing_before((device, seq)),
        })
    }

    /// The shown messages without a position as views, in display order: what follows the log's part of history.
    pub fn unlogged_views(&self, me: &Identity, people: &People) -> Vec<MessageView> {
        let ids = self.unlogged.iter().filter_map(unlogged_id);
        ids.filter_map(|id| {
            let content = self.tail.get(&id)?.content.as_ref();
            self.message_view(id, content, None, me, people)
        })
        .collect()
    }

    fn own_author<'a>(&'a mut self, me: &Identity) -> &'a mut Author {
        self.authors.entry(me.device).or_insert_with(|| Author::new(me.account))
    }
}

pub(crate) fn unlogged_id(key: &DisplayKey) -> Option<(DeviceId, Seq)> {
    match key {
        DisplayKey::Unlogged(_, device, seq) => Some((*device, *seq)),
        DisplayKey::Logged(_) => None,
    }
}

/// The text of a message, checked.
pub(crate) fn parse_text(text: String) -> Result<Text<{ limits::MAX_TEXT }>, String> {
    if text.trim().is_empty() {
        return Err("expected some text".into());
    }
    let length = text.len();
    Text::new(text).ok_or(format!("{length} bytes, {} allowed", limits::MAX_TEXT))
}
