//! One RTCPeerConnection: negotiates, trickles candidates, follows its state, and is always closed.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use rtc::ice::mdns::MulticastDnsMode;
use rtc::peer_connection::configuration::RTCOfferOptions;
use sotto_peer_core::{Channel, LinkEvent, LinkPath, TransportState};
use sotto_protocol::DeviceId;
use sotto_protocol::keys::Nonce;
use sotto_protocol::link::DescriptionKind;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::debug;
use webrtc::data_channel::DataChannel;
use webrtc::error::Error;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder,
    RTCIceCandidate, RTCIceCandidateInit, RTCIceCandidateType, RTCIceConnectionState, RTCIceGatheringState,
    RTCIceServer, RTCPeerConnectionIceEvent, RTCPeerConnectionState, RTCSessionDescription,
    SettingEngineBuilder,
};

use super::addresses::LocalAddresses;
use super::channels::{self, channel_options};
use super::runtime::SottoRuntime;
use super::{Fate, LinkOptions, LinkReport};

/// Between connectivity checks. The crate's 200 ms makes a local link open in 0.8 s instead of 0.04 s.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Checks of a candidate pair before it counts as failed: 3 s, for the peer starts only when its description has
/// come through signaling. The crate's 7 would be over before the first answer of a slow path.
const CHECKS: u16 = 150;

/// Without an answer for this long a path is `disconnected`.
const DISCONNECTED_AFTER: Duration = Duration::from_secs(2);

/// And after this much more, `failed`.
const FAILED_AFTER: Duration = Duration::from_secs(4);

/// Between the keep-alives that both are measured by.
const KEEP_ALIVE: Duration = Duration::from_millis(500);

/// How long a better path is given before one through a NAT, or through TURN, is taken: a chosen pair is never left
/// for a better one. The relay's log carries messages meanwhile, so patience costs little.
const REFLEXIVE_WAIT: Duration = Duration::from_millis(100);
const TURN_WAIT: Duration = Duration::from_secs(1);

/// Remote candidates taken a description; each is paired with every local one.
const MAX_REMOTE_CANDIDATES: usize = 64;

/// `close` waits 100 ms for the driver by itself; this is for a library that has lost its way.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What to do, besides sending.
#[derive(Debug)]
pub(super) enum Control {
    Offer { restart: bool },
    SetRemote { kind: DescriptionKind, sdp: String },
    AddCandidate { candidate: String, mid: Option<String> },
}

/// What the library and the channels' tasks have to say.
#[derive(Debug)]
pub(super) enum Signal {
    Candidate(RTCIceCandidate),
    Gathered,
    State(RTCPeerConnectionState),
    PairSelected,
    Closed,
    Failed(&'static str),
}

/// Why a connection's task ends.
pub(super) enum Stop {
    /// Its owner wants no more of it.
    Ended,
    /// Why, for people; without addresses, which the library's own errors may hold.
    Failed(&'static str),
}

/// What a connection is made of.
pub(super) struct Start {
    pub(super) options: LinkOptions,
    pub(super) runtime: SottoRuntime,
    pub(super) ice_servers: Vec<String>,
    pub(super) control: mpsc::Receiver<Control>,
    pub(super) messages: mpsc::UnboundedReceiver<Bytes>,
    pub(super) queued: Arc<AtomicUsize>,
    pub(super) probes: mpsc::Receiver<Bytes>,
}

/// Where a connection's events go, until it is ended.
#[derive(Clone)]
pub(super) struct Reporter {
    key: (DeviceId, Nonce),
    events: mpsc::Sender<LinkReport>,
    fate: watch::Receiver<Fate>,
}

impl Reporter {
    pub(super) fn new(
        key: (DeviceId, Nonce),
        events: mpsc::Sender<LinkReport>,
        fate: watch::Receiver<Fate>,
    ) -> Self {
        Self { key, events, fate }
    }

