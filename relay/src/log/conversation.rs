//! A conversation in memory: what is durable, and what the batch being written would make of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use sotto_protocol::membership::Membership;
use sotto_protocol::relay::Held;
use sotto_protocol::{AccountId, DeviceId, Hash, LogEpoch, Position, Seq};

use super::SessionId;
use crate::store::{Bump, StoredConversation};

/// Messages whose place is remembered, so that the usual duplicate (a frame that raced over two ways) needs no
/// read. 80 bytes each.
const RECENT: usize = 128;

/// Bumps remembered; beyond it the two oldest become one, which costs an old client a longer catch-up only.
const BUMPS: usize = 64;

/// What is durable of a conversation, and who listens.
pub(super) struct Conversation {
    pub log_epoch: LogEpoch,
    pub head: Position,
    /// The head when this came into memory: a store that was set back was so before, and has grown again since.
    pub loaded_head: Position,
    pub floor: Position,
    pub membership: Arc<Membership>,
    pub senders: BTreeMap<DeviceId, Seq>,
    pub bumps: Vec<Bump>,
    pub subscribers: BTreeSet<SessionId>,
    /// Admitted requests that are not in a batch yet: they need this in memory.
    pub pins: usize,
    pub last_used: u64,
    recent: VecDeque<(DeviceId, Seq, Place)>,
}

/// Where a message stands, and its hash.
pub(super) type Place = (Position, Hash);

impl Conversation {
    pub(super) fn load(stored: StoredConversation) -> Self {
        Self {
            log_epoch: stored.log_epoch,
            head: stored.head,
            loaded_head: stored.head,
            floor: stored.floor,
            membership: Arc::new(stored.membership),
            senders: stored.senders.into_iter().collect(),
            bumps: stored.bumps,
            subscribers: BTreeSet::new(),
            pins: 0,
            last_used: 0,
            recent: VecDeque::new(),
        }
    }

    /// Where `account` came in, if it is a member.
    pub(super) fn joined(&self, account: &AccountId) -> Option<Position> {
        self.membership.members.get(account).copied()
    }

    pub(super) fn last_seq(&self, device: &DeviceId) -> Seq {
        self.senders.get(device).copied().unwrap_or_default()
    }

    pub(super) fn recent(&self, device: &DeviceId, seq: Seq) -> Option<Place> {
        self.recent.iter().rev().find(|(d, s, _)| d == device && *s == seq).map(|(_, _, place)| *place)
    }

    /// So many entries up to a position, if all are messages that came in lately.
    pub(super) fn recent_until(&self, through: Position, entries: u32) -> Option<Held> {
        let first = Position(through.0.checked_sub(u64::from(entries))?).next();
        let there = self.recent.iter().map(|(_, _, place)| place);
        let hashes: BTreeMap<Position, Hash> =
            there.filter(|(at, _)| (first..=through).contains(at)).copied().collect();
        let hashes: Vec<Hash> = hashes.into_values().collect();
        if hashes.len() == entries as usize { Held::of(&hashes) } else { None }
    }

    /// The last position on which a client of `epoch` that holds up to `after` and this log agree.
    pub(super) fn common(&self, epoch: LogEpoch, after: Position) -> Position {
        if epoch == LogEpoch(0) {
            return Position(0);
        }
        let bumps = self.bumps.iter().filter(|bump| bump.epoch > epoch).map(|bump| bump.common);
        bumps.min().unwrap_or(self.head).min(after).min(self.head)
    }

    /// Takes in what a batch made durable.
    pub(super) fn settle(&mut self, staged: Staged) {
        self.log_epoch = staged.log_epoch;
        self.head = staged.head;
        self.floor = self.floor.max(staged.floor);
        self.membership = staged.membership;
        self.bumps = staged.bumps;
        self.senders.extend(staged.senders);
        for ((device, seq), place) in staged.entries {
            self.recent.push_back((device, seq, place));
        }
        while self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.subscribers.is_empty() && self.pins == 0
    }
}

/// A conversation as it will be once the batch is durable. Nobody outside the relay sees it before.
#[derive(Clone)]
pub(super) struct Staged {
    pub log_epoch: LogEpoch,
    pub head: Position,
    pub floor: Position,
    pub membership: Arc<Membership>,
    pub bumps: Vec<Bump>,
    /// Only those that the batch changes.
    pub senders: BTreeMap<DeviceId, Seq>,
    /// Only those that the batch adds.
    pub entries: BTreeMap<(DeviceId, Seq), Place>,
    /// Members that the batch lets in or out.
    pub moved: BTreeSet<AccountId>,
    pub bumped: bool,
    /// Whether the conversation's own row changes.
    pub dirty: bool,
}

impl Staged {
    pub(super) fn over(conversation: &Conversation) -> Self {
        Self {
            log_epoch: conversation.log_epoch,
            head: conversation.head,
            floor: conversation.floor,
            membership: Arc::clone(&conversation.membership),
            bumps: conversation.bumps.clone(),
            senders: BTreeMap::new(),
            entries: BTreeMap::new(),
            moved: BTreeSet::new(),
            bumped: false,
            dirty: false,
        }
    }

    /// A conversation that this batch makes.
    pub(super) fn create(membership: Membership) -> Self {
        Self {
            log_epoch: LogEpoch(1),
            head: Position(1),
            floor: Position(1),
            moved: membership.members.keys().copied().collect(),
            membership: Arc::new(membership),
            bumps: Vec::new(),
            senders: BTreeMap::new(),
            entries: BTreeMap::new(),
            bumped: false,
            dirty: true,
        }
    }

    /// The log as it will stand, for a conversation that was not in memory before.
    pub(super) fn into_conversation(self) -> Conversation {
        let mut conversation = Conversation::load(StoredConversation {
            log_epoch: self.log_epoch,
            head: self.head,
            floor: self.floor,
            membership: (*self.membership).clone(),
            senders: Vec::new(),
            bumps: Vec::new(),
        });
        conversation.settle(self);
        conversation
    }

    /// Raises the log epoch above `claimed` as well. Older epochs agree with this log up to `common`.
    pub(super) fn bump(&mut self, claimed: LogEpoch, common: Position) {
        self.log_epoch = self.log_epoch.max(claimed).next();
        self.dirty = true;
        self.bumped = true;
        // An older bump that agrees on more never decides: whoever is older than it is older than this one.
        while self.bumps.last().is_some_and(|last| last.common >= common) {
            self.bumps.pop();
        }
        self.bumps.push(Bump { epoch: self.log_epoch, common });
        if self.bumps.len() > BUMPS {
            self.bumps[1].common = self.bumps[0].common;
            self.bumps.remove(0);
        }
    }
}
