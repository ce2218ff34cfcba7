//! Wire types that every part of Sotto shares: identifiers, the signaling API's JSON, the data plane's CBOR
//! frames, and the limits on all of them. No IO and no signature engine: what is signed is defined here, and who
//! checks it passes in a [`keys::Verify`].
//!
//! Two encodings, two rules. JSON (signaling) is plain serde. CBOR (relay and links) is the deterministic
//! encoding of RFC 8949 §4.2 with integer keys; [`cbor::decode`] accepts nothing else, and what is signed is the
//! received bytes, never a re-encoding.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cbor;
pub mod device_list;
pub mod frame;
pub mod handle;
pub mod ids;
pub mod keys;
pub mod limits;
pub mod link;
pub mod membership;
pub mod picture;
pub mod plain;
pub mod presence;
pub mod relay;
pub mod rest;
pub mod signal;

pub use frame::{Frame, FrameBody};
pub use handle::Handle;
pub use ids::{
    AccountId, ConversationId, ConversationKind, DeviceId, LogEpoch, MembershipEpoch, MessageId, Position,
    Seq, UnixMillis,
};
pub use keys::{Hash, PublicKey, Signature, Verify};
