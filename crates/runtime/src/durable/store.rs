//! The thread that a job's [`Database`] has to itself, since SQLite blocks.
//!
//! Whatever waits for it goes into one transaction, so that many small batches of several sources share the cost of one
//! write to disk: the slower the disk, the more of them.

use std::path::Path;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use tokio::sync::{mpsc, oneshot, watch};

use super::Share;
pub use super::database::StateError;
pub(crate) use super::database::{Checkpoint, Database, Draft, Entry, Telling};
use super::part::Part;

/// How many requests may wait. Sources wait before they read more.
const QUEUE: usize = 64;

/// After how many bytes a transaction is ended although more batches wait.
const TRANSACTION_BYTES: usize = 8 << 20;

/// How many bytes of state are written in one transaction, in which no batch is, and what a part counts for beside its rows.
const KEPT_BYTES: u64 = 4 << 20;
const PART_BYTES: u64 = 1 << 10;

/// What is asked of the thread.
pub(crate) enum Request {
    /// To put a batch into the journal, and tell when it is on disk.
    Append(Draft, Arc<watch::Sender<u64>>),
    /// To read the next entries behind a position.
    Read {
        share: Share,
        after: u64,
        most: usize,
        answer: oneshot::Sender<Vec<Entry>>,
    },
    /// To keep what sinks will be told.
    Tell(Vec<Telling>, oneshot::Sender<()>),
    /// To read what a sink was told before, the last first.
    Told {
        sink: String,
        before: i64,
        most: usize,
        answer: oneshot::Sender<Vec<(i64, RecordBatch)>>,
    },
    /// To forget what a sink was told before.
    ForgetTold(String, oneshot::Sender<()>),
    /// To write rows of a checkpoint that is yet to come.
    Keep(Vec<Part>, oneshot::Sender<()>),
    /// To take a checkpoint, whose rows are all written, for the last one.
    Commit(Checkpoint, oneshot::Sender<()>),
    /// To forget everything.
    Clear(oneshot::Sender<()>),
}

/// The way to the thread. The thread ends when nobody has one any more.
#[derive(Clone)]
pub(crate) struct Store {
    requests: mpsc::Sender<Request>,
}

impl Store {
    /// The way, and its end, for [`serve`](Self::serve).
    pub(crate) fn new() -> (Self, mpsc::Receiver<Request>) {
        let (requests, received) = mpsc::channel(QUEUE);
        (Self { requests }, received)
    }

    /// Starts the thread; the answer arrives when it has ended and the file is closed. After an error, which goes to
    /// `fail`, it does nothing more.
    pub(crate) fn serve(
        database: Database,
        mut requests: mpsc::Receiver<Request>,
        job_id: &str,
        fail: impl FnOnce(StateError) + Send + 'static,
    ) -> std::io::Result<oneshot::Receiver<()>> {
        let (closed_sender, closed) = oneshot::channel();
        std::thread::Builder::new()
            .name(format!("state {job_id}"))
            .spawn(move || {
                if let Err(error) = serve(database, &mut requests) {
                    // before anybody sees the way closed, and complains of that
                    fail(error);
                }
                drop(requests);
                // whoever waits for it may have gone with the tokio runtime
                closed_sender.send(()).ok();
            })?;
        Ok(closed)
    }

    /// Room for one request. `None` if the thread has given up, and then the job is failing.
    pub(crate) async fn room(&self) -> Option<mpsc::Permit<'_, Request>> {
        self.requests.reserve().await.ok()
    }

    /// The next entries of a journal behind a position; none at its end.
    pub(crate) async fn read(&self, share: &Share, after: u64, most: usize) -> Option<Vec<Entry>> {
        let (answer, entries) = oneshot::channel();
        self.room().await?.send(Request::Read {
            share: share.clone(),
            after,
            most,
            answer,
        });
        entries.await.ok()
    }

    /// Resolves when it is on disk what sinks will be told.
    pub(crate) async fn tell(&self, tellings: Vec<Telling>) -> Option<()> {
        let (answer, done) = oneshot::channel();
        self.room().await?.send(Request::Tell(tellings, answer));
        done.await.ok()
    }

    /// What earlier runs have told a sink behind the last checkpoint, the last first, before that of a number.
    pub(crate) async fn told(
        &self,
        sink: &str,
        before: i64,
        most: usize,
    ) -> Option<Vec<(i64, RecordBatch)>> {
        let (answer, told) = oneshot::channel();
        self.room().await?.send(Request::Told {
            sink: sink.to_owned(),
            before,
            most,
            answer,
        });
        told.await.ok()
    }

    /// Forgets what earlier runs have told a sink.
    pub(crate) async fn forget_told(&self, sink: &str) -> Option<()> {
        let (answer, done) = oneshot::channel();
        let forget = Request::ForgetTold(sink.to_owned(), answer);
        self.room().await?.send(forget);
        done.await.ok()
    }

    /// Resolves when a checkpoint is on disk.
    pub(crate) async fn commit(&self, checkpoint: Checkpoint) -> Option<()> {
        let parts = checkpoint.states.iter().flat_map(|(_, parts)| parts);
        for some in unkept(parts) {
            let (answer, done) = oneshot::channel();
            self.room().await?.send(Request::Keep(some, answer));
            done.await.ok()?;
        }
        let (answer, done) = oneshot::channel();
        self.room().await?.send(Request::Commit(checkpoint, answer));
        done.await.ok()
    }

    /// Forgets everything.
    pub(crate) async fn clear(&self) -> Option<()> {
        let (answer, done) = oneshot::channel();
        self.room().await?.send(Request::Clear(answer));
        done.await.ok()
    }
}

