//! What is inside a seal: only members see these.

use minicbor::{Decode, Encode};
use sotto_protocol::cbor::{Bounded, Text};
use sotto_protocol::limits;
use sotto_protocol::presence::Capability;
use sotto_protocol::{DeviceId, Seq, UnixMillis};

/// The latest seq of each of several authors.
pub(crate) type Frontier = Bounded<(DeviceId, Seq), { limits::MAX_FRONTIER }>;

/// The content of a message frame.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Content {
    /// The causal frontier: what its author had seen, less what follows from that and from the author's own
    /// previous message.
    #[n(0)]
    pub deps: Frontier,
    /// One more than the largest depth among all that it depends on.
    #[n(1)]
    pub depth: u64,
    /// By the author's clock.
    #[n(2)]
    pub sent_at: UnixMillis,
    /// What it says.
    #[n(3)]
    pub body: Body,
    /// Lets the members see the author's presence from here on.
    #[n(4)]
    pub capability: Option<Capability>,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) enum Body {
    /// A text.
    #[n(0)]
    Text {
        #[n(0)]
        text: Text<{ limits::MAX_TEXT }>,
    },
    /// The author accepts the conversation.
    #[n(1)]
    Accept {},
    /// The group is called this.
    #[n(2)]
    Rename {
        #[n(0)]
        name: Text<{ limits::MAX_NAME_BYTES }>,
    },
}

impl Body {
    /// Whether a person sees it in the list.
    pub fn is_shown(&self) -> bool {
        match self {
            Body::Text { .. } | Body::Rename { .. } => true,
            Body::Accept {} => false,
        }
    }
}

/// The content of a receipt: the latest counts, so losing one loses nothing.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Receipt {
    /// Durable at this device, by author.
    #[n(0)]
    pub delivered: Frontier,
    /// Read by its user, by author.
    #[n(1)]
    pub read: Frontier,
}

/// The content of an ephemeral.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Ephemeral {
    /// Typing, or stopped.
    #[n(0)]
    pub typing: bool,
}
