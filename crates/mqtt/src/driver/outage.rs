//! What to do between a connection that failed and the next one: how long to wait, and what to say.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use tokio::time::Instant;

use crate::error::MqttError;
use crate::options::ConnectOptions;

/// The first delay; jitter may double it, as every other.
const DELAY_MIN: Duration = Duration::from_millis(100);
/// The longest delay without jitter.
const DELAY_MAX: Duration = Duration::from_secs(15);
/// A connection that lived this long was a good one, and the next may be tried soon after it.
const STABLE: Duration = Duration::from_secs(10);
/// How long nothing new is said of a broker that stays away for the same reason.
const REMINDER: Duration = Duration::from_secs(60);
/// In a fight for the session each side's patience lets the other live for a while. Only a connection that lived this
/// long says that it is over.
const PEACE: Duration = Duration::from_secs(120);
/// The first delay after another client has taken the session.
const TAKEN_OVER_DELAY_MIN: Duration = Duration::from_secs(1);
/// So many connections in a row that ended soon after the login look like a fight for the session.
const BRIEF_SUSPICIOUS: u32 = 3;

/// The delays and reports of a connection's life.
pub(super) struct Outage {
    address: String,
    client_id: String,
    delays: ExponentialBackoff,
    /// What was reported last, to say it once, and when it was last said.
    told: Option<(String, Instant)>,
    /// Since when there has been no connection.
    since: Option<Instant>,
    /// How many connections in a row were accepted and ended soon.
    brief: u32,
}

/// What there is to say of a fault.
#[derive(Debug, PartialEq, Eq)]
enum News {
    /// It was said not long ago.
    None,
    /// It was said, but not lately.
    Reminder { away_s: u64 },
    /// It is another one than before.
    Cause,
}

impl Outage {
    pub(super) fn new(options: &ConnectOptions) -> Self {
        Self {
            address: options.address(),
            client_id: options.client_id.clone(),
            delays: delays(),
            told: None,
            since: None,
            brief: 0,
        }
    }

    /// An attempt has failed; `lived` is how long it lasted if the broker had accepted the login. Answers how long to
    /// wait before the next.
    ///
    /// Only a stable connection makes the delays short again: a broker that accepts every login and ends it, because
    /// another client fights for the session, is met with growing patience.
    pub(super) fn failed(&mut self, fault: &MqttError, lived: Option<Duration>) -> Duration {
        if lived.is_some() || self.since.is_none() {
            self.since = Some(Instant::now());
        }
        let taken_over = matches!(fault, MqttError::TakenOver { .. });
        let fight = taken_over || self.brief >= BRIEF_SUSPICIOUS;
        let stable = if fight { PEACE } else { STABLE };
        match lived {
            Some(lived) if lived >= stable => {
                self.delays = delays();
                self.told = None;
                self.brief = 0;
            }
            Some(_) => self.brief += 1,
            None => {}
        }
        let mut delay = self.delays.next().unwrap_or(DELAY_MAX);
        if taken_over {
            delay = delay.max(TAKEN_OVER_DELAY_MIN);
        }
        self.tell(fault, delay);
        delay
    }

    fn tell(&mut self, fault: &MqttError, delay: Duration) {
        let cause = self.cause(fault);
        let delay_ms = delay.as_millis() as u64;
        let (broker, client_id) = (&self.address, &self.client_id);
        match self.news(&cause) {
            News::None => {
                tracing::debug!(%broker, %client_id, %cause, delay_ms, "still not connected");
                return;
            }
            News::Reminder { away_s } => {
                tracing::warn!(%broker, %client_id, %cause, away_s, "still not connected; trying again until it works");
            }
            News::Cause => {
                tracing::warn!(%broker, %client_id, %cause, delay_ms, "not connected; trying again until it works");
            }
        }
        self.told = Some((cause, Instant::now()));
    }

