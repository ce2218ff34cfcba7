//! Keys and records of the store. A driver sees only bytes.
//!
//! Keys sort as the data is read: ids first, then counters in big-endian.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use sotto_protocol::cbor::{self, Blob, Bounded, Text};
use sotto_protocol::device_list::{MAX_ENTRY, SignedEntry};
use sotto_protocol::link::SeqRange;
use sotto_protocol::membership::{Membership, SignedChange};
use sotto_protocol::presence::Capability;
use sotto_protocol::{
    AccountId, ConversationId, DeviceId, Frame, Handle, Hash, LogEpoch, MessageId, Position, Seq, Signature,
    UnixMillis, limits,
};

use crate::content::Content;
use crate::conversation::GapRecord;
use crate::io::{
    ConversationView, Event, GapRange, MessageView, Notification, PathPolicy, Query, ReceiptState, Row, Table,
};
use crate::peer::{ProfileRecord, RestoreError};

/// Key of the settings' row in [`Table::Meta`].
pub(crate) const SETTINGS: &[u8] = b"settings";

/// Key of the own profile's row in [`Table::Meta`].
pub(crate) const PROFILE: &[u8] = b"profile";

/// Largest record: a frame, its content, and little around them; or a long device list.
const MAX_RECORD: usize = limits::MAX_DEVICE_LIST * (MAX_ENTRY + 200);

pub(crate) fn author_key(conversation: ConversationId, device: DeviceId) -> Vec<u8> {
    [&conversation.0[..], &device.0].concat()
}

pub(crate) fn message_key(conversation: ConversationId, device: DeviceId, seq: Seq) -> Vec<u8> {
    [&conversation.0[..], &device.0, &seq.0.to_be_bytes()].concat()
}

/// The key of an own message whose seq was taken: beside the one that took it.
pub(crate) fn displaced_key(conversation: ConversationId, device: DeviceId, seq: Seq) -> Vec<u8> {
    let mut key = message_key(conversation, device, seq);
    key.push(1);
    key
}

pub(crate) fn history_key(conversation: ConversationId, position: Position) -> Vec<u8> {
    [&conversation.0[..], &position.0.to_be_bytes()].concat()
}

pub(crate) fn event_key(sequence: u64) -> Vec<u8> {
    sequence.to_be_bytes().to_vec()
}

/// The conversation, device and seq of a tail key, and whether the message is displaced.
pub(crate) fn parse_tail_key(key: &[u8]) -> Option<(MessageId, bool)> {
    let displaced = match key.len() {
        40 => false,
        41 => true,
        _ => return None,
    };
    let conversation = ConversationId(key[..16].try_into().ok()?);
    let device = DeviceId(key[16..32].try_into().ok()?);
    let seq = Seq(u64::from_be_bytes(key[32..40].try_into().ok()?));
    Some((MessageId { conversation, device, seq }, displaced))
}

/// The conversation and device of an author or receipt key.
pub(crate) fn parse_author_key(key: &[u8]) -> Option<(ConversationId, DeviceId)> {
    let (conversation, device) = key.split_at_checked(16)?;
    Some((ConversationId(conversation.try_into().ok()?), DeviceId(device.try_into().ok()?)))
}

/// The positions of a conversation in [`Table::History`], from one (included) to another (excluded).
pub(crate) fn history_range(conversation: ConversationId, from: Position, to: Position) -> Query {
    Query {
        table: Table::History,
        from: history_key(conversation, from),
        to: history_key(conversation, to),
        limit: 0,
        descending: false,
    }
}

#[derive(Debug, Default, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Settings {
    #[n(0)]
    pub policy: PathPolicy,
    #[n(1)]
    pub last_event: u64,
    #[n(2)]
    pub keep_events: bool,
    /// The presence that the user chose.
    #[n(3)]
    #[cbor(default)]
    pub away: bool,
    #[n(4)]
    pub presence_text: Option<Text<{ limits::MAX_STATUS_BYTES }>>,
}

#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct EntryRecord {
    #[n(0)]
    payload: Blob<MAX_ENTRY>,
    #[n(1)]
    signature: Signature,
    #[n(2)]
    possession: Option<Signature>,
}

impl EntryRecord {
    pub fn new(entry: &SignedEntry) -> Self {
        let payload = Blob::new(entry.payload.clone()).unwrap_or_default();
        Self { payload, signature: entry.signature, possession: entry.possession }
    }

    pub fn entry(&self) -> SignedEntry {
        SignedEntry { payload: self.payload.to_vec(), signature: self.signature, possession: self.possession }
    }
}

#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct AccountRecord {
    #[n(0)]
    pub handle: Handle,
    #[n(1)]
    pub chain: Bounded<EntryRecord, { limits::MAX_DEVICE_LIST }>,
    #[n(2)]
    pub blocked: bool,
    #[n(3)]
    pub profile: Option<ProfileRecord>,
}

/// Whether the user has agreed to a conversation that somebody else began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub(crate) enum Consent {
    #[n(0)]
    Accepted,
    #[n(1)]
    Request,
}

