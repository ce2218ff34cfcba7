//! The accounts met: their handles, verified device lists, and blocks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use sotto_protocol::cbor::{self, Bounded};
use sotto_protocol::device_list::{DeviceList, DeviceListError, SignedEntry};
use sotto_protocol::{AccountId, DeviceId, Frame, Handle, Hash, PublicKey, Signature};

use crate::crypto::Ed25519;
use crate::effects::Effects;
use crate::identity::Identity;
use crate::io::Table;
use crate::peer::ProfileRecord;
use crate::store::{AccountRecord, EntryRecord};

/// Names of the gone that are kept: a relay can make up any number of them.
const GONE: usize = 4_096;

fn keep_in<T: Ord>(set: &mut BTreeSet<T>, name: T) {
    if set.len() >= GONE {
        set.pop_first();
    }
    set.insert(name);
}

/// An account met.
#[derive(Debug, Clone)]
pub(crate) struct Contact {
    pub handle: Handle,
    chain: Vec<SignedEntry>,
    pub devices: DeviceList,
    pub blocked: bool,
    /// What it says of itself, if that was ever asked.
    pub profile: Option<ProfileRecord>,
}

/// All accounts met.
#[derive(Debug, Default)]
pub(crate) struct People {
    contacts: BTreeMap<AccountId, Contact>,
    owners: BTreeMap<DeviceId, AccountId>,
    handles: BTreeMap<Handle, AccountId>,
    /// When the server was last asked for an account's list, since the start.
    checked: BTreeMap<AccountId, Duration>,
    /// Accounts that the server says are no more: deleted. Asked for again after the next start.
    gone: BTreeSet<AccountId>,
    /// Devices that nobody can vouch for any more, their accounts being gone.
    gone_devices: BTreeSet<DeviceId>,
}

impl People {
    pub fn restore(&mut self, account: AccountId, record: AccountRecord) -> Result<(), DeviceListError> {
        let chain: Vec<SignedEntry> = record.chain.iter().map(EntryRecord::entry).collect();
        // Verified again rather than believed: the store is on a disk that others may write to.
        let devices = DeviceList::verify_chain(account, &chain, &Ed25519)?;
        let AccountRecord { handle, blocked, profile, .. } = record;
        self.insert(account, Contact { handle, chain, devices, blocked, profile });
        Ok(())
    }

    fn insert(&mut self, account: AccountId, contact: Contact) {
        self.owners.extend(contact.devices.all_devices().iter().map(|device| (device.id, account)));
        self.handles.insert(contact.handle.clone(), account);
        self.contacts.insert(account, contact);
    }

    pub fn get(&self, account: &AccountId) -> Option<&Contact> {
        self.contacts.get(account)
    }

    pub fn by_handle(&self, handle: &Handle) -> Option<AccountId> {
        self.handles.get(handle).copied()
    }

    pub fn handle(&self, account: &AccountId, me: &Identity) -> Option<Handle> {
        if *account == me.account {
            return Some(me.handle.clone());
        }
        self.contacts.get(account).map(|contact| contact.handle.clone())
    }

    pub fn is_blocked(&self, account: &AccountId) -> bool {
        self.contacts.get(account).is_some_and(|contact| contact.blocked)
    }

    /// The account of a device, revoked or not.
    pub fn owner(&self, device: &DeviceId, me: &Identity) -> Option<AccountId> {
        if *device == me.device { Some(me.account) } else { self.owners.get(device).copied() }
    }

    /// The key of a device, revoked or not: old messages need it.
    pub fn key(&self, device: &DeviceId, me: &Identity) -> Option<PublicKey> {
        if *device == me.device {
            return Some(me.key.public());
        }
        let contact = self.contacts.get(self.owners.get(device)?)?;
        contact.devices.all_devices().iter().find(|known| known.id == *device).map(|known| known.key)
    }

    /// Whether an account was deleted, as the server says.
    pub fn is_gone(&self, account: &AccountId) -> bool {
        self.gone.contains(account)
    }

    /// Whether a device is not known, and nobody can say whose it was.
    pub fn is_device_gone(&self, device: &DeviceId) -> bool {
        self.gone_devices.contains(device) && !self.owners.contains_key(device)
    }

    pub fn set_gone(&mut self, account: AccountId) {
        keep_in(&mut self.gone, account);
    }

