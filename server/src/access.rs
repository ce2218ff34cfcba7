//! Where signaling and the relay meet: signaling answers what the relay asks through its traits.

use std::sync::Arc;

use async_trait::async_trait;
use sotto_protocol::rest::DeviceRecord;
use sotto_protocol::{AccountId, DeviceId};
use sotto_relay::access::{
    Directory, DirectoryError, Principal, Revocation, Revocations, TokenError, TokenVerifier,
};
use sotto_signaling::{AccountState, Revoked, Signaling, TokenError as SignalingError};
use tokio::sync::broadcast::{self, error::RecvError};

/// As many as signaling keeps for a slow listener.
const REVOCATIONS: usize = 1_024;

/// What the relay needs of signaling.
pub struct Access {
    /// Checks tokens.
    pub verifier: Arc<dyn TokenVerifier>,
    /// Knows accounts and devices.
    pub directory: Arc<dyn Directory>,
    /// Says who loses access.
    pub revocations: Revocations,
}

/// Plugs signaling in.
pub fn through(signaling: &Signaling) -> Access {
    let plug = Arc::new(Plug(signaling.clone()));
    let (sender, revocations) = broadcast::channel(REVOCATIONS);
    tokio::spawn(forward(signaling.clone(), signaling.revocations(), sender));
    Access { verifier: plug.clone(), directory: plug, revocations }
}

struct Plug(Signaling);

#[async_trait]
impl TokenVerifier for Plug {
    async fn verify(&self, token: &str) -> Result<Principal, TokenError> {
        match self.0.verify_token(token).await {
            Ok(known) => {
                Ok(Principal { account: known.account, device: known.device, expires_at: known.expires_at })
            }
            Err(error) => Err(refusal(&error)),
        }
    }
}

#[async_trait]
impl Directory for Plug {
    async fn device(&self, device: DeviceId) -> Result<Option<DeviceRecord>, DirectoryError> {
        let failed = |error: sqlx::Error| DirectoryError(error.into());
        let Some(mut record) = self.0.device(device).await.map_err(failed)? else { return Ok(None) };
        let state = self.0.account_state(record.account).await.map_err(failed)?;
        record.revoked |= state != Some(AccountState::Active);
        Ok(Some(record))
    }

    async fn account_exists(&self, account: AccountId) -> Result<bool, DirectoryError> {
        let state = self.0.account_state(account).await.map_err(|error| DirectoryError(error.into()))?;
        Ok(state == Some(AccountState::Active))
    }
}

/// Passes revocations on until signaling or the relay is gone.
async fn forward(
    signaling: Signaling,
    mut revoked: broadcast::Receiver<Revoked>,
    relay: broadcast::Sender<Revocation>,
) {
    loop {
        let passed = match revoked.recv().await {
            Ok(Revoked::Device(device)) => relay.send(Revocation::Device(device)),
            Ok(Revoked::Account(account)) => relay.send(Revocation::Account(account)),
            Err(RecvError::Closed) => return,
            Err(RecvError::Lagged(missed)) => {
                // So many at once are accounts that an administrator disabled; all of those are said again.
                tracing::warn!(
                    missed,
                    "many revocations at once; passing on every account that is not active"
                );
                disabled_accounts(&signaling, &relay).await
            }
        };
        if passed.is_err() {
            return;
        }
    }
}

async fn disabled_accounts(
    signaling: &Signaling,
    relay: &broadcast::Sender<Revocation>,
) -> Result<usize, broadcast::error::SendError<Revocation>> {
    match signaling.list_accounts().await {
        Ok(accounts) => accounts
            .iter()
            .filter(|account| account.state != AccountState::Active)
            .try_fold(0, |_, account| relay.send(Revocation::Account(account.account))),
        Err(error) => {
            tracing::error!(%error, "revoked accounts could not be listed; their sockets close when their tokens expire");
            Ok(0)
        }
    }
}

fn refusal(error: &SignalingError) -> TokenError {
    match error {
        SignalingError::Malformed
        | SignalingError::Algorithm
        | SignalingError::Signature
        | SignalingError::Audience => TokenError::Invalid,
        SignalingError::Expired => TokenError::Expired,
        SignalingError::Revoked | SignalingError::Disabled => TokenError::Revoked,
        SignalingError::Unavailable(_) => TokenError::Unavailable,
    }
}
