//! Who is there and who is told, without IO: calls in, [`Output`]s out, the time as an argument.
//!
//! An account shows the most present of its devices. A device's presence is a lease that its socket renews; a lost
//! socket keeps it for a few seconds, so that a reconnect is not seen. Watchers hold capabilities; each gets what
//! changed in batches, and only the latest state of each, however long its batch had to wait.

use std::collections::{BTreeSet, HashMap, HashSet};

use sotto_protocol::keys::Hash;
use sotto_protocol::presence::{Capability, PresenceState, StatusText};
use sotto_protocol::signal::PresenceChange;
use sotto_protocol::{AccountId, DeviceId, UnixMillis};

use crate::store::Owned;

/// How long a lease lasts without a message, in milliseconds.
pub(crate) const LEASE_MS: u64 = 45_000;

/// How long a lease outlives a socket that broke: about what a client needs to change networks.
const LINGER_MS: u64 = 5_000;

/// A quiet watcher hears of a change after this long, so that what changes together travels together.
const BATCH_MIN_MS: u64 = 250;

/// A busy one gets no more than one batch in this long.
const BATCH_MAX_MS: u64 = 1_000;

/// Changes in one batch, about 100 bytes each: well within the smallest client's message limit.
const BATCH_CHANGES: usize = 256;

/// One socket, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SocketId(pub(crate) u64);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    /// To be sent to a socket.
    Update { socket: SocketId, changes: Vec<PresenceChange> },
    /// To be stored: the account is offline since.
    LastSeen { account: AccountId, at: UnixMillis },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Shown {
    state: PresenceState,
    text: Option<StatusText>,
}

impl Shown {
    const OFFLINE: Self = Self { state: PresenceState::Offline, text: None };
}

struct Session {
    account: AccountId,
    device: DeviceId,
    set: Shown,
    lease_until: UnixMillis,
    /// Where `leases` has it; earlier than `lease_until` after a renewal.
    lease_checked_at: UnixMillis,
    watching: HashMap<Hash, Capability>,
    dirty: BTreeSet<Hash>,
    due: Option<UnixMillis>,
    sent_at: UnixMillis,
    /// Its socket broke: when the lease ends, so does the session.
    lost: bool,
}

#[derive(Default)]
struct AccountPresence {
    /// Its sockets; who set its presence last stands last.
    sessions: Vec<SocketId>,
    shown: Option<Shown>,
    last_seen: Option<UnixMillis>,
    /// Those of its capabilities that somebody here watches.
    watched_by: HashSet<Hash>,
}

#[derive(Default)]
struct Watched {
    owner: Option<AccountId>,
    watchers: HashSet<SocketId>,
}

#[derive(Default)]
pub(crate) struct Presence {
    sessions: HashMap<SocketId, Session>,
    accounts: HashMap<AccountId, AccountPresence>,
    watched: HashMap<Hash, Watched>,
    leases: BTreeSet<(UnixMillis, SocketId)>,
    batches: BTreeSet<(UnixMillis, SocketId)>,
    outputs: Vec<Output>,
}

impl Presence {
    /// A device's socket authenticated. It shows what the device's socket before it set, else nothing yet.
    pub(crate) fn connect(
        &mut self,
        now: UnixMillis,
        socket: SocketId,
        account: AccountId,
        device: DeviceId,
    ) {
        let sessions = self.accounts.entry(account).or_default().sessions.clone();
        let before =
            sessions.into_iter().find(|id| self.sessions.get(id).is_some_and(|s| s.device == device));
        let set = before.and_then(|id| self.sessions.get(&id)).map_or(Shown::OFFLINE, |s| s.set.clone());
        let lease_until = after(now, LEASE_MS);
        let session = Session {
            account,
            device,
            set,
            lease_until,
            lease_checked_at: lease_until,
            watching: HashMap::new(),
            dirty: BTreeSet::new(),
            due: None,
            sent_at: UnixMillis(0),
            lost: false,
        };
        self.sessions.insert(socket, session);
        self.leases.insert((lease_until, socket));
        self.accounts.entry(account).or_default().sessions.push(socket);
        if let Some(before) = before {
            self.remove(now, before);
        }
        self.refresh(now, account);
    }

    /// Anything arrived on a socket.
    pub(crate) fn renew(&mut self, now: UnixMillis, socket: SocketId) {
        let Some(session) = self.sessions.get_mut(&socket) else { return };
        let lapsed = session.lease_until <= now;
        session.lease_until = after(now, LEASE_MS);
        if lapsed {
            let account = session.account;
            self.schedule_lease(socket);
            self.refresh(now, account);
        }
    }

    pub(crate) fn set(
        &mut self,
        now: UnixMillis,
        socket: SocketId,
        state: PresenceState,
        text: Option<StatusText>,
    ) {
        self.renew(now, socket);
        let Some(session) = self.sessions.get_mut(&socket) else { return };
        session.set = Shown { state, text };
        let account = session.account;
        let sessions = &mut self.accounts.entry(account).or_default().sessions;
        sessions.retain(|id| *id != socket);
        sessions.push(socket);
        self.refresh(now, account);
    }

