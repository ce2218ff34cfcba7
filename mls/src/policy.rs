//! Who is in a group and who may change that: in the group's own context (RFC 9420 §8.1), so that the relay enforces
//! the same rules as every member, and a commit that breaks one is refused by all alike.
//!
//! A group has accounts, and each account has devices, one leaf a device. The accounts are listed in the policy; that
//! a device is its account's, the account's device list says, which the caller knows.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};
use openmls::prelude::{
    Extension, Extensions, GroupContext, LeafNodeIndex, ProcessedMessage, Proposal, QueuedProposal, Sender,
    StagedCommit, UnknownExtension,
};
use sotto_protocol::cbor::{self, Bounded};
use sotto_protocol::{AccountId, ConversationKind, DeviceId, limits};

use crate::group::Committed;
use crate::leaf::Leaf;

/// The policy's type among group-context extensions: of the range for private use (RFC 9420 §17.3).
pub const POLICY_EXTENSION: u16 = 0xF050;

/// Longest encoded policy: all members, all of them admins.
const MAX_POLICY: usize = 2 * limits::MAX_MEMBERS * 34 + 64;

/// Who is in a group, and who may change that.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Policy {
    /// Direct or group.
    #[n(0)]
    pub kind: ConversationKind,
    /// The members, in ascending order. An account whose devices cannot be reached yet has no leaf.
    #[n(1)]
    pub accounts: Bounded<AccountId, { limits::MAX_MEMBERS }>,
    /// Those of them who may add and remove accounts and name admins, in ascending order. Nobody may in a direct
    /// conversation.
    #[n(2)]
    pub admins: Bounded<AccountId, { limits::MAX_MEMBERS }>,
}

