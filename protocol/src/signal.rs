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
    /// The server cannot look up or store anything now; nothing was changed, try again later.
    Unavailable,
}

/// Why a text is no [`ClientMessage`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Rejected {
    /// [`SignalError::Malformed`] or [`SignalError::Limit`].
    pub code: SignalError,
    /// The field and the reason, for people.
    pub detail: String,
}

impl ClientMessage {
    /// Parses one text message; the error names the field.
    pub fn parse(text: &str) -> Result<Self, Rejected> {
        let limit = |field: &str, found: usize, allowed: usize| Rejected {
            code: SignalError::Limit,
            detail: format!("{field}: {found} given, {allowed} allowed"),
        };
        if text.len() > limits::MAX_SIGNAL_MESSAGE {
            return Err(limit("message bytes", text.len(), limits::MAX_SIGNAL_MESSAGE));
        }
        let message: Self = serde_json::from_str(text).map_err(|error| Rejected {
            code: SignalError::Malformed,
            detail: match faulty_field(text) {
                Some(field) => format!("{field}: {error}"),
                None => error.to_string(),
            },
        })?;
        match &message {
            Self::PresenceSet { capabilities: Some(list), .. } if list.len() > limits::MAX_PRESENCE => {
                Err(limit("capabilities", list.len(), limits::MAX_PRESENCE))
            }
            Self::PresenceSubscribe { capabilities } if capabilities.len() > limits::MAX_PRESENCE => {
                Err(limit("capabilities", capabilities.len(), limits::MAX_PRESENCE))
            }
            Self::Signal { payload, .. } if payload.len() > limits::MAX_SIGNAL_PAYLOAD => {
                Err(limit("payload bytes", payload.len(), limits::MAX_SIGNAL_PAYLOAD))
            }
            Self::Authenticate { token } if token.len() > limits::MAX_TOKEN => {
                Err(limit("token bytes", token.len(), limits::MAX_TOKEN))
            }
            _ => Ok(message),
        }
    }
}

/// The first field whose value is wrong, which serde does not tell for tagged enums: the one that fails by itself,
/// and not because others are missing.
fn faulty_field(text: &str) -> Option<String> {
    let serde_json::Value::Object(object) = serde_json::from_str(text).ok()? else { return None };
    let kind = object.get("type")?;
    let why_not = |message| serde_json::from_value::<ClientMessage>(message).err().map(|e| e.to_string());
    let others_are_missing = |error: &String| error.starts_with("missing field");
    if why_not(serde_json::json!({ "type": kind })).is_some_and(|error| !others_are_missing(&error)) {
        return None;
    }
    object.iter().filter(|(name, _)| *name != "type").find_map(|(name, value)| {
        let error = why_not(serde_json::json!({ "type": kind, name: value }))?;
        let about_its_value = !others_are_missing(&error) && !error.starts_with("unknown field");
        about_its_value.then(|| name.clone())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Rejected {
        ClientMessage::parse(text).unwrap_err()
    }

    #[test]
    fn messages_have_one_spelling_in_json() {
        let message = ClientMessage::Signal { to: DeviceId([1; 16]), payload: "x".into() };
        let json = serde_json::to_string(&message).unwrap();
        assert_eq!(json, format!(r#"{{"type":"signal","to":"{}","payload":"x"}}"#, "01".repeat(16)));
        assert_eq!(ClientMessage::parse(&json), Ok(message));
        assert_eq!(ClientMessage::parse(r#"{"type":"ping"}"#), Ok(ClientMessage::Ping {}));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            (r#"{"type":"signal","to":"xyz","payload":""}"#, "to: "),
            (r#"{"type":"signal","to":7,"payload":""}"#, "to: "),
            (r#"{"type":"signal","payload":""}"#, "`to`"),
            (r#"{"type":"presence_set","state":"busy"}"#, "state: "),
            (r#"{"type":"presence_set","state":"away","text":"a\nb"}"#, "text: "),
            (r#"{"type":"authenticate","token":null}"#, "token: "),
            (r#"{"type":"ping","extra":1}"#, "`extra`"),
            (r#"{"type":"ping","type":"ping"}"#, "`type`"),
            (r#"{"type":"dance"}"#, "`dance`"),
        ] {
            let rejected = refused(text);
            assert_eq!(rejected.code, SignalError::Malformed);
            assert!(rejected.detail.contains(named), "{text}: {rejected}");
        }
        for text in ["", "null", "[]", "7", "{", r#"{"type":1}"#, &"[".repeat(60_000)] {
            assert_eq!(refused(text).code, SignalError::Malformed);
        }
    }

    #[test]
    fn what_is_too_long_says_how_long_it_may_be() {
        let signal = |len: usize| {
            let to = DeviceId([1; 16]);
            serde_json::to_string(&ClientMessage::Signal { to, payload: "a".repeat(len) }).unwrap()
        };
        assert!(ClientMessage::parse(&signal(limits::MAX_SIGNAL_PAYLOAD)).is_ok());
        assert_eq!(refused(&signal(limits::MAX_SIGNAL_PAYLOAD + 1)).code, SignalError::Limit);
        assert_eq!(refused(&" ".repeat(limits::MAX_SIGNAL_MESSAGE + 1)).code, SignalError::Limit);
    }
}
