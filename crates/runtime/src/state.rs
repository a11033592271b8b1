//! What the threads and tasks of one job share: its first error, and the means to end them all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::Thread;

use tokio_util::sync::CancellationToken;

use crate::error::JobError;

/// The fate that all parts of a job share.
#[derive(Default)]
pub(crate) struct Fate {
    error: Mutex<Option<JobError>>,
    failed: AtomicBool,
    workers: Mutex<Vec<Thread>>,
    /// Sources stop reading; the rest drains.
    pub(crate) drain: CancellationToken,
    /// Whether the job ends with its sources although it could go on later.
    pub(crate) finishes: AtomicBool,
    /// Everything stops where it is.
    pub(crate) abort: CancellationToken,
}

impl Fate {
    /// Ends the job because of this error. Later errors are consequences and are only logged.
    pub(crate) fn fail(&self, error: JobError) {
        {
            let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
            match *first {
                None => *first = Some(error),
                Some(_) => tracing::debug!(%error, "after the job had failed"),
            }
        }
        self.end();
    }

    /// Ends the job where it stands, without an error.
    pub(crate) fn end(&self) {
        self.failed.store(true, Ordering::Release);
        self.abort.cancel();
        for worker in self
            .workers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            worker.unpark();
        }
    }

    /// Whether workers must stop.
    pub(crate) fn ended(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Adds the calling thread to those that are woken at the end.
    pub(crate) fn join_worker(&self) {
        let thread = std::thread::current();
        self.workers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(thread);
    }

    /// Looks at the first error, if there was one.
    pub(crate) fn with_error<T>(&self, look: impl FnOnce(Option<&JobError>) -> T) -> T {
        let error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        look(error.as_ref())
    }

    /// The first error, if there was one.
    pub(crate) fn take_error(&self) -> Option<JobError> {
        self.error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}
