//! Ed25519 by `ring`.

use ring::signature::{ED25519, UnparsedPublicKey};
use sotto_protocol::{PublicKey, Signature, Verify};

/// Checks signatures with `ring`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ring;

impl Verify for Ring {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        UnparsedPublicKey::new(&ED25519, key.0).verify(message, &signature.0).is_ok()
    }
}
