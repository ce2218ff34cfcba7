//! What the user asks for, and the answers.

use minicbor::{Decode, Encode};
use sotto_protocol::presence::PresenceState;
use sotto_protocol::{ConversationId, Handle, MessageId};

use super::{ConversationView, MessageView, ProfileView, Status};

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
    /// What an account says of itself, as far as that is known here; asked for if it is not. → [`Reply::Profile`]
    ProfileGet {
        /// Whose; the own one without.
        handle: Option<Handle>,
    },
    /// Changes the own profile on the server. → [`Reply::Profile`], as it is then
    ProfileSet {
        /// What becomes of it.
        change: ProfileChange,
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

/// What becomes of the own profile. Of each: `None` leaves it, `Some(None)` takes it out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProfileChange {
    /// A name to show beside the handle, of at most 64 characters.
    pub display_name: Option<Option<String>>,
    /// A line about oneself, of at most 256 bytes.
    pub status_text: Option<Option<String>>,
    /// PNG, JPEG or WebP of at most 24 KiB and 512 pixels a side, as unpadded base64url.
    pub avatar: Option<Option<String>>,
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
    /// What an account says of itself.
    Profile(ProfileView),
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
