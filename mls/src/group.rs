//! A device's view of a group that it is in.
//!
//! A commit counts only once the relay has taken it: [`Group::commit`] and [`Group::create`] prepare one, and
//! [`Group::accepted`] or [`Group::refused`] says how it went. Whatever is received goes through [`Group::process`]
//! or, messages, [`Group::open`]; nothing that fails there changes anything.

use std::collections::{BTreeMap, BTreeSet};

use openmls::framing::errors::MessageDecryptionError;
use openmls::prelude::tls_codec::{DeserializeBytes as _, Serialize as _};
use openmls::prelude::{
    ContentType, Extension, ExtensionType, Extensions, LeafNodeIndex, MlsGroup, MlsGroupCreateConfig,
    MlsGroupJoinConfig, MlsMessageBodyIn, MlsMessageIn, MlsMessageOut, PURE_PLAINTEXT_WIRE_FORMAT_POLICY,
    PastEpochDeletionPolicy, ProcessMessageError, ProcessedMessage, ProcessedMessageContent, Proposal,
    ProposalType, ProtocolMessage, QueuedProposal, RequiredCapabilitiesExtension, Sender,
    SenderRatchetConfiguration, StagedCommit, StagedWelcome, ValidationError,
};
use openmls_traits::OpenMlsProvider as _;
use sotto_protocol::limits::MAX_SEALED;
use sotto_protocol::{AccountId, DeviceId};

use crate::key_package::CheckedKeyPackage;
use crate::policy::{Before, IsListed, check_commit};
use crate::{
    CIPHERSUITE, Device, GroupName, Leaf, MAX_GROUP_INFO, MAX_HANDSHAKE, MAX_LEAVES, MlsError, Policy,
    PolicyError, padding,
};

/// Messages of an author that may arrive out of order: what two paths interleave, and a little more.
const OUT_OF_ORDER: u32 = 64;

/// Messages of an author that may be missing in between: a full window on its way over another path.
const FORWARD: u32 = 1_000;

/// Epochs whose messages can still be opened after a commit: those on their way over links while members changed.
pub const PAST_EPOCHS: usize = 4;

/// One group, as this device is in it.
pub struct Group {
    name: GroupName,
    mls: MlsGroup,
    /// Devices that leave, by the proposals that say so: the next commit takes them out.
    leaving: Vec<QueuedProposal>,
}

/// What a commit is to do, beyond taking out who has left.
#[derive(Debug, Default)]
pub struct Changes {
    /// Devices to add, by their key packages.
    pub add: Vec<CheckedKeyPackage>,
    /// Devices to remove.
    pub remove: BTreeSet<DeviceId>,
    /// The policy from then on, if it changes.
    pub policy: Option<Policy>,
}

/// A commit that waits for the relay to take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// The commit, for the relay and, in its order, for the members.
    pub commit: Vec<u8>,
    /// For the devices that it adds, once the relay has taken it.
    pub welcome: Option<Vec<u8>>,
    /// The group as it is then, with its tree: from it a device of a member can join by itself.
    pub group_info: Vec<u8>,
}

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Who made it.
    pub by: Leaf,
    /// Devices that came in.
    pub added: Vec<Leaf>,
    /// Devices that went out.
    pub removed: Vec<Leaf>,
    /// The policy now.
    pub policy: Policy,
}

/// What a handshake message was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Processed {
    /// A commit, which is merged: the group is in the next epoch.
    Commit(Committed),
    /// A device leaves with the next commit.
    Leaves(Leaf),
}

/// A message that was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Who wrote it.
    pub author: Leaf,
    /// The epoch it was written in.
    pub epoch: u64,
    /// What it was bound to.
    pub aad: Vec<u8>,
    /// What it says.
    pub content: Vec<u8>,
}

fn join_config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
        .sender_ratchet_configuration(SenderRatchetConfiguration::new(OUT_OF_ORDER, FORWARD))
        .set_past_epoch_deletion_policy(PastEpochDeletionPolicy::MaxEpochs(PAST_EPOCHS))
        .use_ratchet_tree_extension(true)
        .build()
}

