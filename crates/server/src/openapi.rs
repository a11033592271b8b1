//! Endpoints that describe themselves.
//!
//! ```text
//! async fn(App, Input) -> Result<Output, Problem> ──┬─► a route of axum
//!                                                   └─► an operation of the OpenAPI document
//! ```
//!
//! Both come from the types of one function, so they cannot say different things. Types describe themselves by
//! `schemars`; OpenAPI 3.1 takes its JSON schemas as they are, and what is left to assemble is small enough to do here
//! (`document`). The same document is shown as a page that needs nothing from elsewhere (`page`).

mod document;
mod input;
mod links;
mod output;
mod page;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Map, Value};

pub(crate) use document::{Describe, document};
pub(crate) use input::{Body, Input, Path, Query};
pub(crate) use output::{Done, Events, Output, Reply};
pub(crate) use page::page;

use crate::answers;
use crate::app::App;
use crate::problem::Problem;

/// What answers a request.
pub(crate) type Handler = dyn Fn(App, Request) -> BoxFuture<'static, Response> + Send + Sync;

/// One endpoint.
pub(crate) struct Endpoint {
    method: Method,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    describe: fn(&mut Describe<'_>),
    handler: Arc<Handler>,
}

impl Endpoint {
    /// An endpoint whose input and output are those of its handler.
    pub(crate) fn new<I, O, F, R>(
        (method, path): (Method, &'static str),
        (id, summary): (&'static str, &'static str),
        handler: F,
    ) -> Self
    where
        I: Input,
        O: Output,
        F: Fn(App, I) -> R + Send + Sync + Copy + 'static,
        R: Future<Output = Result<O, Problem>> + Send + 'static,
    {
        let answer = move |app: App, mut request: Request| {
            async move {
                let input = match I::read(&mut request, &app).await {
                    Ok(input) => input,
                    Err(problem) => return problem.into_response(),
                };
                drop(request);
                handler(app, input).await.into_response()
            }
            .boxed()
        };
        Self {
            method,
            path,
            id,
            summary,
            describe: |describe| {
                I::describe(describe);
                O::describe(describe);
            },
            handler: Arc::new(answer),
        }
    }

    /// The same, answered from memory as long as nothing that is kept has changed: its answer must depend on nothing else.
    pub(crate) fn remembered(mut self) -> Self {
        let handler = Arc::clone(&self.handler);
        self.handler = Arc::new(move |app, request| {
            answers::remembered(app, request, Arc::clone(&handler)).boxed()
        });
        self
    }

    /// Its part of the document of all endpoints.
    fn operation(&self, describe: &mut Describe<'_>, all: &[Self]) -> Map<String, Value> {
        (self.describe)(describe);
        describe.links(links::links(self, all));
        describe.finish(self.id, self.summary, tag(self.path))
    }
}

/// What an endpoint is about: the first part of its path.
fn tag(path: &str) -> &str {
    path.split('/').nth(1).unwrap_or_default()
}

/// The routes of these endpoints.
pub(crate) fn router(endpoints: &[Endpoint]) -> Router<App> {
    endpoints.iter().fold(Router::new(), |router, endpoint| {
        let handler = Arc::clone(&endpoint.handler);
        let answer = move |State(app): State<App>, request: Request| handler(app, request);
        // all methods of the table are ones that axum knows
        let filter = MethodFilter::try_from(endpoint.method.clone()).unwrap_or(MethodFilter::GET);
        router.route(endpoint.path, on(filter, answer))
    })
}
