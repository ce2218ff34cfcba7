//! A deterministic world: several peers, one relay, a signaling server of a few lines, and links, in virtual time.
//! One seed is one history.
//!
//! Peers and the relay's log are the very cores that ship. Their disks are models that keep what was written when
//! its write completed; a crash loses whatever had not.
//!
//! - [`World`] has the clock and says what happens next; what carries messages and answers requests lies in the
//!   private modules beside it.
//! - [`Faults`] says how often what goes wrong.
//! - Some things are judged while they happen, by what every peer's user is told: nothing shown twice, nothing
//!   forged, nothing before what its sender had seen, receipts that never go back, lists that a plain reading of the
//!   diffs keeps true. The rest is judged at the end: [`World::settle`], [`World::check`], [`World::check_quiet`].

mod attacker;
mod disk;
mod faults;
mod judge;
mod network;
mod relay;
mod server;
mod witness;
mod world;

pub use faults::Faults;
pub use judge::{Allowed, OnPanic};
pub use world::World;
