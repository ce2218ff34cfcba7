//! Signing up, finding others, the profile, leaving for good.

use axum::http::StatusCode;
use axum::routing::{delete, get, post, put};
use axum::{Json, Router, extract::State};
use sotto_protocol::device_list::{DeviceChange, DeviceList};
use sotto_protocol::rest::{Account, Problem, Profile, SignUp};
use sotto_protocol::{AccountId, DeviceId, Handle};

use super::extract::{ApiJson, ApiPath, Client, Reader, Writer};
use crate::config::SignUpPolicy;
use crate::metrics::count;
use crate::problem::ApiError;
use crate::store::{AccountRow, AccountState, InviteCode, NewAccount};
use crate::verify::Ring;
use crate::{Signaling, lock};

pub(crate) fn router() -> Router<Signaling> {
    Router::new()
        .route("/v1/accounts", post(sign_up))
        .route("/v1/accounts/{account}", get(account))
        .route("/v1/handles/{handle}", get(handle))
        .route("/v1/profile", put(set_profile))
        .route("/v1/account", delete(delete_account))
}

#[utoipa::path(
    post,
    path = "/v1/accounts",
    tag = "Accounts",
    summary = "Sign up",
    description = "Makes an account with its first device. The entry is signed by the root key, whose public half is \
        the account's id. Asking the same again answers 200, so that a lost answer does no harm.",
    request_body = SignUp,
    responses(
        (status = 201, description = "Signed up", body = Account),
        (status = 200, description = "This very sign-up had succeeded before", body = Account),
        (status = 403, description = "`invite-required`, `invite-invalid`, `invite-expired` or `invite-used-up`", body = Problem),
        (status = 409, description = "`handle-taken`, `account-exists` or `device-exists`", body = Problem),
        (status = 422, description = "`invalid-field`: a reserved handle, a bad signature, …", body = Problem),
        (status = 429, description = "`rate-limited`", body = Problem),
    )
)]
pub(crate) async fn sign_up(
    State(signaling): State<Signaling>,
    Client(address): Client,
    ApiJson(request): ApiJson<SignUp>,
) -> Result<(StatusCode, Json<Account>), ApiError> {
    let service = &signaling.0;
    let now = service.config.now();
    lock(&service.sign_up_limits).take(now, address).map_err(|wait| {
        count(&service.counters.rate_limited);
        ApiError::RateLimited(wait)
    })?;

    let entry = DeviceList::new(request.account).append(&request.device, &Ring).map_err(|error| {
        // There is no list yet that could have moved on.
        ApiError::Field { field: "device".into(), detail: error.to_string() }
    })?;
    let DeviceChange::Add { key, .. } = entry.change else {
        return Err(ApiError::field("device", "device list entry: change: expected to add the first device"));
    };
    let invite = match (service.config.sign_up, &request.invite) {
        (SignUpPolicy::Open, _) => None,
        (SignUpPolicy::Invite, None) => {
            return repeated(&signaling, &request, ApiError::InviteRequired).await;
        }
        (SignUpPolicy::Invite, Some(text)) => Some(InviteCode::parse(text).ok_or(ApiError::InviteUnknown)?),
    };

    let new = NewAccount {
        account: request.account,
        handle: &request.handle,
        device: DeviceId::of(&key),
        key,
        entry: &request.device,
        invite,
    };
    match service.store.sign_up(now, &new).await {
        Ok(()) => {}
        Err(error @ (ApiError::AccountExists | ApiError::HandleTaken)) => {
            return repeated(&signaling, &request, error).await;
        }
        Err(error) => return Err(error),
    }
    count(&service.counters.sign_ups);
    tracing::info!(account = %request.account, "signed up");
    let account = Account { account: request.account, handle: request.handle, profile: Profile::default() };
    Ok((StatusCode::CREATED, Json(account)))
}

