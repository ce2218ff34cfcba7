//! Signing in: a challenge, its signature by the device key, a token.

use axum::routing::post;
use axum::{Json, Router, extract::State};
use sotto_protocol::Verify as _;
use sotto_protocol::rest::{
    Challenge, ChallengeRequest, Problem, Session, SessionRequest, session_signing_input,
};

use super::extract::ApiJson;
use crate::challenge::LIFETIME_MS;
use crate::metrics::count;
use crate::problem::ApiError;
use crate::store::AccountState;
use crate::verify::Ring;
use crate::{Signaling, lock};

pub(crate) fn router() -> Router<Signaling> {
    Router::new().route("/v1/challenges", post(challenge)).route("/v1/sessions", post(session))
}

#[utoipa::path(
    post,
    path = "/v1/challenges",
    tag = "Sessions",
    summary = "Ask for a nonce to sign",
    description = "Valid once and for a minute. Devices that do not exist get one too.",
    request_body = ChallengeRequest,
    responses(
        (status = 200, description = "The nonce", body = Challenge),
        (status = 422, description = "`invalid-field`", body = Problem),
        (status = 429, description = "`rate-limited`", body = Problem),
    )
)]
pub(crate) async fn challenge(
    State(signaling): State<Signaling>,
    ApiJson(request): ApiJson<ChallengeRequest>,
) -> Json<Challenge> {
    let nonce = signaling.random_nonce();
    lock(&signaling.0.challenges).open(signaling.0.config.now(), request.device, nonce);
    Json(Challenge { nonce, expires_in_ms: LIFETIME_MS })
}

#[utoipa::path(
    post,
    path = "/v1/sessions",
    tag = "Sessions",
    summary = "Sign in",
    description = "The device signs, by Ed25519, `sotto session v1`, a zero byte, the nonce's 16 bytes and the origin \
        that it believes it talks to. The token is valid for 10 minutes; sign in again before it ends.",
    request_body = SessionRequest,
    responses(
        (status = 200, description = "An access token", body = Session),
        (status = 401, description = "`challenge-invalid`, or `unauthenticated`: an unknown device or a wrong signature", body = Problem),
        (status = 403, description = "`origin-mismatch`, `device-revoked` or `account-disabled`", body = Problem),
    )
)]
pub(crate) async fn session(
    State(signaling): State<Signaling>,
    ApiJson(request): ApiJson<SessionRequest>,
) -> Result<Json<Session>, ApiError> {
    let outcome = open_session(&signaling, &request).await;
    let counters = &signaling.0.counters;
    count(if outcome.is_ok() { &counters.sessions } else { &counters.sessions_refused });
    outcome.map(Json)
}

async fn open_session(signaling: &Signaling, request: &SessionRequest) -> Result<Session, ApiError> {
    let service = &signaling.0;
    let now = service.config.now();
    if !lock(&service.challenges).take(now, request.device, request.nonce) {
        return Err(ApiError::Challenge);
    }
    if !service.config.origins.contains(&request.origin) {
        return Err(ApiError::OriginMismatch(service.config.origins.join(", ")));
    }
    let (device, state) = service.store.device(request.device).await?.ok_or(ApiError::Credentials)?;
    let input = session_signing_input(&request.origin, &request.nonce);
    if !Ring.verify(&device.key, &input, &request.signature) {
        return Err(ApiError::Credentials);
    }
    // Only the device itself gets to know more than that it does not work.
    if state == AccountState::Disabled {
        return Err(ApiError::AccountDisabled);
    }
    if device.revoked || state == AccountState::Deleted {
        return Err(ApiError::DeviceRevoked);
    }
    let lifetime = service.config.token_lifetime;
    let token = service.tokens.issue(now, lifetime, device.account, device.device, signaling.random_nonce());
    tracing::debug!(device = %device.device, "session opened");
    Ok(Session {
        token,
        expires_in_ms: lifetime.as_millis().try_into().unwrap_or(u64::MAX),
        account: device.account,
    })
}
