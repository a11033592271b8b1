//! The report.

use super::case::{Case, Contender};
use super::subject::Usage;
use crate::table::{lay_out, median, thousands};

/// Medians over the repetitions of one case with one contender; of stalls and memory, the worst.
pub(super) struct Row {
    case: Case,
    contender: Contender,
    per_second: f64,
    cpu_ns_per_row: f64,
    stall_ms: f64,
    state_mib: f64,
    peak_mib: f64,
    results: u64,
}

impl Row {
    pub(super) fn median(case: &Case, contender: Contender, runs: &[Usage]) -> Self {
        let of = |value: fn(&Usage) -> f64| median(runs, |run| Some(value(run))).unwrap_or(0.0);
        let worst = |value: fn(&Usage) -> u64| runs.iter().map(value).max().unwrap_or(0) as f64;
        let mib = f64::from(1 << 20);
        Self {
            case: *case,
            contender,
            per_second: of(|run| run.measured as f64 / run.seconds),
            cpu_ns_per_row: of(|run| run.cpu_ns as f64 / run.measured as f64),
            stall_ms: worst(|run| run.stall_ns) / 1e6,
            state_mib: worst(|run| run.state_bytes) / mib,
            peak_mib: worst(|run| run.peak_bytes) / mib,
            results: runs.first().map_or(0, |run| run.results),
        }
    }

    /// CPU beyond that of the same pipeline without the window.
    fn window_ns(&self, rows: &[Self]) -> Option<f64> {
        let mut others = rows.iter().filter(|row| row.case == self.case);
        let without = others.find(|row| row.contender == Contender::NoWindow)?;
        let is_window = matches!(self.contender, Contender::Headwater | Contender::Kept);
        is_window.then_some(self.cpu_ns_per_row - without.cpu_ns_per_row)
    }

    fn cells(&self, rows: &[Self]) -> Vec<String> {
        let streams = self.contender != Contender::DataFusion;
        let only = |shown: bool, value: String| if shown { value } else { String::new() };
        let window_ns = self.window_ns(rows);
        vec![
            self.case.name(),
            self.contender.name().to_owned(),
            thousands(self.per_second),
            format!("{:.0}", self.cpu_ns_per_row),
            window_ns.map(|ns| format!("{ns:.0}")).unwrap_or_default(),
            only(streams, format!("{:.0}", self.stall_ms)),
            only(window_ns.is_some(), format!("{:.1}", self.state_mib)),
            format!("{:.0}", self.peak_mib),
            only(
                self.contender != Contender::NoWindow,
                thousands(self.results as f64),
            ),
        ]
    }
}

/// The whole report.
pub(super) fn markdown(rows: &[Row]) -> String {
    let head = [
        "case",
        "",
        "rows/s",
        "CPU ns/row",
        "of it the window",
        "stall ms",
        "state MiB",
        "peak MiB",
        "results",
    ];
    let body: Vec<_> = rows.iter().map(|row| row.cells(rows)).collect();
    let mut text = String::new();
    lay_out(&mut text, &head.map(str::to_owned), &body);
    text
}
