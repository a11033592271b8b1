//! The pipelines that run.
//!
//! ```text
//!             start                      opened                end of all sources
//! Created ───────────► Scheduling ───────────► Running ───────────────────────────► Finished
//!    ▲                                            │ patch stop=…          error ──► Failed
//!    └──────── patch stop=none ◄── Stopped ◄── Stopping
//!                                              Restarting ──► Scheduling
//! ```
//!
//! Each run has a task that waits for its end and then does what was intended: nothing, or starting it again. Whatever
//! changes is written down before a client is told. A job's id stays the same over all its runs, also those of later
//! servers, so that its sessions at brokers are found again; nothing that was acknowledged is lost between them.
//!
//! What was running when a server ended, in whatever way, is started by the next one.

pub(crate) mod history;
mod run;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use headwater_engine::{Execution, JobError, JobOptions, Outcome, Script};
use tracing::{Instrument, Span, field};

pub(crate) use run::{Intent, PREVIEW_TTL, Run};

use crate::app::App;
use crate::output::Output;
use crate::problem::Problem;
use crate::store::{JobState, PipelineRecord};
use crate::traces::{self, Stopping, TARGET};
use crate::types::{JobLogLevel, PipelineGraph, StopType, now_micros};
use crate::workshop::Planned;

/// All runs, by pipeline: those under way, and the last one of those that have ended, for its output and its counters.
#[derive(Default)]
pub(crate) struct Jobs {
    runs: Mutex<HashMap<String, Arc<Run>>>,
    ready: AtomicBool,
    turn: tokio::sync::Mutex<()>,
}

impl Jobs {
    /// The latest run of a pipeline, in the life of this server.
    pub(crate) fn run_of(&self, pipeline_id: &str) -> Option<Arc<Run>> {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.get(pipeline_id).map(Arc::clone)
    }

    /// All runs.
    pub(crate) fn runs(&self) -> Vec<Arc<Run>> {
        let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.values().map(Arc::clone).collect()
    }

    /// Whether everything that was running before the server started has been started again.
    pub(crate) fn are_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Whoever starts, stops or deletes, or notes the end of a run, does so alone: takes this before it looks at what is
    /// written down, and keeps it until it has written what comes of it.
    pub(crate) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Forgets the run of a pipeline that is deleted.
    pub(crate) fn forget(&self, pipeline_id: &str) {
        self.runs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(pipeline_id);
    }

    fn insert(&self, run: &Arc<Run>) {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        runs.insert(run.pipeline_id.clone(), Arc::clone(run));
    }
}

/// What was running when the last server ended, oldest first; what was only tried out is forgotten. No state is told
/// that is no longer true.
pub(crate) async fn interrupted(app: &App) -> Result<Vec<PipelineRecord>, Problem> {
    let mut interrupted = Vec::new();
    for pipeline in app.store.run(|db| db.pipelines()).await?.into_iter().rev() {
        let state = pipeline.job.state;
        if pipeline.preview {
            delete(app, pipeline).await?;
        } else if pipeline.stop == StopType::None && !state.has_ended() {
            note(app, pipeline.clone(), JobState::Scheduling).await?;
            interrupted.push(pipeline);
        } else if !state.has_ended() && state != JobState::Stopped {
            // the server ended before the job did
            note(app, pipeline, JobState::Stopped).await?;
        }
    }
    Ok(interrupted)
}

/// Forgets a pipeline that does not run, and all that its job remembers.
pub(crate) async fn delete(app: &App, pipeline: PipelineRecord) -> Result<(), Problem> {
    let state = app.state.child(&pipeline.job.id);
    // first the state: what is still listed can be deleted once more
    let cleared = tokio::task::spawn_blocking(move || state.clear()).await;
    let cleared = cleared.map_err(Problem::internal)?;
    cleared.map_err(|error| Problem::internal(format!("{:#}", anyhow::Error::from(error))))?;
    let id = pipeline.id.clone();
    app.store.run(move |db| db.delete_pipeline(&id)).await?;
    app.jobs.forget(&pipeline.id);
    Ok(())
}

/// Starts pipelines again.
pub(crate) async fn resume(app: &App, pipelines: Vec<PipelineRecord>) {
    for pipeline in pipelines {
        let _turn = app.jobs.turn().await;
        let (id, name) = (pipeline.id.clone(), pipeline.name);
        // somebody may have been quicker, and started, stopped or deleted it
        let Ok(pipeline) = app.store.run(move |db| db.pipeline(&id)).await else {
            continue;
        };
        if pipeline.stop != StopType::None || app.jobs.run_of(&pipeline.id).is_some() {
            continue;
        }
        match start(app, pipeline).await {
            Ok(()) => tracing::info!("pipeline '{name}' goes on"),
            Err(problem) => tracing::error!("pipeline '{name}' cannot go on: {problem}"),
        }
    }
    app.jobs.ready.store(true, Ordering::Release);
}

