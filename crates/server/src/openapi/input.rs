//! What endpoints take: parts of the path, parameters of the query, and a body of JSON.

use std::future::Future;

use axum::RequestExt;
use axum::body::Body as Bytes;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::document::{Describe, Place};
use crate::app::App;
use crate::problem::Problem;

/// Something that can be read from a request, and that can say so.
pub(crate) trait Input: Sized + Send {
    /// Adds itself to the description of an endpoint.
    fn describe(describe: &mut Describe<'_>);

    /// Reads itself.
    fn read(request: &mut Request, app: &App)
    -> impl Future<Output = Result<Self, Problem>> + Send;
}

/// The names within the path.
pub(crate) struct Path<T>(pub(crate) T);

/// The parameters behind the path.
pub(crate) struct Query<T>(pub(crate) T);

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

impl Input for () {
    fn describe(_describe: &mut Describe<'_>) {}

    async fn read(_request: &mut Request, _app: &App) -> Result<Self, Problem> {
        Ok(())
    }
}

impl<A: Input, B: Input> Input for (A, B) {
    fn describe(describe: &mut Describe<'_>) {
        A::describe(describe);
        B::describe(describe);
    }

    async fn read(request: &mut Request, app: &App) -> Result<Self, Problem> {
        let first = A::read(request, app).await?;
        Ok((first, B::read(request, app).await?))
    }
}

impl<T: DeserializeOwned + JsonSchema + Send + 'static> Input for Path<T> {
    fn describe(describe: &mut Describe<'_>) {
        describe.parameters::<T>(Place::Path);
    }

    async fn read(request: &mut Request, _app: &App) -> Result<Self, Problem> {
        let path = request.extract_parts::<axum::extract::Path<T>>().await;
        let axum::extract::Path(path) = path.map_err(|e| Problem::bad_request(e.body_text()))?;
        Ok(Self(path))
    }
}

impl<T: DeserializeOwned + JsonSchema + Send + 'static> Input for Query<T> {
    fn describe(describe: &mut Describe<'_>) {
        describe.parameters::<T>(Place::Query);
    }

    async fn read(request: &mut Request, _app: &App) -> Result<Self, Problem> {
        let query = request.extract_parts::<axum::extract::Query<T>>().await;
        let axum::extract::Query(query) = query.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let cause = cause.unwrap_or_else(|| error.body_text());
            Problem::bad_request(format!("the query: {cause}"))
        })?;
        Ok(Self(query))
    }
}

impl<T: DeserializeOwned + JsonSchema + Send + 'static> Input for Body<T> {
    fn describe(describe: &mut Describe<'_>) {
        describe.body::<T>();
    }

    async fn read(request: &mut Request, app: &App) -> Result<Self, Problem> {
        check_type(request)?;
        let limit = app.settings.limits.body_bytes;
        let body = std::mem::replace(request.body_mut(), Bytes::empty());
        let Ok(bytes) = axum::body::to_bytes(body, limit).await else {
            let message = format!("the body must come whole and have at most {limit} bytes");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        };
        // serde would take a list for the members of an object in their order
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(Problem::bad_request("the body must be a JSON object"));
        }
        let parsed = serde_json::from_slice(&bytes);
        let body = parsed.map_err(|e| Problem::bad_request(format!("the body: {e}")))?;
        Ok(Self(body))
    }
}

/// Only JSON is taken for JSON: what a foreign page can make a browser send is not.
fn check_type(request: &Request) -> Result<(), Problem> {
    let given = request.headers().get(header::CONTENT_TYPE);
    let given = given
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = "the body must be JSON, with the header Content-Type: application/json";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
}
