//! How the processes of a job find each other.
//!
//! A process listens at its address for those with higher numbers and dials those with lower ones, again and again until
//! they are there. It has met another when both connections between them have begun with a fitting hello. When it has met
//! all it says that it is ready, and when all are ready the meeting is over. Whatever goes wrong ends it for all that
//! have met so far.

use std::collections::BTreeMap;
use std::net::TcpStream as Socket;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::away::{Arrived, Away};
use super::hello::{Hello, Purpose};
use super::links::{Heard, Links};
use super::words::Word;
use super::{Cluster, Layout, PeerError};
use crate::epoch::EpochClock;

/// How long a hello may take. Who says none is no process of ours.
const HELLO: Duration = Duration::from_secs(5);

/// How long to wait before somebody is dialled again.
const AGAIN: Duration = Duration::from_millis(200);

/// How many connections may be at their hello.
const GREETING: usize = 64;

/// How often it is said who is missing.
const REMINDER: Duration = Duration::from_secs(10);

/// The processes of a job, met and ready.
pub(crate) struct Peers {
    pub(crate) cluster: Cluster,
    pub(crate) away: Away,
    pub(crate) clock: EpochClock,
    pub(super) links: Links,
    /// The data connections, by process.
    pub(super) data: Vec<Option<Socket>>,
    /// Whether one of them has been stopped meanwhile.
    pub(super) stopped: bool,
}

impl Peers {
    fn new(cluster: Cluster, layout: Layout) -> Self {
        let processes = layout.processes;
        let arrived = std::iter::repeat_with(Arrived::default);
        let away = Away {
            layout,
            backlog: Arc::default(),
            arrived: arrived.take(processes).collect(),
        };
        let closed = watch::Sender::default();
        Self {
            links: Links::new(away.clone(), cluster.silence, closed.clone()),
            cluster,
            away,
            clock: EpochClock::among_others(closed),
            data: std::iter::repeat_with(|| None).take(processes).collect(),
            stopped: false,
        }
    }

    /// Tells the others that the job cannot start here, and leaves them.
    pub(crate) async fn refuse(self, reason: String) {
        let process = self.cluster.process;
        self.links.tell(&Word::Failed { process, reason });
        self.links.close().await;
    }
}

/// Meets the others.
///
/// # Errors
/// An address at which one cannot listen, processes that do not come or go away or were started differently.
pub(crate) async fn meet(
    cluster: Cluster,
    hello: Hello,
    layout: Layout,
) -> Result<Peers, PeerError> {
    let mut meeting = Meeting::open(cluster, &hello, layout).await?;
    match meeting.gather().await {
        Ok(()) => Ok(meeting.peers),
        Err(error) => {
            meeting.peers.refuse(error.to_string()).await;
            Err(error)
        }
    }
}

/// A connection on which both have said hello.
struct Met {
    process: usize,
    purpose: Purpose,
    stream: TcpStream,
}

/// Where those who seek bring what they have found.
type Found = mpsc::Sender<Result<Met, PeerError>>;

/// Why those who are dialled have not been met, the last reason each.
type Faults = Arc<Mutex<BTreeMap<usize, String>>>;

struct Meeting {
    peers: Peers,
    met: mpsc::Receiver<Result<Met, PeerError>>,
    ready: Vec<bool>,
    faults: Faults,
    /// Those who listen and dial; they end with this.
    _seekers: JoinSet<()>,
}

impl Meeting {
    async fn open(cluster: Cluster, hello: &Hello, layout: Layout) -> Result<Self, PeerError> {
        let process = cluster.process;
        let address = cluster.addresses.get(process).cloned().unwrap_or_default();
        let listener = TcpListener::bind(&address).await;
        let listener = listener.map_err(|source| PeerError::Listen {
            process: cluster.name(process),
            source,
        })?;
        let (found, met) = mpsc::channel(GREETING);
        let faults = Faults::default();
        let mut seekers = JoinSet::new();
        seekers.spawn(receive(listener, hello.clone(), found.clone()));
        for (peer, address) in cluster.addresses.iter().enumerate().take(process) {
            for purpose in [Purpose::Data, Purpose::Control] {
                let dial = Dial {
                    peer,
                    address: address.clone(),
                    hello: hello.for_purpose(purpose),
                    faults: Arc::clone(&faults),
                };
                seekers.spawn(dial.run(found.clone()));
            }
        }
        Ok(Self {
            ready: vec![false; layout.processes],
            peers: Peers::new(cluster, layout),
            met,
            faults,
            _seekers: seekers,
        })
    }

    /// Waits until all have been met and are ready.
    async fn gather(&mut self) -> Result<(), PeerError> {
        let deadline = Instant::now() + self.peers.cluster.patience;
        let mut reminder = interval(REMINDER);
        reminder.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_ready = false;
        loop {
            if !is_ready && self.others().all(|process| self.has_met(process)) {
                is_ready = true;
                self.peers.links.tell(&Word::Ready);
            }
            if is_ready && self.others().all(|process| self.ready[process]) {
                return Ok(());
            }
            tokio::select! {
                Some(met) = self.met.recv() => self.admit(met?)?,
                (process, heard) = self.peers.links.hear() => self.hear(process, heard)?,
                () = sleep_until(deadline) => return Err(PeerError::Missing {
                    missing: self.missing(),
                    patience: self.peers.cluster.patience,
                }),
                _ = reminder.tick() => tracing::info!("waiting for {}", self.missing()),
            }
        }
    }

    fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let own = self.peers.cluster.process;
        (0..self.peers.cluster.addresses.len()).filter(move |process| *process != own)
    }

    fn has_met(&self, process: usize) -> bool {
        self.peers.data[process].is_some() && self.peers.links.has(process)
    }

    /// Takes a connection, unless there is such a one.
    fn admit(&mut self, met: Met) -> Result<(), PeerError> {
        let (process, peers) = (met.process, &mut self.peers);
        let is_there = match met.purpose {
            Purpose::Data => peers.data[process].is_some(),
            Purpose::Control => peers.links.has(process),
        };
        if is_there {
            tracing::warn!(
                "another {} has come and was sent away",
                peers.cluster.name(process)
            );
            return Ok(());
        }
        match met.purpose {
            Purpose::Control => peers.links.add(process, met.stream),
            Purpose::Data => {
                let socket = met.stream.into_std();
                let socket = socket.map_err(|error| self.lost(process, error.to_string()))?;
                self.peers.data[process] = Some(socket);
            }
        }
        if self.has_met(process) {
            tracing::info!("{} is here", self.peers.cluster.name(process));
        }
        Ok(())
    }

    /// What another says. The job may run there already.
    fn hear(&mut self, process: usize, heard: Heard) -> Result<(), PeerError> {
        match heard {
            Heard::Word(Word::Ready) => self.ready[process] = true,
            Heard::Word(Word::Closed(epoch)) => self.peers.clock.follow(epoch),
            Heard::Word(Word::Stop) => self.peers.stopped = true,
            Heard::Word(Word::Failed { process, reason }) => {
                return Err(PeerError::Failed {
                    process: self.peers.cluster.name(process),
                    number: process,
                    reason,
                });
            }
            Heard::Word(Word::Ended) => {
                return Err(self.lost(process, "it was ended".to_owned()));
            }
            Heard::Word(Word::Alive | Word::Arrived { .. } | Word::Done) => {}
            Heard::Lost(how) => return Err(self.lost(process, how)),
        }
        Ok(())
    }

    fn lost(&self, process: usize, how: String) -> PeerError {
        PeerError::Lost {
            process: self.peers.cluster.name(process),
            how,
        }
    }

    /// Who is waited for, and why.
    fn missing(&self) -> String {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let unready = self.others().filter(|process| !self.ready[*process]);
        let (absent, waiting): (Vec<_>, Vec<_>) =
            unready.partition(|process| !self.has_met(*process));
        let describe = |process: &usize| {
            let name = self.peers.cluster.name(*process);
            match faults.get(process) {
                Some(fault) if !absent.is_empty() => format!("{name}: {fault}"),
                _ => name,
            }
        };
        // those who are here wait for those who are not, or for others yet
        let shown = if absent.is_empty() { &waiting } else { &absent };
        let shown: Vec<_> = shown.iter().map(describe).collect();
        shown.join(", ")
    }
}

/// Greets who dials, until the meeting is over. Who says no hello is sent away.
async fn receive(listener: TcpListener, hello: Hello, found: Found) {
    let mut greetings = JoinSet::new();
    let room = Arc::new(Semaphore::new(GREETING));
    loop {
        while greetings.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let Ok((stream, from)) = listener.accept().await else {
            // out of files, say; others may come when there are some again
            sleep(AGAIN).await;
            continue;
        };
        let (hello, found) = (hello.clone(), found.clone());
        greetings.spawn(async move {
            let _permit = permit;
            let mut stream = stream;
            let Ok(Some(theirs)) = timeout(HELLO, hello.answer(&mut stream)).await else {
                tracing::warn!("a connection from {from} was closed: it is no process of this job");
                return;
            };
            // the meeting may be over
            found.send(hello.met(theirs, stream)).await.ok();
        });
    }
}

/// Dials one process for one purpose.
struct Dial {
    peer: usize,
    address: String,
    hello: Hello,
    faults: Faults,
}

impl Dial {
    /// Until it is there.
    async fn run(self, found: Found) {
        loop {
            let fault = match timeout(HELLO, self.attempt()).await {
                Ok(Ok(met)) => {
                    found.send(met).await.ok();
                    return;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it does not answer".to_owned(),
            };
            self.faults
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(self.peer, fault);
            sleep(AGAIN).await;
        }
    }

    async fn attempt(&self) -> std::io::Result<Result<Met, PeerError>> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let theirs = self.hello.greet(&mut stream).await?;
        Ok(self.hello.met(theirs, stream))
    }
}

impl Hello {
    /// A connection to who has said this, if it fits.
    fn met(&self, theirs: Self, stream: TcpStream) -> Result<Met, PeerError> {
        self.check(&theirs)?;
        // rows and words are written when they are to be sent; without the option they would wait for more
        stream.set_nodelay(true).ok();
        Ok(Met {
            process: theirs.process,
            purpose: theirs.purpose,
            stream,
        })
    }
}
