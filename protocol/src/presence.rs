//! Presence: who is there, and who may know.

use std::fmt;

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::keys::{Hash, base64_bytes};
use crate::limits;

base64_bytes!(
    /// A random token that lets its holder see the owner's presence. Owners hand it to accepted contacts inside
    /// the conversation and revoke it when they block; the server stores only its hash and no contact list.
    Capability, 16
);

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

impl Capability {
    /// What the server stores and compares.
    pub fn hash(&self) -> Hash {
        Hash::of(&[b"sotto presence v1", &self.0])
    }
}

/// What others see of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Encode, Decode)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[cbor(index_only)]
pub enum PresenceState {
    /// A device is in use.
    #[n(0)]
    Online,
    /// A device is connected, nobody is at it.
    #[n(1)]
    Away,
    /// No device is connected.
    #[n(2)]
    Offline,
}

impl<'de> Deserialize<'de> for PresenceState {
    // By hand, for the error to name the field: serde's own does not, in a message told apart by its type.
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match &*<std::borrow::Cow<'de, str>>::deserialize(d)? {
            "online" => Ok(Self::Online),
            "away" => Ok(Self::Away),
            "offline" => Ok(Self::Offline),
            _ => Err(serde::de::Error::custom("state: expected online, away or offline")),
        }
    }
}

/// A short text beside the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct StatusText(String);

impl StatusText {
    /// `None` if longer than [`limits::MAX_STATUS_BYTES`] or with control characters.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() <= limits::MAX_STATUS_BYTES && !text.chars().any(char::is_control))
            .then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for StatusText {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "expected at most {} bytes without control characters",
                limits::MAX_STATUS_BYTES
            ))
        })
    }
}
