//! The relay's WebSocket, `/v1/relay`: each binary message is a sequence (RFC 8742) of one or more of these
//! frames, [`Request`] from a client and [`Event`] from the relay, each `[number, {fields}]`.
//!
//! A socket starts with [`Request::Authenticate`]; the relay answers [`Event::Ready`], lists the account's
//! conversations and ends the list with [`Event::Listed`]. Requests are handled in their order. Nothing closes a
//! socket but lost trust (bad token, malformed frame, a queue that nobody reads) and [`Event::Drain`].

use minicbor::{Decode, Encode};

use crate::cbor::{Blob, Text};
use crate::frame::Frame;
use crate::ids::{AccountId, ConversationId, DeviceId, LogEpoch, MembershipEpoch, Position, Seq};
use crate::keys::Hash;
use crate::limits;
use crate::membership::{Membership, SignedChange};

/// Version of these frames. The relay refuses another major version in its answer to `Authenticate`.
pub const RELAY_VERSION: u32 = 1;

/// From a client to the relay.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub enum Request {
    /// First on a socket, within 5 s; again on a live socket to renew a token before it expires.
    #[n(0)]
    Authenticate {
        /// [`RELAY_VERSION`].
        #[n(0)]
        version: u32,
        /// The access token (JWT) of the device.
        #[n(1)]
        token: Text<{ limits::MAX_TOKEN }>,
    },
    /// Creates a conversation or changes its members; compare-and-swap on the epoch. Answered by
    /// [`Event::Committed`] or [`Event::CommitRefused`].
    #[n(1)]
    Commit {
        /// The change, signed by this socket's device.
        #[n(0)]
        change: SignedChange,
    },
    /// Appends a frame, one's own or another member's. Idempotent. Answered, once durable, by
    /// [`Event::Appended`], or by [`Event::Conflict`], [`Event::Nack`] or [`Event::AppendRefused`].
    #[n(2)]
    Append {
        /// The frame, signed by its author.
        #[n(0)]
        frame: Frame,
    },
    /// Asks for all entries after a position, in order, then live ones. Answered by [`Event::Subscribed`], then
    /// entries; or by [`Event::RolledBack`] or [`Event::Trimmed`] first.
    #[n(3)]
    Subscribe {
        /// The conversation.
        #[n(0)]
        conversation: ConversationId,
        /// The log epoch that `after` belongs to; 0 when nothing was read yet.
        #[n(1)]
        log_epoch: LogEpoch,
        /// The last position that the client holds.
        #[n(2)]
        after: Position,
        /// The last entries that it holds, up to there. Others there show a log that was rolled back and has grown
        /// again since.
        #[n(3)]
        held: Option<Held>,
    },
    /// Ends a subscription.
    #[n(4)]
    Unsubscribe {
        /// The conversation.
        #[n(0)]
        conversation: ConversationId,
    },
    /// Says how far this device holds the log durably, and its sealed receipt; the latest one counts. Passed on to
    /// the other members' devices.
    #[n(5)]
    Cursor {
        /// The conversation.
        #[n(0)]
        conversation: ConversationId,
        /// Everything up to here is durable at this device.
        #[n(1)]
        position: Position,
        /// Sealed [receipt](crate::limits::MAX_RECEIPT) for the members: what is delivered and read.
        #[n(2)]
        receipt: Option<Blob<{ limits::MAX_RECEIPT }>>,
    },
    /// Something worth telling only who is there now (typing). Never stored, first to be dropped.
    #[n(6)]
    Ephemeral {
        /// The conversation.
        #[n(0)]
        conversation: ConversationId,
        /// Sealed for the members.
        #[n(1)]
        sealed: Blob<{ limits::MAX_EPHEMERAL }>,
    },
}

