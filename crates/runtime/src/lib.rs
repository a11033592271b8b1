//! A dataflow plan, running.
//!
//! ```text
//!  tokio                     │ timely workers                              │ tokio
//!  source task ─ batches ──► │ source ─► chain ─► union ─► … ─► sink ──────┼─► sink task ─► the world
//!       ▲                    │   ▲  epochs                      │          │      │
//!       └── durable position ┼── acks ◄── frontier at the sinks ◄──────────┼──────┘ flushed
//! ```
//!
//! The modules in the order of the data's way: [`job`] is what others see; `assembly` makes the operators and starts
//! threads and tasks; `tasks` are the loops around sources and sinks; `threads` those that work; `bridge` joins tokio and
//! timely; `epoch` cuts processing time; `control`, `lanes` and `minimum` are how event time goes with the rows; `worker`
//! builds and runs one thread's share; `operators` are the timely operators; `parcel` is what goes from worker to worker;
//! `peers` are the other processes of a job that runs in several;
//! `lookup` is the task of a table in which rows are looked up; `acks` is the way back; `durable` what is kept on disk, `spool` what is
//! there for want of memory; `state`
//! is how everything ends.
//!
//! **Promises.** A position is handed back to its source only after every row derived from it, in every sink, has been
//! accepted by the other side, or has been absorbed by an operator with state; then, if the job keeps its state, the row is in
//! its journal or its checkpoint. What is between a source and its sinks is bounded in rows and bytes, where it is read
//! (`acks`) and, for chains that make more of it, where it waits at the sinks (`backlog`). A panic or an error
//! anywhere in a job ends that job, with the first cause reported, and no other.

mod acks;
mod assembly;
mod backlog;
mod bridge;
mod control;
mod durable;
mod epoch;
mod error;
mod gate;
mod ipc;
pub mod job;
mod lanes;
mod lookup;
mod loops;
mod minimum;
mod name;
mod operators;
mod parcel;
mod peers;
mod rows;
mod spool;
mod state;
mod state_size;
mod tasks;
mod threads;
mod values;
mod worker;

pub use acks::{AckGauge, CREDIT_ROWS};
pub use backlog::{BACKLOG_BYTES, BACKLOG_ROWS, Backlog};
pub use durable::store::StateError;
pub use error::JobError;
pub use job::{
    CHECKPOINT_INTERVAL, CheckpointStatus, Job, JobOptions, OperatorKind, OperatorStatus, Outcome,
    OverLimit, PreviewFactory,
};
pub use name::OperatorName;
pub use peers::{Cluster, PeerError};
pub use spool::SpoolError;
pub use worker::WorkerCpu;
