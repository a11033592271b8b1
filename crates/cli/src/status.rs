//! The line that tells, while a job runs at a terminal, how it is doing.

use std::time::{Duration, Instant};

use headwater_engine::connector::MetricsSnapshot;
use headwater_engine::{Job, OperatorKind, OperatorStatus};
use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressStyle};

/// How often the line is drawn.
pub(crate) const INTERVAL: Duration = Duration::from_millis(500);

/// The counters of a job's sources, and of its sinks, summed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) input: MetricsSnapshot,
    pub(crate) output: MetricsSnapshot,
    /// The greatest lag to acknowledgement of any source.
    pub(crate) lag_us: u64,
    /// Rows that came after their windows had closed, whatever became of them.
    pub(crate) late_rows: u64,
}

impl Totals {
    pub(crate) fn of(job: &Job) -> Self {
        let sum = |kind| {
            let operators = job
                .operators()
                .iter()
                .filter(|operator| operator.kind == kind);
            operators.map(|operator| operator.metrics.snapshot()).fold(
                MetricsSnapshot::default(),
                |sum, one| MetricsSnapshot {
                    messages: sum.messages + one.messages,
                    bytes: sum.bytes + one.bytes,
                    rows: sum.rows + one.rows,
                    batches: sum.batches + one.batches,
                    bad_data: sum.bad_data + one.bad_data,
                    dead_letters: sum.dead_letters + one.dead_letters,
                    reconnects: sum.reconnects + one.reconnects,
                    in_flight: sum.in_flight + one.in_flight,
                    // of operators with state, which are not summed here
                    ..sum
                },
            )
        };
        let lag = |operator: &OperatorStatus| operator.acks.iter().map(|ack| ack.lag_us()).max();
        let late = |operator: &OperatorStatus| operator.metrics.snapshot().late_rows;
        Self {
            late_rows: job.operators().iter().map(late).sum(),
            input: sum(OperatorKind::Source),
            output: sum(OperatorKind::Sink),
            lag_us: job.operators().iter().filter_map(lag).max().unwrap_or(0),
        }
    }

    /// What a job has done, once it has ended.
    pub(crate) fn summary(&self) -> String {
        let dead_letters = self.input.dead_letters + self.output.dead_letters;
        let dropped = (self.input.bad_data + self.output.bad_data).saturating_sub(dead_letters);
        let letters = match dead_letters {
            0 => String::new(),
            count => format!(" {} dead letters,", HumanCount(count)),
        };
        let late = match self.late_rows {
            0 => String::new(),
            count => format!(" {} late,", HumanCount(count)),
        };
        format!(
            "{} messages in, {} out, {} dropped as bad data,{letters}{late} {} reconnects",
            HumanCount(self.input.messages),
            HumanCount(self.output.messages),
            HumanCount(dropped),
            self.input.reconnects + self.output.reconnects,
        )
    }
}

/// The line. It is not drawn unless standard error is a terminal.
pub(crate) struct StatusLine {
    bar: ProgressBar,
    before: Totals,
    at: Instant,
}

impl StatusLine {
    pub(crate) fn new(lines: &MultiProgress) -> Self {
        let bar = lines.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{msg}") {
            bar.set_style(style);
        }
        Self {
            bar,
            before: Totals::default(),
            at: Instant::now(),
        }
    }

    /// Draws what has happened since the last time.
    pub(crate) fn draw(&mut self, job: &Job) {
        let now = Totals::of(job);
        let seconds = self.at.elapsed().as_secs_f64();
        let rate = |now: u64, before: u64| {
            // a rate for people: the fraction does not matter
            HumanCount((now.saturating_sub(before) as f64 / seconds) as u64)
        };
        let waiting = if job.is_open() {
            ""
        } else {
            "waiting for the broker · "
        };
        self.bar.set_message(format!(
            "{waiting}in {}/s · out {}/s · lag {:.1} ms · bad data {} · reconnects {}",
            rate(now.input.messages, self.before.input.messages),
            rate(now.output.messages, self.before.output.messages),
            now.lag_us as f64 / 1000.0,
            HumanCount(now.input.bad_data + now.output.bad_data),
            now.input.reconnects + now.output.reconnects,
        ));
        self.before = now;
        self.at = Instant::now();
    }

    /// Takes the line away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
