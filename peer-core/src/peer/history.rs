//! Reading back from the store: pages of history, kept notifications, and frames that a peer asks for again.

use std::collections::BTreeMap;

use sotto_protocol::link::LinkFrame;
use sotto_protocol::{ConversationId, DeviceId, MessageId, Position, Seq, limits};

use super::Peer;
use crate::io::{CommandError, CommandId, LoadId, MessageView, Output, Query, Reply, Row, Table};
use crate::sequence::SeqSet;
use crate::store::{self, MessageRecord, event_key, history_key, history_range, message_key};

/// Notifications replayed with one read.
const REPLAY_PAGE: u32 = 1_000;

/// A page of history being put together.
#[derive(Debug)]
struct Page {
    command: CommandId,
    conversation: ConversationId,
    before: Option<MessageId>,
    after: Option<MessageId>,
    limit: usize,
    /// Read from the end down.
    descending: bool,
    /// Between these positions, both excluded.
    from: Position,
    to: Position,
    logged: Vec<MessageView>,
    /// What was not logged when the page was asked for.
    tail: Vec<MessageView>,
}

#[derive(Debug)]
enum Read {
    /// The position of a cursor of a page.
    Cursor {
        page: Page,
        of_before: bool,
    },
    Page(Page),
    Replay {
        command: CommandId,
    },
    /// Positions of messages that a link asked for.
    Positions {
        to: DeviceId,
        conversation: ConversationId,
    },
    /// The messages.
    Frames {
        to: DeviceId,
        conversation: ConversationId,
        wanted: Vec<Position>,
    },
}

#[derive(Debug, Default)]
pub(super) struct Reads(BTreeMap<LoadId, Read>);

impl Peer {
    pub(super) fn on_loaded(&mut self, id: LoadId, rows: Vec<Row>) {
        match self.reads.0.remove(&id) {
            Some(Read::Cursor { page, of_before }) => self.on_cursor(page, of_before, &rows),
            Some(Read::Page(page)) => self.on_page(page, &rows),
            Some(Read::Replay { command }) => self.on_replay(command, &rows),
            Some(Read::Positions { to, conversation }) => self.on_positions(to, conversation, &rows),
            Some(Read::Frames { to, conversation, wanted }) => {
                self.on_frames(to, conversation, &wanted, &rows)
            }
            None => {
                let ids: Vec<_> = self.conversations.keys().copied().collect();
                for conversation in ids {
                    if self.with_relay(conversation, |c, ctx, relay| c.on_loaded(ctx, relay, id, &rows))
                        == Some(true)
                    {
                        return;
                    }
                }
            }
        }
    }

    fn load(&mut self, query: Query, read: Read) {
        let id = self.fx.load(query);
        self.reads.0.insert(id, read);
    }

    pub(super) fn read_history(
        &mut self,
        command: CommandId,
        conversation: ConversationId,
        before: Option<MessageId>,
        after: Option<MessageId>,
        limit: usize,
    ) {
        let tail = self.conversations[&conversation].unlogged_views(&self.me, &self.people);
        let page = Page {
            command,
            conversation,
            before,
            after,
            limit,
            descending: before.is_some() || after.is_none(),
            from: Position(0),
            to: Position(u64::MAX),
            logged: Vec::new(),
            tail,
        };
        self.find_cursors(page);
    }

    /// Looks up where the cursors stand, then reads.
    fn find_cursors(&mut self, mut page: Page) {
        // A cursor among what is not logged cuts the tail; then only one of the log may remain.
        if let Some(before) = page.before {
            if let Some(at) = page.tail.iter().position(|view| view.id == before) {
                page.tail.truncate(at);
                page.before = None;
            } else {
                return self.look_up(page, before, true);
            }
        }
        if let Some(after) = page.after {
            if let Some(at) = page.tail.iter().position(|view| view.id == after) {
                page.tail.drain(..=at);
                page.after = None;
                page.from = Position(u64::MAX);
            } else {
                return self.look_up(page, after, false);
            }
        }
        self.read_page(page);
    }

    fn look_up(&mut self, page: Page, id: MessageId, of_before: bool) {
        let from = message_key(id.conversation, id.device, id.seq);
        let to = message_key(id.conversation, id.device, id.seq.next());
        let query = Query { table: Table::Index, from, to, limit: 1, descending: false };
        self.load(query, Read::Cursor { page, of_before });
    }

    fn on_cursor(&mut self, mut page: Page, of_before: bool, rows: &[Row]) {
        let position =
            rows.first().and_then(|row| row.value.as_slice().try_into().ok()).map(u64::from_be_bytes);
        let Some(position) = position.map(Position) else {
            self.fx.reply(page.command, Err(CommandError::NotFound("message".into())));
            return;
        };
        if of_before {
            page.to = position;
            page.before = None;
            page.tail.clear();
        } else {
            page.from = position;
            page.after = None;
        }
        self.find_cursors(page);
    }

