//! The native peer: [`peer-core`](sotto_peer_core)'s brain with a SQLite profile, WebSockets, HTTP and WebRTC.
//!
//! [`Client`] is the library; the program `sotto` is a thin command line over it.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod client;
mod driver;
pub mod link;
mod sockets;
mod store;

pub use client::{Client, ClientError};
pub use store::{ProfileError, Store};
