//! Counters for the operator.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! metrics {
    ($(#[doc = $help:literal] $name:ident),* $(,)?) => {
        /// A reading of all counters since the start, and of the gauges now.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[non_exhaustive]
        pub struct Metrics { $(#[doc = $help] pub $name: u64,)* }

        #[derive(Default)]
        pub(crate) struct Counters { $(pub(crate) $name: AtomicU64,)* }

        impl Counters {
            pub(crate) fn read(&self) -> Metrics {
                Metrics { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }

        impl Metrics {
            /// Name, what it counts, and value, for an exposition format. `sockets` is a gauge.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), $help.trim_ascii(), self.$name),)*].into_iter()
            }
        }
    };
}

metrics! {
    /// Sockets open now, those not authenticated yet included.
    sockets,
    /// Sign-ups that made an account.
    sign_ups,
    /// Sessions opened.
    sessions,
    /// Sessions refused.
    sessions_refused,
    /// Requests and messages refused for their rate.
    rate_limited,
    /// Devices and accounts cut off.
    revocations,
    /// Socket messages received.
    messages,
    /// Socket messages that were none of this protocol's.
    malformed_messages,
    /// Signals handed to their device's socket.
    signals,
    /// Signals whose device was not connected.
    signals_unreachable,
    /// Batches of presence sent.
    presence_batches,
    /// Batches of presence dropped for a slow reader.
    presence_dropped,
    /// Sockets cut off because their reader was too slow.
    slow_sockets,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
