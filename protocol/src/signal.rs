//! The signaling WebSocket, `/v1/signal`: one JSON object a text message, told apart by `type`.
//!
//! A socket starts with `authenticate` within 5 s. Presence and device-to-device signals are best effort: a
//! signal to a device that is not connected answers `unreachable`.

use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, DeviceId, UnixMillis};
use crate::keys::Hash;
use crate::limits;
use crate::presence::{Capability, PresenceState, StatusText};

/// From a client to the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientMessage {
    /// First on a socket; again to renew a token before it expires.
    Authenticate {
        /// The access token (JWT) of the device.
        token: String,
    },
    /// Sets this device's presence. An account shows the most present of its devices.
    PresenceSet {
        /// `online` or `away`; `offline` hides the device though it is connected.
        state: PresenceState,
        /// A short text beside it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<StatusText>,
        /// Hashes of all capabilities by which others may see this account from now on, replacing those before;
        /// left out: as they were. At most [`limits::MAX_PRESENCE`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        capabilities: Option<Vec<Hash>>,
    },
    /// Watches the accounts that these capabilities belong to, replacing what was watched before. One that is
    /// unknown or revoked looks like an account that is offline.
    PresenceSubscribe {
        /// At most [`limits::MAX_PRESENCE`].
        capabilities: Vec<Capability>,
    },
    /// Passes an opaque payload to another device, if it is connected.
    Signal {
        /// The device.
        to: DeviceId,
        /// At most [`limits::MAX_SIGNAL_PAYLOAD`] bytes.
        payload: String,
    },
    /// Answered by `pong`: keeps the presence lease and middleboxes' idle timers.
    Ping {},
}

/// From the server to a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// The token is good.
    Ready {
        /// Whose socket this is.
        account: AccountId,
        /// Which device's.
        device: DeviceId,
        /// How long the presence lease lasts without a message, in milliseconds.
        lease_ms: u64,
    },
    /// What changed since the last update, batched over 250 to 1,000 ms.
    PresenceUpdate {
        /// One entry a watched capability that changed.
        changes: Vec<PresenceChange>,
    },
    /// Another device's signal.
    Signal {
        /// The device, as authenticated.
        from: DeviceId,
        /// Its account.
        account: AccountId,
        /// What it passed.
        payload: String,
    },
    /// The device of a signal is not connected, or not known.
    Unreachable {
        /// The device.
        to: DeviceId,
    },
    /// Answers `ping`.
    Pong {},
    /// The server goes down for a restart: come back after this long.
    Drain {
        /// Milliseconds to wait.
        reconnect_in_ms: u32,
    },
    /// A message could not be handled. The socket stays open unless trust is gone.
    Error {
        /// What is wrong.
        code: SignalError,
        /// The field and the reason, for people.
        detail: String,
    },
}

/// One account's presence, under the capability by which it is watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceChange {
    /// The capability.
    pub capability: Capability,
    /// The state.
    pub state: PresenceState,
    /// The text beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<StatusText>,
    /// When it was last not offline, if it is offline and that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<UnixMillis>,
}

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalError {
    /// The token is not valid (any more). The socket closes.
    Unauthenticated,
    /// Not a message of this protocol. The socket closes after several.
    Malformed,
    /// One of the bounds in `limits` would be passed.
    Limit,
    /// Too many messages; try again later.
    RateLimited,
}

impl ClientMessage {
    /// Parses one text message; the error names the field.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > limits::MAX_SIGNAL_MESSAGE {
            return Err(format!("message of {} bytes, {} allowed", text.len(), limits::MAX_SIGNAL_MESSAGE));
        }
        let message: Self = serde_json::from_str(text).map_err(|e| e.to_string())?;
        match &message {
            Self::PresenceSet { capabilities: Some(list), .. } if list.len() > limits::MAX_PRESENCE => {
                Err(format!("capabilities: {} given, {} allowed", list.len(), limits::MAX_PRESENCE))
            }
            Self::PresenceSubscribe { capabilities } if capabilities.len() > limits::MAX_PRESENCE => {
                Err(format!("capabilities: {} given, {} allowed", capabilities.len(), limits::MAX_PRESENCE))
            }
            Self::Signal { payload, .. } if payload.len() > limits::MAX_SIGNAL_PAYLOAD => {
                Err(format!("payload: {} bytes, {} allowed", payload.len(), limits::MAX_SIGNAL_PAYLOAD))
            }
            _ => Ok(message),
        }
    }
}
