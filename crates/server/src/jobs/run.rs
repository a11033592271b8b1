//! One run of a pipeline.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use headwater_engine::Job;

use super::history::History;
use crate::output::Output;
use crate::store::PipelineRecord;

/// How long a pipeline that is only tried out runs, and is known.
pub(crate) const PREVIEW_TTL: Duration = Duration::from_secs(60);

/// What is to become of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    /// It is to run until its sources end.
    Run,
    /// It is to end.
    Stop,
    /// It is to end, and another one to begin.
    Restart,
    /// It is to end, and the next server to go on.
    GoOnLater,
}

/// One run of a pipeline.
pub(crate) struct Run {
    pub(crate) pipeline_id: String,
    pub(crate) pipeline_name: String,
    pub(crate) job: Job,
    pub(crate) output: Output,
    pub(crate) history: History,
    intent: Mutex<Intent>,
}

impl Run {
    pub(crate) fn new(pipeline: &PipelineRecord, job: Job, output: Output) -> Self {
        Self {
            pipeline_id: pipeline.id.clone(),
            pipeline_name: pipeline.name.clone(),
            job,
            output,
            history: History::default(),
            intent: Mutex::new(Intent::Run),
        }
    }

    /// Whether it has not ended.
    pub(crate) fn is_under_way(&self) -> bool {
        self.job.outcome().is_none()
    }

    pub(crate) fn intent(&self) -> Intent {
        *self.intent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what is to become of it. The last word counts.
    pub(crate) fn intend(&self, intent: Intent) {
        *self.intent.lock().unwrap_or_else(PoisonError::into_inner) = intent;
    }
}
