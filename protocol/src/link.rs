//! Between two peers: how a link is negotiated (through signaling, in opaque payloads) and the frames on its
//! data channels.
//!
//! One RTCPeerConnection a device pair carries three channels, negotiated out of band with fixed ids:
//! [`MSG_CHANNEL`] (reliable, unordered), [`PROBE_CHANNEL`] (unordered, no retransmits) and, later, bulk. A
//! message on `msg` is a sequence (RFC 8742) of [`LinkFrame`]s; on `probe`, one [`ProbeFrame`].

use minicbor::{Decode, Encode};

use crate::cbor::{self, Blob, Bounded, DecodeError, Text};
use crate::frame::Frame;
use crate::ids::{ConversationId, DeviceId, Position, Seq};
use crate::keys::{Hash, Nonce, PublicKey, Signature, Verify, base64url, signing_input};
use crate::limits;

/// Version of the link frames, told in HELLO.
pub const LINK_VERSION: u32 = 1;

/// Stream id and label of the message channel.
pub const MSG_CHANNEL: (u16, &str) = (0, "msg");

/// Stream id and label of the heartbeat channel, apart so that bulk cannot delay it.
pub const PROBE_CHANNEL: (u16, &str) = (1, "probe");

/// Signing context of session descriptions.
pub const DESCRIPTION_CONTEXT: &str = "sotto link description v1";

/// Signing context of HELLO.
pub const HELLO_CONTEXT: &str = "sotto link hello v1";

/// Whether a description offers or answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum DescriptionKind {
    /// An offer.
    #[n(0)]
    Offer,
    /// An answer.
    #[n(1)]
    Answer,
}

/// What the device key signs about an offer or an answer, so that a lying signaling server gets no session.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DescriptionClaim {
    /// Offer or answer.
    #[n(0)]
    pub kind: DescriptionKind,
    /// The device that signs.
    #[n(1)]
    pub from: DeviceId,
    /// The device it is for.
    #[n(2)]
    pub to: DeviceId,
    /// Names the connection attempt; an ICE restart keeps it, a new RTCPeerConnection has a new one.
    #[n(3)]
    pub session: Nonce,
    /// The signer's own DTLS certificate fingerprint, SHA-256 (RFC 8122).
    #[n(4)]
    pub fingerprint: Hash,
    /// Of an answer: SHA-256 of the offer's claim.
    #[n(5)]
    pub offer: Option<Hash>,
}

/// A session description with its signed claim.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SignedDescription {
    #[n(0)]
    claim: Blob<512>,
    #[n(1)]
    signature: Signature,
    /// The SDP (RFC 8866). Its fingerprint must be the claim's.
    #[n(2)]
    pub sdp: Text<{ limits::MAX_SDP }>,
}

impl SignedDescription {
    /// Signs a claim for `sdp`.
    pub fn sign(
        claim: &DescriptionClaim,
        sdp: Text<{ limits::MAX_SDP }>,
        sign: impl FnOnce(&[u8]) -> Signature,
    ) -> Self {
        let claim = cbor::encode(claim);
        let signature = sign(&signing_input(DESCRIPTION_CONTEXT, &claim));
        // A claim of fixed-size fields is about 160 bytes.
        Self { claim: Blob::new(claim).unwrap_or_default(), signature, sdp }
    }

    /// The claim, if it is signed by `key` and agrees with the SDP's fingerprint.
    pub fn verify(&self, key: &PublicKey, engine: &impl Verify) -> Option<DescriptionClaim> {
        let claim: DescriptionClaim = cbor::decode(&self.claim, 512).ok()?;
        let input = signing_input(DESCRIPTION_CONTEXT, &self.claim);
        let signed = DeviceId::of(key) == claim.from && engine.verify(key, &input, &self.signature);
        (signed && sdp_fingerprint(&self.sdp) == Some(claim.fingerprint)).then_some(claim)
    }

    /// Whether it says that it offers or answers, unverified; `None` if it is malformed.
    pub fn kind(&self) -> Option<DescriptionKind> {
        cbor::decode::<DescriptionClaim>(&self.claim, 512).ok().map(|claim| claim.kind)
    }

