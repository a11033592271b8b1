//! What a server costs: `cargo bench -p headwater-server --bench server` (`-- --quick` shows in a minute that it works).
//!
//! ```text
//! this process (driver)                              child process (the server)
//!   requests, messages, a broker  ── HTTP, MQTT ──►    as `headwater serve` runs it
//! ```
//!
//! - an idle server: its memory and CPU;
//! - many small pipelines in one server, from a real Mosquitto and back to it: how long they take to run, memory, CPU, and that
//!   each of them works;
//! - a pipeline at full speed, alone and beside a thousand requests a second on the list endpoints: its rate, and the CPU time that a
//!   message costs it.
//!
//! Driver, broker and server share the machine, so rates depend on it; CPU per message is the pipeline's own.

#![allow(
    clippy::print_stdout,
    reason = "a bench talks through its standard output"
)]

mod process;
mod requests;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use headwater_testkit::fake_broker::{FakeBroker, Feed};
use headwater_testkit::{Mosquitto, TestClient};
use hyper::Method;
use hyper::body::Bytes;
use serde_json::{Value, json};

use crate::process::{Metrics, Process};
use crate::requests::Requests;

/// The allocator of the command.
#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How often progress is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(300);
/// How long a server is left alone before its idling is measured.
const SETTLING: Duration = Duration::from_secs(2);

/// How much is measured.
struct Sizes {
    pipelines: usize,
    messages: u64,
    requests_per_second: u32,
    repetitions: usize,
    idle: Duration,
}

const FULL: Sizes = Sizes {
    pipelines: 200,
    messages: 3_000_000,
    requests_per_second: 1_000,
    repetitions: 3,
    idle: Duration::from_secs(10),
};

