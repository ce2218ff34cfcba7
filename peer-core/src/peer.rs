//! The peer: its inputs in, its outputs out.

use std::time::Duration;

use crate::io::{Input, Moment, Output, Snapshot};

/// What a driver decides before a peer starts.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Keep numbered notifications in the store until they are acknowledged, from now on.
    pub keep_events: bool,
}

/// Why a store cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Nobody has signed up in this profile.
    #[error("nobody has signed up in this profile")]
    NoIdentity,
    /// A row does not decode: written by a newer version, or damaged.
    #[error("the profile holds a {table} row that this version cannot read: {reason}")]
    Row {
        /// The table.
        table: &'static str,
        /// Why.
        reason: String,
    },
}

/// A peer. See the [crate] for its contract.
pub struct Peer {}

impl Peer {
    /// Starts from what the store holds. `seed` is 32 random bytes.
    pub fn restore(
        config: Config,
        now: Moment,
        seed: [u8; 32],
        snapshot: Snapshot,
    ) -> Result<Self, RestoreError> {
        let _ = (config, now, seed, snapshot);
        Ok(Self {})
    }

    /// Takes an input. Drain [`Peer::poll`] afterwards, at the latest before waiting.
    pub fn handle(&mut self, now: Moment, input: Input) {
        let _ = (now, input);
    }

    /// The next output, until there is none.
    pub fn poll(&mut self) -> Option<Output> {
        None
    }

    /// When to come back with [`Input::Timeout`], on the monotonic clock.
    pub fn next_timeout(&self) -> Option<Duration> {
        None
    }
}
