//! An account's devices: a hash chain of signed entries. The first is signed by the root key, which names the
//! account; each further one by the root key or by a device then listed. Appending is compare-and-swap on the
//! head, so that a server can neither hide nor add a device unseen. The server and every peer run the same
//! [`DeviceList`] over it.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::cbor::{self, Text};
use crate::ids::{AccountId, DeviceId, UnixMillis};
use crate::keys::{Hash, PublicKey, Signature, Verify, base64url, signing_input};
use crate::limits;

/// Signing context of entries, by root or device.
pub const DEVICE_LIST_CONTEXT: &str = "sotto device list v1";

/// Signing context by which a new device shows that it holds its key.
pub const DEVICE_POSSESSION_CONTEXT: &str = "sotto device possession v1";

/// Longest encoded entry.
pub const MAX_ENTRY: usize = 1_024;

/// What an entry does.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub enum DeviceChange {
    /// Lists a device. Carries a second signature, by the new device, over the same payload.
    #[n(0)]
    Add {
        /// Its Ed25519 public key; its id follows from it.
        #[n(0)]
        key: PublicKey,
        /// What its owner calls it.
        #[n(1)]
        name: Text<{ limits::MAX_NAME_BYTES }>,
    },
    /// Gives a listed device another name.
    #[n(1)]
    Rename {
        /// The device.
        #[n(0)]
        device: DeviceId,
        /// Its new name.
        #[n(1)]
        name: Text<{ limits::MAX_NAME_BYTES }>,
    },
    /// Takes a device off the list for good: its id never comes back.
    #[n(2)]
    Revoke {
        /// The device.
        #[n(0)]
        device: DeviceId,
    },
}

/// Who signs an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Signer {
    /// The account's root key.
    #[n(0)]
    Root,
    /// A device that the list names at that point.
    #[n(1)]
    Device(#[n(0)] DeviceId),
}

/// An entry as it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Entry {
    /// The account.
    #[n(0)]
    pub account: AccountId,
    /// Its place in the chain, from 0.
    #[n(1)]
    pub index: u32,
    /// SHA-256 of the payload before it; zeros for the first.
    #[n(2)]
    pub previous: Hash,
    /// What it does.
    #[n(3)]
    pub change: DeviceChange,
    /// Who signs it.
    #[n(4)]
    pub signer: Signer,
    /// When, by the signer's clock: a label.
    #[n(5)]
    pub at: UnixMillis,
}

/// A signed entry as it travels (JSON) and is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SignedEntry {
    /// The entry in deterministic CBOR, unpadded base64url.
    #[serde(with = "base64url")]
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub payload: Vec<u8>,
    /// Ed25519 by the signer over the context and the payload.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub signature: Signature,
    /// Ed25519 by the new device over the same payload; only on an entry that adds one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub possession: Option<Signature>,
}

/// Why an entry does not extend the list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceListError {
    /// The payload is no entry.
    #[error("device list entry: {0}")]
    Malformed(String),
    /// It names another account.
    #[error("device list entry: account: belongs to another account")]
    Account,
    /// It does not follow the head: somebody else appended first, or history was changed.
    #[error("device list entry: previous: does not follow the head; fetch the list and sign anew")]
    Head,
    /// A signature is wrong, or missing.
    #[error("device list entry: {0}: bad signature")]
    Signature(&'static str),
    /// The signer is not listed, or not any more.
    #[error("device list entry: signer: not a listed device of the account")]
    Signer,
    /// The device is listed already, or was revoked.
    #[error("device list entry: key: this device is or was in the list")]
    Known,
    /// The device is not listed.
    #[error("device list entry: device: not in the list")]
    Unknown,
    /// The list or the account is full.
    #[error(
        "device list entry: at most {} devices and {} entries",
        limits::MAX_DEVICES,
        limits::MAX_DEVICE_LIST
    )]
    Full,
}

/// Signs a message.
pub type Sign<'a> = &'a dyn Fn(&[u8]) -> Signature;

impl SignedEntry {
    /// Encodes an entry and signs it.
    pub fn sign(entry: &Entry, sign: impl FnOnce(&[u8]) -> Signature, possession: Option<Sign>) -> Self {
        let payload = cbor::encode(entry);
        let signature = sign(&signing_input(DEVICE_LIST_CONTEXT, &payload));
        let possession = possession.map(|sign| sign(&signing_input(DEVICE_POSSESSION_CONTEXT, &payload)));
        Self { payload, signature, possession }
    }
}

