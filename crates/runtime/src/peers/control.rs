//! What processes have to do with each other while the job runs: one task that hears all of them and tells them what
//! happens here.

use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::line::{Line, LineEnd, Lines, Workers};
use super::links::{Heard, Links};
use super::words::Word;
use super::{Cluster, PeerError, Peers};
use crate::backlog::{Backlog, Size};
use crate::epoch::EpochClock;
use crate::error::{JobError, chain};
use crate::state::Fate;

/// The task, and what it must be told.
pub(crate) struct Control {
    task: JoinHandle<()>,
    fate: Arc<Fate>,
    /// The data connections have been written to the end.
    flushed: Vec<CancellationToken>,
    finished: CancellationToken,
}

impl Control {
    /// Says that all that this process had to do is done, if the job has not failed, and waits for the others.
    pub(crate) async fn finish(self) {
        let flushed = async {
            for flushed in &self.flushed {
                flushed.cancelled().await;
            }
        };
        tokio::select! {
            () = flushed => self.finished.cancel(),
            () = self.fate.abort.cancelled() => {}
        }
        if self.task.await.is_err() {
            self.fate.fail(JobError::Panicked {
                place: "the connections to other processes".to_owned(),
                message: "see standard error".to_owned(),
            });
        }
    }
}

impl Peers {
    /// Binds the processes together in one fate.
    pub(crate) fn start(self, fate: &Arc<Fate>) -> std::io::Result<(Lines, Control)> {
        let workers = Arc::<Workers>::default();
        let (mut lines, mut flushed, mut sockets) = (Vec::new(), Vec::new(), Vec::new());
        for (process, socket) in self.data.into_iter().enumerate() {
            let Some(socket) = socket else {
                lines.push(None);
                continue;
            };
            sockets.push(socket.try_clone()?);
            let end = LineEnd {
                peer: self.cluster.name(process),
                fate: Arc::clone(fate),
                workers: Arc::clone(&workers),
                flushed: CancellationToken::new(),
            };
            flushed.push(end.flushed.clone());
            let end = Arc::new(end);
            lines.push(Some(Line::new(socket, end)));
        }
        if self.stopped {
            fate.drain.cancel();
        }
        let finished = CancellationToken::new();
        let hearing = Hearing {
            done: vec![false; self.away.layout.processes],
            cluster: self.cluster,
            links: self.links,
            fate: Arc::clone(fate),
            clock: self.clock,
            backlog: self.away.backlog,
            sockets,
        };
        let control = Control {
            task: tokio::spawn(hearing.run(finished.clone())),
            fate: Arc::clone(fate),
            flushed,
            finished,
        };
        let layout = self.away.layout;
        let lines = Lines {
            layout,
            lines,
            workers,
        };
        Ok((lines, control))
    }
}

/// The task at work.
struct Hearing {
    cluster: Cluster,
    links: Links,
    fate: Arc<Fate>,
    clock: EpochClock,
    backlog: Arc<Backlog>,
    /// Those of the data connections.
    sockets: Vec<TcpStream>,
    /// By process.
    done: Vec<bool>,
}

impl Hearing {
    async fn run(mut self, finished: CancellationToken) {
        let (mut told_stop, mut told_done) = (false, false);
        let (drain, abort) = (self.fate.drain.clone(), self.fate.abort.clone());
        while !(told_done && self.all_done()) {
            tokio::select! {
                biased;
                () = abort.cancelled() => {
                    self.leave();
                    break;
                }
                (process, heard) = self.links.hear() => self.hear(process, heard),
                () = drain.cancelled(), if !told_stop => {
                    told_stop = true;
                    self.links.tell(&Word::Stop);
                }
                () = finished.cancelled(), if !told_done => {
                    told_done = true;
                    self.links.tell(&Word::Done);
                }
            }
        }
        self.links.close().await;
    }

    fn all_done(&self) -> bool {
        let mut done = self.done.iter().enumerate();
        done.all(|(process, done)| *done || process == self.cluster.process)
    }

    fn hear(&mut self, process: usize, heard: Heard) {
        match heard {
            Heard::Word(Word::Closed(epoch)) => self.clock.follow(epoch),
            Heard::Word(Word::Arrived { rows, bytes }) => {
                self.backlog.arrive(Size { rows, bytes });
            }
            Heard::Word(Word::Stop) => {
                if !self.fate.drain.is_cancelled() {
                    tracing::info!("{} stops the job", self.cluster.name(process));
                    self.fate.drain.cancel();
                }
            }
            Heard::Word(Word::Failed { process, reason }) => self.fail(PeerError::Failed {
                process: self.cluster.name(process),
                number: process,
                reason,
            }),
            Heard::Word(Word::Ended) => {
                tracing::info!("{} ends the job", self.cluster.name(process));
                self.fate.end();
            }
            Heard::Word(Word::Done) => self.done[process] = true,
            Heard::Word(Word::Ready | Word::Alive) => {}
            Heard::Lost(how) => self.fail(PeerError::Lost {
                process: self.cluster.name(process),
                how,
            }),
        }
    }

    fn fail(&self, error: PeerError) {
        self.fate.fail(JobError::Peers(error));
    }

    /// Says how the job has ended here, and lets go of whoever waits for another process.
    fn leave(&self) {
        let process = self.cluster.process;
        self.links.tell(&self.fate.with_error(|error| match error {
            // whose word it is has told it to all
            Some(JobError::Peers(PeerError::Failed { number, reason, .. })) => Word::Failed {
                process: *number,
                reason: reason.clone(),
            },
            Some(error) => Word::Failed {
                process,
                reason: chain(error),
            },
            None => Word::Ended,
        }));
        for socket in &self.sockets {
            // it may be shut already
            socket.shutdown(Shutdown::Both).ok();
        }
    }
}
