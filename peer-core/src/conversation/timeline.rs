//! The display order: what is logged by position, then what is not by (depth, device, seq); and the diffs of the
//! list.

use std::collections::BTreeMap;

use sotto_protocol::{DeviceId, MessageId, Position, Seq};

use crate::io::{MessageView, TimelineDiff};

/// Where a message stands in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DisplayKey {
    /// By its position in the relay's log, which extends causality.
    Logged(Position),
    /// Not logged yet: after everything that is, by depth, which extends causality too.
    Unlogged(u64, DeviceId, Seq),
}

/// How many logged messages stay listed in memory, to anchor diffs and count what is unread.
const WINDOW: usize = 512;

/// The end of a conversation's list.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    rows: BTreeMap<DisplayKey, (DeviceId, Seq)>,
    logged: usize,
    diffs: Vec<TimelineDiff>,
}

impl Timeline {
    /// A message appears.
    pub fn insert(&mut self, key: DisplayKey, view: MessageView) {
        let after = self.before(key, view.id);
        self.add(key, (view.id.device, view.id.seq));
        self.diffs.push(TimelineDiff::Insert { item: view, after });
    }

    /// A message from the store appears, without a diff.
    pub fn restore(&mut self, key: DisplayKey, id: (DeviceId, Seq)) {
        self.add(key, id);
    }

    /// A listed message's key changes. It may have left the window, or have been listed before this run.
    pub fn rekey(&mut self, id: MessageId, old: DisplayKey, new: DisplayKey) {
        self.take(old);
        let after = self.before(new, id);
        self.add(new, (id.device, id.seq));
        let position = match new {
            DisplayKey::Logged(position) => Some(position),
            DisplayKey::Unlogged(..) => None,
        };
        self.diffs.push(TimelineDiff::Move { id, after, position });
    }

    /// What else changed in the list.
    pub fn tell(&mut self, diffs: impl IntoIterator<Item = TimelineDiff>) {
        self.diffs.extend(diffs);
    }

    /// A message says something else now.
    pub fn replace(&mut self, view: MessageView) {
        self.diffs.push(TimelineDiff::Replace { item: view });
    }

    /// A message is gone.
    pub fn remove(&mut self, key: DisplayKey, id: MessageId) {
        if self.take(key) {
            self.diffs.push(TimelineDiff::Remove { id });
        }
    }

    /// What must be known again after a restart so that diffs name the right neighbours: the last row that the log
    /// has up to a position, and all that it has beyond.
    pub fn anchors(&self, read: Position) -> Vec<(Position, DeviceId, Seq)> {
        let beyond = DisplayKey::Logged(read.next());
        let last = self.rows.range(..beyond).next_back();
        let logged = last.into_iter().chain(self.rows.range(beyond..)).map_while(|(key, id)| match key {
            DisplayKey::Logged(position) => Some((*position, id.0, id.1)),
            DisplayKey::Unlogged(..) => None,
        });
        logged.collect()
    }

    /// The row that stands at a position of the log, if it is known.
    pub fn at(&self, position: Position) -> Option<(DeviceId, Seq)> {
        self.rows.get(&DisplayKey::Logged(position)).copied()
    }

    /// The diffs since the last call.
    pub fn take_diffs(&mut self) -> Vec<TimelineDiff> {
        std::mem::take(&mut self.diffs)
    }

    /// Messages listed after one, if it is in the window.
    pub fn after(&self, id: (DeviceId, Seq)) -> Option<Vec<(DeviceId, Seq)>> {
        let mut found = false;
        let mut rest = Vec::new();
        for row in self.rows.values() {
            if found {
                rest.push(*row);
            }
            found |= *row == id;
        }
        found.then_some(rest)
    }

    fn add(&mut self, key: DisplayKey, id: (DeviceId, Seq)) {
        if self.rows.insert(key, id).is_none() && matches!(key, DisplayKey::Logged(_)) {
            self.logged += 1;
        }
        while self.logged > WINDOW {
            let Some((DisplayKey::Logged(_), _)) = self.rows.pop_first() else { break };
            self.logged -= 1;
        }
    }

    fn take(&mut self, key: DisplayKey) -> bool {
        let had = self.rows.remove(&key).is_some();
        if had && matches!(key, DisplayKey::Logged(_)) {
            self.logged -= 1;
        }
        had
    }

    fn before(&self, key: DisplayKey, id: MessageId) -> Option<MessageId> {
        let (_, (device, seq)) = self.rows.range(..key).next_back()?;
        Some(MessageId { device: *device, seq: *seq, ..id })
    }
}
