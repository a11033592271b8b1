//! The tokio tasks around the dataflow: one for each source subtask, one for each sink.

use std::pin::Pin;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use headwater_connector::{OperatorError, Position, SinkOperator, SourceBatch, SourceOperator};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use crate::bridge::{SinkBatch, SinkEnd, SourceEnd};
use crate::durable::coordinator::Suspension;
use crate::durable::told::Told;

/// How many flushes of one sink may be under way. Each stands for a write to the broker and its acknowledgement, so this
/// covers the round trip without letting acknowledgements of small epochs pile up.
const FLUSHES_IN_FLIGHT: usize = 64;

/// A batch of fewer rows is a small one.
const SMALL_BATCH_ROWS: usize = 256;

/// How long rows gather behind a small batch before the next one is asked for. Every batch wakes four threads or so on its
/// way and as many on the way back, which costs more than the work on a few rows. tokio counts in milliseconds, so it is
/// between 0.5 and 1.5 of them. The first batch after a pause never waits, nor do batches that are not small.
const GATHERING: Duration = Duration::from_micros(500);

/// How many batches a sink takes from its queue before it flushes.
const BATCHES_PER_FLUSH: usize = 64;

/// Reads a source until it ends or `stop` is cancelled, then waits until all that was read has been acknowledged. If the
/// job is to go on later, event time does not end with a source that was stopped: it waits for the last checkpoint.
///
/// `opened` is called once the source has been reached.
pub(crate) async fn run_source(
    mut source: Box<dyn SourceOperator>,
    mut end: SourceEnd,
    stop: CancellationToken,
    suspension: Option<Suspension>,
    opened: impl FnOnce(),
) -> Result<(), OperatorError> {
    let reached = tokio::select! {
        biased;
        () = stop.cancelled() => false,
        result = source.open() => { result?; true }
    };
    if reached {
        opened();
        read(source.as_mut(), &mut end, &stop).await?;
    }
    if let Some(suspension) = suspension {
        suspend(source.as_mut(), &mut end, &stop, &suspension).await?;
    }
    let SourceEnd {
        batches,
        mut durable,
        waker,
    } = end;
    drop(batches);
    waker.wake();
    while durable.changed().await.is_ok() {
        let position = *durable.borrow_and_update();
        source.commit(position).await?;
    }
    source.close().await
}

/// Says that nothing more comes from a source, once the dataflow has taken all of it; and if that is not its end, waits until
/// the last checkpoint is on disk.
async fn suspend(
    source: &mut dyn SourceOperator,
    end: &mut SourceEnd,
    stop: &CancellationToken,
    suspension: &Suspension,
) -> Result<(), OperatorError> {
    // an error means that the worker has gone: the job is ending
    if end
        .batches
        .reserve_many(end.batches.max_capacity())
        .await
        .is_err()
    {
        return Ok(());
    }
    suspension.quiet();
    if !stop.is_cancelled() {
        return Ok(());
    }
    loop {
        tokio::select! {
            biased;
            changed = end.durable.changed() => match changed {
                Ok(()) => {
                    let position = *end.durable.borrow_and_update();
                    source.commit(position).await?;
                }
                Err(_) => return Ok(()),
            },
            () = suspension.released.cancelled() => return Ok(()),
        }
    }
}

/// Moves batches into the dataflow and positions back, until the source ends or must stop.
async fn read(
    source: &mut dyn SourceOperator,
    end: &mut SourceEnd,
    stop: &CancellationToken,
) -> Result<(), OperatorError> {
    let mut room = None;
    let mut gathering = Gathering::new(source.awaits_commits());
    loop {
        // first the way back, then the end, and only then new data
        tokio::select! {
            biased;
            changed = end.durable.changed() => match changed {
                Ok(()) => {
                    let position = *end.durable.borrow_and_update();
                    gathering.committed(position);
                    source.commit(position).await?;
                }
                // the worker has gone: the job is failing
                Err(_) => return Ok(()),
            },
            () = stop.cancelled() => return Ok(()),
            permit = end.batches.reserve(), if room.is_none() => match permit {
                Ok(permit) => room = Some(permit),
                Err(_) => return Ok(()),
            },
            () = gathering.over(), if gathering.active => gathering.active = false,
            batch = source.next(), if room.is_some() && !gathering.active => match (batch?, room.take()) {
                (Some(batch), Some(permit)) => {
                    gathering.sent(&batch);
                    permit.send(batch);
                    end.waker.wake();
                }
                _ => return Ok(()),
            },
        }
    }
}

/// When the next batch may be asked for: at once, or after rows have gathered behind a small one.
///
/// Many brokers send no more than a window of unacknowledged messages, of a size that only they know, mostly 20 or 32. A
/// stream that is held back by it has as many unacknowledged each time, and never more, and it would stand still while we
/// wait. So the wait ends when all are acknowledged and they were as many as ever. If they were fewer, the broker had no
/// more to send, and rows gather.
struct Gathering {
    active: bool,
    /// Whether a window of unacknowledged messages may hold the source back.
    has_window: bool,
    sent: Position,
    committed: Position,
    /// The most that were unacknowledged, and the most since all were acknowledged.
    window: u64,
    peak: u64,
    timer: Pin<Box<Sleep>>,
}

