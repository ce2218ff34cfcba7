//! Sotto's native peer: the brain of [`sotto_peer_core`] with a profile in SQLite, WebSockets, and links over WebRTC.
//!
//! [`Client`] is the library:
//!
//! ```no_run
//! use sotto_peer_client::{Client, Event, MessageBody};
//!
//! # async fn example() -> Result<(), sotto_peer_client::Error> {
//! let builder = Client::builder("/var/lib/my-bot");
//! builder.sign_up("https://chat.example.org", "my-bot".parse().expect("a handle"), None).await?;
//! let (client, mut events) = builder.open_with_events().await?;
//! while let Some(notification) = events.next().await {
//!     if let Event::Message(message) = notification.event
//!         && let MessageBody::Text(text) = &message.body
//!         && !message.own
//!     {
//!         client.send(message.id.conversation, text).await?;
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The program `sotto` is [`cli`] over it, and [`rpc`] for programs in other languages (docs/rpc.md).
//!
//! - [`client`]: the handle; [`profile`]: what is on the disk, and signing up;
//! - [`driver`]: the task that owns the core and carries out what it says; [`net`]: the way to the server;
//!   [`link`]: the way to other devices.

#![cfg_attr(test, allow(clippy::unwrap_used))]
// The module list above names private ones too, for who reads the source.
#![allow(rustdoc::private_intra_doc_links)]

#[cfg(feature = "cli")]
pub mod cli;
mod client;
mod driver;
pub mod link;
mod net;
mod profile;
#[cfg(feature = "cli")]
pub mod rpc;

pub use client::{Builder, Client, Ended, Error, Events, Pending};
pub use net::{CertificateError, NetError, Origin, OriginError};
pub use profile::{Options, Profile, ProfileError, SignUpError, Store, StoreError, WriteWatcher};

pub use sotto_peer_core::{
    Command, CommandError, ConnectionStatus, ConversationStatus, ConversationView, Event, GapRange, Identity,
    LinkPath, LinkStatus, MessageBody, MessageView, Notification, PathPolicy, PathState, ProfileChange,
    ProfileView, ReceiptState, Reply, Status, TimelineDiff, sign_up::WrongServer,
};
