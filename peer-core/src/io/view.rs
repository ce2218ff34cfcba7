//! Messages, conversations and the state of things, as the user sees them.

use std::time::Duration;

use minicbor::{Decode, Encode};
use sotto_protocol::presence::PresenceState;
use sotto_protocol::rest::Profile;
use sotto_protocol::{
    AccountId, ConversationId, ConversationKind, DeviceId, Handle, LogEpoch, MessageId, Position, Seq,
    UnixMillis,
};

use super::{GapRange, LinkPath, PathPolicy, PathState};

/// A message as shown.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct MessageView {
    /// Its name.
    #[n(0)]
    pub id: MessageId,
    /// Who wrote it.
    #[n(1)]
    pub from: Handle,
    /// What it says.
    #[n(2)]
    pub body: MessageBody,
    /// When, by its author's clock.
    #[n(3)]
    pub sent_at: UnixMillis,
    /// Its position in the log, once known.
    #[n(4)]
    pub position: Option<Position>,
    /// Whether this account wrote it.
    #[n(5)]
    pub own: bool,
    /// How far it got, if this device wrote it.
    #[n(6)]
    pub state: Option<MessageState>,
    /// What cannot be had and would stand right before it.
    #[n(7)]
    #[cbor(default)]
    pub missing: Vec<Missing>,
}

/// How far an own message got, among the other members as they are now; who joined later does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct MessageState {
    /// In one word.
    #[n(0)]
    pub reached: Reached,
    /// The other members that it is for.
    #[n(1)]
    pub members: u16,
    /// Of these: who has it, on a device at least.
    #[n(2)]
    pub delivered: u16,
    /// Of these: who has read it.
    #[n(3)]
    pub read: u16,
}

/// How far a message got, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Reached {
    /// It is here only.
    #[n(0)]
    Waiting,
    /// The relay has it, or a member.
    #[n(1)]
    Sent,
    /// Every other member has it.
    #[n(2)]
    Delivered,
    /// Every other member has read it.
    #[n(3)]
    Read,
}

/// What cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Missing {
    /// Which messages.
    #[n(0)]
    pub range: GapRange,
    /// Why, for people.
    #[n(1)]
    pub why: String,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum MessageBody {
    /// A text.
    #[n(0)]
    Text(#[n(0)] String),
    /// The group has this name from here on.
    #[n(1)]
    Renamed(#[n(0)] String),
    /// The content cannot be read by this version.
    #[n(2)]
    Unreadable,
}

/// A conversation as listed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ConversationView {
    /// Its id.
    #[n(0)]
    pub id: ConversationId,
    /// Direct or group.
    #[n(1)]
    pub kind: ConversationKind,
    /// A group's name, once known.
    #[n(2)]
    pub name: Option<String>,
    /// The members' handles, as far as known, the own one included.
    #[n(3)]
    pub members: Vec<Handle>,
    /// Whether it waits to be accepted.
    #[n(4)]
    pub request: bool,
    /// Whether the other of a direct conversation is blocked.
    #[n(5)]
    pub blocked: bool,
    /// Whether the own account is still a member.
    #[n(6)]
    pub member: bool,
    /// Messages of others not marked as read.
    #[n(7)]
    pub unread: u64,
}

/// What an account says of itself. Others believe the handle, not this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileView {
    /// Whose.
    pub handle: Handle,
    /// Its words, made [plain](sotto_protocol::plain), and its picture.
    pub profile: Profile,
}

/// How things stand.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// The own account.
    pub account: AccountId,
    /// The own handle.
    pub handle: Handle,
    /// The own device.
    pub device: DeviceId,
    /// The signaling socket.
    pub server: ConnectionStatus,
    /// The relay socket.
    pub relay: ConnectionStatus,
    /// The policy.
    pub policy: PathPolicy,
    /// The own presence as the user chose it, and the text beside it.
    pub presence: (PresenceState, Option<String>),
    /// By conversation.
    pub conversations: Vec<ConversationStatus>,
    /// By device.
    pub links: Vec<LinkStatus>,
}

/// How a socket stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionStatus {
    /// Authenticated and in use.
    pub up: bool,
    /// If not: why, for people.
    pub why: Option<String>,
}

/// How a conversation stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationStatus {
    /// Which.
    pub id: ConversationId,
    /// The log epoch its positions belong to.
    pub log_epoch: LogEpoch,
    /// Everything of the log up to here is durable on this device.
    pub head: Position,
    /// Own messages that neither the relay's log nor all other members' devices have yet.
    pub unacked: u64,
    /// Own messages that the relay's log does not have yet, whoever else does.
    pub unlogged: u64,
    /// Messages received that cannot be read.
    pub undecryptable: u64,
    /// The last own seq.
    pub last_seq: Seq,
}

/// How a link stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkStatus {
    /// Whose device.
    pub handle: Handle,
    /// Which.
    pub device: DeviceId,
    /// How it is reached.
    pub path: LinkPath,
    /// The path's state.
    pub state: PathState,
    /// Smoothed round trip, if measured.
    pub rtt: Option<Duration>,
    /// Why it is not better, for people.
    pub why: Option<String>,
}
