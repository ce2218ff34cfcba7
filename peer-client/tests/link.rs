//! Pairs of links in one process, over real sockets of this machine; signaling is a function call.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sotto_peer_client::link::{LinkFaults, LinkOptions, LinkReport, Links, bare_builder, channel_options};
use sotto_peer_core::{Channel, LinkCommand, LinkEvent, LinkPath, TransportState};
use sotto_protocol::DeviceId;
use sotto_protocol::keys::Nonce;
use sotto_protocol::link::DescriptionKind;
use tokio::sync::{Mutex, MutexGuard, mpsc};
use tokio::task::JoinHandle;
use webrtc::data_channel::DataChannelEvent;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionEventHandler, RTCIceCandidate, RTCPeerConnectionIceEvent,
    RTCSessionDescription,
};

/// Long beyond anything that happens here; only ends a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);
const ALICE: DeviceId = DeviceId([1; 16]);
const BOB: DeviceId = DeviceId([2; 16]);
const SESSION: Nonce = Nonce([7; 16]);

/// Tests that count this process's sockets and tasks want it for themselves.
async fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::const_new(());
    ALONE.lock().await
}

/// How many UDP sockets this process has open.
fn udp_sockets() -> usize {
    let tables = ["/proc/net/udp", "/proc/net/udp6"].map(|table| std::fs::read_to_string(table).unwrap());
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    let inodes: HashSet<&str> = rows.filter_map(|row| row.split_whitespace().nth(9)).collect();
    let files = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    targets
        .filter(|target| {
            let inode = target.to_str().and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']'));
            inode.is_some_and(|inode| inodes.contains(inode))
        })
        .count()
}

/// One end of a link, its other end, and what was reported that is not signaling.
struct Peer {
    links: Arc<Links>,
    other: DeviceId,
    faults: LinkFaults,
    reports: mpsc::Receiver<LinkReport>,
}

impl Peer {
    fn new(other: DeviceId) -> Self {
        let faults = LinkFaults::default();
        let options = LinkOptions { faults: faults.clone(), ..Default::default() };
        let (events, reports) = mpsc::channel(64);
        Self { links: Arc::new(Links::new(events, options)), other, faults, reports }
    }

    fn command(&self, command: LinkCommand) {
        self.links.command(self.other, SESSION, command);
    }

    fn open(&self) {
        self.command(LinkCommand::Open { ice_servers: Vec::new() });
    }
}

/// What the test sees of a peer while signaling runs.
struct End {
    links: Arc<Links>,
    other: DeviceId,
    faults: LinkFaults,
    events: mpsc::UnboundedReceiver<LinkEvent>,
    signaled: mpsc::UnboundedReceiver<LinkEvent>,
    signaling: JoinHandle<()>,
}

impl End {
    fn command(&self, command: LinkCommand) {
        self.links.command(self.other, SESSION, command);
    }

    fn send(&self, channel: Channel, message: impl Into<Bytes>) {
        self.command(LinkCommand::Send { channel, message: message.into() });
    }

    async fn next(&mut self) -> LinkEvent {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
        event.expect("something is reported in time").expect("the connection still reports")
    }

    async fn until(&mut self, wanted: impl Fn(&LinkEvent) -> bool) -> LinkEvent {
        loop {
            let event = self.next().await;
            if wanted(&event) {
                return event;
            }
            assert!(!matches!(event, LinkEvent::Failed(_)), "{event:?}");
        }
    }

    async fn until_state(&mut self, state: TransportState) {
        self.until(|event| *event == LinkEvent::State(state)).await;
    }

    /// Both channels open and the path known, in whichever order.
    async fn until_up(&mut self) -> LinkPath {
        let (mut open, mut path) = (HashSet::new(), None);
        while open.len() < 2 || path.is_none() {
            match self.next().await {
                LinkEvent::ChannelOpen(channel) => drop(open.insert(channel)),
                LinkEvent::Path(found) => path = Some(found),
                LinkEvent::Failed(why) => panic!("{why}"),
                _ => {}
            }
        }
        path.unwrap()
    }

    async fn message(&mut self, on: Channel) -> Bytes {
        let wanted =
            |event: &LinkEvent| matches!(event, LinkEvent::Message { channel, .. } if *channel == on);
        match self.until(wanted).await {
            LinkEvent::Message { message, .. } => message,
            other => unreachable!("{other:?}"),
        }
    }
}