const QUICK: Sizes = Sizes {
    pipelines: 20,
    messages: 100_000,
    requests_per_second: 200,
    repetitions: 1,
    idle: Duration::from_secs(1),
};

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let outcome = match (runtime, process::asked_for()) {
        (Ok(runtime), Some(folder)) => runtime.block_on(process::serve(folder.into())),
        (Ok(runtime), None) => {
            let quick = std::env::args().any(|argument| argument == "--quick");
            runtime.block_on(measure(if quick { &QUICK } else { &FULL }))
        }
        (Err(error), _) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(sizes: &Sizes) -> Result<()> {
    if cfg!(debug_assertions) {
        println!("a debug build: the numbers mean nothing\n");
    }
    println!("| | |\n|---|---|");
    idle(sizes).await?;
    many(sizes).await?;
    beside_requests(sizes).await
}

fn tell(what: &str, value: impl std::fmt::Display) {
    println!("| {what} | {value} |");
}

/// Memory and CPU of a server that nobody asks for anything.
async fn tell_idle(what: &str, server: &Process, sizes: &Sizes) -> Result<()> {
    tokio::time::sleep(SETTLING).await;
    let before = server.metrics().await?;
    tokio::time::sleep(sizes.idle).await;
    let after = server.metrics().await?;
    let cpu = after.process_cpu() - before.process_cpu();
    let percent = cpu / sizes.idle.as_secs_f64() * 100.0;
    tell(
        &format!("{what}: memory"),
        format_args!("{:.0} MiB", after.memory() / 1_048_576.0),
    );
    tell(&format!("{what}: threads"), after.threads());
    tell(
        &format!("{what}: CPU"),
        format_args!("{percent:.1} % of a core"),
    );
    Ok(())
}

async fn idle(sizes: &Sizes) -> Result<()> {
    let server = Process::start()?;
    tell_idle("idle server", &server, sizes).await
}

/// Many small pipelines, each with a source and a sink of its own.
async fn many(sizes: &Sizes) -> Result<()> {
    let broker = Mosquitto::start()?;
    let server = Process::start()?;
    let count = sizes.pipelines;
    let profile = json!({ "name": "b", "connector": "mqtt", "config": { "url": broker.url() } });
    server.post("connection_profiles", &profile).await?;
    let begun = Instant::now();
    for n in 0..count {
        let table = |name, kind, topic| {
            format!(
                "CREATE TABLE {name} (t DOUBLE) WITH (connector = 'mqtt', connection_profile = 'b', type = '{kind}',
                 topic = '{topic}/{n}', qos = 'AtLeastOnce', format = 'json');"
            )
        };
        let tables = table("i", "source", "in") + &table("o", "sink", "out");
        let query = format!("{tables} INSERT INTO o SELECT t FROM i WHERE t > 0");
        let pipeline = json!({ "name": format!("p{n}"), "query": query, "parallelism": 1 });
        server.post("pipelines", &pipeline).await?;
    }
    wait(async || Ok(server.jobs_in("Running").await? == count)).await?;
    tell(
        &format!("{count} pipelines: until all run"),
        format_args!("{:.1} s", begun.elapsed().as_secs_f64()),
    );
    tell_idle(&format!("{count} pipelines"), &server, sizes).await?;
    let mut client = TestClient::connect(&broker).await?;
    client.subscribe("out/#", 1).await?;
    let begun = Instant::now();
    for n in 0..count {
        client
            .publish(&format!("in/{n}"), r#"{"t": 1.5}"#, 1, false)
            .await?;
    }
    let mut answered = std::collections::BTreeSet::new();
    while answered.len() < count {
        answered.insert(client.recv(DEADLINE).await?.topic);
    }
    tell(
        &format!("{count} pipelines: one message through each"),
        format_args!("{:.2} s", begun.elapsed().as_secs_f64()),
    );
    Ok(())
}

/// What a pipeline did.
struct Speed {
    per_second: f64,
    cpu_ns_per_message: f64,
}

/// A pipeline at full speed, without and with requests, by turns.
async fn beside_requests(sizes: &Sizes) -> Result<()> {
    let server = Process::start()?;
    // what is listed
    for n in 0..sizes.pipelines {
        let pipeline =
            json!({ "name": format!("p{n}"), "query": "SELECT 1 AS a", "parallelism": 1 });
        server.post("pipelines", &pipeline).await?;
        let table = json!({ "name": format!("t{n}"), "connector": "impulse", "config": {} });
        server.post("connection_tables", &table).await?;
    }
    let config = json!({ "url": "mqtt://127.0.0.1" });
    let profile = json!({ "name": "b", "connector": "mqtt", "config": config });
    server.post("connection_profiles", &profile).await?;
    let (mut alone, mut beside, mut latencies) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..sizes.repetitions {
        alone.push(at_full_speed(&server, sizes.messages).await?);
        let requests = Requests::start(&server.url, sizes.requests_per_second);
        beside.push(at_full_speed(&server, sizes.messages).await?);
        let answered = requests.stop().await?;
        tell(
            "requests a second",
            format_args!("{:.0}", answered.per_second),
        );
        latencies.extend(answered.latencies);
    }
    latencies.sort_unstable();
    let percentile = |percent: usize| {
        let at = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
        latencies
            .get(at)
            .map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    };
    for (what, percent) in [("median", 50), ("99 %", 99)] {
        tell(
            &format!("answers of the lists: {what} within"),
            format_args!("{:.1} ms", percentile(percent)),
        );
    }
    let (alone, beside) = (median(alone), median(beside));
    for (what, speed) in [("alone", &alone), ("beside the requests", &beside)] {
        tell(
            &format!("a pipeline at full speed, {what}"),
            format_args!(
                "{:.0} messages/s, {:.0} ns of CPU each",
                speed.per_second, speed.cpu_ns_per_message
            ),
        );
    }
    tell(
        "beside / alone",
        format_args!(
            "{:.2} of the rate, {:.2} of the CPU a message",
            beside.per_second / alone.per_second,
            beside.cpu_ns_per_message / alone.cpu_ns_per_message
        ),
    );
    Ok(())
}

fn median(mut speeds: Vec<Speed>) -> Speed {
    speeds.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    let middle = speeds.len() / 2;
    speeds.swap_remove(middle)
}

/// Runs one pipeline until it has taken as many messages as a broker of its own has for it.
async fn at_full_speed(server: &Process, messages: u64) -> Result<Speed> {
    let payload = r#"{"device":"dev-01","t":21.5,"humidity":40.5,"seq":1000,"ok":true}"#;
    let feed = Feed {
        topic: "in".to_owned(),
        payloads: vec![Bytes::from_static(payload.as_bytes())],
        qos: 1,
        count: messages,
        window: 4096,
        per_second: None,
        stamp_at: None,
    };
    let broker = FakeBroker::builder().feed("in", feed).start()?;
    let query = format!(
        "CREATE TABLE i (device TEXT, t DOUBLE, seq BIGINT) WITH (connector = 'mqtt', url = '{}', type = 'source', topic = 'in',
         qos = 'AtLeastOnce', format = 'json');
         CREATE TABLE o (device TEXT, t DOUBLE) WITH (connector = 'blackhole');
         INSERT INTO o SELECT device, t * 2 AS t FROM i WHERE seq > 0",
        broker.url()
    );
    let pipeline = json!({ "name": "fast", "query": query, "parallelism": 1 });
    let pipeline = server.post("pipelines", &pipeline).await?;
    let id = pipeline["id"].as_str().context("the pipeline has no id")?;
    let done = async |least: u64| Ok(server.metrics().await?.messages(id) >= least as f64);
    wait(async || done(1).await).await?;
    let (begun, before) = (Instant::now(), server.metrics().await?);
    wait(async || done(messages).await).await?;
    let (seconds, after) = (begun.elapsed().as_secs_f64(), server.metrics().await?);
    let path = format!("pipelines/{id}");
    server
        .call(Method::PATCH, &path, Some(&json!({ "stop": "immediate" })))
        .await?;
    wait(async || Ok(server.has_stopped(id).await?)).await?;
    server.call(Method::DELETE, &path, None).await?;
    let taken = after.messages(id) - before.messages(id);
    ensure!(
        taken > 0.0,
        "all messages came before they could be measured"
    );
    let cpu = |metrics: &Metrics| metrics.pipeline_cpu(id);
    Ok(Speed {
        per_second: taken / seconds,
        cpu_ns_per_message: (cpu(&after) - cpu(&before)) * 1e9 / taken,
    })
}

/// Waits until it is so.
async fn wait(is_so: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !is_so().await? {
        ensure!(begun.elapsed() < DEADLINE, "it took too long");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// The members of a list.
fn data(list: &Value) -> &[Value] {
    list["data"].as_array().map_or(&[], Vec::as_slice)
}
