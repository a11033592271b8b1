//! Joins the sessions to tokio: one task a connection, for as long as its handle lives.
//!
//! The task dials, lets the session lead the conversation until the connection ends, and begins again after a delay
//! ([`outage`]). Within a conversation it waits for whatever comes first: the socket can be read or written
//! ([`socket`]), the owner wants something, time has passed. It reads and writes by turns and never waits for one
//! alone, so two sides that both write cannot block each other.
//!
//! # Bounds
//! Every queue between the task and the owner is bounded, and what cannot be handed on is not read: a subscriber that
//! holds a batch which the owner has no room for leaves the socket alone, and goes on to ping.

mod outage;
mod publisher;
mod socket;
mod subscriber;

use std::time::{Duration, Instant};

use headwater_connector::Metrics;
use tokio_util::sync::CancellationToken;

use self::outage::Outage;
use self::socket::Socket;
use crate::dial;
use crate::error::MqttError;
use crate::options::ConnectOptions;
use crate::session::Link;

pub(crate) use publisher::PublisherDriver;
pub(crate) use subscriber::SubscriberDriver;

/// How long the last bytes may take to leave when a connection is closed in good order.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(3);

/// One side of a conversation: subscriber or publisher.
trait Role {
    /// Leads one conversation, from CONNECT to its end. `Ok` if the owner has ended it.
    async fn converse(&mut self, socket: &mut Socket) -> Result<(), MqttError>;

    /// Gets ready for a connection: what is left of the last one must be off the table, or the new one could not be
    /// read. Cancel-safe.
    async fn prepare(&mut self) {}

    /// The connection has ended.
    fn end(&mut self);

    /// Whether a session of an earlier process must be dropped by a login of its own before the first connection.
    fn drops_session(&self) -> bool {
        false
    }

    fn link(&mut self) -> &mut Link;

    fn metrics(&self) -> &Metrics;
}

/// Connects again and again, until the owner closes or a fault is final.
async fn supervise(role: &mut impl Role, close: &CancellationToken) -> Result<(), MqttError> {
    let options = role.link().options().clone();
    options.check()?;
    let mut outage = Outage::new(&options);
    let mut drop_session = role.drops_session();
    loop {
        tokio::select! {
            () = close.cancelled() => return Ok(()),
            () = role.prepare() => {}
        }
        let epoch = role.link().epoch();
        let dialled = tokio::select! {
            () = close.cancelled() => return Ok(()),
            dialled = reach(&options, &mut drop_session) => dialled,
        };
        let began = now();
        let fault = match dialled {
            Ok(stream) => match role.converse(&mut Socket::new(stream)).await {
                Ok(()) => return Ok(()),
                Err(fault) => fault,
            },
            Err(fault) => fault,
        };
        role.end();
        if fault.is_fatal() {
            return Err(fault);
        }
        let fault = match role.link().epoch() {
            0 => fault.before_login(&options),
            _ => fault,
        };
        role.metrics().set_trouble(Some(fault.chain()));
        let logged_in = role.link().epoch() > epoch;
        let delay = outage.failed(&fault, logged_in.then(|| began.elapsed()));
        tokio::select! {
            () = close.cancelled() => return Ok(()),
            () = tokio::time::sleep(delay) => {}
        }
    }
}

/// Dials; at first, if that is asked for, for a login that makes the broker forget the session.
async fn reach(
    options: &ConnectOptions,
    drop_session: &mut bool,
) -> Result<dial::Stream, MqttError> {
    if *drop_session {
        let clean = ConnectOptions {
            clean_start: true,
            ..options.clone()
        };
        let mut stream = dial::dial(&clean).await?;
        dial::login(&clean, &mut stream).await?;
        dial::logout(&clean, &mut stream).await?;
        *drop_session = false;
    }
    dial::dial(options).await
}

/// Counts and tells the logins of a role, once each.
#[derive(Debug, Default)]
struct Logins {
    told: u64,
    window: u64,
}

impl Logins {
    /// `window` is how many messages may be unacknowledged now.
    fn tell(&mut self, link: &Link, window: u16, metrics: &Metrics) {
        if link.epoch() == self.told {
            return;
        }
        metrics.set_trouble(None);
        let before = std::mem::replace(&mut self.window, u64::from(window));
        metrics.resize_window(before, self.window);
        self.told = link.epoch();
        if self.told > 1 {
            metrics.add_reconnect();
        }
        let options = link.options();
        tracing::info!(
            broker = options.address(),
            client_id = options.client_id,
            "connected{}",
            if self.told > 1 { " again" } else { "" }
        );
    }
}

/// What a broken read or write means for this connection.
fn lost(options: &ConnectOptions, error: std::io::Error) -> MqttError {
    dial::lost(options, error)
}

/// The clock of the sessions; stands still when tokio's does.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
