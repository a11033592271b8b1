//! One job over several processes: how they find each other, what they tell each other, and how they share a fate.
//!
//! ```text
//!  process 0                                                     process 1
//!  workers 0, 1 ◄── data: rows, progress (timely's protocol) ──► workers 2, 3
//!  control      ◄── control: words about the job as a whole ───► control
//! ```
//!
//! Every process runs the same plan and knows all addresses. Each dials those with lower numbers, twice: one connection
//! becomes timely's, the other stays ours. Both begin with a [`hello`]; what differs is an error on both sides, and what
//! is no hello is dropped. When all have met ([`meeting`]), nobody listens any more, and the job starts everywhere.
//!
//! From then on the [`control`] connections carry [`words`]: that a process is alive, which epochs are closed, how much of
//! what was sent has arrived, that the job is to be stopped, that it has failed and why, that a process is done. They
//! alone say whether a process is lost: a data connection that breaks ([`line`]) waits for their word.
//!
//! **Promises.** The first error of any process ends the job in all of them, and each says which process it was and why.
//! A process that is killed is noticed at once, one that hangs after [`Cluster::silence`]. A job has succeeded when all
//! processes have. What is on its way between processes is bounded ([`away`]).
//!
//! Connections are neither encrypted nor authenticated: they are for networks that are trusted.

pub(crate) mod away;
pub(crate) mod control;
mod error;
mod hello;
mod layout;
pub(crate) mod line;
mod links;
mod meeting;
#[cfg(test)]
mod tests;
mod words;

use std::time::Duration;

pub use error::PeerError;
pub(crate) use hello::Hello;
pub(crate) use layout::Layout;
pub(crate) use meeting::{Peers, meet};

/// How long a process waits for the others unless someone says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a process may say nothing before it is given up.
const SILENCE: Duration = Duration::from_secs(10);

/// The processes that run a job together, and which of them this one is.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// The number of this process, from 0.
    pub process: usize,
    /// The address of each process, `host:port`: where it listens, and where the others dial it. The same list everywhere.
    pub addresses: Vec<String>,
    /// What is run, the same everywhere: the text of the SQL, say. Only its hash is sent.
    pub script: String,
    /// How long to wait until all processes are there.
    pub patience: Duration,
    /// How long another process may say nothing, once the job runs, before it is given up.
    pub silence: Duration,
}

impl Cluster {
    /// Process number `process` of those that listen at these addresses, with 60 s of patience.
    pub fn new(process: usize, addresses: Vec<String>, script: String) -> Self {
        Self {
            process,
            addresses,
            script,
            patience: PATIENCE,
            silence: SILENCE,
        }
    }

    /// What a process is called in messages.
    pub(crate) fn name(&self, process: usize) -> String {
        name(&self.addresses, process)
    }
}

fn name(addresses: &[String], process: usize) -> String {
    match addresses.get(process) {
        Some(address) => format!("process {process} ({address})"),
        None => format!("process {process}"),
    }
}