/// Passes descriptions and candidates of `from` on to `to`, and everything else to the test.
fn signal(from: Peer, to: &Arc<Links>, me: DeviceId) -> End {
    let Peer { links, other, faults, mut reports } = from;
    let (events_in, events) = mpsc::unbounded_channel();
    let (signaled_in, signaled) = mpsc::unbounded_channel();
    let to = Arc::clone(to);
    let signaling = tokio::spawn(async move {
        while let Some((device, session, event)) = reports.recv().await {
            assert_eq!((device, session), (other, SESSION));
            let command = match event.clone() {
                LinkEvent::Description { kind, sdp } => LinkCommand::SetRemote { kind, sdp },
                LinkEvent::Candidate { candidate, mid } => LinkCommand::AddCandidate { candidate, mid },
                event => {
                    let _ = events_in.send(event);
                    continue;
                }
            };
            let _ = signaled_in.send(event);
            to.command(me, session, command);
        }
    });
    End { links, other, faults, events, signaled, signaling }
}

/// Two peers with signaling between them and their connections open; `alice` is yet to offer.
fn pair() -> (End, End) {
    let (alice, bob) = (Peer::new(BOB), Peer::new(ALICE));
    alice.open();
    bob.open();
    let (alice_links, bob_links) = (Arc::clone(&alice.links), Arc::clone(&bob.links));
    (signal(alice, &bob_links, ALICE), signal(bob, &alice_links, BOB))
}

async fn linked() -> (End, End) {
    let (mut alice, mut bob) = pair();
    alice.command(LinkCommand::Offer { restart: false });
    assert_eq!(alice.until_up().await, LinkPath::Direct);
    assert_eq!(bob.until_up().await, LinkPath::Direct);
    (alice, bob)
}

