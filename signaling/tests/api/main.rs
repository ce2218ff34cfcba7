//! The service as clients meet it: real HTTP and real WebSockets on a loopback port.
#![allow(clippy::unwrap_used, missing_docs)]

mod accounts;
mod admin;
mod devices;
mod harness;
mod http;
mod people;
mod presence;
mod sessions;
mod sockets;
