//! The endpoints, and what they do.

mod jobs;
mod pipelines;
mod profiles;
mod tables;

use axum::http::Method;

use crate::app::App;
use crate::openapi::{Endpoint, Reply};
use crate::problem::Problem;
use crate::types::{Collection, Connector, Page, PageQuery};

/// Where all of them stand.
pub(crate) const BASE: &str = "/api/v1";

/// How many items a page has unless the client asks for more or less.
const PAGE: u32 = 10;
const PAGE_MAX: u32 = 1000;

/// All endpoints.
pub(crate) fn endpoints() -> Vec<Endpoint> {
    macro_rules! endpoint {
        ($method:ident $path:literal, $id:literal, $summary:literal, $handler:expr) => {
            Endpoint::new((Method::$method, $path), ($id, $summary), $handler)
        };
    }
    vec![
        endpoint!(GET "/ping", "ping", "Answers", ping),
        endpoint!(GET "/connectors", "get_connectors", "List the connectors", connectors),
        endpoint!(GET "/connection_profiles", "get_connection_profiles", "List all connection profiles", profiles::list).remembered(),
        endpoint!(POST "/connection_profiles", "create_connection_profile", "Keep a connection profile", profiles::create),
        endpoint!(POST "/connection_profiles/test", "test_connection_profile", "Try whether the other side can be reached", profiles::test),
        endpoint!(DELETE "/connection_profiles/{id}", "delete_connection_profile", "Forget a connection profile that is not used", profiles::delete),
        endpoint!(GET "/connection_tables", "get_connection_tables", "List the connection tables", tables::list).remembered(),
        endpoint!(POST "/connection_tables", "create_connection_table", "Keep a connection table", tables::create),
        endpoint!(POST "/connection_tables/test", "test_connection_table", "Try a table, step by step", tables::test),
        endpoint!(POST "/connection_tables/schemas/test", "test_schema", "Check columns and a format", tables::test_schema),
        endpoint!(DELETE "/connection_tables/{id}", "delete_connection_table", "Forget a connection table that is not used", tables::delete),
        endpoint!(GET "/pipelines", "get_pipelines", "List the pipelines", pipelines::list).remembered(),
        endpoint!(POST "/pipelines", "create_pipeline", "Keep a pipeline and run it", pipelines::create),
        endpoint!(POST "/pipelines/preview", "create_preview_pipeline", "Try a pipeline out for a minute", pipelines::preview),
        endpoint!(POST "/pipelines/validate_query", "validate_query", "Check SQL and show its dataflow", pipelines::validate),
        endpoint!(GET "/pipelines/{id}", "get_pipeline", "Get a pipeline", pipelines::get),
        endpoint!(PATCH "/pipelines/{id}", "patch_pipeline", "Stop, start or change a pipeline", pipelines::patch),
        endpoint!(DELETE "/pipelines/{id}", "delete_pipeline", "Forget a pipeline that does not run", pipelines::delete),
        endpoint!(POST "/pipelines/{id}/restart", "restart_pipeline", "Stop a pipeline and start it again", pipelines::restart),
        endpoint!(GET "/pipelines/{id}/jobs", "get_pipeline_jobs", "List a pipeline's jobs", jobs::of_pipeline),
        endpoint!(GET "/pipelines/{pipeline_id}/jobs/{job_id}/errors", "get_job_errors", "List what went wrong in a job", jobs::errors),
        endpoint!(GET "/pipelines/{pipeline_id}/jobs/{job_id}/output", "get_job_output", "See a job's rows as they come", jobs::output),
        endpoint!(GET "/pipelines/{pipeline_id}/jobs/{job_id}/checkpoints", "get_job_checkpoints", "List a job's checkpoints", jobs::checkpoints),
        endpoint!(GET "/pipelines/{pipeline_id}/jobs/{job_id}/operator_metric_groups", "get_operator_metric_groups", "See what a job's operators did in the last minutes", jobs::metrics),
        endpoint!(GET "/jobs", "get_jobs", "List all jobs", jobs::list).remembered(),
    ]
}

async fn ping(_app: App, (): ()) -> Result<Reply<&'static str>, Problem> {
    Ok(Reply("Pong"))
}

async fn connectors(app: App, (): ()) -> Result<Reply<Collection<Connector>>, Problem> {
    let connectors = app.workshop.registry().iter();
    let data = connectors.map(|connector| connector.metadata().into());
    Ok(Reply(Collection {
        data: data.collect(),
    }))
}

impl PageQuery {
    /// How many items are asked for.
    fn limit(&self) -> Result<u32, Problem> {
        match self.limit.unwrap_or(PAGE) {
            limit @ 1..=PAGE_MAX => Ok(limit),
            _ => Err(Problem::bad_request(format!(
                "limit must be from 1 to {PAGE_MAX}"
            ))),
        }
    }
}

/// A page of what was read, which was one item more than the page has if there are more.
fn page<R, T>(
    mut records: Vec<R>,
    limit: u32,
    shown: impl FnMut(R) -> Result<T, Problem>,
) -> Result<Reply<Page<T>>, Problem> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = records.len() > limit;
    records.truncate(limit);
    let data = records.into_iter().map(shown).collect::<Result<_, _>>()?;
    Ok(Reply(Page { data, has_more }))
}

/// A name that is neither empty nor endless.
fn check_name(name: &str, chars_max: usize) -> Result<(), Problem> {
    let chars = name.chars().count();
    if name.trim().is_empty() || chars > chars_max || name.chars().any(char::is_control) {
        let message = format!(
            "the name must have 1 to {chars_max} characters, none of them a control character"
        );
        return Err(Problem::bad_request(message));
    }
    Ok(())
}
