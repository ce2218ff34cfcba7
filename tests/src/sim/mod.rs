//! A deterministic world: several peers, one relay, a signaling server of a few lines, and links, in virtual time.
//! One seed is one history.
//!
//! Peers and the relay's log are the very cores that ship. Their disks are models that keep what was written when
//! its write completed; a crash loses whatever had not.

mod disk;
mod world;

pub use world::{Faults, World};
