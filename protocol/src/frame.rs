//! Message frames: what an author's device signs once, and any member may carry and append.
//!
//! A frame's body is encoded and signed by its author and travels as those very bytes for good. Ed25519 is the
//! dearest step of a message's way, so frames made in one burst share one signature over the root of a Merkle
//! tree (RFC 9162 §2.1 hashing), and each carries its path: a receiver checks the signature once a burst.

use std::sync::Arc;

use minicbor::bytes::ByteSlice;
use minicbor::{Decode, Encode};

use crate::cbor::{self, Blob, Bounded, DecodeError};
use crate::ids::{ConversationId, DeviceId, MessageId, Seq};
use crate::keys::{Hash, PublicKey, Signature, Verify, signing_input};
use crate::limits;

/// Signing context of frames; see [`signing_input`].
pub const FRAME_CONTEXT: &str = "sotto frame v1";

/// Longest encoded body: the sealed content and about 60 bytes around it.
const MAX_BODY: usize = limits::MAX_SEALED + 128;

/// Longest path in a signature tree: log2 of [`limits::MAX_SIGNATURE_BATCH`].
const MAX_PATH: usize = limits::MAX_SIGNATURE_BATCH.ilog2() as usize;

/// What the author signs.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct FrameBody {
    /// The conversation it belongs to.
    #[n(0)]
    pub conversation: ConversationId,
    /// The device that wrote it.
    #[n(1)]
    pub device: DeviceId,
    /// Its number among that device's messages there, dense from 1.
    #[n(2)]
    pub seq: Seq,
    /// The content, sealed for members; opaque to every server.
    #[n(3)]
    pub sealed: Blob<{ limits::MAX_SEALED }>,
}

impl FrameBody {
    /// The message's name.
    pub fn id(&self) -> MessageId {
        MessageId { conversation: self.conversation, device: self.device, seq: self.seq }
    }
}

/// A body whose content still lies in the bytes that it is read from.
#[derive(Decode)]
#[cbor(map)]
struct ReadBody<'b> {
    #[n(0)]
    conversation: ConversationId,
    #[n(1)]
    device: DeviceId,
    #[n(2)]
    seq: Seq,
    #[b(3)]
    sealed: &'b ByteSlice,
}

/// A frame's place in the tree of the burst that one signature covers.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct Burst {
    #[n(0)]
    index: u16,
    #[n(1)]
    path: Bounded<Hash, MAX_PATH>,
}

/// As it travels; the parts as they are given, so that encoding copies nothing twice.
#[derive(Encode)]
#[cbor(map)]
struct WireFrame<'a> {
    #[n(0)]
    body: &'a Blob<MAX_BODY>,
    #[n(1)]
    signature: &'a Signature,
    #[n(2)]
    burst: &'a Option<Burst>,
}

#[derive(Decode)]
#[cbor(map)]
struct ReadFrame {
    #[n(0)]
    body: Blob<MAX_BODY>,
    #[n(1)]
    signature: Signature,
    #[n(2)]
    burst: Option<Burst>,
}

/// A signed frame, parsed, with the bytes that were signed. Having one says nothing of its signature: see
/// [`Frame::verify`]. Cheap to clone: it goes into the store, over links, to the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame(Arc<Parts>);

#[derive(Debug, PartialEq, Eq)]
struct Parts {
    body: FrameBody,
    encoded: Blob<MAX_BODY>,
    signature: Signature,
    burst: Option<Burst>,
}

impl Frame {
    /// Signs the bodies of one burst with one call of `sign` per [`limits::MAX_SIGNATURE_BATCH`] of them.
    pub fn sign_all(bodies: Vec<FrameBody>, mut sign: impl FnMut(&[u8]) -> Signature) -> Vec<Frame> {
        let mut frames = Vec::with_capacity(bodies.len());
        let mut rest = bodies.into_iter().peekable();
        while rest.peek().is_some() {
            let bodies: Vec<FrameBody> = rest.by_ref().take(limits::MAX_SIGNATURE_BATCH).collect();
            let encode = |body: &FrameBody| {
                cbor::encode_sized(body, body.sealed.len() + (MAX_BODY - limits::MAX_SEALED))
            };
            let encoded: Vec<Vec<u8>> = bodies.iter().map(encode).collect();
            let tree = Tree::over(encoded.iter().map(|body| leaf(body)).collect());
            let signature = sign(&signing_input(FRAME_CONTEXT, &tree.root().0));
            let many = bodies.len() > 1;
            for (index, (body, encoded)) in bodies.into_iter().zip(encoded).enumerate() {
                let burst =
                    many.then(|| Burst { index: index as u16, path: Bounded::truncated(tree.path(index)) });
                // A body within its own bounds encodes within MAX_BODY.
                let encoded = Blob::new(encoded).unwrap_or_default();
                frames.push(Frame(Arc::new(Parts { body, encoded, signature, burst })));
            }
        }
        frames
    }

    /// What it says.
    pub fn body(&self) -> &FrameBody {
        &self.0.body
    }

    /// The message's name.
    pub fn id(&self) -> MessageId {
        self.0.body.id()
    }

    /// SHA-256 of the body: two frames of one id are the same message only if these agree.
    pub fn hash(&self) -> Hash {
        Hash::of(&[&self.0.encoded])
    }

    /// Whether both are the same message: cheaper than their hashes.
    pub fn says_the_same(&self, other: &Frame) -> bool {
        self.0.encoded == other.0.encoded
    }

    /// What the signature is over, and the signature: equal pairs need to be checked only once.
    pub fn signed_root(&self) -> (Hash, Signature) {
        let mut hash = leaf(&self.0.encoded);
        if let Some(burst) = &self.0.burst {
            let mut index = burst.index;
            for sibling in burst.path.iter() {
                hash = if index & 1 == 0 { node(&hash, sibling) } else { node(sibling, &hash) };
                index >>= 1;
            }
        }
        (hash, self.0.signature)
    }

