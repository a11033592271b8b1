//! How the command ends, for scripts.

use std::process::ExitCode;

/// What the exit code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: done, or interrupted and drained.
    Done,
    /// 1: the job failed while it ran, or a connection test found a fault.
    Failed,
    /// 2: the command line or the SQL is wrong; nothing was run. (Also clap's code.)
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

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