    /// Waits for room; gives up when the connection is ended.
    pub(super) async fn report(&mut self, event: LinkEvent) -> Result<(), Stop> {
        let report = (self.key.0, self.key.1, event);
        let report = match self.events.try_send(report) {
            Ok(()) => return Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Stop::Ended),
            Err(mpsc::error::TrySendError::Full(report)) => report,
        };
        tokio::select! {
            biased;
            () = ended(&mut self.fate) => Err(Stop::Ended),
            sent = self.events.send(report) => sent.map_err(|_| Stop::Ended),
        }
    }
}

async fn ended(fate: &mut watch::Receiver<Fate>) {
    while fate.changed().await.is_ok() {}
}

/// Until it is ended or overloaded.
async fn stopped(fate: &mut watch::Receiver<Fate>) -> Stop {
    match fate.wait_for(|fate| *fate != Fate::Live).await.as_deref() {
        Ok(Fate::Overloaded(why)) => Stop::Failed(why),
        Ok(Fate::Live) | Err(_) => Stop::Ended,
    }
}

/// A connection's whole life.
pub(super) async fn run(start: Start, mut reporter: Reporter) {
    let (signals, signalled) = mpsc::unbounded_channel();
    let opened = build(&start, signals.clone()).await;
    let (connection, stop) = match opened {
        Err(error) => {
            debug!(%error, "no connection");
            (None, Stop::Failed("no connection could be made on this machine"))
        }
        Ok(connection) => {
            let life = live(start, Arc::clone(&connection), signals, signalled, reporter.clone());
            // The library parses what a peer sends; should that ever panic, it costs this link only.
            let stop = AssertUnwindSafe(life).catch_unwind().await;
            (Some(connection), stop.unwrap_or(Stop::Failed("the WebRTC library failed")))
        }
    };
    if let Stop::Failed(why) = stop {
        debug!(why, device = %reporter.key.0, "link failed");
        let _ = reporter.report(LinkEvent::Failed(why.into())).await;
    }
    // Without this two sockets and a task would stay behind.
    if let Some(connection) = connection
        && let Ok(Err(error)) = tokio::time::timeout(CLOSE_TIMEOUT, connection.close()).await
    {
        debug!(%error, "close");
    }
}

async fn live(
    start: Start,
    connection: Arc<dyn PeerConnection>,
    signals: mpsc::UnboundedSender<Signal>,
    mut signalled: mpsc::UnboundedReceiver<Signal>,
    reporter: Reporter,
) -> Stop {
    let Start { runtime, mut control, messages, queued, probes, .. } = start;
    let (message_channel, probe_channel) =
        match futures::try_join!(create(&*connection, Channel::Msg), create(&*connection, Channel::Probe)) {
            Ok(both) => both,
            Err(error) => return refused("the channels could not be made")(error),
        };
    // Aborts what is left when dropped.
    let mut tasks = JoinSet::new();
    let receive = |which, channel, open| {
        channels::receive(which, channel, open, runtime.clone(), reporter.clone(), signals.clone())
    };
    let (open, opened) = watch::channel(false);
    tasks.spawn(receive(Channel::Msg, Arc::clone(&message_channel), open));
    tasks.spawn(channels::send_messages(message_channel, opened, messages, queued, signals.clone()));
    let (open, opened) = watch::channel(false);
    tasks.spawn(receive(Channel::Probe, Arc::clone(&probe_channel), open));
    tasks.spawn(channels::send_probes(probe_channel, opened, probes));

    let mut fate = reporter.fate.clone();
    let mut negotiation = Negotiation::new(connection, reporter);
    loop {
        let done = tokio::select! {
            biased;
            stop = stopped(&mut fate) => return stop,
            Some(signal) = signalled.recv() => negotiation.signal(signal).await,
            command = control.recv() => match command {
                Some(command) => negotiation.command(command).await,
                None => return Stop::Ended,
            },
        };
        if let Err(stop) = done {
            return stop;
        }
    }
}

async fn create(connection: &dyn PeerConnection, channel: Channel) -> Result<Arc<dyn DataChannel>, Error> {
    let (label, options) = channel_options(channel);
    connection.create_data_channel(label, Some(options)).await
}

/// For errors of the library: the details are for a developer's eyes.
fn refused(what: &'static str) -> impl FnOnce(Error) -> Stop {
    move |error| {
        debug!(%error, what, "refused");
        Stop::Failed(what)
    }
}

/// Descriptions, candidates and states of a connection, in the order they must be reported.
struct Negotiation {
    connection: Arc<dyn PeerConnection>,
    reporter: Reporter,
    /// Of the one media section.
    mid: Option<String>,
    has_remote: bool,
    /// Remote candidates that came before their description.
    early: Vec<RTCIceCandidateInit>,
    remote_candidates: usize,
    state: Option<TransportState>,
    path: Option<LinkPath>,
}

impl Negotiation {
    fn new(connection: Arc<dyn PeerConnection>, reporter: Reporter) -> Self {
        Self {
            connection,
            reporter,
            mid: None,
            has_remote: false,
            early: Vec::new(),
            remote_candidates: 0,
            state: None,
            path: None,
        }
    }