fn context(policy: &Policy) -> Result<Extensions<openmls::prelude::GroupContext>, MlsError> {
    let required = RequiredCapabilitiesExtension::new(
        &[ExtensionType::Unknown(crate::policy::POLICY_EXTENSION)],
        &[ProposalType::SelfRemove],
        &[],
    );
    Extensions::from_vec(vec![Extension::RequiredCapabilities(required), policy.extension()])
        .map_err(MlsError::other)
}

impl Group {
    /// Forms a group of one, this device, and prepares the commit that adds the others. Answers the group info of the
    /// group of one too: from it the relay follows the group.
    pub fn create(
        device: &Device,
        name: GroupName,
        policy: &Policy,
        add: Vec<CheckedKeyPackage>,
    ) -> Result<(Self, Vec<u8>, Proposed), MlsError> {
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(CIPHERSUITE)
            .wire_format_policy(PURE_PLAINTEXT_WIRE_FORMAT_POLICY)
            .sender_ratchet_configuration(SenderRatchetConfiguration::new(OUT_OF_ORDER, FORWARD))
            .set_past_epoch_deletion_policy(PastEpochDeletionPolicy::MaxEpochs(PAST_EPOCHS))
            .use_ratchet_tree_extension(true)
            .capabilities(crate::leaf::capabilities())
            .lifetime(openmls::prelude::Lifetime::init(0, u64::MAX))
            .with_group_context_extensions(context(policy)?)
            .build();
        let mls = MlsGroup::new_with_group_id(
            &device.provider,
            &device.signer(),
            &config,
            name.group_id(),
            device.leaf.credential(),
        )
        .map_err(MlsError::other)?;
        let mut group = Self { name, mls, leaving: Vec::new() };
        let first = group.group_info(device)?;
        let proposed = group.commit(device, Changes { add, ..Changes::default() }, &|_, _| true)?;
        Ok((group, first, proposed))
    }

    /// Joins by a welcome. `expected` says which group: a welcome for another is refused, whatever it claims.
    pub fn join(
        device: &Device,
        expected: GroupName,
        welcome: &[u8],
        is_listed: IsListed<'_>,
    ) -> Result<Self, MlsError> {
        let MlsMessageBodyIn::Welcome(welcome) = message(welcome, MAX_GROUP_INFO)? else {
            return Err(MlsError::Malformed);
        };
        let staged = StagedWelcome::build_from_welcome(&device.provider, &join_config(), welcome)
            .map_err(MlsError::other)?
            .skip_lifetime_validation()
            .replace_old_group()
            .build()
            .map_err(MlsError::other)?;
        if GroupName::of(staged.group_context().group_id()) != Some(expected) {
            return Err(MlsError::OtherGroup);
        }
        let mls = device.provider.storage().eagerly(|_| staged.into_group(&device.provider));
        let mls = mls.map_err(MlsError::other)?;
        let group = Self { name: expected, mls, leaving: Vec::new() };
        if let Err(error) = group.check_leaves(is_listed) {
            group.delete(device)?;
            return Err(error);
        }
        Ok(group)
    }

    /// Joins by oneself, as a device of a member, with the latest group info. The group is in the epoch of the commit
    /// at once: should the relay refuse it, [`Group::delete`] and start anew with a later group info.
    pub fn join_by_commit(
        device: &Device,
        expected: GroupName,
        group_info: &[u8],
        is_listed: IsListed<'_>,
    ) -> Result<(Self, Proposed), MlsError> {
        let MlsMessageBodyIn::GroupInfo(info) = message(group_info, MAX_GROUP_INFO)? else {
            return Err(MlsError::Malformed);
        };
        if GroupName::of(info.group_id()) != Some(expected) {
            return Err(MlsError::OtherGroup);
        }
        let parameters = openmls::prelude::LeafNodeParameters::builder()
            .with_capabilities(crate::leaf::capabilities())
            .build();
        let (mls, bundle) = MlsGroup::external_commit_builder()
            .with_config(join_config())
            .skip_lifetime_validation()
            .build_group(&device.provider, info, device.leaf.credential())
            .map_err(MlsError::other)?
            .leaf_node_parameters(parameters)
            .load_psks(device.provider.storage())
            .map_err(MlsError::other)?
            .build(device.provider.rand(), device.provider.crypto(), &device.signer(), |_| true)
            .map_err(MlsError::other)
            .map(|built| device.provider.storage().eagerly(|_| built.finalize(&device.provider)))?
            .map_err(MlsError::other)?;
        let group = Self { name: expected, mls, leaving: Vec::new() };
        if let Err(error) = group.check_leaves(is_listed) {
            group.delete(device)?;
            return Err(error);
        }
        let group_info = group.group_info(device)?;
        Ok((group, Proposed { commit: bytes(bundle.into_commit())?, welcome: None, group_info }))
    }

