//! The measured side: a child process that does one thing and takes its own time.
//!
//! It says when it is connected, and at the end its [`Usage`].

mod pipeline;
mod reference;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use cpu_time::ProcessTime;
use serde::{Deserialize, Serialize};

use crate::case::{Contender, Shape};
use crate::process::{self, nanos};

/// The environment variable that makes this program a subject.
pub(crate) const VARIABLE: &str = "HEADWATER_BENCH_SUBJECT";

/// How often progress is looked at. Rare enough to cost nothing, often enough for runs of a second.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// How long the first message may take.
const FIRST_DEADLINE: Duration = Duration::from_secs(60);
/// After how long without progress the rest is taken for lost.
const STALL: Duration = Duration::from_secs(5);
/// How long a pipeline is left alone before its idling is measured.
const SETTLING: Duration = Duration::from_secs(1);

/// What to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) contender: Contender,
    pub(crate) shape: Shape,
    pub(crate) addr: SocketAddr,
    /// The authority to trust, if TLS is spoken.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) qos: u8,
    /// How many messages will come; 0 to idle.
    pub(crate) messages: u64,
    /// How long to idle.
    pub(crate) idle_seconds: u32,
}

/// What it took.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// How many messages were dealt with in all.
    pub(crate) done: u64,
    /// How many of them after the clock was started.
    pub(crate) measured: u64,
    /// From the first message to the last, or the time of idling.
    pub(crate) seconds: f64,
    /// User and system time of the process meanwhile, in nanoseconds.
    pub(crate) cpu_ns: u64,
}

/// How far a subject has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Progress {
    /// Messages received.
    begun: u64,
    /// Messages dealt with: counted, or published.
    done: u64,
    /// Messages received or published that are not acknowledged.
    unacknowledged: u64,
}

/// Runs as a subject if this process was started as one.
pub(crate) fn run_if_asked() -> Option<Result<()>> {
    process::asked(VARIABLE, |task: Task| match task.contender {
        Contender::Count => reference::count(&task),
        Contender::Bridge => reference::bridge(&task),
        Contender::Headwater => pipeline::run(&task),
    })
}

/// Idles, or follows the progress to its end.
fn measure(task: &Task, progress: impl FnMut() -> Result<Progress>) -> Result<Usage> {
    if task.messages > 0 {
        return follow(task.messages, progress);
    }
    std::thread::sleep(SETTLING);
    let (begun, cpu) = (Instant::now(), ProcessTime::now());
    std::thread::sleep(Duration::from_secs(task.idle_seconds.into()));
    Ok(Usage {
        seconds: begun.elapsed().as_secs_f64(),
        cpu_ns: nanos(cpu.elapsed()),
        ..Usage::default()
    })
}

/// Starts the clock when the first messages have come, and stops it when all are done and acknowledged, or at the last
/// progress before it stalled. What was received before the clock was started is not counted, although some of the work
/// on it may be: the cost is never understated.
fn follow(goal: u64, mut progress: impl FnMut() -> Result<Progress>) -> Result<Usage> {
    let waiting = Instant::now();
    let first = loop {
        let now = progress()?;
        if now.begun > 0 {
            break now;
        }
        if waiting.elapsed() > FIRST_DEADLINE {
            bail!("no message came within {FIRST_DEADLINE:?}");
        }
        std::thread::sleep(POLL_INTERVAL);
    };
    let (begun, cpu) = (Instant::now(), ProcessTime::now());
    let (mut last, mut seconds, mut cpu_ns) = (first, Duration::ZERO, 0);
    while last.done < goal || last.unacknowledged > 0 {
        std::thread::sleep(POLL_INTERVAL);
        let now = progress()?;
        if now != last {
            (last, seconds, cpu_ns) = (now, begun.elapsed(), nanos(cpu.elapsed()));
        } else if begun.elapsed() - seconds > STALL {
            break;
        }
    }
    Ok(Usage {
        done: last.done,
        measured: last.done.saturating_sub(first.begun),
        seconds: seconds.as_secs_f64(),
        cpu_ns,
    })
}
