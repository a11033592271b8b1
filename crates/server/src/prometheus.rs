//! `/metrics`: what runs, in the text that Prometheus reads.
//!
//! Counters are those of the operators themselves, so scraping costs nothing between scrapes. They begin anew with every
//! run, as those of any process do.

use std::fmt::{Display, Write as _};
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use headwater_engine::connector::MetricsSnapshot;
use headwater_engine::{OperatorKind, OperatorStatus};

use crate::app::App;
use crate::jobs::Run;
use crate::jobs::history::back_pressure;
use crate::types::now_micros;

/// One measure of operators.
struct Measure {
    name: &'static str,
    help: &'static str,
    value: Value,
}

enum Value {
    Counter(fn(&MetricsSnapshot) -> f64),
    Gauge(fn(&Run, &OperatorStatus) -> Option<f64>),
}

impl Measure {
    const fn counter(
        name: &'static str,
        help: &'static str,
        count: fn(&MetricsSnapshot) -> f64,
    ) -> Self {
        let value = Value::Counter(count);
        Self { name, help, value }
    }

    const fn gauge(
        name: &'static str,
        help: &'static str,
        value: fn(&Run, &OperatorStatus) -> Option<f64>,
    ) -> Self {
        let value = Value::Gauge(value);
        Self { name, help, value }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

/// What is told of every source and sink.
const OPERATORS: &[Measure] = &[
    Measure::counter("messages_total", "Messages read or written.", |m| {
        m.messages as f64
    }),
    Measure::counter("bytes_total", "Bytes of their payloads.", |m| {
        m.bytes as f64
    }),
    Measure::counter("rows_total", "Rows decoded, taken in or encoded.", |m| {
        m.rows as f64
    }),
    Measure::counter("batches_total", "Batches of rows.", |m| m.batches as f64),
    Measure::counter(
        "rows_out_total",
        "Rows put out by operators with state.",
        |m| m.rows_out as f64,
    ),
    Measure::counter(
        "batches_out_total",
        "Batches of rows put out by operators with state.",
        |m| m.batches_out as f64,
    ),
    Measure::counter(
        "bad_data_total",
        "Messages or rows that did not fit.",
        |m| m.bad_data as f64,
    ),
    Measure::counter(
        "dead_letters_total",
        "Those of them that became dead letters.",
        |m| m.dead_letters as f64,
    ),
    Measure::counter(
        "late_rows_total",
        "Rows that came after the watermark.",
        |m| m.late_rows as f64,
    ),
    Measure::counter(
        "reconnects_total",
        "Connections that were lost and made again.",
        |m| m.reconnects as f64,
    ),
    Measure::gauge(
        "unacknowledged_messages",
        "Messages not acknowledged yet: to the broker, or by it.",
        |_, operator| Some(operator.metrics.snapshot().in_flight as f64),
    ),
    Measure::gauge(
        "window_messages",
        "How many messages may be unacknowledged: what the broker (of a sink) or the table (of a source) lets be.",
        |_, operator| {
            let window = operator.metrics.snapshot().window;
            (window > 0).then_some(window as f64)
        },
    ),
    Measure::counter(
        "cpu_seconds_total",
        "CPU time of a source's or sink's tasks, or of an operator with state.",
        |m| seconds(m.cpu_ns),
    ),
    Measure::gauge(
        "state_bytes",
        "The memory of an operator's state.",
        |_, operator| Some(operator.metrics.snapshot().state_bytes as f64),
    ),
    Measure::gauge(
        "spilled_bytes",
        "How long the files are with state of an operator for which there was no memory.",
        |_, operator| Some(operator.metrics.snapshot().spilled_bytes as f64),
    ),
    Measure::gauge(
        "back_pressure_ratio",
        "How full what is before the operator is: the credit of a source, the backlog of the sinks.",
        |run, operator| Some(back_pressure(&run.job, operator)),
    ),
    Measure::gauge(
        "acknowledgement_lag_seconds",
        "How old the oldest unacknowledged batch of a source is.",
        |_, operator| {
            let lag = operator.acks.iter().map(|ack| ack.lag_us()).max();
            lag.map(|us| us as f64 / 1e6)
        },
    ),
    Measure::gauge(
        "watermark_lag_seconds",
        "How far event time is behind the clock.",
        watermark_lag,
    ),
];

/// Answers a scrape.
pub(crate) async fn metrics(State(app): State<App>) -> impl IntoResponse {
    let mut runs = app.jobs.runs();
    runs.sort_by(|a, b| a.pipeline_id.cmp(&b.pipeline_id));
    let mut text = String::new();
    for measure in OPERATORS {
        operators(&mut text, &runs, measure);
    }
    pipelines(&mut text, &runs);
    workers(&mut text, &runs);
    process(&mut text);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

fn head(text: &mut String, name: &str, kind: Kind, help: &str) {
    let kind = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
    };
    // writing to a string cannot fail
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}").ok();
}

fn sample(text: &mut String, name: &str, labels: &[(&str, &str)], value: impl Display) {
    let labels: Vec<_> = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .collect();
    writeln!(text, "{name}{{{}}} {value}", labels.join(",")).ok();
}

fn operators(text: &mut String, runs: &[Arc<Run>], measure: &Measure) {
    let name = format!("headwater_operator_{}", measure.name);
    let kind = match measure.value {
        Value::Counter(_) => Kind::Counter,
        Value::Gauge(_) => Kind::Gauge,
    };
    head(text, &name, kind, measure.help);
    for run in runs {
        for operator in run.job.operators() {
            let value = match measure.value {
                Value::Counter(count) => Some(count(&operator.metrics.snapshot())),
                Value::Gauge(value) => value(run, operator),
            };
            if let Some(value) = value {
                let labels = [
                    ("pipeline", run.pipeline_name.as_str()),
                    ("pipeline_id", &run.pipeline_id),
                    ("operator", &operator.id),
                    ("kind", kind_of(operator)),
                ];
                sample(text, &name, &labels, value);
            }
        }
    }
}

fn kind_of(operator: &OperatorStatus) -> &'static str {
    match operator.kind {
        OperatorKind::Source => "source",
        OperatorKind::Stateful => "stateful",
        OperatorKind::Sink => "sink",
    }
}