    /// What an answer refers to.
    pub fn claim_hash(&self) -> Hash {
        Hash::of(&[&self.claim])
    }
}

/// The one SHA-256 fingerprint of an SDP; `None` if there is none, another hash, or several that differ.
pub fn sdp_fingerprint(sdp: &str) -> Option<Hash> {
    let mut found = None;
    for line in sdp.lines() {
        let Some((name, value)) = line.trim_end().split_once(':') else { continue };
        if !name.eq_ignore_ascii_case("a=fingerprint") {
            continue;
        }
        let (algorithm, digits) = value.trim().split_once(' ')?;
        if !algorithm.eq_ignore_ascii_case("sha-256") {
            return None;
        }
        let mut hash = [0; 32];
        hex::decode_to_slice(digits.trim().replace(':', ""), &mut hash).ok()?;
        if found.is_some_and(|earlier| earlier != Hash(hash)) {
            return None;
        }
        found = Some(Hash(hash));
    }
    found
}

/// What two devices tell each other through signaling while they build or mend a link.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub enum Negotiation {
    /// An offer or an answer.
    #[n(0)]
    Description {
        /// The signed description.
        #[n(0)]
        description: SignedDescription,
    },
    /// A trickled ICE candidate (RFC 8838).
    #[n(1)]
    Candidate {
        /// The attempt it belongs to.
        #[n(0)]
        session: Nonce,
        /// The candidate attribute; empty: no more candidates.
        #[n(1)]
        candidate: Text<{ limits::MAX_CANDIDATE }>,
        /// The media stream identification tag.
        #[n(2)]
        mid: Option<Text<16>>,
    },
    /// The polite side asks the other for an ICE restart of this attempt.
    #[n(2)]
    RestartWanted {
        /// The attempt.
        #[n(0)]
        session: Nonce,
    },
    /// The sender has dropped this attempt, or knows none of this name.
    #[n(3)]
    Gone {
        /// The attempt.
        #[n(0)]
        session: Nonce,
    },
}

impl Negotiation {
    /// As the payload of a signal.
    pub fn to_payload(&self) -> String {
        base64url::encode(&cbor::encode(self))
    }

    /// From the payload of a signal.
    pub fn from_payload(payload: &str) -> Result<Self, DecodeError> {
        let bytes = base64url::decode(payload).ok_or(DecodeError::Shape("payload: not base64url".into()))?;
        cbor::decode(&bytes, limits::MAX_SIGNAL_PAYLOAD)
    }
}

/// What HELLO signs: both ends of this very DTLS session.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HelloClaim {
    /// [`LINK_VERSION`].
    #[n(0)]
    pub version: u32,
    /// The device that signs.
    #[n(1)]
    pub from: DeviceId,
    /// The device it is for.
    #[n(2)]
    pub to: DeviceId,
    /// The connection attempt.
    #[n(3)]
    pub session: Nonce,
    /// The signer's DTLS fingerprint.
    #[n(4)]
    pub own_fingerprint: Hash,
    /// The other's DTLS fingerprint, as the signer saw it.
    #[n(5)]
    pub peer_fingerprint: Hash,
}

/// First on the message channel in each direction; nothing else is believed before it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    #[n(0)]
    claim: Blob<512>,
    #[n(1)]
    signature: Signature,
}

impl Hello {
    /// Signs a claim.
    pub fn sign(claim: &HelloClaim, sign: impl FnOnce(&[u8]) -> Signature) -> Self {
        let claim = cbor::encode(claim);
        let signature = sign(&signing_input(HELLO_CONTEXT, &claim));
        Self { claim: Blob::new(claim).unwrap_or_default(), signature }
    }

    /// The claim, if it is signed by `key`.
    pub fn verify(&self, key: &PublicKey, engine: &impl Verify) -> Option<HelloClaim> {
        let claim: HelloClaim = cbor::decode(&self.claim, 512).ok()?;
        let input = signing_input(HELLO_CONTEXT, &self.claim);
        (DeviceId::of(key) == claim.from && engine.verify(key, &input, &self.signature)).then_some(claim)
    }
}

