//! Device lists: read by everybody, appended to by whoever can sign for the account.

use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router, extract::State};
use sotto_protocol::device_list::{DeviceChange, DeviceList, DeviceListError, SignedEntry};
use sotto_protocol::rest::{DeviceChain, DeviceRecord, Problem};
use sotto_protocol::{AccountId, DeviceId};

use super::extract::{ApiJson, ApiPath, Reader};
use crate::Signaling;
use crate::problem::ApiError;
use crate::store::{AccountState, DeviceEffect};
use crate::verify::{CheckedBefore, Ring};

pub(crate) fn router() -> Router<Signaling> {
    Router::new()
        .route("/v1/accounts/{account}/devices", get(devices).post(append))
        .route("/v1/devices/{device}", get(device))
}

#[utoipa::path(
    get,
    path = "/v1/devices/{device}",
    tag = "Devices",
    summary = "Whose a device is",
    description = "For who meets a device that is new, as in a group whose member has left since. Proves nothing by \
        itself: fetch the account's device list, and find the device there. Revoked devices are found too.",
    params(("device" = String, Path, description = "32 lower-case hex digits")),
    responses(
        (status = 200, description = "The device", body = DeviceRecord),
        (status = 401, description = "`unauthenticated`", body = Problem),
        (status = 404, description = "`not-found`: there is none, or its account was deleted", body = Problem),
    ),
    security(("session" = []))
)]
pub(crate) async fn device(
    State(signaling): State<Signaling>,
    _: Reader,
    ApiPath(device): ApiPath<DeviceId>,
) -> Result<Json<DeviceRecord>, ApiError> {
    match signaling.0.store.device(device).await? {
        Some((record, AccountState::Active | AccountState::Disabled)) => Ok(Json(record)),
        Some((_, AccountState::Deleted)) | None => Err(ApiError::Unknown("device")),
    }
}

#[utoipa::path(
    get,
    path = "/v1/accounts/{account}/devices",
    tag = "Devices",
    summary = "An account's device list",
    description = "The whole chain, which proves itself: check it against the account's id. Needs no session, for a \
        device that is being added by the recovery key has none.",
    params(("account" = String, Path, description = "64 lower-case hex digits")),
    responses(
        (status = 200, description = "All entries", body = DeviceChain),
        (status = 404, description = "`not-found`", body = Problem),
    )
)]
pub(crate) async fn devices(
    State(signaling): State<Signaling>,
    ApiPath(account): ApiPath<AccountId>,
) -> Result<Json<DeviceChain>, ApiError> {
    let entries = signaling.0.store.device_entries(account).await?;
    if entries.is_empty() {
        Err(ApiError::Unknown("account"))
    } else {
        Ok(Json(DeviceChain { account, entries }))
    }
}

#[utoipa::path(
    post,
    path = "/v1/accounts/{account}/devices",
    tag = "Devices",
    summary = "Add, rename or revoke a device",
    description = "Appends an entry, by compare-and-swap on the head that it names. The entry's own signature is what \
        counts: the root key's, or a listed device's. A revoked device is signed out before this answers. Appending \
        the same entry again answers 200.",
    params(("account" = String, Path, description = "64 lower-case hex digits")),
    request_body = SignedEntry,
    responses(
        (status = 201, description = "Appended: all entries now", body = DeviceChain),
        (status = 200, description = "This very entry was appended before", body = DeviceChain),
        (status = 403, description = "`account-disabled`", body = Problem),
        (status = 404, description = "`not-found`", body = Problem),
        (status = 409, description = "`stale-device-list`: fetch the list and sign anew; or `device-exists`", body = Problem),
        (status = 422, description = "`invalid-field`: a bad signature, a signer that is not listed, …", body = Problem),
    )
)]
pub(crate) async fn append(
    State(signaling): State<Signaling>,
    ApiPath(account): ApiPath<AccountId>,
    ApiJson(signed): ApiJson<SignedEntry>,
) -> Result<(StatusCode, Json<DeviceChain>), ApiError> {
    let service = &signaling.0;
    match service.store.account(account).await?.map(|row| row.state) {
        Some(AccountState::Active) => {}
        Some(AccountState::Disabled) => return Err(ApiError::AccountDisabled),
        Some(AccountState::Deleted) | None => return Err(ApiError::Unknown("account")),
    }
    let mut entries = service.store.device_entries(account).await?;
    let mut list = DeviceList::verify_chain(account, &entries, &CheckedBefore)?;
    let position = list.length();
    let entry = match list.append(&signed, &Ring) {
        Ok(entry) => entry,
        Err(DeviceListError::Head) if entries.contains(&signed) => {
            return Ok((StatusCode::OK, Json(DeviceChain { account, entries })));
        }
        Err(error) => return Err(error.into()),
    };
    let effect = match entry.change {
        DeviceChange::Add { key, .. } => DeviceEffect::Add(DeviceId::of(&key), key),
        DeviceChange::Rename { .. } => DeviceEffect::Rename,
        DeviceChange::Revoke { device } => DeviceEffect::Revoke(device),
    };
    service.store.append_entry(service.config.now(), account, position, &signed, effect).await?;
    if let DeviceEffect::Revoke(device) = effect {
        signaling.apply_revocations().await?;
        tracing::info!(%account, %device, "device revoked");
    }
    entries.push(signed);
    Ok((StatusCode::CREATED, Json(DeviceChain { account, entries })))
}
