//! Sotto's use of MLS (RFC 9420), by `openmls`: what a member's device does ([`Device`], [`Group`]), what the relay
//! checks without being a member ([`PublicView`]), and the rules that both hold commits to ([`policy`]).
//!
//! No input or output: time and randomness are arguments, and state is rows that the caller stores
//! ([`storage`]). Bytes from the network are bounded and give typed errors.
//!
//! - One ciphersuite, [`CIPHERSUITE`]. Handshakes are PublicMessages, so that the relay can check them; messages are
//!   PrivateMessages, padded ([`padding`]).
//! - A leaf is a device: its signature key is the device's key, its credential names the account ([`Leaf`]).
//! - A group's id is its conversation and an incarnation ([`GroupName`]), so that a group that a member broke can be
//!   formed anew under the same conversation.

mod device;
mod error;
mod group;
mod key_package;
mod leaf;
mod name;
pub mod padding;
pub mod policy;
mod provider;
mod public;
pub mod storage;

pub use device::Device;
pub use error::MlsError;
pub use group::{Changes, Committed, Group, Opened, PAST_EPOCHS, Processed, Proposed, message_group};
pub use key_package::{CheckedKeyPackage, EXPIRY_EXTENSION, MAX_KEY_PACKAGE};
pub use leaf::Leaf;
pub use name::GroupName;
pub use policy::{Policy, PolicyError};
pub use provider::Provider;
pub use public::PublicView;

/// X25519, ChaCha20-Poly1305, SHA-256, Ed25519 (RFC 9420 §17.1, 0x0003): fast without hardware AES, as in browsers.
pub const CIPHERSUITE: openmls::prelude::Ciphersuite =
    openmls::prelude::Ciphersuite::MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519;

/// Longest handshake message taken in: a commit that adds 250 devices with their key packages has about 110 KB.
pub const MAX_HANDSHAKE: usize = 256 * 1024;

/// Longest welcome or group info with its tree of 250 devices: about 120 KB.
pub const MAX_GROUP_INFO: usize = 256 * 1024;

/// Most devices in a group: what a commit costs, and what the relay does on each, grows with them.
pub const MAX_LEAVES: usize = 250;
