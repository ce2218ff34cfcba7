//! Whether a link's path works: probes, round trips, and the path's state (PTO as in RFC 9002 §6.2).
//!
//! Only probes count: an ACK waits for a disk and says nothing about the path. A verdict of a timer that fired
//! late is no verdict: the machine slept, or the tab was in the background.

use std::collections::VecDeque;
use std::time::Duration;

use crate::io::PathState;

/// Before the first round trip is measured.
const INITIAL_PTO: Duration = Duration::from_millis(600);

/// The other side answers a probe at once; this is for its scheduler.
const ANSWER_DELAY: Duration = Duration::from_millis(40);

const MAX_PTO: Duration = Duration::from_secs(3);

/// Between probes while messages flow, and while none do.
const BUSY_INTERVAL: Duration = Duration::from_millis(500);
const IDLE_INTERVAL: Duration = Duration::from_secs(5);

/// How long after a message the link counts as busy.
const BUSY: Duration = Duration::from_secs(3);

/// Probes remembered; older ones are as good as lost.
const OUTSTANDING: usize = 8;

#[derive(Debug)]
pub(crate) struct Prober {
    pub state: PathState,
    smoothed: Option<(Duration, Duration)>,
    outstanding: VecDeque<(u64, Duration)>,
    last_number: u64,
    last_sent: Duration,
    busy_until: Duration,
}

impl Prober {
    pub fn new() -> Self {
        Self {
            state: PathState::New,
            smoothed: None,
            outstanding: VecDeque::new(),
            last_number: 0,
            last_sent: Duration::ZERO,
            busy_until: Duration::ZERO,
        }
    }

    /// Smoothed round trip.
    pub fn rtt(&self) -> Option<Duration> {
        self.smoothed.map(|(rtt, _)| rtt)
    }

    /// How long an answer may take.
    pub fn pto(&self) -> Duration {
        let Some((rtt, variation)) = self.smoothed else { return INITIAL_PTO };
        (rtt + (variation * 4).max(Duration::from_millis(10)) + ANSWER_DELAY).min(MAX_PTO)
    }

    /// The link is up: the first probe goes out. Answers its number.
    pub fn start(&mut self, now: Duration) -> u64 {
        self.state = PathState::Probing;
        self.send(now)
    }

    /// A message goes out: if no probe is on its way, one should go along, so that a dead path is noticed one PTO
    /// after a message was sent into it. Answers its number.
    pub fn data_sent(&mut self, now: Duration) -> Option<u64> {
        self.busy_until = now + BUSY;
        let quiet = self.outstanding.is_empty() && now >= self.last_sent + self.pto();
        (quiet && self.state != PathState::New).then(|| self.send(now))
    }

    fn send(&mut self, now: Duration) -> u64 {
        self.last_number += 1;
        self.last_sent = now;
        self.outstanding.push_back((self.last_number, now));
        if self.outstanding.len() > OUTSTANDING {
            // The first unanswered one stays: it says how long there has been no answer.
            self.outstanding.remove(1);
        }
        self.last_number
    }

    /// An answer came.
    pub fn on_pong(&mut self, now: Duration, number: u64) {
        let Some(at) = self.outstanding.iter().position(|(n, _)| *n == number) else { return };
        let sample = now.saturating_sub(self.outstanding[at].1);
        self.outstanding.drain(..=at);
        self.smoothed = Some(match self.smoothed {
            None => (sample, sample / 2),
            // It waited for a path that was dead: that says how long the path was, not how far the other side is.
            Some(known) if self.state == PathState::Dead => known,
            Some((rtt, variation)) => {
                let deviation = rtt.abs_diff(sample);
                ((rtt * 7 + sample) / 8, (variation * 3 + deviation) / 4)
            }
        });
        self.state = PathState::Valid;
    }

    /// When [`Prober::on_timer`] wants to be called.
    pub fn due(&self, now: Duration) -> Duration {
        if self.state == PathState::New {
            return now + INITIAL_PTO;
        }
        if !self.outstanding.is_empty() {
            return self.last_sent + self.pto();
        }
        let interval = if now < self.busy_until { BUSY_INTERVAL } else { IDLE_INTERVAL };
        self.last_sent + interval
    }

    /// Judges the path, and answers the number of the probe to send, if one is due. `at` is when the timer should
    /// have fired.
    pub fn on_timer(&mut self, now: Duration, at: Duration) -> Option<u64> {
        if self.state == PathState::New {
            return None;
        }
        let pto = self.pto();
        if now.saturating_sub(at) > (pto * 2).max(Duration::from_secs(1)) {
            self.outstanding.clear();
            return Some(self.send(now));
        }
        if let Some((_, first)) = self.outstanding.front() {
            let silent = now.saturating_sub(*first);
            if silent >= pto * 3 {
                self.state = PathState::Dead;
            } else if silent >= pto && self.state == PathState::Valid {
                self.state = PathState::Suspect;
            }
        }
        (self.due(now) <= now).then(|| self.send(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn valid() -> Prober {
        let mut prober = Prober::new();
        let first = prober.start(ms(0));
        prober.on_pong(ms(20), first);
        prober
    }

    #[test]
    fn silence_makes_a_path_suspect_then_dead_and_an_answer_heals_it() {
        let mut prober = valid();
        assert_eq!(prober.state, PathState::Valid);
        let mut last = prober.data_sent(ms(1_000)).unwrap();
        let pto = prober.pto();
        let mut now = ms(1_000);
        let mut seen = vec![];
        for _ in 0..4 {
            now += pto;
            last = prober.on_timer(now, now).unwrap_or(last);
            seen.push(prober.state);
        }
        assert_eq!(seen, [PathState::Suspect, PathState::Suspect, PathState::Dead, PathState::Dead]);
        let rtt = prober.rtt();
        prober.on_pong(now + ms(900), last);
        assert_eq!(prober.state, PathState::Valid);
        assert_eq!(prober.rtt(), rtt, "an answer out of a dead path measures nothing");
    }

    #[test]
    fn a_timer_that_fires_late_is_no_verdict() {
        let mut prober = valid();
        prober.data_sent(ms(1_000)).unwrap();
        let due = prober.due(ms(1_000));
        assert!(prober.on_timer(due + Duration::from_secs(3600), due).is_some(), "asks anew");
        assert_eq!(prober.state, PathState::Valid);
    }

    #[test]
    fn an_idle_path_is_probed_now_and_then() {
        let mut prober = valid();
        assert_eq!(prober.due(ms(100)), IDLE_INTERVAL);
        assert!(prober.on_timer(IDLE_INTERVAL, IDLE_INTERVAL).is_some());
    }
}
