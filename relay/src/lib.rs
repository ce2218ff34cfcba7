//! The relay: keeps an append-only log of each conversation's sealed messages and hands it to its members over a
//! WebSocket.
//!
//! - [`log`] decides everything, sans-IO: the simulator runs the very code that ships.
//! - [`store`] keeps what it decided.
//! - [`service`] drives both, over WebSockets; [`access`] is what it needs to know of people.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access;
pub mod log;
pub mod metrics;
pub mod service;
mod socket;
pub mod store;
pub mod verify;

pub use metrics::{Histogram, Metrics};
pub use service::{Config, Relay, Timing};
