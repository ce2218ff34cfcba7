//! The signaling WebSocket: [`hub`] knows who is connected, [`outbound`] what waits to be sent to one socket,
//! [`session`] is one socket's life, [`upkeep`] what happens without a message.

pub(crate) mod hub;
pub(crate) mod outbound;
pub(crate) mod session;
pub(crate) mod upkeep;