/// The same sign-up again is no error: the first answer may have been lost.
async fn repeated(
    signaling: &Signaling,
    request: &SignUp,
    error: ApiError,
) -> Result<(StatusCode, Json<Account>), ApiError> {
    let store = &signaling.0.store;
    let Some(row) = store.account(request.account).await? else { return Err(error) };
    let first = store.device_entries(request.account).await?.into_iter().next();
    let same = row.handle == request.handle && first.as_ref() == Some(&request.device);
    if same && row.state == AccountState::Active {
        Ok((StatusCode::OK, Json(shown(row))))
    } else {
        Err(ApiError::AccountExists)
    }
}

fn shown(row: AccountRow) -> Account {
    Account { account: row.account, handle: row.handle, profile: row.profile }
}

#[utoipa::path(
    get,
    path = "/v1/accounts/{account}",
    tag = "Accounts",
    summary = "An account by its id",
    params(("account" = String, Path, description = "64 lower-case hex digits")),
    responses(
        (status = 200, description = "The account", body = Account),
        (status = 401, description = "`unauthenticated`", body = Problem),
        (status = 404, description = "`not-found`", body = Problem),
    ),
    security(("session" = []))
)]
pub(crate) async fn account(
    State(signaling): State<Signaling>,
    _: Reader,
    ApiPath(account): ApiPath<AccountId>,
) -> Result<Json<Account>, ApiError> {
    found(signaling.0.store.account(account).await?, "account")
}

#[utoipa::path(
    get,
    path = "/v1/handles/{handle}",
    tag = "Accounts",
    summary = "An account by its handle",
    params(("handle" = String, Path, description = "A handle, in any case, with or without `@`")),
    responses(
        (status = 200, description = "The account", body = Account),
        (status = 401, description = "`unauthenticated`", body = Problem),
        (status = 404, description = "`not-found`", body = Problem),
    ),
    security(("session" = []))
)]
pub(crate) async fn handle(
    State(signaling): State<Signaling>,
    _: Reader,
    ApiPath(handle): ApiPath<Handle>,
) -> Result<Json<Account>, ApiError> {
    found(signaling.0.store.account_by_handle(&handle).await?, "handle")
}

fn found(row: Option<AccountRow>, field: &'static str) -> Result<Json<Account>, ApiError> {
    match row {
        Some(row) if row.state != AccountState::Deleted => Ok(Json(shown(row))),
        _ => Err(ApiError::Unknown(field)),
    }
}

#[utoipa::path(
    put,
    path = "/v1/profile",
    tag = "Accounts",
    summary = "Set one's own profile",
    description = "Replaces the whole profile; everybody may see it.",
    request_body = Profile,
    responses(
        (status = 200, description = "The profile as it is now", body = Profile),
        (status = 401, description = "`unauthenticated`", body = Problem),
        (status = 422, description = "`invalid-field`", body = Problem),
    ),
    security(("session" = []))
)]
pub(crate) async fn set_profile(
    State(signaling): State<Signaling>,
    Writer(principal): Writer,
    ApiJson(profile): ApiJson<Profile>,
) -> Result<Json<Profile>, ApiError> {
    profile.check().map_err(|detail| {
        let field = detail.split(':').next().unwrap_or_default().to_owned();
        ApiError::Field { field: field.into(), detail }
    })?;
    signaling.0.store.set_profile(principal.account, &profile).await?;
    Ok(Json(profile))
}

#[utoipa::path(
    delete,
    path = "/v1/account",
    tag = "Accounts",
    summary = "Delete one's own account",
    description = "For good: profile, device list and presence capabilities. All devices are signed out at once. The \
        handle stays taken, so that nobody can pass for who left.",
    responses(
        (status = 204, description = "Deleted"),
        (status = 401, description = "`unauthenticated`", body = Problem),
    ),
    security(("session" = []))
)]
pub(crate) async fn delete_account(
    State(signaling): State<Signaling>,
    Writer(principal): Writer,
) -> Result<StatusCode, ApiError> {
    signaling.0.store.delete_account(signaling.0.config.now(), principal.account).await?;
    signaling.apply_revocations().await?;
    tracing::info!(account = %principal.account, "account deleted by its owner");
    Ok(StatusCode::NO_CONTENT)
}