    /// Whether `key` is its author's key and the signature is by that key.
    pub fn verify(&self, key: &PublicKey, engine: &impl Verify) -> bool {
        let (root, signature) = self.signed_root();
        DeviceId::of(key) == self.0.body.device
            && engine.verify(key, &signing_input(FRAME_CONTEXT, &root.0), &signature)
    }

    /// The frame as it travels and is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode_sized(self, self.weight())
    }

    /// Parses a stored frame.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        cbor::decode(bytes, limits::MAX_RELAY_MESSAGE)
    }

    /// Bytes it takes, nearly: for queues and budgets.
    pub fn weight(&self) -> usize {
        self.0.encoded.len() + 100 + self.0.burst.as_ref().map_or(0, |burst| burst.path.len() * 34)
    }
}

impl<C> Encode<C> for Frame {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        let Parts { encoded, signature, burst, .. } = &*self.0;
        WireFrame { body: encoded, signature, burst }.encode(e, ctx)
    }
}

impl<'b, C> Decode<'b, C> for Frame {
    fn decode(d: &mut minicbor::Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        let wire = ReadFrame::decode(d, ctx)?;
        let wrong = |why: String| minicbor::decode::Error::message(format!("frame body: {why}")).at(at);
        let body: ReadBody = cbor::decode(&wire.body, MAX_BODY).map_err(|e| wrong(e.to_string()))?;
        if body.seq == Seq(0) {
            return Err(wrong("seq starts at 1".into()));
        }
        let ReadBody { conversation, device, seq, sealed } = body;
        let length = sealed.len();
        let sealed = Blob::new(wire.body.bytes().slice_ref(sealed))
            .ok_or_else(|| wrong(format!("field 3: {length} bytes, {} allowed", limits::MAX_SEALED)))?;
        let body = FrameBody { conversation, device, seq, sealed };
        let ReadFrame { body: encoded, signature, burst } = wire;
        Ok(Frame(Arc::new(Parts { body, encoded, signature, burst })))
    }
}

fn leaf(encoded: &[u8]) -> Hash {
    Hash::of(&[&[0], encoded])
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Hash::of(&[&[1], &left.0, &right.0])
}

/// All levels of a perfect binary tree, leaves first; missing leaves are zero.
struct Tree(Vec<Vec<Hash>>);

impl Tree {
    fn over(mut leaves: Vec<Hash>) -> Self {
        leaves.resize(leaves.len().next_power_of_two(), Hash([0; 32]));
        let mut levels = vec![leaves];
        while let Some(level) = levels.last().filter(|level| level.len() > 1) {
            levels.push(level.chunks(2).map(|pair| node(&pair[0], &pair[1])).collect());
        }
        Self(levels)
    }

    fn root(&self) -> Hash {
        self.0.last().and_then(|level| level.first()).copied().unwrap_or(Hash([0; 32]))
    }

    fn path(&self, index: usize) -> Vec<Hash> {
        let below_root = &self.0[..self.0.len() - 1];
        below_root.iter().enumerate().map(|(height, level)| level[(index >> height) ^ 1]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An engine for tests of the tree alone: a "signature" is the SHA-512-free digest of key and message.
    struct Digest;

    fn digest(key: &PublicKey, message: &[u8]) -> Signature {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&Hash::of(&[&key.0, message]).0);
        Signature(bytes)
    }

    impl Verify for Digest {
        fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
            digest(key, message) == *signature
        }
    }

    fn bodies(count: usize, key: &PublicKey) -> Vec<FrameBody> {
        (1..=count as u64)
            .map(|seq| FrameBody {
                conversation: ConversationId([2; 16]),
                device: DeviceId::of(key),
                seq: Seq(seq),
                sealed: Blob::new(vec![seq as u8; 20]).unwrap(),
            })
            .collect()
    }

    proptest! {
        #[test]
        fn every_frame_of_a_burst_verifies_and_round_trips(count in 1usize..80) {
            let key = PublicKey([7; 32]);
            let mut signatures = 0;
            let frames = Frame::sign_all(bodies(count, &key), |message| {
                signatures += 1;
                digest(&key, message)
            });
            prop_assert_eq!(signatures, count.div_ceil(limits::MAX_SIGNATURE_BATCH));
            for frame in frames {
                prop_assert!(frame.verify(&key, &Digest));
                prop_assert!(!frame.verify(&PublicKey([8; 32]), &Digest));
                prop_assert_eq!(Frame::from_bytes(&frame.to_bytes()), Ok(frame));
            }
        }

        #[test]
        fn a_flipped_bit_never_verifies_as_the_same_frame(count in 1usize..9, which in 0usize..9, bit in 0usize..8000) {
            let key = PublicKey([7; 32]);
            let frames = Frame::sign_all(bodies(count, &key), |message| digest(&key, message));
            let frame = &frames[which % count];
            let mut bytes = frame.to_bytes();
            let bit = bit % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = Frame::from_bytes(&bytes) {
                // The unused high bits of a burst's index are the only slack: they change nothing signed.
                prop_assert!(!other.verify(&key, &Digest) || other.body() == frame.body());
            }
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Frame::from_bytes(&bytes);
        }
    }

    #[test]
    fn seq_zero_is_refused() {
        let key = PublicKey([7; 32]);
        let mut zero = bodies(1, &key);
        zero[0].seq = Seq(0);
        let frame = Frame::sign_all(zero, |m| digest(&key, m)).remove(0);
        assert!(matches!(Frame::from_bytes(&frame.to_bytes()), Err(DecodeError::Shape(_))));
    }
}
