//! What cannot be had, where it would stand: remembered before the first message that is shown after it.

use minicbor::{Decode, Encode};
use sotto_protocol::{DeviceId, Position, Seq};

use super::{Conversation, Ctx};
use crate::effects::id_in;
use crate::io::{Event, GapRange, Missing, TimelineDiff};

/// Gaps remembered, a conversation: who has more has lost more than a list could tell.
const GAPS: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct GapRecord {
    #[n(0)]
    missing: Missing,
    /// The message that it is shown before, once there is one.
    #[n(1)]
    before: Option<(DeviceId, Seq)>,
}

impl GapRecord {
    fn precedes(&self, (device, seq): (DeviceId, Seq), position: Option<Position>) -> bool {
        match self.missing.range {
            GapRange::Positions(_, to) => position.is_some_and(|position| position > to),
            GapRange::Messages(_, to) => to.device == device && seq > to.seq,
        }
    }
}

impl Conversation {
    /// Tells of what cannot be had, and remembers it.
    pub(super) fn note_gap(&mut self, ctx: &mut Ctx, range: GapRange, why: &str) {
        let missing = Missing { range, why: why.into() };
        self.gaps.push(GapRecord { missing, before: None });
        if self.gaps.len() > GAPS {
            self.gaps.remove(0);
        }
        self.touch(ctx.fx);
        ctx.fx.notify(Event::Gap { conversation: self.id, range, why: why.into() });
    }

    /// What is missing right before a message.
    pub(super) fn missing_before(&self, id: (DeviceId, Seq)) -> Vec<Missing> {
        let before = self.gaps.iter().filter(|gap| gap.before == Some(id));
        before.map(|gap| gap.missing.clone()).collect()
    }

    /// A message is in the list: gaps that had no place have theirs before it. Answers whether any had none.
    pub(super) fn place_gaps(&mut self, id: (DeviceId, Seq), position: Option<Position>) -> bool {
        let mut placed = false;
        for gap in self.gaps.iter_mut().filter(|gap| gap.before.is_none()) {
            if gap.precedes(id, position) {
                gap.before = Some(id);
                placed = true;
            }
        }
        placed
    }

    /// Tells what is missing before a message that is in the list already.
    pub(super) fn tell_missing(&mut self, id: (DeviceId, Seq)) {
        let diff = TimelineDiff::Missing { id: id_in(self.id, id), missing: self.missing_before(id) };
        self.timeline.tell([diff]);
    }

    /// A message of a gap turned up; with the last of them the gap goes.
    pub(super) fn close_gaps(&mut self, (device, seq): (DeviceId, Seq)) {
        let Some(author) = self.authors.get(&device) else { return };
        let closed = |gap: &GapRecord| match gap.missing.range {
            GapRange::Messages(from, to) if from.device == device && (from.seq..=to.seq).contains(&seq) => {
                !author.gaps.ranges().any(|open| open.first <= to.seq && open.last >= from.seq)
            }
            GapRange::Messages(..) | GapRange::Positions(..) => false,
        };
        let gone: Vec<_> = self.gaps.iter().filter(|gap| closed(gap)).cloned().collect();
        self.gaps.retain(|gap| !gone.contains(gap));
        for before in gone.into_iter().filter_map(|gap| gap.before) {
            self.tell_missing(before);
        }
    }
}