    /// The account's live capabilities are now exactly these.
    pub(crate) fn grant(&mut self, now: UnixMillis, account: AccountId, live: &HashSet<Hash>) {
        let owned = self.accounts.entry(account).or_default();
        let revoked: Vec<Hash> = owned.watched_by.difference(live).copied().collect();
        owned.watched_by.retain(|hash| live.contains(hash));
        let granted =
            live.iter().filter(|hash| self.watched.get(hash).is_some_and(|w| w.owner != Some(account)));
        let granted: Vec<Hash> = granted.copied().collect();
        for hash in revoked {
            if let Some(watched) = self.watched.get_mut(&hash) {
                watched.owner = None;
            }
            self.mark(now, hash);
        }
        for hash in granted {
            if let Some(watched) = self.watched.get_mut(&hash)
                && let Some(previous) = watched.owner.replace(account)
                && let Some(previous) = self.accounts.get_mut(&previous)
            {
                previous.watched_by.remove(&hash);
            }
            self.accounts.entry(account).or_default().watched_by.insert(hash);
            self.mark(now, hash);
        }
        self.forget_if_idle(account);
    }

    /// The socket watches exactly these from now on; `owners` says whose they are, as far as they are anybody's.
    pub(crate) fn subscribe(
        &mut self,
        now: UnixMillis,
        socket: SocketId,
        capabilities: impl IntoIterator<Item = Capability>,
        owners: &[Owned],
    ) {
        self.renew(now, socket);
        let Some(session) = self.sessions.get_mut(&socket) else { return };
        let wanted: HashMap<Hash, Capability> = capabilities.into_iter().map(|c| (c.hash(), c)).collect();
        let before = std::mem::replace(&mut session.watching, wanted.clone());
        session.dirty.retain(|hash| wanted.contains_key(hash));
        for hash in before.keys().filter(|hash| !wanted.contains_key(hash)) {
            self.unwatch(socket, *hash);
        }
        let owners: HashMap<Hash, &Owned> = owners.iter().map(|owned| (owned.hash, owned)).collect();
        for hash in wanted.keys().filter(|hash| !before.contains_key(hash)) {
            let watched = self.watched.entry(*hash).or_default();
            watched.watchers.insert(socket);
            if let (None, Some(owned)) = (watched.owner, owners.get(hash)) {
                watched.owner = Some(owned.account);
                let owner = self.accounts.entry(owned.account).or_default();
                owner.watched_by.insert(*hash);
                owner.last_seen = owner.last_seen.max(owned.last_seen);
            }
            self.mark_for(now, socket, *hash);
        }
    }

    /// Everything the socket watches is sent again: a batch for it was dropped.
    pub(crate) fn resend(&mut self, now: UnixMillis, socket: SocketId) {
        let Some(session) = self.sessions.get(&socket) else { return };
        let hashes: Vec<Hash> = session.watching.keys().copied().collect();
        for hash in hashes {
            self.mark_for(now, socket, hash);
        }
    }