/// A commit or a policy that the rules do not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The group has no policy, or one that cannot be read.
    #[error("the group has no policy that can be read")]
    NoPolicy,
    /// The policy contradicts itself.
    #[error("policy: {0}")]
    Policy(&'static str),
    /// A leaf is not what a device of a member would have.
    #[error("leaf: {0}")]
    Leaf(&'static str),
    /// The committer may not do this.
    #[error("not allowed: {0}")]
    NotAllowed(&'static str),
}

impl Policy {
    /// A conversation of these accounts. In a group `creator` is the admin.
    pub fn new(
        kind: ConversationKind,
        accounts: impl IntoIterator<Item = AccountId>,
        creator: AccountId,
    ) -> Result<Self, PolicyError> {
        let accounts: BTreeSet<AccountId> = accounts.into_iter().chain([creator]).collect();
        let accounts = Bounded::new(accounts.into_iter().collect())
            .ok_or(PolicyError::Policy("more members than a conversation may have"))?;
        let admins = match kind {
            ConversationKind::Direct => Bounded::truncated(Vec::new()),
            ConversationKind::Group => Bounded::truncated(vec![creator]),
        };
        let policy = Self { kind, accounts, admins };
        policy.check()?;
        Ok(policy)
    }

    /// Whether an account is a member.
    pub fn has(&self, account: &AccountId) -> bool {
        self.accounts.binary_search(account).is_ok()
    }

    /// Whether an account may change who is a member.
    pub fn is_admin(&self, account: &AccountId) -> bool {
        self.admins.binary_search(account).is_ok()
    }

    /// Without these accounts. If no admin is left, the first member becomes one: a group must not be stuck.
    #[must_use]
    pub fn without(&self, leaving: &BTreeSet<AccountId>) -> Self {
        let stays = |account: &&AccountId| !leaving.contains(account);
        let accounts: Vec<AccountId> = self.accounts.iter().filter(stays).copied().collect();
        let mut admins: Vec<AccountId> = self.admins.iter().filter(stays).copied().collect();
        if admins.is_empty() && self.kind == ConversationKind::Group {
            admins.extend(accounts.first());
        }
        Self { kind: self.kind, accounts: Bounded::truncated(accounts), admins: Bounded::truncated(admins) }
    }

    /// Whether it says one thing only.
    fn check(&self) -> Result<(), PolicyError> {
        let ascending = |list: &[AccountId]| list.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascending(&self.accounts) || !ascending(&self.admins) {
            return Err(PolicyError::Policy("accounts out of order"));
        }
        if !self.admins.iter().all(|admin| self.has(admin)) {
            return Err(PolicyError::Policy("an admin who is not a member"));
        }
        match self.kind {
            ConversationKind::Direct if self.accounts.len() != 2 || !self.admins.is_empty() => {
                Err(PolicyError::Policy("a direct conversation is between two accounts and has no admins"))
            }
            ConversationKind::Group if self.admins.is_empty() && !self.accounts.is_empty() => {
                Err(PolicyError::Policy("a group without an admin"))
            }
            _ => Ok(()),
        }
    }

    /// Reads the policy of a group context.
    pub(crate) fn of(extensions: &Extensions<GroupContext>) -> Result<Self, PolicyError> {
        let bytes = extensions.unknown(POLICY_EXTENSION).ok_or(PolicyError::NoPolicy)?;
        let policy: Self = cbor::decode(&bytes.0, MAX_POLICY).map_err(|_| PolicyError::NoPolicy)?;
        policy.check()?;
        Ok(policy)
    }

    pub(crate) fn extension(&self) -> Extension {
        Extension::Unknown(POLICY_EXTENSION, UnknownExtension(cbor::encode(self)))
    }
}

/// Says whether a device is listed for an account now: not unknown, not revoked.
pub type IsListed<'a> = &'a dyn Fn(&AccountId, &DeviceId) -> bool;

/// A group as the rules see it.
pub(crate) struct Before<'a> {
    pub policy: &'a Policy,
    pub leaves: &'a BTreeMap<LeafNodeIndex, Leaf>,
    /// Accounts whose leaving is logged: the next commit takes them out.
    pub leaving: &'a BTreeSet<AccountId>,
}

/// Checks a commit that openmls found valid. Answers what it does.
pub(crate) fn check_commit(
    before: &Before<'_>,
    processed: &ProcessedMessage,
    staged: &StagedCommit,
    is_listed: IsListed<'_>,
) -> Result<Committed, PolicyError> {
    let path_leaf = staged.update_path_leaf_node().map(Leaf::of_node).transpose()?;
    let committer = match processed.sender() {
        Sender::Member(index) => {
            let leaf = *before.leaves.get(index).ok_or(PolicyError::Leaf("the committer has none"))?;
            if path_leaf.is_some_and(|path_leaf| path_leaf != leaf) {
                return Err(PolicyError::Leaf("a commit may not change whose leaf it is"));
            }
            leaf
        }
        Sender::NewMemberCommit => path_leaf.ok_or(PolicyError::Leaf("a device joins without one"))?,
        Sender::External(_) | Sender::NewMemberProposal => {
            return Err(PolicyError::NotAllowed("a commit from outside"));
        }
    };
    let joins = matches!(processed.sender(), Sender::NewMemberCommit);
    let after = Policy::of(staged.group_context().extensions())?;
    check_accounts(before, &committer.account, &after)?;

    let mut leaves = before.leaves.clone();
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    for queued in staged.queued_proposals() {
        check_proposal(before, &after, &committer, joins, queued, is_listed)?;
        match queued.proposal() {
            Proposal::Add(add) => added.push(Leaf::of_node(add.key_package().leaf_node())?),
            Proposal::Remove(remove) => removed.extend(leaves.remove(&remove.removed())),
            Proposal::SelfRemove => {
                if let Sender::Member(index) = queued.sender() {
                    removed.extend(leaves.remove(index));
                }
            }
            _ => {}
        }
    }
    if joins {
        added.push(committer);
    }
    for leaf in &added {
        if !is_listed(&leaf.account, &leaf.device) {
            return Err(PolicyError::Leaf("a device that its account does not list"));
        }
    }
    for leaf in leaves.values().chain(&added) {
        if !after.has(&leaf.account) {
            return Err(PolicyError::Leaf("a leaf of an account that is not a member"));
        }
    }
    Ok(Committed { by: committer, added, removed, policy: after })
}

/// What a commit does to the accounts: admins may do it, and whoever commits takes out who has left.
fn check_accounts(before: &Before<'_>, committer: &AccountId, after: &Policy) -> Result<(), PolicyError> {
    if before.leaving.iter().any(|account| after.has(account)) {
        return Err(PolicyError::NotAllowed("a member who left is kept"));
    }
    let left = before.policy.without(before.leaving);
    if *after == left {
        return Ok(());
    }
    if before.policy.kind == ConversationKind::Direct || after.kind != before.policy.kind {
        return Err(PolicyError::NotAllowed("a direct conversation's members never change"));
    }
    if !left.is_admin(committer) {
        return Err(PolicyError::NotAllowed("only admins change who is a member"));
    }
    Ok(())
}

fn check_proposal(
    before: &Before<'_>,
    after: &Policy,
    committer: &Leaf,
    joins: bool,
    queued: &QueuedProposal,
    is_listed: IsListed<'_>,
) -> Result<(), PolicyError> {
    match queued.proposal() {
        Proposal::Add(_) if !joins => Ok(()),
        Proposal::Remove(remove) => {
            let leaf = before.leaves.get(&remove.removed()).ok_or(PolicyError::Leaf("no leaf to remove"))?;
            let own = if joins { leaf.device == committer.device } else { leaf.account == committer.account };
            let out = !joins && (!after.has(&leaf.account) || !is_listed(&leaf.account, &leaf.device));
            if own || out { Ok(()) } else { Err(PolicyError::NotAllowed("removes another member's device")) }
        }
        Proposal::GroupContextExtensions(_) if !joins => Ok(()),
        Proposal::ExternalInit(_) if joins => Ok(()),
        Proposal::SelfRemove => Ok(()),
        _ => Err(PolicyError::NotAllowed("a proposal of a kind that is not used here")),
    }
}
