//! The sending handle.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use headwater_connector::{Metrics, measured};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::driver;
use crate::error::MqttError;
use crate::options::ConnectOptions;
use crate::packet::{Outbound, Piece, Publish};

/// The most messages that cross to the driver in one piece.
const CHUNK_MESSAGES: usize = 1024;
/// The bytes after which a piece is full.
const CHUNK_BYTES: usize = 256 * 1024;
/// How many pieces wait for the driver.
const QUEUE_CHUNKS: usize = 4;
/// How long [`Publisher::close`] waits for the broker.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// One connection that sends.
///
/// It connects in the background and reconnects by itself. Messages leave in the order in which they were given. One of
/// QoS 1 is kept until PUBACK, one of QoS 2 until PUBCOMP, and sent again over the next connection if need be: at QoS 2 so
/// that it is handed on once, for as long as the broker keeps the session. A session that an earlier process left under
/// the client id is not taken up. Between
/// [`publish`](Self::publish) and the broker's acknowledgement wait at most 8,192 messages or 4 MiB that were not sent,
/// and 65,534 or 64 MiB (or the broker's receive maximum) that were. Dropping it ends the connection at once.
///
/// Counts messages, bytes, reconnects and what is unacknowledged in its [`Metrics`].
#[derive(Debug)]
pub struct Publisher {
    queue: mpsc::Sender<Piece>,
    accepted: u64,
    progress: watch::Receiver<Progress>,
    refusals: Arc<Refusals>,
    close: CancellationToken,
    task: AbortOnDropHandle<()>,
}

/// Is told of a publish that was refused, and answers whether that is dealt with, so that the flush that covers it need
/// not report it. Called before that flush resolves, in the task of the connection: it must not wait.
pub type OnRefused = Box<dyn FnMut(&Publish, &MqttError) -> bool + Send>;

/// How far the driver has come.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// Whether the broker has accepted the login at least once.
    pub(crate) connected: bool,
    /// The number of publishes, counted from the first, of which all are done: acknowledged, refused or (QoS 0)
    /// written.
    pub(crate) completed: u64,
    /// Why there will be no more.
    pub(crate) failed: Option<MqttError>,
}

/// Refused publishes, kept for the flush that must report them.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// In the order of their ends; the last one is open. Bounded by the number of flushes that nobody has awaited.
    ranges: Mutex<VecDeque<Range>>,
}

/// The publishes between two flushes.
#[derive(Debug)]
struct Range {
    /// The number of the last publish; `u64::MAX` as long as no flush has closed the range.
    upto: u64,
    /// The first that was refused.
    first: Option<MqttError>,
}

impl Refusals {
    fn with<T>(&self, change: impl FnOnce(&mut VecDeque<Range>) -> T) -> T {
        change(&mut self.ranges.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records that a publish was refused. Of those between two flushes the first is kept.
    pub(crate) fn add(&self, number: u64, error: MqttError) {
        self.with(|ranges| {
            let at = ranges.partition_point(|range| range.upto < number);
            if at == ranges.len() {
                ranges.push_back(Range {
                    upto: u64::MAX,
                    first: None,
                });
            }
            ranges[at].first.get_or_insert(error);
        });
    }

    /// Closes the open range.
    fn close_range(&self, upto: u64) {
        self.with(|ranges| match ranges.back_mut() {
            Some(last) if last.upto == u64::MAX => last.upto = upto,
            _ => ranges.push_back(Range { upto, first: None }),
        });
    }

    /// Forgets a closed range and says what was refused in it.
    fn take(&self, upto: u64) -> Option<MqttError> {
        self.with(|ranges| {
            let at = ranges.iter().position(|range| range.upto == upto)?;
            ranges.remove(at)?.first
        })
    }
}

impl Publisher {
    /// Begins to connect, in a task of its own on the current tokio runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(options: ConnectOptions, metrics: Arc<Metrics>) -> Self {
        Self::start_with(options, metrics, None)
    }

    /// [`start`](Self::start), with someone who deals with what is refused.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start_with(
        options: ConnectOptions,
        metrics: Arc<Metrics>,
        on_refused: Option<OnRefused>,
    ) -> Self {
        let (queue, queue_receiver) = mpsc::channel(QUEUE_CHUNKS);
        let (progress_sender, progress) = watch::channel(Progress::default());
        let refusals = Arc::new(Refusals::default());
        let close = CancellationToken::new();
        let driver = driver::PublisherDriver {
            queue: queue_receiver,
            progress: progress_sender,
            refusals: Arc::clone(&refusals),
            on_refused,
            close: close.clone(),
            metrics: Arc::clone(&metrics),
        };
        let task = tokio::spawn(measured(metrics, driver.run(options)));
        Self {
            queue,
            accepted: 0,
            progress,
            refusals,
            close,
            task: AbortOnDropHandle::new(task),
        }
    }

    /// Waits until the broker has accepted the login for the first time.
    ///
    /// # Errors
    /// What retrying does not mend.
    pub async fn connected(&mut self) -> Result<(), MqttError> {
        let waited = self
            .progress
            .wait_for(|p| p.connected || p.failed.is_some())
            .await;
        match waited {
            Ok(progress) => progress.failed.clone().map_or(Ok(()), Err),
            Err(_driver_gone) => Err(MqttError::Closed),
        }
    }

    /// Takes messages, in their order, and waits while the queues are full. Not cancel-safe: when the future is
    /// dropped, some of the batch may have been taken.
    ///
    /// # Errors
    /// What retrying does not mend. That a single message was refused comes out of [`flush`](Self::flush).
    pub async fn publish(&mut self, batch: Vec<Publish>) -> Result<(), MqttError> {
        self.send(batch.into()).await
    }

