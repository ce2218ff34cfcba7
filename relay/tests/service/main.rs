//! The relay over real WebSockets.

#![allow(missing_docs, clippy::unwrap_used)]

mod bad_input;
mod chat;
mod lifetime;
mod server;
