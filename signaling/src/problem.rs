//! Every error of the API: what can go wrong, as which problem document (RFC 9457), and which broken constraint of
//! the database means what.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sotto_protocol::device_list::DeviceListError;
use sotto_protocol::limits;
use sotto_protocol::rest::{PROBLEM_PREFIX, Problem};

use crate::token::TokenError;

/// What a handler fails with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("nothing here")]
    NotFound,
    #[error("{0}: not known")]
    Unknown(&'static str),
    #[error("this method is not for this address")]
    Method,
    #[error("{0}")]
    MalformedJson(String),
    #[error("{detail}")]
    Field { field: Cow<'static, str>, detail: String },
    #[error("expected content-type application/json")]
    ContentType,
    #[error("body of more than {} bytes", limits::MAX_REST_BODY)]
    TooLarge,
    #[error("the body did not arrive in time")]
    SlowBody,
    #[error("too many requests")]
    RateLimited(Duration),
    #[error("expected a header 'Authorization: Bearer TOKEN'")]
    NoToken,
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("this Origin may not open sockets here")]
    OriginNotAllowed,
    #[error("expected a WebSocket upgrade")]
    NotWebSocket,
    #[error("too many sockets, or about to restart")]
    Busy(Duration),

    #[error("handle: taken by another account")]
    HandleTaken,
    #[error("account: exists already, with another handle or first device")]
    AccountExists,
    #[error("account: disabled by the server's administrator")]
    AccountDisabled,
    #[error("device: this key belongs to a device already; every device needs a key of its own")]
    DeviceExists,
    #[error("invite: this server asks for an invitation code")]
    InviteRequired,
    #[error("invite: no such invitation code")]
    InviteUnknown,
    #[error("invite: this invitation code has expired")]
    InviteExpired,
    #[error("invite: this invitation code is used up")]
    InviteUsedUp,
    #[error(transparent)]
    DeviceList(#[from] DeviceListError),

    #[error("nonce: unknown, used or expired; ask for a new challenge")]
    Challenge,
    #[error("origin: this server is {0}")]
    OriginMismatch(String),
    #[error("device or signature: not known, or wrong")]
    Credentials,
    #[error("device: taken off its account's device list")]
    DeviceRevoked,

    #[error("the server cannot store anything now: {0}")]
    Storage(#[source] sqlx::Error),
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        match broken_constraint(&error) {
            Some("account.id") => Self::AccountExists,
            Some("account.handle") => Self::HandleTaken,
            Some("device.id") => Self::DeviceExists,
            Some("device_entry.account") => Self::DeviceList(DeviceListError::Head),
            _ => Self::Storage(error),
        }
    }
}

/// The first column of the uniqueness that a statement would have broken. SQLite names constraints only so.
fn broken_constraint(error: &sqlx::Error) -> Option<&str> {
    let error = error.as_database_error().filter(|e| e.is_unique_violation())?;
    error.message().rsplit_once("failed: ")?.1.split(',').next().map(str::trim)
}

impl ApiError {
    pub(crate) fn field(field: &'static str, detail: impl Into<String>) -> Self {
        Self::Field { field: field.into(), detail: detail.into() }
    }

    /// Status, the word that programs compare, the title, and the field at fault.
    fn describe(&self) -> (StatusCode, &'static str, &'static str, Option<Cow<'static, str>>) {
        use StatusCode as S;
        let on = |field: &'static str| Some(Cow::Borrowed(field));
        match self {
            Self::NotFound => (S::NOT_FOUND, "not-found", "Nothing here", None),
            Self::Unknown(field) => (S::NOT_FOUND, "not-found", "Not known", on(field)),
            Self::Method => (S::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", None),
            Self::MalformedJson(_) => (S::BAD_REQUEST, "malformed-json", "Not JSON", None),
            Self::Field { field, .. } => {
                (S::UNPROCESSABLE_ENTITY, "invalid-field", "A field is wrong", Some(field.clone()))
            }
            Self::ContentType => (S::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Not JSON", None),
            Self::TooLarge => (S::PAYLOAD_TOO_LARGE, "too-large", "Body too large", None),
            Self::SlowBody => (S::REQUEST_TIMEOUT, "timeout", "Too slow", None),
            Self::RateLimited(_) => (S::TOO_MANY_REQUESTS, "rate-limited", "Too many requests", None),
            Self::NoToken => (S::UNAUTHORIZED, "unauthenticated", "Not signed in", None),
            Self::Token(TokenError::Revoked) | Self::DeviceRevoked => {
                (S::FORBIDDEN, "device-revoked", "Device revoked", on("device"))
            }
            Self::Token(TokenError::Disabled) | Self::AccountDisabled => {
                (S::FORBIDDEN, "account-disabled", "Account disabled", on("account"))
            }
            Self::Token(TokenError::Unavailable(_)) | Self::Storage(_) => {
                (S::SERVICE_UNAVAILABLE, "storage-unavailable", "Storage unavailable", None)
            }
            Self::Token(
                TokenError::Malformed
                | TokenError::Algorithm
                | TokenError::Signature
                | TokenError::Audience
                | TokenError::Expired,
            ) => (S::UNAUTHORIZED, "unauthenticated", "Not signed in", None),
            Self::OriginNotAllowed => (S::FORBIDDEN, "origin-not-allowed", "Origin not allowed", None),
            Self::NotWebSocket => (S::UPGRADE_REQUIRED, "not-a-websocket", "Not a WebSocket", None),
            Self::Busy(_) => (S::SERVICE_UNAVAILABLE, "busy", "Try again later", None),
            Self::HandleTaken => (S::CONFLICT, "handle-taken", "Handle taken", on("handle")),
            Self::AccountExists => (S::CONFLICT, "account-exists", "Account exists", on("account")),
            Self::DeviceExists => (S::CONFLICT, "device-exists", "Device exists", on("device")),
            Self::InviteRequired => (S::FORBIDDEN, "invite-required", "Invitation required", on("invite")),
            Self::InviteUnknown => (S::FORBIDDEN, "invite-invalid", "Invitation not valid", on("invite")),
            Self::InviteExpired => (S::FORBIDDEN, "invite-expired", "Invitation expired", on("invite")),
            Self::InviteUsedUp => (S::FORBIDDEN, "invite-used-up", "Invitation used up", on("invite")),
            Self::DeviceList(DeviceListError::Head) => {
                (S::CONFLICT, "stale-device-list", "Device list moved on", on("previous"))
            }
            Self::DeviceList(error) => {
                (S::UNPROCESSABLE_ENTITY, "invalid-field", "A field is wrong", on(entry_field(error)))
            }
            Self::Challenge => (S::UNAUTHORIZED, "challenge-invalid", "Challenge not valid", on("nonce")),
            Self::OriginMismatch(_) => (S::FORBIDDEN, "origin-mismatch", "Another server", on("origin")),
            Self::Credentials => (S::UNAUTHORIZED, "unauthenticated", "Not signed in", None),
        }
    }

    /// The document and, apart from it, how long to wait.
    pub(crate) fn problem(&self) -> Problem {
        let (status, kind, title, field) = self.describe();
        let wait = match self {
            Self::RateLimited(wait) | Self::Busy(wait) => Some(*wait),
            Self::Storage(_) | Self::Token(TokenError::Unavailable(_)) => Some(Duration::from_secs(5)),
            _ => None,
        };
        let detail = match self {
            // The database's own words could hold paths; they go to the log.
            Self::Storage(_) | Self::Token(TokenError::Unavailable(_)) => {
                "the server's storage is full, read-only or busy; nothing was changed".to_owned()
            }
            other => truncated(other.to_string()),
        };
        Problem {
            kind: format!("{PROBLEM_PREFIX}{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: Some(detail),
            field: field.map(Cow::into_owned),
            retry_after_ms: wait.map(|wait| wait.as_millis().try_into().unwrap_or(u64::MAX)),
        }
    }
}

fn entry_field(error: &DeviceListError) -> &'static str {
    match error {
        DeviceListError::Malformed(_) => "payload",
        DeviceListError::Account => "account",
        DeviceListError::Head => "previous",
        DeviceListError::Signature(field) => field,
        DeviceListError::Signer => "signer",
        DeviceListError::Known => "key",
        DeviceListError::Unknown => "device",
        DeviceListError::Full => "change",
    }
}

/// Details quote input, and input is long when an attacker makes it so.
pub(crate) fn truncated(mut detail: String) -> String {
    if detail.len() > limits::MAX_DETAIL {
        detail.truncate(detail.floor_char_boundary(limits::MAX_DETAIL - 4));
        detail.push('…');
    }
    detail
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if let Self::Storage(error) | Self::Token(TokenError::Unavailable(error)) = &self {
            tracing::error!(%error, "storage failed");
        }
        let problem = self.problem();
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, serde_json::to_string(&problem).unwrap_or_default()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(wait) = problem.retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.div_ceil(1_000).max(1)));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
