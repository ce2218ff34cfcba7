//! Sotto's server: configuration, command line and operation of [signaling](sotto_signaling) and the
//! [relay](sotto_relay), which know nothing of each other and meet in `access`, through the relay's traits.
//!
//! The program is a thin `main` over this; tests call [`run`] with a listener and a future that ends it.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod access;
pub mod admin;
mod announce;
pub mod cli;
pub mod config;
pub mod data_dir;
pub mod http;
pub mod origin;
mod serve;
pub mod telemetry;
pub mod tls;
pub mod units;

pub use announce::{announce, output};
pub use serve::{ServeError, Server, bind, run};
