//! Says why rows are dropped, without a line for each of them.
//!
//! The first drop of a table is told at once and with its reason; after that at most one summary every ten seconds,
//! with how many there were since and the reason of the last. The counters in [`Metrics`](crate::Metrics) are exact
//! all the same.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The least time between two lines about one table.
const INTERVAL: Duration = Duration::from_secs(10);

/// What was told of one table's dropped rows.
#[derive(Debug, Default)]
pub(crate) struct DropLog {
    /// The table's name.
    table: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_told: Option<Instant>,
    untold: u64,
}

/// What to say of a drop.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    First,
    Summary { dropped: u64 },
}

impl DropLog {
    pub(crate) fn new(table: &str) -> Self {
        Self {
            table: table.to_owned(),
            state: Mutex::default(),
        }
    }

    /// Notes dropped messages or rows. The reason is asked for only if it is told.
    pub(crate) fn note(&self, dropped: u64, reason: impl FnOnce() -> String) {
        let line = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.note(dropped, Instant::now())
        };
        let table = &self.table;
        match line {
            None => {}
            Some(Line::First) => {
                tracing::warn!(
                    "dropped a row of '{table}': {}; from now on there is at most one line every {} s",
                    reason(),
                    INTERVAL.as_secs()
                );
            }
            Some(Line::Summary { dropped }) => {
                tracing::warn!("dropped {dropped} rows of '{table}', last: {}", reason());
            }
        }
    }
}

impl State {
    fn note(&mut self, dropped: u64, now: Instant) -> Option<Line> {
        self.untold += dropped;
        let line = match self.last_told {
            None => Line::First,
            Some(last) if now.duration_since(last) >= INTERVAL => Line::Summary {
                dropped: self.untold,
            },
            Some(_) => return None,
        };
        self.last_told = Some(now);
        // what came together with the first is told by the next summary
        self.untold = match line {
            Line::First => dropped - 1,
            Line::Summary { .. } => 0,
        };
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_then_a_summary_every_ten_seconds() {
        let mut state = State::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(state.note(1, at(0)), Some(Line::First));
        assert_eq!(state.note(1, at(1)), None);
        assert_eq!(state.note(5, at(9)), None);
        assert_eq!(state.note(1, at(10)), Some(Line::Summary { dropped: 7 }));
        assert_eq!(state.note(1, at(11)), None);
        assert_eq!(state.note(1, at(100)), Some(Line::Summary { dropped: 2 }));
    }

    #[test]
    fn rows_that_came_with_the_first_are_not_forgotten() {
        let mut state = State::default();
        let start = Instant::now();
        assert_eq!(state.note(3, start), Some(Line::First));
        assert_eq!(
            state.note(1, start + INTERVAL),
            Some(Line::Summary { dropped: 3 })
        );
    }
}
