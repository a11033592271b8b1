//! Jobs.

use std::sync::Arc;

use super::page;
use crate::app::App;
use crate::jobs::Run;
use crate::openapi::{Events, Path, Query, Reply};
use crate::problem::Problem;
use crate::store::PipelineRecord;
use crate::types::{
    Checkpoint, Collection, Id, Job, JobLogMessage, JobPath, OperatorMetricGroup, OutputData, Page,
    PageQuery, StopType,
};

pub(super) async fn list(app: App, (): ()) -> Result<Reply<Collection<Job>>, Problem> {
    let pipelines = app.store.run(|db| db.pipelines()).await?;
    let jobs = pipelines
        .iter()
        .filter(|pipeline| !pipeline.preview)
        .map(shown);
    Ok(Reply(Collection {
        data: jobs.collect(),
    }))
}

pub(super) async fn of_pipeline(
    app: App,
    Path(Id { id }): Path<Id>,
) -> Result<Reply<Collection<Job>>, Problem> {
    let pipeline = app.store.run(move |db| db.pipeline(&id)).await?;
    Ok(Reply(Collection {
        data: vec![shown(&pipeline)],
    }))
}

pub(super) async fn errors(
    app: App,
    (Path(path), Query(query)): (Path<JobPath>, Query<PageQuery>),
) -> Result<Reply<Page<JobLogMessage>>, Problem> {
    let limit = query.limit()?;
    let pipeline = job(&app, path).await?;
    let job_id = pipeline.job.id;
    let errors = app
        .store
        .run(move |db| db.errors_page(&job_id, query.starting_after, limit));
    page(errors.await?, limit, |error| {
        Ok(JobLogMessage {
            id: error.id,
            created_at: error.created_at,
            operator_id: error.operator_id,
            task_index: None,
            level: error.level,
            message: error.message,
            details: error.details,
        })
    })
}

pub(super) async fn output(
    app: App,
    Path(path): Path<JobPath>,
) -> Result<Events<OutputData>, Problem> {
    let pipeline = job(&app, path).await?;
    if !pipeline
        .graph
        .nodes
        .iter()
        .any(|node| node.operator == "preview")
    {
        let message = "the pipeline shows no rows: it has no bare SELECT";
        return Err(Problem::bad_request(message));
    }
    let Some(run) = app.jobs.run_of(&pipeline.id) else {
        return Err(Problem::conflict(
            "the pipeline has not run since the server was started",
        ));
    };
    Ok(Events::new(run.output.listen()))
}

pub(super) async fn checkpoints(
    app: App,
    Path(path): Path<JobPath>,
) -> Result<Reply<Collection<Checkpoint>>, Problem> {
    let pipeline = job(&app, path).await?;
    let run: Option<Arc<Run>> = app.jobs.run_of(&pipeline.id);
    let taken = run.map(|run| run.job.checkpoints()).unwrap_or_default();
    Ok(Reply(Collection {
        data: taken.iter().map(Checkpoint::of).collect(),
    }))
}

pub(super) async fn metrics(
    app: App,
    Path(path): Path<JobPath>,
) -> Result<Reply<Collection<OperatorMetricGroup>>, Problem> {
    let pipeline = job(&app, path).await?;
    let run: Option<Arc<Run>> = app.jobs.run_of(&pipeline.id);
    let data = run.map(|run| run.history.groups(&run.job));
    Ok(Reply(Collection {
        data: data.unwrap_or_default(),
    }))
}

/// The pipeline of a job, if the job is its own.
async fn job(app: &App, path: JobPath) -> Result<PipelineRecord, Problem> {
    let pipeline = app
        .store
        .run(move |db| db.pipeline(&path.pipeline_id))
        .await?;
    match pipeline.job.id == path.job_id {
        true => Ok(pipeline),
        false => Err(Problem::not_found("job")),
    }
}

fn shown(pipeline: &PipelineRecord) -> Job {
    let job = &pipeline.job;
    let tasks = pipeline
        .graph
        .nodes
        .iter()
        .map(|node| node.parallelism)
        .sum();
    Job {
        id: job.id.clone(),
        pipeline_id: pipeline.id.clone(),
        running_desired: pipeline.stop == StopType::None && !job.state.has_ended(),
        state: job.state.to_string(),
        run_id: job.run_id,
        start_time: job.start_time,
        finish_time: job.finish_time,
        tasks: Some(tasks),
        failure_message: job.failure_message.clone(),
        created_at: job.created_at,
    }
}
