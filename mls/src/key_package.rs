//! Key packages (RFC 9420 §10): what lets others add a device while it is away.
//!
//! Their MLS lifetime has no end: openmls would hold it against the machine's clock, also for leaves that are long in
//! a group, so that one dormant device would block all joins. Until when one may be used is in an extension of ours,
//! signed like the rest, and checked against the time that the caller gives.

use openmls::prelude::tls_codec::{DeserializeBytes as _, Serialize as _};
use openmls::prelude::{
    Extension, Extensions, KeyPackage, KeyPackageBundle, KeyPackageIn, KeyPackageRef, Lifetime,
    ProtocolVersion, UnknownExtension,
};
use openmls_traits::OpenMlsProvider as _;
use openmls_traits::signatures::Signer;
use sotto_protocol::{Hash, UnixMillis};

use crate::leaf::{Leaf, capabilities};
use crate::provider::Provider;
use crate::{CIPHERSUITE, MlsError};

/// Until when a key package may be used, among its extensions: of the range for private use (RFC 9420 §17.3).
pub const EXPIRY_EXTENSION: u16 = 0xF051;

/// Longest key package taken in: ours have about 350 bytes.
pub const MAX_KEY_PACKAGE: usize = 2_048;

/// A key package that was checked: its signatures, its ciphersuite, that it has not expired.
#[derive(Debug, Clone)]
pub struct CheckedKeyPackage {
    pub(crate) package: KeyPackage,
    /// The device it is for.
    pub leaf: Leaf,
    /// Until when it may be used.
    pub expires_at: UnixMillis,
}

/// Makes a key package. Its private half is kept in the provider's storage.
pub(crate) fn make(
    provider: &Provider,
    signer: &impl Signer,
    leaf: &Leaf,
    expires_at: UnixMillis,
    last_resort: bool,
) -> Result<(Hash, Vec<u8>), MlsError> {
    let expiry = Extension::Unknown(EXPIRY_EXTENSION, UnknownExtension(expires_at.0.to_be_bytes().to_vec()));
    let builder = KeyPackage::builder()
        .key_package_lifetime(Lifetime::init(0, u64::MAX))
        .key_package_extensions(Extensions::single(expiry).map_err(MlsError::other)?)
        .leaf_node_capabilities(capabilities());
    let builder = if last_resort { builder.mark_as_last_resort() } else { builder };
    let bundle: KeyPackageBundle =
        builder.build(CIPHERSUITE, provider, signer, leaf.credential()).map_err(MlsError::other)?;
    let bytes = bundle.key_package().tls_serialize_detached().map_err(MlsError::other)?;
    Ok((reference(provider, bundle.key_package())?, bytes))
}

fn reference(provider: &Provider, package: &KeyPackage) -> Result<Hash, MlsError> {
    let reference = package.hash_ref(provider.crypto()).map_err(MlsError::other)?;
    reference.as_slice().try_into().map(Hash).map_err(|_| MlsError::Malformed)
}

/// A key package's name as openmls knows it: an RFC 9420 `opaque value<V>`.
pub(crate) fn named(name: &Hash) -> Result<KeyPackageRef, MlsError> {
    let bytes = [&[name.0.len() as u8][..], &name.0].concat();
    KeyPackageRef::tls_deserialize_exact_bytes(&bytes).map_err(|_| MlsError::Malformed)
}

impl CheckedKeyPackage {
    /// Checks a key package that a server gave out.
    pub fn check(provider: &Provider, bytes: &[u8], now: UnixMillis) -> Result<Self, MlsError> {
        if bytes.len() > MAX_KEY_PACKAGE {
            return Err(MlsError::TooLarge);
        }
        let unchecked = KeyPackageIn::tls_deserialize_exact_bytes(bytes).map_err(|_| MlsError::Malformed)?;
        let package = unchecked
            .validate(provider.crypto(), ProtocolVersion::Mls10)
            .map_err(|_| MlsError::Refused("a key package that is not valid".into()))?;
        if package.ciphersuite() != CIPHERSUITE {
            return Err(MlsError::Refused("a key package of another ciphersuite".into()));
        }
        let expiry = package.extensions().unknown(EXPIRY_EXTENSION).map(|expiry| &expiry.0[..]);
        let expires_at = expiry
            .and_then(|bytes| bytes.try_into().ok().map(u64::from_be_bytes))
            .map(UnixMillis)
            .ok_or_else(|| MlsError::Refused("a key package that does not say when it expires".into()))?;
        if expires_at <= now {
            return Err(MlsError::Refused("a key package that has expired".into()));
        }
        let leaf = Leaf::of_node(package.leaf_node())?;
        Ok(Self { package, leaf, expires_at })
    }
}