    /// The socket is gone. One that `said_goodbye` is so at once, for one that broke the lease runs out soon.
    pub(crate) fn disconnect(&mut self, now: UnixMillis, socket: SocketId, said_goodbye: bool) {
        let Some(session) = self.sessions.get_mut(&socket) else { return };
        if said_goodbye {
            self.remove(now, socket);
            return;
        }
        session.lost = true;
        session.lease_until = session.lease_until.min(after(now, LINGER_MS));
        self.stop_watching(socket);
        self.schedule_lease(socket);
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<UnixMillis> {
        let first = |queue: &BTreeSet<(UnixMillis, SocketId)>| queue.first().map(|(at, _)| *at);
        [first(&self.leases), first(&self.batches)].into_iter().flatten().min()
    }

    /// Ends leases that ran out and sends batches that are due, the latter to sockets that have room.
    pub(crate) fn handle_timeout(&mut self, now: UnixMillis, has_room: impl Fn(SocketId) -> bool) {
        while let Some((at, socket)) = self.leases.first().copied()
            && at <= now
        {
            self.leases.remove(&(at, socket));
            self.check_lease(now, socket);
        }
        while let Some((at, socket)) = self.batches.first().copied()
            && at <= now
        {
            self.batches.remove(&(at, socket));
            self.flush(now, socket, &has_room);
        }
    }

    pub(crate) fn poll(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    fn check_lease(&mut self, now: UnixMillis, socket: SocketId) {
        let Some(session) = self.sessions.get(&socket) else { return };
        let account = session.account;
        if session.lease_until > now {
            self.schedule_lease(socket);
        } else if session.lost {
            self.remove(now, socket);
        } else {
            self.refresh(now, account);
        }
    }

    fn flush(&mut self, now: UnixMillis, socket: SocketId, has_room: impl Fn(SocketId) -> bool) {
        let Some(session) = self.sessions.get_mut(&socket) else { return };
        session.due = None;
        if has_room(socket) {
            let batch: Vec<Hash> = session.dirty.iter().take(BATCH_CHANGES).copied().collect();
            let mut changes = Vec::with_capacity(batch.len());
            for hash in batch {
                session.dirty.remove(&hash);
                let Some(capability) = session.watching.get(&hash) else { continue };
                let owner = self.watched.get(&hash).and_then(|watched| watched.owner);
                changes.push(change(*capability, owner.and_then(|owner| self.accounts.get(&owner))));
            }
            session.sent_at = now;
            if !changes.is_empty() {
                self.outputs.push(Output::Update { socket, changes });
            }
        }
        if !session.dirty.is_empty() {
            let due = after(now, BATCH_MIN_MS);
            session.due = Some(due);
            self.batches.insert((due, socket));
        }
    }

    /// Works out what an account shows and tells its watchers if that changed.
    fn refresh(&mut self, now: UnixMillis, id: AccountId) {
        let Some(account) = self.accounts.get_mut(&id) else { return };
        let shown = account
            .sessions
            .iter()
            .rev()
            .filter_map(|socket| self.sessions.get(socket))
            .filter(|session| session.lease_until > now)
            .map(|session| &session.set)
            .min_by_key(|set| rank(set.state))
            .filter(|set| set.state != PresenceState::Offline)
            .cloned();
        if shown != account.shown {
            if shown.is_none() {
                account.last_seen = Some(now);
                self.outputs.push(Output::LastSeen { account: id, at: now });
            }
            account.shown = shown;
            let hashes: Vec<Hash> = account.watched_by.iter().copied().collect();
            for hash in hashes {
                self.mark(now, hash);
            }
        }
        self.forget_if_idle(id);
    }

    /// Every watcher of a capability will hear of it.
    fn mark(&mut self, now: UnixMillis, hash: Hash) {
        let Some(watched) = self.watched.get(&hash) else { return };
        let watchers: Vec<SocketId> = watched.watchers.iter().copied().collect();
        for socket in watchers {
            self.mark_for(now, socket, hash);
        }
    }

    fn mark_for(&mut self, now: UnixMillis, socket: SocketId, hash: Hash) {
        let Some(session) = self.sessions.get_mut(&socket) else { return };
        session.dirty.insert(hash);
        if session.due.is_none() {
            let not_before = after(session.sent_at, BATCH_MAX_MS).min(after(now, BATCH_MAX_MS));
            let due = after(now, BATCH_MIN_MS).max(not_before);
            session.due = Some(due);
            self.batches.insert((due, socket));
        }
    }

    fn schedule_lease(&mut self, socket: SocketId) {
        let Some(session) = self.sessions.get_mut(&socket) else { return };
        self.leases.remove(&(session.lease_checked_at, socket));
        session.lease_checked_at = session.lease_until;
        self.leases.insert((session.lease_until, socket));
    }

    fn remove(&mut self, now: UnixMillis, socket: SocketId) {
        self.stop_watching(socket);
        let Some(session) = self.sessions.remove(&socket) else { return };
        self.leases.remove(&(session.lease_checked_at, socket));
        if let Some(account) = self.accounts.get_mut(&session.account) {
            account.sessions.retain(|id| *id != socket);
        }
        self.refresh(now, session.account);
    }

    fn stop_watching(&mut self, socket: SocketId) {
        let Some(session) = self.sessions.get_mut(&socket) else { return };
        session.dirty.clear();
        if let Some(due) = session.due.take() {
            self.batches.remove(&(due, socket));
        }
        for hash in std::mem::take(&mut session.watching).into_keys() {
            self.unwatch(socket, hash);
        }
    }

    fn unwatch(&mut self, socket: SocketId, hash: Hash) {
        let Some(watched) = self.watched.get_mut(&hash) else { return };
        watched.watchers.remove(&socket);
        if !watched.watchers.is_empty() {
            return;
        }
        let owner = watched.owner;
        self.watched.remove(&hash);
        if let Some(owner) = owner
            && let Some(account) = self.accounts.get_mut(&owner)
        {
            account.watched_by.remove(&hash);
            self.forget_if_idle(owner);
        }
    }

    fn forget_if_idle(&mut self, id: AccountId) {
        if self.accounts.get(&id).is_some_and(|a| a.sessions.is_empty() && a.watched_by.is_empty()) {
            self.accounts.remove(&id);
        }
    }
}

fn change(capability: Capability, owner: Option<&AccountPresence>) -> PresenceChange {
    match owner.map(|owner| (owner.shown.clone(), owner.last_seen)) {
        Some((Some(Shown { state, text }), _)) => PresenceChange { capability, state, text, last_seen: None },
        Some((None, last_seen)) => {
            PresenceChange { capability, state: PresenceState::Offline, text: None, last_seen }
        }
        None => PresenceChange { capability, state: PresenceState::Offline, text: None, last_seen: None },
    }
}

fn rank(state: PresenceState) -> u8 {
    match state {
        PresenceState::Online => 0,
        PresenceState::Away => 1,
        PresenceState::Offline => 2,
    }
}

fn after(at: UnixMillis, ms: u64) -> UnixMillis {
    UnixMillis(at.0.saturating_add(ms))
}

#[cfg(test)]
#[path = "presence_tests.rs"]
mod tests;
