//! A peer's whole brain, without IO: outbox, sequencing and acknowledgement, paths, links, order, timeline.
//!
//! [`Peer::handle`] takes an [`Input`] and the time; [`Peer::poll`] is then called until it has no [`Output`]
//! left; [`Peer::next_timeout`] says when to come back with [`Input::Timeout`]. Time and randomness are arguments,
//! the store is written by the driver, and what depends on a write comes out only after
//! [`Input::Persisted`]. The same code runs natively, in the browser and in the simulator.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod content;
mod conversation;
pub mod crypto;
mod effects;
pub mod identity;
pub mod io;
mod link;
mod peer;
mod people;
pub mod rpc;
mod seal;
mod sequence;
pub mod sign_up;
mod store;
mod timers;

pub use identity::Identity;
pub use io::{
    Channel, Command, CommandError, CommandId, ConnectionStatus, ConversationStatus, ConversationView, Event,
    GapRange, HttpId, HttpRequest, HttpResponse, Input, LinkCommand, LinkEvent, LinkPath, LinkStatus, LoadId,
    MessageBody, MessageState, MessageView, Missing, Moment, Notification, Output, PathPolicy, PathState,
    ProfileChange, ProfileView, Query, Reached, ReceiptState, Reply, Row, Snapshot, Socket, SocketCommand,
    SocketEvent, Status, Table, TimelineDiff, TransportState, WriteSet, WriteToken,
};
pub use peer::{Config, Peer, RestoreError};
