//! What waits to be sent to one socket, bounded: presence gives way first, then the socket is cut off and its
//! client comes back and catches up.

use std::collections::VecDeque;
use std::sync::Mutex;

use axum::extract::ws::Utf8Bytes;
use sotto_protocol::limits::MAX_SOCKET_QUEUE;
use sotto_protocol::signal::{ServerMessage, SignalError};
use tokio::sync::Notify;

use crate::lock;

/// Presence waits until less than this is queued, so that it never crowds out signals.
const PRESENCE_ROOM: usize = MAX_SOCKET_QUEUE / 4;

/// Why a socket is closed by the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    /// No good token in time, or the token's time is over.
    Unauthenticated(&'static str),
    /// The device or its account was revoked.
    Revoked,
    /// The device connected again.
    Replaced,
    /// Nothing heard for too long.
    Silent,
    /// Too much waits for its reader.
    Slow,
    /// Nothing can be looked up or stored now.
    Unavailable,
    /// Too many messages that are none, or far too fast.
    Abuse(&'static str),
    /// A message that is not even worth an answer for its size.
    TooBig,
    /// The server restarts.
    Drain { reconnect_in_ms: u32 },
}

impl Close {
    /// The WebSocket close code and reason.
    pub(crate) fn frame(self) -> (u16, &'static str) {
        match self {
            Self::Unauthenticated(why) => (4401, why),
            Self::Revoked => (4403, "device or account revoked"),
            Self::Silent => (4408, "nothing heard for too long"),
            Self::Replaced => (4409, "the device connected again"),
            Self::Abuse(why) => (1008, why),
            Self::TooBig => (1009, "message too big"),
            Self::Drain { .. } => (1012, "server restarts"),
            Self::Slow => (1013, "too slow a reader; come back and catch up"),
            Self::Unavailable => (1013, "storage unavailable; try again later"),
        }
    }

    fn last_words(self) -> Option<ServerMessage> {
        match self {
            Self::Unauthenticated(why) => Some(ServerMessage::Error {
                code: SignalError::Unauthenticated,
                detail: format!("token: {why}"),
            }),
            Self::Revoked => Some(ServerMessage::Error {
                code: SignalError::Unauthenticated,
                detail: "token: device or account revoked".into(),
            }),
            Self::Drain { reconnect_in_ms } => Some(ServerMessage::Drain { reconnect_in_ms }),
            Self::TooBig => Some(ServerMessage::Error {
                code: SignalError::Limit,
                detail: format!("message bytes: {} allowed", sotto_protocol::limits::MAX_SIGNAL_MESSAGE),
            }),
            Self::Replaced | Self::Silent | Self::Slow | Self::Unavailable | Self::Abuse(_) => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Presence,
    Other,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    Message(Utf8Bytes),
    Ping,
    Close(Close),
    Empty,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Kind, Utf8Bytes)>,
    bytes: usize,
    ping: bool,
    presence_dropped: u32,
    close: Option<Close>,
}

#[derive(Default)]
pub(crate) struct Outbound {
    queue: Mutex<Queue>,
    /// Something is queued. One reader: the socket's own task.
    pub(crate) wake: Notify,
    /// The socket is to close.
    pub(crate) closing: Notify,
}

impl Outbound {
    /// Queues a message; false if the socket is closing, or now has to.
    pub(crate) fn push(&self, message: &ServerMessage) -> bool {
        let Ok(text) = serde_json::to_string(message) else { return false };
        let kind = match message {
            ServerMessage::PresenceUpdate { .. } => Kind::Presence,
            ServerMessage::Ready { .. }
            | ServerMessage::Signal { .. }
            | ServerMessage::Unreachable { .. }
            | ServerMessage::Pong {}
            | ServerMessage::Drain { .. }
            | ServerMessage::Error { .. } => Kind::Other,
        };
        let mut queue = lock(&self.queue);
        if queue.close.is_some() {
            return false;
        }
        if queue.bytes + text.len() > MAX_SOCKET_QUEUE {
            queue.drop_presence();
        }
        if queue.bytes + text.len() > MAX_SOCKET_QUEUE {
            drop(queue);
            self.close(Close::Slow);
            return false;
        }
        queue.bytes += text.len();
        queue.waiting.push_back((kind, text.into()));
        drop(queue);
        self.wake.notify_one();
        true
    }

    /// Whether presence may be queued now.
    pub(crate) fn has_room(&self) -> bool {
        lock(&self.queue).bytes < PRESENCE_ROOM
    }

    /// How many batches of presence were dropped since this was last asked.
    pub(crate) fn take_presence_dropped(&self) -> u32 {
        std::mem::take(&mut lock(&self.queue).presence_dropped)
    }

    /// Asks the client for a sign of life.
    pub(crate) fn ping(&self) {
        lock(&self.queue).ping = true;
        self.wake.notify_one();
    }

    /// Closes the socket; the first reason stands. What waits is not sent any more, but for the last words.
    pub(crate) fn close(&self, why: Close) {
        let mut queue = lock(&self.queue);
        if queue.close.is_some() {
            return;
        }
        *queue = Queue { close: Some(why), presence_dropped: queue.presence_dropped, ..Queue::default() };
        if let Some(text) = why.last_words().and_then(|message| serde_json::to_string(&message).ok()) {
            queue.waiting.push_back((Kind::Other, text.into()));
        }
        drop(queue);
        self.closing.notify_one();
        self.wake.notify_one();
    }

    /// Why the socket is closing, if the server closes it.
    pub(crate) fn closed_for(&self) -> Option<Close> {
        lock(&self.queue).close
    }

    pub(crate) fn next(&self) -> Next {
        let mut queue = lock(&self.queue);
        if let Some((_, text)) = queue.waiting.pop_front() {
            queue.bytes = queue.bytes.saturating_sub(text.len());
            if queue.waiting.is_empty() {
                // An idle socket keeps no memory of its busy days.
                queue.waiting = VecDeque::new();
            }
            return Next::Message(text);
        }
        if let Some(why) = queue.close {
            return Next::Close(why);
        }
        if std::mem::take(&mut queue.ping) { Next::Ping } else { Next::Empty }
    }
}

impl Queue {
    fn drop_presence(&mut self) {
        let before = self.waiting.len();
        self.waiting.retain(|(kind, _)| *kind != Kind::Presence);
        self.bytes = self.waiting.iter().map(|(_, text)| text.len()).sum();
        self.presence_dropped += (before - self.waiting.len()) as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sotto_protocol::{AccountId, DeviceId};

    fn signal(len: usize) -> ServerMessage {
        ServerMessage::Signal {
            from: DeviceId([1; 16]),
            account: AccountId([2; 32]),
            payload: "x".repeat(len),
        }
    }

    #[test]
    fn presence_gives_way_before_the_socket_does() {
        let outbound = Outbound::default();
        assert!(outbound.push(&ServerMessage::PresenceUpdate { changes: Vec::new() }));
        while lock(&outbound.queue).bytes + 50_000 < MAX_SOCKET_QUEUE {
            assert!(outbound.push(&signal(40_000)));
        }
        assert!(!outbound.has_room());
        assert_eq!(outbound.take_presence_dropped(), 0);
        let left = MAX_SOCKET_QUEUE - lock(&outbound.queue).bytes;
        let envelope = serde_json::to_string(&signal(0)).unwrap().len();
        assert!(outbound.push(&signal(left - envelope + 10)));
        assert_eq!(outbound.take_presence_dropped(), 1);
        assert!(!outbound.push(&signal(1_000)));
        assert_eq!(outbound.next(), Next::Close(Close::Slow));
    }

    #[test]
    fn last_words_come_before_the_close_and_nothing_after() {
        let outbound = Outbound::default();
        assert!(outbound.push(&signal(10)));
        outbound.close(Close::Drain { reconnect_in_ms: 7 });
        outbound.close(Close::Revoked);
        assert!(!outbound.push(&signal(10)));
        assert_eq!(outbound.next(), Next::Message(r#"{"type":"drain","reconnect_in_ms":7}"#.into()));
        assert_eq!(outbound.next(), Next::Close(Close::Drain { reconnect_in_ms: 7 }));
    }
}
