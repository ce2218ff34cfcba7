//! Requests to the relay, gathered into as few messages as fit.

use bytes::Bytes;
use sotto_protocol::cbor;
use sotto_protocol::limits::MAX_RELAY_MESSAGE;
use sotto_protocol::relay::Request;

use crate::effects::Effects;
use crate::io::{Output, Socket, SocketCommand};

/// The way to the relay; drops what is pushed while there is none.
#[derive(Debug, Default)]
pub(crate) struct RelayOut {
    ready: bool,
    buffer: Vec<u8>,
    full: Vec<Vec<u8>>,
}

impl RelayOut {
    /// Authenticated and open, or not any more.
    pub fn set_ready(&mut self, ready: bool) {
        self.ready = ready;
        self.buffer.clear();
        self.full.clear();
    }

    pub fn is_ready(&self) -> bool {
        self.ready
    }

    pub fn push(&mut self, request: &Request) {
        if !self.ready {
            return;
        }
        let before = self.buffer.len();
        cbor::encode_into(request, &mut self.buffer);
        if self.buffer.len() > MAX_RELAY_MESSAGE && before > 0 {
            let last = self.buffer.split_off(before);
            self.full.push(std::mem::replace(&mut self.buffer, last));
        }
    }

    /// Sends what was gathered.
    pub fn flush(&mut self, fx: &mut Effects) {
        let last = (!self.buffer.is_empty()).then(|| std::mem::take(&mut self.buffer));
        for message in self.full.drain(..).chain(last) {
            let command = SocketCommand::Send(Bytes::from(message));
            fx.now(Output::Socket { socket: Socket::Relay, command });
        }
    }
}
