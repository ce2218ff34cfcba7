//! Errors as programs see them: a JSON-RPC code, a sentence for people, and in `data` what a program can act on.

use serde_json::{Value, json};
use sotto_protocol::rest::{PROBLEM_PREFIX, Problem};

use crate::RestoreError;
use crate::io::CommandError;

/// An error object (JSON-RPC 2.0 §5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RpcError {
    code: i64,
    message: String,
    /// One word.
    kind: &'static str,
    field: Option<String>,
    /// The server's name for why it refused.
    problem: Option<String>,
}

impl RpcError {
    fn new(code: i64, kind: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), kind, field: None, problem: None }
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
        Self::about(field, format!("{field}: {}", expected.into()))
    }

    /// A parameter is wrong, in a sentence that need not name it.
    pub fn about(field: &str, message: impl Into<String>) -> Self {
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

    /// Another sign-up is pending.
    pub fn pending(message: impl Into<String>) -> Self {
        Self::new(-32002, "pending", message)
    }

    /// It needs the server, which cannot be reached or did not answer.
    pub fn offline(message: impl Into<String>) -> Self {
        Self::new(-32006, "offline", message)
    }

    /// The server or the relay said no.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(-32007, "refused", message)
    }

    /// The server said no with a problem document (RFC 9457), here in words for people.
    pub fn problem(problem: &Problem, message: impl Into<String>) -> Self {
        let is_name = |name: &&str| {
            (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')
        };
        let name = problem.kind.strip_prefix(PROBLEM_PREFIX).filter(is_name);
        Self { field: problem.field.clone(), problem: name.map(str::to_owned), ..Self::refused(message) }
    }

    /// The profile cannot be used or written.
    pub fn profile(message: impl Into<String>) -> Self {
        Self::new(-32010, "profile", message)
    }

    /// The peer is ending.
    pub fn ended(message: impl Into<String>) -> Self {
        Self::new(-32011, "ended", message)
    }

    /// A bug.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(-32603, "internal-error", message)
    }

    /// The error object.
    pub fn to_json(&self) -> Value {
        let mut data = json!({ "kind": self.kind });
        if let Some(field) = &self.field {
            data["field"] = json!(field);
        }
        if let Some(problem) = &self.problem {
            data["problem"] = json!(problem);
        }
        json!({ "code": self.code, "message": self.message, "data": data })
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
            CommandError::Offline(_) => Self::offline(message),
            CommandError::Refused(_) => Self::refused(message),
            CommandError::OutboxFull(_) => Self::new(-32008, "outbox-full", message),
        }
    }
}

impl From<RestoreError> for RpcError {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::NoIdentity => Self::not_signed_up(),
            RestoreError::Row { .. } => Self::profile(error.to_string()),
        }
    }
}
