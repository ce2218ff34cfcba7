//! [`Presence`] by examples, and against a model that knows no batches: whatever happens, once all is sent, every
//! watcher has been told the truth about what it watches, and nothing else.

use proptest::prelude::*;
use sotto_protocol::keys::Hash;

use super::*;

const NOW: UnixMillis = UnixMillis(1_000_000_000);

fn account(n: u8) -> AccountId {
    AccountId([n; 32])
}

fn device(n: u8) -> DeviceId {
    DeviceId([n; 16])
}

fn capability(n: u8) -> Capability {
    Capability([n; 16])
}

fn hashes(capabilities: &[u8]) -> HashSet<Hash> {
    capabilities.iter().map(|n| capability(*n).hash()).collect()
}

fn owned(n: u8, owner: u8, last_seen: Option<UnixMillis>) -> Owned {
    Owned { hash: capability(n).hash(), account: account(owner), last_seen }
}

fn at(ms: u64) -> UnixMillis {
    UnixMillis(NOW.0 + ms)
}

/// Lets all that is due up to `now` happen, when it is due; returns who was told what and when.
fn run_until(presence: &mut Presence, now: UnixMillis) -> Vec<(UnixMillis, Output)> {
    let mut told = Vec::new();
    while let Some(due) = presence.poll_timeout()
        && due <= now
    {
        presence.handle_timeout(due, |_| true);
        told.extend(presence.poll().into_iter().map(|output| (due, output)));
    }
    told
}

fn updates(told: &[(UnixMillis, Output)]) -> Vec<(UnixMillis, SocketId, Vec<PresenceChange>)> {
    let update = |(at, output): &(UnixMillis, Output)| match output {
        Output::Update { socket, changes } => Some((*at, *socket, changes.clone())),
        Output::LastSeen { .. } => None,
    };
    told.iter().filter_map(update).collect()
}

fn offline(n: u8, last_seen: Option<UnixMillis>) -> PresenceChange {
    PresenceChange { capability: capability(n), state: PresenceState::Offline, text: None, last_seen }
}

fn shown(n: u8, state: PresenceState) -> PresenceChange {
    PresenceChange { capability: capability(n), state, text: None, last_seen: None }
}

/// Account 1 on socket 1 owns capability 1; account 2 on socket 2 watches it and has heard all so far.
fn watched_pair() -> Presence {
    let mut presence = Presence::default();
    presence.connect(NOW, SocketId(1), account(1), device(1));
    presence.connect(NOW, SocketId(2), account(2), device(2));
    presence.set(NOW, SocketId(1), PresenceState::Online, None);
    presence.subscribe(NOW, SocketId(2), [capability(1)], &[owned(1, 1, None)]);
    let told = updates(&run_until(&mut presence, at(1_000)));
    assert_eq!(told, [(at(250), SocketId(2), vec![shown(1, PresenceState::Online)])]);
    presence
}

#[test]
fn a_quiet_watcher_hears_after_250_ms_and_a_busy_one_once_a_second() {
    let mut presence = watched_pair();
    presence.set(at(1_000), SocketId(1), PresenceState::Away, None);
    presence.set(at(1_100), SocketId(1), PresenceState::Online, None);
    presence.set(at(1_200), SocketId(1), PresenceState::Away, None);
    let told = updates(&run_until(&mut presence, at(2_000)));
    assert_eq!(told, [(at(1_250), SocketId(2), vec![shown(1, PresenceState::Away)])]);
    presence.set(at(1_300), SocketId(1), PresenceState::Online, None);
    let told = updates(&run_until(&mut presence, at(3_000)));
    assert_eq!(told, [(at(2_250), SocketId(2), vec![shown(1, PresenceState::Online)])]);
}

#[test]
fn an_unknown_capability_looks_like_someone_offline() {
    let mut presence = watched_pair();
    presence.subscribe(at(2_000), SocketId(2), [capability(1), capability(9)], &[owned(1, 1, None)]);
    let told = updates(&run_until(&mut presence, at(3_000)));
    assert_eq!(told, [(at(2_250), SocketId(2), vec![offline(9, None)])]);
}

