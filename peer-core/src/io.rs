//! What goes into a [`Peer`](crate::Peer) and what comes out.
//!
//! A driver owns the sockets, the RTCPeerConnections, the store and the clock, and understands none of it: it
//! carries out [`Output`]s and reports what happened as [`Input`]s.
//!
//! - [`Output::Persist`] must reach the disk, in order and atomically each, before [`Input::Persisted`] says so;
//!   everything that depends on the write comes out only after that. A driver may go on handling inputs while a
//!   write is on its way, which makes the next write a bigger batch.
//! - A write that fails is the end of this `Peer`: the driver drops it, tells the user why, and starts anew from
//!   the store. Nothing that was acknowledged is lost by that.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use minicbor::{Decode, Encode};
use sotto_protocol::keys::Nonce;
use sotto_protocol::link::DescriptionKind;
use sotto_protocol::presence::PresenceState;
use sotto_protocol::rest::Profile;
use sotto_protocol::{
    AccountId, ConversationId, ConversationKind, DeviceId, Handle, LogEpoch, MessageId, Position, Seq,
    UnixMillis,
};

/// The time, twice: for measuring and for labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since some fixed start of this process; never goes back, and stops while the machine sleeps or not: both
    /// are understood.
    pub monotonic: Duration,
    /// The wall clock. Only ever a label on messages.
    pub wall: UnixMillis,
}

/// Names a command until its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// Names a write until it is durable; ascending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WriteToken(pub u64);

/// Names a read from the store until its rows come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadId(pub u64);

/// Names an HTTP request until its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpId(pub u64);

/// Into the peer.
#[derive(Debug, Clone)]
pub enum Input {
    /// The user wants something; answered by [`Output::Reply`] with the same id.
    Command {
        /// Chosen by the driver, unique while unanswered.
        id: CommandId,
        /// What.
        command: Command,
    },
    /// This write, and every one before it, is durable.
    Persisted(WriteToken),
    /// The rows of an [`Output::Load`].
    Loaded {
        /// Which.
        id: LoadId,
        /// In the query's order.
        rows: Vec<Row>,
    },
    /// The answer to an [`Output::Http`].
    Http {
        /// Which.
        id: HttpId,
        /// Status and body, or why there is none (for people: "connection refused").
        result: Result<HttpResponse, String>,
    },
    /// Something happened on one of the two sockets.
    Socket {
        /// Which.
        socket: Socket,
        /// What.
        event: SocketEvent,
    },
    /// Something happened on a link's RTCPeerConnection.
    Link {
        /// To which device.
        device: DeviceId,
        /// Which attempt; the peer ignores what comes from one it has dropped.
        session: Nonce,
        /// What.
        event: LinkEvent,
    },
    /// [`Peer::next_timeout`](crate::Peer::next_timeout) has passed.
    Timeout,
    /// The network may have changed (an interface came or went, the machine woke): reconnect at once.
    NetworkChanged,
}

/// Out of the peer.
#[derive(Debug, Clone)]
pub enum Output {
    /// Write this atomically, after all earlier ones; then say [`Input::Persisted`].
    Persist {
        /// Which.
        token: WriteToken,
        /// What.
        writes: WriteSet,
    },
    /// Read this; then say [`Input::Loaded`]. Sees every write that was handed out before it.
    Load {
        /// Which.
        id: LoadId,
        /// What.
        query: Query,
    },
    /// Send this to the server's origin; then say [`Input::Http`]. At most [`limits`](sotto_protocol::limits) of a
    /// response body of 1 MiB is read, for at most 15 s.
    Http {
        /// Which.
        id: HttpId,
        /// What.
        request: HttpRequest,
    },
    /// Do this with one of the two sockets.
    Socket {
        /// Which.
        socket: Socket,
        /// What.
        command: SocketCommand,
    },
    /// Do this with a link's RTCPeerConnection.
    Link {
        /// To which device.
        device: DeviceId,
        /// Which attempt.
        session: Nonce,
        /// What.
        command: LinkCommand,
    },
    /// The answer to a command. What it says is durable.
    Reply {
        /// Which.
        id: CommandId,
        /// The answer.
        result: Result<Reply, CommandError>,
    },
    /// Something the user may want to know. What it says is durable.
    Event(Notification),
}

