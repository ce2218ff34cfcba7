//! The way to the server: its address, HTTP requests, and the two WebSockets, all over one kind of connection.

mod connect;
mod http;
mod origin;
mod socket;

pub use connect::{CertificateError, NetError};
pub use origin::{Origin, OriginError};

pub(crate) use connect::Server;
pub(crate) use socket::{SocketReport, Sockets};
