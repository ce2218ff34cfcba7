//! The relay's view of a group: its tree and context, no key. It checks what can be checked from outside, signatures
//! and structure by openmls's `PublicGroup` and the rules by [`crate::policy`]. Confirmation tags and path secrets it
//! cannot check: a member can get a commit accepted here that the members refuse.

use std::collections::{BTreeMap, BTreeSet};

use openmls::prelude::{
    ContentType, LeafNodeIndex, MlsMessageBodyIn, ProcessedMessageContent, ProposalStore, ProtocolMessage,
    PublicGroup,
};
use openmls_traits::OpenMlsProvider as _;
use sotto_protocol::AccountId;

use crate::group::{Committed, Processed, message, sender_leaf, who_leaves};
use crate::policy::{Before, IsListed, check_commit};
use crate::storage::Storage;
use crate::{
    CIPHERSUITE, GroupName, Leaf, MAX_GROUP_INFO, MAX_HANDSHAKE, MAX_LEAVES, MlsError, Policy, PolicyError,
    Provider,
};

/// One group, from outside.
pub struct PublicView {
    name: GroupName,
    group: PublicGroup,
    provider: Provider,
}

impl PublicView {
    /// Starts to follow a group that was just formed: of one device, in its first epoch.
    pub fn create(group_info: &[u8], expected: GroupName, is_listed: IsListed<'_>) -> Result<Self, MlsError> {
        let view = Self::from_group_info(group_info, expected)?;
        let leaves = view.indexed()?;
        let policy = view.policy()?;
        if view.epoch() != 0 || leaves.len() != 1 {
            return Err(PolicyError::NotAllowed("a group starts with one device, in its first epoch").into());
        }
        for leaf in leaves.values() {
            if !policy.has(&leaf.account) {
                return Err(PolicyError::Leaf("a leaf of an account that is not a member").into());
            }
            if !is_listed(&leaf.account, &leaf.device) {
                return Err(PolicyError::Leaf("a device that its account does not list").into());
            }
        }
        Ok(view)
    }

    fn from_group_info(group_info: &[u8], expected: GroupName) -> Result<Self, MlsError> {
        let MlsMessageBodyIn::GroupInfo(info) = message(group_info, MAX_GROUP_INFO)? else {
            return Err(MlsError::Malformed);
        };
        if GroupName::of(info.group_id()) != Some(expected) {
            return Err(MlsError::OtherGroup);
        }
        if info.ciphersuite() != CIPHERSUITE {
            return Err(MlsError::Refused("another ciphersuite".into()));
        }
        let tree = info.extensions().ratchet_tree().ok_or(MlsError::Malformed)?.ratchet_tree().clone();
        // Nothing of a public group is random.
        let provider = Provider::new([0; 32], Storage::default());
        let (group, _) = PublicGroup::from_external(
            provider.crypto(),
            provider.storage(),
            tree,
            info,
            ProposalStore::new(),
        )
        .map_err(MlsError::other)?;
        Ok(Self { name: expected, group, provider })
    }

    /// Takes up what [`PublicView::rows`] gave.
    pub fn restore(
        name: GroupName,
        rows: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<Option<Self>, MlsError> {
        let provider = Provider::new([0; 32], Storage::restore(rows));
        let group = PublicGroup::load(provider.storage(), &name.group_id())?;
        Ok(group.map(|group| Self { name, group, provider }))
    }

    /// The whole state, to be stored with the entry that led to it.
    pub fn rows(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.provider.storage().rows_now()
    }

    /// Which group it is.
    pub fn name(&self) -> GroupName {
        self.name
    }

    /// The epoch: commits are made against it.
    pub fn epoch(&self) -> u64 {
        self.group.group_context().epoch().as_u64()
    }

    /// Who is in it and who may change that.
    pub fn policy(&self) -> Result<Policy, MlsError> {
        Ok(Policy::of(self.group.group_context().extensions())?)
    }

    /// The devices in it.
    pub fn leaves(&self) -> Result<Vec<Leaf>, MlsError> {
        Ok(self.indexed()?.into_values().collect())
    }

    /// Devices that leave with the next commit: they may do nothing any more.
    pub fn leaving(&self) -> Result<Vec<Leaf>, MlsError> {
        let leaves = self.indexed()?;
        let queued = self.group.queued_proposals(self.provider.storage())?;
        Ok(queued.iter().filter_map(|(_, proposal)| sender_leaf(&leaves, proposal.sender())).collect())
    }

    /// Takes in a handshake message, if it is valid and allowed now. `group_info` is what its author says the group
    /// is after a commit: refused if it says anything else than what the commit did.
    pub fn process(
        &mut self,
        bytes: &[u8],
        group_info: Option<&[u8]>,
        is_listed: IsListed<'_>,
    ) -> Result<Processed, MlsError> {
        let MlsMessageBodyIn::PublicMessage(public) = message(bytes, MAX_HANDSHAKE)? else {
            return Err(MlsError::Malformed);
        };
        let message = ProtocolMessage::from(public);
        if GroupName::of(message.group_id()) != Some(self.name) {
            return Err(MlsError::OtherGroup);
        }
        if message.content_type() == ContentType::Application {
            return Err(MlsError::Malformed);
        }
        let epoch = message.epoch().as_u64();
        match epoch.cmp(&self.epoch()) {
            std::cmp::Ordering::Less => return Err(MlsError::PastEpoch(epoch)),
            std::cmp::Ordering::Greater => return Err(MlsError::FutureEpoch(epoch)),
            std::cmp::Ordering::Equal => {}
        }
        let leaves = self.indexed()?;
        let processed =
            self.group.process_message(self.provider.crypto(), message).map_err(MlsError::other)?;
        match processed.content() {
            ProcessedMessageContent::StagedCommitMessage(staged) => {
                let leaving: BTreeSet<AccountId> = self.leaving()?.iter().map(|leaf| leaf.account).collect();
                let before = Before { policy: &self.policy()?, leaves: &leaves, leaving: &leaving };
                let committed: Committed = check_commit(&before, &processed, staged, is_listed)?;
                if leaves.len() + committed.added.len() - committed.removed.len() > MAX_LEAVES {
                    return Err(PolicyError::Policy("more devices than a group may have").into());
                }
                let claimed = Self::from_group_info(group_info.ok_or(MlsError::Malformed)?, self.name)?;
                if claimed.group.group_context() != staged.group_context() {
                    return Err(PolicyError::NotAllowed("a group info of another group").into());
                }
                let ProcessedMessageContent::StagedCommitMessage(staged) = processed.into_content() else {
                    return Err(MlsError::Malformed);
                };
                self.group.merge_commit(self.provider.storage(), *staged).map_err(MlsError::other)?;
                Ok(Processed::Commit(committed))
            }
            ProcessedMessageContent::ProposalMessage(proposal) => {
                let leaf = who_leaves(&leaves, proposal)?;
                if !self.leaving()?.contains(&leaf) {
                    self.group.add_proposal(self.provider.storage(), (**proposal).clone())?;
                }
                Ok(Processed::Leaves(leaf))
            }
            _ => Err(MlsError::Malformed),
        }
    }

    fn indexed(&self) -> Result<BTreeMap<LeafNodeIndex, Leaf>, MlsError> {
        let leaf = |member: openmls::group::Member| {
            Ok((member.index, Leaf::of(&member.credential, &member.signature_key)?))
        };
        self.group.members().map(leaf).collect()
    }
}

impl std::fmt::Debug for PublicView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicView({}/{}, epoch {})", self.name.conversation, self.name.incarnation, self.epoch())
    }
}
