//! Bodies of the REST API under `/v1`, and the problem document (RFC 9457) that every error is.

use serde::{Deserialize, Serialize};

use crate::device_list::SignedEntry;
use crate::handle::Handle;
use crate::ids::{AccountId, DeviceId, UnixMillis};
use crate::keys::{Hash, Nonce, PublicKey, Signature, base64url, signing_input};
use crate::{limits, picture};

/// Signing context of the answer to a sign-in challenge.
pub const SESSION_CONTEXT: &str = "sotto session v1";

macro_rules! body {
    ($(#[$doc:meta])* pub struct $name:ident { $($fields:tt)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($fields)* }
    };
}

body!(
    /// `POST /v1/accounts`: signs up.
    pub struct SignUp {
        /// The handle, in any case.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub handle: Handle,
        /// The public root key, which names the account.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub account: AccountId,
        /// The first entry of the device list: adds this device, signed by the root key.
        pub device: SignedEntry,
        /// An invitation code, where the server asks for one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub invite: Option<String>,
    }
);

body!(
    /// An account as others find it.
    pub struct Account {
        /// Its id.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub account: AccountId,
        /// Its handle.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub handle: Handle,
        /// Its profile.
        pub profile: Profile,
    }
);

body!(
    /// What an account says of itself to everybody.
    #[derive(Default)]
    pub struct Profile {
        /// A name to show beside the handle; at most 64 characters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub display_name: Option<String>,
        /// A line about oneself; at most 256 bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub status_text: Option<String>,
        /// A small picture (PNG, JPEG or WebP, at most 512 pixels a side), unpadded base64url of at most 24 KiB.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub avatar: Option<String>,
    }
);

impl Profile {
    /// The first field that passes its bound, and the bound.
    pub fn check(&self) -> Result<(), String> {
        if let Some(name) = &self.display_name
            && (name.chars().count() > limits::MAX_NAME_CHARS
                || name.trim().is_empty()
                || name.chars().any(char::is_control))
        {
            return Err(format!(
                "display_name: expected 1 to {} characters, none of them control characters",
                limits::MAX_NAME_CHARS
            ));
        }
        if let Some(text) = &self.status_text
            && (text.len() > limits::MAX_STATUS_BYTES || text.chars().any(char::is_control))
        {
            return Err(format!(
                "status_text: expected at most {} bytes without control characters",
                limits::MAX_STATUS_BYTES
            ));
        }
        if let Some(avatar) = &self.avatar {
            let bytes = base64url::decode(avatar).ok_or("avatar: expected unpadded base64url")?;
            let fits = |(width, height): (u32, u32)| width.max(height) <= limits::MAX_AVATAR_SIDE;
            if bytes.len() > limits::MAX_AVATAR_BYTES || !picture::dimensions(&bytes).is_some_and(fits) {
                return Err(format!(
                    "avatar: expected PNG, JPEG or WebP of at most {} bytes and {} pixels a side",
                    limits::MAX_AVATAR_BYTES,
                    limits::MAX_AVATAR_SIDE
                ));
            }
        }
        Ok(())
    }
}

body!(
    /// An account's device list, whole.
    pub struct DeviceChain {
        /// The account.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub account: AccountId,
        /// All entries from the first.
        pub entries: Vec<SignedEntry>,
    }
);

body!(
    /// `POST /v1/challenges`: asks for a nonce to sign.
    pub struct ChallengeRequest {
        /// The device that wants a session.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub device: DeviceId,
    }
);

body!(
    /// A nonce to sign, valid once.
    pub struct Challenge {
        /// The nonce.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub nonce: Nonce,
        /// How long it is valid, in milliseconds.
        pub expires_in_ms: u64,
    }
);

body!(
    /// `POST /v1/sessions`: answers a challenge.
    pub struct SessionRequest {
        /// The device.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub device: DeviceId,
        /// The challenge's nonce.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub nonce: Nonce,
        /// The origin (`scheme://host[:port]`) that the device believes it talks to.
        pub origin: String,
        /// Ed25519 by the device key; see [`session_signing_input`].
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub signature: Signature,
    }
);

/// What a device signs to get a session: the nonce and the origin, so that one server cannot pass on another's
/// challenge.
pub fn session_signing_input(origin: &str, nonce: &Nonce) -> Vec<u8> {
    let mut payload = nonce.0.to_vec();
    payload.extend_from_slice(origin.as_bytes());
    signing_input(SESSION_CONTEXT, &payload)
}

body!(
    /// A session: an access token for 10 minutes. The device key is the credential; there is no refresh token.
    pub struct Session {
        /// `EdDSA` JWT for `Authorization: Bearer` and the WebSockets' `authenticate`.
        pub token: String,
        /// How long it is valid, in milliseconds.
        pub expires_in_ms: u64,
        /// The account.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub account: AccountId,
    }
);

body!(
    /// `GET /v1/server`: what a client should know before it signs up.
    pub struct ServerInfo {
        /// The server software's version.
        pub version: String,
        /// The origins that a session may be bound to, the first the public one.
        pub origins: Vec<String>,
        /// `open` or `invite`.
        pub sign_up: SignUpPolicy,
        /// The server's clock, in milliseconds since 1970.
        #[cfg_attr(feature = "openapi", schema(value_type = u64))]
        pub now: UnixMillis,
        /// STUN and TURN servers for peers, as RTCIceServer URLs.
        pub ice_servers: Vec<String>,
    }
);

/// Who may sign up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SignUpPolicy {
    /// Everybody.
    Open,
    /// Who has an invitation code.
    Invite,
}

/// A problem document (RFC 9457): the body of every error, as `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// Names the kind of problem: `urn:sotto:problem:` and a word that programs compare.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong this time and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The field that is wrong, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Milliseconds after which to try again, if that can help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// Prefix of [`Problem::kind`].
pub const PROBLEM_PREFIX: &str = "urn:sotto:problem:";

/// The head of a device list, for compare-and-swap and gossip.
pub type DeviceListHead = Hash;

body!(
    /// A device's public key with its account: what servers look up, and peers that meet a device they do not know.
    #[derive(Copy)]
    pub struct DeviceRecord {
        /// The account.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub account: AccountId,
        /// The device.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub device: DeviceId,
        /// Its key.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        pub key: PublicKey,
        /// Whether it was revoked.
        pub revoked: bool,
    }
);
