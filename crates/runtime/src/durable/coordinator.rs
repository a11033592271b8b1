//! Takes the checkpoints of a job, one after the other.
//!
//! Bounds: one checkpoint at a time. While it is written the state of windows is shared with it, so that what has gone out or was
//! merged meanwhile is in memory until then; other state is in memory once more. A checkpoint waits until the
//! sinks have accepted what is in it; meanwhile the journal grows by what the sources' credit lets in.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use headwater_connector::Metrics;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::part::Part;
use super::report::Report;
use super::store::{Checkpoint, Store};
use super::{Seat, Share};
use crate::epoch::{EpochClock, now_us};

/// How many checkpoints are remembered for those who ask.
const HISTORY: usize = 64;

/// A checkpoint that is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckpointStatus {
    /// The first is 1; counted over all runs of the job.
    pub number: u64,
    /// When the stream was cut, in microseconds since 1970.
    pub begun_us: u64,
    /// How long it took from then until it was on disk.
    pub duration: Duration,
    /// The memory of the state in it.
    pub bytes: u64,
}

/// The last checkpoints of a job, the newest at the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct History(Arc<Mutex<VecDeque<CheckpointStatus>>>);

impl History {
    pub(crate) fn list(&self) -> Vec<CheckpointStatus> {
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.iter().copied().collect()
    }

    fn push(&self, checkpoint: CheckpointStatus) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if list.len() == HISTORY {
            list.pop_front();
        }
        list.push_back(checkpoint);
    }
}

/// How a job is stopped so that it can go on: what its sources and the coordinator tell each other.
#[derive(Clone)]
pub(crate) struct Suspension {
    /// How many shares of sources may still put rows into the dataflow.
    reading: Arc<watch::Sender<usize>>,
    /// The last checkpoint is on disk: nothing that the job has ends with it.
    pub(crate) suspended: CancellationToken,
    /// No source needs to wait for a checkpoint any more.
    pub(crate) released: CancellationToken,
}

impl Suspension {
    pub(crate) fn new(shares: usize) -> Self {
        Self {
            reading: Arc::new(watch::Sender::new(shares)),
            suspended: CancellationToken::new(),
            released: CancellationToken::new(),
        }
    }

    /// Says that a share puts no more rows into the dataflow.
    pub(crate) fn quiet(&self) {
        self.reading.send_modify(|shares| *shares -= 1);
    }

    async fn all_quiet(&self) {
        let mut reading = self.reading.subscribe();
        // the sender is `self`'s
        reading.wait_for(|shares| *shares == 0).await.ok();
    }
}

/// The coordinator of one job.
pub(crate) struct Coordinator {
    pub(crate) clock: EpochClock,
    pub(crate) store: Store,
    pub(crate) reports: mpsc::UnboundedReceiver<(u64, Report)>,
    /// How many shares of sources and seats of operators report on a cut.
    pub(crate) shares: usize,
    pub(crate) seats: usize,
    pub(crate) interval: Duration,
    /// Of the last checkpoint.
    pub(crate) number: u64,
    /// What operators have left that have ended before the job.
    pub(crate) ended: BTreeMap<Seat, Vec<Part>>,
    /// Of the operators with state: unless these have counted, there is nothing new to keep.
    pub(crate) metrics: Vec<Arc<Metrics>>,
    pub(crate) history: History,
    pub(crate) suspension: Suspension,
}

impl Coordinator {
    /// Takes checkpoints until the job ends, or `stop` is cancelled; then, if the job is to go on later, a last one when
    /// its sources are quiet.
    pub(crate) async fn run(mut self, stop: CancellationToken, suspends: impl Fn() -> bool) {
        let _released = self.suspension.released.clone().drop_guard();
        let mut timer = tokio::time::interval(self.interval);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // the first tick is now
        timer.tick().await;
        let mut counted = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = timer.tick() => {}
            }
            let counts = self.counts();
            if counted != Some(counts) && self.checkpoint().await.is_none() {
                return;
            }
            counted = Some(counts);
        }
        if suspends() {
            self.suspension.all_quiet().await;
            if self.checkpoint().await.is_some() {
                self.suspension.suspended.cancel();
            }
        }
    }

    /// What the operators with state have taken and put out.
    fn counts(&self) -> (u64, u64) {
        let counts = self.metrics.iter().map(|metrics| metrics.snapshot());
        counts.fold((0, 0), |(rows, rows_out), counts| {
            (rows + counts.rows, rows_out + counts.rows_out)
        })
    }

    /// Takes one; `None` if the job ends before that.
    async fn checkpoint(&mut self) -> Option<()> {
        let (began, begun_us) = (Instant::now(), now_us());
        let cut = self.clock.cut();
        let mut states = self.ended.clone();
        let mut positions: BTreeMap<Share, Option<u64>> = BTreeMap::new();
        while states.len() < self.seats || positions.len() < self.shares {
            match self.reports.recv().await? {
                (_, Report::Ended { seat, parts }) => {
                    states.entry(seat.clone()).or_insert_with(|| parts.clone());
                    self.ended.insert(seat, parts);
                }
                (at, _) if at != cut => {}
                (_, Report::State { seat, parts }) => drop(states.insert(seat, parts)),
                (_, Report::Accepted { share, position }) => {
                    positions.insert(share, position);
                }
            }
        }
        self.number += 1;
        let parts = || states.values().flatten();
        let news = parts().filter(|part| !part.kept.is_on_disk());
        let written = news.map(Part::bytes).sum::<u64>();
        let bytes = parts().map(Part::bytes);
        let status = CheckpointStatus {
            number: self.number,
            begun_us,
            bytes: bytes.sum(),
            duration: Duration::ZERO,
        };
        let checkpoint = Checkpoint {
            number: self.number,
            cut,
            begun_us,
            positions: positions
                .into_iter()
                .filter_map(|(share, position)| Some((share, position?)))
                .collect(),
            states: states.into_iter().collect(),
        };
        self.store.commit(checkpoint).await?;
        let duration = began.elapsed();
        let Self { number, .. } = self;
        tracing::debug!(
            number,
            ?duration,
            bytes = status.bytes,
            written,
            "checkpoint"
        );
        self.history.push(CheckpointStatus { duration, ..status });
        Some(())
    }
}
