//! Time for the core: a clock that goes on while the machine sleeps, where there is one, and the wall clock.

use std::time::{Duration, Instant, SystemTime};

use sotto_peer_core::Moment;
use sotto_protocol::UnixMillis;

/// A pause of this length that the process's own clock has not seen was a sleep of the machine.
const SLEPT: Duration = Duration::from_secs(2);

/// Measures from its start.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Duration,
    /// When [`Clock::slept`] was last asked, on the clock that sleeps and on the one that does not.
    awake: Instant,
    always: Duration,
}

impl Clock {
    pub fn start() -> Self {
        let awake = Instant::now();
        let start = always();
        Self { start, awake, always: start }
    }

    pub fn now(&self) -> Moment {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let wall = UnixMillis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX));
        Moment { monotonic: always().saturating_sub(self.start), wall }
    }

    /// Whether the machine slept since this was last asked.
    pub fn slept(&mut self) -> bool {
        let (awake, now) = (Instant::now(), always());
        let seen = awake.saturating_duration_since(self.awake);
        let passed = now.saturating_sub(self.always);
        (self.awake, self.always) = (awake, now);
        passed > seen + SLEPT
    }
}

#[cfg(target_os = "linux")]
fn always() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Elsewhere the clock stops while the machine sleeps, which the core understands too.
#[cfg(not(target_os = "linux"))]
fn always() -> Duration {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}