/// Seqs from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct SeqRange {
    /// The first.
    #[n(0)]
    pub first: Seq,
    /// The last, at least the first.
    #[n(1)]
    pub last: Seq,
}

/// Up to [`limits::MAX_ACK_RANGES`] ranges, ascending.
pub type SeqRanges = Bounded<SeqRange, { limits::MAX_ACK_RANGES }>;

/// What one device holds durably of one author's messages.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Holding {
    /// The author.
    #[n(0)]
    pub device: DeviceId,
    /// Everything up to here.
    #[n(1)]
    pub cumulative: Seq,
    /// And these beyond.
    #[n(2)]
    pub ranges: SeqRanges,
}

/// On the message channel.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
#[cbor(map)]
pub enum LinkFrame {
    /// First in each direction.
    #[n(0)]
    Hello {
        /// The signed claim.
        #[n(0)]
        hello: Hello,
    },
    /// A message, of the sender or of another member.
    #[n(1)]
    Data {
        /// The frame.
        #[n(0)]
        frame: Frame,
    },
    /// What the sender of this holds durably of one author.
    #[n(2)]
    Ack {
        /// The conversation.
        #[n(0)]
        conversation: ConversationId,
        /// What it holds.
        #[n(1)]
        holding: Holding,
        /// How long the oldest seq newly covered waited for this ACK, in milliseconds.
        #[n(2)]
        delay_ms: u32,
        /// How many seqs beyond the cumulative one may be sent: at most the window.
        #[n(3)]
        credit: u32,
    },
    /// Asks for seqs of one author that the sender of this lacks.
    #[n(3)]
    Nack {
        /// The conversation.
        #[n(0)]
        conversation: ConversationId,
        /// The author.
        #[n(1)]
        device: DeviceId,
        /// What is missing.
        #[n(2)]
        missing: SeqRanges,
    },
    /// What the sender holds of a shared conversation, by author: after HELLO, so that each supplies what the
    /// other lacks, and so that a device restored from an older copy learns its own seq.
    #[n(4)]
    Sync {
        /// The conversation.
        #[n(0)]
        conversation: ConversationId,
        /// What it holds, by author.
        #[n(1)]
        holdings: Bounded<Holding, { limits::MAX_FRONTIER }>,
        /// Up to where it has read the relay's log.
        #[n(2)]
        position: Position,
    },
    /// A sealed receipt; the latest counts.
    #[n(5)]
    Receipt {
        /// The conversation.
        #[n(0)]
        conversation: ConversationId,
        /// Sealed for the members.
        #[n(1)]
        sealed: Blob<{ limits::MAX_RECEIPT }>,
    },
    /// Typing and the like.
    #[n(6)]
    Ephemeral {
        /// The conversation.
        #[n(0)]
        conversation: ConversationId,
        /// Sealed for the members.
        #[n(1)]
        sealed: Blob<{ limits::MAX_EPHEMERAL }>,
    },
}

/// On the probe channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub enum ProbeFrame {
    /// Answer at once.
    #[n(0)]
    Probe {
        /// Names it.
        #[n(0)]
        number: u64,
    },
    /// The answer.
    #[n(1)]
    Pong {
        /// The probe's number.
        #[n(0)]
        number: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_must_be_one_and_sha_256() {
        let line = format!("a=fingerprint:sha-256 {}\r\n", ["AB"; 32].join(":"));
        assert_eq!(sdp_fingerprint(&format!("v=0\r\n{line}")), Some(Hash([0xab; 32])));
        assert_eq!(sdp_fingerprint(&format!("{line}m=x\r\n{line}")), Some(Hash([0xab; 32])));
        let other = line.replace("AB", "AC");
        assert_eq!(sdp_fingerprint(&format!("{line}{other}")), None);
        assert_eq!(sdp_fingerprint(&line.replace("sha-256", "sha-1")), None);
        assert_eq!(sdp_fingerprint("v=0\r\n"), None);
        assert_eq!(sdp_fingerprint("a=fingerprint:sha-256 AB:CD"), None);
    }
}