#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct ConversationRecord {
    #[n(0)]
    pub membership: Membership,
    /// The creation, until the relay has it.
    #[n(1)]
    pub creation: Option<SignedChange>,
    #[n(2)]
    pub member: bool,
    #[n(3)]
    pub name: Option<Text<{ limits::MAX_NAME_BYTES }>>,
    #[n(4)]
    pub consent: Consent,
    #[n(5)]
    pub accepted_by: BTreeSet<AccountId>,
    #[n(6)]
    pub capability: Option<Capability>,
    #[n(7)]
    pub capability_told: bool,
    #[n(8)]
    pub capabilities: BTreeMap<AccountId, Capability>,
    #[n(9)]
    pub log_epoch: LogEpoch,
    #[n(10)]
    pub position: Position,
    #[n(11)]
    pub known_head: Position,
    #[n(12)]
    pub heads: BTreeMap<DeviceId, (Seq, u64)>,
    #[n(13)]
    pub read: BTreeMap<DeviceId, Seq>,
    #[n(14)]
    pub unread: u64,
    #[n(15)]
    pub active_at: UnixMillis,
    // Keys 16 to 23 are the must-understand range.
    #[n(24)]
    pub undecryptable: u64,
    #[n(25)]
    pub resume_at: Seq,
    #[n(26)]
    pub announced: bool,
    /// Rows of the list that new ones may follow.
    #[n(27)]
    #[cbor(default)]
    pub anchors: Vec<(Position, DeviceId, Seq)>,
    /// The hashes of the last entries of the log up to `position`.
    #[n(28)]
    #[cbor(default)]
    pub held: Vec<Hash>,
    /// What cannot be had.
    #[n(29)]
    #[cbor(default)]
    pub gaps: Vec<GapRecord>,
    /// By member that joined later: the last own message that was logged before.
    #[n(30)]
    #[cbor(default)]
    pub joined: BTreeMap<AccountId, Seq>,
}

#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct AuthorRecord {
    #[n(0)]
    pub account: AccountId,
    #[n(1)]
    pub opened: Seq,
    #[n(2)]
    pub shown: Seq,
    #[n(3)]
    pub logged: Seq,
    #[n(4)]
    pub gaps: Vec<SeqRange>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub(crate) struct ReceiptRecord {
    #[n(0)]
    pub delivered: Seq,
    #[n(1)]
    pub read: Seq,
}

#[derive(Debug, Clone, Encode, Decode)]
#[cbor(map)]
pub(crate) struct MessageRecord {
    #[n(0)]
    pub frame: Frame,
    /// `None` while it is early, or if it cannot be opened.
    #[n(1)]
    pub content: Option<Content>,
    #[n(2)]
    pub position: Option<Position>,
    /// Whether this copy of the profile made it.
    #[n(3)]
    #[cbor(default)]
    pub made: bool,
}

impl MessageRecord {
    /// As it is stored. Its content takes about as many bytes as its frame has sealed.
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode_sized(self, self.frame.weight() + self.frame.body().sealed.len() + 64)
    }
}

/// A notification as kept: those that are worth it.
#[derive(Encode, Decode)]
#[cbor(map)]
enum Kept {
    #[n(0)]
    Conversation {
        #[n(0)]
        view: ConversationView,
    },
    #[n(1)]
    Message {
        #[n(0)]
        view: MessageView,
    },
    #[n(2)]
    Receipt {
        #[n(0)]
        id: MessageId,
        #[n(1)]
        device: DeviceId,
        #[n(2)]
        state: ReceiptState,
    },
    #[n(3)]
    Gap {
        #[n(0)]
        conversation: ConversationId,
        #[n(1)]
        range: GapRange,
        #[n(2)]
        why: String,
    },
    #[n(4)]
    Renumbered {
        #[n(0)]
        from: MessageId,
        #[n(1)]
        to: MessageId,
    },
    #[n(5)]
    Alarm {
        #[n(0)]
        about: String,
        #[n(1)]
        advice: String,
    },
}

/// The notification for the store; empty for those that are never kept.
pub(crate) fn encode_notification(notification: &Notification) -> Vec<u8> {
    let kept = match notification.event.clone() {
        Event::Conversation(view) => Kept::Conversation { view },
        Event::Message(view) => Kept::Message { view },
        Event::Receipt { id, device, state } => Kept::Receipt { id, device, state },
        Event::Gap { conversation, range, why } => Kept::Gap { conversation, range, why },
        Event::Renumbered { from, to } => Kept::Renumbered { from, to },
        Event::Alarm { about, advice } => Kept::Alarm { about, advice },
        Event::Timeline { .. }
        | Event::Presence { .. }
        | Event::Profile(_)
        | Event::Typing { .. }
        | Event::Path { .. }
        | Event::Connection { .. } => return Vec::new(),
    };
    cbor::encode(&kept)
}

/// A notification from the store.
pub(crate) fn decode_notification(row: &Row) -> Option<Notification> {
    let sequence = u64::from_be_bytes(row.key.as_slice().try_into().ok()?);
    let event = match cbor::decode(&row.value, MAX_RECORD).ok()? {
        Kept::Conversation { view } => Event::Conversation(view),
        Kept::Message { view } => Event::Message(view),
        Kept::Receipt { id, device, state } => Event::Receipt { id, device, state },
        Kept::Gap { conversation, range, why } => Event::Gap { conversation, range, why },
        Kept::Renumbered { from, to } => Event::Renumbered { from, to },
        Kept::Alarm { about, advice } => Event::Alarm { about, advice },
    };
    Some(Notification { sequence, event })
}

/// Decodes a record, or says which table cannot be read.
pub(crate) fn decode<T: for<'b> Decode<'b, ()>>(table: Table, value: &[u8]) -> Result<T, RestoreError> {
    cbor::decode(value, MAX_RECORD)
        .map_err(|e| RestoreError::Row { table: table.name(), reason: e.to_string() })
}

/// What a row's key should have been.
pub(crate) fn bad_key(table: Table) -> RestoreError {
    RestoreError::Row { table: table.name(), reason: "its key has another shape".into() }
}