    /// Takes up a group from the device's storage; `None` if it is not there. `unclean`: the last run may have used
    /// message keys that were not stored; so many are skipped that none is used twice.
    pub fn restore(device: &Device, name: GroupName, unclean: Option<u32>) -> Result<Option<Self>, MlsError> {
        let mls = MlsGroup::load(device.provider.storage(), &name.group_id())?;
        let Some(mls) = mls else { return Ok(None) };
        let mut group = Self { name, mls, leaving: Vec::new() };
        if group.mls.is_active() {
            for _ in 0..unclean.unwrap_or(0) {
                group.mls.create_message(&device.provider, &device.signer(), &[]).map_err(MlsError::other)?;
            }
        }
        Ok(Some(group))
    }

    /// Which group it is.
    pub fn name(&self) -> GroupName {
        self.name
    }

    /// The epoch: how many commits it has seen.
    pub fn epoch(&self) -> u64 {
        self.mls.epoch().as_u64()
    }

    /// Equal at two devices of one epoch exactly if they agree on everything that happened (RFC 9420 §8.7).
    pub fn authenticator(&self) -> Vec<u8> {
        self.mls.epoch_authenticator().as_slice().to_vec()
    }

    /// Whether this device is still in it.
    pub fn is_active(&self) -> bool {
        self.mls.is_active()
    }

    /// Whether a commit of this device waits for the relay's answer.
    pub fn is_committing(&self) -> bool {
        self.mls.pending_commit().is_some()
    }

    /// Who is in it and who may change that.
    pub fn policy(&self) -> Result<Policy, MlsError> {
        Ok(Policy::of(self.mls.extensions())?)
    }

    /// The devices in it.
    pub fn leaves(&self) -> Result<Vec<Leaf>, MlsError> {
        Ok(self.indexed()?.into_values().collect())
    }

    /// Devices that leave with the next commit.
    pub fn leaving(&self) -> Result<Vec<Leaf>, MlsError> {
        let leaves = self.indexed()?;
        Ok(self.leaving.iter().filter_map(|proposal| sender_leaf(&leaves, proposal.sender())).collect())
    }

    /// Prepares a commit. Takes out whoever leaves, too.
    pub fn commit(
        &mut self,
        device: &Device,
        changes: Changes,
        is_listed: IsListed<'_>,
    ) -> Result<Proposed, MlsError> {
        if self.is_committing() {
            return Err(MlsError::CommitPending);
        }
        let leaves = self.indexed()?;
        let leaving_leaves: BTreeSet<Leaf> = self.leaving()?.into_iter().collect();
        let leaving: BTreeSet<AccountId> = leaving_leaves.iter().map(|leaf| leaf.account).collect();
        let policy = self.policy()?;
        let after = changes.policy.unwrap_or_else(|| policy.without(&leaving));
        let remove: Vec<LeafNodeIndex> = leaves
            .iter()
            .filter(|(_, leaf)| !leaving_leaves.contains(leaf))
            .filter(|(_, leaf)| changes.remove.contains(&leaf.device) || !after.has(&leaf.account))
            .map(|(index, _)| *index)
            .collect();
        let stay = leaves.len() - remove.len() - leaving_leaves.len();
        if stay + changes.add.len() > MAX_LEAVES {
            return Err(PolicyError::Policy("more devices than a group may have").into());
        }
        for package in &changes.add {
            if !is_listed(&package.leaf.account, &package.leaf.device) {
                return Err(PolicyError::Leaf("a device that its account does not list").into());
            }
        }
        for proposal in &self.leaving {
            self.mls.store_pending_proposal(device.provider.storage(), proposal.clone())?;
        }
        let mut builder = self
            .mls
            .commit_builder()
            .force_self_update(true)
            .propose_adds(changes.add.into_iter().map(|package| package.package))
            .propose_removals(remove);
        if after != policy {
            builder = builder.propose_group_context_extensions(context(&after)?).map_err(MlsError::other)?;
        }
        let built = builder
            .load_psks(device.provider.storage())
            .map_err(MlsError::other)?
            .use_ratchet_tree_extension(true)
            .build(device.provider.rand(), device.provider.crypto(), &device.signer(), |_| true)
            .map_err(MlsError::other)
            .and_then(|built| built.stage_commit(&device.provider).map_err(MlsError::other));
        // Proposals in openmls's own list would forbid sending meanwhile.
        self.mls.clear_pending_proposals(device.provider.storage())?;
        let (commit, welcome, group_info) = built?.into_messages();
        Ok(Proposed {
            commit: bytes(commit)?,
            welcome: welcome.map(bytes).transpose()?,
            group_info: group_info.map(bytes).transpose()?.ok_or(MlsError::Malformed)?,
        })
    }

