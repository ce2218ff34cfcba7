//! What the relay needs to know about people and devices, as traits: the server plugs signaling in, an embedding
//! application may plug in its own. The relay depends on neither.

use async_trait::async_trait;
use sotto_protocol::rest::DeviceRecord;
use sotto_protocol::{AccountId, DeviceId, UnixMillis};
use tokio::sync::broadcast;

/// Who holds a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Principal {
    /// The account.
    pub account: AccountId,
    /// The device.
    pub device: DeviceId,
    /// When the token ends; the socket must bring a new one before.
    pub expires_at: UnixMillis,
}

/// Why a token names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Forged, malformed, or made for another server.
    #[error("token: not valid here")]
    Invalid,
    /// Its time is over.
    #[error("token: expired")]
    Expired,
    /// Its device is revoked, or its account disabled.
    #[error("token: its device or account may not sign in any more")]
    Revoked,
    /// It could not be checked now.
    #[error("token: cannot be checked now")]
    Unavailable,
}

/// Checks access tokens.
#[async_trait]
pub trait TokenVerifier: Send + Sync + 'static {
    /// Who holds this token. A token of a revoked device or disabled account is refused even if it has not expired.
    async fn verify(&self, token: &str) -> Result<Principal, TokenError>;
}

/// The directory could not be asked. The relay logs it and asks again for the next request.
#[derive(Debug, thiserror::Error)]
#[error("directory: {0}")]
pub struct DirectoryError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Knows all accounts and devices.
#[async_trait]
pub trait Directory: Send + Sync + 'static {
    /// The device, if it ever was listed. One of a disabled account counts as revoked.
    async fn device(&self, device: DeviceId) -> Result<Option<DeviceRecord>, DirectoryError>;

    /// Whether the account exists and is not disabled.
    async fn account_exists(&self, account: AccountId) -> Result<bool, DirectoryError>;
}

/// Somebody lost access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// A device was taken off its account's list.
    Device(DeviceId),
    /// An account was disabled or deleted.
    Account(AccountId),
}

/// How the relay finds out about revocations. The sender says them once they are durable; should the relay ever lag
/// behind the channel, it forgets what it knows of devices and closes all sockets, which then authenticate anew.
pub type Revocations = broadcast::Receiver<Revocation>;
