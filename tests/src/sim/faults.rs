//! What goes wrong, and how often.

use std::time::Duration;

use sotto_peer_core::{Input, LinkEvent, TransportState};

use super::World;
use super::world::Happening;

/// How often what goes wrong: in ten-thousandths of the steps, unless it says otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// A peer dies; it comes back later.
    pub peer_crash: u32,
    /// The relay dies; it comes back later.
    pub relay_crash: u32,
    /// Of the relay's deaths, in percent: it comes back with less of its log than it had.
    pub rollback: u32,
    /// A pair's path is cut in both directions, or healed.
    pub cut: u32,
    /// One direction of a pair's path is cut, or healed.
    pub one_way: u32,
    /// One direction of a socket to the relay swallows everything, until the socket dies.
    pub stall: u32,
    /// A signaling socket closes.
    pub signal_drop: u32,
    /// A message over a link arrives twice, in thousandths.
    pub duplicate: u32,
    /// A signal is lost, in percent.
    pub signal_loss: u32,
    /// An HTTP request fails, in percent.
    pub http: u32,
    /// An attacker acts.
    pub attack: u32,
    /// The relay drops, repeats, swaps or damages an event, in thousandths of its events.
    pub lie: u32,
    /// Disks take this many times as long; 0 and 1 are the same.
    pub slow_disk: u32,
}

impl World {
    /// From here on this goes wrong.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// Heals everything. A relay that lied is restarted, and tells the truth from then on.
    pub fn heal(&mut self) {
        let lied = self.faults.lie > 0;
        self.faults = Faults::default();
        for (from, to) in self.network.cut.clone() {
            self.set_one_way(from, to, false);
        }
        if lied {
            self.crash_relay_for(Duration::from_secs(1));
        }
    }

    pub(super) fn misfortune(&mut self) {
        let faults = self.faults;
        let peers = self.nodes.len() as u64;
        let roll = |world: &mut Self, odds: u32| odds > 0 && world.below(10_000) < u64::from(odds);
        if roll(self, faults.peer_crash) {
            let victim = self.below(peers) as usize;
            self.crash(victim);
        }
        if roll(self, faults.relay_crash) {
            self.crash_relay();
            if self.below(100) < u64::from(faults.rollback) {
                self.roll_back_relay();
            }
        }
        if roll(self, faults.cut) {
            let (a, b) = (self.below(peers) as usize, self.below(peers) as usize);
            let cut = !self.network.cut.contains(&(a, b));
            if a != b {
                self.set_cut(a, b, cut);
            }
        }
        if roll(self, faults.one_way) {
            let (a, b) = (self.below(peers) as usize, self.below(peers) as usize);
            let cut = !self.network.cut.contains(&(a, b));
            if a != b {
                self.set_one_way(a, b, cut);
                self.transport_notices(a, b);
            }
        }
        if roll(self, faults.stall) {
            let (victim, up) = (self.below(peers) as usize, self.below(2) == 0);
            self.stall(victim, up);
        }
        if roll(self, faults.signal_drop) {
            let (victim, life) = self.signal_victim();
            self.at(Duration::ZERO, Happening::SignalDies { peer: victim, life });
        }
        if roll(self, faults.attack) {
            self.attack();
        }
    }

    fn signal_victim(&mut self) -> (usize, u64) {
        let victim = self.below(self.nodes.len() as u64) as usize;
        (victim, self.nodes[victim].life)
    }

    /// ICE may notice a cut after a while, or not.
    fn transport_notices(&mut self, a: usize, b: usize) {
        let theirs = &self.nodes[b].connections;
        let sessions: Vec<_> = self.nodes[a]
            .connections
            .keys()
            .copied()
            .filter(|session| theirs.contains_key(session))
            .collect();
        let device = self.nodes[b].identity.device;
        let state = match self.below(3) {
            0 => TransportState::Disconnected,
            1 => TransportState::Failed,
            _ => return,
        };
        for session in sessions {
            let event = LinkEvent::State(state);
            self.tell_peer(a, Duration::from_secs(2), Input::Link { device, session, event });
        }
    }
}
