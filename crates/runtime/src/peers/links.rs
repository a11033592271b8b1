//! The control connections: a task that listens and one that speaks for each, as long as the processes have to do with
//! each other.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::away::Away;
use super::words::{Word, read_frame, write_frame};

/// How many words may wait to be said. There are few that are not said by the speaker itself.
const WORDS: usize = 16;

/// How many words that were heard may wait; then a connection is not read.
const HEARD: usize = 64;

/// The least time between two words about epochs and arrivals.
const PACE: Duration = Duration::from_millis(1);

/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What comes from another process.
#[derive(Debug)]
pub(super) enum Heard {
    Word(Word),
    /// Nothing more will come, and why.
    Lost(String),
}

/// The control connections of a process.
pub(super) struct Links {
    away: Away,
    silence: Duration,
    /// The epoch in which sources of this process are, kept here so that the speakers can watch it to the end.
    closed: watch::Sender<u64>,
    /// By process; none to itself and to those who have not been met yet.
    says: Vec<Option<mpsc::Sender<Word>>>,
    heard_sender: mpsc::Sender<(usize, Heard)>,
    heard: mpsc::Receiver<(usize, Heard)>,
    speakers: JoinSet<()>,
    listeners: JoinSet<()>,
}

impl Links {
    pub(super) fn new(away: Away, silence: Duration, closed: watch::Sender<u64>) -> Self {
        let (heard_sender, heard) = mpsc::channel(HEARD);
        Self {
            says: vec![None; away.layout.processes],
            away,
            silence,
            closed,
            heard_sender,
            heard,
            speakers: JoinSet::new(),
            listeners: JoinSet::new(),
        }
    }

    /// Takes a connection to a process.
    pub(super) fn add(&mut self, process: usize, stream: TcpStream) {
        let (read, write) = stream.into_split();
        let (says, words) = mpsc::channel(WORDS);
        self.says[process] = Some(says);
        let speaker = Speaker {
            process,
            stream: write,
            words,
            closed: self.closed.subscribe(),
            away: self.away.clone(),
            told: 0,
        };
        self.speakers.spawn(speaker.run(self.silence / 5));
        let heard = self.heard_sender.clone();
        self.listeners
            .spawn(listen(process, read, self.silence, heard));
    }

    /// Whether there is a connection to a process.
    pub(super) fn has(&self, process: usize) -> bool {
        self.says[process].is_some()
    }

    /// What is heard next, and from whom. Cancel-safe.
    pub(super) async fn hear(&mut self) -> (usize, Heard) {
        match self.heard.recv().await {
            Some(heard) => heard,
            // never: this end has a sender, too
            None => std::future::pending().await,
        }
    }

    /// Tells all others.
    pub(super) fn tell(&self, word: &Word) {
        for says in self.says.iter().flatten() {
            // who does not take them any more is lost, which is heard
            says.try_send(word.clone()).ok();
        }
    }

    /// Lets the last words be said, and ends.
    pub(super) async fn close(mut self) {
        self.says.clear();
        let said = async { while self.speakers.join_next().await.is_some() {} };
        timeout(LAST_WORDS, said).await.ok();
    }
}

async fn listen(
    process: usize,
    stream: OwnedReadHalf,
    silence: Duration,
    heard: mpsc::Sender<(usize, Heard)>,
) {
    let mut stream = BufReader::new(stream);
    loop {
        let next = match timeout(silence, read_frame(&mut stream)).await {
            Ok(Ok(word)) => Heard::Word(word),
            Ok(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                Heard::Lost("it has ended without a word".to_owned())
            }
            Ok(Err(error)) => Heard::Lost(format!("its connection broke: {error}")),
            Err(_) => Heard::Lost(format!(
                "it has said nothing for {} s",
                silence.as_secs_f32()
            )),
        };
        let is_last = matches!(next, Heard::Lost(_) | Heard::Word(Word::Done));
        if heard.send((process, next)).await.is_err() || is_last {
            return;
        }
    }
}

/// Says what is to be said on one connection.
struct Speaker {
    process: usize,
    stream: OwnedWriteHalf,
    words: mpsc::Receiver<Word>,
    closed: watch::Receiver<u64>,
    away: Away,
    /// The epoch that was told last.
    told: u64,
}

impl Speaker {
    /// Speaks until there is nothing more to say, or nobody listens.
    async fn run(mut self, alive_every: Duration) {
        let mut alive = interval(alive_every);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let arrived = Arc::clone(&self.away.arrived);
        let arrived = &arrived[self.process];
        loop {
            let said = tokio::select! {
                biased;
                word = self.words.recv() => match word {
                    Some(Word::Done) => {
                        // the last word, and nothing is said behind it
                        self.say(&Word::Done).await;
                        break;
                    }
                    Some(word) => self.say(&word).await,
                    None => break,
                },
                _ = alive.tick() => self.say(&Word::Alive).await,
                _ = self.closed.changed() => self.tell_news().await,
                () = arrived.some.notified() => self.tell_news().await,
                // there was no room, and nobody says when there is
                () = sleep(PACE), if arrived.any() => self.tell_news().await,
            };
            if !said {
                return;
            }
        }
        self.stream.shutdown().await.ok();
    }

    /// Tells which epochs are closed and what has arrived, and then for a moment nothing.
    async fn tell_news(&mut self) -> bool {
        let closed = *self.closed.borrow_and_update();
        if closed > self.told {
            self.told = closed;
            if !self.say(&Word::Closed(closed)).await {
                return false;
            }
        }
        let arrived = &self.away.arrived[self.process];
        if arrived.any() && self.away.backlog.has_room_at_sinks() {
            let size = arrived.take();
            let (rows, bytes) = (size.rows, size.bytes);
            if !self.say(&Word::Arrived { rows, bytes }).await {
                return false;
            }
        }
        sleep(PACE).await;
        true
    }

    /// False if nobody listens.
    async fn say(&mut self, word: &Word) -> bool {
        write_frame(&mut self.stream, word).await.is_ok()
    }
}