    pub fn set_device_gone(&mut self, device: DeviceId) {
        keep_in(&mut self.gone_devices, device);
    }

    /// Notes that an account's list is being fetched.
    pub fn set_checked(&mut self, account: AccountId, now: Duration) {
        self.checked.insert(account, now);
    }

    /// When an account's list was last fetched, since the start.
    pub fn checked(&self, account: &AccountId) -> Option<Duration> {
        self.checked.get(account).copied()
    }

    /// Whether a device is listed, not revoked.
    pub fn is_listed(&self, device: &DeviceId) -> bool {
        let contact = self.owners.get(device).and_then(|account| self.contacts.get(account));
        contact.is_some_and(|contact| contact.devices.listed(device).is_some())
    }

    /// The devices of an account that are listed now.
    pub fn devices(&self, account: AccountId) -> impl Iterator<Item = DeviceId> {
        self.contacts
            .get(&account)
            .into_iter()
            .flat_map(|contact| contact.devices.devices().map(|device| device.id))
    }

    /// Takes in a fetched account with its chain. A chain that does not extend the known one is refused: a server
    /// that forgets a device, or a revocation, is lying. Answers whether anything is new.
    pub fn learn(
        &mut self,
        fx: &mut Effects,
        account: AccountId,
        handle: Handle,
        chain: Vec<SignedEntry>,
    ) -> Result<bool, String> {
        let devices = DeviceList::verify_chain(account, &chain, &Ed25519).map_err(|e| e.to_string())?;
        let known = self.contacts.get(&account);
        if known.is_some_and(|known| !chain.starts_with(&known.chain)) {
            return Err("the device list that the server shows is not a continuation of the one known".into());
        }
        let blocked = known.is_some_and(|known| known.blocked);
        let profile = known.and_then(|known| known.profile.clone());
        let changed = known.is_none_or(|known| known.chain.len() != chain.len() || known.handle != handle);
        self.insert(account, Contact { handle, chain, devices, blocked, profile });
        if changed {
            self.save(fx, account);
        }
        Ok(changed)
    }

    pub fn set_blocked(&mut self, fx: &mut Effects, account: AccountId, blocked: bool) {
        if let Some(contact) = self.contacts.get_mut(&account) {
            contact.blocked = blocked;
        }
        self.save(fx, account);
    }

    pub fn set_profile(&mut self, fx: &mut Effects, account: AccountId, profile: ProfileRecord) {
        if let Some(contact) = self.contacts.get_mut(&account) {
            contact.profile = Some(profile);
            self.save(fx, account);
        }
    }

    /// The size of all avatars that are kept but this account's.
    pub fn avatar_bytes(&self, but: &AccountId) -> usize {
        let others = self.contacts.iter().filter(|(account, _)| *account != but);
        others.filter_map(|(_, contact)| Some(contact.profile.as_ref()?.avatar_bytes())).sum()
    }

    fn save(&self, fx: &mut Effects, account: AccountId) {
        let Some(contact) = self.contacts.get(&account) else { return };
        let record = AccountRecord {
            handle: contact.handle.clone(),
            chain: Bounded::truncated(contact.chain.iter().map(EntryRecord::new).collect()),
            blocked: contact.blocked,
            profile: contact.profile.clone(),
        };
        fx.put(Table::Account, account.0.to_vec(), cbor::encode(&record));
    }
}

/// Signatures found good lately, so that a burst costs one check: by device, the last few roots.
#[derive(Debug, Default)]
pub(crate) struct VerifiedRoots(BTreeMap<DeviceId, VecDeque<(Hash, Signature)>>);

/// Roots kept a device: bursts arrive over two paths, interleaved.
const ROOTS: usize = 8;

impl VerifiedRoots {
    /// Whether `key` is the frame's author's, and signed it.
    pub fn verify(&mut self, frame: &Frame, key: &PublicKey) -> bool {
        let device = frame.body().device;
        let root = frame.signed_root();
        let roots = self.0.entry(device).or_default();
        if roots.contains(&root) && DeviceId::of(key) == device {
            return true;
        }
        if !frame.verify(key, &Ed25519) {
            return false;
        }
        roots.push_front(root);
        roots.truncate(ROOTS);
        true
    }
}
