//! What one turn of the peer stages: writes, what waits for them, and what goes out at once.
//!
//! At most one write is on its way to the disk. What is staged meanwhile becomes the next one, so that a slow
//! disk makes larger batches and not longer queues. Bookkeeping that nobody waits for (a position in the log, a
//! receipt) has [`PATIENCE`]: it joins the next write that somebody does wait for.

use std::collections::VecDeque;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use sotto_protocol::keys::Nonce;
use sotto_protocol::{ConversationId, MessageId, Position, Seq};

use crate::io::{
    CommandError, CommandId, Event, HttpId, HttpRequest, LoadId, Moment, Notification, Output, Query, Reply,
    Table, WriteSet, WriteToken,
};
use crate::store;

/// How long bookkeeping waits for a write to join. Its loss costs nothing: the log and the peers tell it again. About an
/// answer's way on one machine, and still short for a program that waits for each receipt.
pub(crate) const PATIENCE: Duration = Duration::from_millis(5);

/// What happens once a write is durable.
#[derive(Debug)]
pub(crate) enum Gated {
    /// This comes out.
    Output(Output),
    /// A device's own messages up to this seq may be sent, unless they were renumbered since.
    OwnDurable(ConversationId, Seq, u64),
    /// The log up to this position may be reported to the relay as held.
    LogDurable(ConversationId, Position),
}

/// The staged effects.
pub(crate) struct Effects {
    /// The time of the input being handled.
    pub now: Moment,
    rng: ChaCha20Rng,
    staged: WriteSet,
    /// Records changed in memory that the next write must include.
    pub dirty: bool,
    /// Somebody waits for what changed: write it now.
    urgent: bool,
    waiting: Vec<Gated>,
    in_flight: Option<(WriteToken, Vec<Gated>)>,
    ready: VecDeque<Output>,
    last_token: u64,
    last_load: u64,
    last_http: u64,
    /// The number of the last kept notification.
    pub last_event: u64,
    /// Whether notifications are kept until acknowledged.
    pub keep_events: bool,
}

impl Effects {
    pub fn new(now: Moment, seed: [u8; 32]) -> Self {
        Self {
            now,
            rng: ChaCha20Rng::from_seed(seed),
            staged: WriteSet::default(),
            dirty: false,
            urgent: true,
            waiting: Vec::new(),
            in_flight: None,
            ready: VecDeque::new(),
            last_token: 0,
            last_load: 0,
            last_http: 0,
            last_event: 0,
            keep_events: false,
        }
    }

    /// Stages a row.
    pub fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.staged.rows.insert((table, key), Some(value));
    }

    /// Stages the end of a row.
    pub fn delete(&mut self, table: Table, key: Vec<u8>) {
        self.staged.rows.insert((table, key), None);
    }

    /// Stages the end of a range of rows, of those staged before it too.
    pub fn delete_range(&mut self, table: Table, from: Vec<u8>, to: Vec<u8>) {
        self.staged.rows.retain(|(t, key), _| *t != table || *key < from || *key >= to);
        self.staged.delete_ranges.push((table, from, to));
    }

    /// Somebody waits for what this turn changes.
    pub fn hurry(&mut self) {
        self.urgent = true;
    }

    /// Whether there is something to write, and all of it can wait.
    pub fn can_wait(&self) -> bool {
        !self.urgent && (self.dirty || !self.staged.is_empty())
    }

    /// Comes out at once: depends on no write.
    pub fn now(&mut self, output: Output) {
        self.ready.push_back(output);
    }

    /// Comes out once everything staged until the end of this turn is durable.
    pub fn after_write(&mut self, gated: Gated) {
        self.waiting.push(gated);
    }

    pub fn reply(&mut self, id: CommandId, result: Result<Reply, CommandError>) {
        self.hurry();
        self.after_write(Gated::Output(Output::Reply { id, result }));
    }

    /// Notifies of something that is kept until acknowledged, if that is wanted.
    pub fn notify(&mut self, event: Event) {
        if !matches!(event, Event::Receipt { .. }) {
            self.hurry();
        }
        self.last_event += 1;
        let notification = Notification { sequence: self.last_event, event };
        if self.keep_events {
            let value = store::encode_notification(&notification);
            self.put(Table::Event, store::event_key(self.last_event), value);
        }
        self.dirty = true;
        self.after_write(Gated::Output(Output::Event(notification)));
    }

    /// Notifies of something worth knowing only now.
    pub fn mention(&mut self, event: Event) {
        self.after_write(Gated::Output(Output::Event(Notification { sequence: 0, event })));
    }

    /// Reads from the store, after all that is staged.
    pub fn load(&mut self, query: Query) -> LoadId {
        self.hurry();
        self.last_load += 1;
        let id = LoadId(self.last_load);
        self.after_write(Gated::Output(Output::Load { id, query }));
        id
    }

    pub fn http(&mut self, request: HttpRequest) -> HttpId {
        self.last_http += 1;
        let id = HttpId(self.last_http);
        self.now(Output::Http { id, request });
        id
    }

    /// Whether a write is on its way.
    pub fn writing(&self) -> bool {
        self.in_flight.is_some()
    }

    /// The next output that is ready.
    pub fn pop(&mut self) -> Option<Output> {
        self.ready.pop_front()
    }

    /// Ends a turn: hands out the staged write if none is on its way, and what waits for nothing. Answers whether
    /// anything became ready.
    pub fn flush(&mut self) -> bool {
        debug_assert!(!self.dirty || self.in_flight.is_some(), "records were encoded");
        if let Some((_, gated)) = &mut self.in_flight {
            if self.staged.is_empty() && !self.dirty {
                gated.append(&mut self.waiting);
            }
            return false;
        }
        self.urgent = false;
        if !self.staged.is_empty() {
            self.last_token += 1;
            let token = WriteToken(self.last_token);
            self.ready.push_back(Output::Persist { token, writes: std::mem::take(&mut self.staged) });
            self.in_flight = Some((token, std::mem::take(&mut self.waiting)));
            return true;
        }
        false
    }

    /// What waited for writes that are durable now; empty if nothing is to come out.
    pub fn released(&mut self) -> Vec<Gated> {
        if self.in_flight.is_none() && self.staged.is_empty() && !self.dirty {
            return std::mem::take(&mut self.waiting);
        }
        Vec::new()
    }

    /// The write is durable: what waited for it.
    pub fn persisted(&mut self, token: WriteToken) -> Vec<Gated> {
        match self.in_flight.take() {
            Some((written, gated)) if written <= token => gated,
            other => {
                self.in_flight = other;
                Vec::new()
            }
        }
    }

    pub fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    pub fn nonce(&mut self) -> Nonce {
        Nonce(self.random())
    }

    /// A random duration up to `most` (full jitter).
    pub fn jitter(&mut self, most: Duration) -> Duration {
        most.mul_f64(f64::from(self.rng.next_u32()) / f64::from(u32::MAX))
    }
}

/// The name of a message of this conversation.
pub(crate) fn id_in(
    conversation: ConversationId,
    (device, seq): (sotto_protocol::DeviceId, Seq),
) -> MessageId {
    MessageId { conversation, device, seq }
}