    fn read_page(&mut self, page: Page) {
        if page.from.next() >= page.to || page.logged.len() >= page.limit {
            return self.end_page(page);
        }
        let mut query = history_range(page.conversation, page.from.next(), page.to);
        query.limit = (page.limit - page.logged.len()).max(64) as u32;
        query.descending = page.descending;
        self.load(query, Read::Page(page));
    }

    fn on_page(&mut self, mut page: Page, rows: &[Row]) {
        let asked = (page.limit - page.logged.len()).max(64);
        let Some(conversation) = self.conversations.get(&page.conversation) else { return };
        for row in rows {
            let Ok(record) = store::decode::<MessageRecord>(Table::History, &row.value) else { continue };
            let Some(position) = record.position else { continue };
            if page.descending {
                page.to = position;
            } else {
                page.from = position;
            }
            let id = (record.frame.body().device, record.frame.body().seq);
            let (content, position) = (record.content.as_ref(), Some(position));
            page.logged.extend(conversation.message_view(id, content, position, &self.me, &self.people));
        }
        if rows.len() < asked {
            return self.end_page(page);
        }
        self.read_page(page);
    }

    fn end_page(&mut self, mut page: Page) {
        if page.descending {
            page.logged.reverse();
        }
        // What was logged between the question and the answer is in both.
        page.tail.retain(|view| page.logged.iter().rev().all(|logged| logged.id != view.id));
        let mut messages = page.logged;
        messages.append(&mut page.tail);
        if page.descending {
            messages.drain(..messages.len().saturating_sub(page.limit));
        } else {
            messages.truncate(page.limit);
        }
        self.fx.reply(page.command, Ok(Reply::History(messages)));
    }

    pub(super) fn replay_events(&mut self, command: CommandId, after: u64) {
        let (from, to) = (event_key(after.saturating_add(1)), event_key(u64::MAX));
        let query = Query { table: Table::Event, from, to, limit: REPLAY_PAGE, descending: false };
        self.load(query, Read::Replay { command });
    }

    fn on_replay(&mut self, command: CommandId, rows: &[Row]) {
        let mut last = 0;
        for notification in rows.iter().filter_map(store::decode_notification) {
            last = notification.sequence;
            self.fx.after_write(crate::effects::Gated::Output(Output::Event(notification)));
        }
        if rows.len() == REPLAY_PAGE as usize && last > 0 {
            return self.replay_events(command, last);
        }
        self.fx.reply(command, Ok(Reply::Done));
    }

    /// Sends a link the messages it asks for, as far as they are held.
    pub(super) fn supply(&mut self, to: DeviceId, id: ConversationId, device: DeviceId, wanted: SeqSet) {
        let Some(conversation) = self.conversations.get(&id) else { return };
        let (Some(link), mut stored) = (self.links.get_mut(&to), SeqSet::default()) else { return };
        let mut budget = limits::WINDOW;
        for range in wanted.ranges() {
            for seq in (range.first.0..=range.last.0).map(Seq) {
                if budget == 0 {
                    break;
                }
                budget -= 1;
                match conversation.frame(&self.me, link.account, (device, seq)) {
                    Some(frame) => link.send(&mut self.fx, &LinkFrame::Data { frame }),
                    None => stored.insert(seq),
                }
            }
        }
        let Some(last) = stored.last() else { return };
        let first = stored.ranges().next().map_or(last, |range| range.first);
        let (from, to_key) = (message_key(id, device, first), message_key(id, device, last.next()));
        let limit = limits::WINDOW as u32;
        let query = Query { table: Table::Index, from, to: to_key, limit, descending: false };
        self.load(query, Read::Positions { to, conversation: id });
    }

    fn on_positions(&mut self, to: DeviceId, conversation: ConversationId, rows: &[Row]) {
        let positions = rows.iter().filter_map(|row| row.value.as_slice().try_into().ok());
        let wanted: Vec<Position> = positions.map(u64::from_be_bytes).map(Position).collect();
        let (Some(first), Some(last)) = (wanted.iter().min(), wanted.iter().max()) else { return };
        let query = Query {
            table: Table::History,
            from: history_key(conversation, *first),
            to: history_key(conversation, last.next()),
            limit: 2 * limits::WINDOW as u32,
            descending: false,
        };
        self.load(query, Read::Frames { to, conversation, wanted });
    }

    fn on_frames(&mut self, to: DeviceId, id: ConversationId, wanted: &[Position], rows: &[Row]) {
        let Some(link) = self.links.get_mut(&to).filter(|link| link.is_usable()) else { return };
        // It may have been blocked, or have left, while the store was read.
        let conversation = self.conversations.get(&id).filter(|c| c.may_link(link.account, &self.people));
        let Some(joined) = conversation.map(|c| c.joined_at(link.account)) else { return };
        for row in rows {
            let Ok(record) = store::decode::<MessageRecord>(Table::History, &row.value) else { continue };
            if record.position.is_some_and(|position| position >= joined && wanted.contains(&position)) {
                link.send(&mut self.fx, &LinkFrame::Data { frame: record.frame });
            }
        }
    }
}
