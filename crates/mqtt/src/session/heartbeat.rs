//! Keep-alive (section 3.1.2.10): we must be heard from, and want to hear.
//!
//! The client's silence is broken by PINGREQ at three quarters of the interval, whether or not anybody reads the
//! answers: a reader that is stopped for back-pressure must not cost the connection. A silent broker is asked too, and
//! given up when it does not answer; but only while the socket is read, and only once the question was written.

use std::time::{Duration, Instant};

/// How long the broker may take to answer, at most.
const ANSWER_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Heartbeat {
    /// Zero switches it off.
    interval: Duration,
    sent: Instant,
    received: Instant,
    question: Question,
    reading: bool,
}

/// A PINGREQ that waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    None,
    /// In the output buffer, up to this offset.
    Queued(u64),
    /// Written, while nobody reads.
    Unheard,
    /// Written, and listened for since.
    Asked(Instant),
}

impl Heartbeat {
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            sent: now,
            received: now,
            question: Question::None,
            reading: true,
        }
    }

    pub(super) fn received(&mut self, now: Instant) {
        self.received = now;
        self.question = Question::None;
    }

    /// Bytes were written, up to this offset of the connection.
    pub(super) fn wrote(&mut self, upto: u64, now: Instant) {
        self.sent = now;
        if let Question::Queued(at) = self.question
            && at <= upto
        {
            self.question = self.listened_since(now);
        }
    }

    pub(super) fn set_reading(&mut self, reading: bool, now: Instant) {
        if self.reading == reading {
            return;
        }
        self.reading = reading;
        if reading {
            // What the broker sent meanwhile still lies in the socket.
            self.received = now;
        }
        if matches!(self.question, Question::Unheard | Question::Asked(_)) {
            self.question = self.listened_since(now);
        }
    }

    fn listened_since(&self, now: Instant) -> Question {
        if self.reading {
            Question::Asked(now)
        } else {
            Question::Unheard
        }
    }

    /// A PINGREQ was put into the output buffer, which ends at this offset.
    pub(super) fn asked(&mut self, upto: u64, now: Instant) {
        self.sent = now;
        if self.question == Question::None && !self.interval.is_zero() {
            self.question = Question::Queued(upto);
        }
    }

    /// How long the broker may take.
    pub(super) fn patience(&self) -> Duration {
        self.interval.min(ANSWER_MAX)
    }

    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        matches!(self.question, Question::Asked(since) if now >= since + self.patience())
    }

    pub(super) fn ping_is_due(&self, now: Instant) -> bool {
        self.ping_at().is_some_and(|at| now >= at)
    }

    fn ping_at(&self) -> Option<Instant> {
        if self.interval.is_zero() {
            return None;
        }
        let speak = self.sent + self.interval * 3 / 4;
        if self.reading && self.question == Question::None {
            return Some(speak.min(self.received + self.interval));
        }
        Some(speak)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let answer = match self.question {
            Question::Asked(since) => Some(since + self.patience()),
            _ => None,
        };
        self.ping_at().into_iter().chain(answer).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn silence_is_broken_before_the_interval_ends() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(40 * SECOND, start);
        assert!(!heartbeat.ping_is_due(start + 29 * SECOND));
        assert!(heartbeat.ping_is_due(start + 30 * SECOND));
        heartbeat.asked(2, start + 30 * SECOND);
        heartbeat.wrote(2, start + 30 * SECOND);
        assert!(!heartbeat.is_overdue(start + 39 * SECOND));
        assert!(heartbeat.is_overdue(start + 40 * SECOND));
        heartbeat.received(start + 39 * SECOND);
        assert!(!heartbeat.is_overdue(start + 100 * SECOND));
    }

    #[test]
    fn a_talkative_client_still_asks_a_silent_broker() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(40 * SECOND, start);
        for second in 1..40 {
            heartbeat.wrote(second.into(), start + second * SECOND);
        }
        assert!(!heartbeat.ping_is_due(start + 39 * SECOND));
        assert!(heartbeat.ping_is_due(start + 40 * SECOND));
    }

    #[test]
    fn nobody_is_overdue_while_nobody_reads_but_pings_go_on() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(40 * SECOND, start);
        heartbeat.set_reading(false, start);
        for round in 1..100 {
            let now = start + round * 30 * SECOND;
            assert!(heartbeat.ping_is_due(now));
            heartbeat.asked(u64::from(round) * 2, now);
            heartbeat.wrote(u64::from(round) * 2, now);
            assert!(!heartbeat.is_overdue(now + 29 * SECOND));
        }
        let resumed = start + 4000 * SECOND;
        heartbeat.set_reading(true, resumed);
        assert!(!heartbeat.is_overdue(resumed + 9 * SECOND));
        assert!(heartbeat.is_overdue(resumed + 10 * SECOND));
    }

    #[test]
    fn zero_is_off() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(Duration::ZERO, start);
        assert_eq!(heartbeat.deadline(), None);
        // Even if somebody asks for another reason.
        heartbeat.asked(2, start);
        heartbeat.wrote(2, start);
        assert!(!heartbeat.is_overdue(start + 100 * SECOND));
        assert_eq!(heartbeat.deadline(), None);
    }
}