    /// The relay has taken the commit.
    pub fn accepted(&mut self, device: &Device) -> Result<(), MlsError> {
        let merged = device.provider.storage().eagerly(|_| self.mls.merge_pending_commit(&device.provider));
        merged.map_err(MlsError::other)?;
        self.leaving.clear();
        Ok(())
    }

    /// The relay has not taken the commit.
    pub fn refused(&mut self, device: &Device) -> Result<(), MlsError> {
        Ok(self.mls.clear_pending_commit(device.provider.storage())?)
    }

    /// Says that this device leaves. Another member's commit takes it out.
    pub fn leave(&mut self, device: &Device) -> Result<Vec<u8>, MlsError> {
        let proposal = self
            .mls
            .leave_group_via_self_remove(&device.provider, &device.signer())
            .map_err(MlsError::other)?;
        self.leaving.extend(self.mls.pending_proposals().cloned());
        self.mls.clear_pending_proposals(device.provider.storage())?;
        bytes(proposal)
    }

    /// Takes in a handshake message, in the relay's order.
    pub fn process(
        &mut self,
        device: &Device,
        message: &[u8],
        is_listed: IsListed<'_>,
    ) -> Result<Processed, MlsError> {
        let message = self.ours(message, MAX_HANDSHAKE)?;
        if message.content_type() == ContentType::Application {
            return Err(MlsError::Malformed);
        }
        let leaves = self.indexed()?;
        let proposals = message.content_type() == ContentType::Commit;
        if proposals {
            for proposal in &self.leaving {
                self.mls.store_pending_proposal(device.provider.storage(), proposal.clone())?;
            }
        }
        let processed = self.mls.process_message(&device.provider, message);
        if proposals {
            self.mls.clear_pending_proposals(device.provider.storage())?;
        }
        let processed = processed.map_err(|error| self.refusal(error))?;
        match processed.content() {
            ProcessedMessageContent::StagedCommitMessage(staged) => {
                let committed = self.check(&leaves, &processed, staged, is_listed)?;
                let ProcessedMessageContent::StagedCommitMessage(staged) = processed.into_content() else {
                    return Err(MlsError::Malformed);
                };
                let merged = device
                    .provider
                    .storage()
                    .eagerly(|_| self.mls.merge_staged_commit(&device.provider, *staged));
                merged.map_err(MlsError::other)?;
                self.leaving.clear();
                Ok(Processed::Commit(committed))
            }
            ProcessedMessageContent::OwnPendingCommit => {
                let staged = self.mls.pending_commit().ok_or(MlsError::Malformed)?;
                let committed = self.check(&leaves, &processed, staged, is_listed)?;
                self.accepted(device)?;
                Ok(Processed::Commit(committed))
            }
            ProcessedMessageContent::ProposalMessage(proposal) => {
                let leaf = who_leaves(&leaves, proposal)?;
                if !self.leaving()?.contains(&leaf) {
                    self.leaving.push((**proposal).clone());
                }
                Ok(Processed::Leaves(leaf))
            }
            _ => Err(MlsError::Malformed),
        }
    }

