//! Who is in a conversation: signed changes, ordered by the relay with compare-and-swap on the epoch, kept as
//! entries of the log. The relay and every member run the same [`Membership`] over them.
//!
//! (MLS takes this over: then a change is a commit, and the epoch is the group's.)

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use crate::cbor::{self, Blob, Bounded};
use crate::ids::{AccountId, ConversationId, ConversationKind, DeviceId, MembershipEpoch, Position};
use crate::keys::{PublicKey, Signature, Verify, signing_input};
use crate::limits;

/// Signing context of membership changes.
pub const MEMBERSHIP_CONTEXT: &str = "sotto membership v1";

/// Longest encoded change: a creation with [`limits::MAX_MEMBERS`] accounts of 34 bytes.
const MAX_CHANGE: usize = limits::MAX_MEMBERS * 34 + 256;

/// What a change does.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub enum Action {
    /// Makes the conversation; always epoch 1. The author's account is among the members.
    #[n(0)]
    Create {
        /// Direct or group; agrees with the id.
        #[n(0)]
        kind: ConversationKind,
        /// All members, the author's account included.
        #[n(1)]
        members: Bounded<AccountId, { limits::MAX_MEMBERS }>,
    },
    /// Adds accounts to a group. They see what is logged from here on.
    #[n(1)]
    Add {
        /// The new members.
        #[n(0)]
        members: Bounded<AccountId, { limits::MAX_MEMBERS }>,
    },
    /// The author's account leaves a group.
    #[n(2)]
    Leave {},
}

/// A change as its author signs it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Change {
    /// The conversation that changes.
    #[n(0)]
    pub conversation: ConversationId,
    /// The epoch that this change makes: the current one and 1.
    #[n(1)]
    pub epoch: MembershipEpoch,
    /// The account that makes it.
    #[n(2)]
    pub account: AccountId,
    /// The device of that account that signs it.
    #[n(3)]
    pub device: DeviceId,
    /// What it does.
    #[n(4)]
    pub action: Action,
}

/// A signed change as it travels: the signed bytes and the signature.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SignedChange {
    #[n(0)]
    payload: Blob<MAX_CHANGE>,
    #[n(1)]
    signature: Signature,
}

/// Why a change does not apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// The payload is no change.
    #[error("membership change: {0}")]
    Malformed(String),
    /// The signature is not by the device it names.
    #[error("membership change: bad signature")]
    Signature,
    /// Made against another epoch than the current one: fetch, then make it anew.
    #[error("membership change: the current epoch is {current}")]
    Epoch {
        /// The epoch as it is.
        current: MembershipEpoch,
    },
    /// Its author is no member.
    #[error("membership change: author is not a member")]
    NotAMember,
    /// A direct conversation's members never change, and its id follows from them.
    #[error("membership change: {0}")]
    NotAllowed(&'static str),
    /// More members than [`limits::MAX_MEMBERS`].
    #[error("membership change: more than {} members", limits::MAX_MEMBERS)]
    TooMany,
}

impl SignedChange {
    /// Encodes and signs a change.
    pub fn sign(change: &Change, sign: impl FnOnce(&[u8]) -> Signature) -> Self {
        let payload = cbor::encode(change);
        let signature = sign(&signing_input(MEMBERSHIP_CONTEXT, &payload));
        // Bounded members encode within MAX_CHANGE.
        Self { payload: Blob::new(payload).unwrap_or_default(), signature }
    }

    /// What it says, unverified: to find out whose key to check it with.
    pub fn claims(&self) -> Result<Change, MembershipError> {
        cbor::decode(&self.payload, MAX_CHANGE).map_err(|e| MembershipError::Malformed(e.to_string()))
    }

    /// What it says, if `key` is the author device's and the signature is by it.
    pub fn verify(&self, key: &PublicKey, engine: &impl Verify) -> Result<Change, MembershipError> {
        let change = self.claims()?;
        let input = signing_input(MEMBERSHIP_CONTEXT, &self.payload);
        if DeviceId::of(key) != change.device || !engine.verify(key, &input, &self.signature) {
            return Err(MembershipError::Signature);
        }
        Ok(change)
    }

    /// The change as it travels and is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        cbor::encode(self)
    }
}

/// The members of one conversation at one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Membership {
    /// Direct or group.
    #[n(0)]
    pub kind: ConversationKind,
    /// The epoch of the latest change.
    #[n(1)]
    pub epoch: MembershipEpoch,
    /// Each member and the position of the entry that let it in.
    #[n(2)]
    pub members: BTreeMap<AccountId, Position>,
}

