//! How far one link is in one conversation.

use std::collections::{BTreeMap, VecDeque};

use sotto_protocol::link::Holding;
use sotto_protocol::{DeviceId, Seq, limits};

use crate::sequence::SeqSet;

/// What was sent to the peer, and what it holds.
#[derive(Debug)]
pub(crate) struct LinkCursor {
    /// Own seqs sent on this link up to here.
    pub sent: Seq,
    /// Own seqs that the peer holds without a hole up to here.
    pub acked: Seq,
    /// How many beyond that it takes.
    pub credit: u32,
    in_flight: VecDeque<(Seq, usize)>,
    bytes: usize,
    holdings: BTreeMap<DeviceId, (Seq, SeqSet)>,
}

impl LinkCursor {
    /// The peer has said what it holds.
    pub fn new(me: DeviceId, holdings: &[Holding]) -> Self {
        let mut cursor = Self {
            sent: Seq(0),
            acked: Seq(0),
            credit: limits::WINDOW as u32,
            in_flight: VecDeque::new(),
            bytes: 0,
            holdings: BTreeMap::new(),
        };
        for holding in holdings {
            cursor.learn(me, holding);
        }
        cursor
    }

    /// Takes in what the peer holds of one author. Never goes back: an older ACK may come later.
    pub fn learn(&mut self, me: DeviceId, holding: &Holding) {
        let known = self.holdings.entry(holding.device).or_default();
        if holding.cumulative >= known.0 {
            *known = (holding.cumulative, SeqSet::from_ranges(holding.ranges.iter()));
        }
        if holding.device == me && holding.cumulative > self.acked {
            self.acked = holding.cumulative;
            while let Some((seq, bytes)) =
                self.in_flight.front().copied().filter(|(seq, _)| *seq <= self.acked)
            {
                debug_assert!(seq <= self.acked);
                self.bytes -= bytes;
                self.in_flight.pop_front();
            }
        }
    }

    pub fn sent_frame(&mut self, seq: Seq, bytes: usize) {
        self.in_flight.push_back((seq, bytes));
        self.bytes += bytes;
    }

    pub fn unacked_bytes(&self) -> usize {
        self.bytes
    }

    pub fn peer_holds(&self, device: DeviceId, seq: Seq) -> bool {
        self.holdings
            .get(&device)
            .is_some_and(|(cumulative, early)| seq <= *cumulative || early.contains(seq))
    }

    /// Authors of whom the peer holds something beyond `seq(author)`.
    pub fn ahead<'a>(
        &'a self,
        opened: impl Fn(&DeviceId) -> Seq + 'a,
    ) -> impl Iterator<Item = (DeviceId, Seq, Seq)> + 'a {
        self.holdings.iter().filter_map(move |(device, (cumulative, early))| {
            let last = early.last().unwrap_or(*cumulative).max(*cumulative);
            let have = opened(device);
            (last > have).then_some((*device, have, last))
        })
    }
}