/// An HTTP request to the server; paths start with `/v1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// `GET`, `POST`, `PUT` or `DELETE`.
    pub method: &'static str,
    /// Absolute path on the server's origin.
    pub path: String,
    /// JSON body, if any.
    pub body: Option<Vec<u8>>,
    /// For `Authorization: Bearer`, if any. Never logged.
    pub token: Option<String>,
}

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// The two WebSockets to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Socket {
    /// `/v1/signal`, text messages.
    Signal,
    /// `/v1/relay`, binary messages.
    Relay,
}

impl Socket {
    /// Its path on the server.
    pub fn path(self) -> &'static str {
        match self {
            Socket::Signal => "/v1/signal",
            Socket::Relay => "/v1/relay",
        }
    }
}

/// What to do with a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketCommand {
    /// Connect; answered by [`SocketEvent::Opened`] or [`SocketEvent::Closed`].
    Open,
    /// Send one message: text on `Signal` (the bytes are UTF-8), binary on `Relay`.
    Send(Bytes),
    /// Close, without an answer.
    Close,
}

/// What happened on a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketEvent {
    /// It is connected.
    Opened,
    /// A message came, text or binary.
    Message(Bytes),
    /// It could not connect, or is closed now; why, for people.
    Closed(String),
}

/// A link's data channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// [`sotto_protocol::link::MSG_CHANNEL`]: reliable, unordered.
    Msg,
    /// [`sotto_protocol::link::PROBE_CHANNEL`]: unordered, no retransmits.
    Probe,
}

/// What to do with a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkCommand {
    /// Make an RTCPeerConnection with both channels (negotiated, fixed ids).
    Open {
        /// STUN and TURN servers, as RTCIceServer URLs.
        ice_servers: Vec<String>,
    },
    /// Make an offer and set it as the local description; report [`LinkEvent::Description`], then candidates.
    Offer {
        /// With new ICE credentials, to mend the path of a connection that stands.
        restart: bool,
    },
    /// Set the remote description. After an offer, also make an answer, set it, and report
    /// [`LinkEvent::Description`].
    SetRemote {
        /// Offer or answer.
        kind: DescriptionKind,
        /// The SDP.
        sdp: String,
    },
    /// Add a remote candidate.
    AddCandidate {
        /// The candidate attribute; empty at the end.
        candidate: String,
        /// The media stream identification tag.
        mid: Option<String>,
    },
    /// Send one message.
    Send {
        /// On which channel.
        channel: Channel,
        /// The message.
        message: Bytes,
    },
    /// Close it and forget it; nothing more is reported.
    Close,
}

/// What happened on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// The local description.
    Description {
        /// Offer or answer.
        kind: DescriptionKind,
        /// The SDP.
        sdp: String,
    },
    /// A local candidate; empty: there are no more.
    Candidate {
        /// The candidate attribute.
        candidate: String,
        /// The media stream identification tag.
        mid: Option<String>,
    },
    /// A channel is open.
    ChannelOpen(Channel),
    /// A message came.
    Message {
        /// On which channel.
        channel: Channel,
        /// The message.
        message: Bytes,
    },
    /// `connectionState` changed.
    State(TransportState),
    /// The selected candidate pair, when it is known or changes.
    Path(LinkPath),
    /// A command failed (bad SDP, the library refused); why, for people. The peer drops the attempt.
    Failed(String),
}

/// `RTCPeerConnectionState`, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportState {
    /// Connecting.
    Connecting,
    /// ICE and DTLS stand.
    Connected,
    /// No answer at the moment.
    Disconnected,
    /// Given up.
    Failed,
    /// Closed, by whichever side.
    Closed,
}

/// How a link or a conversation's traffic goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkPath {
    /// Straight from device to device.
    Direct,
    /// Through a TURN server.
    Turn,
    /// Through the relay's log only.
    Relay,
    /// Not at all.
    None,
}

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

