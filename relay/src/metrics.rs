//! What the relay counts. Plain atomics; the server renders them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sotto_protocol::relay::Event;

use crate::store::Batch;

/// Counters since the start, and one gauge.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Open sockets.
    pub sockets: AtomicU64,
    /// Sockets cut off because nobody read what was queued to them.
    pub cut: AtomicU64,
    /// Sockets closed for malformed frames.
    pub malformed: AtomicU64,
    /// Batches committed.
    pub batches: AtomicU64,
    /// Entries committed.
    pub entries: AtomicU64,
    /// Batches that the store could not write.
    pub failures: AtomicU64,
    /// Appends answered as logged, repeated ones included.
    pub appended: AtomicU64,
    /// Appends of another frame under a name that is taken.
    pub conflicts: AtomicU64,
    /// Appends refused, or out of order.
    pub refused: AtomicU64,
    /// Entries of each committed batch.
    pub batch_entries: Histogram,
    /// Microseconds that each commit took.
    pub commit_micros: Histogram,
}

impl Metrics {
    /// The counters by name, `sockets` (a gauge) first, each with what it counts, without the histograms.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        [
            ("sockets", "Sockets open now.", &self.sockets),
            ("cut", "Sockets cut off because nobody read what was queued to them.", &self.cut),
            ("malformed", "Sockets closed for malformed frames.", &self.malformed),
            ("batches", "Batches committed to the log.", &self.batches),
            ("entries", "Entries committed to the log.", &self.entries),
            ("failures", "Batches that could not be written.", &self.failures),
            ("appended", "Appends answered as logged, repeated ones included.", &self.appended),
            ("conflicts", "Appends of another frame under a name that is taken.", &self.conflicts),
            ("refused", "Appends refused, or out of order.", &self.refused),
        ]
        .map(|(name, help, counter)| (name, help, counter.load(Ordering::Relaxed)))
        .into_iter()
    }

    pub(crate) fn committed(&self, batch: &Batch, took: Duration) {
        add(&self.batches, 1);
        add(&self.entries, batch.entries.len() as u64);
        self.batch_entries.record(batch.entries.len() as u64);
        self.commit_micros.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn sent(&self, event: &Event) {
        match event {
            Event::Appended { run, .. } => add(&self.appended, run.messages()),
            Event::Conflict { .. } => add(&self.conflicts, 1),
            Event::Nack { .. } | Event::AppendRefused { .. } => add(&self.refused, 1),
            Event::Ready { .. }
            | Event::Conversation { .. }
            | Event::Listed {}
            | Event::Subscribed { .. }
            | Event::RolledBack { .. }
            | Event::Trimmed { .. }
            | Event::Entry { .. }
            | Event::Live { .. }
            | Event::Committed { .. }
            | Event::CommitRefused { .. }
            | Event::Cursor { .. }
            | Event::Ephemeral { .. }
            | Event::Error { .. }
            | Event::Drain { .. } => {}
        }
    }
}

pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// Buckets of a [`Histogram`]: bucket `n` counts values up to `4^n`, the last one all beyond too. Up to about a
/// second in microseconds.
pub const BUCKETS: usize = 11;

/// Counts values by size, in powers of four.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl Histogram {
    fn record(&self, value: u64) {
        let bucket = (0..BUCKETS - 1).find(|n| value <= 4u64.pow(*n as u32)).unwrap_or(BUCKETS - 1);
        add(&self.buckets[bucket], 1);
        add(&self.sum, value);
    }

    /// For each bucket its upper bound (`None` for the last, which has none) and how many values were no greater, as
    /// Prometheus counts.
    pub fn cumulative(&self) -> [(Option<u64>, u64); BUCKETS] {
        let mut total = 0;
        std::array::from_fn(|n| {
            total += self.buckets[n].load(Ordering::Relaxed);
            ((n < BUCKETS - 1).then(|| 4u64.pow(n as u32)), total)
        })
    }

    /// All values together.
    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }
}
