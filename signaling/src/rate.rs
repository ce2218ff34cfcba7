//! Token buckets with bounded memory, by the generic cell rate algorithm: one number a client, namely when its
//! bucket will be full again.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use sotto_protocol::UnixMillis;

/// Clients remembered in one limiter, about 40 bytes each. Only those that lately asked for something count; more
/// of them than this share one bucket.
const CLIENTS: usize = 65_536;

/// How often a full limiter looks for clients to forget, in milliseconds; each look walks all of them.
const SWEEP_EVERY: u64 = 1_000;

/// A token bucket's size and refill.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Requests at once.
    pub burst: u32,
    /// Requests a second after that.
    pub per_second: f64,
}

/// One bucket a client.
pub(crate) struct Limiter<K> {
    interval_us: u64,
    burst_us: u64,
    full_at_us: HashMap<K, u64>,
    shared_full_at_us: u64,
    swept_at: UnixMillis,
}

impl<K: Hash + Eq> Limiter<K> {
    pub(crate) fn new(rate: Rate) -> Self {
        let interval_us = (1e6 / rate.per_second.max(1e-6)) as u64;
        Self {
            interval_us,
            burst_us: interval_us.saturating_mul(u64::from(rate.burst.max(1))),
            full_at_us: HashMap::new(),
            shared_full_at_us: 0,
            swept_at: UnixMillis(0),
        }
    }

    /// Takes one token, or says when there will be one.
    pub(crate) fn take(&mut self, now: UnixMillis, client: K) -> Result<(), Duration> {
        let now_us = now.0.saturating_mul(1_000);
        if self.full_at_us.len() >= CLIENTS && now.0.saturating_sub(self.swept_at.0) >= SWEEP_EVERY {
            self.full_at_us.retain(|_, full_at| *full_at > now_us);
            self.swept_at = now;
        }
        let room = self.full_at_us.len() < CLIENTS;
        let full_at = match self.full_at_us.entry(client) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) if room => new.insert(0),
            Entry::Vacant(_) => &mut self.shared_full_at_us,
        };
        // A clock set back must not lock anyone out for longer than an empty bucket does.
        let from = (*full_at).clamp(now_us, now_us.saturating_add(self.burst_us));
        let next = from.saturating_add(self.interval_us);
        let over = next.saturating_sub(now_us.saturating_add(self.burst_us));
        if over > 0 {
            return Err(Duration::from_micros(over));
        }
        *full_at = next;
        Ok(())
    }
}

/// What counts as one client address: an IPv6 host picks freely within its /64.
pub(crate) fn address_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_refill_rate_holds() {
        let mut limiter = Limiter::new(Rate { burst: 3, per_second: 2.0 });
        let now = UnixMillis(1_000_000);
        for _ in 0..3 {
            assert_eq!(limiter.take(now, 'a'), Ok(()));
        }
        assert_eq!(limiter.take(now, 'a'), Err(Duration::from_millis(500)));
        assert_eq!(limiter.take(now, 'b'), Ok(()), "another client has its own bucket");
        assert_eq!(limiter.take(UnixMillis(now.0 + 500), 'a'), Ok(()));
        assert!(limiter.take(UnixMillis(now.0 + 500), 'a').is_err());
    }

    #[test]
    fn a_flood_of_clients_stays_within_its_memory() {
        let mut limiter = Limiter::new(Rate { burst: 2, per_second: 1.0 });
        let now = UnixMillis(1_000_000);
        for client in 0..CLIENTS as u32 + 10 {
            let _ = limiter.take(now, client);
        }
        assert_eq!(limiter.full_at_us.len(), CLIENTS);
        assert!(limiter.take(now, u32::MAX).is_err(), "those beyond share a bucket, which is empty");
        assert!(limiter.take(UnixMillis(now.0 + 60_000), u32::MAX).is_ok());
        assert_eq!(limiter.full_at_us.len(), 1);
    }

    #[test]
    fn a_clock_set_back_locks_nobody_out() {
        let mut limiter = Limiter::new(Rate { burst: 1, per_second: 1.0 });
        assert!(limiter.take(UnixMillis(9_000_000), 'a').is_ok());
        assert_eq!(limiter.take(UnixMillis(1_000), 'a'), Err(Duration::from_secs(1)));
    }

    #[test]
    fn hosts_of_one_ipv6_network_are_one_client() {
        let key = |text: &str| address_key(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    }
}
