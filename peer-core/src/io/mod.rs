//! What goes into a [`Peer`](crate::Peer) and what comes out.
//!
//! A driver owns the sockets, the RTCPeerConnections, the store and the clock, and understands none of it: it
//! carries out [`Output`]s and reports what happened as [`Input`]s.
//!
//! - [`Output::Persist`] must reach the disk, in order and atomically each, before [`Input::Persisted`] says so;
//!   everything that depends on the write comes out only after that. A driver may go on handling inputs while a
//!   write is on its way, which makes the next write a bigger batch.
//! - A write that fails is the end of this `Peer`: the driver drops it, tells the user why, and starts anew from
//!   the store. Nothing that was acknowledged is lost by that.

mod command;
mod event;
mod link;
mod network;
mod store;
mod view;

use std::time::Duration;

use sotto_protocol::keys::Nonce;
use sotto_protocol::{DeviceId, UnixMillis};

pub use command::{Command, CommandError, PathPolicy, ProfileChange, Reply};
pub use event::{Event, GapRange, Notification, ReceiptState, TimelineDiff};
pub use link::{Channel, LinkCommand, LinkEvent, LinkPath, PathState, TransportState};
pub use network::{HttpRequest, HttpResponse, Socket, SocketCommand, SocketEvent};
pub use store::{Query, Row, Snapshot, Table, WriteSet};
pub use view::{
    ConnectionStatus, ConversationStatus, ConversationView, LinkStatus, MessageBody, MessageState,
    MessageView, Missing, ProfileView, Reached, Status,
};

/// The time, twice: for measuring and for labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since some fixed start of this process; never goes back, and stops while the machine sleeps or not: both
    /// are understood.
    pub monotonic: Duration,
    /// The wall clock. Only ever a label on messages.
    pub wall: UnixMillis,
}

/// Names a command until its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// Names a write until it is durable; ascending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WriteToken(pub u64);

/// Names a read from the store until its rows come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadId(pub u64);

/// Names an HTTP request until its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpId(pub u64);

/// Into the peer.
#[derive(Debug, Clone)]
pub enum Input {
    /// The user wants something; answered by [`Output::Reply`] with the same id.
    Command {
        /// Chosen by the driver, unique while unanswered.
        id: CommandId,
        /// What.
        command: Command,
    },
    /// This write, and every one before it, is durable.
    Persisted(WriteToken),
    /// The rows of an [`Output::Load`].
    Loaded {
        /// Which.
        id: LoadId,
        /// In the query's order.
        rows: Vec<Row>,
    },
    /// The answer to an [`Output::Http`].
    Http {
        /// Which.
        id: HttpId,
        /// Status and body, or why there is none (for people: "connection refused").
        result: Result<HttpResponse, String>,
    },
    /// Something happened on one of the two sockets.
    Socket {
        /// Which.
        socket: Socket,
        /// What.
        event: SocketEvent,
    },
    /// Something happened on a link's RTCPeerConnection.
    Link {
        /// To which device.
        device: DeviceId,
        /// Which attempt; the peer ignores what comes from one it has dropped.
        session: Nonce,
        /// What.
        event: LinkEvent,
    },
    /// [`Peer::next_timeout`](crate::Peer::next_timeout) has passed.
    Timeout,
    /// The network may have changed (an interface came or went, the machine woke): reconnect at once.
    NetworkChanged,
}

/// Out of the peer.
#[derive(Debug, Clone)]
pub enum Output {
    /// Write this atomically, after all earlier ones; then say [`Input::Persisted`].
    Persist {
        /// Which.
        token: WriteToken,
        /// What.
        writes: WriteSet,
    },
    /// Read this; then say [`Input::Loaded`]. Sees every write that was handed out before it.
    Load {
        /// Which.
        id: LoadId,
        /// What.
        query: Query,
    },
    /// Send this to the server's origin; then say [`Input::Http`]. At most [`limits`](sotto_protocol::limits) of a
    /// response body of 1 MiB is read, for at most 15 s.
    Http {
        /// Which.
        id: HttpId,
        /// What.
        request: HttpRequest,
    },
    /// Do this with one of the two sockets.
    Socket {
        /// Which.
        socket: Socket,
        /// What.
        command: SocketCommand,
    },
    /// Do this with a link's RTCPeerConnection.
    Link {
        /// To which device.
        device: DeviceId,
        /// Which attempt.
        session: Nonce,
        /// What.
        command: LinkCommand,
    },
    /// The answer to a command. What it says is durable.
    Reply {
        /// Which.
        id: CommandId,
        /// The answer.
        result: Result<Reply, CommandError>,
    },
    /// Something the user may want to know. What it says is durable: here, or for a receipt where it happened.
    Event(Notification),
}
