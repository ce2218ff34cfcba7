//! A session: its requests in their order, its subscriptions, and how much is queued to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sotto_protocol::relay::{EntryBody, ErrorCode, Event, Held, RELAY_VERSION, Request};
use sotto_protocol::{AccountId, ConversationId, DeviceId, Verify};

use super::catch_up::{Subscription, Work};
use super::conversation::Place;
use super::{Log, Output, SessionId};

/// Requests of one session under way before it is paused. Enough for a full batch from one sender; their answers
/// must fit its outbound queue beside everything else.
const MAX_UNDER_WAY: usize = 512;

/// Bytes of requests of one session under way before it is paused.
const MAX_BYTES_UNDER_WAY: usize = 1024 * 1024;

/// Bytes queued to a session beyond which catch-up waits for room: a quarter of the socket's queue.
const ROOM: usize = 64 * 1024;

/// Bytes queued beyond which live entries are not queued either: the session catches up from the store instead.
/// Leaves the rest of the socket's queue to answers.
const LIVE_ROOM: usize = 96 * 1024;

/// One authenticated socket.
pub(super) struct Session {
    pub account: AccountId,
    pub device: DeviceId,
    /// Requests not looked at yet, in order.
    pub queue: VecDeque<Request>,
    /// What was loaded for the first of them.
    pub facts: Facts,
    /// Whether the first of them waits for something.
    pub waiting: bool,
    /// Own membership changes on their way to the store.
    pub commits: usize,
    pub subscriptions: BTreeMap<ConversationId, Subscription>,
    /// Conversations whose membership changed and is to be told; each is pinned.
    pub news: BTreeSet<ConversationId>,
    /// What there is to page through.
    pub work: VecDeque<Work>,
    /// Whether a page is being loaded.
    pub paging: bool,
    /// Whether catch-up may queue more.
    pub room: bool,
    /// Bytes queued since there last was room.
    queued: usize,
    under_way: usize,
    bytes_under_way: usize,
    paused: bool,
}

/// What was found out about a session's first request.
#[derive(Default)]
pub(super) struct Facts {
    /// Something could not be loaded.
    pub failed: bool,
    /// There is no such conversation.
    pub absent: bool,
    /// Where the message stands, if anywhere.
    pub place: Option<Option<Place>>,
    /// The last entries up to a position, if they are all there.
    pub held: Option<Option<Held>>,
    /// There is no such device.
    pub unknown_author: bool,
    /// Accounts that do not exist.
    pub unknown: Option<Vec<AccountId>>,
    /// How many conversations the accounts have.
    pub counts: Option<Vec<u64>>,
    /// The device's budget was charged for it.
    pub paid: bool,
}

impl Session {
    /// Whether a live entry may be queued.
    pub(super) fn has_live_room(&self) -> bool {
        self.queued < LIVE_ROOM
    }
}

impl<V: Verify> Log<V> {
    pub(super) fn connected(&mut self, id: SessionId, account: AccountId, device: DeviceId) {
        let session = Session {
            account,
            device,
            queue: VecDeque::new(),
            facts: Facts::default(),
            waiting: false,
            commits: 0,
            subscriptions: BTreeMap::new(),
            news: BTreeSet::new(),
            work: VecDeque::from([Work::Listing { after: None }]),
            paging: false,
            room: true,
            queued: 0,
            under_way: 0,
            bytes_under_way: 0,
            paused: false,
        };
        self.sessions.insert(id, session);
        self.by_account.entry(account).or_default().insert(id);
        self.send(id, Event::Ready { version: RELAY_VERSION, account, device });
        self.page_on(id);
    }

    /// Drops a session. What it asked for and is already admitted still happens.
    pub(super) fn forget(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else { return };
        if let Some(siblings) = self.by_account.get_mut(&session.account) {
            siblings.remove(&id);
            if siblings.is_empty() {
                self.by_account.remove(&session.account);
            }
        }
        for conversation in session.news {
            self.unpin(conversation);
        }
        for conversation in session.subscriptions.keys() {
            if let Some(conversation) = self.conversations.get_mut(conversation) {
                conversation.subscribers.remove(&id);
            }
        }
    }

