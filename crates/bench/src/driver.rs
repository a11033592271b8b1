//! Runs one case with one contender, once.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use headwater_testkit::fake_broker::{Counts, FakeBroker, LoadClient, TlsFront};
use headwater_testkit::{Certificates, Mosquitto};
use tempfile::TempDir;

use crate::case::{Broker, Case, Contender, INPUT_TOPIC, Load, OUTPUT_TOPIC, STAMP_MARKER, Shape};
use crate::latency::Latency;
use crate::process::Subject;
use crate::subject::{Task, Usage, VARIABLE};

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
    /// What Mosquitto's only thread took, in nanoseconds.
    pub(crate) broker_cpu_ns: Option<u64>,
    /// From publish to the arrival of the result, if it was measured.
    pub(crate) latency: Option<Latency>,
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
        Some(front) => start(case, contender, front.tls.addr(), Some(&front.ca))?,
        None => start(case, contender, broker.addr(), None)?,
    };
    subject.await_open()?;
    let usage: Usage = subject.finish()?;
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
        broker_cpu_ns: None,
        latency: Latency::of(broker.take_latencies_ns(), case.tenths()),
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
    let mut subject = start(case, contender, addr, None)?;
    subject.await_open()?;
    let results = LoadClient::builder("bench-results");
    let results = match case.load {
        // whoever looks on should not take the broker's time, which at QoS 1 goes into acknowledgements
        Load::Paced { .. } => results
            .subscribe(OUTPUT_TOPIC, 0)
            .measure_latency(STAMP_MARKER),
        Load::Full(_) | Load::Idle { .. } => results.subscribe(OUTPUT_TOPIC, case.qos),
    };
    let results = results.connect(addr)?;
    let pid = mosquitto.pid().context("Mosquitto has ended")?;
    let broker_ns = cpu_ns(pid)?;
    let mut feeder = LoadClient::builder("bench-feeder").connect(addr)?;
    if case.messages() > 0 {
        feeder.publish(&case.feed())?;
    }
    let usage: Usage = subject.finish()?;
    let awaited = arrivals(case, contender, &usage);
    settle(|| results.counts(), |counts| counts.received >= awaited);
    Ok(Run {
        broker_cpu_ns: Some(cpu_ns(pid)? - broker_ns),
        usage,
        lost: lost(case, contender, &usage, results.counts().received),
        unacknowledged: 0,
        misordered: 0,
        latency: Latency::of(results.take_latencies_ns(), case.tenths()),
    })
}

/// How long a process of one thread has run, user and system time together, in nanoseconds.
fn cpu_ns(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let ran = stat.split(' ').next().context("no time is told")?;
    Ok(ran.parse()?)
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

/// Starts the measured side, which connects to this address.
fn start(
    case: &Case,
    contender: Contender,
    addr: SocketAddr,
    ca: Option<&Path>,
) -> Result<Subject> {
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
    Subject::start(VARIABLE, &task)
}
