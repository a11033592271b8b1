//! What a job that drains still waits for.

use std::time::Duration;

use headwater_engine::{Job, OperatorKind, OperatorStatus};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// A drain that takes longer than this is worth a word.
const FIRST: Duration = Duration::from_secs(2);
/// How often it is said again.
const AGAIN: Duration = Duration::from_secs(10);

/// When to tell what a drain that begins now waits for.
pub(crate) struct Reminder {
    begun: Instant,
    ticks: Interval,
}

impl Reminder {
    pub(crate) fn start() -> Self {
        let begun = Instant::now();
        let mut ticks = interval_at(begun + FIRST, AGAIN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { begun, ticks }
    }

    /// The next time. Cancel-safe.
    pub(crate) async fn tick(&mut self) {
        self.ticks.tick().await;
    }

    /// Logs what the job waits for.
    pub(crate) fn tell(&self, job: &Job) {
        let waiting = job.operators().iter().filter_map(waits);
        let mut waiting: Vec<_> = waiting.collect();
        if !job.is_open() {
            waiting.push("a source or sink that is not connected".to_owned());
        }
        if waiting.is_empty() {
            waiting.push("connections to close".to_owned());
        }
        tracing::info!(
            "after {} s still waiting for {}; interrupt again to exit without",
            self.begun.elapsed().as_secs(),
            waiting.join(", ")
        );
    }
}

/// What one source or sink has not finished.
fn waits(operator: &OperatorStatus) -> Option<String> {
    let name = |prefix| operator.id.strip_prefix(prefix).unwrap_or(&operator.id);
    if operator.kind == OperatorKind::Source {
        let rows: u64 = operator.acks.iter().map(|ack| ack.rows()).sum();
        return counted(rows, "row", "that came from", name("source_"));
    }
    let in_flight = operator.metrics.snapshot().in_flight;
    counted(in_flight, "acknowledgement", "of", name("sink_"))
}

fn counted(count: u64, noun: &str, relation: &str, name: &str) -> Option<String> {
    let plural = if count == 1 { "" } else { "s" };
    (count > 0).then(|| format!("{count} {noun}{plural} {relation} '{name}'"))
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn nothing_is_not_waited_for() {
        assert_eq!(counted(0, "row", "of", "t"), None);
        assert_eq!(
            counted(1, "acknowledgement", "of", "alerts").as_deref(),
            Some("1 acknowledgement of 'alerts'")
        );
        assert_eq!(
            counted(2, "row", "of", "t").as_deref(),
            Some("2 rows of 't'")
        );
    }
}