/// Plans a pipeline and runs it. If that cannot be done the pipeline has failed.
pub(crate) async fn start(app: &App, pipeline: PipelineRecord) -> Result<(), Problem> {
    match app
        .workshop
        .plan(&app.store, &pipeline.query, pipeline.writes)
        .await
    {
        Ok(planned) => launch(app, pipeline, planned).await,
        Err(refusal) => Err(not_started(app, pipeline, refusal.into()).await),
    }
}

/// Runs a pipeline that was planned already.
pub(crate) async fn launch(
    app: &App,
    mut pipeline: PipelineRecord,
    planned: Planned,
) -> Result<(), Problem> {
    let output = Output::new();
    let options = JobOptions {
        checkpoint_interval: Duration::from_micros(pipeline.checkpoint_interval_micros),
        state: app.state.child(&pipeline.job.id),
        job_id: pipeline.job.id.clone(),
        parallelism: usize::try_from(pipeline.parallelism).unwrap_or(1),
        state_limit_bytes: Some(app.settings.limits.state_bytes),
        over_limit: app.settings.limits.state_over_limit.into(),
        preview: output.factory(),
    };
    pipeline.stop = StopType::None;
    pipeline.graph = PipelineGraph::of(planned.graph, pipeline.parallelism);
    let script = Script {
        plan: Some(planned.plan),
        ..Script::default()
    };
    let job = match planned.engine.start(script, options) {
        Ok(Execution { job: Some(job), .. }) => job,
        Ok(Execution { job: None, .. }) => return Err(Problem::bad_request("nothing to run")),
        Err(error) => {
            let message = format!("{:#}", anyhow::Error::from(error));
            return Err(not_started(app, pipeline, Problem::bad_request(message)).await);
        }
    };
    pipeline.job.run_id += 1;
    pipeline.job.start_time = Some(now_micros());
    pipeline.job.finish_time = None;
    pipeline.job.failure_message = None;
    let run = Arc::new(Run::new(&pipeline, job, output));
    app.jobs.insert(&run);
    note(app, pipeline.clone(), JobState::Scheduling).await?;
    let starting = tracing::info_span!(
        target: TARGET,
        "pipeline start",
        otel.status_code = field::Empty,
        headwater.pipeline.id = pipeline.id,
        headwater.job.id = pipeline.job.id,
        headwater.job.run = pipeline.job.run_id,
    );
    tokio::spawn(supervise(app.clone(), run, pipeline, starting));
    Ok(())
}

/// Stops a run, and says what comes after.
pub(crate) async fn stop(
    app: &App,
    mut pipeline: PipelineRecord,
    stop: StopType,
    intent: Intent,
) -> Result<(), Problem> {
    pipeline.stop = if intent == Intent::Restart {
        StopType::None
    } else {
        stop
    };
    let Some(run) = app
        .jobs
        .run_of(&pipeline.id)
        .filter(|run| run.is_under_way())
    else {
        return match intent {
            Intent::Restart => start(app, pipeline).await,
            // a pipeline that has ended of itself has ended so
            _ if pipeline.job.state.has_ended() => {
                let state = pipeline.job.state;
                note(app, pipeline, state).await
            }
            _ => note(app, pipeline, JobState::Stopped).await,
        };
    };
    let stopping = Stopping::new(&run, stop, intent);
    run.intend(intent, Some(stopping));
    let state = match intent {
        Intent::Restart => JobState::Restarting,
        _ => JobState::Stopping,
    };
    let noted = note(app, pipeline, state).await;
    match stop {
        StopType::Immediate | StopType::Force => run.job.abort(),
        StopType::Graceful => run.job.finish(),
        StopType::None | StopType::Checkpoint => run.job.stop(),
    }
    noted
}

/// Lets all runs drain, so that the next server takes up where this one ended. Ends when they have ended.
pub(crate) async fn drain(app: &App) {
    let runs = app.jobs.runs();
    let mut draining = Vec::new();
    for run in &runs {
        // the spans stay here, since nobody waits for the supervisors
        let stopping = || Stopping::new(run, StopType::Checkpoint, Intent::GoOnLater);
        draining.push((run, run.is_under_way().then(stopping)));
        run.intend(Intent::GoOnLater, None);
        run.job.stop();
    }
    for (run, stopping) in draining {
        // how it ended is otherwise the supervisor's affair
        let failed = run.job.wait().await.is_err();
        stopping.map(|stopping| stopping.end(failed));
    }
}

/// Follows a run to its end, and does what was intended then.
/// `starting` is the span of what comes before it runs.
async fn supervise(app: App, run: Arc<Run>, pipeline: PipelineRecord, starting: Span) {
    let mut starting = Some(starting);
    let expires = tokio::time::Instant::now() + PREVIEW_TTL;
    let mut opened = false;
    let outcome = loop {
        tokio::select! {
            outcome = run.job.wait() => break outcome,
            () = run.job.opened(), if !opened => {
                opened = true;
                starting = None;
                if run.intent() == Intent::Run && run.job.outcome().is_none() {
                    note_state(&app, &pipeline.id, JobState::Running).await;
                }
            }
            () = tokio::time::sleep_until(expires), if pipeline.preview => run.job.abort(),
        }
    };
    if let (Some(starting), Err(_)) = (&starting, &outcome) {
        traces::fail(starting);
    }
    drop(starting);
    run.output.close();
    finish(&app, &run, &pipeline, outcome).await;
    if pipeline.preview {
        tokio::time::sleep_until(expires).await;
        let _turn = app.jobs.turn().await;
        let name = pipeline.id.clone();
        if let Err(problem) = delete(&app, pipeline).await {
            tracing::warn!("the preview '{name}' cannot be forgotten: {problem}");
        }
    }
}

