//! What the relay's log keeps, as plain data, and the trait that a database implements to keep it.
//!
//! The [log](crate::log) decides everything: it emits [`Batch`]es to write and [`Query`]s to answer. A store only
//! does that, a batch in one transaction, and knows no rule of the log but "positions are unique". The types here
//! need no database and no async runtime: a simulator answers them from a few maps.

#[cfg(feature = "conformance")]
pub mod conformance;
mod memory;
mod sqlite;

use async_trait::async_trait;
use sotto_protocol::membership::{Membership, SignedChange};
use sotto_protocol::relay::EntryBody;
use sotto_protocol::{
    AccountId, ConversationId, DeviceId, Frame, Hash, LogEpoch, MembershipEpoch, Position, Seq, UnixMillis,
};

pub use memory::MemoryStore;
pub use sqlite::SqliteStore;

/// Keeps the log. Both calls may run at once; [`Store::write`] is never called again before it returned.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Makes a batch durable, all of it or nothing. When this returns `Ok` the batch survives a power cut.
    async fn write(&self, batch: &Batch) -> Result<(), StoreError>;

    /// Answers from what was written.
    async fn read(&self, query: &Query) -> Result<Answer, StoreError>;
}

/// Why a store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database was made by a later version of this software, which may mean other things by it.
    #[error("{database}: schema version {found}, this version knows {known}: update sotto-server")]
    Newer {
        /// Which database.
        database: String,
        /// Its schema version.
        found: i64,
        /// The latest that this version knows.
        known: i64,
    },
    /// A stored value is not what the log writes.
    #[error("relay store: {what}: {detail}")]
    Corrupt {
        /// Which table and column.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The disk is full.
    #[error("relay store: the disk is full: make room; nothing that was acknowledged is lost")]
    Full,
    /// The database may not be written to.
    #[error("relay store: the database is read-only: let this user write its file, its folder and its disk")]
    ReadOnly,
    /// The file cannot be opened.
    #[error("relay store: the database cannot be opened: its folder must exist, and this user own both")]
    CannotOpen,
    /// The disk failed, or a limit on file sizes was met.
    #[error(
        "relay store: the disk does not take writes (a quota, a limit on file sizes, or a broken disk): {0}"
    )]
    Disk(String),
    /// Not a database (any more).
    #[error(
        "relay store: this is no database, or a damaged one: restore it from a backup, or move it away to begin an empty \
         log, which devices fill again with what they hold"
    )]
    Damaged,
    /// Another program's database.
    #[error(
        "relay store: the database belongs to another program (application id {0:#x}): give the server another data folder"
    )]
    Foreign(i64),
    /// Anything else the database says.
    #[error("relay store: {0}")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// One group commit. Rows of one table are unique by their key; a conversation's row stands for the state after
/// the whole batch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// New or changed conversations.
    pub conversations: Vec<ConversationRow>,
    /// New entries, in order of positions within a conversation.
    pub entries: Vec<EntryRow>,
    /// How far the log has each author now.
    pub senders: Vec<SenderRow>,
    /// Members that came or went.
    pub members: Vec<MemberRow>,
    /// Latest cursors.
    pub cursors: Vec<CursorRow>,
    /// Conversations whose log epoch was raised.
    pub bumps: Vec<BumpRow>,
    /// Conversations to forget the beginnings of.
    pub trims: Vec<TrimRow>,
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How many rows it writes, for metrics.
    pub fn rows(&self) -> usize {
        self.conversations.len()
            + self.entries.len()
            + self.senders.len()
            + self.members.len()
            + self.cursors.len()
            + self.bumps.len()
            + self.trims.len()
    }
}

/// A conversation; inserted or, but for its floor, overwritten.
#[derive(Debug, Clone, PartialEq)]
pub struct ConversationRow {
    /// Which one.
    pub conversation: ConversationId,
    /// Raised when the log was found rolled back; starts at 1.
    pub log_epoch: LogEpoch,
    /// The last position.
    pub head: Position,
    /// The epoch of its membership.
    pub membership: MembershipEpoch,
}

/// A new entry.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryRow {
    /// Its conversation.
    pub conversation: ConversationId,
    /// Its place; never taken before.
    pub position: Position,
    /// What stands there.
    pub record: Record,
    /// The relay's clock, for retention by age.
    pub logged_at: UnixMillis,
}

/// What stands at a position.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// A message, and the [hash](Frame::hash) that tells two under one id apart.
    Message(Frame, Hash),
    /// A membership change.
    Membership(SignedChange),
}

impl Record {
    /// Bytes that retention counts for it.
    pub fn size(&self) -> usize {
        self.to_bytes().len()
    }

    /// As it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Message(frame, _) => frame.to_bytes(),
            Self::Membership(change) => change.to_bytes(),
        }
    }

    /// As it goes to clients.
    pub fn body(&self) -> EntryBody {
        match self {
            Self::Message(frame, _) => EntryBody::Message(frame.clone()),
            Self::Membership(change) => EntryBody::Membership(change.clone()),
        }
    }
}

/// How far the log has an author.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SenderRow {
    /// The conversation.
    pub conversation: ConversationId,
    /// The author.
    pub device: DeviceId,
    /// The author's last seq in the log.
    pub last_seq: Seq,
}

