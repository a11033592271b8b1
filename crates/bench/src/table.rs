//! The report, in Markdown that can also be read at a terminal.

use std::fmt::Write as _;

use crate::case::{Case, Contender, Load};
use crate::driver::Run;

/// Medians over the repetitions of one case with one contender; of what should not be at all, the worst.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    case: Case,
    contender: Contender,
    per_second: f64,
    cpu_ns_per_message: f64,
    /// Of a second without messages.
    idle_cpu_ms: f64,
    broker_cpu_ns: Option<f64>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    calm_p99_ms: Option<f64>,
    lost: u64,
    unacknowledged: u64,
    misordered: u64,
}

impl Row {
    pub(crate) fn median(case: &Case, contender: Contender, runs: &[Run]) -> Self {
        let worst = |of: fn(&Run) -> u64| runs.iter().map(of).max().unwrap_or(0);
        Self {
            case: *case,
            contender,
            per_second: median(runs, |run| {
                Some(run.usage.measured as f64 / run.usage.seconds)
            })
            .unwrap_or(0.0),
            cpu_ns_per_message: median(runs, |run| {
                Some(run.usage.cpu_ns as f64 / run.usage.measured as f64)
            })
            .unwrap_or(0.0),
            idle_cpu_ms: median(runs, |run| {
                Some(run.usage.cpu_ns as f64 / 1e6 / run.usage.seconds)
            })
            .unwrap_or(0.0),
            broker_cpu_ns: median(runs, |run| {
                Some(run.broker_cpu_ns? as f64 / case.messages() as f64)
            }),
            p50_ms: median(runs, |run| Some(run.latency?.p50_ms)),
            p99_ms: median(runs, |run| Some(run.latency?.p99_ms)),
            calm_p99_ms: median(runs, |run| Some(run.latency?.calm_p99_ms)),
            lost: worst(|run| run.lost),
            unacknowledged: worst(|run| run.unacknowledged),
            misordered: worst(|run| run.misordered),
        }
    }

    /// How many times the CPU of another contender in the same case.
    fn ratio(&self, rows: &[Self], to: Contender) -> String {
        rows.iter()
            .find(|row| row.case == self.case && row.contender == to)
            .map(|row| format!("{:.1}", self.cpu_ns_per_message / row.cpu_ns_per_message))
            .unwrap_or_default()
    }
}

/// Of those that have a value.
pub(crate) fn median<R>(runs: &[R], of: impl Fn(&R) -> Option<f64>) -> Option<f64> {
    let mut values: Vec<f64> = runs.iter().filter_map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The whole report.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let (idle, busy): (Vec<_>, Vec<_>) = rows
        .iter()
        .partition(|row| matches!(row.case.load, Load::Idle { .. }));
    let mut text = String::new();
    if !busy.is_empty() {
        let head = [
            "case",
            "",
            "messages",
            "messages/s",
            "CPU ns/message",
            "× counts",
            "× copies",
            "broker's",
            "p50 ms",
            "p99 ms",
            "calm p99",
            "lost",
        ];
        let body: Vec<_> = busy.iter().map(|row| busy_cells(row, rows)).collect();
        lay_out(&mut text, &head.map(str::to_owned), &body);
    }
    if !idle.is_empty() {
        let head = ["case", "", "CPU ms per second"].map(str::to_owned);
        let cells = |row: &&Row| {
            vec![
                row.case.name(),
                row.contender.name().to_owned(),
                format!("{:.2}", row.idle_cpu_ms),
            ]
        };
        text.push('\n');
        lay_out(
            &mut text,
            &head,
            &idle.iter().map(cells).collect::<Vec<_>>(),
        );
    }
    for row in rows
        .iter()
        .filter(|row| row.unacknowledged + row.misordered > 0)
    {
        text += &format!(
            "\n{} with {}: {} messages unacknowledged, {} acknowledgements out of order\n",
            row.case.name(),
            row.contender.name(),
            row.unacknowledged,
            row.misordered
        );
    }
    text
}

fn busy_cells(row: &Row, rows: &[Row]) -> Vec<String> {
    let ms = |value: Option<f64>| value.map(|ms| format!("{ms:.2}")).unwrap_or_default();
    vec![
        row.case.name(),
        row.contender.name().to_owned(),
        thousands(row.case.messages() as f64),
        thousands(row.per_second),
        thousands(row.cpu_ns_per_message),
        row.ratio(rows, Contender::Count),
        row.ratio(rows, Contender::Bridge),
        row.broker_cpu_ns.map(thousands).unwrap_or_default(),
        ms(row.p50_ms),
        ms(row.p99_ms),
        ms(row.calm_p99_ms),
        thousands(row.lost as f64),
    ]
}

/// As in `1,234,567`.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes a table; the first two columns are text, the others numbers.
pub(crate) fn lay_out(text: &mut String, head: &[String], body: &[Vec<String>]) {
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let cells = body.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0).max(head[column].chars().count())
        })
        .collect();
    let mut line = |cells: &[String]| {
        text.push('|');
        for (column, cell) in cells.iter().enumerate() {
            let width = widths[column];
            let written = match column {
                0 | 1 => write!(text, " {cell:<width$} |"),
                _ => write!(text, " {cell:>width$} |"),
            };
            // writing to a string does not fail
            written.ok();
        }
        text.push('\n');
    };
    line(head);
    let rule: Vec<String> = widths
        .iter()
        .enumerate()
        .map(|(column, width)| match column {
            0 | 1 => "-".repeat(*width),
            _ => format!("{}:", "-".repeat(width - 1)),
        })
        .collect();
    line(&rule);
    body.iter().for_each(|row| line(row));
}
