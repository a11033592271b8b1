//! The task behind a [`Publisher`](crate::Publisher).

use std::sync::Arc;

use headwater_connector::Metrics;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::socket::{Alarm, Socket, Turn};
use super::{Logins, Role, lost, now, supervise};
use crate::error::MqttError;
use crate::options::ConnectOptions;
use crate::packet::Piece;
use crate::publisher::{OnRefused, Progress, Refusals};
use crate::session::{Link, PublisherSession};

/// What a publisher's task shares with its handle.
pub(crate) struct PublisherDriver {
    pub(crate) queue: mpsc::Receiver<Piece>,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) on_refused: Option<OnRefused>,
    pub(crate) close: CancellationToken,
    pub(crate) metrics: Arc<Metrics>,
}

impl PublisherDriver {
    /// Runs until the owner closes or a fault is final, which is then told to every waiting flush.
    pub(crate) async fn run(self, options: ConnectOptions) {
        let close = self.close.clone();
        let mut sending = Sending {
            session: PublisherSession::new(options),
            driver: self,
            logins: Logins::default(),
            in_flight: 0,
            orphaned: false,
        };
        let outcome = supervise(&mut sending, &close).await;
        if let Err(fault) = outcome {
            // Told before the queue is closed, so that whoever finds it closed finds the reason too.
            sending
                .driver
                .progress
                .send_modify(|progress| progress.failed = Some(fault));
        }
    }
}

struct Sending {
    driver: PublisherDriver,
    session: PublisherSession,
    logins: Logins,
    /// As counted last.
    in_flight: u64,
    /// Whether the handle is gone; then nothing more comes from the queue.
    orphaned: bool,
}

impl Role for Sending {
    async fn converse(&mut self, socket: &mut Socket) -> Result<(), MqttError> {
        self.session.begin(now())?;
        let mut alarm = Alarm::new();
        loop {
            self.report();
            let link = self.session.link();
            let wants_more = !self.orphaned && self.session.has_room();
            tokio::select! {
                biased;
                () = self.driver.close.cancelled() => return self.finish(socket).await,
                turn = socket.turn(link.output(), Some(link.missing())) => {
                    match turn.map_err(|error| lost(link.options(), error))? {
                        Turn::Wrote(len) => self.session.wrote(len, now()),
                        Turn::Read => {
                            self.session.receive(&mut socket.input, now())?;
                            let link = self.session.link();
                            let window = link.limits().receive_maximum;
                            self.logins.tell(link, window, &self.driver.metrics);
                            self.session.link_mut().goodbye()?;
                        }
                        Turn::End => return Err(link.closed()),
                    }
                }
                piece = self.driver.queue.recv(), if wants_more => match piece {
                    Some(piece) => self.take(piece),
                    None => self.orphaned = true,
                },
                () = alarm.wait(self.session.deadline()) => self.session.tick(now())?,
            }
        }
    }

    fn end(&mut self) {
        self.session.end();
        self.report();
    }

    fn drops_session(&self) -> bool {
        self.session.drops_session()
    }

    fn link(&mut self) -> &mut Link {
        self.session.link_mut()
    }

    fn metrics(&self) -> &Metrics {
        &self.driver.metrics
    }
}

impl Sending {
    /// Takes this piece and those that wait behind it, to write them at once.
    fn take(&mut self, piece: Piece) {
        let mut next = Some(piece);
        while let Some(piece) = next {
            let bytes = piece.iter().map(|publish| publish.payload.len() as u64);
            self.driver
                .metrics
                .add_messages(piece.len() as u64, bytes.sum());
            self.session.publish(piece);
            next = if self.session.has_room() {
                self.driver.queue.try_recv().ok()
            } else {
                None
            };
        }
    }

    fn report(&mut self) {
        for refused in self.session.take_refused() {
            let done = self.driver.on_refused.as_mut();
            if !done.is_some_and(|deal_with| deal_with(&refused.publish, &refused.error)) {
                self.driver.refusals.add(refused.number, refused.error);
            }
        }
        let unfinished = self.session.unfinished() as u64;
        let before = std::mem::replace(&mut self.in_flight, unfinished);
        self.driver.metrics.resize_in_flight(before, unfinished);
        let completed = self.session.completed();
        let connected = self.session.link().epoch() > 0;
        self.driver.progress.send_if_modified(|progress| {
            let changed = progress.completed != completed || progress.connected != connected;
            progress.completed = completed;
            progress.connected = connected;
            changed
        });
    }

    /// The owner closes: writes what is framed, and says goodbye.
    async fn finish(&mut self, socket: &mut Socket) -> Result<(), MqttError> {
        self.session.finish();
        let link = self.session.link();
        if let Err(error) = socket.farewell(link.output()).await {
            let fault = lost(link.options(), error);
            tracing::warn!(
                cause = fault.chain(),
                "the connection did not end in good order"
            );
        }
        Ok(())
    }
}
