//! The first thing that two processes say to each other on a connection: who they are and what they run.

use std::hash::{DefaultHasher, Hash, Hasher};

use headwater_planner::plan::Plan;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;

use super::words::{read_frame, write_frame};
use super::{Cluster, PeerError, name};

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// Timely's protocol.
    Data,
    /// Our [words](super::words).
    Control,
}

/// Who one is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// The version of Headwater.
    headwater: String,
    pub(crate) process: usize,
    addresses: Vec<String>,
    workers: usize,
    job_id: String,
    /// A hash of the plan and of what it was made of.
    plan: u64,
    pub(crate) purpose: Purpose,
}

impl Hello {
    pub(crate) fn new(cluster: &Cluster, plan: &Plan, job_id: &str, workers: usize) -> Self {
        // the standard library's hasher with its fixed keys: against mistakes, not against malice
        let mut hasher = DefaultHasher::new();
        plan.to_string().hash(&mut hasher);
        cluster.script.hash(&mut hasher);
        Self {
            headwater: env!("CARGO_PKG_VERSION").to_owned(),
            process: cluster.process,
            addresses: cluster.addresses.clone(),
            workers,
            job_id: job_id.to_owned(),
            plan: hasher.finish(),
            purpose: Purpose::Control,
        }
    }

    pub(super) fn for_purpose(&self, purpose: Purpose) -> Self {
        Self {
            purpose,
            ..self.clone()
        }
    }

    /// Greets who has dialled, and hears who it is. `None` if it is no process of ours.
    pub(super) async fn answer(&self, stream: &mut TcpStream) -> Option<Self> {
        let theirs: Self = read_frame(stream).await.ok()?;
        write_frame(stream, &self.for_purpose(theirs.purpose))
            .await
            .ok()?;
        Some(theirs)
    }

    /// Greets who was dialled, and hears who it is.
    pub(super) async fn greet(&self, stream: &mut TcpStream) -> std::io::Result<Self> {
        write_frame(stream, self).await?;
        read_frame(stream).await
    }

    /// That another process can run the job together with this one.
    pub(super) fn check(&self, theirs: &Self) -> Result<(), PeerError> {
        let Some(difference) = self.difference(theirs) else {
            return Ok(());
        };
        Err(PeerError::Differs {
            ours: name(&self.addresses, self.process),
            theirs: name(&theirs.addresses, theirs.process),
            difference,
        })
    }

    fn difference(&self, theirs: &Self) -> Option<String> {
        let (ours, differs) = (self, |what: &str, remedy: &str| {
            Some(format!("{what}; {remedy}"))
        });
        if ours.headwater != theirs.headwater {
            let what = format!("version {} and {}", ours.headwater, theirs.headwater);
            return differs(&what, "run the same version everywhere");
        }
        if ours.addresses != theirs.addresses {
            let list = |hello: &Self| hello.addresses.join(" ");
            let what = format!("hosts {} and {}", list(ours), list(theirs));
            return differs(
                &what,
                "give all processes the same --processes and --hostfile",
            );
        }
        if ours.process == theirs.process {
            return differs("they have the same number", "give each its own --process");
        }
        if ours.workers != theirs.workers {
            let what = format!("{} and {} workers", ours.workers, theirs.workers);
            return differs(&what, "give all processes the same --parallelism");
        }
        if ours.plan != theirs.plan {
            let what = "they run different SQL";
            return differs(
                what,
                "give all processes the same file and the same profiles",
            );
        }
        if ours.job_id != theirs.job_id {
            let what = format!("job '{}' and job '{}'", ours.job_id, theirs.job_id);
            return differs(&what, "give all processes the same --job-id");
        }
        None
    }
}
