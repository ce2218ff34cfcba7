//! Reading at a reader's pace: a session's list of conversations, and for each subscription the cursors, then the
//! entries, page by page, until it is live. One page a session is under way at a time, and none while its socket
//! has no room. Retention's walk over all conversations is here too: it pages as well.

use std::collections::BTreeSet;

use sotto_protocol::relay::{ErrorCode, Event};
use sotto_protocol::{ConversationId, DeviceId, Position, UnixMillis, Verify, limits};

use super::batch::{Pending, Wish};
use super::session::Session;
use super::{Log, Purpose, SessionId};
use crate::store::{Answer, CursorRow, Query, StoredEntry, Summary, TrimRow};

/// Bytes of one page: what a socket is asked to take before the next.
const PAGE_BYTES: usize = 48 * 1024;

/// Conversations of one page of the list. Full groups take 11 KiB each.
const LISTING_PAGE: usize = 16;

/// Cursors of one page.
const CURSOR_PAGE: usize = 256;

/// Conversations that retention looks at each tick.
const RETENTION_PAGE: usize = 256;

/// Milliseconds between two of retention's walks.
const RETENTION_REST: u64 = 60_000;

/// Retention's session: nobody's. A driver numbers from below.
const NOBODY: SessionId = SessionId(u64::MAX);

/// A session's interest in a conversation.
pub(super) struct Subscription {
    /// Tells it from an earlier one to the same conversation, whose pages may still come in.
    number: u64,
    /// Everything up to here was sent, or is not for this reader.
    pub sent: Position,
    pub phase: Phase,
    /// Whether `Live` was sent.
    announced: bool,
    /// Devices whose cursor was sent live while older ones are still read.
    pub newer: BTreeSet<DeviceId>,
}

/// How far a subscription is. All but `Live` have their [`Work`] queued or under way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Phase {
    /// Reads the members' cursors after this device.
    Cursors { after: Option<DeviceId> },
    /// Reads entries.
    Behind,
    /// Has all, and gets new entries as they are committed.
    Live,
}

/// Something to page through.
pub(super) enum Work {
    /// The account's conversations after this one.
    Listing { after: Option<ConversationId> },
    /// A subscription.
    CatchUp { conversation: ConversationId, number: u64 },
}

/// What a page under way is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PageFor {
    session: SessionId,
    part: Part,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Listing { after: Option<ConversationId> },
    Cursors { conversation: ConversationId, number: u64, after: Option<DeviceId> },
    Entries { conversation: ConversationId, number: u64, through: Position },
}

/// Where retention's walk is.
#[derive(Default)]
pub(super) struct Retention {
    after: Option<ConversationId>,
    under_way: bool,
    rest_until: UnixMillis,
}

impl Session {
    /// Queues the work of a subscription that is no longer live.
    pub(super) fn catch_up(&mut self, conversation: ConversationId) {
        if let Some(subscription) = self.subscriptions.get(&conversation) {
            self.work.push_back(Work::CatchUp { conversation, number: subscription.number });
        }
    }

    fn subscription(&mut self, conversation: ConversationId, number: u64) -> Option<&mut Subscription> {
        let subscription = self.subscriptions.get_mut(&conversation);
        subscription.filter(|subscription| subscription.number == number)
    }
}

impl<V: Verify> Log<V> {
    pub(super) fn open_subscription(
        &mut self,
        id: SessionId,
        conversation: ConversationId,
        device: DeviceId,
        after: Position,
    ) {
        let number = self.number();
        let Some(log) = self.conversations.get_mut(&conversation) else { return };
        let (log_epoch, head, floor, last_seq) = (log.log_epoch, log.head, log.floor, log.last_seq(&device));
        log.subscribers.insert(id);
        if floor > after.next() {
            self.send(id, Event::Trimmed { conversation, floor });
        }
        self.send(id, Event::Subscribed { conversation, log_epoch, head, last_seq });
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let subscription = Subscription {
            number,
            sent: after.max(floor.previous()),
            phase: Phase::Cursors { after: None },
            announced: false,
            newer: BTreeSet::new(),
        };
        session.subscriptions.insert(conversation, subscription);
        session.catch_up(conversation);
        self.page_on(id);
    }

