//! What goes over the wire: the JSON of requests and answers.
//!
//! Names and shapes are those of Arroyo's API, so that its clients carry over. What it does not have is added beside
//! (`diagnostics`), never in its place. Times are microseconds since 1970.

mod connections;
mod jobs;
mod object;
mod pipelines;
mod schema;

use std::time::{SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use connections::*;
pub(crate) use jobs::*;
pub(crate) use pipelines::*;
pub(crate) use schema::*;

/// One page of a long list, newest first.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page<T> {
    /// The items.
    pub(crate) data: Vec<T>,
    /// Whether there are more behind them: ask again with `starting_after` set to the id of the last one.
    pub(crate) has_more: bool,
}

/// A whole list.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Collection<T> {
    /// The items.
    pub(crate) data: Vec<T>,
}

/// Which page of a list is asked for.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    /// The id of the last item of the page before; without it, the first page is meant.
    pub(crate) starting_after: Option<String>,
    /// How many items, at most 1,000; 10 if nothing is said.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) limit: Option<u32>,
}

/// Names a thing by its id.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Id {
    /// Its id.
    pub(crate) id: String,
}

/// Now, in microseconds since 1970.
pub(crate) fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // a clock before 1970 is no reason to fail
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}