async fn close(alice: End, bob: End) {
    alice.links.close_all().await;
    bob.links.close_all().await;
    for end in [alice, bob] {
        end.signaling.abort();
        let _ = end.signaling.await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_arrives_once_in_both_directions() {
    let _alone = alone().await;
    let (mut alice, mut bob) = linked().await;
    let messages = || {
        (0..2_000_u32).map(|n| {
            let length = if n % 100 == 7 { 60 * 1024 } else { 200 };
            let mut message = vec![n as u8; length];
            message[..4].copy_from_slice(&n.to_be_bytes());
            Bytes::from(message)
        })
    };
    messages().for_each(|message| alice.send(Channel::Msg, message));
    messages().for_each(|message| bob.send(Channel::Msg, message));
    for end in [&mut bob, &mut alice] {
        let mut missing: HashSet<Bytes> = messages().collect();
        while !missing.is_empty() {
            assert!(missing.remove(&end.message(Channel::Msg).await), "a message twice, or a strange one");
        }
    }
    close(alice, bob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_go_both_ways_beside_messages() {
    let _alone = alone().await;
    let (mut alice, mut bob) = linked().await;
    alice.send(Channel::Probe, "ping");
    assert_eq!(bob.message(Channel::Probe).await, "ping");
    bob.send(Channel::Probe, "pong");
    assert_eq!(alice.message(Channel::Probe).await, "pong");
    close(alice, bob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_sent_before_the_channel_is_open_wait_for_it() {
    let _alone = alone().await;
    // Several, for it is the first message right behind the handshake that the library would lose, at times.
    for _ in 0..8 {
        let (mut alice, mut bob) = pair();
        alice.send(Channel::Msg, "early");
        bob.send(Channel::Msg, "early");
        alice.command(LinkCommand::Offer { restart: false });
        assert_eq!(bob.message(Channel::Msg).await, "early");
        assert_eq!(alice.message(Channel::Msg).await, "early");
        close(alice, bob).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn candidates_are_trickled_after_a_description_without_any_and_end_with_an_empty_one() {
    let _alone = alone().await;
    let (mut alice, bob) = pair();
    alice.command(LinkCommand::Offer { restart: false });
    let LinkEvent::Description { kind: DescriptionKind::Offer, sdp } = alice.signaled.recv().await.unwrap()
    else {
        panic!("the description comes first");
    };
    assert!(!sdp.contains("a=candidate"), "{sdp}");
    let mut count = 0;
    loop {
        let LinkEvent::Candidate { candidate, mid } = alice.signaled.recv().await.unwrap() else {
            panic!("candidates follow");
        };
        assert!(sdp.contains(&format!("a=mid:{}\r\n", mid.unwrap())));
        if candidate.is_empty() {
            break;
        }
        assert!(candidate.starts_with("candidate:") && candidate.contains(" typ host"), "{candidate}");
        assert!(!candidate.contains(" 0.0.0.0 ") && !candidate.contains(" :: "), "{candidate}");
        count += 1;
    }
    assert!(count > 0);
    close(alice, bob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loopback_is_offered_where_it_is_asked_for() {
    let _alone = alone().await;
    let (events, mut reports) = mpsc::channel(64);
    let links = Links::new(events, LinkOptions { include_loopback: true, ..Default::default() });
    links.command(BOB, SESSION, LinkCommand::Open { ice_servers: Vec::new() });
    links.command(BOB, SESSION, LinkCommand::Offer { restart: false });
    loop {
        match reports.recv().await.unwrap().2 {
            LinkEvent::Candidate { candidate, .. } if candidate.contains(" 127.0.0.1 ") => break,
            LinkEvent::Candidate { candidate, .. } => {
                assert!(!candidate.is_empty(), "no loopback among them")
            }
            _ => {}
        }
    }
    links.close_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_cut_heals_by_itself() {
    let _alone = alone().await;
    let (mut alice, mut bob) = linked().await;
    alice.faults.set_cut(true);
    alice.until_state(TransportState::Disconnected).await;
    alice.send(Channel::Msg, "through the cut");
    alice.faults.set_cut(false);
    alice.until_state(TransportState::Connected).await;
    assert_eq!(bob.message(Channel::Msg).await, "through the cut");
    close(alice, bob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ice_restart_mends_a_path_that_was_given_up() {
    let _alone = alone().await;
    let (mut alice, mut bob) = linked().await;
    alice.faults.set_cut(true);
    alice.send(Channel::Msg, "from before");
    alice.until_state(TransportState::Failed).await;
    bob.until_state(TransportState::Failed).await;
    alice.faults.set_cut(false);
    alice.command(LinkCommand::Offer { restart: true });
    alice.until_state(TransportState::Connected).await;
    alice.until(|event| *event == LinkEvent::Path(LinkPath::Direct)).await;
    bob.until_state(TransportState::Connected).await;
    alice.send(Channel::Msg, "from after");
    let both = HashSet::from([bob.message(Channel::Msg).await, bob.message(Channel::Msg).await]);
    assert_eq!(both, HashSet::from([Bytes::from("from before"), Bytes::from("from after")]));
    bob.send(Channel::Msg, "and back");
    assert_eq!(alice.message(Channel::Msg).await, "and back");
    close(alice, bob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn either_side_can_restart_ice_while_the_path_stands() {
    let _alone = alone().await;
    let (mut alice, mut bob) = linked().await;
    for _ in 0..2 {
        bob.command(LinkCommand::Offer { restart: true });
        bob.until_state(TransportState::Connected).await;
        alice.until_state(TransportState::Connected).await;
        bob.send(Channel::Msg, "new path");
        assert_eq!(alice.message(Channel::Msg).await, "new path");
        alice.command(LinkCommand::Offer { restart: true });
        alice.until_state(TransportState::Connected).await;
        bob.until_state(TransportState::Connected).await;
        alice.send(Channel::Msg, "new path");
        assert_eq!(bob.message(Channel::Msg).await, "new path");
    }
    close(alice, bob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_dropped_and_messages_kept_while_the_path_is_dead() {
    let _alone = alone().await;
    let (mut alice, mut bob) = linked().await;
    alice.faults.set_cut(true);
    for n in 0..1_000_u32 {
        alice.send(Channel::Probe, vec![0; 100]);
        alice.send(Channel::Msg, n.to_be_bytes().to_vec());
    }
    alice.until_state(TransportState::Disconnected).await;
    alice.faults.set_cut(false);
    let (mut probes, mut missing): (u32, HashSet<u32>) = (0, (0..1_000).collect());
    while !missing.is_empty() {
        match bob.next().await {
            LinkEvent::Message { channel: Channel::Probe, .. } => probes += 1,
            LinkEvent::Message { channel: Channel::Msg, message } => {
                assert!(missing.remove(&u32::from_be_bytes(message[..].try_into().unwrap())));
            }
            _ => {}
        }
    }
    assert!(probes < 50, "{probes}");
    close(alice, bob).await;
}

#[test]
fn a_killed_peer_is_noticed() {
    let world =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (alices, bobs) = (world(), world());
    let _alone = alices.block_on(alone());
    let (alice, bob) = (Peer::new(BOB), Peer::new(ALICE));
    let (alice_links, bob_links) = (Arc::clone(&alice.links), Arc::clone(&bob.links));
    let mut alice = alices.block_on(async {
        alice.open();
        signal(alice, &bob_links, ALICE)
    });
    let mut bob = bobs.block_on(async {
        bob.open();
        signal(bob, &alice_links, BOB)
    });
    alices.block_on(async { alice.command(LinkCommand::Offer { restart: false }) });
    bobs.block_on(bob.until_up());
    alices.block_on(alice.until_up());
    // As after kill -9: every task is gone, every socket closed, and nobody has said goodbye.
    bobs.shutdown_background();
    alices.block_on(async {
        alice.until_state(TransportState::Disconnected).await;
        alice.until_state(TransportState::Failed).await;
        alice.links.close_all().await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_closes_is_noticed_and_reports_nothing_itself() {
    let _alone = alone().await;
    let (mut alice, mut bob) = linked().await;
    bob.command(LinkCommand::Close);
    alice.until_state(TransportState::Closed).await;
    bob.links.close_all().await;
    bob.command(LinkCommand::Offer { restart: false });
    bob.send(Channel::Msg, "nobody hears this");
    assert!(bob.events.try_recv().is_err());
    close(alice, bob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_leaves_no_socket_and_no_task_behind() {
    let _alone = alone().await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = (udp_sockets(), tasks());

    let (alice, bob) = linked().await;
    assert!(udp_sockets() > before.0 && tasks() > before.1);
    close(alice, bob).await;
    // Neither connected nor ever offered.
    let (alice, bob) = pair();
    close(alice, bob).await;
    // Dropped instead of closed.
    let (alice, bob) = linked().await;
    alice.signaling.abort();
    bob.signaling.abort();
    drop((alice, bob));

    let gone = async {
        while udp_sockets() > before.0 || tasks() > before.1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("every socket and task is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_driver_takes_its_extra_passes() {
    let _alone = alone().await;
    let (alice, mut bob) = linked().await;
    let before = bob.links.extra_passes();
    assert!(before > 0);
    alice.send(Channel::Msg, "wake up");
    bob.message(Channel::Msg).await;
    let again = async {
        while bob.links.extra_passes() < before + 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("two passes after a wake-up");
    close(alice, bob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_description_that_makes_no_sense_fails_the_link_without_naming_addresses() {
    let _alone = alone().await;
    for sdp in ["", "v=0", "v=0\r\nc=IN IP4 203.0.113.77\r\n", "\u{0}\u{fffd}", &"a=x\r\n".repeat(4_000)] {
        let mut alice = Peer::new(BOB);
        alice.open();
        alice.command(LinkCommand::SetRemote { kind: DescriptionKind::Offer, sdp: sdp.to_owned() });
        let why = loop {
            match tokio::time::timeout(PATIENCE, alice.reports.recv()).await.unwrap().unwrap().2 {
                LinkEvent::Failed(why) => break why,
                event => assert!(!matches!(event, LinkEvent::Description { .. }), "{event:?}"),
            }
        };
        assert!(!why.contains("203.0.113.77"), "{why}");
        alice.links.close_all().await;
    }
}

/// A peer by hand, of the library alone: reports its candidates.
struct Bare(mpsc::UnboundedSender<RTCIceCandidate>);

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Bare {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        let _ = self.0.send(event.candidate);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_connection_can_link_and_one_with_channels_of_its_own_is_dropped() {
    let _alone = alone().await;
    let mut alice = Peer::new(BOB);
    alice.open();
    let (found, mut candidates) = mpsc::unbounded_channel();
    let bare =
        bare_builder(&LinkOptions::default()).with_handler(Arc::new(Bare(found))).build().await.unwrap();
    let [messages, probes] = [Channel::Msg, Channel::Probe].map(channel_options);
    let messages = bare.create_data_channel(messages.0, Some(messages.1)).await.unwrap();
    let _probes = bare.create_data_channel(probes.0, Some(probes.1)).await.unwrap();
    let offer = bare.create_offer(None).await.unwrap();
    let (kind, sdp) = (DescriptionKind::Offer, offer.sdp.clone());
    alice.command(LinkCommand::SetRemote { kind, sdp });
    bare.set_local_description(offer).await.unwrap();

    let mut strange = None;
    let why = loop {
        let report = tokio::select! {
            report = tokio::time::timeout(PATIENCE, alice.reports.recv()) => report.unwrap().unwrap().2,
            Some(candidate) = candidates.recv() => {
                let candidate = candidate.to_json().unwrap().candidate;
                alice.command(LinkCommand::AddCandidate { candidate, mid: None });
                continue;
            }
        };
        match report {
            LinkEvent::Description { sdp, .. } => {
                bare.set_remote_description(RTCSessionDescription::answer(sdp).unwrap()).await.unwrap();
            }
            LinkEvent::ChannelOpen(Channel::Msg) => {
                // Its own end may open a moment later.
                while !matches!(messages.poll().await, Some(DataChannelEvent::OnOpen)) {}
                messages.send(b"hello"[..].into()).await.unwrap();
            }
            LinkEvent::Message { message, .. } => {
                assert_eq!(message, "hello");
                strange = Some(bare.create_data_channel("strange", None).await.unwrap());
            }
            LinkEvent::Failed(why) => break why,
            _ => {}
        }
    };
    assert!(strange.is_some() && why.contains("channel of its own"), "{why}");
    bare.close().await.unwrap();
    alice.links.close_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_candidates_are_passed_over_before_and_after_the_description() {
    let _alone = alone().await;
    let (mut alice, mut bob) = pair();
    let bad = [
        "nonsense",
        "candidate:",
        "candidate:1 1 udp 1 300.1.1.1 1 typ host",
        "candidate:1 1 sctp 1 ::1 9 typ x",
    ];
    bad.iter().for_each(|candidate| {
        bob.command(LinkCommand::AddCandidate { candidate: (*candidate).to_owned(), mid: None });
    });
    alice.command(LinkCommand::Offer { restart: false });
    alice.until_up().await;
    bob.until_up().await;
    bad.iter().for_each(|candidate| {
        alice.command(LinkCommand::AddCandidate { candidate: (*candidate).to_owned(), mid: None });
    });
    alice.send(Channel::Msg, "fine");
    assert_eq!(bob.message(Channel::Msg).await, "fine");
    close(alice, bob).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_cannot_be_used_do_not_stop_a_direct_link() {
    let _alone = alone().await;
    let (events, mut reports) = mpsc::channel(64);
    let links = Links::new(events, LinkOptions::default());
    let ice_servers = ["turn:192.0.2.9:3478", "no URL", "stun:127.0.0.1:9"].map(str::to_owned).to_vec();
    links.command(BOB, SESSION, LinkCommand::Open { ice_servers });
    links.command(BOB, SESSION, LinkCommand::Offer { restart: false });
    let (_, _, first) = reports.recv().await.unwrap();
    assert!(matches!(first, LinkEvent::Description { .. }), "{first:?}");
    links.close_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_queues_run_over_fails_instead_of_dropping_silently() {
    let _alone = alone().await;
    let (events, mut reports) = mpsc::channel(1);
    let links = Links::new(events, LinkOptions::default());
    links.command(BOB, SESSION, LinkCommand::Open { ice_servers: Vec::new() });
    let message = Bytes::from(vec![0; 60 * 1024]);
    for _ in 0..1_200 {
        links.command(BOB, SESSION, LinkCommand::Send { channel: Channel::Msg, message: message.clone() });
    }
    let (_, _, event) = tokio::time::timeout(PATIENCE, reports.recv()).await.unwrap().unwrap();
    assert_eq!(event, LinkEvent::Failed("too many messages are waiting".into()));
    links.close_all().await;
}
