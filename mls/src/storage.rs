//! Where openmls keeps its state: rows in memory, and a note of which of them changed.
//!
//! openmls writes whenever anything changes, synchronously, and some of it often: the message secrets of a group of
//! 250 devices are some hundred kilobytes, and one message changes them. So those are only marked as outdated here
//! ([`Storage::is_behind`]) until somebody asks for them, and the caller stores [`Storage::take_changes`] in the
//! same transaction as whatever follows from them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use openmls_traits::storage::{CURRENT_VERSION, StorageProvider, traits};
use serde::{Serialize, de::DeserializeOwned};

const V: u16 = CURRENT_VERSION;

/// A row that changed: its key, and its value unless it was deleted.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// A row cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("MLS state: {0}")]
pub struct StorageError(String);

/// The rows, in memory.
#[derive(Debug, Default)]
pub struct Storage(Mutex<Rows>);

#[derive(Debug, Default)]
struct Rows {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    changed: BTreeSet<Vec<u8>>,
    /// Keys of message secrets that moved on since they were last written.
    behind: BTreeSet<Vec<u8>>,
    /// Whether message secrets are written at once.
    eager: bool,
}

impl Storage {
    /// Takes up what was stored before.
    pub fn restore(rows: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Self {
        let values = rows.into_iter().collect();
        Self(Mutex::new(Rows { values, ..Rows::default() }))
    }

    /// The rows that changed since they were last taken.
    pub fn take_changes(&self) -> Vec<Change> {
        let mut rows = self.rows();
        let changed = std::mem::take(&mut rows.changed);
        changed.into_iter().map(|key| (key.clone(), rows.values.get(&key).cloned())).collect()
    }

    /// All rows.
    pub(crate) fn rows_now(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.rows().values.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Whether a group's message secrets moved on since they were last written.
    pub(crate) fn is_behind(&self, group: &openmls::group::GroupId) -> bool {
        row_key(MESSAGE_SECRETS, group).is_ok_and(|key| self.rows().behind.contains(&key))
    }

    /// Runs `work` with message secrets written at once.
    pub(crate) fn eagerly<T>(&self, work: impl FnOnce(&Self) -> T) -> T {
        let before = std::mem::replace(&mut self.rows().eager, true);
        let done = work(self);
        self.rows().eager = before;
        done
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn put(&self, label: u8, key: &impl Serialize, value: &impl Serialize) -> Result<(), StorageError> {
        let key = row_key(label, key)?;
        let value = encode(value)?;
        let mut rows = self.rows();
        rows.behind.remove(&key);
        rows.changed.insert(key.clone());
        rows.values.insert(key, value);
        Ok(())
    }

    fn get<T: DeserializeOwned>(&self, label: u8, key: &impl Serialize) -> Result<Option<T>, StorageError> {
        let key = row_key(label, key)?;
        self.rows().values.get(&key).map(|value| decode(value)).transpose()
    }

    fn delete(&self, label: u8, key: &impl Serialize) -> Result<(), StorageError> {
        let key = row_key(label, key)?;
        let mut rows = self.rows();
        rows.behind.remove(&key);
        if rows.values.remove(&key).is_some() {
            rows.changed.insert(key);
        }
        Ok(())
    }

    /// A row that is a list of encoded values.
    fn list(&self, label: u8, key: &impl Serialize) -> Result<Vec<Vec<u8>>, StorageError> {
        Ok(self.get(label, key)?.unwrap_or_default())
    }
}

/// Nothing here is larger than its parts, which openmls made or checked.
fn encode(value: &impl Serialize) -> Result<Vec<u8>, StorageError> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(|e| StorageError(e.to_string()))?;
    Ok(bytes)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StorageError> {
    ciborium::from_reader(bytes).map_err(|e| StorageError(e.to_string()))
}

fn row_key(label: u8, key: &impl Serialize) -> Result<Vec<u8>, StorageError> {
    let mut bytes = vec![label];
    ciborium::into_writer(key, &mut bytes).map_err(|e| StorageError(e.to_string()))?;
    Ok(bytes)
}

// The first byte of each kind's keys. They are in people's profiles: never renumbered.
const JOIN_CONFIG: u8 = 1;
const OWN_LEAF_NODES: u8 = 2;
const PROPOSAL_REFS: u8 = 3;
const PROPOSAL: u8 = 4;
const TREE: u8 = 5;
const INTERIM_TRANSCRIPT_HASH: u8 = 6;
const CONTEXT: u8 = 7;
const CONFIRMATION_TAG: u8 = 8;
const GROUP_STATE: u8 = 9;
const MESSAGE_SECRETS: u8 = 10;
const RESUMPTION_PSKS: u8 = 11;
const OWN_LEAF_INDEX: u8 = 12;
const EPOCH_SECRETS: u8 = 13;
const SIGNATURE_KEY_PAIR: u8 = 14;
const ENCRYPTION_KEY_PAIR: u8 = 15;
const EPOCH_KEY_PAIRS: u8 = 16;
const KEY_PACKAGE: u8 = 17;
const PSK: u8 = 18;
/// The three methods of a kind of row that has one value a key. The type parameters of a read stand in the order
/// that the trait gives them.
macro_rules! rows {
    (@write $label:ident, $key:ident, $value:ident, $write:ident) => {
        fn $write<K: traits::$key<V>, T: traits::$value<V>>(&self, key: &K, value: &T) -> Result<(), StorageError> {
            self.put($label, key, value)
        }
    };
    (@read $label:ident, ($key:ident, $value:ident), $read:ident) => {
        fn $read<K: traits::$key<V>, T: traits::$value<V>>(&self, key: &K) -> Result<Option<T>, StorageError> {
            self.get($label, key)
        }
    };
    (@read $label:ident, [$value:ident, $key:ident], $read:ident) => {
        fn $read<T: traits::$value<V>, K: traits::$key<V>>(&self, key: &K) -> Result<Option<T>, StorageError> {
            self.get($label, key)
        }
    };
    (@delete $label:ident, $key:ident, $delete:ident) => {
        fn $delete<K: traits::$key<V>>(&self, key: &K) -> Result<(), StorageError> {
            self.delete($label, key)
        }
    };
    ($($label:ident ($key:ident, $value:ident): $write:ident, $read:ident, $delete:ident;)*) => {$(
        rows!(@write $label, $key, $value, $write);
        rows!(@read $label, ($key, $value), $read);
        rows!(@delete $label, $key, $delete);
    )*};
}

impl StorageProvider<V> for Storage {
    type Error = StorageError;

    rows! {
        JOIN_CONFIG (GroupId, MlsGroupJoinConfig): write_mls_join_config, mls_group_join_config, delete_group_config;
        TREE (GroupId, TreeSync): write_tree, tree, delete_tree;
        INTERIM_TRANSCRIPT_HASH (GroupId, InterimTranscriptHash):
            write_interim_transcript_hash, interim_transcript_hash, delete_interim_transcript_hash;
        CONTEXT (GroupId, GroupContext): write_context, group_context, delete_context;
        CONFIRMATION_TAG (GroupId, ConfirmationTag):
            write_confirmation_tag, confirmation_tag, delete_confirmation_tag;
        RESUMPTION_PSKS (GroupId, ResumptionPskStore):
            write_resumption_psk_store, resumption_psk_store, delete_all_resumption_psk_secrets;
        OWN_LEAF_INDEX (GroupId, LeafNodeIndex): write_own_leaf_index, own_leaf_index, delete_own_leaf_index;
        EPOCH_SECRETS (GroupId, GroupEpochSecrets):
            write_group_epoch_secrets, group_epoch_secrets, delete_group_epoch_secrets;
        SIGNATURE_KEY_PAIR (SignaturePublicKey, SignatureKeyPair):
            write_signature_key_pair, signature_key_pair, delete_signature_key_pair;
        KEY_PACKAGE (HashReference, KeyPackage): write_key_package, key_package, delete_key_package;
    }

    rows!(@read MESSAGE_SECRETS, (GroupId, MessageSecrets), message_secrets);
    rows!(@delete MESSAGE_SECRETS, GroupId, delete_message_secrets);

    rows!(@write ENCRYPTION_KEY_PAIR, EncryptionKey, HpkeKeyPair, write_encryption_key_pair);
    rows!(@read ENCRYPTION_KEY_PAIR, [HpkeKeyPair, EncryptionKey], encryption_key_pair);
    rows!(@delete ENCRYPTION_KEY_PAIR, EncryptionKey, delete_encryption_key_pair);

    rows!(@write PSK, PskId, PskBundle, write_psk);
    rows!(@read PSK, [PskBundle, PskId], psk);
    rows!(@delete PSK, PskId, delete_psk);

    rows!(@read GROUP_STATE, [GroupState, GroupId], group_state);
    rows!(@delete GROUP_STATE, GroupId, delete_group_state);

    fn write_group_state<T: traits::GroupState<V>, K: traits::GroupId<V>>(
        &self,
        group: &K,
        state: &T,
    ) -> Result<(), StorageError> {
        self.put(GROUP_STATE, group, state)
    }

    fn write_message_secrets<K: traits::GroupId<V>, T: traits::MessageSecrets<V>>(
        &self,
        group: &K,
        secrets: &T,
    ) -> Result<(), StorageError> {
        let key = row_key(MESSAGE_SECRETS, group)?;
        {
            let mut rows = self.rows();
            if !rows.eager && rows.values.contains_key(&key) {
                rows.behind.insert(key);
                return Ok(());
            }
        }
        self.put(MESSAGE_SECRETS, group, secrets)
    }

    fn append_own_leaf_node<K: traits::GroupId<V>, T: traits::LeafNode<V>>(
        &self,
        group: &K,
        leaf: &T,
    ) -> Result<(), StorageError> {
        let mut list = self.list(OWN_LEAF_NODES, group)?;
        list.push(encode(leaf)?);
        self.put(OWN_LEAF_NODES, group, &list)
    }

    fn own_leaf_nodes<K: traits::GroupId<V>, T: traits::LeafNode<V>>(
        &self,
        group: &K,
    ) -> Result<Vec<T>, StorageError> {
        self.list(OWN_LEAF_NODES, group)?.iter().map(|leaf| decode(leaf)).collect()
    }

    rows!(@delete OWN_LEAF_NODES, GroupId, delete_own_leaf_nodes);

    fn queue_proposal<K: traits::GroupId<V>, R: traits::ProposalRef<V>, P: traits::QueuedProposal<V>>(
        &self,
        group: &K,
        reference: &R,
        proposal: &P,
    ) -> Result<(), StorageError> {
        self.put(PROPOSAL, &(group, reference), proposal)?;
        let (mut list, reference) = (self.list(PROPOSAL_REFS, group)?, encode(reference)?);
        if !list.contains(&reference) {
            list.push(reference);
        }
        self.put(PROPOSAL_REFS, group, &list)
    }

    fn queued_proposal_refs<K: traits::GroupId<V>, R: traits::ProposalRef<V>>(
        &self,
        group: &K,
    ) -> Result<Vec<R>, StorageError> {
        self.list(PROPOSAL_REFS, group)?.iter().map(|reference| decode(reference)).collect()
    }

    fn queued_proposals<K: traits::GroupId<V>, R: traits::ProposalRef<V>, P: traits::QueuedProposal<V>>(
        &self,
        group: &K,
    ) -> Result<Vec<(R, P)>, StorageError> {
        let references: Vec<R> = self.queued_proposal_refs(group)?;
        let mut proposals = Vec::with_capacity(references.len());
        for reference in references {
            if let Some(proposal) = self.get(PROPOSAL, &(group, &reference))? {
                proposals.push((reference, proposal));
            }
        }
        Ok(proposals)
    }

    fn remove_proposal<K: traits::GroupId<V>, R: traits::ProposalRef<V>>(
        &self,
        group: &K,
        reference: &R,
    ) -> Result<(), StorageError> {
        self.delete(PROPOSAL, &(group, reference))?;
        let (mut list, reference) = (self.list(PROPOSAL_REFS, group)?, encode(reference)?);
        list.retain(|known| *known != reference);
        self.put(PROPOSAL_REFS, group, &list)
    }

    fn clear_proposal_queue<K: traits::GroupId<V>, R: traits::ProposalRef<V>>(
        &self,
        group: &K,
    ) -> Result<(), StorageError> {
        let references: Vec<R> = self.queued_proposal_refs(group)?;
        for reference in references {
            self.delete(PROPOSAL, &(group, &reference))?;
        }
        self.delete(PROPOSAL_REFS, group)
    }

    fn write_encryption_epoch_key_pairs<
        K: traits::GroupId<V>,
        E: traits::EpochKey<V>,
        P: traits::HpkeKeyPair<V>,
    >(
        &self,
        group: &K,
        epoch: &E,
        leaf: u32,
        pairs: &[P],
    ) -> Result<(), StorageError> {
        self.put(EPOCH_KEY_PAIRS, &(group, epoch, leaf), &pairs)
    }

    fn encryption_epoch_key_pairs<
        K: traits::GroupId<V>,
        E: traits::EpochKey<V>,
        P: traits::HpkeKeyPair<V>,
    >(
        &self,
        group: &K,
        epoch: &E,
        leaf: u32,
    ) -> Result<Vec<P>, StorageError> {
        Ok(self.get(EPOCH_KEY_PAIRS, &(group, epoch, leaf))?.unwrap_or_default())
    }

    fn delete_encryption_epoch_key_pairs<K: traits::GroupId<V>, E: traits::EpochKey<V>>(
        &self,
        group: &K,
        epoch: &E,
        leaf: u32,
    ) -> Result<(), StorageError> {
        self.delete(EPOCH_KEY_PAIRS, &(group, epoch, leaf))
    }
}
