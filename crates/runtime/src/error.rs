//! Why a job failed.

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use headwater_connector::OperatorError;

use crate::durable::store::StateError;
use crate::name::OperatorName;
use crate::peers::PeerError;

/// What ended a job. Only the first cause is kept; what follows from it is noise.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// An operator of a connector gave up.
    #[error("{operator} failed")]
    Operator {
        /// Which operator.
        operator: OperatorName,
        /// Why.
        source: OperatorError,
    },
    /// An expression failed on a row, and the table does not say `bad_data = 'drop'`.
    #[error(
        "{operator} failed on a row: {reason}; with bad_data = 'drop' in the source such rows are left out"
    )]
    Evaluate {
        /// Which operator.
        operator: OperatorName,
        /// Why, as [`row_fault`] tells it.
        reason: String,
    },
    /// An operator with state could not go on.
    #[error("{operator} failed: {reason}")]
    Compute {
        /// Which operator.
        operator: OperatorName,
        /// Why, as [`row_fault`] tells it.
        reason: String,
    },
    /// An operator could not be made.
    #[error("{operator} cannot start")]
    Start {
        /// Which operator.
        operator: OperatorName,
        /// Why.
        source: anyhow::Error,
    },
    /// A bug: a worker or a task panicked. Nothing that was unacknowledged has been acknowledged.
    #[error("{place} panicked: {message}; this is a bug of Headwater's, please report it")]
    Panicked {
        /// Which thread or task.
        place: String,
        /// The panic's message.
        message: String,
    },
    /// What the job keeps on disk cannot be taken up or kept.
    #[error("the job's state cannot be kept")]
    State(#[source] StateError),
    /// The processes of the job have not come together or not stayed so.
    #[error(transparent)]
    Peers(#[from] PeerError),
    /// The machine would not give what the job needs.
    #[error("the job's threads could not be started: {0}")]
    Threads(String),
}

impl JobError {
    /// The id of the operator that it was, if it was one.
    pub fn operator(&self) -> Option<&str> {
        match self {
            Self::Operator { operator, .. }
            | Self::Evaluate { operator, .. }
            | Self::Compute { operator, .. }
            | Self::Start { operator, .. } => Some(operator.id()),
            Self::Panicked { .. } | Self::State(_) | Self::Peers(_) | Self::Threads(_) => None,
        }
    }
}

/// Why an expression failed, without the layers that the error went through, each of which says it again.
pub(crate) fn row_fault(error: &DataFusionError) -> String {
    match error.find_root() {
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::CastError(reason) | ArrowError::ComputeError(reason) => reason.clone(),
            other => other.to_string(),
        },
        root => root.message().into_owned(),
    }
}

/// How DataFusion ends its internal errors: it asks to report them to its own tracker, though most of those here are ours.
const PLEA: &str = "\nThis issue was likely caused by a bug in DataFusion's code";

/// An error with what has caused it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = plain(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&plain(error));
        cause = error.source();
    }
    text
}

fn plain(error: &dyn std::error::Error) -> String {
    let text = error.to_string();
    match text.split_once(PLEA) {
        Some((before, _plea)) => {
            format!("{before} (this is a bug: please report it, with the query)")
        }
        None => text,
    }
}

/// The message that a panic carried.
pub(crate) fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_is_not_said_to_be_datafusions() {
        let error = DataFusionError::Internal("groups have no pane".to_owned());
        let expected = "Internal error: groups have no pane. (this is a bug: please report it, with the query)";
        assert_eq!(chain(&error), expected);
    }
}
