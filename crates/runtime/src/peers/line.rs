//! A data connection, as timely's threads see it.
//!
//! Those panic when a connection breaks, with a text for developers, and poison the queues of the workers. So an end that
//! breaks says nothing to them: what is written to it is swallowed, and who reads from it waits until the workers have
//! ended, and then unwinds quietly. Whether an end is one that timely has said goodbye at is seen in its frames ([`Frames`]). That
//! a process is lost is for the control connection to say; only if that does not,
//! and the workers still run a while later, the connection itself is the fault.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::zero_copy::stream::Stream;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};
use timely::communication::{Hooks, WorkerGuards};
use timely::worker::Worker;
use tokio_util::sync::CancellationToken;

use super::{Layout, PeerError};
use crate::error::JobError;
use crate::state::Fate;

/// How long a connection may be broken while workers run on and nobody says why.
const BROKEN: Duration = Duration::from_secs(5);

/// Whether the workers of this process have ended.
#[derive(Default)]
pub(crate) struct Workers {
    gone: Mutex<bool>,
    changed: Condvar,
}

impl Workers {
    /// Says that they have.
    pub(crate) fn end(&self) {
        *self.gone.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits until they have; `on_delay` is called if that takes long.
    fn wait(&self, on_delay: impl FnOnce()) {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .changed
            .wait_timeout_while(gone, BROKEN, |gone| !*gone)
            .unwrap_or_else(PoisonError::into_inner);
        let is_gone = *waited.0;
        drop(waited);
        if !is_gone {
            on_delay();
        }
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_while(gone, |gone| !*gone);
        drop(waited);
    }
}

/// This end of a data connection.
pub(crate) struct Line {
    socket: TcpStream,
    end: Arc<LineEnd>,
    read: Frames,
}

impl Line {
    pub(super) fn new(socket: TcpStream, end: Arc<LineEnd>) -> Self {
        Self {
            socket,
            end,
            read: Frames::default(),
        }
    }
}

/// The numbers of 8 bytes in the header of timely's frames, and which of them is the length of what follows.
const HEADER: usize = 6 * 8;
const LENGTH: std::ops::Range<usize> = 32..40;

/// Where one is in a stream of timely's frames. The last one is empty.
#[derive(Default)]
struct Frames {
    /// What has come of a header.
    header: Vec<u8>,
    /// What is to come behind it.
    content: usize,
    ended: bool,
}

impl Frames {
    /// Goes on over what has come.
    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.ended {
            let skipped = self.content.min(bytes.len());
            self.content -= skipped;
            bytes = &bytes[skipped..];
            let part = (HEADER - self.header.len()).min(bytes.len());
            self.header.extend_from_slice(&bytes[..part]);
            bytes = &bytes[part..];
            if self.header.len() == HEADER {
                let length = self.header[LENGTH].first_chunk();
                let length = length.map_or(0, |length| u64::from_be_bytes(*length));
                // it has come from a process of the same kind
                self.content = usize::try_from(length).unwrap_or(usize::MAX);
                self.ended = self.content == 0;
                self.header.clear();
            }
        }
    }
}

/// What both threads of a connection know.
pub(crate) struct LineEnd {
    /// Who is at the other end.
    pub(super) peer: String,
    pub(super) fate: Arc<Fate>,
    pub(super) workers: Arc<Workers>,
    /// All has been written.
    pub(super) flushed: CancellationToken,
}

impl LineEnd {
    /// Waits until nobody is there any more who could be misled, and ends the thread without the text of a panic.
    fn leave(&self, how: &str) -> ! {
        self.workers.wait(|| {
            self.fate.fail(JobError::Peers(PeerError::Lost {
                process: self.peer.clone(),
                how: format!("the connection that carries the rows broke ({how})"),
            }));
        });
        std::panic::resume_unwind(Box::new("the connection has ended"))
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.socket.read(buffer) {
            Ok(0) | Err(_) if self.read.ended => Ok(0),
            Ok(0) => self.end.leave("it was closed"),
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                self.end.leave(&error.to_string())
            }
            Err(_) => self.read(buffer),
            Ok(count) => {
                self.read.pass(&buffer[..count]);
                Ok(count)
            }
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.socket.write(bytes) {
            Err(error) if error.kind() != ErrorKind::Interrupted => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Line {
    fn try_clone(&self) -> io::Result<Self> {
        let socket = self.socket.try_clone()?;
        Ok(Self::new(socket, Arc::clone(&self.end)))
    }

    fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.socket.set_nonblocking(nonblocking)
    }

    /// The last thing that timely does when it has sent everything.
    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        // what is broken is shut already
        self.socket.shutdown(how).ok();
        self.end.flushed.cancel();
        Ok(())
    }
}

/// The data connections of a process, by the process at their other end.
pub(crate) struct Lines {
    pub(super) layout: Layout,
    pub(super) lines: Vec<Option<Line>>,
    pub(super) workers: Arc<Workers>,
}

impl Lines {
    /// Runs timely's workers over the connections. [`Workers::end`] must be called when they have ended.
    ///
    /// # Errors
    /// If the machine has no threads for it.
    pub(crate) fn execute(
        self,
        run: impl Fn(&mut Worker) + Send + Sync + 'static,
    ) -> Result<WorkerGuards<()>, String> {
        let hooks = Hooks::default();
        let Layout {
            process, workers, ..
        } = self.layout;
        let within = ProcessBuilder::new_typed_vector(workers, hooks.refill.clone(), None);
        let started =
            initialize_networking_from_sockets(within, self.lines, process, workers, hooks);
        let (builders, threads) = started.map_err(|error| error.to_string())?;
        // its drop would wait for the threads, and panic if one had unwound; they end by themselves after the workers
        std::mem::forget(threads);
        let builders = builders.into_iter().map(AllocatorBuilder::Tcp).collect();
        let config = timely::WorkerConfig::default();
        timely::execute::execute_from(builders, Box::new(()), config, run)
    }

    /// Where to say that the workers have ended.
    pub(crate) fn workers(&self) -> Arc<Workers> {
        Arc::clone(&self.workers)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use timely::communication::networking::MessageHeader;

    use super::*;

    fn frame(length: usize) -> Vec<u8> {
        let header = MessageHeader {
            channel: 1,
            source: 2,
            target_lower: 3,
            target_upper: 4,
            length,
            seqno: 5,
        };
        let mut bytes = Vec::new();
        header.write_to(&mut bytes).unwrap();
        assert_eq!(bytes.len(), HEADER);
        bytes.extend(vec![0; length]);
        bytes
    }

    #[test]
    fn an_end_is_seen_however_the_bytes_come() {
        let whole = [frame(100), frame(1), frame(0)].concat();
        for step in [1, 7, 48, 49, 1000] {
            let mut frames = Frames::default();
            for (at, bytes) in whole.chunks(step).enumerate() {
                assert!(!frames.ended, "{} of {}", at * step, whole.len());
                frames.pass(bytes);
            }
            assert!(frames.ended);
        }
    }
}
