//! A device: its leaf, its key packages, what its groups are kept in.

use openmls_traits::OpenMlsProvider as _;
use openmls_traits::storage::StorageProvider as _;
use sotto_protocol::{AccountId, Hash, PublicKey, Signature, UnixMillis};

use crate::leaf::Leaf;
use crate::provider::{DeviceSigner, Provider};
use crate::storage::{Change, Storage};
use crate::{MlsError, key_package};

/// Signs with the device's key.
type Sign = Box<dyn Fn(&[u8]) -> Signature + Send + Sync>;

/// One device, with the private halves of its keys.
pub struct Device {
    pub(crate) provider: Provider,
    pub(crate) leaf: Leaf,
    sign: Sign,
}

impl Device {
    /// A device of an account. `sign` signs with its key; `seed` is 32 random bytes, new at each start.
    pub fn new(
        account: AccountId,
        key: PublicKey,
        sign: impl Fn(&[u8]) -> Signature + Send + Sync + 'static,
        seed: [u8; 32],
        storage: Storage,
    ) -> Self {
        let provider = Provider::new(seed, storage);
        Self { provider, leaf: Leaf::new(account, key), sign: Box::new(sign) }
    }

    /// Whose it is, as its leaf says it.
    pub fn leaf(&self) -> Leaf {
        self.leaf
    }

    /// What checks and opens with this device's randomness.
    pub fn provider(&self) -> &Provider {
        &self.provider
    }

    pub(crate) fn signer(&self) -> DeviceSigner<'_> {
        DeviceSigner(&*self.sign)
    }

    /// Makes a key package for others to add this device with, once; or, as the last resort when the others are used
    /// up, more than once. Answers its name and its bytes.
    pub fn key_package(
        &self,
        expires_at: UnixMillis,
        last_resort: bool,
    ) -> Result<(Hash, Vec<u8>), MlsError> {
        key_package::make(&self.provider, &self.signer(), &self.leaf, expires_at, last_resort)
    }

    /// Forgets the private half of a key package that has expired: what was sent to it cannot be opened any more.
    pub fn forget_key_package(&self, name: &Hash) -> Result<(), MlsError> {
        Ok(self.provider.storage().delete_key_package(&key_package::named(name)?)?)
    }

    /// All rows of the state, as they would be found after a restart now.
    pub fn rows(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.provider.storage().rows_now()
    }

    /// The rows of the state that changed since they were last taken: to be stored in the transaction of whatever
    /// follows from them.
    pub fn take_changes(&self) -> Vec<Change> {
        self.provider.storage().take_changes()
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Device({})", self.leaf.device)
    }
}