    pub(super) fn unsubscribe(&mut self, id: SessionId, conversation: ConversationId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.subscriptions.remove(&conversation);
        }
        if let Some(log) = self.conversations.get_mut(&conversation) {
            log.subscribers.remove(&id);
        }
    }

    /// Goes on with what a session has to read, as far as it has room.
    pub(super) fn page_on(&mut self, id: SessionId) {
        loop {
            let Some(session) = self.sessions.get_mut(&id) else { return };
            if !session.room {
                return;
            }
            if let Some(conversation) = session.news.pop_first() {
                self.unpin(conversation);
                self.send_conversation(id, conversation);
                continue;
            }
            if session.paging {
                return;
            }
            match session.work.pop_front() {
                None => return,
                Some(Work::Listing { after }) => {
                    session.paging = true;
                    let query = Query::Listing { account: session.account, after, limit: LISTING_PAGE };
                    let page = PageFor { session: id, part: Part::Listing { after } };
                    self.load(query, Purpose::Page(page));
                }
                Some(Work::CatchUp { conversation, number }) => self.catch_up_on(id, conversation, number),
            }
        }
    }

    fn send_conversation(&mut self, id: SessionId, conversation: ConversationId) {
        let Some(log) = self.conversations.get(&conversation) else { return };
        let (log_epoch, head) = (log.log_epoch, log.head);
        let membership = (*log.membership).clone();
        self.send(id, Event::Conversation { conversation, membership, log_epoch, head });
    }

    fn catch_up_on(&mut self, id: SessionId, conversation: ConversationId, number: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(head) = self.conversations.get(&conversation).map(|log| log.head) else { return };
        let Some(subscription) = session.subscription(conversation, number) else { return };
        let sent = subscription.sent;
        let (query, part) = match subscription.phase {
            Phase::Live => return,
            Phase::Cursors { after } => {
                let (limit, bytes) = (CURSOR_PAGE, PAGE_BYTES);
                let query = Query::Cursors { conversation, after, limit, bytes };
                (query, Part::Cursors { conversation, number, after })
            }
            Phase::Behind if sent < head => {
                let (limit, bytes) = (limits::PAGE_ENTRIES, PAGE_BYTES);
                let query = Query::Page { conversation, after: sent, through: head, limit, bytes };
                (query, Part::Entries { conversation, number, through: head })
            }
            Phase::Behind => {
                subscription.phase = Phase::Live;
                subscription.newer.clear();
                if !std::mem::replace(&mut subscription.announced, true) {
                    self.send(id, Event::Live { conversation, head: sent });
                }
                return;
            }
        };
        session.paging = true;
        self.load(query, Purpose::Page(PageFor { session: id, part }));
    }

    pub(super) fn page_loaded(&mut self, page: PageFor, answer: Answer) {
        let id = page.session;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.paging = false;
        match (page.part, answer) {
            (Part::Listing { .. }, Answer::Listing(summaries)) => self.listing_loaded(id, summaries),
            (Part::Cursors { conversation, number, after }, Answer::Cursors(rows)) => {
                self.cursors_loaded(id, conversation, number, after, rows)
            }
            (Part::Entries { conversation, number, through }, Answer::Page { floor, entries }) => {
                self.entries_loaded(id, conversation, number, through, floor, entries)
            }
            // An answer to another question than the one asked is as good as none.
            (Part::Listing { .. } | Part::Cursors { .. } | Part::Entries { .. }, _) => {
                return self.page_failed(page);
            }
        }
        self.page_on(id);
    }

    /// The store failed: the same work is tried again at the next tick.
    pub(super) fn page_failed(&mut self, page: PageFor) {
        let Some(session) = self.sessions.get_mut(&page.session) else { return };
        session.paging = false;
        session.work.push_back(match page.part {
            Part::Listing { after } => Work::Listing { after },
            Part::Cursors { conversation, number, .. } | Part::Entries { conversation, number, .. } => {
                Work::CatchUp { conversation, number }
            }
        });
        self.stalled.insert(page.session);
    }

    fn listing_loaded(&mut self, id: SessionId, summaries: Vec<Summary>) {
        let last = summaries.last().map(|summary| summary.conversation);
        let at_end = summaries.len() < LISTING_PAGE;
        let account = self.sessions.get(&id).map(|session| session.account);
        for Summary { conversation, membership, log_epoch, head } in summaries {
            // Memory is never older than a page.
            match self.conversations.get(&conversation) {
                Some(log) if account.is_some_and(|account| log.joined(&account).is_some()) => {
                    self.send_conversation(id, conversation)
                }
                Some(_) => {}
                None => self.send(id, Event::Conversation { conversation, membership, log_epoch, head }),
            }
        }
        if at_end {
            return self.send(id, Event::Listed {});
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.work.push_front(Work::Listing { after: last });
        }
    }

    fn cursors_loaded(
        &mut self,
        id: SessionId,
        conversation: ConversationId,
        number: u64,
        after: Option<DeviceId>,
        rows: Vec<CursorRow>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let own = session.device;
        let Some(subscription) = session.subscription(conversation, number) else { return };
        if subscription.phase != (Phase::Cursors { after }) {
            // Began anew while this page was under way.
            return session.catch_up(conversation);
        }
        subscription.phase = match rows.last() {
            Some(last) => Phase::Cursors { after: Some(last.device) },
            None => Phase::Behind,
        };
        let newer = subscription.newer.clone();
        session.catch_up(conversation);
        let Some(log) = self.conversations.get(&conversation) else { return };
        let membership = std::sync::Arc::clone(&log.membership);
        for CursorRow { conversation, device, account, position, receipt } in rows {
            let of_member = membership.members.contains_key(&account);
            if of_member && device != own && !newer.contains(&device) {
                self.send(id, Event::Cursor { conversation, device, position, receipt });
            }
        }
    }

    fn entries_loaded(
        &mut self,
        id: SessionId,
        conversation: ConversationId,
        number: u64,
        through: Position,
        floor: Position,
        entries: Vec<StoredEntry>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(subscription) = session.subscription(conversation, number) else { return };
        let before = subscription.sent;
        let mut events = Vec::with_capacity(entries.len() + 1);
        if floor > subscription.sent.next() {
            subscription.sent = floor.previous();
            events.push(Event::Trimmed { conversation, floor });
        }
        for StoredEntry { position, body } in entries {
            if position != subscription.sent.next() {
                continue;
            }
            subscription.sent = position;
            events.push(Event::Entry { conversation, position, body });
        }
        let is_stuck = subscription.sent == before && before < through;
        session.catch_up(conversation);
        if let Some(log) = self.conversations.get_mut(&conversation) {
            log.floor = log.floor.max(floor);
        }
        for event in events {
            self.send(id, event);
        }
        if is_stuck {
            // The store lost an entry: never a hole passed over silently.
            let why = "the log's next entry cannot be read";
            self.unsubscribe(id, conversation);
            self.refuse(id, ErrorCode::Unavailable, Some(conversation), why);
        }
    }

    pub(super) fn look_for_trims(&mut self) {
        let (age, bytes) = (self.config.retention_age, self.config.retention_bytes);
        if (age.is_none() && bytes.is_none())
            || self.retention.under_way
            || self.now < self.retention.rest_until
        {
            return;
        }
        self.retention.under_way = true;
        let query = Query::Trimmable {
            after: self.retention.after,
            limit: RETENTION_PAGE,
            older_than: age.map(|age| UnixMillis(self.now.0.saturating_sub(age))),
            bytes,
        };
        self.load(query, Purpose::Retention);
    }

    pub(super) fn retention_loaded(&mut self, answer: Answer) {
        self.retention.under_way = false;
        let Answer::Trimmable { trims, next } = answer else { return };
        self.retention.after = next;
        if next.is_none() {
            self.retention.rest_until = UnixMillis(self.now.0.saturating_add(RETENTION_REST));
        }
        for TrimRow { conversation, floor } in trims {
            let pinned = self.pin(conversation);
            let wish = Wish::Trim(TrimRow { conversation, floor });
            self.pending.push_back(Pending { session: NOBODY, weight: 64, pinned, wish });
        }
    }
}
