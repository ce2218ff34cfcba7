//! The store: rows in tables, written in sets, read by ranges.

use std::collections::BTreeMap;

/// One table of the store. Keys and values are bytes; keys sort as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Identity, settings, counters.
    Meta,
    /// Accounts met, with their device lists.
    Account,
    /// Conversations.
    Conversation,
    /// Per conversation and device: what was received.
    Author,
    /// Per conversation and device: what was delivered to and read by it.
    Receipt,
    /// Messages without a position in the display order yet: one's own outbox, and others' early or unlogged ones.
    Tail,
    /// Logged messages by conversation and position.
    History,
    /// Position by conversation, device and seq.
    Index,
    /// Notifications until they are acknowledged.
    Event,
}

impl Table {
    /// All tables.
    pub const ALL: [Table; 9] = [
        Table::Meta,
        Table::Account,
        Table::Conversation,
        Table::Author,
        Table::Receipt,
        Table::Tail,
        Table::History,
        Table::Index,
        Table::Event,
    ];

    /// Those that a driver reads whole at the start, for [`Peer::restore`](crate::Peer::restore).
    pub const HOT: [Table; 6] =
        [Table::Meta, Table::Account, Table::Conversation, Table::Author, Table::Receipt, Table::Tail];

    /// Its name in the store.
    pub fn name(self) -> &'static str {
        match self {
            Table::Meta => "meta",
            Table::Account => "account",
            Table::Conversation => "conversation",
            Table::Author => "author",
            Table::Receipt => "receipt",
            Table::Tail => "tail",
            Table::History => "history",
            Table::Index => "message_index",
            Table::Event => "event",
        }
    }
}

/// A row of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// Changes that become durable together or not at all. The last change of a key counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WriteSet {
    /// By table and key: the new value, or `None` to delete the row.
    pub rows: BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>,
    /// Ranges of keys to delete first, from the first key (included) to the second (excluded).
    pub delete_ranges: Vec<(Table, Vec<u8>, Vec<u8>)>,
}

impl WriteSet {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.delete_ranges.is_empty()
    }
}

/// A range read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Where.
    pub table: Table,
    /// First key, included.
    pub from: Vec<u8>,
    /// Last key, excluded.
    pub to: Vec<u8>,
    /// Most rows to return.
    pub limit: u32,
    /// From the last key down instead of from the first up.
    pub descending: bool,
}

/// Everything that [`Table::HOT`] holds.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Rows by table.
    pub tables: BTreeMap<Table, Vec<Row>>,
}