/// Notes how a run ended, and starts another one if that was intended.
async fn finish(app: &App, run: &Arc<Run>, pipeline: &PipelineRecord, outcome: Outcome) {
    let _turn = app.jobs.turn().await;
    let failed = outcome.is_err();
    let stopped = run.stopped().map(|stopping| stopping.end(failed));
    if let Err(error) = &outcome {
        note_error(app, pipeline, error).await;
    }
    // somebody may have started the next run already
    let current = app.jobs.run_of(&pipeline.id);
    if !current.is_some_and(|current| Arc::ptr_eq(&current, run)) {
        return;
    }
    match (run.intent(), outcome) {
        (Intent::GoOnLater, Ok(())) => {}
        (Intent::Restart, _) => {
            let span = stopped.unwrap_or_else(Span::none);
            restart(app, &pipeline.id).instrument(span).await;
        }
        (_, Err(error)) => note_end(app, &pipeline.id, JobState::Failed, Some(error)).await,
        (Intent::Stop, Ok(())) => note_end(app, &pipeline.id, JobState::Stopped, None).await,
        (Intent::Run, Ok(())) => note_end(app, &pipeline.id, JobState::Finished, None).await,
    }
}

/// Starts the next run. Boxed, because its supervisor may come here again.
fn restart<'a>(app: &'a App, pipeline_id: &'a str) -> BoxFuture<'a, ()> {
    let restart = async move {
        let id = pipeline_id.to_owned();
        let outcome = match app.store.run(move |db| db.pipeline(&id)).await {
            Ok(pipeline) => start(app, pipeline).await,
            Err(error) => Err(error.into()),
        };
        if let Err(problem) = outcome {
            traces::fail(&Span::current());
            tracing::error!("pipeline '{pipeline_id}' cannot be started again: {problem}");
        }
    };
    restart.boxed()
}

/// Writes a pipeline down, its job in this state.
async fn note(app: &App, mut pipeline: PipelineRecord, state: JobState) -> Result<(), Problem> {
    pipeline.job.state = state;
    let written = app.store.run(move |db| {
        db.update_pipeline(&pipeline)?;
        db.update_job(&pipeline.job)
    });
    Ok(written.await?)
}

/// Writes the state of a pipeline's job down, as far as that can be done.
async fn note_state(app: &App, pipeline_id: &str, state: JobState) {
    let id = pipeline_id.to_owned();
    let written = app.store.run(move |db| {
        let mut job = db.pipeline(&id)?.job;
        job.state = state;
        db.update_job(&job)
    });
    if let Err(error) = written.await {
        tracing::error!("the state of pipeline '{pipeline_id}' cannot be written: {error}");
    }
}

async fn note_end(app: &App, pipeline_id: &str, state: JobState, error: Option<Arc<JobError>>) {
    let id = pipeline_id.to_owned();
    let failure = error.map(|error| format!("{:#}", anyhow::Error::from(error)));
    let written = app.store.run(move |db| {
        let mut job = db.pipeline(&id)?.job;
        job.state = state;
        job.finish_time = Some(now_micros());
        job.failure_message = failure;
        db.update_job(&job)
    });
    if let Err(error) = written.await {
        tracing::error!("the end of pipeline '{pipeline_id}' cannot be written: {error}");
    }
}

async fn note_error(app: &App, pipeline: &PipelineRecord, error: &Arc<JobError>) {
    let details = format!("{:#}", anyhow::Error::from(Arc::clone(error)));
    tracing::error!("pipeline '{}' failed: {details}", pipeline.name);
    let operator = error.operator().map(str::to_owned);
    let (job_id, message) = (pipeline.job.id.clone(), error.to_string());
    let written = app.store.run(move |db| {
        db.insert_error(
            &job_id,
            JobLogLevel::Error,
            operator.as_deref(),
            (&message, &details),
        )
    });
    if let Err(error) = written.await {
        tracing::error!("an error cannot be written: {error}");
    }
}

/// Notes that a pipeline could not be started; gives the problem back.
async fn not_started(app: &App, mut pipeline: PipelineRecord, problem: Problem) -> Problem {
    pipeline.job.failure_message = Some(problem.to_string());
    pipeline.job.finish_time = Some(now_micros());
    let (job_id, message) = (pipeline.job.id.clone(), problem.to_string());
    let written = app.store.run(move |db| {
        db.insert_error(
            &job_id,
            JobLogLevel::Error,
            None,
            ("cannot start", &message),
        )
    });
    if let (Err(error), _) | (_, Err(error)) = (
        written.await.map_err(Problem::from),
        note(app, pipeline, JobState::Failed).await,
    ) {
        tracing::error!("a failure cannot be written: {error}");
    }
    problem
}
