//! Pipelines: a SQL text that runs as a job.

use std::fmt;

use headwater_engine::{Graph, PlanError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A user-defined function. Headwater has none; the type is here so that clients of Arroyo can send an empty list.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Udf {
    /// Its source text.
    pub(crate) definition: String,
}

/// A SQL text to be checked.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(example = serde_json::json!({ "query": "SELECT 1 AS a" }))]
pub(crate) struct ValidateQueryPost {
    /// The SQL.
    pub(crate) query: String,
    /// Must be empty.
    pub(crate) udfs: Option<Vec<Udf>>,
}

/// What checking came to.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QueryValidationResult {
    /// The dataflow, if nothing is wrong.
    pub(crate) graph: Option<PipelineGraph>,
    /// What is wrong, one text each.
    pub(crate) errors: Vec<String>,
    /// The same with places.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// One thing that is wrong with a SQL text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Diagnostic {
    /// What is wrong.
    pub(crate) message: String,
    /// The line, from 1, if the place is known.
    pub(crate) line: Option<u64>,
    /// The column, from 1.
    pub(crate) column: Option<u64>,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

impl Diagnostic {
    /// An error and those that came with it.
    pub(crate) fn all(error: &PlanError) -> Vec<Self> {
        let first = Self {
            message: error.message.clone(),
            line: error.location.map(|location| location.line),
            column: error.location.map(|location| location.column),
            hint: error.hint.clone(),
        };
        let more = error.more.iter().flat_map(Self::all);
        std::iter::once(first).chain(more).collect()
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "{line}:{column}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// A pipeline to be created.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(example = serde_json::json!({
    "name": "ticks",
    "query": "CREATE TABLE ticks WITH (connector = 'impulse', event_rate = '1'); SELECT counter FROM ticks",
    "parallelism": 1,
}))]
pub(crate) struct PipelinePost {
    /// A name for people.
    #[schemars(length(min = 1, max = 200))]
    pub(crate) name: String,
    /// The SQL.
    pub(crate) query: String,
    /// Must be empty.
    pub(crate) udfs: Option<Vec<Udf>>,
    /// Whether the pipeline is only tried out, as by `preview`: for a minute, its sinks only shown.
    pub(crate) preview: Option<bool>,
    /// Worker threads, 1 to 64; 1 if nothing is said.
    #[schemars(range(min = 1, max = 64))]
    pub(crate) parallelism: Option<u64>,
    /// How often state is made durable, in microseconds: from a second to a day.
    pub(crate) checkpoint_interval_micros: Option<u64>,
}

/// A pipeline to be tried out.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(example = serde_json::json!({ "query": "SELECT 1 AS a" }))]
pub(crate) struct PreviewPost {
    /// The SQL.
    pub(crate) query: String,
    /// Must be empty.
    pub(crate) udfs: Option<Vec<Udf>>,
    /// Whether sinks are written, and not only shown.
    pub(crate) enable_sinks: Option<bool>,
}

/// What is to change about a pipeline.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(example = serde_json::json!({ "stop": "graceful" }))]
pub(crate) struct PipelinePatch {
    /// Worker threads, 1 to 64. A running pipeline drains and starts again with as many.
    #[schemars(range(min = 1, max = 64))]
    pub(crate) parallelism: Option<u64>,
    /// How often state is made durable, in microseconds.
    pub(crate) checkpoint_interval_micros: Option<u64>,
    /// Whether and how it is to stop; `none` starts it.
    pub(crate) stop: Option<StopType>,
}

/// How to restart a pipeline.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(example = serde_json::json!({ "force": true }))]
pub(crate) struct PipelineRestart {
    /// Whether not to wait until what was read is written.
    pub(crate) force: Option<bool>,
}

/// A pipeline.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Pipeline {
    /// Its id.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// Its SQL; what looks like a secret is replaced by stars.
    pub(crate) query: String,
    /// Always empty.
    pub(crate) udfs: Vec<Udf>,
    /// How often state is made durable.
    pub(crate) checkpoint_interval_micros: u64,
    /// Whether and how it is to stop.
    pub(crate) stop: StopType,
    /// When it was created.
    pub(crate) created_at: u64,
    /// What can be done about it now: the `stop` of the patch that does it.
    pub(crate) action: Option<StopType>,
    /// The same for people.
    pub(crate) action_text: String,
    /// Whether something is being done.
    pub(crate) action_in_progress: bool,
    /// Its dataflow.
    pub(crate) graph: PipelineGraph,
    /// Whether it is only tried out.
    pub(crate) preview: bool,
}

/// Whether and how a pipeline is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum StopType {
    /// It runs.
    None,
    /// It stops reading; what was read is written and acknowledged; open windows are kept for the next start.
    Checkpoint,
    /// It stops reading, and closes what is open; what was read is written and acknowledged; nothing is kept.
    Graceful,
    /// It stops where it stands; what is unacknowledged will be delivered again.
    Immediate,
    /// The same.
    Force,
}

impl StopType {
    /// Its name, as in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Checkpoint => "checkpoint",
            Self::Graceful => "graceful",
            Self::Immediate => "immediate",
            Self::Force => "force",
        }
    }
}

/// A dataflow.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PipelineGraph {
    /// The operators, inputs first.
    pub(crate) nodes: Vec<PipelineNode>,
    /// The streams.
    pub(crate) edges: Vec<PipelineEdge>,
}

/// An operator.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PipelineNode {
    /// Its id, which its metrics have too.
    pub(crate) node_id: String,
    /// What it is.
    pub(crate) operator: String,
    /// What it does.
    pub(crate) description: String,
    /// On how many workers it runs.
    pub(crate) parallelism: u64,
}

/// A stream between two operators.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PipelineEdge {
    /// The operator that puts it out.
    pub(crate) src_id: String,
    /// The operator that takes it.
    pub(crate) dest_id: String,
    /// Empty: keys have no types of their own.
    pub(crate) key_type: String,
    /// Empty: what flows is in the description of the operator that puts it out.
    pub(crate) value_type: String,
    /// `Shuffle` if rows are brought to the worker of their key, else `Forward`.
    pub(crate) edge_type: String,
}

impl PipelineGraph {
    /// The dataflow of a job with so many workers.
    pub(crate) fn of(graph: Graph, parallelism: u64) -> Self {
        let nodes = graph.vertices.into_iter().map(|vertex| PipelineNode {
            node_id: vertex.id,
            operator: vertex.operator,
            description: vertex.description,
            parallelism,
        });
        let edges = graph.edges.into_iter().map(|edge| PipelineEdge {
            src_id: edge.from,
            dest_id: edge.to,
            key_type: String::new(),
            value_type: String::new(),
            edge_type: if edge.shuffled { "Shuffle" } else { "Forward" }.to_owned(),
        });
        Self {
            nodes: nodes.collect(),
            edges: edges.collect(),
        }
    }
}