/// What a user or a program asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Opens (or finds) the direct conversation with a handle. → [`Reply::Conversation`]
    Direct {
        /// The other.
        handle: Handle,
    },
    /// Accepts a request. → [`Reply::Done`]
    Accept {
        /// The conversation.
        conversation: ConversationId,
    },
    /// Blocks an account: nothing of it is shown, and it learns nothing. → [`Reply::Done`]
    Block {
        /// The other.
        handle: Handle,
    },
    /// Ends a block; what was sent meanwhile arrives. → [`Reply::Done`]
    Unblock {
        /// The other.
        handle: Handle,
    },
    /// Creates a group. → [`Reply::Conversation`]
    GroupCreate {
        /// Its name.
        name: String,
        /// The others.
        members: Vec<Handle>,
    },
    /// Adds a member. → [`Reply::Done`] once the relay has it.
    GroupAdd {
        /// The group.
        conversation: ConversationId,
        /// The new member.
        handle: Handle,
    },
    /// Leaves a group. → [`Reply::Done`] once the relay has it.
    GroupLeave {
        /// The group.
        conversation: ConversationId,
    },
    /// Renames a group. → [`Reply::Done`] once durable in the outbox.
    GroupRename {
        /// The group.
        conversation: ConversationId,
        /// Its new name.
        name: String,
    },
    /// Lists conversations. → [`Reply::Conversations`]
    Conversations,
    /// Sends a text. → [`Reply::Sent`] once durable in the outbox.
    Send {
        /// Where.
        conversation: ConversationId,
        /// The text.
        text: String,
    },
    /// Reads messages in display order. → [`Reply::History`]
    History {
        /// Where.
        conversation: ConversationId,
        /// Only those displayed before this one: the latest such come.
        before: Option<MessageId>,
        /// Only those displayed after this one: the earliest such come, unless `before` is given too.
        after: Option<MessageId>,
        /// At most this many, 1 to 5,000.
        limit: usize,
    },
    /// Marks everything displayed up to a message as read. → [`Reply::Done`]
    MarkRead {
        /// Where.
        conversation: ConversationId,
        /// The message.
        id: MessageId,
    },
    /// Tells who is there that the user types, or stopped. → [`Reply::Done`]
    Typing {
        /// Where.
        conversation: ConversationId,
        /// Typing or not.
        on: bool,
    },
    /// Sets the own presence. → [`Reply::Done`]
    PresenceSet {
        /// `Online` or `Away`.
        state: PresenceState,
        /// A short text.
        text: Option<String>,
    },
    /// Sets the own profile on the server. → [`Reply::Done`]
    ProfileSet {
        /// The profile, whole.
        profile: Profile,
    },
    /// How things stand. → [`Reply::Status`]
    Status,
    /// Chooses the paths messages take. → [`Reply::Done`]
    PathPolicy(PathPolicy),
    /// Forgets notifications up to this one. → [`Reply::Done`]
    EventsAck {
        /// Its sequence.
        sequence: u64,
    },
    /// Sends the kept notifications after this one again. → [`Reply::Done`] after them
    EventsReplay {
        /// The sequence of the last one known; 0 for all.
        after: u64,
    },
    /// Writes everything out; the reply comes when all that was accepted so far is durable. → [`Reply::Done`]
    Flush,
}

