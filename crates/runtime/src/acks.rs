//! What a source has put into the dataflow and not yet seen acknowledged: its credit, and its way back.
//!
//! Each batch belongs to an epoch. When the frontier at all sinks downstream has passed the epoch, everything derived
//! from the batch has been accepted there, and its position is durable. The queue lives outside the operator, because
//! timely drops the operators of a finished dataflow before their last progress can be seen.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use headwater_connector::{Position, SourceBatch};
use timely::dataflow::operators::probe::Handle as ProbeHandle;
use tokio::sync::watch;

use crate::backlog::Backlog;
use crate::durable::Share;
use crate::durable::report::{Report, Reports};
use crate::epoch::EpochClock;
use crate::gate::Gate;

/// How many rows a source may have in the dataflow before it must wait for acknowledgements.
pub const CREDIT_ROWS: u64 = 262_144;

/// How many bytes of Arrow memory a source may have in the dataflow, likewise. One batch may exceed it.
const CREDIT_BYTES: u64 = 256 << 20;

/// How far acknowledgements lag behind reading; shared with whoever shows it.
#[derive(Debug)]
pub struct AckGauge {
    started: Instant,
    rows: AtomicU64,
    // microseconds since `started`; 0 for none
    oldest_us: AtomicU64,
    last_lag_us: AtomicU64,
}

impl Default for AckGauge {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            rows: AtomicU64::new(0),
            oldest_us: AtomicU64::new(0),
            last_lag_us: AtomicU64::new(0),
        }
    }
}

impl AckGauge {
    /// Rows in the dataflow now.
    pub fn rows(&self) -> u64 {
        self.rows.load(Relaxed)
    }

    /// How old the oldest unacknowledged batch is; with none, how long the last one took; in microseconds.
    pub fn lag_us(&self) -> u64 {
        match self.oldest_us.load(Relaxed) {
            0 => self.last_lag_us.load(Relaxed),
            oldest => self.micros(Instant::now()).saturating_sub(oldest),
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        // saturates after 584,000 years
        u64::try_from(at.duration_since(self.started).as_micros())
            .unwrap_or(u64::MAX)
            .max(1)
    }
}

struct Pending {
    epoch: u64,
    position: Position,
    rows: u64,
    bytes: u64,
    since: Instant,
}

/// The unacknowledged batches of one source subtask, oldest first.
pub(crate) struct Acks {
    pending: VecDeque<Pending>,
    rows: u64,
    bytes: u64,
    durable: watch::Sender<Position>,
    gauge: Arc<AckGauge>,
    backlog: Arc<Backlog>,
    /// If it is not read while lookups wait for their tables.
    gate: Option<Arc<Gate>>,
    cuts: Option<Cuts>,
}

/// How a share of a source takes part in checkpoints.
pub(crate) struct Cuts {
    clock: EpochClock,
    reports: Reports,
    share: Share,
    /// The cut about which it has reported.
    reported: u64,
    /// The last position that has been accepted.
    position: Option<u64>,
}

impl Cuts {
    /// `position` is that of the last checkpoint.
    pub(crate) fn new(
        clock: EpochClock,
        reports: Reports,
        share: Share,
        position: Option<u64>,
    ) -> Self {
        Self {
            clock,
            reports,
            share,
            reported: 0,
            position,
        }
    }

    /// Tells how far it had come at a cut.
    fn report(&mut self, cut: u64) {
        self.reported = cut;
        let accepted = Report::Accepted {
            share: self.share.clone(),
            position: self.position,
        };
        // without a coordinator the job is ending
        self.reports.send((cut, accepted)).ok();
    }
}

impl Acks {
    pub(crate) fn new(
        durable: watch::Sender<Position>,
        gauge: Arc<AckGauge>,
        (backlog, gate): (Arc<Backlog>, Option<Arc<Gate>>),
        cuts: Option<Cuts>,
    ) -> Self {
        Self {
            pending: VecDeque::new(),
            rows: 0,
            bytes: 0,
            durable,
            gauge,
            backlog,
            gate,
            cuts,
        }
    }

    /// Whether another batch may enter the dataflow.
    pub(crate) fn has_credit(&self) -> bool {
        let is_open = self.gate.as_ref().is_none_or(|gate| gate.is_open());
        self.rows < CREDIT_ROWS && self.bytes < CREDIT_BYTES && self.backlog.has_room() && is_open
    }

    /// Notes a batch that enters the dataflow in an epoch, never earlier than that of the batch before.
    pub(crate) fn push(&mut self, epoch: u64, batch: &SourceBatch) {
        let batches = || std::iter::once(&batch.rows).chain(&batch.rejected);
        let rows = batches().map(|batch| batch.num_rows() as u64).sum();
        let bytes = batches()
            .map(|batch| batch.get_array_memory_size() as u64)
            .sum();
        let since = Instant::now();
        self.rows += rows;
        self.bytes += bytes;
        self.pending.push_back(Pending {
            epoch,
            position: batch.position,
            rows,
            bytes,
            since,
        });
        self.show();
    }

    /// Hands back every position whose epoch the frontier has passed; true if there was one.
    pub(crate) fn release(&mut self, frontier: &ProbeHandle<u64>) -> bool {
        let mut durable = None;
        let cut = self.cut();
        while let Some(first) = self.pending.front()
            && !frontier.less_equal(&first.epoch)
        {
            if let Some(cuts) = &mut self.cuts {
                if first.epoch > cut && cuts.reported < cut {
                    cuts.report(cut);
                }
                cuts.position = Some(first.position.0);
            }
            self.rows -= first.rows;
            self.bytes -= first.bytes;
            durable = Some((first.position, first.since));
            self.pending.pop_front();
        }
        if let Some(cuts) = &mut self.cuts
            && cuts.reported < cut
            && !frontier.less_equal(&cut)
        {
            cuts.report(cut);
        }
        let Some((position, since)) = durable else {
            return false;
        };
        let lag_us = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.gauge.last_lag_us.store(lag_us, Relaxed);
        self.show();
        // the task has gone only if it failed, and then the job is failing
        self.durable.send(position).ok();
        true
    }

    /// The last cut, if it takes part in checkpoints.
    fn cut(&self) -> u64 {
        self.cuts.as_ref().map_or(0, |cuts| cuts.clock.last_cut())
    }

    fn show(&self) {
        let oldest = self
            .pending
            .front()
            .map_or(0, |first| self.gauge.micros(first.since));
        self.gauge.oldest_us.store(oldest, Relaxed);
        self.gauge.rows.store(self.rows, Relaxed);
    }
}
