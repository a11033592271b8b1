//! A source whose batches are on disk before they are acknowledged.
//!
//! ```text
//!  broker ── next ──► Journal ── batch, at once ──────────────────► dataflow
//!    ▲                  │  └── the same batch ──► store ── fsync ──┐
//!    └──── commit ──────┘ ◄────────────────────────────────────────┘
//! ```
//!
//! The batch goes on while it is being written; only its acknowledgement waits. When the job has been started again, the
//! entries behind the last checkpoint come first, and the source's own batches behind them.
//!
//! Positions are those of the journal, which go on from run to run; they are translated for the source below. What the
//! runtime commits is of no interest, because checkpoints trim the journal.
//!
//! Bounds: the queue of the store; a source that is faster than the disk waits.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use headwater_connector::{OperatorError, Position, SourceBatch, SourceOperator};
use tokio::sync::watch;

use super::Share;
use super::store::{Draft, Entry, Request, Store};

/// How many entries are read back at once. Each is a batch of up to some thousand rows.
const READ_ENTRIES: usize = 16;

/// A source with a journal.
pub(crate) struct Journal {
    source: Box<dyn SourceOperator>,
    store: Store,
    share: Share,
    /// The last position given out.
    position: u64,
    replay: Replay,
    /// The last position on disk.
    durable: watch::Receiver<u64>,
    on_durable: Arc<watch::Sender<u64>>,
    /// What was read and is not acknowledged: the positions of the journal and of the source.
    written: VecDeque<(u64, Position)>,
    /// What may be acknowledged.
    due: Option<Position>,
}

/// What an earlier run has left.
enum Replay {
    /// Entries that were read from the disk, and there may be more behind this position.
    Going(VecDeque<Entry>, u64),
    Done,
}

impl Journal {
    /// `position` is how far the last checkpoint has come, and `last` the last entry, if there is one behind that.
    pub(crate) fn new(
        source: Box<dyn SourceOperator>,
        store: Store,
        share: Share,
        position: u64,
        last: Option<u64>,
    ) -> Self {
        let last = last.unwrap_or(position).max(position);
        let (on_durable, durable) = watch::channel(last);
        Self {
            source,
            store,
            share,
            position: last,
            replay: match last > position {
                true => Replay::Going(VecDeque::new(), position),
                false => Replay::Done,
            },
            durable,
            on_durable: Arc::new(on_durable),
            written: VecDeque::new(),
            due: None,
        }
    }

    /// The next batch that an earlier run has left.
    async fn replayed(&mut self) -> Result<Option<SourceBatch>, OperatorError> {
        let Replay::Going(entries, after) = &mut self.replay else {
            return Ok(None);
        };
        if entries.is_empty() {
            let read = self.store.read(&self.share, *after, READ_ENTRIES).await;
            entries.extend(read.ok_or_else(given_up)?);
        }
        let Some(entry) = entries.pop_front() else {
            self.replay = Replay::Done;
            return Ok(None);
        };
        *after = entry.position;
        Ok(Some(SourceBatch {
            rows: entry.rows,
            rejected: entry.rejected,
            position: Position(entry.position),
        }))
    }

    /// Tells the source what is on disk. May be dropped half-way: it is told again.
    async fn acknowledge(&mut self) -> Result<(), OperatorError> {
        let durable = *self.durable.borrow_and_update();
        while let Some((_, position)) = self.written.pop_front_if(|(at, _)| *at <= durable) {
            self.due = Some(position);
        }
        if let Some(position) = self.due {
            self.source.commit(position).await?;
            self.due = None;
        }
        Ok(())
    }

    /// Reads the next batch and hands it to the store.
    async fn read(&mut self) -> Result<Option<SourceBatch>, OperatorError> {
        // before the batch is taken, for behind that nothing may wait
        let room = self.store.room().await.ok_or_else(given_up)?;
        let Some(mut batch) = self.source.next().await? else {
            return Ok(None);
        };
        self.position += 1;
        self.written.push_back((self.position, batch.position));
        batch.position = Position(self.position);
        let entry = Entry {
            position: self.position,
            rows: batch.rows,
            rejected: batch.rejected,
        };
        let draft = Draft::new(self.share.clone(), &entry).map_err(|error| {
            OperatorError::caused_by("what was read cannot be put into the journal", error)
        })?;
        room.send(Request::Append(draft, Arc::clone(&self.on_durable)));
        Ok(Some(SourceBatch {
            rows: entry.rows,
            rejected: entry.rejected,
            position: batch.position,
        }))
    }
}

/// The first error is told by the store itself.
fn given_up() -> OperatorError {
    OperatorError::fatal("its journal cannot be written any more")
}

#[async_trait]
impl SourceOperator for Journal {
    async fn open(&mut self) -> Result<(), OperatorError> {
        self.source.open().await
    }

    async fn next(&mut self) -> Result<Option<SourceBatch>, OperatorError> {
        if let Some(batch) = self.replayed().await? {
            return Ok(Some(batch));
        }
        loop {
            self.acknowledge().await?;
            let mut durable = self.durable.clone();
            tokio::select! {
                biased;
                changed = durable.changed(), if !self.written.is_empty() => {
                    changed.map_err(|_closed| given_up())?;
                }
                batch = self.read() => return batch,
            }
        }
    }

    async fn commit(&mut self, _position: Position) -> Result<(), OperatorError> {
        self.acknowledge().await
    }

    fn awaits_commits(&self) -> bool {
        self.source.awaits_commits()
    }

    async fn close(&mut self) -> Result<(), OperatorError> {
        while !self.written.is_empty() {
            self.acknowledge().await?;
            if !self.written.is_empty() {
                self.durable.changed().await.map_err(|_closed| given_up())?;
            }
        }
        self.acknowledge().await?;
        self.source.close().await
    }
}
