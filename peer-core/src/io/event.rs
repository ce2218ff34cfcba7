//! What the user is told.

use std::time::Duration;

use minicbor::{Decode, Encode};
use sotto_protocol::presence::PresenceState;
use sotto_protocol::{ConversationId, DeviceId, Handle, MessageId, Position, UnixMillis};

use super::{ConversationView, LinkPath, MessageState, MessageView, Missing, ProfileView, Socket};

/// A notification with its number; the numbers of a profile have no holes and are never used again.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification {
    /// Its number; 0 for what is worth knowing only now (typing, presence, paths, timeline), which is never kept, and for
    /// receipts if notifications are not kept.
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
    /// What an account says of itself changed, the own one's too.
    Profile(ProfileView),
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
    /// Messages of this device got further (or, with a log that was rolled back, less far).
    State {
        /// The first of them.
        from: MessageId,
        /// The last.
        to: MessageId,
        /// How far all of them got.
        state: MessageState,
    },
    /// What is missing right before a message is this now.
    Missing {
        /// The message.
        id: MessageId,
        /// All that is.
        missing: Vec<Missing>,
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