    async fn command(&mut self, command: Control) -> Result<(), Stop> {
        match command {
            Control::Offer { restart } => {
                let options = RTCOfferOptions { ice_restart: restart };
                let offer = self.connection.create_offer(Some(options)).await;
                let offer = offer.map_err(refused("no offer could be made"))?;
                self.set_local(DescriptionKind::Offer, offer).await
            }
            Control::SetRemote { kind, sdp } => self.set_remote(kind, sdp).await,
            Control::AddCandidate { candidate, mid } => {
                self.add_candidate(candidate, mid).await;
                Ok(())
            }
        }
    }

    async fn set_local(
        &mut self,
        kind: DescriptionKind,
        description: RTCSessionDescription,
    ) -> Result<(), Stop> {
        let sdp = without_candidates(&description.sdp);
        self.mid = sdp.lines().find_map(|line| line.strip_prefix("a=mid:")).map(str::to_owned);
        let set = self.connection.set_local_description(description).await;
        set.map_err(refused("the local description could not be set"))?;
        // Candidates are reported by this same task, hence after it.
        self.reporter.report(LinkEvent::Description { kind, sdp }).await
    }

    async fn set_remote(&mut self, kind: DescriptionKind, sdp: String) -> Result<(), Stop> {
        let refuse = refused("the peer's description was refused");
        let description = match kind {
            DescriptionKind::Offer => RTCSessionDescription::offer(sdp),
            DescriptionKind::Answer => RTCSessionDescription::answer(sdp),
        };
        let set = match description {
            Ok(description) => self.connection.set_remote_description(description).await,
            Err(error) => Err(error),
        };
        set.map_err(refuse)?;
        self.has_remote = true;
        self.remote_candidates = self.early.len();
        for candidate in std::mem::take(&mut self.early) {
            self.give_candidate(candidate).await;
        }
        match kind {
            DescriptionKind::Answer => Ok(()),
            DescriptionKind::Offer => {
                let answer = self.connection.create_answer(None).await;
                let answer = answer.map_err(refused("no answer could be made"))?;
                self.set_local(DescriptionKind::Answer, answer).await
            }
        }
    }

    async fn add_candidate(&mut self, candidate: String, mid: Option<String>) {
        let waiting = if self.has_remote { self.remote_candidates } else { self.early.len() };
        if waiting >= MAX_REMOTE_CANDIDATES {
            debug!("more remote candidates than are tried");
            return;
        }
        let candidate =
            RTCIceCandidateInit { candidate, sdp_mid: mid, sdp_mline_index: Some(0), ..Default::default() };
        if !self.has_remote {
            self.early.push(candidate);
            return;
        }
        self.remote_candidates += 1;
        self.give_candidate(candidate).await;
    }

