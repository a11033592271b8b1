//! The measured side: a child process that runs one query over all rows and takes its own time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cpu_time::ProcessTime;
use datafusion::arrow::record_batch::RecordBatch;
use headwater_engine::connector::{MetricsSnapshot, State};
use headwater_engine::{Engine, Job, JobOptions, OperatorKind};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::case::{Case, Contender, Input};
use super::rows;
use crate::process::{self, nanos};

/// The environment variable that makes this program such a subject.
pub(super) const VARIABLE: &str = "HEADWATER_BENCH_WINDOW";

/// How often progress is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// How long nothing may move.
const DEADLINE: Duration = Duration::from_secs(60);

/// What to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) case: Case,
    pub(super) contender: Contender,
    pub(super) checkpoint_interval_s: u64,
    /// The broker, if rows come from one.
    pub(super) addr: Option<SocketAddr>,
}

/// What it took.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Usage {
    /// How many rows there were.
    pub(super) rows: u64,
    /// How many of them after the clock was started.
    pub(super) measured: u64,
    /// Rows that were left out because they were late.
    pub(super) late: u64,
    /// Rows of the answer.
    pub(super) results: u64,
    /// From the first row to the last result.
    pub(super) seconds: f64,
    /// User and system time of the process meanwhile, in nanoseconds.
    pub(super) cpu_ns: u64,
    /// The longest time in which no row was read.
    pub(super) stall_ns: u64,
    /// The greatest size of the state, as the operators count it.
    pub(super) state_bytes: u64,
    /// The greatest memory of the process.
    pub(super) peak_bytes: u64,
}

/// Runs as a subject if this process was started as one.
pub(crate) fn run_if_asked() -> Option<Result<()>> {
    process::asked(VARIABLE, |task: Task| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        let usage = match task.contender {
            Contender::DataFusion => runtime.block_on(batch(&task.case))?,
            Contender::NoWindow | Contender::Headwater => {
                streamed(&runtime, &task, State::default())?
            }
            Contender::Kept => {
                let folder = TempDir::new()?;
                streamed(&runtime, &task, State::open(folder.path())?)?
            }
        };
        Ok(Usage {
            peak_bytes: peak_bytes()?,
            ..usage
        })
    })
}

async fn batch(case: &Case) -> Result<Usage> {
    let context = rows::tables(case).await?;
    let query = context.sql(&case.batch_sql()).await?;
    let (begun, cpu) = (Instant::now(), ProcessTime::now());
    let results = query.collect().await?;
    Ok(Usage {
        rows: case.rows,
        measured: case.rows,
        results: results.iter().map(RecordBatch::num_rows).sum::<usize>() as u64,
        seconds: begun.elapsed().as_secs_f64(),
        cpu_ns: nanos(cpu.elapsed()),
        ..Usage::default()
    })
}

fn streamed(runtime: &Runtime, task: &Task, state: State) -> Result<Usage> {
    let job = runtime.block_on(start(task, state))?;
    follow(&job, &task.case)
}

async fn start(task: &Task, state: State) -> Result<Job> {
    let engine = Engine::default();
    let options = JobOptions {
        checkpoint_interval: Duration::from_secs(task.checkpoint_interval_s),
        job_id: "bench".to_owned(),
        parallelism: task.case.workers,
        state_limit_bytes: None,
        over_limit: headwater_engine::OverLimit::default(),
        preview: engine.print_rows(),
        state,
    };
    let (query, sink) = match task.contender {
        Contender::NoWindow => (passed_on(&task.case), "connector = 'blackhole'"),
        _ => (task.case.stream_sql(), task.case.sink()),
    };
    let sql = format!(
        "{} CREATE TABLE results WITH ({sink}); INSERT INTO results {query};",
        rows::stream_sql(&task.case, task.addr)
    );
    let execution = engine.execute(&sql, options).await?;
    execution.job.context("the SQL makes no job")
}

fn passed_on(case: &Case) -> String {
    let sources = case.sources().iter();
    let selects = sources.map(|name| format!("SELECT key, value FROM {name}"));
    selects.collect::<Vec<_>>().join(" UNION ALL ")
}

/// Starts the clock when the first rows have come, and stops it when the job has put out everything. What was read before
/// the clock was started is not counted, although some of the work on it may be: the cost is never understated.
fn follow(job: &Job, case: &Case) -> Result<Usage> {
    let waiting = Instant::now();
    let before = loop {
        let rows = counts(job, OperatorKind::Source).rows;
        if rows > 0 {
            break rows;
        }
        if waiting.elapsed() > DEADLINE {
            bail!("no row came within {DEADLINE:?}");
        }
        std::thread::sleep(POLL_INTERVAL);
    };
    let (begun, cpu) = (Instant::now(), ProcessTime::now());
    let (mut rows, mut moved) = (before, begun);
    let mut usage = Usage::default();
    while job.outcome().is_none() {
        std::thread::sleep(POLL_INTERVAL);
        let now = counts(job, OperatorKind::Source).rows;
        if now > rows {
            usage.stall_ns = usage.stall_ns.max(nanos(moved.elapsed()));
            (rows, moved) = (now, Instant::now());
        } else if moved.elapsed() > DEADLINE {
            bail!("nothing moved for {DEADLINE:?}, at {rows} rows");
        }
        // a broker has no end; those that are known to have come are dealt with before the job ends
        if case.input == Input::Mqtt && rows >= case.rows {
            job.finish();
        }
        let state_bytes = counts(job, OperatorKind::Stateful).state_bytes;
        usage.state_bytes = usage.state_bytes.max(state_bytes);
    }
    usage.seconds = begun.elapsed().as_secs_f64();
    usage.cpu_ns = nanos(cpu.elapsed());
    job.outcome().context("the job has not ended")??;
    usage.rows = counts(job, OperatorKind::Source).rows;
    usage.measured = usage.rows - before;
    usage.late = counts(job, OperatorKind::Stateful).late_rows;
    usage.results = counts(job, OperatorKind::Sink).rows;
    Ok(usage)
}

/// The counters of all operators of a kind together.
fn counts(job: &Job, kind: OperatorKind) -> MetricsSnapshot {
    let operators = job.operators().iter();
    let of_kind = operators.filter(|operator| operator.kind == kind);
    of_kind.fold(MetricsSnapshot::default(), |sum, operator| {
        let one = operator.metrics.snapshot();
        MetricsSnapshot {
            rows: sum.rows + one.rows,
            late_rows: sum.late_rows + one.late_rows,
            state_bytes: sum.state_bytes + one.state_bytes,
            ..sum
        }
    })
}

/// The greatest memory that this process had.
fn peak_bytes() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kilobytes: u64 = kilobytes.context("no memory is told")?.trim().parse()?;
    Ok(kilobytes * 1024)
}
