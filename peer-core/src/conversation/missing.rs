//! What is missing before what is held: asked for, and shown as a gap once nobody supplies it.

use std::collections::BTreeMap;
use std::time::Duration;

use sotto_protocol::{DeviceId, Seq, limits};

use super::{Author, Conversation, Ctx};
use crate::effects::id_in;
use crate::io::GapRange;
use crate::sequence::SeqSet;
use crate::timers::Timer;

/// How long something may wait for what is missing before others are asked for it.
const ASK_AFTER: Duration = Duration::from_secs(1);

/// How long before what nobody supplies is shown as a gap: with the log read to its end, and without it.
const GAP_AFTER_LIVE: Duration = Duration::from_secs(10);
const GAP_AFTER_OFFLINE: Duration = Duration::from_secs(60);

/// Ranges of gaps kept open for late arrivals, an author.
const MAX_GAPS: usize = 256;

impl Conversation {
    /// Something waits for what is missing: see to it in a while.
    pub fn arm_missing(&mut self, ctx: &mut Ctx) {
        let now = ctx.now();
        let mut waiting = false;
        for author in self.authors.values_mut() {
            if author.is_waiting() {
                author.waiting_since.get_or_insert(now);
                waiting = true;
            } else {
                author.waiting_since = None;
            }
        }
        if waiting {
            ctx.timers.set_earlier(Timer::Missing(self.id), now + ASK_AFTER);
        }
    }

    /// What is missing before what is held, by author: to ask for it.
    pub fn missing(&self) -> Vec<(DeviceId, SeqSet)> {
        let mut missing: BTreeMap<DeviceId, SeqSet> = BTreeMap::new();
        for (device, author) in &self.authors {
            if let Some(last) = author.early.last() {
                missing.insert(*device, author.early.missing(author.opened.next(), last));
            }
            if author.shown >= author.opened {
                continue;
            }
            let content = self.tail.get(&(*device, author.shown.next())).and_then(|m| m.content.as_ref());
            for (dep, seq) in content.into_iter().flat_map(|content| content.deps.iter()) {
                let opened = self.authors.get(dep).map_or(Seq(0), |author| author.opened);
                if opened < *seq && !missing.contains_key(dep) {
                    let first = Seq(opened.0.max(seq.0.saturating_sub(limits::WINDOW)) + 1);
                    let mut wanted = SeqSet::default();
                    wanted.insert_range(first, *seq);
                    missing.insert(*dep, wanted);
                }
            }
        }
        missing.into_iter().filter(|(_, set)| !set.is_empty()).collect()
    }

    /// Gives up on what has been waited for long enough. Answers whether anything still waits.
    pub fn give_up_missing(&mut self, ctx: &mut Ctx) -> bool {
        let patience = if self.log.is_live() { GAP_AFTER_LIVE } else { GAP_AFTER_OFFLINE };
        let now = ctx.now();
        let overdue: Vec<DeviceId> = self
            .authors
            .iter()
            .filter(|(_, author)| author.is_waiting())
            .filter(|(_, author)| author.waiting_since.is_some_and(|since| since + patience <= now))
            .map(|(device, _)| *device)
            .collect();
        for device in overdue {
            self.give_up(ctx, device);
        }
        self.show_ready(ctx);
        self.own_advanced(ctx.me);
        self.resume(ctx);
        self.arm_missing(ctx);
        self.authors.values().any(Author::is_waiting)
    }

    fn give_up(&mut self, ctx: &mut Ctx, device: DeviceId) {
        let Some(author) = self.authors.get_mut(&device) else { return };
        author.waiting_since = Some(ctx.fx.now.monotonic);
        if author.shown < author.opened {
            // Its deps do not come: they are a gap of their authors', shown once they are known at all.
            self.show_next(ctx, device);
            return;
        }
        let Some(first_held) = author.early.ranges().next().map(|range| range.first) else { return };
        let (from, to) = (author.opened.next(), first_held.previous());
        author.gaps.insert_range(from, to);
        author.gaps.keep_last(MAX_GAPS);
        author.opened = to;
        let range = GapRange::Messages(id_in(self.id, (device, from)), id_in(self.id, (device, to)));
        let why = "nobody who is reachable has these messages; they will be shown if they turn up";
        self.note_gap(ctx, range, why);
        self.touch_author(ctx.fx, device);
        self.advance(ctx, device);
    }
}
