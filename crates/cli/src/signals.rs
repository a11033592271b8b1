//! Ctrl-C, and the `SIGTERM` that a container gets.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// Signals that come within this time are one request: `timeout` signals the process and then its whole group, a
/// terminal and a supervisor may both do, and nobody has read what a drain is waiting for in less.
const ONE_REQUEST: Duration = Duration::from_millis(500);

/// Requests to stop, from a person or from a supervisor.
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    /// When the last request began.
    last: Option<Instant>,
}

impl Interrupts {
    /// From now on the signals no longer end the process by themselves.
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            last: None,
        })
    }

    /// The next request. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
            let now = Instant::now();
            let same = |last: Instant| now.duration_since(last) < ONE_REQUEST;
            if !self.last.is_some_and(same) {
                self.last = Some(now);
                return;
            }
        }
    }
}