impl Gathering {
    fn new(has_window: bool) -> Self {
        Self {
            active: false,
            has_window,
            sent: Position::default(),
            committed: Position::default(),
            window: 0,
            peak: 0,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
        }
    }

    fn sent(&mut self, batch: &SourceBatch) {
        self.sent = batch.position;
        self.peak = self.peak.max(self.unacknowledged());
        self.window = self.window.max(self.peak);
        self.active = batch.rows.num_rows() < SMALL_BATCH_ROWS;
        if self.active {
            self.timer.as_mut().reset(Instant::now() + GATHERING);
        }
    }

    fn committed(&mut self, position: Position) {
        self.committed = position;
        if self.unacknowledged() > 0 {
            return;
        }
        let peak = std::mem::take(&mut self.peak);
        if self.has_window && peak >= self.window {
            self.active = false;
        }
    }

    fn unacknowledged(&self) -> u64 {
        self.sent.0.saturating_sub(self.committed.0)
    }

    async fn over(&mut self) {
        self.timer.as_mut().await;
    }
}

/// The batches of one flush, each with the worker and the epoch that wait for it.
type Flush = BoxFuture<'static, Result<Vec<(usize, u64)>, OperatorError>>;

/// Writes what the dataflow puts out until it ends. Writing goes on while earlier flushes are under way. If the dataflow ends
/// before there was anything to write, the sink is opened and closed all the same (a file is made), unless `stop` is
/// cancelled, so that a job whose broker is away can be stopped. What an earlier run has `told` is taken back first.
pub(crate) async fn run_sink(
    mut sink: Box<dyn SinkOperator>,
    mut end: SinkEnd,
    told: Option<Told>,
    stop: CancellationToken,
    opened: impl FnOnce(),
) -> Result<(), OperatorError> {
    let mut flushes: FuturesOrdered<Flush> = FuturesOrdered::new();
    let mut waiting: Vec<SinkBatch> = Vec::with_capacity(BATCHES_PER_FLUSH);
    if !open_sink(sink.as_mut(), &mut end, &stop, &mut waiting).await? {
        return Ok(());
    }
    if let Some(told) = &told {
        told.take_back(sink.as_mut()).await?;
    }
    opened();
    let told = told.as_ref();
    if !waiting.is_empty() {
        keep(told, &waiting).await?;
        let flush = write(sink.as_mut(), &mut waiting, &mut flushes, &mut end).await?;
        flushes.push_back(flush);
    }
    loop {
        tokio::select! {
            biased;
            Some(flushed) = flushes.next() => end.accept(flushed?)?,
            count = end.batches.recv_many(&mut waiting, BATCHES_PER_FLUSH),
                if flushes.len() < FLUSHES_IN_FLIGHT =>
            {
                if count == 0 {
                    break;
                }
                keep(told, &waiting).await?;
                let flush = write(sink.as_mut(), &mut waiting, &mut flushes, &mut end).await?;
                flushes.push_back(flush);
            }
        }
    }
    while let Some(flushed) = flushes.next().await {
        end.accept(flushed?)?;
    }
    sink.close().await
}

/// Waits until the sink has been reached; false if the job is stopped and nothing has to be written.
async fn open_sink(
    sink: &mut dyn SinkOperator,
    end: &mut SinkEnd,
    stop: &CancellationToken,
    waiting: &mut Vec<SinkBatch>,
) -> Result<bool, OperatorError> {
    // opened once: a second try could undo what came of the first, which goes on in the background when it is dropped
    let mut opening = sink.open();
    tokio::select! {
        biased;
        opened = &mut opening => return opened.map(|()| true),
        first = end.batches.recv() => match first {
            Some(batch) => waiting.push(batch),
            None => return tokio::select! {
                biased;
                () = stop.cancelled() => Ok(false),
                opened = &mut opening => opened.map(|()| true),
            },
        },
    }
    opening.await.map(|()| true)
}

/// Returns when it is on disk what a sink of changes will be told.
async fn keep(told: Option<&Told>, waiting: &[SinkBatch]) -> Result<(), OperatorError> {
    match told {
        Some(told) => told.keep(waiting).await,
        None => Ok(()),
    }
}

