//! How the command ends, for scripts.

use std::fmt;
use std::process::ExitCode;

use headwater_engine::connector::ConfigError;
use headwater_engine::{JobError, PlanError};
use headwater_server::client::ClientError;

/// What the exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: done, or interrupted and drained.
    Done,
    /// 1: the job failed while it ran, or a connection test found a fault.
    Failed,
    /// 2: the command line, the SQL or a file that they name is wrong; nothing was run. (Also clap's code.)
    Usage,
    /// 130: interrupted a second time, without draining. What was unacknowledged stays so.
    Interrupted,
}

impl Exit {
    /// The number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Interrupted => 130,
        }
    }
}

/// What the user must mend before anything can be run. As the context of an error it makes the exit code 2.
#[derive(Debug)]
pub(crate) struct Mistake(pub(crate) String);

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Mistake {}

impl From<&anyhow::Error> for Exit {
    fn from(error: &anyhow::Error) -> Self {
        let cannot_start = match error.downcast_ref() {
            Some(JobError::Start { .. }) => true,
            Some(JobError::Peers(error)) => error.is_mistake(),
            _ => false,
        };
        let refused = matches!(
            error.downcast_ref(),
            Some(
                ClientError::Refused { .. }
                    | ClientError::Address(_)
                    | ClientError::Certificate { .. }
            )
        );
        let mistake = refused
            || error.is::<Mistake>()
            || error.is::<ConfigError>()
            || error.is::<PlanError>();
        if mistake || cannot_start {
            Self::Usage
        } else {
            Self::Failed
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