#[test]
fn someone_who_was_there_before_the_restart_has_a_last_seen() {
    let mut presence = watched_pair();
    presence.subscribe(at(2_000), SocketId(2), [capability(3)], &[owned(3, 3, Some(NOW))]);
    let told = updates(&run_until(&mut presence, at(3_000)));
    assert_eq!(told, [(at(2_250), SocketId(2), vec![offline(3, Some(NOW))])]);
}

#[test]
fn a_revoked_capability_shows_nothing_any_more_and_a_granted_one_at_once() {
    let mut presence = watched_pair();
    presence.grant(at(2_000), account(1), &hashes(&[7]));
    let told = updates(&run_until(&mut presence, at(3_000)));
    assert_eq!(told, [(at(2_250), SocketId(2), vec![offline(1, None)])], "and no last seen either");
    presence.set(at(4_000), SocketId(1), PresenceState::Away, None);
    assert_eq!(updates(&run_until(&mut presence, at(5_000))), []);
    presence.grant(at(6_000), account(1), &hashes(&[1, 7]));
    let told = updates(&run_until(&mut presence, at(7_000)));
    assert_eq!(told, [(at(6_250), SocketId(2), vec![shown(1, PresenceState::Away)])]);
}

#[test]
fn an_account_shows_the_most_present_of_its_devices() {
    let mut presence = watched_pair();
    presence.connect(at(2_000), SocketId(3), account(1), device(3));
    presence.set(at(2_000), SocketId(3), PresenceState::Away, None);
    assert_eq!(updates(&run_until(&mut presence, at(3_000))), []);
    presence.disconnect(at(3_000), SocketId(1), true);
    let told = updates(&run_until(&mut presence, at(4_000)));
    assert_eq!(told, [(at(3_250), SocketId(2), vec![shown(1, PresenceState::Away)])]);
}

#[test]
fn who_says_goodbye_is_offline_since_then() {
    let mut presence = watched_pair();
    presence.disconnect(at(2_000), SocketId(1), true);
    let told = run_until(&mut presence, at(3_000));
    assert_eq!(updates(&told), [(at(2_250), SocketId(2), vec![offline(1, Some(at(2_000)))])]);
    assert!(told.iter().any(|(_, o)| *o == Output::LastSeen { account: account(1), at: at(2_000) }));
}

#[test]
fn a_reconnect_after_a_lost_link_is_not_seen() {
    let mut presence = watched_pair();
    presence.disconnect(at(2_000), SocketId(1), false);
    presence.connect(at(2_000 + LINGER_MS - 1), SocketId(4), account(1), device(1));
    assert_eq!(updates(&run_until(&mut presence, at(20_000))), []);
}

#[test]
fn a_lost_link_without_a_reconnect_is_offline_soon() {
    let mut presence = watched_pair();
    presence.disconnect(at(2_000), SocketId(1), false);
    let told = updates(&run_until(&mut presence, at(20_000)));
    let gone = at(2_000 + LINGER_MS);
    assert_eq!(told, [(after(gone, BATCH_MIN_MS), SocketId(2), vec![offline(1, Some(gone))])]);
}

#[test]
fn a_lease_lapses_without_a_message_and_comes_back_with_one() {
    let mut presence = watched_pair();
    presence.renew(at(10_000), SocketId(1));
    let told = updates(&run_until(&mut presence, at(60_000)));
    let lapsed = at(10_000 + LEASE_MS);
    assert_eq!(told, [(after(lapsed, BATCH_MIN_MS), SocketId(2), vec![offline(1, Some(lapsed))])]);
    presence.renew(at(70_000), SocketId(1));
    let told = updates(&run_until(&mut presence, at(80_000)));
    assert_eq!(told, [(at(70_250), SocketId(2), vec![shown(1, PresenceState::Online)])]);
}

#[test]
fn a_watcher_without_room_hears_the_latest_once_it_has_some() {
    let mut presence = watched_pair();
    presence.set(at(2_000), SocketId(1), PresenceState::Away, None);
    presence.handle_timeout(at(2_250), |_| false);
    presence.set(at(2_300), SocketId(1), PresenceState::Online, None);
    presence.handle_timeout(at(2_400), |_| false);
    assert_eq!(presence.poll(), []);
    let told = updates(&run_until(&mut presence, at(4_000)));
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].2, [shown(1, PresenceState::Online)]);
}

