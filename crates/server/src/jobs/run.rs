//! One run of a pipeline.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use headwater_engine::Job;

use super::history::History;
use crate::output::Output;
use crate::store::PipelineRecord;
use crate::traces::Stopping;

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
    wish: Mutex<Wish>,
}

/// What is to become of a run, and the spans of whoever wants it to end.
struct Wish {
    intent: Intent,
    stopping: Option<Stopping>,
}

impl Run {
    pub(crate) fn new(pipeline: &PipelineRecord, job: Job, output: Output) -> Self {
        Self {
            pipeline_id: pipeline.id.clone(),
            pipeline_name: pipeline.name.clone(),
            job,
            output,
            history: History::default(),
            wish: Mutex::new(Wish {
                intent: Intent::Run,
                stopping: None,
            }),
        }
    }

    /// Whether it has not ended.
    pub(crate) fn is_under_way(&self) -> bool {
        self.job.outcome().is_none()
    }

    pub(crate) fn intent(&self) -> Intent {
        self.wish().intent
    }

    /// Says what is to become of it, and what lasts until it has ended. The last word counts.
    pub(crate) fn intend(&self, intent: Intent, stopping: Option<Stopping>) {
        *self.wish() = Wish { intent, stopping };
    }

    /// The spans of the last word, once it has ended: they end with what is returned.
    pub(crate) fn stopped(&self) -> Option<Stopping> {
        self.wish().stopping.take()
    }

    fn wish(&self) -> MutexGuard<'_, Wish> {
        self.wish.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
