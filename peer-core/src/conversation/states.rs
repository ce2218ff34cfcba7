//! How far own messages got, for who draws them. A state is a step function of the seq: it changes only where somebody's
//! deliveries, reading or membership end or begin, so that a burst of receipts is told in a few ranges.

use std::collections::{BTreeMap, BTreeSet};

use sotto_protocol::{AccountId, Seq};

use super::{Conversation, Ctx};
use crate::effects::id_in;
use crate::identity::Identity;
use crate::io::{MessageState, Reached, TimelineDiff};
use crate::people::People;
use crate::store::ReceiptRecord;

/// What is known of the other members, for looking at many messages.
pub(super) struct Reach {
    logged: Seq,
    /// By member: the last own message before it joined, and what it has of those after.
    members: Vec<(Seq, ReceiptRecord)>,
}

impl Reach {
    pub fn state(&self, seq: Seq) -> MessageState {
        let count = |fits: fn(&ReceiptRecord, Seq) -> bool| {
            let members = self.members.iter().filter(|(joined, record)| *joined < seq && fits(record, seq));
            u16::try_from(members.count()).unwrap_or(u16::MAX)
        };
        let members = count(|_, _| true);
        let delivered = count(|record, seq| record.delivered >= seq);
        let read = count(|record, seq| record.read >= seq);
        let reached = if members > 0 && read == members {
            Reached::Read
        } else if members > 0 && delivered == members {
            Reached::Delivered
        } else if delivered > 0 || seq <= self.logged {
            Reached::Sent
        } else {
            Reached::Waiting
        };
        MessageState { reached, members, delivered, read }
    }

    /// The first seqs of ranges in which all have the same state.
    fn steps(&self, from: Seq, to: Seq) -> BTreeSet<Seq> {
        let ends = self.members.iter().flat_map(|(joined, record)| [*joined, record.delivered, record.read]);
        let firsts = ends.chain([self.logged]).map(Seq::next).filter(|seq| (from..=to).contains(seq));
        firsts.chain([from]).collect()
    }
}

impl Conversation {
    pub(super) fn own_reach(&self, me: &Identity, people: &People) -> Reach {
        let mut by_account: BTreeMap<AccountId, ReceiptRecord> = BTreeMap::new();
        for (device, record) in &self.receipts {
            let Some(account) = people.owner(device, me) else { continue };
            let known = by_account.entry(account).or_default();
            known.delivered = known.delivered.max(record.delivered);
            known.read = known.read.max(record.read);
        }
        let members = self.others(me.account).map(|account| {
            let joined = self.joined.get(&account).copied().unwrap_or_default();
            (joined, by_account.get(&account).copied().unwrap_or_default())
        });
        let logged = self.authors.get(&me.device).map_or(Seq(0), |own| own.logged);
        Reach { logged, members: members.collect() }
    }

    /// The members changed: who is new does not get what was logged before.
    pub(super) fn note_joined(&mut self, before: &BTreeSet<AccountId>, me: &Identity) {
        let logged = self.authors.get(&me.device).map_or(Seq(0), |own| own.logged);
        let members = &self.membership.members;
        self.joined.retain(|account, _| members.contains_key(account));
        for account in members.keys().filter(|account| !before.contains(account)) {
            self.joined.insert(*account, logged);
        }
    }

    /// The states of own messages in this range may be others now.
    pub(super) fn note_states(&mut self, from: Seq, to: Seq) {
        let (first, last) = self.states_due.unwrap_or((from, to));
        self.states_due = Some((first.min(from), last.max(to)));
    }

    /// Adds what became of states to this turn's diffs.
    pub(super) fn settle_states(&mut self, ctx: &Ctx) {
        let Some((from, to)) = self.states_due.take() else { return };
        let (from, to) = (from.max(Seq(1)), to.min(self.own.last));
        if from > to {
            return;
        }
        let reach = self.own_reach(ctx.me, ctx.people);
        let id = |seq| id_in(self.id, (ctx.me.device, seq));
        let mut last = to;
        let steps: Vec<_> = reach.steps(from, to).into_iter().rev().collect();
        let mut diffs: Vec<TimelineDiff> = Vec::new();
        for first in steps {
            let state = reach.state(first);
            diffs.push(TimelineDiff::State { from: id(first), to: id(last), state });
            last = first.previous();
        }
        self.timeline.tell(diffs);
    }
}