    pub(super) fn received(&mut self, id: SessionId, request: Request) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.under_way += 1;
        session.bytes_under_way += weight(&request);
        session.queue.push_back(request);
        if !session.waiting {
            self.ready.push_back(id);
        }
        let full = session.under_way > MAX_UNDER_WAY || session.bytes_under_way > MAX_BYTES_UNDER_WAY;
        if full && !session.paused {
            session.paused = true;
            self.outputs.push_back(Output::Pause { session: id });
        }
    }

    /// A request is dealt with for good.
    pub(super) fn release(&mut self, id: SessionId, weight: usize) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.under_way = session.under_way.saturating_sub(1);
        session.bytes_under_way = session.bytes_under_way.saturating_sub(weight);
        let low =
            session.under_way <= MAX_UNDER_WAY / 2 && session.bytes_under_way <= MAX_BYTES_UNDER_WAY / 2;
        if low && session.paused {
            session.paused = false;
            self.outputs.push_back(Output::Resume { session: id });
        }
    }

    pub(super) fn writable(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.room = true;
        session.queued = 0;
        self.page_on(id);
    }

    /// Queues an event, if the session is still there.
    pub(super) fn send(&mut self, id: SessionId, event: Event) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.queued += event_weight(&event);
        self.outputs.push_back(Output::Send { session: id, event });
        if session.room && session.queued >= ROOM {
            session.room = false;
            self.outputs.push_back(Output::AwaitRoom { session: id });
        }
    }

    pub(super) fn refuse(
        &mut self,
        id: SessionId,
        code: ErrorCode,
        conversation: Option<ConversationId>,
        why: &str,
    ) {
        self.send(id, error(code, conversation, why));
    }
}

pub(super) fn error(code: ErrorCode, conversation: Option<ConversationId>, why: &str) -> Event {
    Event::Error { code, conversation, detail: sotto_protocol::cbor::Text::truncated(why) }
}

/// Bytes that a request takes, nearly.
pub(super) fn weight(request: &Request) -> usize {
    match request {
        Request::Append { frame } => frame.weight(),
        Request::Commit { change } => change.to_bytes().len(),
        Request::Cursor { receipt, .. } => 64 + receipt.as_ref().map_or(0, |receipt| receipt.len()),
        Request::Ephemeral { sealed, .. } => 64 + sealed.len(),
        Request::Authenticate { token, .. } => token.len(),
        Request::Subscribe { .. } | Request::Unsubscribe { .. } => 64,
    }
}

/// Bytes that an event takes on the wire, nearly and rather more.
fn event_weight(event: &Event) -> usize {
    let extra = match event {
        Event::Entry { body: EntryBody::Message(frame), .. } => frame.weight(),
        Event::Entry { body: EntryBody::Membership(change), .. } => change.to_bytes().len(),
        Event::Conversation { membership, .. } => membership.members.len() * 44,
        Event::Cursor { receipt, .. } => receipt.as_ref().map_or(0, |receipt| receipt.len()),
        Event::Ephemeral { sealed, .. } => sealed.len(),
        Event::Error { detail, .. } | Event::CommitRefused { detail, .. } => detail.len(),
        Event::Entry { body: EntryBody::Known(..), .. }
        | Event::Ready { .. }
        | Event::Listed {}
        | Event::Subscribed { .. }
        | Event::RolledBack { .. }
        | Event::Trimmed { .. }
        | Event::Live { .. }
        | Event::Appended { .. }
        | Event::Conflict { .. }
        | Event::Nack { .. }
        | Event::AppendRefused { .. }
        | Event::Committed { .. }
        | Event::Drain { .. } => 0,
    };
    extra + 72
}
