//! The receiving handle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use headwater_connector::{Metrics, measured};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::driver;
use crate::error::MqttError;
use crate::options::{ConnectOptions, Subscriptions};
use crate::packet::Inbound;

/// How many batches wait for the caller. When they are full the socket is not read, so the memory in waiting is at most
/// this many read buffers plus one packet.
const INBOX_BATCHES: usize = 8;

/// How long [`Subscriber::close`] takes at most.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(8);

/// One connection that receives.
///
/// It connects in the background, reconnects by itself and subscribes again when the broker has forgotten the session.
/// Messages of QoS 1 and 2 are acknowledged to the broker only when [`ack`](Self::ack) has said that they are durable, in
/// the order of their receipt. What a lost connection left unacknowledged comes again at QoS 1, under a new number; at
/// QoS 2 it is known and does not come out a second time, for as long as this handle lives and the broker keeps the
/// session. What a session of an earlier process brings is received unless no filter asks for it
/// ([`Subscriptions`]). While nobody
/// calls [`recv`](Self::recv) the socket is not read, but the connection is kept alive. Dropping it ends the connection
/// at once and acknowledges nothing more.
///
/// Counts reconnects and what is unacknowledged in its [`Metrics`]. Messages count for whoever takes them: what waits here when
/// the handle is closed has been read by nobody.
#[derive(Debug)]
pub struct Subscriber {
    inbox: mpsc::Receiver<Result<Inbound, MqttError>>,
    acks: Arc<Acks>,
    subscribed: watch::Receiver<bool>,
    close: CancellationToken,
    task: AbortOnDropHandle<()>,
}

/// The number up to which all is durable, on its way to the driver. One cell is enough, since numbers only grow.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    upto: AtomicU64,
    /// How many messages were dropped because no filter asks for them; on its way back.
    unwanted: AtomicU64,
    /// Whether the broker had no session; likewise.
    anew: AtomicBool,
    changed: Notify,
}

impl Acks {
    /// Waits until a number has been set since the last call.
    pub(crate) async fn next(&self) -> u64 {
        self.changed.notified().await;
        self.upto()
    }

    /// The highest number that was set.
    pub(crate) fn upto(&self) -> u64 {
        self.upto.load(Ordering::Acquire)
    }

    pub(crate) fn set_unwanted(&self, count: u64) {
        self.unwanted.store(count, Ordering::Relaxed);
    }

    pub(crate) fn set_began_anew(&self) {
        self.anew.store(true, Ordering::Relaxed);
    }

    fn raise(&self, upto: u64) {
        self.upto.fetch_max(upto, Ordering::AcqRel);
        self.changed.notify_one();
    }
}

impl Subscriber {
    /// Begins to connect, in a task of its own on the current tokio runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(
        options: ConnectOptions,
        subscriptions: impl Into<Subscriptions>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (inbox_sender, inbox) = mpsc::channel(INBOX_BATCHES);
        let (subscribed_sender, subscribed) = watch::channel(false);
        let acks = Arc::new(Acks::default());
        let close = CancellationToken::new();
        let driver = driver::SubscriberDriver {
            inbox: inbox_sender,
            acks: Arc::clone(&acks),
            subscribed: subscribed_sender,
            close: close.clone(),
            metrics: Arc::clone(&metrics),
        };
        let subscriptions = subscriptions.into();
        let task = tokio::spawn(measured(metrics, driver.run(options, subscriptions)));
        Self {
            inbox,
            acks,
            subscribed,
            close,
            task: AbortOnDropHandle::new(task),
        }
    }

    /// Waits for the next messages. Cancel-safe: no message is lost with a dropped future.
    ///
    /// # Errors
    /// What retrying does not mend: a refused login or filter, a certificate that is not trusted. Reported once, then
    /// [`MqttError::Closed`].
    pub async fn recv(&mut self) -> Result<Inbound, MqttError> {
        self.inbox.recv().await.unwrap_or(Err(MqttError::Closed))
    }

    /// Waits until the broker has granted every subscription for the first time, or still had the session.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn subscribed(&mut self) -> Result<(), MqttError> {
        if self.subscribed.wait_for(|granted| *granted).await.is_ok() {
            return Ok(());
        }
        // The driver has ended without it: its error is the last thing in the inbox.
        loop {
            self.recv().await?;
        }
    }

    /// Tells that every message up to this number is durable. Numbers below an earlier one change nothing, and so do
    /// those of a connection that is gone.
    pub fn ack(&mut self, upto: u64) {
        self.acks.raise(upto);
    }

    /// How many messages were acknowledged and dropped because no filter asks for them: a session of an earlier process
    /// brought them ([`Subscriptions::former`]), or the broker sent retained ones unasked.
    pub fn unwanted(&self) -> u64 {
        self.acks.unwanted.load(Ordering::Relaxed)
    }

    /// Once [`subscribed`](Self::subscribed): whether the broker had no session of an earlier process, so that this one
    /// has the subscriptions of this process and no others.
    pub fn began_anew(&self) -> bool {
        self.acks.anew.load(Ordering::Relaxed)
    }

    /// Ends the connection in good order: what was acknowledged by [`ack`](Self::ack) is written to the broker, then
    /// DISCONNECT. At QoS 2 it waits up to two seconds for the broker to release what was acknowledged (PUBREL, PUBCOMP), so
    /// that the next process does not get it again. Messages that were not acknowledged stay with the broker, if the
    /// session outlives the connection. Takes at most eight seconds.
    ///
    /// # Errors
    /// [`MqttError::Timeout`] if the broker did not take the acknowledgements in time.
    pub async fn close(mut self) -> Result<(), MqttError> {
        self.close.cancel();
        // Nothing more is taken, and a driver that waits for room must not wait for ever.
        self.inbox.close();
        match tokio::time::timeout(CLOSE_TIMEOUT, &mut self.task).await {
            Ok(_ended) => Ok(()),
            Err(_elapsed) => Err(MqttError::Timeout {
                what: "end of the connection",
                after: CLOSE_TIMEOUT,
            }),
        }
    }
}
