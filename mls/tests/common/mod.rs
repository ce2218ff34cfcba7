//! People with devices, for the tests.

#![allow(dead_code, clippy::unwrap_used)]

use ed25519_dalek::{Signer as _, SigningKey};
use sotto_mls::storage::Storage;
use sotto_mls::{CheckedKeyPackage, Device, Group, GroupName, Policy, PublicView};
use sotto_protocol::{
    AccountId, ConversationId, ConversationKind, DeviceId, PublicKey, Signature, UnixMillis,
};

pub const NOW: UnixMillis = UnixMillis(1_795_500_000_000);
pub const LATER: UnixMillis = UnixMillis(NOW.0 + 1_000_000);

/// Every device is listed.
pub fn listed(_: &AccountId, _: &DeviceId) -> bool {
    true
}

pub fn account(n: u8) -> AccountId {
    AccountId([n; 32])
}

pub fn name() -> GroupName {
    GroupName { conversation: ConversationId::group([7; 15]), incarnation: 1 }
}

fn key(account: u8, device: u8) -> SigningKey {
    SigningKey::from_bytes(&[account.wrapping_mul(16).wrapping_add(device); 32])
}

/// A device of an account, with what was stored of it.
pub fn restored(owner: u8, device: u8, storage: Storage, start: u8) -> Device {
    let key = key(owner, device);
    let public = PublicKey(key.verifying_key().to_bytes());
    let sign = move |message: &[u8]| Signature(key.sign(message).to_bytes());
    let mut seed = [start; 32];
    (seed[0], seed[1]) = (owner, device);
    Device::new(account(owner), public, sign, seed, storage)
}

pub fn device(owner: u8, number: u8) -> Device {
    restored(owner, number, Storage::default(), 0)
}

/// A key package of one device, as another has checked it.
pub fn package(by: &Device, of: &Device) -> CheckedKeyPackage {
    let (_, bytes) = of.key_package(LATER, false).unwrap();
    CheckedKeyPackage::check(by.provider(), &bytes, NOW).unwrap()
}

pub fn policy(accounts: &[u8]) -> Policy {
    Policy::new(ConversationKind::Group, accounts.iter().map(|n| account(*n)), account(accounts[0])).unwrap()
}

/// A group of devices, the first of which formed it, and the relay's view of it.
pub fn group(devices: &[&Device], policy: &Policy) -> (Vec<Group>, PublicView) {
    let add = devices[1..].iter().map(|of| package(devices[0], of)).collect();
    let (mut first, info, proposed) = Group::create(devices[0], name(), policy, add).unwrap();
    let mut relay = PublicView::create(&info, name(), &listed).unwrap();
    relay.process(&proposed.commit, Some(&proposed.group_info), &listed).unwrap();
    first.accepted(devices[0]).unwrap();
    let mut groups = vec![first];
    for device in &devices[1..] {
        let welcome = proposed.welcome.as_ref().unwrap();
        groups.push(Group::join(device, name(), welcome, &listed).unwrap());
    }
    (groups, relay)
}

/// All devices and the relay agree on everything.
pub fn agree(groups: &[Group], relay: &PublicView) {
    for group in groups {
        assert_eq!(group.epoch(), relay.epoch());
        assert_eq!(group.authenticator(), groups[0].authenticator());
        assert_eq!(group.leaves().unwrap(), relay.leaves().unwrap());
        assert_eq!(group.policy().unwrap(), relay.policy().unwrap());
    }
}

/// Every device sends, and every other one reads it.
pub fn talk(groups: &mut [Group], devices: &[&Device]) {
    for author in 0..groups.len() {
        let text = format!("from {author}");
        let sealed = groups[author].seal(devices[author], b"name", text.as_bytes()).unwrap();
        for reader in (0..groups.len()).filter(|reader| *reader != author) {
            let opened = groups[reader].open(devices[reader], &sealed).unwrap();
            assert_eq!(opened.content, text.as_bytes());
            assert_eq!(opened.aad, b"name");
            assert_eq!(opened.author, devices[author].leaf());
        }
    }
}
