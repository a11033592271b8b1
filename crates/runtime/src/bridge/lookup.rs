//! The bridge of a lookup table: keys go to its task, rows come back, in order for each worker.
//!
//! ```text
//!  LookupEnd  ◄── keys, a few batches a worker ─── LookupOutlet     (wakes the task)
//!             ─── the rows of each batch ────────►                  (wakes the operator)
//! ```

use std::sync::{Arc, mpsc as sync_mpsc};

use arrow::record_batch::RecordBatch;
use headwater_connector::Found;
use tokio::sync::mpsc;

use super::Waker;

/// How many batches of keys a worker may have on the way: enough that a lookup, which takes what waits in one go, finds
/// some more behind it.
pub(crate) const REQUESTS_IN_FLIGHT: usize = 8;

/// The distinct keys of a batch, with the worker that waits for their rows.
pub(crate) struct LookupRequest {
    pub(crate) worker: usize,
    pub(crate) keys: RecordBatch,
}

/// The task's end of a lookup table, joined to one operator on every worker.
pub(crate) struct LookupEnd {
    pub(crate) requests: mpsc::Receiver<LookupRequest>,
    workers: Vec<(sync_mpsc::Sender<Arc<Found>>, Waker)>,
}

impl LookupEnd {
    /// Gives a worker the rows of its next batch of keys.
    pub(crate) fn answer(&self, worker: usize, found: Arc<Found>) {
        let (answers, waker) = &self.workers[worker];
        // a worker that has ended no longer waits
        answers.send(found).ok();
        waker.wake();
    }
}

/// One worker's end of a lookup table.
pub(crate) struct LookupOutlet {
    pub(crate) worker: usize,
    pub(crate) requests: mpsc::Sender<LookupRequest>,
    pub(crate) answers: sync_mpsc::Receiver<Arc<Found>>,
    pub(crate) waker: Waker,
}

/// Joins a lookup table's task to its operators on `workers` workers. There is always room for what the workers may have
/// in flight.
pub(crate) fn lookup(workers: usize) -> (LookupEnd, Vec<LookupOutlet>) {
    let (sender, requests) = mpsc::channel(workers * REQUESTS_IN_FLIGHT);
    let (ends, outlets) = (0..workers)
        .map(|worker| {
            let (answer, answers) = sync_mpsc::channel();
            let waker = Waker::default();
            let outlet = LookupOutlet {
                worker,
                requests: sender.clone(),
                answers,
                waker: waker.clone(),
            };
            ((answer, waker), outlet)
        })
        .unzip();
    let end = LookupEnd {
        requests,
        workers: ends,
    };
    (end, outlets)
}
