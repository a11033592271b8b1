//! The task behind a [`Subscriber`](crate::Subscriber).

use std::sync::Arc;
use std::time::Duration;

use headwater_connector::Metrics;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::socket::{Alarm, Socket, Turn};
use super::{Logins, Role, lost, now, supervise};
use crate::error::MqttError;
use crate::options::{ConnectOptions, Subscriptions};
use crate::packet::Inbound;
use crate::session::{Link, SubscriberSession};
use crate::subscriber::Acks;

/// How long the end of a connection waits for the broker to release what was acknowledged at QoS 2.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a subscriber's task shares with its handle.
pub(crate) struct SubscriberDriver {
    pub(crate) inbox: mpsc::Sender<Result<Inbound, MqttError>>,
    pub(crate) acks: Arc<Acks>,
    pub(crate) subscribed: watch::Sender<bool>,
    pub(crate) close: CancellationToken,
    pub(crate) metrics: Arc<Metrics>,
}

impl SubscriberDriver {
    /// Runs until the owner closes or a fault is final, which is then the last thing in the inbox.
    pub(crate) async fn run(self, options: ConnectOptions, subscriptions: Subscriptions) {
        let close = self.close.clone();
        let mut receiving = Receiving {
            session: SubscriberSession::new(options, subscriptions),
            pending: None,
            logins: Logins::default(),
            in_flight: 0,
            driver: self,
        };
        let outcome = supervise(&mut receiving, &close).await;
        if let Err(fault) = outcome {
            // An owner that has gone away does not want to know.
            receiving.driver.inbox.send(Err(fault)).await.ok();
        }
    }
}

struct Receiving {
    driver: SubscriberDriver,
    session: SubscriberSession,
    /// Messages for which the inbox has no room. While there are any, the socket is not read.
    pending: Option<Inbound>,
    logins: Logins,
    /// As counted last.
    in_flight: u64,
}

impl Role for Receiving {
    async fn converse(&mut self, socket: &mut Socket) -> Result<(), MqttError> {
        self.session.begin(now())?;
        let mut alarm = Alarm::new();
        loop {
            let reading = self.pending.is_none();
            self.session.set_reading(reading, now());
            let link = self.session.link();
            let missing = reading.then(|| link.missing());
            tokio::select! {
                biased;
                () = self.driver.close.cancelled() => return self.finish(socket).await,
                upto = self.driver.acks.next() => {
                    self.session.ack(upto);
                    self.count_in_flight();
                }
                listening = hand_over(&self.driver.inbox, &mut self.pending), if !reading => {
                    if !listening {
                        return self.finish(socket).await;
                    }
                }
                turn = socket.turn(link.output(), missing) => {
                    match turn.map_err(|error| lost(link.options(), error))? {
                        Turn::Wrote(len) => self.session.wrote(len, now()),
                        Turn::Read => self.receive(socket)?,
                        Turn::End => return Err(link.closed()),
                    }
                }
                () = alarm.wait(self.session.deadline()) => self.session.tick(now())?,
            }
        }
    }

    async fn prepare(&mut self) {
        if self.pending.is_some() {
            // whether somebody still listens shows in the conversation
            hand_over(&self.driver.inbox, &mut self.pending).await;
        }
    }

    fn end(&mut self) {
        self.session.end();
        self.count_in_flight();
    }

    fn link(&mut self) -> &mut Link {
        self.session.link_mut()
    }

    fn metrics(&self) -> &Metrics {
        &self.driver.metrics
    }
}

/// Waits until the inbox has room for the messages that wait. `false` if nobody listens any more. Cancel-safe.
async fn hand_over(
    inbox: &mpsc::Sender<Result<Inbound, MqttError>>,
    pending: &mut Option<Inbound>,
) -> bool {
    let Ok(room) = inbox.reserve().await else {
        return false;
    };
    if let Some(inbound) = pending.take() {
        room.send(Ok(inbound));
    }
    true
}

impl Receiving {
    fn receive(&mut self, socket: &mut Socket) -> Result<(), MqttError> {
        let inbound = self.session.receive(&mut socket.input, now())?;
        let link = self.session.link();
        let window = link.options().receive_maximum;
        self.logins.tell(link, window, &self.driver.metrics);
        if self.session.unwanted() > 0 {
            self.driver.acks.set_unwanted(self.session.unwanted());
        }
        if self.session.began_anew() {
            self.driver.acks.set_began_anew();
        }
        // A broker sends what a session has kept before its SUBACK, and a message is proof enough. Whoever waits for the
        // subscription must begin to read then, or the SUBACK behind the messages would never be seen.
        if self.session.is_subscribed() || inbound.is_some() {
            self.driver.subscribed.send_if_modified(|subscribed| {
                let first = !*subscribed;
                *subscribed = true;
                first
            });
        }
        self.count_in_flight();
        if let Some(inbound) = inbound {
            self.deliver(inbound);
        }
        self.session.link_mut().goodbye()
    }

    fn deliver(&mut self, inbound: Inbound) {
        // A closed inbox is noticed when room is asked for.
        if let Err(TrySendError::Full(Ok(inbound)) | TrySendError::Closed(Ok(inbound))) =
            self.driver.inbox.try_send(Ok(inbound))
        {
            self.pending = Some(inbound);
        }
    }

    /// The owner closes: acknowledges what it has acknowledged, and says goodbye.
    async fn finish(&mut self, socket: &mut Socket) -> Result<(), MqttError> {
        self.session.ack(self.driver.acks.upto());
        let mut outcome = self.await_release(socket).await;
        self.session.finish();
        self.count_in_flight();
        if outcome.is_ok() {
            let link = self.session.link();
            let farewell = socket.farewell(link.output()).await;
            outcome = farewell.map_err(|error| lost(link.options(), error));
        }
        outcome.or_else(|fault| {
            tracing::warn!(
                cause = fault.chain(),
                "the connection ended before the last acknowledgements were through"
            );
            Ok(())
        })
    }

    /// Goes on until the broker has answered PUBREC with PUBREL, or has taken too long. A broker that hears DISCONNECT
    /// behind a PUBREC may forget the one over the other, and sends the message to the next process again, which knows
    /// nothing of it. What else comes meanwhile is for nobody, and is not acknowledged.
    async fn await_release(&mut self, socket: &mut Socket) -> Result<(), MqttError> {
        let deadline = now() + RELEASE_TIMEOUT;
        let mut alarm = Alarm::new();
        while self.session.awaits_release() {
            let link = self.session.link();
            tokio::select! {
                turn = socket.turn(link.output(), Some(link.missing())) => {
                    match turn.map_err(|error| lost(link.options(), error))? {
                        Turn::Wrote(len) => self.session.wrote(len, now()),
                        Turn::Read => drop(self.session.receive(&mut socket.input, now())?),
                        Turn::End => return Err(link.closed()),
                    }
                }
                () = alarm.wait(Some(deadline)) => if now() >= deadline {
                    tracing::debug!("the broker has not released all that was acknowledged at QoS 2");
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn count_in_flight(&mut self) {
        let in_flight = self.session.in_flight() as u64;
        let before = std::mem::replace(&mut self.in_flight, in_flight);
        self.driver.metrics.resize_in_flight(before, in_flight);
    }
}
