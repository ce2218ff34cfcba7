//! What is due when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sotto_protocol::{ConversationId, DeviceId};

use crate::io::Socket;

/// What a timer is for; each has at most one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Timer {
    /// Get or renew the session token.
    Session,
    /// Open the socket again, or give up on an answer.
    Socket(Socket),
    /// Keep the presence lease.
    Ping,
    /// A link's attempt, probe or next try.
    Link(DeviceId),
    /// Look again at what a conversation may append.
    Append(ConversationId),
    /// Append for others, whose frames are still not logged.
    AppendForOthers(ConversationId),
    /// Report to the relay what is held and read.
    Cursor(ConversationId),
    /// Ask for what is missing, or show the gap.
    Missing(ConversationId),
    /// Subscribe again after an answer that did not come or was refused.
    Subscribe(ConversationId),
    /// Commands that wait for the network too long.
    Commands,
    /// Look up accounts again.
    People,
    /// Write what could wait.
    Write,
}

/// A set of timers.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    at: BTreeMap<Timer, Duration>,
    order: BTreeSet<(Duration, Timer)>,
}

impl Timers {
    /// Sets the time, whatever it was.
    pub fn set(&mut self, timer: Timer, at: Duration) {
        self.cancel(timer);
        self.at.insert(timer, at);
        self.order.insert((at, timer));
    }

    /// Sets the time if it is not set to an earlier one.
    pub fn set_earlier(&mut self, timer: Timer, at: Duration) {
        if self.at.get(&timer).is_none_or(|earlier| at < *earlier) {
            self.set(timer, at);
        }
    }

    pub fn cancel(&mut self, timer: Timer) {
        if let Some(at) = self.at.remove(&timer) {
            self.order.remove(&(at, timer));
        }
    }

    pub fn is_set(&self, timer: Timer) -> bool {
        self.at.contains_key(&timer)
    }

    pub fn next(&self) -> Option<Duration> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the earliest timer that is due, and when it was.
    pub fn pop_due(&mut self, now: Duration) -> Option<(Timer, Duration)> {
        let (at, timer) = self.order.first().copied().filter(|(at, _)| *at <= now)?;
        self.cancel(timer);
        Some((timer, at))
    }
}