#[test]
fn many_watched_capabilities_arrive_in_pages() {
    let mut presence = watched_pair();
    let many = (0..600_u16).map(|n| {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        Capability(bytes)
    });
    presence.subscribe(at(2_000), SocketId(2), many, &[]);
    let told = updates(&run_until(&mut presence, at(4_000)));
    let pages: Vec<usize> = told.iter().map(|(_, _, changes)| changes.len()).collect();
    assert_eq!(pages, [256, 256, 88]);
}

#[derive(Debug, Clone)]
enum Step {
    Connect { device: u8 },
    Leave { device: u8, said_goodbye: bool },
    Set { device: u8, state: PresenceState },
    Renew { device: u8 },
    Grant { account: u8, capabilities: Vec<u8> },
    Watch { device: u8, capabilities: Vec<u8> },
    Wait { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    // Devices 0 to 5 belong, two each, to accounts 0 to 2; account n may grant capabilities 3n to 3n + 2.
    let state =
        prop_oneof![Just(PresenceState::Online), Just(PresenceState::Away), Just(PresenceState::Offline)];
    let grant = (0..3_u8, prop::collection::vec(0..3_u8, 0..3)).prop_map(|(account, own)| Step::Grant {
        account,
        capabilities: own.iter().map(|n| 3 * account + n).collect(),
    });
    prop_oneof![
        3 => (0..6_u8).prop_map(|device| Step::Connect { device }),
        2 => (0..6_u8, any::<bool>()).prop_map(|(device, said_goodbye)| Step::Leave { device, said_goodbye }),
        3 => (0..6_u8, state).prop_map(|(device, state)| Step::Set { device, state }),
        1 => (0..6_u8).prop_map(|device| Step::Renew { device }),
        2 => grant,
        2 => (0..6_u8, prop::collection::vec(0..10_u8, 0..5))
            .prop_map(|(device, capabilities)| Step::Watch { device, capabilities }),
        3 => (0..30_000_u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

/// What is true, as simply as it can be said.
#[derive(Default)]
struct Model {
    sockets: HashMap<u8, SocketId>,
    set: HashMap<u8, PresenceState>,
    lease_until: HashMap<u8, UnixMillis>,
    grants: HashMap<u8, Vec<u8>>,
    watching: HashMap<u8, HashSet<u8>>,
    told: HashMap<(SocketId, u8), PresenceState>,
}

impl Model {
    fn owner(&self, capability: u8) -> Option<u8> {
        self.grants.iter().find(|(_, list)| list.contains(&capability)).map(|(account, _)| *account)
    }

    fn truth(&self, now: UnixMillis, capability: u8) -> PresenceState {
        let Some(owner) = self.owner(capability) else { return PresenceState::Offline };
        let alive = |device: &u8| self.lease_until.get(device).is_some_and(|until| *until > now);
        let states = [2 * owner, 2 * owner + 1].into_iter().filter(alive).filter_map(|d| self.set.get(&d));
        states.copied().min_by_key(|state| rank(*state)).unwrap_or(PresenceState::Offline)
    }

    fn hear(&mut self, told: Vec<(UnixMillis, Output)>) {
        for (_, socket, changes) in updates(&told) {
            for change in changes {
                let (device, _) =
                    self.sockets.iter().find(|(_, id)| **id == socket).expect("a socket that is open");
                let n = change.capability.0[0];
                assert!(self.watching[device].contains(&n), "told what it does not watch");
                self.told.insert((socket, n), change.state);
            }
        }
    }
}

proptest! {
    #[test]
    fn every_watcher_ends_up_with_the_truth_and_nothing_is_kept(steps in prop::collection::vec(step(), 0..80)) {
        let mut presence = Presence::default();
        let mut model = Model::default();
        let mut now = NOW;
        let mut next_socket = 0;
        for step in steps {
            match step {
                Step::Connect { device: d } => {
                    next_socket += 1;
                    presence.connect(now, SocketId(next_socket), account(d / 2), device(d));
                    let alive = model.lease_until.get(&d).is_some_and(|until| *until > now);
                    if !alive && !model.sockets.contains_key(&d) {
                        model.set.insert(d, PresenceState::Offline);
                    }
                    model.sockets.insert(d, SocketId(next_socket));
                    model.watching.insert(d, HashSet::new());
                    model.lease_until.insert(d, after(now, LEASE_MS));
                }
                Step::Leave { device: d, said_goodbye } => {
                    let Some(socket) = model.sockets.remove(&d) else { continue };
                    presence.disconnect(now, socket, said_goodbye);
                    let until = model.lease_until[&d];
                    let linger = if said_goodbye { now } else { until.min(after(now, LINGER_MS)) };
                    model.lease_until.insert(d, linger);
                    if said_goodbye {
                        model.set.insert(d, PresenceState::Offline);
                    }
                }
                Step::Set { device: d, state } => {
                    let Some(socket) = model.sockets.get(&d) else { continue };
                    presence.set(now, *socket, state, None);
                    model.set.insert(d, state);
                    model.lease_until.insert(d, after(now, LEASE_MS));
                }
                Step::Renew { device: d } => {
                    let Some(socket) = model.sockets.get(&d) else { continue };
                    presence.renew(now, *socket);
                    model.lease_until.insert(d, after(now, LEASE_MS));
                }
                Step::Grant { account: a, capabilities } => {
                    presence.grant(now, account(a), &hashes(&capabilities));
                    model.grants.insert(a, capabilities);
                }
                Step::Watch { device: d, capabilities } => {
                    let Some(socket) = model.sockets.get(&d) else { continue };
                    let owners: Vec<Owned> = capabilities
                        .iter()
                        .filter_map(|n| Some(owned(*n, model.owner(*n)?, None)))
                        .collect();
                    presence.subscribe(now, *socket, capabilities.iter().map(|n| capability(*n)), &owners);
                    model.watching.insert(d, capabilities.iter().copied().collect());
                    model.lease_until.insert(d, after(now, LEASE_MS));
                }
                Step::Wait { ms } => {
                    now = after(now, ms);
                    model.hear(run_until(&mut presence, now));
                }
            }
        }
        // Once with everybody as they are, whoever lapses meanwhile aside; once after all leases have lapsed.
        for wait in [2 * BATCH_MAX_MS, LEASE_MS + LINGER_MS + BATCH_MAX_MS] {
            now = after(now, wait);
            model.hear(run_until(&mut presence, now));
            for (d, socket) in &model.sockets {
                for n in &model.watching[d] {
                    let lapsed_just_now = model.lease_until.values().any(|until| {
                        *until <= now && after(*until, BATCH_MAX_MS) > now
                    });
                    if !lapsed_just_now {
                        let told = model.told.get(&(*socket, *n));
                        prop_assert_eq!(told, Some(&model.truth(now, *n)), "{} of {}", n, d);
                    }
                }
            }
        }

        for socket in model.sockets.values() {
            presence.disconnect(now, *socket, true);
        }
        run_until(&mut presence, after(now, LEASE_MS));
        prop_assert!(presence.sessions.is_empty() && presence.accounts.is_empty() && presence.watched.is_empty());
        prop_assert!(presence.leases.is_empty() && presence.batches.is_empty());
    }

    #[test]
    fn what_is_told_is_true_when_it_is_told(steps in prop::collection::vec((0..4_u8, 0..400_u64), 1..60)) {
        let mut presence = watched_pair();
        let mut now = at(1_000);
        let mut state = PresenceState::Online;
        let mut told = PresenceState::Online;
        for (choice, wait) in steps {
            state = [PresenceState::Online, PresenceState::Away, PresenceState::Offline, state][usize::from(choice)];
            presence.set(now, SocketId(1), state, None);
            presence.renew(now, SocketId(2));
            now = after(now, wait);
            for (_, _, changes) in updates(&run_until(&mut presence, now)) {
                told = changes[0].state;
                prop_assert_eq!(told, state);
            }
        }
        run_until(&mut presence, after(now, BATCH_MAX_MS)).iter().for_each(|(_, output)| {
            if let Output::Update { changes, .. } = output {
                told = changes[0].state;
            }
        });
        prop_assert_eq!(told, state);
    }
}