/// Writes batches and begins their flush. A write that must wait for room does not hold up the flushes before it.
async fn write(
    sink: &mut dyn SinkOperator,
    waiting: &mut Vec<SinkBatch>,
    flushes: &mut FuturesOrdered<Flush>,
    end: &mut SinkEnd,
) -> Result<Flush, OperatorError> {
    let mut epochs = Vec::with_capacity(waiting.len());
    for SinkBatch {
        worker,
        epoch,
        rows,
        size,
    } in waiting.drain(..)
    {
        epochs.push((worker, epoch));
        end.take(worker, epoch);
        let mut writing = sink.write(rows);
        loop {
            tokio::select! {
                biased;
                written = &mut writing => { written?; break }
                Some(flushed) = flushes.next() => end.accept(flushed?)?,
            }
        }
        end.written(size);
    }
    let flushed = sink.flush();
    Ok(Box::pin(async move { flushed.await.map(|()| epochs) }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use arrow::record_batch::RecordBatch;
    use async_trait::async_trait;
    use headwater_connector::{BadData, Flushed, Rejects};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::backlog::Size;
    use crate::bridge;

    /// Always has more.
    struct Ready {
        rows: usize,
        awaits_commits: bool,
        position: u64,
    }

    #[async_trait]
    impl SourceOperator for Ready {
        async fn next(&mut self) -> Result<Option<SourceBatch>, OperatorError> {
            self.position += 1;
            let column = Int64Array::from(vec![0; self.rows]);
            let rows = RecordBatch::try_from_iter([("n", Arc::new(column) as _)]).unwrap();
            Ok(Some(SourceBatch::new(rows, Position(self.position))))
        }

        async fn commit(&mut self, _position: Position) -> Result<(), OperatorError> {
            Ok(())
        }

        fn awaits_commits(&self) -> bool {
            self.awaits_commits
        }
    }

    /// How long the second batch waits behind the first, if the first is acknowledged at once.
    async fn pause(rows: usize, awaits_commits: bool) -> Duration {
        let (mut end, mut inlet, durable) = bridge::source();
        let mut source = Ready {
            rows,
            awaits_commits,
            position: 0,
        };
        let stop = CancellationToken::new();
        let follow = async {
            inlet.batches.recv().await.unwrap();
            let began = Instant::now();
            durable.send(Position(1)).unwrap();
            inlet.batches.recv().await.unwrap();
            stop.cancel();
            began.elapsed()
        };
        let (read, waited) = tokio::join!(read(&mut source, &mut end, &stop), follow);
        read.unwrap();
        waited
    }

    /// Is reached when it is let.
    struct Closed {
        gate: Arc<Semaphore>,
        opens: usize,
    }

    #[async_trait]
    impl SinkOperator for Closed {
        async fn open(&mut self) -> Result<(), OperatorError> {
            self.opens += 1;
            self.gate.acquire().await.unwrap().forget();
            Ok(())
        }

        async fn write(&mut self, _rows: RecordBatch) -> Result<(), OperatorError> {
            Ok(())
        }

        fn flush(&mut self) -> Flushed {
            Box::pin(std::future::ready(Ok(())))
        }
    }

    #[tokio::test]
    async fn a_sink_is_opened_once_also_if_rows_come_meanwhile() {
        let gate = Arc::new(Semaphore::new(0));
        let mut sink = Closed {
            gate: Arc::clone(&gate),
            opens: 0,
        };
        let rejects = Rejects::new(BadData::Fail, Arc::default());
        let (mut end, outlets) = bridge::sink(1, rejects, &Arc::default());
        let column = Int64Array::from(vec![0]);
        let rows = RecordBatch::try_from_iter([("n", Arc::new(column) as _)]).unwrap();
        let batch = SinkBatch {
            worker: 0,
            epoch: 0,
            size: Size::of(&rows),
            rows,
        };
        assert!(outlets[0].batches.send(batch).is_ok());
        let mut waiting = Vec::new();
        let stop = CancellationToken::new();
        let opening = open_sink(&mut sink, &mut end, &stop, &mut waiting);
        let let_in = async {
            tokio::task::yield_now().await;
            gate.add_permits(1);
        };
        let (opened, ()) = tokio::join!(opening, let_in);
        assert!(opened.unwrap());
        assert_eq!((sink.opens, waiting.len()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn rows_gather_behind_a_small_batch() {
        let waited = pause(1, false).await;
        assert!(waited >= GATHERING && waited <= 4 * GATHERING, "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_batch_is_followed_at_once() {
        assert_eq!(pause(SMALL_BATCH_ROWS, false).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_is_not_kept_waiting_once_it_is_acknowledged() {
        assert_eq!(pause(1, true).await, Duration::ZERO);
    }

    #[tokio::test]
    async fn rows_gather_if_fewer_than_the_window_were_sent() {
        let mut gathering = Gathering::new(true);
        let mut send = |from: u64, to: u64| {
            for position in from..=to {
                let column = Int64Array::from(vec![0]);
                let rows = RecordBatch::try_from_iter([("n", Arc::new(column) as _)]).unwrap();
                gathering.sent(&SourceBatch::new(rows, Position(position)));
            }
            // in two parts, as it happens
            gathering.committed(Position(to - 1));
            gathering.committed(Position(to));
            gathering.active
        };
        assert!(!send(1, 20), "the first is as many as ever");
        assert!(!send(21, 40), "as many as the window");
        assert!(send(41, 45), "the broker had no more");
        assert!(!send(46, 65), "as many as the window");
    }
}
