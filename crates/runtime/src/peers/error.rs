//! Why several processes did not run a job together.

use std::io;
use std::time::Duration;

/// What came between the processes of a job.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The address of this process is not one to listen at.
    #[error(
        "{process} cannot listen there: is another process of that number running, or is the address not this machine's?"
    )]
    Listen {
        /// This process.
        process: String,
        /// Why.
        source: io::Error,
    },
    /// Not all have come.
    #[error(
        "waited {} s in vain for {missing}; start every process with the same file, --processes and --hostfile, each with its own --process",
        patience.as_secs_f32()
    )]
    Missing {
        /// Who, and why not.
        missing: String,
        /// How long they were waited for.
        patience: Duration,
    },
    /// Two processes were not started alike.
    #[error("{ours} and {theirs} cannot run one job: {difference}")]
    Differs {
        /// This process.
        ours: String,
        /// The other.
        theirs: String,
        /// What is different and what to do.
        difference: String,
    },
    /// The job failed in another process.
    #[error("{process} failed: {reason}")]
    Failed {
        /// The other process.
        process: String,
        /// Its number.
        number: usize,
        /// Why it failed.
        reason: String,
    },
    /// Another process is no more.
    #[error(
        "{process} is lost: {how}; what was unacknowledged stays so: start all processes again"
    )]
    Lost {
        /// The other process.
        process: String,
        /// How that was noticed.
        how: String,
    },
    /// State cannot be kept by several processes.
    #[error(
        "the state of windows, joins and aggregates cannot be kept over several processes: run without a state folder, \
         knowing that open windows are lost if a process crashes, or in one process"
    )]
    KeepsState,
}

impl PeerError {
    /// Whether the processes were started in a way that cannot work.
    pub fn is_mistake(&self) -> bool {
        matches!(self, Self::Differs { .. } | Self::KeepsState)
    }
}
