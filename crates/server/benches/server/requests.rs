//! Requests on the list endpoints at a steady rate, over a few connections that are kept.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Over how many connections they are spread.
const CONNECTIONS: u32 = 8;

/// What is asked for, in turn.
const LISTS: [&str; 4] = [
    "pipelines?limit=100",
    "connection_tables?limit=100",
    "connection_profiles",
    "jobs",
];

/// Requests under way.
pub(crate) struct Requests {
    stop: watch::Sender<bool>,
    tasks: JoinSet<Result<Vec<Duration>>>,
    begun: Instant,
}

/// What came back.
pub(crate) struct Answered {
    pub(crate) per_second: f64,
    pub(crate) latencies: Vec<Duration>,
}

impl Requests {
    /// Begins.
    pub(crate) fn start(url: &str, per_second: u32) -> Self {
        let address = url.trim_start_matches("http://").to_owned();
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for n in 0..CONNECTIONS {
            let every = Duration::from_secs(1) * CONNECTIONS / per_second;
            tasks.spawn(ask(address.clone(), n as usize, every, stopped.clone()));
        }
        let begun = Instant::now();
        Self { stop, tasks, begun }
    }

    /// Ends, and says how it went.
    pub(crate) async fn stop(mut self) -> Result<Answered> {
        let seconds = self.begun.elapsed().as_secs_f64();
        self.stop.send_replace(true);
        let mut latencies = Vec::new();
        while let Some(asked) = self.tasks.join_next().await {
            latencies.extend(asked??);
        }
        Ok(Answered {
            per_second: latencies.len() as f64 / seconds,
            latencies,
        })
    }
}

/// Asks again and again; a request that is late is made up for.
async fn ask(
    address: String,
    first: usize,
    every: Duration,
    stopped: watch::Receiver<bool>,
) -> Result<Vec<Duration>> {
    let stream = TcpStream::connect(&address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut ticks = tokio::time::interval(every);
    let mut latencies = Vec::new();
    let mut lists = LISTS.iter().cycle().skip(first);
    while !*stopped.borrow() {
        ticks.tick().await;
        let Some(list) = lists.next() else { break };
        let request = Request::get(format!("/api/v1/{list}"))
            .header(HOST, &address)
            .body(Empty::<Bytes>::new())?;
        let begun = Instant::now();
        let answer = sender.send_request(request).await?;
        ensure!(
            answer.status() == StatusCode::OK,
            "{list}: {}",
            answer.status()
        );
        answer.into_body().collect().await?;
        latencies.push(begun.elapsed());
    }
    Ok(latencies)
}