    /// The fault, and what it looks like. A broker of 3.1.1 has no way to say that another client took the session.
    fn cause(&self, fault: &MqttError) -> String {
        let mut cause = fault.chain();
        if self.brief >= BRIEF_SUSPICIOUS && !matches!(fault, MqttError::TakenOver { .. }) {
            let hint = format!(
                "; this happens soon after every login: does another client use the id '{}'? Every client needs one \
                 of its own (client_id, or client_prefix in the connection profile). Or do the broker's rules (ACL) \
                 forbid what the client subscribes or publishes to?",
                self.client_id
            );
            cause.push_str(&hint);
        }
        cause
    }

    /// What a fault adds to what was said.
    fn news(&self, cause: &str) -> News {
        match &self.told {
            Some((told, at)) if told == cause && at.elapsed() < REMINDER => News::None,
            Some((told, _)) if told == cause => News::Reminder {
                away_s: self.since.map_or(0, |since| since.elapsed().as_secs()),
            },
            _ => News::Cause,
        }
    }
}

fn delays() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(DELAY_MIN)
        .with_max_delay(DELAY_MAX)
        .without_max_times()
        .with_jitter()
        // Without a seed of its own every process would wait for the same times.
        .with_jitter_seed(rand::random())
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_over() -> MqttError {
        MqttError::TakenOver {
            client_id: "c".to_owned(),
        }
    }

    #[test]
    fn delays_grow_to_a_cap_and_never_end() {
        let mut outage = Outage::new(&ConnectOptions::new("localhost", 1883, "c"));
        let delays: Vec<_> = (0..200).map(|_| outage.failed(&closed(), None)).collect();
        assert!(delays[0] <= 2 * DELAY_MIN);
        assert!(
            delays[20..]
                .iter()
                .all(|delay| *delay >= DELAY_MAX && *delay <= 2 * DELAY_MAX)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_outage_is_told_again_every_minute() {
        let mut outage = Outage::new(&ConnectOptions::new("localhost", 1883, "c"));
        let cause = taken_over().chain();
        assert_eq!(outage.news(&cause), News::Cause);
        outage.failed(&taken_over(), None);
        for minute in 1..4 {
            tokio::time::advance(REMINDER - Duration::from_secs(1)).await;
            assert_eq!(outage.news(&cause), News::None);
            outage.failed(&taken_over(), None);
            tokio::time::advance(Duration::from_secs(1)).await;
            let away_s = minute * REMINDER.as_secs();
            assert_eq!(outage.news(&cause), News::Reminder { away_s });
            outage.failed(&taken_over(), None);
        }
        // a connection in between begins a new outage
        outage.failed(&taken_over(), Some(STABLE));
        tokio::time::advance(REMINDER).await;
        let away_s = REMINDER.as_secs();
        assert_eq!(outage.news(&cause), News::Reminder { away_s });
    }

    fn closed() -> MqttError {
        MqttError::ClosedByBroker {
            address: "localhost:1883".to_owned(),
        }
    }

    #[test]
    fn a_fight_that_nobody_names_is_guessed() {
        let mut outage = Outage::new(&ConnectOptions::new("localhost", 1883, "mine"));
        for _ in 0..BRIEF_SUSPICIOUS {
            assert!(!outage.cause(&closed()).contains("mine"));
            outage.failed(&closed(), Some(Duration::from_millis(5)));
        }
        let cause = outage.cause(&closed());
        assert!(
            cause.contains("'mine'") && cause.contains("client_prefix") && cause.contains("ACL"),
            "{cause}"
        );
        let named = outage.cause(&taken_over());
        assert_eq!(named, taken_over().to_string(), "it is known");
    }

    #[test]
    fn only_a_stable_connection_resets_them() {
        let mut outage = Outage::new(&ConnectOptions::new("localhost", 1883, "c"));
        for _ in 0..20 {
            outage.failed(&taken_over(), Some(Duration::from_millis(5)));
        }
        assert!(outage.failed(&taken_over(), Some(Duration::from_millis(5))) >= DELAY_MAX);
        // The other side was patient for once.
        assert!(outage.failed(&taken_over(), Some(STABLE)) >= DELAY_MAX);
        assert!(outage.failed(&closed(), Some(PEACE)) <= 2 * DELAY_MIN);
        assert!(outage.failed(&taken_over(), None) >= TAKEN_OVER_DELAY_MIN);
    }
}
