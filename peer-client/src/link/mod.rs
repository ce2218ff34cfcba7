//! Links to other devices: RTCPeerConnections that do what peer-core says.
//!
//! [`Links`] carries out [`LinkCommand`]s and reports [`LinkEvent`]s. Each connection is a task of its own with a
//! queue, so that a command never waits; nothing here decides when to connect, restart or give up.
//!
//! - `connection`: one connection: negotiation, state, path;
//! - `channels`: what is sent and received on its two channels;
//! - `setup`: how the library is set up for it;
//! - `addresses`: the addresses it binds and offers;
//! - [`runtime`]: what `webrtc` runs on.

mod addresses;
mod channels;
mod connection;
pub mod runtime;
mod setup;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sotto_peer_core::{Channel, LinkCommand, LinkEvent};
use sotto_protocol::keys::Nonce;
use sotto_protocol::{DeviceId, limits};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::debug;

pub use addresses::LocalAddresses;
pub use channels::channel_options;
pub use runtime::{LinkFaults, SottoRuntime};
pub use setup::bare_builder;

use connection::{Control, Reporter, Start};

/// Log directives for a `tracing` filter that also receives `log` records: the WebRTC crates write peers'
/// addresses at every level.
pub const LOG_DIRECTIVES: &str = "webrtc=off,rtc=off,rtc_ice=off,rtc_dtls=off,rtc_sctp=off,rtc_stun=off,\
                                  rtc_turn=off,rtc_mdns=off,rtc_sdp=off,rtc_shared=off,rtc_datachannel=off";

/// Negotiation commands waiting in one connection. A restart is one description and a dozen candidates.
const CONTROL_QUEUE: usize = 256;

/// Bytes of messages waiting in one connection: a full window of the longest messages. peer-core keeps far below.
const MESSAGE_QUEUE: usize = limits::WINDOW as usize * limits::MAX_LINK_MESSAGE;

/// Probes waiting for the channel's task. More would only measure this queue.
const PROBE_QUEUE: usize = 4;

/// An event with the connection it came from: the peer's device and the attempt's name.
pub type LinkReport = (DeviceId, Nonce, LinkEvent);

/// How links are made.
#[derive(Debug, Clone, Default)]
pub struct LinkOptions {
    /// Offer 127.0.0.1 even where the machine has other addresses. Where it has none, loopback is always offered.
    pub include_loopback: bool,
    /// Lets a test cut the network under all links.
    pub faults: LinkFaults,
}

/// All connections to other devices.
///
/// Dropping it closes them in the background; [`Links::close_all`] also waits.
pub struct Links {
    options: LinkOptions,
    runtime: SottoRuntime,
    events: mpsc::Sender<LinkReport>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connections: HashMap<(DeviceId, Nonce), Handle>,
    tasks: JoinSet<()>,
}

/// The ends of one connection's queues. Dropping it ends the connection.
struct Handle {
    control: mpsc::Sender<Control>,
    messages: mpsc::UnboundedSender<Bytes>,
    queued: Arc<AtomicUsize>,
    probes: mpsc::Sender<Bytes>,
    fate: watch::Sender<Fate>,
}

/// What the owner of a connection has for it, beside commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Live,
    /// A queue is full, because events are not taken or commands come too fast.
    Overloaded(&'static str),
}

impl Links {
    /// No connections yet; what happens on them will go to `events`.
    ///
    /// While `events` is full, received messages stay in SCTP, which slows their senders down.
    pub fn new(events: mpsc::Sender<LinkReport>, options: LinkOptions) -> Self {
        let runtime = SottoRuntime::new(options.faults.clone());
        Self { options, runtime, events, state: Mutex::default() }
    }

    /// Carries out a command, later and in order; must be called within a tokio runtime. Never waits.
    ///
    /// A command for a connection that is not open is ignored: it has failed or was closed.
    pub fn command(&self, device: DeviceId, session: Nonce, command: LinkCommand) {
        let mut state = self.state();
        let key = (device, session);
        let control = match command {
            LinkCommand::Open { ice_servers } => return self.open(&mut state, key, ice_servers),
            LinkCommand::Close => {
                state.connections.remove(&key);
                return;
            }
            LinkCommand::Send { channel, message } => {
                if let Some(handle) = state.connections.get(&key) {
                    handle.send(channel, message);
                }
                return;
            }
            LinkCommand::Offer { restart } => Control::Offer { restart },
            LinkCommand::SetRemote { kind, sdp } => Control::SetRemote { kind, sdp },
            LinkCommand::AddCandidate { candidate, mid } => Control::AddCandidate { candidate, mid },
        };
        if let Some(handle) = state.connections.get(&key) {
            handle.control(control);
        }
    }

    /// Closes every connection and waits until their sockets are closed.
    pub async fn close_all(&self) {
        let mut tasks = {
            let mut state = self.state();
            state.connections.clear();
            std::mem::take(&mut state.tasks)
        };
        while tasks.join_next().await.is_some() {}
    }

    /// How many extra driver passes were taken (see [`runtime`]).
    pub fn extra_passes(&self) -> u64 {
        self.runtime.extra_passes()
    }

    fn open(&self, state: &mut State, key: (DeviceId, Nonce), ice_servers: Vec<String>) {
        while state.tasks.try_join_next().is_some() {}
        if state.connections.contains_key(&key) {
            debug!(device = %key.0, "this attempt is open already");
            return;
        }
        let (control, control_queue) = mpsc::channel(CONTROL_QUEUE);
        let (messages, message_queue) = mpsc::unbounded_channel();
        let (probes, probe_queue) = mpsc::channel(PROBE_QUEUE);
        let (fate, fate_seen) = watch::channel(Fate::Live);
        let queued = Arc::new(AtomicUsize::new(0));
        let reporter = Reporter::new(key, self.events.clone(), fate_seen);
        let start = Start {
            options: self.options.clone(),
            runtime: self.runtime.unsettled(),
            ice_servers,
            control: control_queue,
            messages: message_queue,
            queued: Arc::clone(&queued),
            probes: probe_queue,
        };
        state.connections.insert(key, Handle { control, messages, queued, probes, fate });
        state.tasks.spawn(connection::run(start, reporter));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics half-way through a change of it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        // A `JoinSet` aborts what it holds, and an aborted connection is not closed.
        self.state().tasks.detach_all();
    }
}

impl Handle {
    fn control(&self, control: Control) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.control.try_send(control) {
            self.fate.send_replace(Fate::Overloaded("too many negotiation commands are waiting"));
        }
    }

    fn send(&self, channel: Channel, message: Bytes) {
        match channel {
            // A probe that has to wait measures nothing.
            Channel::Probe => drop(self.probes.try_send(message)),
            Channel::Msg => {
                let queued = self.queued.fetch_add(message.len(), Ordering::Relaxed) + message.len();
                if queued > MESSAGE_QUEUE {
                    self.fate.send_replace(Fate::Overloaded("too many messages are waiting"));
                    return;
                }
                // Fails once the connection has failed, which was reported.
                drop(self.messages.send(message));
            }
        }
    }
}
