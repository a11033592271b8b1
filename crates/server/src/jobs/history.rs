//! What the operators of a run did in the last minutes, for those who draw it.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use headwater_engine::connector::MetricsSnapshot;
use headwater_engine::{BACKLOG_ROWS, CREDIT_ROWS, Job, OperatorKind, OperatorStatus};

use crate::app::App;
use crate::types::{
    JobLogLevel, Metric, MetricGroup, MetricName, OperatorMetricGroup, SubtaskMetrics, now_micros,
};

/// How often is looked.
const INTERVAL: Duration = Duration::from_secs(5);
/// How many looks are kept: five minutes of them.
const LOOKS_KEPT: usize = 60;

/// The last looks at a run, oldest first.
#[derive(Default)]
pub(crate) struct History {
    looks: Mutex<VecDeque<Look>>,
    /// The operators that were in trouble when it was looked last.
    troubled: Mutex<HashSet<String>>,
}

/// All operators at one moment.
struct Look {
    at: u64,
    operators: Vec<(MetricsSnapshot, f64)>,
}

/// Looks at all runs, for ever.
pub(crate) async fn watch(app: App) {
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        for run in app.jobs.runs() {
            if run.is_under_way() {
                run.history.look(&run.job);
                for (operator, trouble) in run.history.new_troubles(&run.job) {
                    note_trouble(&app, run.job.id(), operator, trouble).await;
                }
            }
        }
    }
}

/// Notes what keeps an operator from its broker, for whoever asks the job what is the matter.
async fn note_trouble(app: &App, job_id: &str, operator: String, trouble: String) {
    let job_id = job_id.to_owned();
    let written = app.store.run(move |db| {
        let message = "not connected; trying again until it works";
        db.insert_error(
            &job_id,
            JobLogLevel::Warn,
            Some(&operator),
            (message, &trouble),
        )
    });
    if let Err(error) = written.await {
        tracing::error!("a trouble cannot be written: {error}");
    }
}

/// How full what is before an operator is, from 0 to 1: the credit of a source, the backlog of the sinks.
pub(crate) fn back_pressure(job: &Job, operator: &OperatorStatus) -> f64 {
    let share = |rows: u64, bound: u64| (rows as f64 / bound as f64).min(1.0);
    match operator.kind {
        OperatorKind::Source => {
            let rows = operator.acks.iter().map(|ack| ack.rows()).max();
            share(rows.unwrap_or(0), CREDIT_ROWS)
        }
        OperatorKind::Stateful | OperatorKind::Sink => share(job.backlog().rows(), BACKLOG_ROWS),
    }
}

impl History {
    /// Adds a look at a job.
    pub(crate) fn look(&self, job: &Job) {
        let operators = job.operators().iter();
        let operators = operators.map(|one| (one.metrics.snapshot(), back_pressure(job, one)));
        let look = Look {
            at: now_micros(),
            operators: operators.collect(),
        };
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        if looks.len() == LOOKS_KEPT {
            looks.pop_front();
        }
        looks.push_back(look);
    }

    /// The operators that have come into trouble since the last time, each with what it is.
    fn new_troubles(&self, job: &Job) -> Vec<(String, String)> {
        let operators = job.operators().iter();
        let troubles = operators.filter_map(|one| Some((one.id.clone(), one.metrics.trouble()?)));
        let troubles: Vec<_> = troubles.collect();
        let ids = troubles.iter().map(|(id, _)| id.clone()).collect();
        let mut troubled = self.troubled.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *troubled, ids);
        let new = troubles.into_iter().filter(|(id, _)| !before.contains(id));
        new.collect()
    }

    /// The rates between the looks, operator by operator.
    pub(crate) fn groups(&self, job: &Job) -> Vec<OperatorMetricGroup> {
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let operators = job.operators().iter().enumerate();
        let groups = operators.map(|(index, operator)| OperatorMetricGroup {
            operator_id: operator.id.clone(),
            metric_groups: measures(&looks, index, operator.kind),
        });
        groups.collect()
    }
}

fn measures(looks: &VecDeque<Look>, index: usize, kind: OperatorKind) -> Vec<MetricGroup> {
    let rate = |name, count: fn(&MetricsSnapshot) -> u64| {
        let metrics = looks.iter().zip(looks.iter().skip(1)).map(|(before, now)| {
            let seconds = now.at.saturating_sub(before.at).max(1) as f64 / 1e6;
            let (earlier, later) = (&before.operators[index].0, &now.operators[index].0);
            Metric {
                time: now.at,
                value: count(later).saturating_sub(count(earlier)) as f64 / seconds,
            }
        });
        group(name, metrics.collect())
    };
    let pressure = looks.iter().map(|look| Metric {
        time: look.at,
        value: look.operators[index].1,
    });
    let pressure = group(MetricName::Backpressure, pressure.collect());
    let mut groups = match kind {
        OperatorKind::Source => vec![
            rate(MetricName::BytesRecv, |m| m.bytes),
            rate(MetricName::MessagesRecv, |m| m.messages),
            rate(MetricName::MessagesSent, |m| m.rows),
        ],
        OperatorKind::Stateful => vec![
            rate(MetricName::MessagesRecv, |m| m.rows),
            rate(MetricName::MessagesSent, |m| m.rows_out),
        ],
        OperatorKind::Sink => vec![
            rate(MetricName::MessagesRecv, |m| m.rows),
            rate(MetricName::BytesSent, |m| m.bytes),
            rate(MetricName::MessagesSent, |m| m.messages),
        ],
    };
    let mut cpu = rate(MetricName::Cpu, |m| m.cpu_ns);
    for metric in cpu.subtasks.iter_mut().flat_map(|one| &mut one.metrics) {
        metric.value /= 1e9;
    }
    groups.push(pressure);
    groups.push(cpu);
    groups
}

fn group(name: MetricName, metrics: Vec<Metric>) -> MetricGroup {
    MetricGroup {
        name,
        subtasks: vec![SubtaskMetrics { index: 0, metrics }],
    }
}
