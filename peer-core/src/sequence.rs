//! Sets of seqs as ranges.

use std::collections::BTreeMap;

use sotto_protocol::Seq;
use sotto_protocol::link::{SeqRange, SeqRanges};

/// A set of seqs, stored as disjoint ranges.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SeqSet(BTreeMap<u64, u64>);

impl SeqSet {
    pub fn insert(&mut self, seq: Seq) {
        self.insert_range(seq, seq);
    }

    pub fn insert_range(&mut self, first: Seq, last: Seq) {
        let (mut first, mut last) = (first.0, last.0);
        if first > last {
            return;
        }
        // Swallow every range that touches [first, last].
        while let Some((start, end)) =
            self.0.range(..=last.saturating_add(1)).next_back().map(|(s, e)| (*s, *e))
        {
            if end.saturating_add(1) < first {
                break;
            }
            self.0.remove(&start);
            first = first.min(start);
            last = last.max(end);
        }
        self.0.insert(first, last);
    }

    pub fn remove(&mut self, seq: Seq) -> bool {
        let Some((start, end)) = self.0.range(..=seq.0).next_back().map(|(s, e)| (*s, *e)) else {
            return false;
        };
        if end < seq.0 {
            return false;
        }
        self.0.remove(&start);
        if start < seq.0 {
            self.0.insert(start, seq.0 - 1);
        }
        if seq.0 < end {
            self.0.insert(seq.0 + 1, end);
        }
        true
    }

    pub fn contains(&self, seq: Seq) -> bool {
        self.0.range(..=seq.0).next_back().is_some_and(|(_, end)| *end >= seq.0)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn last(&self) -> Option<Seq> {
        self.0.values().next_back().map(|end| Seq(*end))
    }

    pub fn ranges(&self) -> impl Iterator<Item = SeqRange> {
        self.0.iter().map(|(first, last)| SeqRange { first: Seq(*first), last: Seq(*last) })
    }

    /// Forgets the lowest ranges beyond a count.
    pub fn keep_last(&mut self, count: usize) {
        while self.0.len() > count {
            self.0.pop_first();
        }
    }

    /// The first ranges, as many as a frame carries.
    pub fn to_wire(&self) -> SeqRanges {
        SeqRanges::truncated(self.ranges().take(sotto_protocol::limits::MAX_ACK_RANGES).collect())
    }

    pub fn from_ranges<'a>(ranges: impl IntoIterator<Item = &'a SeqRange>) -> Self {
        let mut set = Self::default();
        for range in ranges {
            set.insert_range(range.first, range.last);
        }
        set
    }

    /// The seqs of `first..=last` that are not in the set, as ranges.
    pub fn missing(&self, first: Seq, last: Seq) -> Self {
        let mut missing = Self::default();
        let mut at = first.0;
        for (start, end) in self.0.range(..=last.0) {
            if *end < at {
                continue;
            }
            if *start > at {
                missing.insert_range(Seq(at), Seq(start - 1));
            }
            at = end.saturating_add(1);
        }
        if at <= last.0 {
            missing.insert_range(Seq(at), last);
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn behaves_like_a_plain_set(steps in proptest::collection::vec((any::<bool>(), 1u64..40, 0u64..6), 0..80)) {
            let (mut set, mut model) = (SeqSet::default(), BTreeSet::new());
            for (insert, first, more) in steps {
                if insert {
                    set.insert_range(Seq(first), Seq(first + more));
                    model.extend(first..=first + more);
                } else {
                    prop_assert_eq!(set.remove(Seq(first)), model.remove(&first));
                }
                for seq in 0..50 {
                    prop_assert_eq!(set.contains(Seq(seq)), model.contains(&seq));
                }
                prop_assert_eq!(set.last().map(|s| s.0), model.last().copied());
                let ranges: Vec<_> = set.ranges().collect();
                prop_assert!(ranges.windows(2).all(|w| w[0].last.0 + 1 < w[1].first.0), "disjoint and apart");
                let missing = set.missing(Seq(5), Seq(30));
                for seq in 5..=30 {
                    prop_assert_eq!(missing.contains(Seq(seq)), !model.contains(&seq));
                }
            }
        }
    }
}
