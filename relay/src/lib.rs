//! The relay: keeps an append-only log of each conversation's sealed messages and hands it to its members over a
//! WebSocket.
//!
//! - [`log`] decides everything, sans-IO: the simulator runs the very code that ships.
//! - [`store`] keeps what it decided.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod log;
pub mod store;