    /// A candidate that the library cannot use (a protocol it does not speak, a name that is not mDNS) is no reason
    /// to give up on the others.
    async fn give_candidate(&mut self, candidate: RTCIceCandidateInit) {
        if let Err(error) = self.connection.add_ice_candidate(candidate).await {
            debug!(%error, "remote candidate ignored");
        }
    }

    async fn signal(&mut self, signal: Signal) -> Result<(), Stop> {
        match signal {
            Signal::Candidate(candidate) => match candidate.to_json() {
                Ok(candidate) => self.report_candidate(candidate.candidate).await,
                Err(error) => {
                    debug!(%error, "local candidate ignored");
                    Ok(())
                }
            },
            Signal::Gathered => self.report_candidate(String::new()).await,
            Signal::State(state) => self.state_changed(state).await,
            Signal::PairSelected => self.report_path().await,
            Signal::Closed => self.report_state(TransportState::Closed).await,
            Signal::Failed(why) => Err(Stop::Failed(why)),
        }
    }

    async fn report_candidate(&mut self, candidate: String) -> Result<(), Stop> {
        self.reporter.report(LinkEvent::Candidate { candidate, mid: self.mid.clone() }).await
    }

    async fn state_changed(&mut self, state: RTCPeerConnectionState) -> Result<(), Stop> {
        match state {
            RTCPeerConnectionState::Connecting => self.report_state(TransportState::Connecting).await,
            RTCPeerConnectionState::Connected => {
                self.report_state(TransportState::Connected).await?;
                self.report_path().await
            }
            RTCPeerConnectionState::Disconnected => self.report_state(TransportState::Disconnected).await,
            RTCPeerConnectionState::Failed => self.report_state(TransportState::Failed).await,
            RTCPeerConnectionState::Closed => self.report_state(TransportState::Closed).await,
            // New and unspecified; the crate may add more.
            _ => Ok(()),
        }
    }

    async fn report_state(&mut self, state: TransportState) -> Result<(), Stop> {
        if self.state == Some(state) {
            return Ok(());
        }
        self.state = Some(state);
        if state != TransportState::Connected {
            // Said anew once it stands again.
            self.path = None;
        }
        self.reporter.report(LinkEvent::State(state)).await
    }