/// A member that came or went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MemberRow {
    /// The conversation.
    pub conversation: ConversationId,
    /// The account.
    pub account: AccountId,
    /// Where it came in; `None` when it is out.
    pub joined: Option<Position>,
}

/// The latest cursor of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct CursorRow {
    /// The conversation.
    pub conversation: ConversationId,
    /// The device.
    pub device: DeviceId,
    /// The device's account: who left shows no cursor any more.
    pub account: AccountId,
    /// Everything up to here is durable there.
    pub position: Position,
    /// The sealed receipt, if it gave one.
    pub receipt: Option<Receipt>,
}

/// A sealed receipt as it travels.
pub type Receipt = sotto_protocol::cbor::Blob<{ sotto_protocol::limits::MAX_RECEIPT }>;

/// A conversation whose log epoch was raised. Stored cursors beyond the head come down to it.
#[derive(Debug, Clone, PartialEq)]
pub struct BumpRow {
    /// The conversation.
    pub conversation: ConversationId,
    /// All bumps to remember, in place of those stored.
    pub bumps: Vec<Bump>,
}

/// Remembers how much of the log was still the same when its epoch was raised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bump {
    /// The epoch that it made.
    pub epoch: LogEpoch,
    /// The last position that holds for older epochs too.
    pub common: Position,
}

/// A conversation to forget the beginning of: bodies below the floor go; keys and hashes stay, so that a late
/// duplicate is still told from a conflict.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrimRow {
    /// The conversation.
    pub conversation: ConversationId,
    /// The lowest position that keeps its body; never lowers a stored floor.
    pub floor: Position,
}

/// What the log asks a store for.
#[derive(Debug, Clone, PartialEq)]
pub enum Query {
    /// All that a conversation's rules need. Answered by [`Answer::Conversation`].
    Conversation(ConversationId),
    /// Entries from after `after` through `through`: at most `limit`, and no more once they are `bytes` in all, but
    /// at least one if there is one. Answered by [`Answer::Page`].
    Page {
        /// The conversation.
        conversation: ConversationId,
        /// The position before the first wanted.
        after: Position,
        /// The last wanted.
        through: Position,
        /// Most entries.
        limit: usize,
        /// Bytes of bodies after which to stop.
        bytes: usize,
    },
    /// Where a message stands. Answered by [`Answer::Entry`].
    Entry {
        /// The conversation.
        conversation: ConversationId,
        /// The author.
        device: DeviceId,
        /// Its seq.
        seq: Seq,
    },
    /// An account's conversations in order of id. Answered by [`Answer::Listing`].
    Listing {
        /// The account.
        account: AccountId,
        /// The last id seen.
        after: Option<ConversationId>,
        /// Most to answer.
        limit: usize,
    },
    /// A conversation's cursors in order of device. Answered by [`Answer::Cursors`].
    Cursors {
        /// The conversation.
        conversation: ConversationId,
        /// The last device seen.
        after: Option<DeviceId>,
        /// Most to answer.
        limit: usize,
        /// Bytes of receipts after which to stop, but at least one row if there is one.
        bytes: usize,
    },
    /// How many conversations each account is in. Answered by [`Answer::Counts`], in the same order.
    Counts {
        /// The accounts.
        accounts: Vec<AccountId>,
    },
    /// Looks through some conversations for what retention lets go. Answered by [`Answer::Trimmable`].
    Trimmable {
        /// The last id looked at.
        after: Option<ConversationId>,
        /// How many conversations to look at.
        limit: usize,
        /// Entries logged before this go.
        older_than: Option<UnixMillis>,
        /// The oldest entries go until a conversation's bodies are no more than this.
        bytes: Option<u64>,
    },
}

/// A store's answer to a [`Query`].
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The conversation, if there is one.
    Conversation(Option<StoredConversation>),
    /// Entries that still have their bodies.
    Page {
        /// The lowest position that still has its body.
        floor: Position,
        /// In order of positions.
        entries: Vec<StoredEntry>,
    },
    /// Where the message stands and its hash, if the log has it.
    Entry(Option<(Position, Hash)>),
    /// The conversations; fewer than the limit at the end.
    Listing(Vec<Summary>),
    /// The cursors; none at the end.
    Cursors(Vec<CursorRow>),
    /// The counts.
    Counts(Vec<u64>),
    /// What to trim.
    Trimmable {
        /// Each conversation that has too much.
        trims: Vec<TrimRow>,
        /// The last id looked at; `None` at the end.
        next: Option<ConversationId>,
    },
}

/// All that a conversation's rules need.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredConversation {
    /// The log epoch.
    pub log_epoch: LogEpoch,
    /// The last position.
    pub head: Position,
    /// The lowest position that still has its body; one beyond the head when none has.
    pub floor: Position,
    /// The members.
    pub membership: Membership,
    /// The last seq of each author.
    pub senders: Vec<(DeviceId, Seq)>,
    /// The remembered bumps, by epoch.
    pub bumps: Vec<Bump>,
}

/// An entry as read.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredEntry {
    /// Its place.
    pub position: Position,
    /// What stands there.
    pub body: EntryBody,
}

/// A conversation in an account's list.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The conversation.
    pub conversation: ConversationId,
    /// Its members.
    pub membership: Membership,
    /// Its log epoch.
    pub log_epoch: LogEpoch,
    /// Its last position.
    pub head: Position,
}