/// Opens the file of a job in its folder; see [`Database::open`].
pub(crate) fn open(folder: &Path, plan: &str, workers: usize) -> Result<Database, StateError> {
    Database::open(&folder.join("state.db"), plan, workers)
}

fn serve(mut database: Database, requests: &mut mpsc::Receiver<Request>) -> Result<(), StateError> {
    let mut batch = Batch::default();
    while let Some(request) = requests.blocking_recv() {
        let mut next = Some(request);
        while let Some(request) = next {
            // what was asked before is answered before
            match request {
                Request::Append(draft, durable) => batch.add(draft, durable),
                Request::Read {
                    share,
                    after,
                    most,
                    answer,
                } => {
                    batch.write(&mut database)?;
                    // a task that has gone does not want the answer any more, here and below
                    answer.send(database.entries(&share, after, most)?).ok();
                }
                Request::Tell(tellings, answer) => {
                    database.tell(&tellings)?;
                    answer.send(()).ok();
                }
                Request::Told {
                    sink,
                    before,
                    most,
                    answer,
                } => {
                    answer.send(database.told(&sink, before, most)?).ok();
                }
                Request::ForgetTold(sink, answer) => {
                    database.forget_told(&sink)?;
                    answer.send(()).ok();
                }
                Request::Keep(parts, answer) => {
                    database.keep(&parts)?;
                    answer.send(()).ok();
                }
                Request::Commit(checkpoint, answer) => {
                    batch.write(&mut database)?;
                    database.commit(&checkpoint)?;
                    answer.send(()).ok();
                }
                Request::Clear(answer) => {
                    batch.write(&mut database)?;
                    database.clear()?;
                    answer.send(()).ok();
                }
            }
            next = match batch.bytes < TRANSACTION_BYTES {
                true => requests.try_recv().ok(),
                false => None,
            };
        }
        batch.write(&mut database)?;
    }
    Ok(())
}

/// The parts that are not on disk yet, as many at a time as journals can wait for.
fn unkept<'a>(parts: impl Iterator<Item = &'a Part>) -> Vec<Vec<Part>> {
    let mut divided: Vec<Vec<Part>> = Vec::new();
    let mut left = 0;
    for part in parts.filter(|part| !part.kept.is_on_disk()) {
        match divided.last_mut().filter(|_| left > 0) {
            Some(some) => some.push(part.clone()),
            None => {
                divided.push(vec![part.clone()]);
                left = KEPT_BYTES;
            }
        }
        left = left.saturating_sub(PART_BYTES + part.bytes());
    }
    divided
}

/// The entries of one transaction.
#[derive(Default)]
struct Batch {
    drafts: Vec<Draft>,
    durable: Vec<(u64, Arc<watch::Sender<u64>>)>,
    bytes: usize,
}

impl Batch {
    fn add(&mut self, draft: Draft, durable: Arc<watch::Sender<u64>>) {
        self.bytes += draft.size();
        self.durable.push((draft.position, durable));
        self.drafts.push(draft);
    }

    fn write(&mut self, database: &mut Database) -> Result<(), StateError> {
        if self.drafts.is_empty() {
            return Ok(());
        }
        database.append(&self.drafts)?;
        for (position, durable) in self.durable.drain(..) {
            durable.send_replace(position);
        }
        self.drafts.clear();
        self.bytes = 0;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    fn draft(position: u64) -> Draft {
        let share = Share {
            operator: "in".to_owned(),
            subtask: 0,
        };
        let numbers = Arc::new(Int64Array::from(vec![1])) as _;
        let entry = Entry {
            position,
            rows: RecordBatch::try_from_iter([("n", numbers)]).unwrap(),
            rejected: None,
        };
        Draft::new(share, &entry).unwrap()
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_told_and_never_said_to_be_on_disk() {
        let folder = tempfile::TempDir::new().unwrap();
        let database = open(folder.path(), "plan", 1).unwrap();
        let (store, requests) = Store::new();
        let (failed, failure) = oneshot::channel();
        let fail = move |error| failed.send(error).unwrap();
        let closed = Store::serve(database, requests, "test", fail).unwrap();
        let durable = Arc::new(watch::Sender::new(0));
        let append = async |position| {
            let room = store.room().await;
            room.map(|room| room.send(Request::Append(draft(position), Arc::clone(&durable))))
        };
        append(1).await.unwrap();
        durable.subscribe().wait_for(|at| *at == 1).await.unwrap();
        // the same place cannot be written twice
        append(1).await.unwrap();
        let error = failure.await.unwrap();
        assert!(matches!(error, StateError::Database { .. }), "{error}");
        closed.await.unwrap();
        assert!(append(2).await.is_none(), "nothing more is taken");
        assert_eq!(*durable.borrow(), 1);
    }
}