/// One device of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// Its Ed25519 public key.
    pub key: PublicKey,
    /// What its owner calls it.
    pub name: String,
    /// Whether it was taken off the list.
    pub revoked: bool,
    /// When it was added, by the signer's clock.
    pub added_at: UnixMillis,
}

/// A verified list. Only [`DeviceList::append`] extends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceList {
    account: AccountId,
    head: Hash,
    length: u32,
    devices: Vec<Device>,
}

impl DeviceList {
    /// An empty list; its first entry must be the root key's.
    pub fn new(account: AccountId) -> Self {
        Self { account, head: Hash([0; 32]), length: 0, devices: Vec::new() }
    }

    /// Verifies a whole chain.
    pub fn verify_chain<'a>(
        account: AccountId,
        entries: impl IntoIterator<Item = &'a SignedEntry>,
        engine: &impl Verify,
    ) -> Result<Self, DeviceListError> {
        let mut list = Self::new(account);
        for entry in entries {
            list.append(entry, engine)?;
        }
        Ok(list)
    }

    /// Verifies one more entry and takes it in.
    pub fn append(&mut self, signed: &SignedEntry, engine: &impl Verify) -> Result<Entry, DeviceListError> {
        let entry: Entry = cbor::decode(&signed.payload, MAX_ENTRY)
            .map_err(|e| DeviceListError::Malformed(e.to_string()))?;
        if entry.account != self.account {
            return Err(DeviceListError::Account);
        }
        if entry.index != self.length || entry.previous != self.head {
            return Err(DeviceListError::Head);
        }
        if self.length as usize >= limits::MAX_DEVICE_LIST {
            return Err(DeviceListError::Full);
        }
        let signer = match entry.signer {
            Signer::Root => self.account.root_key(),
            Signer::Device(id) => self.listed(&id).ok_or(DeviceListError::Signer)?.key,
        };
        if self.length == 0 && entry.signer != Signer::Root {
            return Err(DeviceListError::Signer);
        }
        if !engine.verify(&signer, &signing_input(DEVICE_LIST_CONTEXT, &signed.payload), &signed.signature) {
            return Err(DeviceListError::Signature("signature"));
        }
        self.apply(&entry, signed, engine)?;
        self.head = Hash::of(&[&signed.payload]);
        self.length += 1;
        Ok(entry)
    }

    fn apply(
        &mut self,
        entry: &Entry,
        signed: &SignedEntry,
        engine: &impl Verify,
    ) -> Result<(), DeviceListError> {
        match &entry.change {
            DeviceChange::Add { key, name } => {
                let id = DeviceId::of(key);
                if self.devices.iter().any(|device| device.id == id) {
                    return Err(DeviceListError::Known);
                }
                if self.devices().count() >= limits::MAX_DEVICES {
                    return Err(DeviceListError::Full);
                }
                let input = signing_input(DEVICE_POSSESSION_CONTEXT, &signed.payload);
                if !signed.possession.is_some_and(|signature| engine.verify(key, &input, &signature)) {
                    return Err(DeviceListError::Signature("possession"));
                }
                let name = name.to_string();
                self.devices.push(Device { id, key: *key, name, revoked: false, added_at: entry.at });
            }
            DeviceChange::Rename { device, name } => self.listed_mut(device)?.name = name.to_string(),
            DeviceChange::Revoke { device } => self.listed_mut(device)?.revoked = true,
        }
        Ok(())
    }

    /// The account the list belongs to.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// SHA-256 of the last payload; zeros while empty.
    pub fn head(&self) -> Hash {
        self.head
    }

    /// How many entries it has.
    pub fn length(&self) -> u32 {
        self.length
    }

    /// The devices listed now.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(|device| !device.revoked)
    }

    /// All devices that ever were in the list, the revoked ones too: old messages need their keys.
    pub fn all_devices(&self) -> &[Device] {
        &self.devices
    }

    /// A device that is listed now.
    pub fn listed(&self, id: &DeviceId) -> Option<&Device> {
        self.devices().find(|device| device.id == *id)
    }

    fn listed_mut(&mut self, id: &DeviceId) -> Result<&mut Device, DeviceListError> {
        let mut devices = self.devices.iter_mut();
        devices.find(|device| device.id == *id && !device.revoked).ok_or(DeviceListError::Unknown)
    }
}
