//! Keys, signatures and hashes as they travel. Checking a signature is the caller's engine: `ring` in the
//! servers, `ed25519-dalek` in peers (it builds for the browser).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// Checks Ed25519 signatures (RFC 8032).
pub trait Verify {
    /// Whether `signature` over `message` is by the holder of `key`.
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool;
}

/// How a byte string travels: as its text (`Display`, `FromStr`) in JSON, as its bytes in CBOR.
macro_rules! wire_bytes {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                let at = d.position();
                d.bytes()?.try_into().map(Self).map_err(|_| {
                    minicbor::decode::Error::message(concat!(stringify!($name), " has another length")).at(at)
                })
            }
        }
    };
}
pub(crate) use wire_bytes;

macro_rules! base64_bytes {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({}…)", stringify!($name), &URL_SAFE_NO_PAD.encode(&self.0[..3]))
            }
        }

        impl std::str::FromStr for $name {
            type Err = &'static str;
            fn from_str(text: &str) -> Result<Self, &'static str> {
                const EXPECTED: &str = concat!(stringify!($name), ": expected ", $len, " bytes in unpadded base64url");
                let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| EXPECTED)?;
                bytes.try_into().map(Self).map_err(|_| EXPECTED)
            }
        }

        crate::keys::wire_bytes!($name);
    };
}

base64_bytes!(
    /// An Ed25519 public key.
    PublicKey, 32
);
base64_bytes!(
    /// An Ed25519 signature.
    Signature, 64
);
base64_bytes!(
    /// A SHA-256 digest.
    Hash, 32
);
base64_bytes!(
    /// A random value used once, or to name one attempt among several.
    Nonce, 16
);
pub(crate) use base64_bytes;

impl Hash {
    /// SHA-256 of the parts, one after another.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }
}

/// What is really signed: a context that no other kind of signature shares, a zero byte, and the payload, so that
/// a signature made for one purpose can never pass for another.
pub fn signing_input(context: &str, payload: &[u8]) -> Vec<u8> {
    let mut input = Vec::with_capacity(context.len() + 1 + payload.len());
    input.extend_from_slice(context.as_bytes());
    input.push(0);
    input.extend_from_slice(payload);
    input
}

/// Serde for byte strings as unpadded base64url text.
pub mod base64url {
    use super::URL_SAFE_NO_PAD;
    use base64::Engine as _;
    use serde::Deserialize;

    /// Bytes as text.
    pub fn encode(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Text as bytes; `None` if it is not unpadded base64url.
    pub fn decode(text: &str) -> Option<Vec<u8>> {
        URL_SAFE_NO_PAD.decode(text).ok()
    }

    /// For `#[serde(with)]`.
    pub fn serialize<S: serde::Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&encode(bytes))
    }

    /// For `#[serde(with)]`.
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        decode(&text).ok_or_else(|| serde::de::Error::custom("expected unpadded base64url"))
    }
}
