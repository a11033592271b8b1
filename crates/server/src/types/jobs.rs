//! Jobs: pipelines that run or ran.

use headwater_engine::CheckpointStatus;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Names a job of a pipeline.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct JobPath {
    /// The pipeline's id.
    pub(crate) pipeline_id: String,
    /// The job's id.
    pub(crate) job_id: String,
}

/// A job.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Job {
    /// Its id: the same as long as the pipeline exists, so that its sessions at brokers are found again.
    pub(crate) id: String,
    /// The pipeline it runs.
    pub(crate) pipeline_id: String,
    /// Whether it is to run.
    pub(crate) running_desired: bool,
    /// `Created`, `Scheduling`, `Running`, `Stopping`, `Stopped`, `Restarting`, `Finished` or `Failed`.
    pub(crate) state: String,
    /// How often it was started.
    pub(crate) run_id: u64,
    /// When it was started last.
    pub(crate) start_time: Option<u64>,
    /// When it ended.
    pub(crate) finish_time: Option<u64>,
    /// In how many tasks it runs: operators by workers.
    pub(crate) tasks: Option<u64>,
    /// Why it failed.
    pub(crate) failure_message: Option<String>,
    /// When it was created.
    pub(crate) created_at: u64,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum JobLogLevel {
    /// The job goes on, or tries to: a broker is away.
    Warn,
    /// The job has failed.
    Error,
}

/// Something that went wrong in a job.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobLogMessage {
    /// Its id.
    pub(crate) id: String,
    /// When it happened.
    pub(crate) created_at: u64,
    /// The operator, if it was one.
    pub(crate) operator_id: Option<String>,
    /// Always null: faults are those of whole operators.
    pub(crate) task_index: Option<u64>,
    /// How bad it is.
    pub(crate) level: JobLogLevel,
    /// What happened.
    pub(crate) message: String,
    /// Why, as far as is known.
    pub(crate) details: String,
}

/// Rows of a bare `SELECT`, or of a sink that is only tried out.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OutputData {
    /// The operator that shows them.
    pub(crate) operator_id: String,
    /// When they came.
    pub(crate) timestamp: u64,
    /// One row as a JSON object, as text.
    pub(crate) value: String,
}

/// A checkpoint of a job.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Checkpoint {
    /// Its number.
    pub(crate) epoch: u32,
    /// How it is stored.
    pub(crate) backend: String,
    /// When it was begun.
    pub(crate) start_time: u64,
    /// When it was durable.
    pub(crate) finish_time: Option<u64>,
}

impl Checkpoint {
    pub(crate) fn of(status: &CheckpointStatus) -> Self {
        let took = u64::try_from(status.duration.as_micros()).unwrap_or(u64::MAX);
        Self {
            // a number that no job reaches in ten lives of its disk
            epoch: u32::try_from(status.number).unwrap_or(u32::MAX),
            backend: "sqlite".to_owned(),
            start_time: status.begun_us,
            finish_time: Some(status.begun_us.saturating_add(took)),
        }
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MetricName {
    /// Bytes a second that come in.
    BytesRecv,
    /// Bytes a second that go out.
    BytesSent,
    /// Messages a second that come in.
    MessagesRecv,
    /// Messages a second that go out.
    MessagesSent,
    /// How full what is before it is, from 0 to 1.
    Backpressure,
    /// CPU time a second: 1 is a whole core.
    Cpu,
}

/// A value at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Metric {
    /// When.
    pub(crate) time: u64,
    /// The value.
    pub(crate) value: f64,
}

/// The values of one subtask.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct SubtaskMetrics {
    /// Which one. Operators are measured as a whole: always 0.
    pub(crate) index: u32,
    /// Its values, oldest first.
    pub(crate) metrics: Vec<Metric>,
}

/// The values of one measure.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct MetricGroup {
    /// What is measured.
    pub(crate) name: MetricName,
    /// The values.
    pub(crate) subtasks: Vec<SubtaskMetrics>,
}

/// All that is measured of an operator.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OperatorMetricGroup {
    /// The operator.
    pub(crate) operator_id: String,
    /// Its measures.
    pub(crate) metric_groups: Vec<MetricGroup>,
}
