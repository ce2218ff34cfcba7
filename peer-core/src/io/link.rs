//! RTCPeerConnections: what a driver is told to do with one, what happens on it, and how good its path is.

use bytes::Bytes;
use sotto_protocol::link::DescriptionKind;

/// A link's data channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// [`sotto_protocol::link::MSG_CHANNEL`]: reliable, unordered.
    Msg,
    /// [`sotto_protocol::link::PROBE_CHANNEL`]: unordered, no retransmits.
    Probe,
}

/// What to do with a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkCommand {
    /// Make an RTCPeerConnection with both channels (negotiated, fixed ids).
    Open {
        /// STUN and TURN servers, as RTCIceServer URLs.
        ice_servers: Vec<String>,
    },
    /// Make an offer and set it as the local description; report [`LinkEvent::Description`], then candidates.
    Offer {
        /// With new ICE credentials, to mend the path of a connection that stands.
        restart: bool,
    },
    /// Set the remote description. After an offer, also make an answer, set it, and report
    /// [`LinkEvent::Description`].
    SetRemote {
        /// Offer or answer.
        kind: DescriptionKind,
        /// The SDP.
        sdp: String,
    },
    /// Add a remote candidate.
    AddCandidate {
        /// The candidate attribute; empty at the end.
        candidate: String,
        /// The media stream identification tag.
        mid: Option<String>,
    },
    /// Send one message.
    Send {
        /// On which channel.
        channel: Channel,
        /// The message.
        message: Bytes,
    },
    /// Close it and forget it; nothing more is reported.
    Close,
}

/// What happened on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// The local description.
    Description {
        /// Offer or answer.
        kind: DescriptionKind,
        /// The SDP.
        sdp: String,
    },
    /// A local candidate; empty: there are no more.
    Candidate {
        /// The candidate attribute.
        candidate: String,
        /// The media stream identification tag.
        mid: Option<String>,
    },
    /// A channel is open.
    ChannelOpen(Channel),
    /// A message came.
    Message {
        /// On which channel.
        channel: Channel,
        /// The message.
        message: Bytes,
    },
    /// `connectionState` changed.
    State(TransportState),
    /// The selected candidate pair, when it is known or changes.
    Path(LinkPath),
    /// A command failed (bad SDP, the library refused); why, for people. The peer drops the attempt.
    Failed(String),
}

/// `RTCPeerConnectionState`, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportState {
    /// Connecting.
    Connecting,
    /// ICE and DTLS stand.
    Connected,
    /// No answer at the moment.
    Disconnected,
    /// Given up.
    Failed,
    /// Closed, by whichever side.
    Closed,
}

/// How a link or a conversation's traffic goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkPath {
    /// Straight from device to device.
    Direct,
    /// Through a TURN server.
    Turn,
    /// Through the relay's log only.
    Relay,
    /// Not at all.
    None,
}

/// Health of a path, judged by probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathState {
    /// Being negotiated.
    New,
    /// Open, HELLO under way.
    Probing,
    /// Answers.
    Valid,
    /// A probe is unanswered for one PTO.
    Suspect,
    /// Three PTOs: ICE restarts.
    Dead,
}

impl PathState {
    /// Its name in status and logs.
    pub fn name(self) -> &'static str {
        match self {
            PathState::New => "new",
            PathState::Probing => "probing",
            PathState::Valid => "valid",
            PathState::Suspect => "suspect",
            PathState::Dead => "dead",
        }
    }
}