    /// Encrypts content for the members, bound to `aad`.
    pub fn seal(&mut self, device: &Device, aad: &[u8], content: &[u8]) -> Result<Vec<u8>, MlsError> {
        if !self.mls.is_active() {
            return Err(MlsError::NotAMember);
        }
        if content.len() > MAX_SEALED {
            return Err(MlsError::TooLarge);
        }
        self.mls.set_aad(aad.to_vec());
        let sealed = self
            .mls
            .create_message(&device.provider, &device.signer(), &padding::pad(content))
            .map_err(MlsError::other)?;
        bytes(sealed)
    }

    /// Opens a message.
    pub fn open(&mut self, device: &Device, sealed: &[u8]) -> Result<Opened, MlsError> {
        let message = self.ours(sealed, MAX_SEALED * 2)?;
        if message.content_type() != ContentType::Application {
            return Err(MlsError::Malformed);
        }
        let epoch = message.epoch().as_u64();
        let processed =
            self.mls.process_message(&device.provider, message).map_err(|error| self.refusal(error))?;
        let credential = processed.credential().clone();
        let author = match processed.sender() {
            Sender::Member(index) => self.author(*index, &credential)?,
            _ => return Err(MlsError::NotAMember),
        };
        let aad = processed.aad().to_vec();
        match processed.into_content() {
            ProcessedMessageContent::ApplicationMessage(message) => {
                let content = padding::unpad(message.into_bytes()).ok_or(MlsError::Malformed)?;
                Ok(Opened { author, epoch, aad, content })
            }
            ProcessedMessageContent::OwnPrivateMessage => Err(MlsError::Own),
            _ => Err(MlsError::Malformed),
        }
    }

    /// Writes what messages changed to the device's storage; whether there was anything. Until then a crash makes
    /// this device forget which keys it used: see [`Group::restore`].
    pub fn flush(&mut self, device: &Device) -> Result<bool, MlsError> {
        if !device.provider.storage().is_behind(&self.name.group_id()) {
            return Ok(false);
        }
        // Changes nothing: of openmls's calls it is one that writes the secrets.
        let same = PastEpochDeletionPolicy::MaxEpochs(PAST_EPOCHS);
        device
            .provider
            .storage()
            .eagerly(|_| self.mls.set_past_epoch_deletion_policy(&device.provider, same))
            .map_err(MlsError::other)?;
        Ok(true)
    }

    /// Forgets the group.
    pub fn delete(mut self, device: &Device) -> Result<(), MlsError> {
        Ok(self.mls.delete(device.provider.storage())?)
    }

    /// The group now, with its tree, signed by this device.
    pub fn group_info(&self, device: &Device) -> Result<Vec<u8>, MlsError> {
        let info = self
            .mls
            .export_group_info(device.provider.crypto(), &device.signer(), true)
            .map_err(MlsError::other)?;
        bytes(info)
    }

    fn indexed(&self) -> Result<BTreeMap<LeafNodeIndex, Leaf>, MlsError> {
        let leaf = |member: openmls::group::Member| {
            Ok((member.index, Leaf::of(&member.credential, &member.signature_key)?))
        };
        self.mls.members().map(leaf).collect()
    }

    /// The author of a message, which may be of an epoch in which the leaf was another's.
    fn author(
        &self,
        index: LeafNodeIndex,
        credential: &openmls::prelude::Credential,
    ) -> Result<Leaf, MlsError> {
        let now = self.mls.member_at(index).map(|member| Leaf::of(&member.credential, &member.signature_key));
        match now.transpose()? {
            Some(leaf) if Leaf::of(credential, &leaf.key.0)? == leaf => Ok(leaf),
            _ => Err(MlsError::NotAMember),
        }
    }

    /// All that somebody who joins must hold the group to.
    fn check_leaves(&self, is_listed: IsListed<'_>) -> Result<(), MlsError> {
        let policy = self.policy()?;
        let leaves = self.leaves()?;
        if leaves.len() > MAX_LEAVES {
            return Err(PolicyError::Policy("more devices than a group may have").into());
        }
        for leaf in leaves {
            if !policy.has(&leaf.account) {
                return Err(PolicyError::Leaf("a leaf of an account that is not a member").into());
            }
            if !is_listed(&leaf.account, &leaf.device) {
                return Err(PolicyError::Leaf("a device that its account does not list").into());
            }
        }
        Ok(())
    }

