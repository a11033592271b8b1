//! What a job with state keeps on disk, so that a crash loses nothing that was acknowledged.
//!
//! ```text
//!              ┌──────────── journal ◄── batches, synced to disk before they are acknowledged
//!  broker ──► source ──► … ──► stage ──► … ──► sink ──► broker
//!                                │ state as of an epoch          │ accepted up to that epoch
//!                                └────────────► checkpoint ◄─────┘   … and the journal is trimmed
//! ```
//!
//! Acknowledging a message once its row is in a window would lose it with the process; waiting until the window closes
//! would need a broker that sends an hour ahead. So a source whose other side cannot be read again gets a [`journal`]
//! around it: a batch is on disk before it is acknowledged, and then nothing else holds the acknowledgement up. From
//! time to time the [`coordinator`] takes a checkpoint:
//!
//! 1. It *cuts* the stream: a number between epochs that were issued and those that will be.
//! 2. Every stage absorbs all of the epochs up to the cut, lets later rows wait, and hands over its state.
//! 3. When the sinks have accepted everything of these epochs, each source says how far it had come.
//! 4. The rows of the state that are not on disk yet are written there, a few at a time. Then one transaction of the
//!    [`store`] replaces the last checkpoint with this one, and drops the rows that only that had, and the entries of
//!    the journal that are in this one.
//!
//! A job that starts again takes up the state, and its sources go on behind the checkpoint: from the journal, or by
//! reading again. What was put out between the checkpoint and the crash is put out once more: at least once, as at
//! QoS 1 without state. What cannot be put out twice, changes, is first taken back ([`told`]). A job whose sources have all ended has no state left, and keeps nothing.
//!
//! This is the algorithm of aligned snapshots (Carbone et al., *Lightweight Asynchronous Snapshots for Distributed
//! Dataflows*, 2015) with timely's frontiers in the place of barriers.

pub(crate) mod coordinator;
mod database;
pub(crate) mod divide;
pub(crate) mod journal;
pub(crate) mod keeping;
pub(crate) mod part;
pub(crate) mod report;
pub(crate) mod store;
pub(crate) mod told;

use std::fmt;

/// One share of a source: its operator and its number among them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Share {
    pub(crate) operator: String,
    pub(crate) subtask: usize,
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.operator, self.subtask)
    }
}

/// One worker's part of an operator with state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Seat {
    pub(crate) operator: String,
    pub(crate) worker: usize,
}
