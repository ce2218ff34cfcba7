//! Sign-in challenges: nonces that are valid once, for a minute, kept in memory. One asks for a device that may not
//! exist, so that asking tells nothing; a server that restarts forgets them, and clients ask again.

use std::collections::{HashMap, VecDeque};

use sotto_protocol::keys::Nonce;
use sotto_protocol::{DeviceId, UnixMillis};

/// How long a challenge is valid, in milliseconds.
pub(crate) const LIFETIME_MS: u64 = 60_000;

/// Open challenges, about 100 bytes each. The oldest makes room: with the limits an address has, only many addresses
/// at once could push out one that somebody is about to answer.
const OPEN: usize = 65_536;

#[derive(Default)]
pub(crate) struct Challenges {
    open: HashMap<Nonce, (DeviceId, UnixMillis)>,
    by_age: VecDeque<(UnixMillis, Nonce)>,
}

impl Challenges {
    pub(crate) fn open(&mut self, now: UnixMillis, device: DeviceId, nonce: Nonce) {
        while let Some((expires_at, oldest)) = self.by_age.front()
            && (*expires_at <= now || self.by_age.len() >= OPEN)
        {
            self.open.remove(oldest);
            self.by_age.pop_front();
        }
        let expires_at = UnixMillis(now.0.saturating_add(LIFETIME_MS));
        self.open.insert(nonce, (device, expires_at));
        self.by_age.push_back((expires_at, nonce));
    }

    /// Whether this is the device's open challenge. It is used up either way.
    pub(crate) fn take(&mut self, now: UnixMillis, device: DeviceId, nonce: Nonce) -> bool {
        match self.open.remove(&nonce) {
            Some((asked_for, expires_at)) => asked_for == device && expires_at > now,
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_000_000);
    const DEVICE: DeviceId = DeviceId([1; 16]);

    fn nonce(n: u32) -> Nonce {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        Nonce(bytes)
    }

    #[test]
    fn a_challenge_is_good_once_for_its_device_and_a_minute() {
        let mut challenges = Challenges::default();
        for n in 0..3 {
            challenges.open(NOW, DEVICE, nonce(n));
        }
        assert!(challenges.take(NOW, DEVICE, nonce(0)));
        assert!(!challenges.take(NOW, DEVICE, nonce(0)), "replayed");
        assert!(!challenges.take(NOW, DeviceId([2; 16]), nonce(1)), "another device");
        assert!(!challenges.take(UnixMillis(NOW.0 + LIFETIME_MS), DEVICE, nonce(2)), "expired");
    }

    #[test]
    fn a_flood_stays_within_its_memory() {
        let mut challenges = Challenges::default();
        for n in 0..OPEN as u32 + 5 {
            challenges.open(NOW, DEVICE, nonce(n));
        }
        assert_eq!((challenges.open.len(), challenges.by_age.len()), (OPEN, OPEN));
        assert!(!challenges.take(NOW, DEVICE, nonce(0)));
        assert!(challenges.take(NOW, DEVICE, nonce(OPEN as u32)));
        challenges.open(UnixMillis(NOW.0 + LIFETIME_MS), DEVICE, nonce(0));
        assert_eq!(challenges.by_age.len(), 1);
    }
}
