//! `headwater demo`: everything at once, with nothing installed.
//!
//! ```text
//!  simulated sensors ─► embedded broker ─► examples/quickstart.sql ─► embedded broker ─► this terminal
//! ```
//!
//! The broker is that of the crate `mqtt5`, listening on 127.0.0.1 only. The sensors publish and the results are read
//! over the same client that the connector uses.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use headwater_engine::connector::State;
use headwater_engine::{CHECKPOINT_INTERVAL, Engine, Execution, JobOptions};
use headwater_mqtt::{ConnectOptions, Publish, Publisher, QoS, Subscriber, Subscription};
use indicatif::MultiProgress;
use mqtt5::broker::MqttBroker;
use mqtt5::broker::config::{AuthConfig, BrokerConfig, StorageBackend, StorageConfig};
use rand::Rng;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::exit::Exit;
use crate::logging;
use crate::run;
use crate::signals::Interrupts;
use crate::status::{StatusLine, Totals};

/// The pipeline that the demo runs, as it stands in the repository.
const QUICKSTART: &str = include_str!("../../../examples/quickstart.sql");

/// The broker that the pipeline names.
const QUICKSTART_URL: &str = "mqtt://127.0.0.1:1883";

/// How many results a second are shown; all are counted.
const SHOWN_PER_SECOND: u32 = 4;

/// Run examples/quickstart.sql on an embedded broker with simulated sensors.
///
/// Needs nothing installed. Shows results and throughput until interrupted.
#[derive(Args)]
pub(crate) struct Demo {
    /// How many sensors publish.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    sensors: u32,

    /// How many readings all of them together publish a second.
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,

    /// Stop after this many seconds; without it, when interrupted.
    #[arg(long)]
    seconds: Option<u64>,
}

impl Demo {
    pub(crate) async fn execute(self) -> anyhow::Result<Exit> {
        let lines = MultiProgress::new();
        logging::init(&lines);
        let mut interrupts = Interrupts::listen()?;
        let address = start_broker().await?;
        let url = format!("mqtt://{address}");
        let sql = QUICKSTART.replace(QUICKSTART_URL, &url);
        say!("an embedded broker listens on {url}; the pipeline is examples/quickstart.sql:\n");
        say!("{}", sql.trim());
        say!("");

        let engine = Engine::default();
        let options = JobOptions {
            checkpoint_interval: CHECKPOINT_INTERVAL,
            job_id: "demo".to_owned(),
            parallelism: 1,
            state_limit_bytes: None,
            over_limit: headwater_engine::OverLimit::default(),
            preview: engine.print_rows(),
            state: State::default(),
        };
        let Execution { job: Some(job), .. } = engine.execute(&sql, options).await? else {
            anyhow::bail!("examples/quickstart.sql has no INSERT");
        };
        tokio::select! {
            () = job.opened() => {}
            () = interrupts.next() => {
                job.abort();
                return Ok(Exit::Interrupted);
            }
        }
        let job = Arc::new(job);
        let watching = tokio::spawn(watch(address, lines.clone()));
        let sensors = tokio::spawn(simulate(address, self.sensors, self.rate));
        let started = Instant::now();
        if let Some(seconds) = self.seconds {
            let job = Arc::clone(&job);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                job.stop();
            });
        }
        let outcome = run::follow(&job, &mut interrupts, Some(StatusLine::new(&lines))).await;
        sensors.abort();
        let seconds = started.elapsed().as_secs_f64();
        let totals = Totals::of(&job);
        say!(
            "\n{} readings in and {} alerts out in {seconds:.1} s: {:.0} messages/s",
            totals.input.messages,
            totals.output.messages,
            (totals.input.messages + totals.output.messages) as f64 / seconds,
        );
        watching.abort();
        say!("next: the same pipeline on your own broker; see README.md");
        Ok(run::finish(&job, outcome))
    }
}

/// Starts the broker on the port that the example names, or, if that is taken, on a free one.
async fn start_broker() -> anyhow::Result<SocketAddr> {
    let preferred = SocketAddr::from(([127, 0, 0, 1], 1883));
    let address = match TcpListener::bind(preferred).await {
        Ok(_) => preferred,
        Err(_) => TcpListener::bind("127.0.0.1:0").await?.local_addr()?,
    };
    let storage = StorageConfig {
        backend: StorageBackend::Memory,
        max_queued_messages_per_client: 1_000_000,
        ..StorageConfig::default()
    };
    let auth = AuthConfig {
        allow_anonymous: true,
        ..AuthConfig::default()
    };
    let config = BrokerConfig::new()
        .with_bind_address(address)
        .with_storage(storage)
        .with_client_channel_capacity(100_000)
        .with_max_outbound_inflight(1000)
        .with_auth(auth);
    let mut broker = MqttBroker::with_config(config)
        .await
        .context("the embedded broker cannot start")?;
    tokio::spawn(async move {
        if let Err(error) = broker.run().await {
            tracing::error!(%error, "the embedded broker has stopped");
        }
    });
    Ok(address)
}

fn client(address: SocketAddr, name: &str) -> ConnectOptions {
    ConnectOptions::new(
        address.ip().to_string(),
        address.port(),
        format!("headwater-demo-{name}"),
    )
}

/// Publishes readings in time: every tick what is due.
async fn simulate(address: SocketAddr, sensors: u32, rate: u32) -> anyhow::Result<()> {
    let mut publisher = Publisher::start(client(address, "sensors"), Arc::default());
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let started = Instant::now();
    let mut sent = 0;
    loop {
        tick.tick().await;
        let due = (started.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        let readings = (sent..due).map(|_| reading(sensors)).collect::<Vec<_>>();
        sent = due;
        if !readings.is_empty() {
            publisher.publish(readings).await?;
        }
    }
}

fn reading(sensors: u32) -> Publish {
    let mut random = rand::rng();
    let sensor = random.random_range(0..sensors);
    let temperature: f64 = random.random_range(15.0..75.0);
    let ts = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let payload = format!(r#"{{"temperature":{temperature:.2},"unit":"celsius","ts":"{ts}"}}"#);
    Publish::new(
        Bytes::from(format!("sensors/s{sensor:04}/temperature")),
        Bytes::from(payload),
        QoS::AtLeastOnce,
    )
}

/// Shows some of the results.
async fn watch(address: SocketAddr, lines: MultiProgress) -> anyhow::Result<()> {
    let filter = Subscription::new("alerts", QoS::AtMostOnce);
    let mut results = Subscriber::start(client(address, "watch"), vec![filter], Arc::default());
    let mut shown = 0;
    let mut second = Instant::now();
    loop {
        let inbound = results.recv().await?;
        if second.elapsed() >= Duration::from_secs(1) {
            second = Instant::now();
            shown = 0;
        }
        for message in inbound.iter() {
            if shown < SHOWN_PER_SECOND {
                shown += 1;
                let text = String::from_utf8_lossy(message.payload).into_owned();
                lines.suspend(|| say!("{} {text}", message.topic()));
            }
        }
    }
}
