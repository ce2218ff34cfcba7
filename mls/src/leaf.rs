//! Whose a leaf is: its signature key is the device's key, its credential names the account.

use openmls::prelude::{
    BasicCredential, Capabilities, Credential, CredentialType, CredentialWithKey, ExtensionType, LeafNode,
    ProposalType, ProtocolVersion,
};
use sotto_protocol::{AccountId, DeviceId, PublicKey};

use crate::CIPHERSUITE;
use crate::key_package::EXPIRY_EXTENSION;
use crate::policy::{POLICY_EXTENSION, PolicyError};

/// One device in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Leaf {
    /// The account that the leaf names. That the device is listed there is to be checked.
    pub account: AccountId,
    /// The device.
    pub device: DeviceId,
    /// The device's key, which signs in the group.
    pub key: PublicKey,
}

impl Leaf {
    pub(crate) fn new(account: AccountId, key: PublicKey) -> Self {
        Self { account, device: DeviceId::of(&key), key }
    }

    pub(crate) fn of_node(node: &LeafNode) -> Result<Self, PolicyError> {
        Self::of(node.credential(), node.signature_key().as_slice())
    }

    pub(crate) fn of(credential: &Credential, key: &[u8]) -> Result<Self, PolicyError> {
        let key = key.try_into().map(PublicKey).map_err(|_| PolicyError::Leaf("another kind of key"))?;
        let account = match credential.credential_type() {
            CredentialType::Basic => credential.serialized_content().try_into().map(AccountId).ok(),
            _ => None,
        };
        let account = account.ok_or(PolicyError::Leaf("another kind of credential"))?;
        Ok(Self::new(account, key))
    }

    pub(crate) fn credential(&self) -> CredentialWithKey {
        CredentialWithKey {
            credential: BasicCredential::new(self.account.0.to_vec()).into(),
            signature_key: self.key.0.to_vec().into(),
        }
    }
}

/// What every device here can do: the one ciphersuite, and what this crate adds to RFC 9420.
pub(crate) fn capabilities() -> Capabilities {
    let extensions = [
        ExtensionType::LastResort,
        ExtensionType::Unknown(POLICY_EXTENSION),
        ExtensionType::Unknown(EXPIRY_EXTENSION),
    ];
    Capabilities::new(
        Some(&[ProtocolVersion::Mls10]),
        Some(&[CIPHERSUITE]),
        Some(&extensions),
        Some(&[ProposalType::SelfRemove]),
        Some(&[CredentialType::Basic]),
    )
}
