//! The one HTTP port: connections, whose they are, and what is answered besides signaling and relay.

pub mod client;
pub mod connections;
pub mod health;
pub mod metrics;
pub(crate) mod problem;
pub mod requests;
pub mod web_app;
