//! How fast a source reads: so many messages a second and no more.
//!
//! The limit is kept by the clock and not by naps: each message has its moment, an interval after that of the one
//! before it, so that a late wake-up is made good by the next ones and the rate does not drift. What was not used for a
//! while is lost, save for a tenth of a second's worth.

use std::time::Duration;

use tokio::time::Instant;

/// Gives out messages at a rate.
#[derive(Debug, Clone)]
pub(crate) struct RateLimit {
    interval: Duration,
    /// How many may come at once.
    burst: u32,
    /// The moment of the next message.
    due: Instant,
}

impl RateLimit {
    /// So many messages a second, from `now` on.
    pub(crate) fn new(messages_per_second: f64, now: Instant) -> Self {
        let interval = Duration::try_from_secs_f64(1.0 / messages_per_second);
        // A limit below one message in 100 years is one of 100 years.
        let interval = interval.unwrap_or(Duration::from_secs(100 * 365 * 24 * 3600));
        Self {
            interval: interval.max(Duration::from_nanos(1)),
            burst: (messages_per_second / 10.0).clamp(1.0, 1e6) as u32,
            due: now,
        }
    }

    /// When the next `messages` may be taken at once, or as many of them as ever may.
    pub(crate) fn ready(&self, messages: usize) -> Instant {
        let messages = u32::try_from(messages)
            .unwrap_or(u32::MAX)
            .clamp(1, self.burst);
        self.due + self.interval * (messages - 1)
    }

    /// How many may be taken now.
    pub(crate) fn allowed(&self, now: Instant) -> usize {
        let Some(past) = now.checked_duration_since(self.due) else {
            return 0;
        };
        let passed = past.as_nanos() / self.interval.as_nanos() + 1;
        passed.min(u128::from(self.burst)) as usize
    }

    /// So many were taken.
    pub(crate) fn take(&mut self, messages: usize, now: Instant) {
        let saved = now.checked_sub(self.interval * (self.burst - 1));
        self.due = self.due.max(saved.unwrap_or(self.due));
        self.due += self.interval * u32::try_from(messages).unwrap_or(u32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many messages come within some seconds to someone who looks at odd moments.
    fn run(rate: f64, seconds: u64, naps_us: &[u64]) -> usize {
        let start = Instant::now();
        let mut limit = RateLimit::new(rate, start);
        let (mut now, mut taken) = (start, 0);
        for nap in naps_us.iter().cycle() {
            now = limit.ready(7).max(now) + Duration::from_micros(*nap);
            if now > start + Duration::from_secs(seconds) {
                return taken;
            }
            let allowed = limit.allowed(now);
            assert!(allowed > 0, "what is ready is allowed");
            limit.take(allowed, now);
            taken += allowed;
        }
        taken
    }

    #[test]
    fn the_rate_is_kept_however_late_the_wake_ups_are() {
        for (rate, seconds) in [(0.5, 100), (3.0, 100), (1000.0, 10), (250_000.0, 2)] {
            let expect = rate * seconds as f64;
            let taken = run(rate, seconds, &[13, 400, 1900, 7, 50]) as f64;
            let slack = 1.0 + (rate / 10.0).max(1.0);
            assert!(
                (taken - expect).abs() <= slack,
                "{taken} of {expect} at {rate}/s"
            );
        }
    }

    #[test]
    fn an_idle_time_is_not_saved_up() {
        let start = Instant::now();
        let mut limit = RateLimit::new(100.0, start);
        let later = start + Duration::from_secs(60);
        assert_eq!(limit.allowed(later), 10);
        limit.take(10, later);
        assert_eq!(limit.allowed(later), 0);
        assert_eq!(limit.ready(1), later + Duration::from_millis(10));
        assert_eq!(limit.ready(1_000_000), later + Duration::from_millis(100));
    }
}
