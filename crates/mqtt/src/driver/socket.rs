//! One transport, read and written by turns.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::time::Sleep;

use super::{FAREWELL_TIMEOUT, now};
use crate::dial::Stream;
use crate::packet::ReadBuffer;

/// The stream to the broker and what was read from it.
pub(super) struct Socket {
    stream: Stream,
    /// What was read and not yet understood.
    pub(super) input: ReadBuffer,
    unflushed: bool,
}

/// What a turn has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// So many bytes of the output were written.
    Wrote(usize),
    /// Bytes were read into the input.
    Read,
    /// The broker has closed its side.
    End,
}

impl Socket {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            input: ReadBuffer::default(),
            unflushed: false,
        }
    }

    /// Writes of `output`, or else reads: `missing` bytes are wanted, or nothing is to be read if it is `None`.
    /// Cancel-safe.
    pub(super) async fn turn(&mut self, output: &[u8], missing: Option<usize>) -> io::Result<Turn> {
        poll_fn(|cx| self.poll_turn(cx, output, missing)).await
    }

    fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        output: &[u8],
        missing: Option<usize>,
    ) -> Poll<io::Result<Turn>> {
        if !output.is_empty()
            && let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(cx, output)?
        {
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            return Poll::Ready(Ok(Turn::Wrote(written)));
        }
        if self.unflushed && Pin::new(&mut self.stream).poll_flush(cx)?.is_ready() {
            self.unflushed = false;
        }
        let Some(missing) = missing else {
            return Poll::Pending;
        };
        let read = pin!(self.stream.read_buf(self.input.for_read(missing)));
        read.poll(cx)
            .map_ok(|len| if len == 0 { Turn::End } else { Turn::Read })
    }

    /// Writes the last of the output, closes our side, and waits for the broker to close its own.
    ///
    /// What arrives meanwhile is read and dropped: to close a socket with unread bytes would reset the connection, and
    /// the broker might lose our last words over it.
    ///
    /// # Errors
    /// The broker did not take all of the output in time.
    pub(super) async fn farewell(&mut self, output: &[u8]) -> io::Result<()> {
        let written = tokio::time::timeout(FAREWELL_TIMEOUT, self.write_last(output)).await;
        match written {
            Ok(outcome) => outcome?,
            Err(_elapsed) => return Err(io::ErrorKind::TimedOut.into()),
        }
        // All is said; how the broker closes is its own affair.
        tokio::time::timeout(FAREWELL_TIMEOUT / 3, self.read_to_end())
            .await
            .ok();
        Ok(())
    }

    async fn write_last(&mut self, mut output: &[u8]) -> io::Result<()> {
        let mut reading = Some(0);
        while !output.is_empty() {
            match self.turn(output, reading).await? {
                Turn::Wrote(len) => output = &output[len..],
                Turn::Read => self.input.clear(),
                Turn::End => reading = None,
            }
        }
        poll_fn(|cx| Pin::new(&mut self.stream).poll_flush(cx)).await?;
        poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await
    }

    async fn read_to_end(&mut self) {
        while let Ok(Turn::Read) = self.turn(&[], Some(0)).await {
            self.input.clear();
        }
    }
}

/// Wakes at a session's deadline. Deadlines mostly move away with every write, so the timer is armed again only when
/// it has fired or is too late.
pub(super) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    at: Instant,
}

impl Alarm {
    pub(super) fn new() -> Self {
        Self {
            sleep: Box::pin(tokio::time::sleep_until(now().into())),
            at: now(),
        }
    }

    /// Waits until the deadline, or until an earlier one at which it had been armed.
    pub(super) async fn wait(&mut self, deadline: Option<Instant>) {
        let Some(deadline) = deadline else {
            return std::future::pending().await;
        };
        if self.sleep.is_elapsed() || deadline < self.at {
            self.at = deadline;
            self.sleep.as_mut().reset(deadline.into());
        }
        self.sleep.as_mut().await;
    }
}