/// How far event time is behind the clock; nothing before it has begun, and once it has ended.
fn watermark_lag(_run: &Run, operator: &OperatorStatus) -> Option<f64> {
    let watermark_ns = operator.metrics.snapshot().watermark_ns?;
    (watermark_ns != i64::MAX).then(|| now_micros() as f64 / 1e6 - watermark_ns as f64 / 1e9)
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// What is told of every pipeline.
type PipelineMeasure = (&'static str, &'static str, fn(&Run) -> Option<f64>);

const PIPELINES: &[PipelineMeasure] = &[
    (
        "up",
        "Whether it runs and has reached all its brokers.",
        |run| Some(f64::from(run.is_under_way() && run.job.is_open())),
    ),
    ("backlog_rows", "Rows that wait at the sinks.", |run| {
        Some(run.job.backlog().rows() as f64)
    }),
    ("backlog_bytes", "Their memory.", |run| {
        Some(run.job.backlog().bytes() as f64)
    }),
    (
        "checkpoint_age_seconds",
        "How old the last checkpoint of the state is.",
        |run| {
            let begun_us = run.job.checkpoints().last()?.begun_us;
            Some(now_micros().saturating_sub(begun_us) as f64 / 1e6)
        },
    ),
    (
        "checkpoint_bytes",
        "The memory of the state in it.",
        |run| Some(run.job.checkpoints().last()?.bytes as f64),
    ),
    (
        "checkpoint_seconds",
        "How long it took, until it was on disk.",
        |run| Some(run.job.checkpoints().last()?.duration.as_secs_f64()),
    ),
];

fn pipelines(text: &mut String, runs: &[Arc<Run>]) {
    for (name, help, value) in PIPELINES {
        let name = format!("headwater_pipeline_{name}");
        head(text, &name, Kind::Gauge, help);
        for run in runs {
            let labels = [
                ("pipeline", run.pipeline_name.as_str()),
                ("pipeline_id", &run.pipeline_id),
            ];
            if let Some(value) = value(run) {
                sample(text, &name, &labels, value);
            }
        }
    }
}

/// The threads on which the operators of a pipeline meet.
fn workers(text: &mut String, runs: &[Arc<Run>]) {
    let name = "headwater_worker_cpu_seconds_total";
    let help =
        "CPU time of a worker: all that is done to rows between the tasks of sources and sinks.";
    head(text, name, Kind::Counter, help);
    for run in runs {
        for (index, cpu) in run.job.worker_cpu().iter().enumerate() {
            let labels = [
                ("pipeline", run.pipeline_name.as_str()),
                ("pipeline_id", &run.pipeline_id),
                ("worker", &index.to_string()),
            ];
            sample(text, name, &labels, seconds(cpu.ns()));
        }
    }
}

/// The unit of times in `/proc`: USER_HZ, which Linux has promised to programs for good.
const TICKS_PER_SECOND: f64 = 100.0;

/// What the system knows of this process; nothing where it does not tell.
fn process(text: &mut String) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    // behind the name, which may hold anything, follow numbers: see proc(5)
    let mut numbers = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let mut ticks = numbers
        .by_ref()
        .skip(11)
        .map_while(|number| number.parse::<f64>().ok());
    let cpu = ticks
        .next()
        .zip(ticks.next())
        .map(|(user, system)| (user + system) / TICKS_PER_SECOND);
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    let measures = [
        (
            "process_cpu_seconds_total",
            Kind::Counter,
            "CPU time of the whole process.",
            cpu,
        ),
        (
            "process_threads",
            Kind::Gauge,
            "Threads of the process.",
            line("Threads:"),
        ),
        (
            "process_resident_memory_bytes",
            Kind::Gauge,
            "Memory of the process.",
            line("VmRSS:").map(|kib| kib * 1024.0),
        ),
    ];
    for (name, kind, help, value) in measures {
        if let Some(value) = value {
            head(text, name, kind, help);
            writeln!(text, "{name} {value}").ok();
        }
    }
}

fn escaped(label: &str) -> String {
    label
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
