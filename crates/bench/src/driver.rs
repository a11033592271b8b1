//! Runs one case with one contender, once.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use headwater_testkit::fake_broker::{Counts, FakeBroker, LoadClient, TlsFront};
use headwater_testkit::{Certificates, Mosquitto};
use tempfile::TempDir;

use crate::case::{Broker, Case, Contender, INPUT_TOPIC, Load, OUTPUT_TOPIC, STAMP_MARKER, Shape};
use crate::subject::{OPEN, Task, Usage, VARIABLE};

/// After how long without an arrival the rest is taken for lost.
const STALL: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// What one run brought.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) usage: Usage,
    /// Messages that were sent and whose result did not arrive.
    pub(crate) lost: u64,
    /// Messages that the fake broker sent at QoS 1 or 2 and that were not acknowledged in the end.
    pub(crate) unacknowledged: u64,
    /// Acknowledgements that the fake broker got in another order.
    pub(crate) misordered: u64,
    /// From publish to the arrival of the result, in nanoseconds, sorted; empty if it was not measured.
    pub(crate) latencies_ns: Vec<u64>,
}

pub(crate) fn run(case: &Case, contender: Contender) -> Result<Run> {
    match case.broker {
        Broker::Fake => against_fake_broker(case, contender),
        Broker::Mosquitto => through_mosquitto(case, contender),
    }
}

fn against_fake_broker(case: &Case, contender: Contender) -> Result<Run> {
    let mut builder = FakeBroker::builder().feed(INPUT_TOPIC, case.feed());
    if matches!(case.load, Load::Paced { .. }) {
        builder = builder.measure_latency(STAMP_MARKER);
    }
    let broker = builder.start()?;
    let front = case.tls.then(|| Front::start(broker.addr())).transpose()?;
    let mut subject = match &front {
        Some(front) => Subject::start(case, contender, front.tls.addr(), Some(&front.ca))?,
        None => Subject::start(case, contender, broker.addr(), None)?,
    };
    subject.await_open()?;
    let usage = subject.finish()?;
    let awaited = arrivals(case, contender, &usage);
    settle(
        || broker.counts(),
        |counts| {
            counts.received >= awaited && (case.qos == 0 || counts.acknowledged >= counts.sent)
        },
    );
    let counts = broker.counts();
    ensure!(
        counts.sent == case.messages(),
        "the fake broker sent {} messages: the subject reconnected or was too slow",
        counts.sent
    );
    Ok(Run {
        usage,
        lost: lost(case, contender, &usage, counts.received),
        unacknowledged: match case.qos {
            0 => 0,
            _ => counts.sent - counts.acknowledged.min(counts.sent),
        },
        misordered: counts.misordered,
        latencies_ns: sorted(broker.take_latencies_ns()),
    })
}

/// TLS before the fake broker, ended in this process.
struct Front {
    tls: TlsFront,
    ca: PathBuf,
    /// Holds the certificates.
    _folder: TempDir,
}

impl Front {
    fn start(broker: SocketAddr) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let certificates = Certificates::generate(folder.path())?;
        Ok(Self {
            tls: TlsFront::start(&certificates, broker)?,
            ca: certificates.ca,
            _folder: folder,
        })
    }
}

fn through_mosquitto(case: &Case, contender: Contender) -> Result<Run> {
    let mosquitto = Mosquitto::builder()
        .max_inflight_messages(0)
        .max_queued_messages(0)
        // otherwise Mosquitto waits for TCP acknowledgements, up to 40 ms, before it sends a small packet
        .line("set_tcp_nodelay true")
        .start()?;
    let addr = mosquitto.plain_addr();
    let mut subject = Subject::start(case, contender, addr, None)?;
    subject.await_open()?;
    let mut results = LoadClient::builder("bench-results").subscribe(OUTPUT_TOPIC, case.qos);
    if matches!(case.load, Load::Paced { .. }) {
        results = results.measure_latency(STAMP_MARKER);
    }
    let results = results.connect(addr)?;
    let mut feeder = LoadClient::builder("bench-feeder").connect(addr)?;
    if case.messages() > 0 {
        feeder.publish(&case.feed())?;
    }
    let usage = subject.finish()?;
    let awaited = arrivals(case, contender, &usage);
    settle(|| results.counts(), |counts| counts.received >= awaited);
    Ok(Run {
        usage,
        lost: lost(case, contender, &usage, results.counts().received),
        unacknowledged: 0,
        misordered: 0,
        latencies_ns: sorted(results.take_latencies_ns()),
    })
}

/// How many results the subject says that it has published.
fn arrivals(case: &Case, contender: Contender, usage: &Usage) -> u64 {
    match (case.shape, contender) {
        (Shape::Source, _) | (_, Contender::Count) => 0,
        (Shape::Pipe, _) => usage.done,
    }
}

fn lost(case: &Case, contender: Contender, usage: &Usage, arrived: u64) -> u64 {
    let done = match (case.shape, contender) {
        (Shape::Source, _) | (_, Contender::Count) => usage.done,
        (Shape::Pipe, _) => arrived,
    };
    case.messages().saturating_sub(done)
}

/// Waits until the counts are as they should be, or stall.
fn settle(counts: impl Fn() -> Counts, done: impl Fn(&Counts) -> bool) {
    let mut last = (counts(), Instant::now());
    while !done(&last.0) && last.1.elapsed() < STALL {
        std::thread::sleep(POLL_INTERVAL);
        let now = counts();
        if now != last.0 {
            last = (now, Instant::now());
        }
    }
}

fn sorted(mut latencies: Vec<u64>) -> Vec<u64> {
    latencies.sort_unstable();
    latencies
}

/// This program again, as the measured side. Killed on drop if it still runs.
struct Subject {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Subject {
    fn start(
        case: &Case,
        contender: Contender,
        addr: SocketAddr,
        ca: Option<&Path>,
    ) -> Result<Self> {
        let task = Task {
            contender,
            shape: case.shape,
            addr,
            ca: ca.map(Path::to_owned),
            qos: case.qos,
            messages: case.messages(),
            idle_seconds: match case.load {
                Load::Idle { seconds } => seconds,
                Load::Full(_) | Load::Paced { .. } => 0,
            },
        };
        let mut process = Command::new(std::env::current_exe()?)
            .env(VARIABLE, serde_json::to_string(&task)?)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("the subject could not be executed")?;
        let output = process.stdout.take().context("the subject has no output")?;
        Ok(Self {
            process,
            output: BufReader::new(output),
        })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("the subject ended with {}", self.process.wait()?);
        }
        Ok(line)
    }

    fn await_open(&mut self) -> Result<()> {
        let line = self.line()?;
        ensure!(line.trim_end() == OPEN, "the subject said {line:?}");
        Ok(())
    }

    fn finish(&mut self) -> Result<Usage> {
        let line = self.line()?;
        let usage =
            serde_json::from_str(&line).with_context(|| format!("the subject said {line:?}"))?;
        let status = self.process.wait()?;
        ensure!(status.success(), "the subject ended with {status}");
        Ok(usage)
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // both fail only if it has ended
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
