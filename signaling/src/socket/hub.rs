//! Who is connected to this node: at most one socket a device, the newest.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use sotto_protocol::signal::ServerMessage;
use sotto_protocol::{AccountId, DeviceId, UnixMillis};

use super::outbound::{Close, Outbound};
use crate::lock;
use crate::presence::SocketId;
use crate::token::Principal;

/// One authenticated socket, as others reach it.
pub(crate) struct Socket {
    pub(crate) id: SocketId,
    pub(crate) account: AccountId,
    pub(crate) device: DeviceId,
    pub(crate) outbound: Outbound,
    expires_at: AtomicU64,
    heard_at: AtomicU64,
    pinged_at: AtomicU64,
}

/// A socket silent for this long is asked for a sign of life, in milliseconds.
const PING_AFTER_MS: u64 = 20_000;

/// One silent for this long is gone: two presence leases.
const SILENT_AFTER_MS: u64 = 90_000;

impl Socket {
    fn new(id: SocketId, now: UnixMillis, principal: &Principal) -> Self {
        Self {
            id,
            account: principal.account,
            device: principal.device,
            outbound: Outbound::default(),
            expires_at: AtomicU64::new(principal.expires_at.0),
            heard_at: AtomicU64::new(now.0),
            pinged_at: AtomicU64::new(now.0),
        }
    }

    /// Notes that something arrived; returns how long it was silent before, in milliseconds.
    pub(crate) fn heard(&self, now: UnixMillis) -> u64 {
        now.0.saturating_sub(self.heard_at.swap(now.0, Ordering::Relaxed))
    }

    /// The client renewed its token.
    pub(crate) fn extend(&self, principal: &Principal) {
        self.expires_at.store(principal.expires_at.0, Ordering::Relaxed);
    }

    pub(crate) fn expired(&self, now: UnixMillis) -> bool {
        self.expires_at.load(Ordering::Relaxed) <= now.0
    }

    /// Closes it or asks for a sign of life, if it is time.
    pub(crate) fn look_after(&self, now: UnixMillis) {
        let silent_for = now.0.saturating_sub(self.heard_at.load(Ordering::Relaxed));
        if self.expired(now) {
            self.outbound.close(Close::Unauthenticated("expired"));
        } else if silent_for >= SILENT_AFTER_MS {
            self.outbound.close(Close::Silent);
        } else if silent_for >= PING_AFTER_MS
            && now.0.saturating_sub(self.pinged_at.load(Ordering::Relaxed)) >= PING_AFTER_MS
        {
            self.pinged_at.store(now.0, Ordering::Relaxed);
            self.outbound.ping();
        }
    }
}

#[derive(Default)]
pub(crate) struct Hub {
    connected: Mutex<Connected>,
    last_id: AtomicU64,
}

#[derive(Default)]
struct Connected {
    by_device: HashMap<DeviceId, Arc<Socket>>,
    by_id: HashMap<SocketId, Arc<Socket>>,
    draining: bool,
}

impl Hub {
    /// Takes a socket in and closes the device's earlier one; `None` once draining.
    pub(crate) fn register(&self, now: UnixMillis, principal: &Principal) -> Option<Arc<Socket>> {
        let id = SocketId(self.last_id.fetch_add(1, Ordering::Relaxed) + 1);
        let socket = Arc::new(Socket::new(id, now, principal));
        let mut connected = lock(&self.connected);
        if connected.draining {
            return None;
        }
        connected.by_id.insert(id, socket.clone());
        let replaced = connected.by_device.insert(principal.device, socket.clone());
        drop(connected);
        if let Some(replaced) = replaced {
            replaced.outbound.close(Close::Replaced);
        }
        Some(socket)
    }

    pub(crate) fn unregister(&self, socket: &Socket) {
        let mut connected = lock(&self.connected);
        connected.by_id.remove(&socket.id);
        if connected.by_device.get(&socket.device).is_some_and(|newest| newest.id == socket.id) {
            connected.by_device.remove(&socket.device);
        }
    }

    /// Hands a message to a device's socket; false if it has none, or cannot keep up.
    pub(crate) fn deliver(&self, device: &DeviceId, message: &ServerMessage) -> bool {
        let socket = lock(&self.connected).by_device.get(device).cloned();
        socket.is_some_and(|socket| socket.outbound.push(message))
    }

    pub(crate) fn socket(&self, id: SocketId) -> Option<Arc<Socket>> {
        lock(&self.connected).by_id.get(&id).cloned()
    }

    pub(crate) fn sockets(&self) -> Vec<Arc<Socket>> {
        lock(&self.connected).by_id.values().cloned().collect()
    }

    pub(crate) fn is_draining(&self) -> bool {
        lock(&self.connected).draining
    }

    /// No socket is taken in from now on.
    pub(crate) fn start_draining(&self) {
        lock(&self.connected).draining = true;
    }

    pub(crate) fn close_device(&self, device: DeviceId) {
        for socket in self.sockets().iter().filter(|socket| socket.device == device) {
            socket.outbound.close(Close::Revoked);
        }
    }

    pub(crate) fn close_account(&self, account: AccountId) {
        for socket in self.sockets().iter().filter(|socket| socket.account == account) {
            socket.outbound.close(Close::Revoked);
        }
    }
}
