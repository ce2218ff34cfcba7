//! Who may write: the devices seen lately, the signatures checked lately, and how often a device may commit.

use std::collections::{BTreeMap, HashSet, VecDeque};

use sotto_protocol::rest::DeviceRecord;
use sotto_protocol::{AccountId, DeviceId, Frame, Hash, Signature, UnixMillis, Verify};

/// Device records kept: 100 bytes each. Beyond it the directory is asked again.
const DEVICES: usize = 16_384;

/// Signatures remembered as good: more than one burst of every busy author, 112 bytes each.
const SIGNATURES: usize = 4_096;

/// Devices with a spent commit budget that are remembered at most.
const BUCKETS: usize = 16_384;

/// Device records, as the directory gave them and revocations changed them.
#[derive(Default)]
pub(super) struct Devices {
    records: BTreeMap<DeviceId, DeviceRecord>,
    order: VecDeque<DeviceId>,
}

impl Devices {
    pub(super) fn get(&self, device: &DeviceId) -> Option<DeviceRecord> {
        self.records.get(device).copied()
    }

    pub(super) fn insert(&mut self, record: DeviceRecord) {
        if self.records.insert(record.device, record).is_none() {
            self.order.push_back(record.device);
        }
        while self.records.len() > DEVICES {
            let Some(oldest) = self.order.pop_front() else { break };
            self.records.remove(&oldest);
        }
    }

    pub(super) fn revoke(&mut self, device: &DeviceId) {
        if let Some(record) = self.records.get_mut(device) {
            record.revoked = true;
        }
    }

    pub(super) fn forget_account(&mut self, account: &AccountId) {
        self.records.retain(|_, record| record.account != *account);
        self.order.retain(|device| self.records.contains_key(device));
    }
}

/// Signatures found good, so that a burst under one signature costs one check.
#[derive(Default)]
pub(super) struct Verified {
    // The device is part of the key: a tree signed by one device may hold leaves that name another.
    good: HashSet<(DeviceId, Hash, Signature)>,
    order: VecDeque<(DeviceId, Hash, Signature)>,
}

impl Verified {
    pub(super) fn check(&mut self, frame: &Frame, author: &DeviceRecord, engine: &impl Verify) -> bool {
        let (root, signature) = frame.signed_root();
        let key = (author.device, root, signature);
        if author.device == frame.body().device && self.good.contains(&key) {
            return true;
        }
        if !frame.verify(&author.key, engine) {
            return false;
        }
        self.good.insert(key);
        self.order.push_back(key);
        if self.order.len() > SIGNATURES
            && let Some(oldest) = self.order.pop_front()
        {
            self.good.remove(&oldest);
        }
        true
    }
}

/// A token bucket for each device.
pub(super) struct Budget {
    burst: u32,
    refill: u64,
    buckets: BTreeMap<DeviceId, Bucket>,
}

struct Bucket {
    tokens: u32,
    since: UnixMillis,
}

impl Budget {
    /// `burst` at once, then one each `refill` milliseconds.
    pub(super) fn new(burst: u32, refill: u64) -> Self {
        Self { burst, refill: refill.max(1), buckets: BTreeMap::new() }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self, device: DeviceId, now: UnixMillis) -> bool {
        if self.buckets.len() >= BUCKETS {
            self.forget_full(now);
        }
        let (burst, refill) = (self.burst, self.refill);
        let bucket = self.buckets.entry(device).or_insert(Bucket { tokens: burst, since: now });
        bucket.refill(burst, refill, now);
        if bucket.tokens == 0 {
            return false;
        }
        bucket.tokens -= 1;
        true
    }

    /// Drops the buckets that are full again: a new one would say the same.
    pub(super) fn forget_full(&mut self, now: UnixMillis) {
        let (burst, refill) = (self.burst, self.refill);
        self.buckets.retain(|_, bucket| {
            bucket.refill(burst, refill, now);
            bucket.tokens < burst
        });
    }
}

impl Bucket {
    fn refill(&mut self, burst: u32, refill: u64, now: UnixMillis) {
        // A clock set back gives nothing and takes nothing.
        let earned = now.0.saturating_sub(self.since.0) / refill;
        if now < self.since {
            self.since = now;
        }
        self.since.0 += earned * refill;
        self.tokens = burst.min(self.tokens.saturating_add(u32::try_from(earned).unwrap_or(u32::MAX)));
    }
}