    /// Says which way the selected pair goes, if that is news. A pair is selected before DTLS stands; the path
    /// counts from then on.
    async fn report_path(&mut self) -> Result<(), Stop> {
        if self.state != Some(TransportState::Connected) {
            return Ok(());
        }
        let path = selected_path(&*self.connection).await;
        if path.is_none() || path == self.path {
            return Ok(());
        }
        self.path = path;
        match path {
            Some(path) => self.reporter.report(LinkEvent::Path(path)).await,
            None => Ok(()),
        }
    }
}

async fn selected_path(connection: &dyn PeerConnection) -> Option<LinkPath> {
    let ice = connection.sctp().await?.transport().ice_transport();
    let pair = ice.get_selected_candidate_pair().await.ok()??;
    let relayed = [pair.local(), pair.remote()].iter().any(|end| end.typ == RTCIceCandidateType::Relay);
    Some(if relayed { LinkPath::Turn } else { LinkPath::Direct })
}

/// Candidates are trickled. What an ICE restart's description would hold are those of the sockets it replaces.
fn without_candidates(sdp: &str) -> String {
    let kept = |line: &&str| !line.starts_with("a=candidate:") && !line.starts_with("a=end-of-candidates");
    sdp.split_inclusive('\n').filter(kept).collect()
}

async fn build(
    start: &Start,
    signals: mpsc::UnboundedSender<Signal>,
) -> Result<Arc<dyn PeerConnection>, Error> {
    let handler = Arc::new(Handler { signals });
    let attempt = |mdns| {
        builder(&start.options, &start.runtime, &start.ice_servers, mdns).with_handler(handler.clone())
    };
    // Browsers name their candidates by mDNS. Its socket is not to be had everywhere (no multicast route, a port
    // held exclusively), and links between native peers do not need it.
    match attempt(MulticastDnsMode::QueryOnly).build().await {
        Ok(connection) => Ok(Arc::new(connection)),
        Err(error) => {
            debug!(%error, "again without mDNS");
            Ok(Arc::new(attempt(MulticastDnsMode::Disabled).build().await?))
        }
    }
}

/// A connection set up as a link's is, for whoever wants to drive one by hand: give it a handler, build it, make
/// channels with [`channel_options`], and [`close`](PeerConnection::close) it in the end.
pub fn bare_builder(options: &LinkOptions) -> PeerConnectionBuilder<LocalAddresses> {
    let runtime = SottoRuntime::new(options.faults.clone());
    builder(options, &runtime, &[], MulticastDnsMode::Disabled)
}

fn builder(
    options: &LinkOptions,
    runtime: &SottoRuntime,
    ice_servers: &[String],
    mdns: MulticastDnsMode,
) -> PeerConnectionBuilder<LocalAddresses> {
    let settings = SettingEngineBuilder::new()
        .with_ice_connection_attempts(Some(CHECK_INTERVAL), Some(CHECKS))
        .with_ice_timeouts(Some(DISCONNECTED_AFTER), Some(FAILED_AFTER), Some(KEEP_ALIVE))
        .with_host_acceptance_min_wait(Some(Duration::ZERO))
        .with_srflx_acceptance_min_wait(Some(REFLEXIVE_WAIT))
        .with_prflx_acceptance_min_wait(Some(REFLEXIVE_WAIT))
        .with_relay_acceptance_min_wait(Some(TURN_WAIT))
        .with_multicast_dns_mode(mdns)
        // A restart binds new sockets, on the addresses that the machine has by then.
        .with_discard_local_candidates_during_ice_restart(true)
        .build();
    let configuration = RTCConfigurationBuilder::default().with_ice_servers(usable(ice_servers)).build();
    PeerConnectionBuilder::new()
        .with_configuration(configuration)
        .with_setting_engine(settings)
        .with_runtime(Arc::new(runtime.clone()))
        .with_udp_addrs(vec![LocalAddresses { include_loopback: options.include_loopback }])
        .with_data_channel_send_buffer_limit(channels::SEND_BUFFER)
}

/// The library refuses a whole configuration for one server it cannot use (a TURN server without credentials, a
/// typing error); a direct link needs none of them.
fn usable(urls: &[String]) -> Vec<RTCIceServer> {
    let servers = urls.iter().map(|url| RTCIceServer { urls: vec![url.clone()], ..Default::default() });
    let (usable, refused): (Vec<_>, Vec<_>) = servers.partition(|server| server.urls().is_ok());
    if !refused.is_empty() {
        debug!(count = refused.len(), "ICE servers ignored");
    }
    usable
}

/// Runs inside the library's driver, and therefore only takes note.
struct Handler {
    signals: mpsc::UnboundedSender<Signal>,
}

impl Handler {
    fn note(&self, signal: Signal) {
        // The task is gone only when the connection is about to be closed.
        let _ = self.signals.send(signal);
    }
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_candidate(&self, event: RTCPeerConnectionIceEvent) {
        self.note(Signal::Candidate(event.candidate));
    }

    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.note(Signal::Gathered);
        }
    }

    async fn on_ice_connection_state_change(&self, state: RTCIceConnectionState) {
        if matches!(state, RTCIceConnectionState::Connected | RTCIceConnectionState::Completed) {
            self.note(Signal::PairSelected);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.note(Signal::State(state));
    }

    async fn on_data_channel(&self, _channel: Arc<dyn DataChannel>) {
        // Ours are negotiated out of band.
        self.note(Signal::Failed("the peer opened a channel of its own"));
    }
}