    /// [`publish`](Self::publish) of messages that lie in one buffer, which is shared and not copied.
    ///
    /// # Errors
    /// As there.
    pub async fn send(&mut self, messages: Outbound) -> Result<(), MqttError> {
        let mut rest = Piece::from(messages);
        while !rest.is_empty() {
            let chunk = rest.split(CHUNK_MESSAGES, CHUNK_BYTES);
            let len = chunk.len() as u64;
            if self.queue.send(chunk).await.is_err() {
                return Err(self.failure());
            }
            self.accepted += len;
        }
        Ok(())
    }

    /// A future that resolves when every message taken so far is done: acknowledged by the broker at QoS 1 (PUBACK)
    /// and 2 (PUBCOMP), written to the socket at QoS 0. Messages taken later do not delay it.
    ///
    /// # Errors
    /// [`MqttError::Refused`] if a message since the flush before was refused (the first of them; the others are
    /// accepted or refused too by then), and what retrying does not mend.
    pub fn flush(&mut self) -> BoxFuture<'static, Result<(), MqttError>> {
        let flush = Flush {
            upto: self.accepted,
            refusals: Arc::clone(&self.refusals),
        };
        self.refusals.close_range(flush.upto);
        let mut progress = self.progress.clone();
        async move {
            let done = |p: &Progress| p.completed >= flush.upto || p.failed.is_some();
            let outcome = match progress.wait_for(done).await {
                Ok(progress) if progress.completed >= flush.upto => Ok(()),
                Ok(progress) => Err(progress.failed.clone().unwrap_or(MqttError::Closed)),
                Err(_driver_gone) => Err(MqttError::Closed),
            };
            outcome.and_then(|()| flush.refusals.take(flush.upto).map_or(Ok(()), Err))
        }
        .boxed()
    }

    /// Ends the connection in good order: waits until everything taken is done, then DISCONNECT. Takes at most ten
    /// seconds.
    ///
    /// # Errors
    /// As [`flush`](Self::flush); [`MqttError::Unacknowledged`] if the broker did not take all of it in time.
    pub async fn close(mut self) -> Result<(), MqttError> {
        let flushed = tokio::time::timeout(CLOSE_TIMEOUT, self.flush()).await;
        self.close.cancel();
        let ended = tokio::time::timeout(CLOSE_TIMEOUT, &mut self.task).await;
        match (flushed, ended) {
            (Ok(Ok(())), Err(_elapsed)) => Err(MqttError::Timeout {
                what: "end of the connection",
                after: CLOSE_TIMEOUT,
            }),
            (Ok(flushed), _) => flushed,
            (Err(_elapsed), _) => Err(MqttError::Unacknowledged {
                unacknowledged: self.accepted - self.progress.borrow().completed,
            }),
        }
    }

    fn failure(&self) -> MqttError {
        let failed = self.progress.borrow().failed.clone();
        failed.unwrap_or(MqttError::Closed)
    }
}

/// A flush on its way; its range is forgotten with it.
struct Flush {
    upto: u64,
    refusals: Arc<Refusals>,
}

impl Drop for Flush {
    fn drop(&mut self) {
        // Whoever drops a flush does not want to know.
        let _unreported = self.refusals.take(self.upto);
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use bytes::Bytes;

    use super::*;
    use crate::error::ReasonCode;
    use crate::options::QoS;

    fn refused(topic: &str) -> MqttError {
        MqttError::Refused {
            topic: topic.to_owned(),
            reason: ReasonCode::NOT_AUTHORIZED,
            message: None,
        }
    }

    #[test]
    fn a_refusal_belongs_to_the_flush_that_covers_it() {
        let refusals = Refusals::default();
        refusals.close_range(10);
        refusals.close_range(20);
        refusals.add(25, refused("c"));
        refusals.add(12, refused("b"));
        refusals.add(13, refused("later"));
        assert!(refusals.take(10).is_none());
        assert!(
            matches!(refusals.take(20), Some(MqttError::Refused { topic, .. }) if topic == "b")
        );
        refusals.close_range(30);
        assert!(
            matches!(refusals.take(30), Some(MqttError::Refused { topic, .. }) if topic == "c")
        );
        assert!(refusals.with(|ranges| ranges.is_empty()));
    }

    #[test]
    fn two_flushes_without_a_publish_between_report_once() {
        let refusals = Refusals::default();
        refusals.add(10, refused("a"));
        refusals.close_range(10);
        refusals.close_range(10);
        assert!(refusals.take(10).is_some());
        assert!(refusals.take(10).is_none());
        assert!(refusals.with(|ranges| ranges.is_empty()));
    }

    #[test]
    fn chunks_are_bounded_in_messages_and_bytes() {
        let publish =
            |len: usize| Publish::new(Bytes::from_static(b"t"), vec![0; len], QoS::AtLeastOnce);
        let lens = |batch: Vec<Publish>| {
            let mut rest = Piece::from(batch);
            let mut chunks = || (!rest.is_empty()).then(|| rest.split(CHUNK_MESSAGES, CHUNK_BYTES));
            iter::from_fn(|| chunks().map(|chunk| chunk.len())).collect::<Vec<_>>()
        };
        assert_eq!(lens(vec![publish(10); 2_500]), [1_024, 1_024, 452]);
        assert_eq!(lens(vec![publish(CHUNK_BYTES); 3]), [1, 1, 1]);
        assert_eq!(lens(vec![publish(1)]), [1]);
    }
}