/// From the relay to a client.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub enum Event {
    /// The token is good.
    #[n(0)]
    Ready {
        /// [`RELAY_VERSION`] of the relay.
        #[n(0)]
        version: u32,
        /// Whose socket this is.
        #[n(1)]
        account: AccountId,
        /// Which device's.
        #[n(2)]
        device: DeviceId,
    },
    /// A conversation that the account is a member of: once each after `Ready`, and whenever its membership
    /// changes. Without the account among the members: it is out.
    #[n(1)]
    Conversation {
        /// The conversation.
        #[n(0)]
        conversation: ConversationId,
        /// Its members, and where each came in.
        #[n(1)]
        membership: Membership,
        /// Its current log epoch.
        #[n(2)]
        log_epoch: LogEpoch,
        /// Its last position.
        #[n(3)]
        head: Position,
    },
    /// All of the account's conversations have been listed.
    #[n(2)]
    Listed {},
    /// The subscription stands; entries after `after` follow.
    #[n(3)]
    Subscribed {
        /// The conversation.
        #[n(0)]
        conversation: ConversationId,
        /// The log epoch of all positions from here on.
        #[n(1)]
        log_epoch: LogEpoch,
        /// The last position at this moment.
        #[n(2)]
        head: Position,
        /// The last seq that the log has of the asking device: it must not reuse any up to here.
        #[n(3)]
        last_seq: Seq,
    },
    /// The log was found rolled back (the store lost its end). Positions up to `common` still mean the same; what
    /// was beyond has to be appended again by whoever holds it. The client subscribes anew.
    #[n(4)]
    RolledBack {
        /// The conversation.
        #[n(0)]
        conversation: ConversationId,
        /// The new log epoch.
        #[n(1)]
        log_epoch: LogEpoch,
        /// The last position that both still agree on.
        #[n(2)]
        common: Position,
    },
    /// Entries below `floor` are gone by retention; the subscription goes on from `floor`.
    #[n(5)]
    Trimmed {
        /// The conversation.
        #[n(0)]
        conversation: ConversationId,
        /// The lowest position still held.
        #[n(1)]
        floor: Position,
    },
    /// One entry, in the order of positions without a hole.
    #[n(6)]
    Entry {
        /// The conversation.
        #[n(0)]
        conversation: ConversationId,
        /// Its place.
        #[n(1)]
        position: Position,
        /// What stands there.
        #[n(2)]
        body: EntryBody,
    },
    /// Catch-up is complete: everything up to `head` was sent, what follows is live.
    #[n(7)]
    Live {
        /// The conversation.
        #[n(0)]
        conversation: ConversationId,
        /// The position reached.
        #[n(1)]
        head: Position,
    },
    /// The frame is in the log, durably, now or since an earlier append of the same bytes; and with it those that came in
    /// one run.
    #[n(8)]
    Appended {
        /// The conversation.
        #[n(0)]
        conversation: ConversationId,
        /// The frame's author.
        #[n(1)]
        device: DeviceId,
        /// The frame's seq.
        #[n(2)]
        seq: Seq,
        /// Where it stands.
        #[n(3)]
        position: Position,
        /// It, and how many follow it.
        #[n(4)]
        run: Run,
    },
    /// Another frame stands in the log under this device and seq. Nothing was stored.
    #[n(9)]
    Conflict {
        /// The conversation.
        #[n(0)]
        conversation: ConversationId,
        /// The frame's author.
        #[n(1)]
        device: DeviceId,
        /// The frame's seq.
        #[n(2)]
        seq: Seq,
        /// Where the other frame stands.
        #[n(3)]
        position: Position,
        /// The last seq that the log has of that device.
        #[n(4)]
        last_seq: Seq,
    },
    /// The frame's seq jumps. Nothing was stored; the log expects this one next.
    #[n(10)]
    Nack {
        /// The conversation.
        #[n(0)]
        conversation: ConversationId,
        /// The author.
        #[n(1)]
        device: DeviceId,
        /// The next seq that the log takes of that device.
        #[n(2)]
        expected: Seq,
    },
    /// The frame was not stored and the same frame never will be, unless membership changes.
    #[n(11)]
    AppendRefused {
        /// The conversation.
        #[n(0)]
        conversation: ConversationId,
        /// The author.
        #[n(1)]
        device: DeviceId,
        /// The frame's seq.
        #[n(2)]
        seq: Seq,
        /// Why.
        #[n(3)]
        code: ErrorCode,
    },
    /// The change is in the log, durably. Creating a direct conversation again answers so too.
    #[n(12)]
    Committed {
        /// The conversation.
        #[n(0)]
        conversation: ConversationId,
        /// The epoch that it made.
        #[n(1)]
        epoch: MembershipEpoch,
    },
    /// The change was not made.
    #[n(13)]
    CommitRefused {
        /// The conversation.
        #[n(0)]
        conversation: ConversationId,
        /// The epoch as it is; 0 if there is no such conversation.
        #[n(1)]
        current: MembershipEpoch,
        /// Why.
        #[n(2)]
        code: ErrorCode,
        /// Why, for people.
        #[n(3)]
        detail: Text<{ limits::MAX_DETAIL }>,
    },
    /// How far another member device holds the log, and its sealed receipt.
    #[n(14)]
    Cursor {
        /// The conversation.
        #[n(0)]
        conversation: ConversationId,
        /// Whose cursor.
        #[n(1)]
        device: DeviceId,
        /// Everything up to here is durable there.
        #[n(2)]
        position: Position,
        /// Its sealed receipt, if it gave one.
        #[n(3)]
        receipt: Option<Blob<{ limits::MAX_RECEIPT }>>,
    },
    /// Another member device's ephemeral.
    #[n(15)]
    Ephemeral {
        /// The conversation.
        #[n(0)]
        conversation: ConversationId,
        /// Whose.
        #[n(1)]
        device: DeviceId,
        /// Sealed for the members.
        #[n(2)]
        sealed: Blob<{ limits::MAX_EPHEMERAL }>,
    },
    /// A request could not be met. The socket stays open unless the code says trust is gone.
    #[n(16)]
    Error {
        /// What is wrong.
        #[n(0)]
        code: ErrorCode,
        /// Which conversation's request, if one's.
        #[n(1)]
        conversation: Option<ConversationId>,
        /// The field and the reason, for people.
        #[n(2)]
        detail: Text<{ limits::MAX_DETAIL }>,
    },
    /// The relay goes down for a restart: come back after this long.
    #[n(17)]
    Drain {
        /// Milliseconds to wait, different for each socket so that they do not come back at once.
        #[n(0)]
        reconnect_in_ms: u32,
    },
}

