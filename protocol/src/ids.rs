//! Identifiers and counters, each a type of its own. Identifiers are bytes in CBOR and lower-case hex in text.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::keys::PublicKey;

/// Why a text is not the identifier it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: expected {expected}")]
pub struct ParseIdError {
    kind: &'static str,
    expected: &'static str,
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// The bytes themselves.
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), &hex::encode(&self.0[..4]))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let error = ParseIdError { kind: stringify!($name), expected: $expected };
                if text.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(error);
                }
                let mut bytes = [0; $len];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| error)?;
                Ok(Self(bytes))
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;
            fn try_from(text: String) -> Result<Self, ParseIdError> {
                text.parse()
            }
        }

        crate::keys::wire_bytes!($name);
    };
}

byte_id!(
    /// An account, named by the public half of its Ed25519 root key, so that its device list proves itself.
    AccountId, 32, "64 lower-case hex digits"
);
byte_id!(
    /// A device: the first 16 bytes of the SHA-256 of its Ed25519 public key.
    DeviceId, 16, "32 lower-case hex digits"
);
byte_id!(
    /// A conversation. The first byte tells the [`ConversationKind`]; see [`ConversationId::direct`] and
    /// [`ConversationId::group`].
    ConversationId, 16, "32 lower-case hex digits"
);

impl AccountId {
    /// The root key that this account is named by.
    pub fn root_key(&self) -> PublicKey {
        PublicKey(self.0)
    }
}

impl DeviceId {
    /// The id of the device that holds `key`.
    pub fn of(key: &PublicKey) -> Self {
        let digest = Sha256::digest(key.0);
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }
}

/// Whether a conversation is between two accounts or among a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum ConversationKind {
    /// Exactly two accounts, for good; its id follows from theirs.
    #[n(0)]
    Direct,
    /// Up to [`crate::limits::MAX_MEMBERS`] accounts that may join and leave; its id is random.
    #[n(1)]
    Group,
}

impl ConversationId {
    const DIRECT: u8 = 0x01;
    const GROUP: u8 = 0x02;

    /// The one conversation between two accounts, whoever starts it: `0x01` and the first 15 bytes of
    /// SHA-256("sotto direct v1" ‖ smaller account ‖ larger account).
    pub fn direct(a: &AccountId, b: &AccountId) -> Self {
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        let digest =
            Sha256::new().chain_update("sotto direct v1").chain_update(low.0).chain_update(high.0).finalize();
        let mut id = [0; 16];
        id[0] = Self::DIRECT;
        id[1..].copy_from_slice(&digest[..15]);
        Self(id)
    }

    /// A group's id: `0x02` and 15 random bytes, so that no group can squat on a direct conversation's id.
    pub fn group(random: [u8; 15]) -> Self {
        let mut id = [0; 16];
        id[0] = Self::GROUP;
        id[1..].copy_from_slice(&random);
        Self(id)
    }

    /// What the first byte says; `None` for an id that nothing of ours made.
    pub fn kind(&self) -> Option<ConversationKind> {
        match self.0[0] {
            Self::DIRECT => Some(ConversationKind::Direct),
            Self::GROUP => Some(ConversationKind::Group),
            _ => None,
        }
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode, Serialize, Deserialize,
        )]
        #[cbor(transparent)]
        #[serde(transparent)]
        pub struct $name(#[n(0)] pub u64);

        impl $name {
            /// The one after this. Saturates: a hostile u64::MAX must not wrap to 0.
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }

            /// The one before this, or zero.
            pub fn previous(self) -> Self {
                Self(self.0.saturating_sub(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter!(
    /// A device's message number in one conversation, dense from 1. Zero means "none yet".
    Seq
);
counter!(
    /// A place in a conversation's relay log, dense from 1. Zero means "before the first".
    Position
);
counter!(
    /// Counts the times a conversation's log was found rolled back; positions compare only within one.
    LogEpoch
);
counter!(
    /// Counts the membership changes of a conversation; its creation makes it 1.
    MembershipEpoch
);
counter!(
    /// A wall-clock label in milliseconds since 1970. Never decides order.
    UnixMillis
);

/// A message's name for good, whatever path, position or encryption it has: `conversation/device/seq` in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct MessageId {
    /// The conversation it belongs to.
    #[n(0)]
    pub conversation: ConversationId,
    /// The device that wrote it.
    #[n(1)]
    pub device: DeviceId,
    /// Its number among that device's messages there.
    #[n(2)]
    pub seq: Seq,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.conversation, self.device, self.seq)
    }
}

impl FromStr for MessageId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let error = || ParseIdError { kind: "MessageId", expected: "conversation/device/seq" };
        let mut parts = text.split('/');
        let (Some(conversation), Some(device), Some(seq), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(error());
        };
        let number: u64 = seq.parse().map_err(|_| error())?;
        if number == 0 || seq != number.to_string() {
            return Err(error());
        }
        Ok(Self { conversation: conversation.parse()?, device: device.parse()?, seq: Seq(number) })
    }
}

impl Serialize for MessageId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MessageId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_starting_at_once_meet_in_one_direct_conversation() {
        let (a, b) = (AccountId([1; 32]), AccountId([2; 32]));
        assert_eq!(ConversationId::direct(&a, &b), ConversationId::direct(&b, &a));
        assert_eq!(ConversationId::direct(&a, &b).kind(), Some(ConversationKind::Direct));
    }

    #[test]
    fn no_group_id_is_a_direct_one() {
        assert_eq!(ConversationId::group([1; 15]).kind(), Some(ConversationKind::Group));
    }

    #[test]
    fn message_ids_round_trip_and_have_one_spelling() {
        let id =
            MessageId { conversation: ConversationId([2; 16]), device: DeviceId([0xab; 16]), seq: Seq(17) };
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!(id.to_string().to_uppercase().parse::<MessageId>().is_err());
        for bad in [
            "",
            "a/b/c",
            "//",
            &format!("{id}/1"),
            &id.to_string().replace("/17", "/017"),
            &id.to_string().replace("/17", "/0"),
        ] {
            assert!(bad.parse::<MessageId>().is_err(), "{bad}");
        }
    }
}