/// Which paths a device's own messages take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(index_only)]
pub enum PathPolicy {
    /// Best link and relay at once: the first copy to arrive counts.
    #[default]
    #[n(0)]
    Auto,
    /// Best link first; the relay after a probe timeout without an ACK, and otherwise in batches: saves data.
    #[n(1)]
    Hedge,
    /// The relay only: no link is built.
    #[n(2)]
    Relay,
    /// Links only: nothing is put in the relay's log by this device, so that offline members wait until a link.
    #[n(3)]
    Direct,
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// It is done.
    Done,
    /// The conversation.
    Conversation(ConversationId),
    /// The message's name.
    Sent(MessageId),
    /// The conversations, most recently active first.
    Conversations(Vec<ConversationView>),
    /// Messages in display order.
    History(Vec<MessageView>),
    /// How things stand.
    Status(Status),
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// An argument is wrong: names it, and says what is allowed.
    #[error("{field}: {reason}")]
    Invalid {
        /// The argument.
        field: &'static str,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// There is no such handle, conversation or message.
    #[error("{0} not found")]
    NotFound(String),
    /// The account left, or was never in, the conversation.
    #[error("not a member of this conversation")]
    NotAMember,
    /// The account is blocked: unblock it first.
    #[error("@{0} is blocked; unblock first")]
    Blocked(Handle),
    /// It needs the server, which cannot be reached now.
    #[error("the server cannot be reached: {0}")]
    Offline(String),
    /// The server refused: its words.
    #[error("the server refused: {0}")]
    Refused(String),
    /// Too much is waiting to be sent: try again when some of it is out.
    #[error("the outbox is full ({0} messages wait); try again later")]
    OutboxFull(usize),
}

/// A notification with its number; the numbers of a profile have no holes and are never used again.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification {
    /// Its number; 0 for what is worth knowing only now (typing, presence, paths, timeline), which is never kept.
    pub sequence: u64,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A conversation appeared or changed (name, members, request).
    Conversation(ConversationView),
    /// A message is shown for the first time (own ones too).
    Message(MessageView),
    /// A message of one's own, or one read on another device, got further.
    Receipt {
        /// The message: this and all earlier ones of its author.
        id: MessageId,
        /// The device that has it; of `Logged`, the own device.
        device: DeviceId,
        /// How far.
        state: ReceiptState,
    },
    /// The list of a conversation changed, in order.
    Timeline {
        /// Where.
        conversation: ConversationId,
        /// The changes.
        diffs: Vec<TimelineDiff>,
    },
    /// A contact's presence changed.
    Presence {
        /// Whose.
        handle: Handle,
        /// Now.
        state: PresenceState,
        /// The text beside it.
        text: Option<String>,
        /// When last there, if offline and known.
        last_seen: Option<UnixMillis>,
    },
    /// A member types, or stopped.
    Typing {
        /// Where.
        conversation: ConversationId,
        /// Who.
        handle: Handle,
        /// Typing or not.
        on: bool,
    },
    /// A device is reached another way now.
    Path {
        /// Whose device.
        handle: Handle,
        /// Which.
        device: DeviceId,
        /// How.
        path: LinkPath,
        /// Round trip, if measured.
        rtt: Option<Duration>,
    },
    /// Messages that cannot be had (now): shown as a hole, never passed over.
    Gap {
        /// Where.
        conversation: ConversationId,
        /// Which.
        range: GapRange,
        /// Why, for people.
        why: String,
    },
    /// Own messages got new names, because this profile is an older copy of itself and their numbers were taken.
    Renumbered {
        /// The old name, as `send` answered it.
        from: MessageId,
        /// The new one.
        to: MessageId,
    },
    /// The server is reached, or not; why not, for people.
    Connection {
        /// Which socket.
        socket: Socket,
        /// Whether it stands.
        up: bool,
        /// Why not.
        why: Option<String>,
    },
    /// Something that a person should know about: a lying server, a wrong key.
    Alarm {
        /// About whom or what.
        about: String,
        /// What to do, in plain words.
        advice: String,
    },
}

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum GapRange {
    /// Everything from one position of the log to another, both included: trimmed by the relay.
    #[n(0)]
    Positions(#[n(0)] Position, #[n(1)] Position),
    /// One author's messages from one to another, both included. They are still taken in, should they turn up.
    #[n(1)]
    Messages(#[n(0)] MessageId, #[n(1)] MessageId),
}

/// How far a message got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum ReceiptState {
    /// The relay has it, durably.
    #[n(0)]
    Logged,
    /// The device has it, durably.
    #[n(1)]
    Delivered,
    /// Its user has read it.
    #[n(2)]
    Read,
}

/// A change of a conversation's list.
#[derive(Debug, Clone, PartialEq)]
pub enum TimelineDiff {
    /// A message appears after another (`None`: at the start of what is shown).
    Insert {
        /// The message.
        item: MessageView,
        /// The one it follows.
        after: Option<MessageId>,
    },
    /// A message moves after another.
    Move {
        /// The message.
        id: MessageId,
        /// The one it follows now.
        after: Option<MessageId>,
        /// Its position in the log, known now.
        position: Option<Position>,
    },
    /// A message's content is another now (the log holds another than a peer sent).
    Replace {
        /// The message as it is now.
        item: MessageView,
    },
    /// A message is gone (it got another name).
    Remove {
        /// The message.
        id: MessageId,
    },
}

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

/// Health of a path, judged by probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathState {
    /// Being negotiated.
    New,
    /// Open, HELLO under way.
    Probing,
    /// Answers.
    Valid,
    /// A probe is unanswered for one PTO.
    Suspect,
    /// Three PTOs: ICE restarts.
    Dead,
}

impl PathState {
    /// Its name in status and logs.
    pub fn name(self) -> &'static str {
        match self {
            PathState::New => "new",
            PathState::Probing => "probing",
            PathState::Valid => "valid",
            PathState::Suspect => "suspect",
            PathState::Dead => "dead",
        }
    }
}
