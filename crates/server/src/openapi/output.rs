//! What endpoints answer: JSON, nothing, or events as they happen.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, future};
use schemars::JsonSchema;
use serde::Serialize;

use super::document::Describe;
use crate::problem::Json;

/// How often a stream of events without events shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// An answer that can say what it is.
pub(crate) trait Output: IntoResponse {
    /// Adds itself to the description of an endpoint.
    fn describe(describe: &mut Describe<'_>);
}

/// JSON.
pub(crate) struct Reply<T>(pub(crate) T);

/// Nothing but the status.
pub(crate) struct Done;

/// Server-sent events, each of them one JSON document.
pub(crate) struct Events<T> {
    stream: BoxStream<'static, Result<Event, Infallible>>,
    item: PhantomData<T>,
}

impl<T: Serialize> Events<T> {
    /// The items of a stream. One that cannot be written as JSON is left out, and logged.
    pub(crate) fn new(items: impl Stream<Item = T> + Send + 'static) -> Self {
        let events = items.filter_map(|item| {
            let json = serde_json::to_string(&item);
            if let Err(error) = &json {
                tracing::error!("an event cannot be written as JSON: {error}");
            }
            future::ready(json.ok().map(|json| Ok(Event::default().data(json))))
        });
        Self {
            stream: events.boxed(),
            item: PhantomData,
        }
    }
}

impl<T: Serialize + JsonSchema> Output for Reply<T> {
    fn describe(describe: &mut Describe<'_>) {
        describe.answer::<T>("application/json");
    }
}

impl<T: Serialize> IntoResponse for Reply<T> {
    fn into_response(self) -> Response {
        Json(&self.0).into_response()
    }
}

impl Output for Done {
    fn describe(describe: &mut Describe<'_>) {
        describe.empty_answer();
    }
}

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        ().into_response()
    }
}

impl<T: Serialize + JsonSchema> Output for Events<T> {
    fn describe(describe: &mut Describe<'_>) {
        describe.events::<T>();
    }
}

impl<T> IntoResponse for Events<T> {
    fn into_response(self) -> Response {
        let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
        Sse::new(self.stream).keep_alive(keep_alive).into_response()
    }
}
