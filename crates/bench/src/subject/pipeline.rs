//! Headwater as it is run by its command: the engine on tokio's default runtime, one worker.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use headwater_engine::connector::State;
use headwater_engine::{
    CHECKPOINT_INTERVAL, Engine, Job, JobOptions, OperatorKind, OperatorStatus,
};

use super::{Progress, Task, Usage, measure};
use crate::case::{INPUT_TOPIC, OUTPUT_TOPIC, Shape};
use crate::process::say_open;

/// How long the job may take to connect, and to drain.
const DEADLINE: Duration = Duration::from_secs(60);

pub(super) fn run(task: &Task) -> Result<Usage> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let job = runtime.block_on(start(task))?;
    say_open()?;
    let ends = Ends::of(&job)?;
    let usage = measure(task, || progress(&job, ends, task.shape))?;
    job.stop();
    let drained = runtime.block_on(async { tokio::time::timeout(DEADLINE, job.wait()).await });
    drained.context("the job did not drain")??;
    Ok(usage)
}

async fn start(task: &Task) -> Result<Job> {
    let engine = Engine::default();
    let options = JobOptions {
        checkpoint_interval: CHECKPOINT_INTERVAL,
        job_id: "bench".to_owned(),
        parallelism: 1,
        state_limit_bytes: None,
        over_limit: headwater_engine::OverLimit::default(),
        preview: engine.print_rows(),
        state: State::default(),
    };
    let execution = engine.execute(&sql(task), options).await?;
    let job = execution.job.context("the SQL makes no job")?;
    tokio::time::timeout(DEADLINE, job.opened())
        .await
        .context("the job did not connect")?;
    Ok(job)
}

fn sql(task: &Task) -> String {
    let qos = match task.qos {
        0 => "AtMostOnce",
        1 => "AtLeastOnce",
        _ => "ExactlyOnce",
    };
    let url = match &task.ca {
        None => format!("url = 'mqtt://{}'", task.addr),
        Some(ca) => format!("url = 'mqtts://{}', tls.ca = '{}'", task.addr, ca.display()),
    };
    let mqtt = |kind, topic| {
        format!(
            "connector = 'mqtt', type = '{kind}', {url}, topic = '{topic}', qos = '{qos}', format = 'json'"
        )
    };
    let source = mqtt("source", INPUT_TOPIC);
    let columns = "device TEXT, ts BIGINT, temperature DOUBLE, seq BIGINT";
    let (sink, query) = match task.shape {
        Shape::Source => (
            "connector = 'blackhole'".to_owned(),
            "SELECT device, ts, temperature, seq FROM readings",
        ),
        // every message passes the filter
        Shape::Pipe => (
            mqtt("sink", OUTPUT_TOPIC),
            "SELECT device, ts, temperature * 1.8 + 32 AS fahrenheit, seq FROM readings WHERE temperature >= 10",
        ),
    };
    format!(
        "CREATE TABLE readings ({columns}) WITH ({source}, source.session_expiry = '0');
         CREATE TABLE results WITH ({sink});
         INSERT INTO results {query};"
    )
}

/// Which of the job's operators is which.
#[derive(Clone, Copy)]
struct Ends<'a> {
    source: &'a OperatorStatus,
    sink: &'a OperatorStatus,
}

impl<'a> Ends<'a> {
    fn of(job: &'a Job) -> Result<Self> {
        let find = |kind| {
            job.operators()
                .iter()
                .find(|operator| operator.kind == kind)
                .context("the job has no source or no sink")
        };
        Ok(Self {
            source: find(OperatorKind::Source)?,
            sink: find(OperatorKind::Sink)?,
        })
    }
}

fn progress(job: &Job, ends: Ends<'_>, shape: Shape) -> Result<Progress> {
    if let Some(outcome) = job.outcome() {
        outcome?;
        return Err(anyhow!("the job has ended by itself"));
    }
    let source = ends.source.metrics.snapshot();
    let sink = ends.sink.metrics.snapshot();
    Ok(Progress {
        begun: source.messages,
        done: match shape {
            Shape::Source => sink.rows,
            Shape::Pipe => sink.messages,
        },
        unacknowledged: source.in_flight + sink.in_flight,
    })
}
