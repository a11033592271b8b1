//! Pipelines.

use headwater_engine::without_secrets;

use super::{check_name, page};
use crate::app::App;
use crate::jobs::{self, Intent};
use crate::openapi::{Body, Done, Path, Query, Reply};
use crate::problem::Problem;
use crate::store::{JobState, NewPipeline, PipelineRecord};
use crate::types::{
    Diagnostic, Id, Page, PageQuery, Pipeline, PipelineGraph, PipelinePatch, PipelinePost,
    PipelineRestart, PreviewPost, QueryValidationResult, StopType, Udf, ValidateQueryPost,
};
use crate::workshop::Refusal;

const PARALLELISM_MAX: u64 = 64;
const SECOND: u64 = 1_000_000;
const DAY: u64 = 86_400 * SECOND;
/// How often state is made durable, unless the client says something else.
const CHECKPOINT_INTERVAL: u64 = 10 * SECOND;

pub(super) async fn list(
    app: App,
    Query(query): Query<PageQuery>,
) -> Result<Reply<Page<Pipeline>>, Problem> {
    let limit = query.limit()?;
    let pipelines = app
        .store
        .run(move |db| db.pipelines_page(query.starting_after, limit))
        .await?;
    page(pipelines, limit, |pipeline| Ok(shown(pipeline)))
}

pub(super) async fn get(app: App, Path(Id { id }): Path<Id>) -> Result<Reply<Pipeline>, Problem> {
    let pipeline = app.store.run(move |db| db.pipeline(&id)).await?;
    Ok(Reply(shown(pipeline)))
}

pub(super) async fn validate(
    app: App,
    Body(post): Body<ValidateQueryPost>,
) -> Result<Reply<QueryValidationResult>, Problem> {
    refuse_udfs(post.udfs.as_deref())?;
    let result = match app.workshop.plan(&app.store, &post.query, true).await {
        Ok(planned) => QueryValidationResult {
            graph: Some(PipelineGraph::of(planned.graph, 1)),
            errors: Vec::new(),
            diagnostics: Vec::new(),
        },
        Err(Refusal::Sql(error)) => {
            let diagnostics = Diagnostic::all(&error);
            QueryValidationResult {
                graph: None,
                errors: diagnostics.iter().map(ToString::to_string).collect(),
                diagnostics,
            }
        }
        Err(Refusal::Other(problem)) => return Err(problem),
    };
    Ok(Reply(result))
}

pub(super) async fn create(
    app: App,
    Body(post): Body<PipelinePost>,
) -> Result<Reply<Pipeline>, Problem> {
    check_name(&post.name, 200)?;
    refuse_udfs(post.udfs.as_deref())?;
    let new = Wanted {
        name: post.name,
        query: post.query,
        parallelism: parallelism(post.parallelism.unwrap_or(1))?,
        interval: interval(
            post.checkpoint_interval_micros
                .unwrap_or(CHECKPOINT_INTERVAL),
        )?,
        preview: post.preview.unwrap_or(false),
        writes: !post.preview.unwrap_or(false),
    };
    run(&app, new).await
}

pub(super) async fn preview(
    app: App,
    Body(post): Body<PreviewPost>,
) -> Result<Reply<Pipeline>, Problem> {
    refuse_udfs(post.udfs.as_deref())?;
    let new = Wanted {
        name: "preview".to_owned(),
        query: post.query,
        parallelism: 1,
        interval: CHECKPOINT_INTERVAL,
        preview: true,
        writes: post.enable_sinks.unwrap_or(false),
    };
    run(&app, new).await
}

pub(super) async fn patch(
    app: App,
    (Path(Id { id }), Body(patch)): (Path<Id>, Body<PipelinePatch>),
) -> Result<Reply<Pipeline>, Problem> {
    let _turn = app.jobs.turn().await;
    let wanted = id.clone();
    let mut pipeline = app.store.run(move |db| db.pipeline(&wanted)).await?;
    if let Some(micros) = patch.checkpoint_interval_micros {
        pipeline.checkpoint_interval_micros = interval(micros)?;
    }
    let workers = patch.parallelism.map(parallelism).transpose()?;
    let rescaled = workers.is_some_and(|workers| workers != pipeline.parallelism);
    pipeline.parallelism = workers.unwrap_or(pipeline.parallelism);
    let runs = app.jobs.run_of(&id).filter(|run| run.is_under_way());
    match (patch.stop, runs) {
        (Some(StopType::None), None) => jobs::start(&app, pipeline).await?,
        // what runs as it should goes on
        (Some(StopType::None), Some(run)) if run.intent() == Intent::Run && !rescaled => {
            write(&app, pipeline).await?;
        }
        (Some(StopType::None), Some(_)) => {
            jobs::stop(&app, pipeline, StopType::Checkpoint, Intent::Restart).await?;
        }
        (Some(stop), _) => jobs::stop(&app, pipeline, stop, Intent::Stop).await?,
        (None, Some(run)) if rescaled && run.intent() != Intent::Stop => {
            jobs::stop(&app, pipeline, StopType::Checkpoint, Intent::Restart).await?;
        }
        (None, _) => write(&app, pipeline).await?,
    }
    let pipeline = app.store.run(move |db| db.pipeline(&id)).await?;
    Ok(Reply(shown(pipeline)))
}

