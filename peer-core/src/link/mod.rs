//! A link to one device: negotiated through signaling, checked by signatures, watched by probes.
//!
//! Perfect negotiation: both may offer at any time; of two offers that cross, the polite side (the smaller
//! DeviceId) drops its own. Only the impolite side restarts ICE, the polite one asks it to, so that restarts
//! never cross. Nothing from the other side is believed before its HELLO, which signs both DTLS fingerprints.

mod cursor;
mod negotiation;
mod probe;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use sotto_protocol::cbor::{self, Text};
use sotto_protocol::keys::Nonce;
use sotto_protocol::link::{
    DescriptionClaim, DescriptionKind, Hello, HelloClaim, LINK_VERSION, LinkFrame, Negotiation, ProbeFrame,
    SignedDescription, sdp_fingerprint,
};
use sotto_protocol::signal::ClientMessage;
use sotto_protocol::{AccountId, ConversationId, DeviceId, Hash, PublicKey, limits};

use crate::crypto::Ed25519;
use crate::effects::Effects;
use crate::identity::Identity;
use crate::io::{
    Channel, LinkCommand, LinkEvent, LinkPath, Output, PathState, Socket, SocketCommand, TransportState,
};
use crate::timers::{Timer, Timers};
pub(crate) use cursor::LinkCursor;
use probe::Prober;

/// From the first offer to HELLO.
const ATTEMPT: Duration = Duration::from_secs(15);

/// A dead path gets this long to be mended by ICE restarts, before the connection is given up.
const MEND: Duration = Duration::from_secs(20);

/// Between two ICE restarts.
const RESTART_EVERY: Duration = Duration::from_secs(4);

/// Between attempts, doubled with each failure.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// After the server said that the device is not connected, and nothing says otherwise.
const UNREACHABLE_RETRY: Duration = Duration::from_secs(30);

/// Several frames go in one message up to this; a larger message would delay small ones behind it.
const GATHER: usize = 16 * 1024;

/// Candidates kept until the description they belong to is set.
const MAX_EARLY_CANDIDATES: usize = 32;

/// What a link needs around it.
pub(crate) struct LinkCtx<'a> {
    pub fx: &'a mut Effects,
    pub timers: &'a mut Timers,
    pub me: &'a Identity,
    /// The other device's key.
    pub key: PublicKey,
    pub ice_servers: &'a [String],
    /// Whether signals can be sent now.
    pub signal_ready: bool,
}

/// What a link tells the peer.
#[derive(Debug)]
pub(crate) enum Upshot {
    /// HELLO was good: messages may flow.
    Ready,
    /// Messages no longer flow.
    Down,
    /// Frames came.
    Frames(Vec<LinkFrame>),
}

/// One RTCPeerConnection.
#[derive(Debug)]
struct Attempt {
    session: Nonce,
    own_fingerprint: Option<Hash>,
    peer_fingerprint: Option<Hash>,
    /// The claim of the latest own offer, while it has no answer.
    offered: Option<Hash>,
    /// The claim of the offer that is being answered.
    answering: Option<Hash>,
    remote_set: bool,
    early_candidates: Vec<(String, Option<String>)>,
    msg_open: bool,
    probe_open: bool,
    hello_sent: bool,
    ready: bool,
    started: Duration,
    path: LinkPath,
    prober: Prober,
    dead_since: Option<Duration>,
    restarted: Duration,
    out: Vec<u8>,
}

impl Attempt {
    fn new(session: Nonce, now: Duration) -> Self {
        Self {
            session,
            own_fingerprint: None,
            peer_fingerprint: None,
            offered: None,
            answering: None,
            remote_set: false,
            early_candidates: Vec::new(),
            msg_open: false,
            probe_open: false,
            hello_sent: false,
            ready: false,
            started: now,
            path: LinkPath::None,
            prober: Prober::new(),
            dead_since: None,
            restarted: now,
            out: Vec::new(),
        }
    }
}

/// A link to one device, up or wanted.
#[derive(Debug)]
pub(crate) struct Link {
    pub device: DeviceId,
    pub account: AccountId,
    attempt: Option<Attempt>,
    pub cursors: BTreeMap<ConversationId, LinkCursor>,
    failures: u32,
    next_try: Duration,
    /// Why there is no better path, for people.
    pub why: Option<String>,
    /// What the user was last told.
    pub told: Option<LinkPath>,
}

impl Link {
    pub fn new(device: DeviceId, account: AccountId) -> Self {
        Self {
            device,
            account,
            attempt: None,
            cursors: BTreeMap::new(),
            failures: 0,
            next_try: Duration::ZERO,
            why: None,
            told: None,
        }
    }

