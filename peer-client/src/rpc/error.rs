//! Errors as programs see them: a JSON-RPC code, a sentence for people, and in `data` what a program can act on.

use serde_json::{Value, json};
use sotto_peer_core::CommandError;

use crate::{Ended, Error, SignUpError};

/// An error object (JSON-RPC 2.0 §5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcError {
    code: i64,
    message: String,
    /// One word.
    kind: &'static str,
    field: Option<String>,
}

impl RpcError {
    fn new(code: i64, kind: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), kind, field: None }
    }

    /// The line is no JSON.
    pub fn parse(why: &serde_json::Error) -> Self {
        // The library's message never quotes the input.
        Self::new(-32700, "parse-error", format!("not JSON: {why}"))
    }

    /// It is JSON, but no request.
    pub fn request(why: impl Into<String>) -> Self {
        Self::new(-32600, "invalid-request", why)
    }

    /// No such method.
    pub fn method() -> Self {
        Self::new(-32601, "method-not-found", "no such method; docs/rpc.md lists them")
    }

    /// A parameter is missing or wrong.
    pub fn field(field: &str, expected: impl Into<String>) -> Self {
        let expected = expected.into();
        let message = format!("{field}: {expected}");
        Self { field: Some(field.to_owned()), ..Self::new(-32602, "invalid-params", message) }
    }

    /// `params` itself is wrong.
    pub fn params(why: impl Into<String>) -> Self {
        Self::new(-32602, "invalid-params", why)
    }

    /// Nobody has signed up in the profile.
    pub fn not_signed_up() -> Self {
        Self::new(-32001, "not-signed-up", "nobody has signed up in this profile: call sign_up first")
    }

    /// Sign-up where somebody has signed up.
    pub fn signed_up() -> Self {
        Self::new(-32002, "signed-up", "somebody has signed up in this profile already")
    }

    /// The error object.
    pub fn to_json(&self) -> Value {
        let mut data = json!({ "kind": self.kind });
        if let Some(field) = &self.field {
            data["field"] = json!(field);
        }
        json!({ "code": self.code, "message": self.message, "data": data })
    }
}

impl From<Error> for RpcError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Command(error) => error.into(),
            Error::SignUp(error) => error.into(),
            Error::Server(_) => {
                Self { field: Some("server".into()), ..Self::new(-32602, "invalid-params", message) }
            }
            Error::Profile(_) => Self::new(-32010, "profile", message),
            Error::Ended(Ended::Closed) => Self::new(-32011, "ended", message),
            Error::Ended(Ended::Store(_)) => Self::new(-32010, "profile", message),
            Error::Ended(Ended::Broken) => Self::new(-32603, "internal-error", message),
        }
    }
}

impl From<crate::ProfileError> for RpcError {
    fn from(error: crate::ProfileError) -> Self {
        Self::new(-32010, "profile", error.to_string())
    }
}

impl From<CommandError> for RpcError {
    fn from(error: CommandError) -> Self {
        let message = error.to_string();
        match error {
            CommandError::Invalid { field, reason } => Self::field(field, reason),
            CommandError::NotFound(_) => Self::new(-32003, "not-found", message),
            CommandError::NotAMember => Self::new(-32004, "not-a-member", message),
            CommandError::Blocked(_) => Self::new(-32005, "blocked", message),
            CommandError::Offline(_) => Self::new(-32006, "offline", message),
            CommandError::Refused(_) => Self::new(-32007, "refused", message),
            CommandError::OutboxFull(_) => Self::new(-32008, "outbox-full", message),
        }
    }
}

impl From<SignUpError> for RpcError {
    fn from(error: SignUpError) -> Self {
        let message = error.to_string();
        match error {
            SignUpError::Profile(_) | SignUpError::Certificate(_) => Self::new(-32010, "profile", message),
            SignUpError::SignedUp { .. } => Self::signed_up(),
            SignUpError::Pending { .. } => Self::new(-32002, "pending", message),
            SignUpError::Unreachable(_) | SignUpError::Unanswered(_) => Self::new(-32006, "offline", message),
            SignUpError::NotSotto(_) | SignUpError::OtherName { .. } => {
                Self { field: Some("server".into()), ..Self::new(-32602, "invalid-params", message) }
            }
            SignUpError::Refused(problem) => {
                Self { field: problem.field, ..Self::new(-32007, "refused", message) }
            }
        }
    }
}
