//! What happens without a message: presence batches and leases, tokens that expire, silent sockets, revocations
//! made by other processes. Two tasks a service, which end when it is dropped.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use sotto_protocol::signal::ServerMessage;
use sotto_protocol::{AccountId, UnixMillis};

use crate::metrics::count;
use crate::presence::Output;
use crate::{Service, Signaling, lock};

/// How often presence, tokens and revocations are looked after. A revocation in another process is seen after this
/// and half a second of goodbye at the latest, so within the promised second.
const EVERY: Duration = Duration::from_millis(250);

pub(crate) fn spawn(service: &Arc<Service>) {
    tokio::spawn(presence(Arc::downgrade(service)));
    tokio::spawn(revocations(Arc::downgrade(service)));
}

async fn presence(service: Weak<Service>) {
    let mut unsaved = Vec::new();
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(service) = service.upgrade() else { return };
        look_after_sockets(&service);
        unsaved.extend(update_presence(&service));
        save_last_seen(&service, &mut unsaved).await;
    }
}

async fn revocations(service: Weak<Service>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(service) = service.upgrade() else { return };
        let signaling = Signaling(service);
        match signaling.apply_revocations().await {
            Ok(()) => {}
            Err(sqlx::Error::PoolClosed) => return,
            Err(error) => tracing::error!(%error, "revocations cannot be read"),
        }
    }
}

fn look_after_sockets(service: &Service) {
    let now = service.config.now();
    for socket in service.hub.sockets() {
        socket.look_after(now);
        let dropped = socket.outbound.take_presence_dropped();
        if dropped > 0 {
            service.counters.presence_dropped.fetch_add(dropped.into(), Ordering::Relaxed);
            lock(&service.presence).resend(now, socket.id);
        }
    }
}

/// Sends batches that are due; returns who was last seen when.
pub(crate) fn update_presence(service: &Service) -> Vec<(AccountId, UnixMillis)> {
    let now = service.config.now();
    let outputs = {
        let mut presence = lock(&service.presence);
        if presence.poll_timeout().is_some_and(|at| at <= now) {
            let has_room = |id| service.hub.socket(id).is_some_and(|socket| socket.outbound.has_room());
            presence.handle_timeout(now, has_room);
        }
        presence.poll()
    };
    let mut last_seen = Vec::new();
    for output in outputs {
        match output {
            Output::Update { socket, changes } => {
                if let Some(socket) = service.hub.socket(socket)
                    && socket.outbound.push(&ServerMessage::PresenceUpdate { changes })
                {
                    count(&service.counters.presence_batches);
                }
            }
            Output::LastSeen { account, at } => last_seen.push((account, at)),
        }
    }
    last_seen
}

/// Stores them, or keeps them for the next time.
pub(crate) async fn save_last_seen(service: &Service, unsaved: &mut Vec<(AccountId, UnixMillis)>) {
    /// Accounts remembered while the disk takes no writes; the rest show an older time.
    const KEEP: usize = 10_000;
    match service.store.set_last_seen(unsaved).await {
        Ok(()) => unsaved.clear(),
        Err(error) => {
            tracing::warn!(%error, "last-seen times wait for the storage");
            unsaved.truncate(KEEP);
        }
    }
}