    fn check(
        &self,
        leaves: &BTreeMap<LeafNodeIndex, Leaf>,
        processed: &ProcessedMessage,
        staged: &StagedCommit,
        is_listed: IsListed<'_>,
    ) -> Result<Committed, MlsError> {
        let leaving: BTreeSet<AccountId> = self.leaving()?.iter().map(|leaf| leaf.account).collect();
        let before = Before { policy: &self.policy()?, leaves, leaving: &leaving };
        Ok(check_commit(&before, processed, staged, is_listed)?)
    }

    /// Parses a message of this group.
    fn ours(&self, bytes: &[u8], longest: usize) -> Result<ProtocolMessage, MlsError> {
        let message = match message(bytes, longest)? {
            MlsMessageBodyIn::PublicMessage(message) => ProtocolMessage::from(message),
            MlsMessageBodyIn::PrivateMessage(message) => ProtocolMessage::from(message),
            _ => return Err(MlsError::Malformed),
        };
        if GroupName::of(message.group_id()) != Some(self.name) {
            return Err(MlsError::OtherGroup);
        }
        if !self.mls.is_active() {
            return Err(MlsError::NotAMember);
        }
        let (epoch, now) = (message.epoch().as_u64(), self.epoch());
        if epoch > now {
            return Err(MlsError::FutureEpoch(epoch));
        }
        if epoch < now && message.content_type() != ContentType::Application {
            return Err(MlsError::PastEpoch(epoch));
        }
        if epoch.saturating_add(PAST_EPOCHS as u64) < now {
            return Err(MlsError::PastEpoch(epoch));
        }
        Ok(message)
    }

    fn refusal<E: std::fmt::Display>(&self, error: ProcessMessageError<E>) -> MlsError {
        match error {
            ProcessMessageError::GroupStateError(_) => MlsError::NotAMember,
            // openmls does not export the type of this error, only its name.
            ProcessMessageError::ValidationError(ValidationError::UnableToDecrypt(
                MessageDecryptionError::SecretTreeError(reason),
            )) if format!("{reason:?}") == "SecretReuseError" => MlsError::KeyUsed,
            error => MlsError::other(error),
        }
    }
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Group({}/{}, epoch {})", self.name.conversation, self.name.incarnation, self.epoch())
    }
}

/// Which group and epoch a sealed message is of, without opening it: what the relay goes by.
pub fn message_group(sealed: &[u8]) -> Result<(GroupName, u64), MlsError> {
    let MlsMessageBodyIn::PrivateMessage(message) = message(sealed, MAX_SEALED * 2)? else {
        return Err(MlsError::Malformed);
    };
    let message = ProtocolMessage::from(message);
    let name = GroupName::of(message.group_id()).ok_or(MlsError::OtherGroup)?;
    Ok((name, message.epoch().as_u64()))
}

pub(crate) fn message(bytes: &[u8], longest: usize) -> Result<MlsMessageBodyIn, MlsError> {
    if bytes.len() > longest {
        return Err(MlsError::TooLarge);
    }
    Ok(MlsMessageIn::tls_deserialize_exact_bytes(bytes).map_err(|_| MlsError::Malformed)?.extract())
}

fn bytes(message: MlsMessageOut) -> Result<Vec<u8>, MlsError> {
    message.tls_serialize_detached().map_err(MlsError::other)
}

/// Whose leaving a proposal says: of all kinds the one that is logged by itself.
pub(crate) fn who_leaves(
    leaves: &BTreeMap<LeafNodeIndex, Leaf>,
    proposal: &QueuedProposal,
) -> Result<Leaf, MlsError> {
    if !matches!(proposal.proposal(), Proposal::SelfRemove) {
        return Err(PolicyError::NotAllowed("a proposal of a kind that is not used here").into());
    }
    sender_leaf(leaves, proposal.sender()).ok_or(MlsError::NotAMember)
}

pub(crate) fn sender_leaf(leaves: &BTreeMap<LeafNodeIndex, Leaf>, sender: &Sender) -> Option<Leaf> {
    match sender {
        Sender::Member(index) => leaves.get(index).copied(),
        _ => None,
    }
}
