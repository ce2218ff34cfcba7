//! Who this device is: its keys, its account, its server. Made before there is a [`Peer`](crate::Peer), by signing
//! up, and kept in the store.

use minicbor::{Decode, Encode};
use sotto_protocol::cbor::{self, DecodeError, Text};
use sotto_protocol::device_list::{DeviceChange, Entry, SignedEntry, Signer};
use sotto_protocol::keys::Nonce;
use sotto_protocol::limits;
use sotto_protocol::rest::{SessionRequest, SignUp, session_signing_input};
use sotto_protocol::{AccountId, DeviceId, Handle, Hash, UnixMillis};

use crate::crypto::SecretKey;
use crate::io::{Row, Snapshot, Table, WriteSet};

/// The key of the identity's row in [`Table::Meta`].
const IDENTITY: &[u8] = b"identity";

/// Longest origin kept.
const MAX_ORIGIN: usize = 256;

/// A signed-up device.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The account.
    pub account: AccountId,
    /// Its handle.
    pub handle: Handle,
    /// The server's origin, `scheme://host[:port]`.
    pub server: String,
    /// This device.
    pub device: DeviceId,
    /// This device's key.
    pub key: SecretKey,
    /// The account's root key, until recovery keys take it off devices.
    pub root: SecretKey,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Stored {
    #[n(0)]
    handle: Text<64>,
    #[n(1)]
    server: Text<MAX_ORIGIN>,
    #[cbor(n(2), with = "minicbor::bytes")]
    key: [u8; 32],
    #[cbor(n(3), with = "minicbor::bytes")]
    root: [u8; 32],
}

impl Identity {
    /// Makes a new account with this device, from 64 random bytes. The server knows nothing of it until
    /// [`Identity::sign_up`] is posted to `/v1/accounts`; nothing is kept until [`Identity::write_set`] is stored.
    pub fn generate(handle: Handle, server: String, random: [u8; 64]) -> Self {
        let mut seeds = random.chunks_exact(32).map(|half| {
            let mut seed = [0; 32];
            seed.copy_from_slice(half);
            SecretKey::from_seed(seed)
        });
        let (root, key) = (seeds.next(), seeds.next());
        let (root, key) = root.zip(key).unwrap_or_else(|| unreachable!("64 bytes are two seeds"));
        Self::assemble(handle, server, key, root)
    }

    fn assemble(handle: Handle, server: String, key: SecretKey, root: SecretKey) -> Self {
        let account = AccountId(root.public().0);
        Self { account, handle, server, device: DeviceId::of(&key.public()), key, root }
    }

    /// The body that signs this account up.
    pub fn sign_up(&self, device_name: &str, invite: Option<String>, now: UnixMillis) -> SignUp {
        let name = Text::truncated(device_name);
        let entry = Entry {
            account: self.account,
            index: 0,
            previous: Hash([0; 32]),
            change: DeviceChange::Add { key: self.key.public(), name },
            signer: Signer::Root,
            at: now,
        };
        let device = SignedEntry::sign(
            &entry,
            |message| self.root.sign(message),
            Some(&|message| self.key.sign(message)),
        );
        SignUp { handle: self.handle.clone(), account: self.account, device, invite }
    }

    /// The answer to a challenge, bound to the server's origin.
    pub fn answer_challenge(&self, nonce: Nonce) -> SessionRequest {
        let signature = self.key.sign(&session_signing_input(&self.server, &nonce));
        SessionRequest { device: self.device, nonce, origin: self.server.clone(), signature }
    }

    /// What to store once the server has taken the sign-up.
    pub fn write_set(&self) -> WriteSet {
        let Row { key, value } = self.row();
        WriteSet { rows: [((Table::Meta, key), Some(value))].into(), ..WriteSet::default() }
    }

    /// Its row in [`Table::Meta`].
    pub(crate) fn row(&self) -> Row {
        let stored = Stored {
            handle: Text::truncated(self.handle.as_str()),
            server: Text::truncated(&self.server),
            key: self.key.seed(),
            root: self.root.seed(),
        };
        Row { key: IDENTITY.to_vec(), value: cbor::encode(&stored) }
    }

    /// The identity in a store; `None` if nobody has signed up there.
    pub fn find(snapshot: &Snapshot) -> Result<Option<Self>, DecodeError> {
        let rows = snapshot.tables.get(&Table::Meta).map(Vec::as_slice).unwrap_or_default();
        let Some(Row { value, .. }) = rows.iter().find(|row| row.key == IDENTITY) else { return Ok(None) };
        let stored: Stored = cbor::decode(value, limits::MAX_REST_BODY)?;
        let handle = Handle::parse(&stored.handle).map_err(|e| DecodeError::Shape(e.to_string()))?;
        let (key, root) = (SecretKey::from_seed(stored.key), SecretKey::from_seed(stored.root));
        Ok(Some(Self::assemble(handle, stored.server.to_string(), key, root)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Ed25519;
    use sotto_protocol::device_list::DeviceList;

    #[test]
    fn an_identity_survives_the_store_and_its_sign_up_verifies() {
        let handle = Handle::parse("alice").unwrap();
        let identity = Identity::generate(handle, "http://localhost:8080".into(), [7; 64]);
        let rows = identity.write_set().rows.into_iter();
        let rows = rows.map(|((_, key), value)| Row { key, value: value.unwrap() }).collect();
        let snapshot = Snapshot { tables: [(Table::Meta, rows)].into() };
        let found = Identity::find(&snapshot).unwrap().unwrap();
        assert_eq!((found.account, found.device), (identity.account, identity.device));
        assert_eq!(found.server, identity.server);

        let body = identity.sign_up("laptop", None, UnixMillis(5));
        let list = DeviceList::verify_chain(identity.account, [&body.device], &Ed25519).unwrap();
        assert!(list.listed(&identity.device).is_some());
    }

    #[test]
    fn an_empty_store_has_no_identity() {
        assert!(Identity::find(&Snapshot::default()).unwrap().is_none());
    }
}