    /// Messages may flow.
    pub fn is_ready(&self) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| attempt.ready)
    }

    /// The connection attempt that is under way or stands.
    pub fn session(&self) -> Option<Nonce> {
        self.attempt.as_ref().map(|attempt| attempt.session)
    }

    /// Messages flow, as far as is known.
    pub fn is_usable(&self) -> bool {
        self.is_ready() && self.state() != PathState::Dead
    }

    pub fn state(&self) -> PathState {
        self.attempt.as_ref().map_or(PathState::New, |attempt| attempt.prober.state)
    }

    pub fn path(&self) -> LinkPath {
        let attempt = self.attempt.as_ref().filter(|attempt| attempt.ready);
        match attempt {
            Some(attempt) if attempt.prober.state != PathState::Dead => match attempt.path {
                LinkPath::Turn => LinkPath::Turn,
                // An open link is direct unless its pair says otherwise.
                LinkPath::Direct | LinkPath::Relay | LinkPath::None => LinkPath::Direct,
            },
            _ => LinkPath::None,
        }
    }

    pub fn rtt(&self) -> Option<Duration> {
        self.attempt.as_ref().and_then(|attempt| attempt.prober.rtt())
    }

    fn polite(&self, me: &Identity) -> bool {
        me.device < self.device
    }

    /// Something says that the device is there: try soon.
    pub fn seen(&mut self, ctx_now: Duration) {
        if self.failures == 0 || self.next_try > ctx_now + FIRST_RETRY {
            self.next_try = self.next_try.min(ctx_now + FIRST_RETRY);
        }
    }

    /// Starts an attempt, if it is time.
    pub fn want(&mut self, ctx: &mut LinkCtx) {
        if self.attempt.is_some() {
            return;
        }
        if !ctx.signal_ready {
            self.why = Some("the server cannot be reached to arrange a link".into());
            return;
        }
        let now = ctx.fx.now.monotonic;
        if now < self.next_try {
            ctx.timers.set_earlier(Timer::Link(self.device), self.next_try);
            return;
        }
        let session = ctx.fx.nonce();
        self.open(ctx, session);
        self.command(ctx.fx, LinkCommand::Offer { restart: false });
    }

    fn open(&mut self, ctx: &mut LinkCtx, session: Nonce) {
        self.attempt = Some(Attempt::new(session, ctx.fx.now.monotonic));
        self.why = Some("connecting".into());
        self.command(ctx.fx, LinkCommand::Open { ice_servers: ctx.ice_servers.to_vec() });
        ctx.timers.set(Timer::Link(self.device), ctx.fx.now.monotonic + ATTEMPT);
    }

    /// Ends the attempt, as when the device may not be linked to any more.
    pub fn close(&mut self, ctx: &mut LinkCtx, why: &str) -> Option<Upshot> {
        let attempt = self.attempt.take()?;
        let command = LinkCommand::Close;
        ctx.fx.now(Output::Link { device: self.device, session: attempt.session, command });
        ctx.timers.cancel(Timer::Link(self.device));
        self.cursors.clear();
        self.why = Some(why.into());
        attempt.ready.then_some(Upshot::Down)
    }

    fn fail(&mut self, ctx: &mut LinkCtx, why: &str) -> Option<Upshot> {
        if let Some(session) = self.attempt.as_ref().map(|attempt| attempt.session) {
            self.signal(ctx, &Negotiation::Gone { session });
        }
        let upshot = self.close(ctx, why);
        let backoff = FIRST_RETRY.saturating_mul(1 << self.failures.min(7)).min(LAST_RETRY);
        self.failures = self.failures.saturating_add(1);
        self.next_try = ctx.fx.now.monotonic + FIRST_RETRY / 2 + ctx.fx.jitter(backoff);
        ctx.timers.set(Timer::Link(self.device), self.next_try);
        upshot
    }

    /// The server says that the device is not connected.
    pub fn on_unreachable(&mut self, ctx: &mut LinkCtx) {
        if self.attempt.as_ref().is_some_and(|attempt| !attempt.ready) {
            self.close(ctx, "the device is not connected");
            self.next_try = ctx.fx.now.monotonic + UNREACHABLE_RETRY;
            ctx.timers.set(Timer::Link(self.device), self.next_try);
        }
    }

    fn command(&self, fx: &mut Effects, command: LinkCommand) {
        let Some(attempt) = &self.attempt else { return };
        fx.now(Output::Link { device: self.device, session: attempt.session, command });
    }

    fn signal(&self, ctx: &mut LinkCtx, negotiation: &Negotiation) {
        if !ctx.signal_ready {
            return;
        }
        let message = ClientMessage::Signal { to: self.device, payload: negotiation.to_payload() };
        send_signal(ctx.fx, &message);
    }

    /// Something happened on the RTCPeerConnection.
    pub fn on_event(&mut self, ctx: &mut LinkCtx, session: Nonce, event: LinkEvent) -> Option<Upshot> {
        let attempt = self.attempt.as_mut().filter(|attempt| attempt.session == session)?;
        match event {
            LinkEvent::Description { kind, sdp } => {
                let (Some(fingerprint), Some(sdp)) = (sdp_fingerprint(&sdp), Text::new(sdp)) else {
                    return self.fail(ctx, "the local description cannot be used");
                };
                attempt.own_fingerprint = Some(fingerprint);
                let offer = if kind == DescriptionKind::Answer { attempt.answering.take() } else { None };
                let (from, to) = (ctx.me.device, self.device);
                let claim = DescriptionClaim { kind, from, to, session, fingerprint, offer };
                let description = SignedDescription::sign(&claim, sdp, |message| ctx.me.key.sign(message));
                if kind == DescriptionKind::Offer {
                    attempt.offered = Some(description.claim_hash());
                }
                self.signal(ctx, &Negotiation::Description { description });
                None
            }
            LinkEvent::Candidate { candidate, mid } => {
                let (Some(candidate), mid) = (Text::new(candidate), mid.and_then(Text::new)) else {
                    return None;
                };
                self.signal(ctx, &Negotiation::Candidate { session, candidate, mid });
                None
            }
            LinkEvent::ChannelOpen(channel) => {
                match channel {
                    Channel::Msg => attempt.msg_open = true,
                    Channel::Probe => attempt.probe_open = true,
                }
                self.hello(ctx);
                None
            }
            LinkEvent::Message { channel: Channel::Probe, message } => {
                self.on_probe(ctx, &message);
                None
            }
            LinkEvent::Message { channel: Channel::Msg, message } => self.on_message(ctx, &message),
            LinkEvent::State(TransportState::Failed | TransportState::Closed) => {
                if attempt.ready {
                    self.mend(ctx);
                    None
                } else {
                    self.fail(ctx, "no direct path was found")
                }
            }
            LinkEvent::State(TransportState::Disconnected) => {
                // The prober judges; it is only made to look sooner.
                ctx.timers.set(Timer::Link(self.device), ctx.fx.now.monotonic);
                None
            }
            LinkEvent::State(TransportState::Connecting | TransportState::Connected) => None,
            LinkEvent::Path(path) => {
                attempt.path = path;
                None
            }
            LinkEvent::Failed(why) => self.fail(ctx, &why),
        }
    }

    fn hello(&mut self, ctx: &mut LinkCtx) {
        let Some(attempt) = &mut self.attempt else { return };
        let (Some(own_fingerprint), Some(peer_fingerprint)) =
            (attempt.own_fingerprint, attempt.peer_fingerprint)
        else {
            return;
        };
        if attempt.hello_sent || !attempt.msg_open || !attempt.probe_open {
            return;
        }
        attempt.hello_sent = true;
        let claim = HelloClaim {
            version: LINK_VERSION,
            from: ctx.me.device,
            to: self.device,
            session: attempt.session,
            own_fingerprint,
            peer_fingerprint,
        };
        let hello = Hello::sign(&claim, |message| ctx.me.key.sign(message));
        let number = attempt.prober.start(ctx.fx.now.monotonic);
        self.send(ctx.fx, &LinkFrame::Hello { hello });
        self.flush(ctx.fx);
        self.send_probe(ctx.fx, ProbeFrame::Probe { number });
    }

    fn on_message(&mut self, ctx: &mut LinkCtx, message: &[u8]) -> Option<Upshot> {
        let frames = match cbor::decode_sequence::<LinkFrame>(message, limits::MAX_LINK_MESSAGE) {
            Ok(frames) => frames,
            Err(error) => {
                tracing::debug!(device = %self.device, %error, "malformed link frame");
                return self.fail(ctx, "the other side does not speak the protocol");
            }
        };
        let attempt = self.attempt.as_mut()?;
        if attempt.ready {
            return Some(Upshot::Frames(frames));
        }
        let [LinkFrame::Hello { hello }] = frames.as_slice() else {
            // Unordered: something overtook its HELLO. It is sent again by the ack layer.
            return None;
        };
        let claim = hello.verify(&ctx.key, &Ed25519);
        let good = claim.is_some_and(|claim| {
            claim.to == ctx.me.device
                && claim.session == attempt.session
                && Some(claim.own_fingerprint) == attempt.peer_fingerprint
                && Some(claim.peer_fingerprint) == attempt.own_fingerprint
        });
        if !good {
            return self.fail(ctx, "the other side is not the device it says it is");
        }
        attempt.ready = true;
        self.failures = 0;
        self.why = None;
        // The other side may have opened its channels first.
        self.hello(ctx);
        self.rearm(ctx);
        Some(Upshot::Ready)
    }

    fn on_probe(&mut self, ctx: &mut LinkCtx, message: &[u8]) {
        let now = ctx.fx.now.monotonic;
        match cbor::decode(message, 64) {
            Ok(ProbeFrame::Probe { number }) => self.send_probe(ctx.fx, ProbeFrame::Pong { number }),
            Ok(ProbeFrame::Pong { number }) => {
                let Some(attempt) = &mut self.attempt else { return };
                attempt.prober.on_pong(now, number);
                if attempt.prober.state == PathState::Valid {
                    attempt.dead_since = None;
                    self.why = None;
                }
                self.rearm(ctx);
            }
            Err(_) => {}
        }
    }

    fn send_probe(&self, fx: &mut Effects, frame: ProbeFrame) {
        let message = Bytes::from(cbor::encode(&frame));
        self.command(fx, LinkCommand::Send { channel: Channel::Probe, message });
    }

    fn rearm(&self, ctx: &mut LinkCtx) {
        let now = ctx.fx.now.monotonic;
        if let Some(attempt) = self.attempt.as_ref().filter(|attempt| attempt.ready) {
            ctx.timers.set(Timer::Link(self.device), attempt.prober.due(now));
        }
    }

    /// Gathers a frame for the message channel.
    pub fn send(&mut self, fx: &mut Effects, frame: &LinkFrame) {
        let Some(attempt) = &mut self.attempt else { return };
        let before = attempt.out.len();
        cbor::encode_into(frame, &mut attempt.out);
        if attempt.out.len() > GATHER && before > 0 {
            let last = attempt.out.split_off(before);
            let message = Bytes::from(std::mem::replace(&mut attempt.out, last));
            self.command(fx, LinkCommand::Send { channel: Channel::Msg, message });
        }
    }

    /// Sends what was gathered, with a probe if it is time for one.
    pub fn flush(&mut self, fx: &mut Effects) {
        let Some(attempt) = &mut self.attempt else { return };
        if attempt.out.is_empty() {
            return;
        }
        let message = Bytes::from(std::mem::take(&mut attempt.out));
        let probe = if attempt.ready { attempt.prober.data_sent(fx.now.monotonic) } else { None };
        self.command(fx, LinkCommand::Send { channel: Channel::Msg, message });
        if let Some(number) = probe {
            self.send_probe(fx, ProbeFrame::Probe { number });
        }
    }

    /// The link's timer fired, due at `at`.
    pub fn on_timer(&mut self, ctx: &mut LinkCtx, at: Duration) -> Option<Upshot> {
        let now = ctx.fx.now.monotonic;
        let attempt = self.attempt.as_mut()?;
        if !attempt.ready {
            if now >= attempt.started + ATTEMPT {
                return self.fail(ctx, "no direct path was found in time");
            }
            ctx.timers.set(Timer::Link(self.device), attempt.started + ATTEMPT);
            return None;
        }
        if let Some(number) = attempt.prober.on_timer(now, at) {
            self.send_probe(ctx.fx, ProbeFrame::Probe { number });
        }
        if self.state() == PathState::Dead {
            let dead_since = *self.attempt.as_mut()?.dead_since.get_or_insert(now);
            if now >= dead_since + MEND {
                return self.fail(ctx, "the path broke and could not be mended");
            }
            self.mend(ctx);
        }
        self.rearm(ctx);
        None
    }

    /// The path is dead: ICE restarts, by the impolite side.
    fn mend(&mut self, ctx: &mut LinkCtx) {
        let now = ctx.fx.now.monotonic;
        let polite = self.polite(ctx.me);
        let Some(attempt) = &mut self.attempt else { return };
        self.why = Some("the path broke; looking for another".into());
        if now < attempt.restarted + RESTART_EVERY {
            return;
        }
        if !polite {
            self.restart(ctx);
        } else {
            let session = attempt.session;
            attempt.restarted = now;
            self.signal(ctx, &Negotiation::RestartWanted { session });
        }
    }

    fn restart(&mut self, ctx: &mut LinkCtx) {
        let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.ready) else { return };
        attempt.restarted = ctx.fx.now.monotonic;
        self.command(ctx.fx, LinkCommand::Offer { restart: true });
    }
}

/// Sends a message on the signaling socket.
pub(crate) fn send_signal(fx: &mut Effects, message: &ClientMessage) {
    // Every message of ours is a plain struct: it serialises.
    let Ok(text) = serde_json::to_vec(message) else { return };
    fx.now(Output::Socket { socket: Socket::Signal, command: SocketCommand::Send(Bytes::from(text)) });
}
