//! What openmls stands on: RustCrypto, randomness of the caller, and [`Storage`].
//!
//! One thing draws randomness of its own: HPKE's ephemeral keys, which RustCrypto takes from the operating system. They
//! change bytes, never what happens, so that a history replays from its seed but for the ciphertexts of commits and
//! welcomes.

use std::sync::Mutex;

use openmls_rust_crypto::RustCrypto;
use openmls_traits::OpenMlsProvider;
use openmls_traits::random::OpenMlsRand;
use openmls_traits::signatures::{Signer, SignerError};
use openmls_traits::types::SignatureScheme;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use sotto_protocol::Signature;

use crate::storage::Storage;

/// See the module.
pub struct Provider {
    crypto: RustCrypto,
    random: Random,
    storage: Storage,
}

impl Provider {
    /// From 32 random bytes, new at each start, and what was stored before.
    pub fn new(seed: [u8; 32], storage: Storage) -> Self {
        let random = Random(Mutex::new(ChaCha20Rng::from_seed(seed)));
        Self { crypto: RustCrypto::default(), random, storage }
    }
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Provider")
    }
}

impl OpenMlsProvider for Provider {
    type CryptoProvider = RustCrypto;
    type RandProvider = Random;
    type StorageProvider = Storage;

    fn storage(&self) -> &Storage {
        &self.storage
    }

    fn crypto(&self) -> &RustCrypto {
        &self.crypto
    }

    fn rand(&self) -> &Random {
        &self.random
    }
}

/// Randomness from the caller's seed.
pub struct Random(Mutex<ChaCha20Rng>);

/// Never made: a generator that was seeded always has more.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("no randomness")]
pub enum NoRandomness {}

impl Random {
    fn fill(&self, bytes: &mut [u8]) {
        let mut random = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        random.fill_bytes(bytes);
    }
}

impl OpenMlsRand for Random {
    type Error = NoRandomness;

    fn random_array<const N: usize>(&self) -> Result<[u8; N], NoRandomness> {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        Ok(bytes)
    }

    fn random_vec(&self, len: usize) -> Result<Vec<u8>, NoRandomness> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes);
        Ok(bytes)
    }
}

/// The device's key, by what signs with it.
pub(crate) struct DeviceSigner<'a>(pub &'a dyn Fn(&[u8]) -> Signature);

impl Signer for DeviceSigner<'_> {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok((self.0)(payload).0.to_vec())
    }

    fn signature_scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}