/// What stands at a position of the log.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub enum EntryBody {
    /// A message.
    #[n(0)]
    Message(#[n(0)] Frame),
    /// A membership change.
    #[n(1)]
    Membership(#[n(0)] SignedChange),
    /// A run of messages that this very socket appended, whose bytes are not sent back: the author, and the seq of the first.
    #[n(2)]
    Known(#[n(0)] DeviceId, #[n(1)] Seq, #[n(2)] Run),
}

/// How many messages of one author an event is about, with consecutive seqs at consecutive positions: 1 to
/// [`limits::MAX_RUN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run(u32);

impl Run {
    /// One message.
    pub const ONE: Self = Self(1);

    /// `None` if there are none or too many.
    pub fn new(messages: usize) -> Option<Self> {
        let messages = u32::try_from(messages).ok()?;
        (1..=limits::MAX_RUN).contains(&messages).then_some(Self(messages))
    }

    /// How many messages there are.
    pub fn messages(self) -> u64 {
        self.0.into()
    }

    /// Each message's seq and position, if the first has these.
    pub fn places(self, seq: Seq, position: Position) -> impl Iterator<Item = (Seq, Position)> {
        let next = |(seq, position): &(Seq, Position)| Some((seq.next(), position.next()));
        std::iter::successors(Some((seq, position)), next).take(self.0 as usize)
    }
}

impl<C> Encode<C> for Run {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.u32(self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Run {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        let messages = d.u32()?;
        Self::new(messages as usize).ok_or_else(|| {
            let why = format!("run of {messages}, 1 to {} allowed", limits::MAX_RUN);
            minicbor::decode::Error::message(why).at(at)
        })
    }
}

/// Names the last entries that a client has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Held {
    /// How many: 1 to [`limits::MAX_HELD`].
    #[n(0)]
    pub entries: u32,
    /// SHA-256 of their hashes, one after the other.
    #[n(1)]
    pub digest: Hash,
}

impl Held {
    /// Names entries by their [`EntryBody::hash`]es; `None` of no entries.
    pub fn of(hashes: &[Hash]) -> Option<Self> {
        let parts: Vec<&[u8]> = hashes.iter().map(|hash| &hash.0[..]).collect();
        (!hashes.is_empty()).then(|| Self { entries: hashes.len() as u32, digest: Hash::of(&parts) })
    }
}

impl EntryBody {
    /// How many positions it takes.
    pub fn entries(&self) -> u64 {
        match self {
            Self::Message(_) | Self::Membership(_) => 1,
            Self::Known(_, _, run) => run.messages(),
        }
    }

    /// Names what stands there: a message's [`Frame::hash`], or SHA-256 of a change. `None` of what is not told.
    pub fn hash(&self) -> Option<Hash> {
        match self {
            Self::Message(frame) => Some(frame.hash()),
            Self::Membership(change) => Some(Hash::of(&[&change.to_bytes()])),
            Self::Known(..) => None,
        }
    }
}

/// What is wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum ErrorCode {
    /// The token is not valid (any more). The socket closes.
    #[n(0)]
    Unauthenticated,
    /// A frame is malformed. The socket closes.
    #[n(1)]
    Malformed,
    /// The version is not spoken here. The socket closes.
    #[n(2)]
    Version,
    /// The account is not a member, or there is no such conversation: the two look the same from outside.
    #[n(3)]
    NotAMember,
    /// The frame's author is no listed device of a member, or its signature is wrong.
    #[n(4)]
    BadAuthor,
    /// A membership change was made against another epoch.
    #[n(5)]
    Epoch,
    /// The change is not allowed here.
    #[n(6)]
    NotAllowed,
    /// One of the bounds in `limits` would be passed.
    #[n(7)]
    Limit,
    /// Too many requests; try again later.
    #[n(8)]
    RateLimited,
    /// The relay cannot store now (disk full, store away). Nothing was stored; try again later.
    #[n(9)]
    Unavailable,
    /// A position beyond the log's head, where only a held position makes sense.
    #[n(10)]
    BeyondHead,
}
