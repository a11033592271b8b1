//! Where tokio and timely meet, and the only place where they do.
//!
//! ```text
//!  tokio task                                     timely worker thread
//!  SourceEnd  ── batches, at most 4 waiting ────► SourceInlet    (wakes the operator)
//!             ◄── the durable position, latest ──                (wakes the task)
//!  SinkEnd    ◄── batches, bounded by credit ──── SinkOutlet     (wakes the task)
//!             ── epochs accepted, dead letters ─►                (wakes the operator)
//! ```
//!
//! A tokio task wakes an operator by its [`Waker`]; the operator wakes a task by sending. Neither ever blocks on the
//! other. When a worker goes away its ends are dropped, and the task sees its channel closed.

pub(crate) mod lookup;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, mpsc as sync_mpsc};

use arrow::record_batch::RecordBatch;
use headwater_connector::{OperatorError, Position, Rejects, SourceBatch};
use timely::scheduling::SyncActivator;
use tokio::sync::{mpsc, watch};

use crate::backlog::{Backlog, Size};

/// How many batches may wait between a source's task and its operator.
const SOURCE_QUEUE_BATCHES: usize = 4;

/// Wakes one operator from any thread. Before the operator exists it does nothing: a new operator looks at its queues
/// once without being woken.
#[derive(Clone, Default)]
pub(crate) struct Waker(Arc<OnceLock<SyncActivator>>);

impl Waker {
    /// Ties the waker to its operator.
    pub(crate) fn bind(&self, activator: SyncActivator) {
        // bound once, by the one worker that builds the operator; a second call would carry the same address
        self.0.set(activator).ok();
    }

    /// Schedules the operator and unparks its worker.
    pub(crate) fn wake(&self) {
        if let Some(activator) = self.0.get() {
            // an error means that the worker has ended, and then nobody needs waking
            activator.activate().ok();
        }
    }
}

/// The task's end of a source.
pub(crate) struct SourceEnd {
    pub(crate) batches: mpsc::Sender<SourceBatch>,
    pub(crate) durable: watch::Receiver<Position>,
    pub(crate) waker: Waker,
}

/// The worker's end of a source.
pub(crate) struct SourceInlet {
    pub(crate) batches: mpsc::Receiver<SourceBatch>,
    pub(crate) waker: Waker,
}

/// Joins a source's task to its operator; the last is the way back for positions.
pub(crate) fn source() -> (SourceEnd, SourceInlet, watch::Sender<Position>) {
    let (batch_sender, batches) = mpsc::channel(SOURCE_QUEUE_BATCHES);
    let (durable_sender, durable) = watch::channel(Position::default());
    let waker = Waker::default();
    let end = SourceEnd {
        batches: batch_sender,
        durable,
        waker: waker.clone(),
    };
    (end, SourceInlet { batches, waker }, durable_sender)
}

/// A batch for a sink, with the worker that waits for its acceptance.
pub(crate) struct SinkBatch {
    pub(crate) worker: usize,
    pub(crate) epoch: u64,
    pub(crate) rows: RecordBatch,
    pub(crate) size: Size,
}

/// What a sink's task tells an operator.
pub(crate) enum Answer {
    /// One of its batches of this epoch has been accepted.
    Accepted(u64),
    /// Dead letters, for an epoch that is still open.
    Rejected(u64, RecordBatch),
}

/// The task's end of a sink, joined to one operator on every worker.
pub(crate) struct SinkEnd {
    pub(crate) batches: mpsc::UnboundedReceiver<SinkBatch>,
    workers: Vec<(sync_mpsc::Sender<Answer>, Waker)>,
    rejects: Rejects,
    backlog: Arc<Backlog>,
    /// Batches that were taken and not accepted, by epoch and worker; counted only if there may be dead letters.
    unaccepted: BTreeMap<(u64, usize), usize>,
}

impl SinkEnd {
    /// Notes that a batch is given to the sink.
    pub(crate) fn take(&mut self, worker: usize, epoch: u64) {
        if self.rejects.collects() {
            *self.unaccepted.entry((epoch, worker)).or_default() += 1;
        }
    }

    /// Notes that the sink has taken a batch of this size.
    pub(crate) fn written(&self, size: Size) {
        self.backlog.remove(size);
    }

    /// Tells the workers that batches of these epochs have been accepted, and before that what was rejected of them.
    pub(crate) fn accept(&mut self, batches: Vec<(usize, u64)>) -> Result<(), OperatorError> {
        if self.rejects.collects() {
            self.reject()?;
        }
        for (worker, epoch) in batches {
            if let Some(count) = self.unaccepted.get_mut(&(epoch, worker)) {
                *count -= 1;
                if *count == 0 {
                    self.unaccepted.remove(&(epoch, worker));
                }
            }
            self.tell(worker, Answer::Accepted(epoch));
        }
        for (_, waker) in &self.workers {
            waker.wake();
        }
        Ok(())
    }

    /// Sends dead letters back in the earliest epoch of all that was not accepted. Which of the batches a letter is of
    /// is not known, but it is one of these; and what is in an earlier epoch holds back the later ones, too.
    fn reject(&self) -> Result<(), OperatorError> {
        for letters in self.rejects.take()? {
            let Some((epoch, worker)) = self.unaccepted.keys().next() else {
                return Err(OperatorError::fatal(
                    "the sink rejected a row after its flush; this is a bug of the connector",
                ));
            };
            self.tell(*worker, Answer::Rejected(*epoch, letters));
        }
        Ok(())
    }

    fn tell(&self, worker: usize, answer: Answer) {
        // a worker that has ended no longer waits
        self.workers[worker].0.send(answer).ok();
    }
}

/// One worker's end of a sink. The queue to the task has no bound of its own: the sources' credit and the bound of the
/// [`Backlog`] say what can be in it.
pub(crate) struct SinkOutlet {
    pub(crate) worker: usize,
    pub(crate) batches: mpsc::UnboundedSender<SinkBatch>,
    pub(crate) answers: sync_mpsc::Receiver<Answer>,
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) waker: Waker,
}

/// Joins a sink's task to its operators on `workers` workers. `rejects` is what the sink's operator was given.
pub(crate) fn sink(
    workers: usize,
    rejects: Rejects,
    backlog: &Arc<Backlog>,
) -> (SinkEnd, Vec<SinkOutlet>) {
    let (sender, batches) = mpsc::unbounded_channel();
    let mut ends = Vec::with_capacity(workers);
    let mut outlets = Vec::with_capacity(workers);
    for worker in 0..workers {
        let (answer, answers) = sync_mpsc::channel();
        let waker = Waker::default();
        ends.push((answer, waker.clone()));
        outlets.push(SinkOutlet {
            worker,
            batches: sender.clone(),
            answers,
            backlog: Arc::clone(backlog),
            waker,
        });
    }
    (
        SinkEnd {
            batches,
            workers: ends,
            rejects,
            backlog: Arc::clone(backlog),
            unaccepted: BTreeMap::new(),
        },
        outlets,
    )
}