impl Membership {
    /// Starts from a verified creation that is logged at `position`.
    pub fn create(change: &Change, position: Position) -> Result<Self, MembershipError> {
        let Action::Create { kind, members } = &change.action else {
            return Err(MembershipError::Epoch { current: MembershipEpoch(0) });
        };
        if change.epoch != MembershipEpoch(1) {
            return Err(MembershipError::Epoch { current: MembershipEpoch(0) });
        }
        if change.conversation.kind() != Some(*kind) {
            return Err(MembershipError::NotAllowed("the conversation's id is of another kind"));
        }
        let all: BTreeMap<AccountId, Position> = members.iter().map(|account| (*account, position)).collect();
        if !all.contains_key(&change.account) {
            return Err(MembershipError::NotAMember);
        }
        if *kind == ConversationKind::Direct {
            let mut two = all.keys();
            let (Some(a), Some(b), None) = (two.next(), two.next(), two.next()) else {
                return Err(MembershipError::NotAllowed("a direct conversation is between two accounts"));
            };
            if ConversationId::direct(a, b) != change.conversation {
                return Err(MembershipError::NotAllowed("the id is not that of these two accounts"));
            }
        }
        Ok(Self { kind: *kind, epoch: change.epoch, members: all })
    }

    /// Checks whether a verified change may follow, without applying it.
    pub fn check(&self, change: &Change) -> Result<(), MembershipError> {
        if change.epoch != MembershipEpoch(self.epoch.0.saturating_add(1)) {
            return Err(MembershipError::Epoch { current: self.epoch });
        }
        if !self.members.contains_key(&change.account) {
            return Err(MembershipError::NotAMember);
        }
        if self.kind == ConversationKind::Direct {
            return Err(MembershipError::NotAllowed("a direct conversation's members never change"));
        }
        match &change.action {
            Action::Create { .. } => Err(MembershipError::NotAllowed("the conversation exists")),
            Action::Add { members } => {
                let new = members.iter().filter(|account| !self.members.contains_key(account)).count();
                if self.members.len() + new > limits::MAX_MEMBERS {
                    return Err(MembershipError::TooMany);
                }
                Ok(())
            }
            Action::Leave {} => Ok(()),
        }
    }

    /// Applies a verified change that is logged at `position`.
    pub fn apply(&mut self, change: &Change, position: Position) -> Result<(), MembershipError> {
        self.check(change)?;
        self.epoch = change.epoch;
        match &change.action {
            Action::Create { .. } => {}
            Action::Add { members } => {
                for account in members.iter() {
                    self.members.entry(*account).or_insert(position);
                }
            }
            Action::Leave {} => {
                self.members.remove(&change.account);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(n: u8) -> AccountId {
        AccountId([n; 32])
    }

    fn create(conversation: ConversationId, kind: ConversationKind, members: &[AccountId]) -> Change {
        Change {
            conversation,
            epoch: MembershipEpoch(1),
            account: members[0],
            device: DeviceId([0; 16]),
            action: Action::Create { kind, members: Bounded::new(members.to_vec()).unwrap() },
        }
    }

    #[test]
    fn a_direct_conversation_is_its_two_accounts_for_good() {
        let (a, b, c) = (account(1), account(2), account(3));
        let id = ConversationId::direct(&a, &b);
        let direct = Membership::create(&create(id, ConversationKind::Direct, &[a, b]), Position(1)).unwrap();
        assert!(Membership::create(&create(id, ConversationKind::Direct, &[a, c]), Position(1)).is_err());
        assert!(Membership::create(&create(id, ConversationKind::Group, &[a, b]), Position(1)).is_err());
        let mut leave = create(id, ConversationKind::Direct, &[a, b]);
        leave.epoch = MembershipEpoch(2);
        leave.action = Action::Leave {};
        assert!(matches!(direct.check(&leave), Err(MembershipError::NotAllowed(_))));
    }

    #[test]
    fn of_two_changes_against_one_epoch_the_second_is_refused() {
        let (a, b) = (account(1), account(2));
        let id = ConversationId::group([9; 15]);
        let mut group = Membership::create(&create(id, ConversationKind::Group, &[a]), Position(1)).unwrap();
        let add = Change {
            epoch: MembershipEpoch(2),
            action: Action::Add { members: Bounded::new(vec![b]).unwrap() },
            ..create(id, ConversationKind::Group, &[a])
        };
        group.apply(&add, Position(4)).unwrap();
        assert_eq!(group.members[&b], Position(4));
        assert_eq!(
            group.apply(&add, Position(5)),
            Err(MembershipError::Epoch { current: MembershipEpoch(2) })
        );
    }

    #[test]
    fn who_left_changes_nothing_any_more() {
        let (a, b) = (account(1), account(2));
        let id = ConversationId::group([9; 15]);
        let mut group =
            Membership::create(&create(id, ConversationKind::Group, &[a, b]), Position(1)).unwrap();
        let leave = Change {
            epoch: MembershipEpoch(2),
            action: Action::Leave {},
            ..create(id, ConversationKind::Group, &[a])
        };
        group.apply(&leave, Position(2)).unwrap();
        let again = Change { epoch: MembershipEpoch(3), ..leave };
        assert_eq!(group.apply(&again, Position(3)), Err(MembershipError::NotAMember));
    }
}
