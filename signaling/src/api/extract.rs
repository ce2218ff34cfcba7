//! Request parts, parsed or refused with the field named: JSON bodies, path parameters, and who asks.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, header};
use serde::de::DeserializeOwned;
use sotto_protocol::limits::MAX_REST_BODY;

use crate::metrics::count;
use crate::problem::ApiError;
use crate::rate::address_key;
use crate::token::Principal;
use crate::{ClientAddr, Signaling, lock};

/// A body may take this long to arrive: 64 KiB on a bad mobile link.
const BODY_WITHIN: Duration = Duration::from_secs(20);

/// A JSON body of at most [`MAX_REST_BODY`] bytes.
pub(crate) struct ApiJson<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Signaling> for ApiJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Signaling) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(ApiError::ContentType);
        }
        let body = tokio::time::timeout(BODY_WITHIN, to_bytes(request.into_body(), MAX_REST_BODY))
            .await
            .map_err(|_| ApiError::SlowBody)?
            .map_err(|error| match is_length_limit(&error) {
                true => ApiError::TooLarge,
                false => ApiError::MalformedJson("the body broke off".into()),
            })?;
        let mut json = serde_json::Deserializer::from_slice(&body);
        let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            let error = error.into_inner();
            match error.is_data() {
                true => {
                    ApiError::Field { field: field(&path, &error.to_string()), detail: error.to_string() }
                }
                false => ApiError::MalformedJson(error.to_string()),
            }
        })?;
        json.end().map_err(|error| ApiError::MalformedJson(error.to_string()))?;
        Ok(Self(value))
    }
}

/// The field that serde complains about: at `path`, unless a field of that object is missing or one too many.
fn field(path: &str, error: &str) -> Cow<'static, str> {
    let quoted = error
        .strip_prefix("missing field `")
        .or_else(|| error.strip_prefix("unknown field `"))
        .or_else(|| error.strip_prefix("duplicate field `"))
        .and_then(|rest| rest.split('`').next());
    match (path, quoted) {
        (".", Some(name)) => name.to_owned().into(),
        (path, Some(name)) if path.rsplit('.').next() != Some(name) => format!("{path}.{name}").into(),
        (".", None) => "body".into(),
        (path, _) => path.to_owned().into(),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
}

fn is_length_limit(error: &axum::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.to_string().contains("length limit exceeded") {
            return true;
        }
        source = error.source();
    }
    false
}

/// The one path parameter, parsed.
pub(crate) struct ApiPath<T>(pub(crate) T);

impl<T> FromRequestParts<Signaling> for ApiPath<T>
where
    T: FromStr<Err: std::fmt::Display> + Send,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Signaling) -> Result<Self, ApiError> {
        let parameters =
            RawPathParams::from_request_parts(parts, state).await.map_err(|_| ApiError::NotFound)?;
        let (name, text) = parameters.iter().next().ok_or(ApiError::NotFound)?;
        text.parse().map(Self).map_err(|error: T::Err| ApiError::Field {
            field: name.to_owned().into(),
            detail: error.to_string(),
        })
    }
}

/// Who asks, by the bearer token.
pub(crate) struct Reader(#[expect(dead_code, reason = "whoever it is may read")] pub(crate) Principal);

/// Who asks to write, within the device's limit of writes.
pub(crate) struct Writer(pub(crate) Principal);

impl FromRequestParts<Signaling> for Reader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, signaling: &Signaling) -> Result<Self, ApiError> {
        let token = bearer(&parts.headers).ok_or(ApiError::NoToken)?;
        Ok(Self(signaling.verify_token(token).await?))
    }
}

impl FromRequestParts<Signaling> for Writer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, signaling: &Signaling) -> Result<Self, ApiError> {
        let token = bearer(&parts.headers).ok_or(ApiError::NoToken)?;
        let principal = signaling.verify_token(token).await?;
        let now = signaling.0.config.now();
        lock(&signaling.0.write_limits).take(now, principal.device).map_err(|wait| {
            count(&signaling.0.counters.rate_limited);
            ApiError::RateLimited(wait)
        })?;
        Ok(Self(principal))
    }
}

/// The token of the only Authorization header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The address that counts for limits.
pub(crate) struct Client(pub(crate) IpAddr);

impl Client {
    pub(crate) fn of(extensions: &Extensions) -> Self {
        let named = extensions.get::<ClientAddr>().map(|client| client.0);
        let connected =
            || extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip());
        // Without either, everybody shares one bucket: too strict rather than too lax.
        Self(address_key(named.or_else(connected).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))))
    }
}

impl FromRequestParts<Signaling> for Client {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Signaling) -> Result<Self, ApiError> {
        Ok(Self::of(&parts.extensions))
    }
}