pub(super) async fn restart(
    app: App,
    (Path(Id { id }), Body(post)): (Path<Id>, Body<PipelineRestart>),
) -> Result<Reply<Pipeline>, Problem> {
    let _turn = app.jobs.turn().await;
    let wanted = id.clone();
    let pipeline = app.store.run(move |db| db.pipeline(&wanted)).await?;
    let stop = match post.force {
        Some(true) => StopType::Force,
        _ => StopType::Checkpoint,
    };
    jobs::stop(&app, pipeline, stop, Intent::Restart).await?;
    let pipeline = app.store.run(move |db| db.pipeline(&id)).await?;
    Ok(Reply(shown(pipeline)))
}

pub(super) async fn delete(app: App, Path(Id { id }): Path<Id>) -> Result<Done, Problem> {
    let _turn = app.jobs.turn().await;
    if app.jobs.run_of(&id).is_some_and(|run| run.is_under_way()) {
        let message = r#"the pipeline runs; stop it first (PATCH {"stop": "checkpoint"}), and wait until its job has stopped"#;
        return Err(Problem::conflict(message));
    }
    let pipeline = app.store.run(move |db| db.pipeline(&id)).await?;
    jobs::delete(&app, pipeline).await?;
    Ok(Done)
}

/// A pipeline that is to be kept and run.
struct Wanted {
    name: String,
    query: String,
    parallelism: u64,
    interval: u64,
    preview: bool,
    writes: bool,
}

async fn run(app: &App, wanted: Wanted) -> Result<Reply<Pipeline>, Problem> {
    let limit = app.settings.limits.pipelines;
    if app.store.run(|db| db.count_pipelines()).await? >= limit {
        let message = format!("there are {limit} pipelines, as many as limits.pipelines allows");
        return Err(Problem::conflict(message));
    }
    let planned = app
        .workshop
        .plan(&app.store, &wanted.query, wanted.writes)
        .await?;
    let new = NewPipeline {
        name: wanted.name,
        query: wanted.query,
        parallelism: wanted.parallelism,
        checkpoint_interval_micros: wanted.interval,
        preview: wanted.preview,
        writes: wanted.writes,
        graph: PipelineGraph::of(planned.graph.clone(), wanted.parallelism),
        profiles: planned.profiles.clone(),
        tables: planned.tables.clone(),
    };
    let _turn = app.jobs.turn().await;
    let pipeline = app.store.run(move |db| db.insert_pipeline(&new)).await?;
    let id = pipeline.id.clone();
    if let Err(problem) = jobs::launch(app, pipeline.clone(), planned).await {
        // what never ran was never there
        jobs::delete(app, pipeline).await?;
        return Err(problem);
    }
    let pipeline = app.store.run(move |db| db.pipeline(&id)).await?;
    Ok(Reply(shown(pipeline)))
}

async fn write(app: &App, pipeline: PipelineRecord) -> Result<(), Problem> {
    Ok(app
        .store
        .run(move |db| db.update_pipeline(&pipeline))
        .await?)
}

/// What may be shown of a pipeline.
fn shown(pipeline: PipelineRecord) -> Pipeline {
    let (action, action_text, action_in_progress) = action(pipeline.job.state);
    Pipeline {
        query: without_secrets(&pipeline.query),
        id: pipeline.id,
        name: pipeline.name,
        udfs: Vec::new(),
        checkpoint_interval_micros: pipeline.checkpoint_interval_micros,
        stop: pipeline.stop,
        created_at: pipeline.created_at,
        action,
        action_text: action_text.to_owned(),
        action_in_progress,
        graph: pipeline.graph,
        preview: pipeline.preview,
    }
}

/// What can be done about a pipeline whose job is in this state, and whether something is being done.
fn action(state: JobState) -> (Option<StopType>, &'static str, bool) {
    match state {
        JobState::Created | JobState::Scheduling => (Some(StopType::Checkpoint), "Stop", true),
        JobState::Running => (Some(StopType::Checkpoint), "Stop", false),
        JobState::Restarting => (Some(StopType::Checkpoint), "Stop", true),
        JobState::Stopping => (Some(StopType::Immediate), "Force Stop", true),
        JobState::Stopped => (Some(StopType::None), "Start", false),
        JobState::Failed => (Some(StopType::None), "Start", false),
        JobState::Finished => (None, "Finished", false),
    }
}

fn refuse_udfs(udfs: Option<&[Udf]>) -> Result<(), Problem> {
    match udfs {
        None | Some([]) => Ok(()),
        Some(_) => Err(Problem::bad_request(
            "user-defined functions are not supported",
        )),
    }
}

fn parallelism(workers: u64) -> Result<u64, Problem> {
    match workers {
        1..=PARALLELISM_MAX => Ok(workers),
        _ => Err(Problem::bad_request(format!(
            "parallelism must be from 1 to {PARALLELISM_MAX}"
        ))),
    }
}

fn interval(micros: u64) -> Result<u64, Problem> {
    match micros {
        SECOND..=DAY => Ok(micros),
        _ => {
            let message = "checkpointIntervalMicros must be from a second to a day";
            Err(Problem::bad_request(message))
        }
    }
}
