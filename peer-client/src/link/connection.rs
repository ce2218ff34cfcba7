//! One RTCPeerConnection: negotiates, trickles candidates, follows its state, and is always closed.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
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
    PeerConnection, PeerConnectionEventHandler, RTCIceCandidate, RTCIceCandidateInit, RTCIceCandidateType,
    RTCIceConnectionState, RTCIceGatheringState, RTCPeerConnectionIceEvent, RTCPeerConnectionState,
    RTCSessionDescription,
};

use super::channels::{self, channel_options};
use super::runtime::SottoRuntime;
use super::{Fate, LinkOptions, LinkReport, setup};

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
    let handler = Arc::new(Handler { signals: signals.clone() });
    let opened = setup::build(&start.options, &start.runtime, &start.ice_servers, handler).await;
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
