//! What sqllogictest takes for a database: the engine, a client of the broker, and a folder, for one file.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType};
use tempfile::TempDir;
use tokio::time::Instant;

use super::Sut;
use super::script::{self, Command, Payload, Publish, Show};
use crate::client::{Message, TestClient};
use crate::mosquitto::Mosquitto;

/// How long a script waits for what it wants to see.
const DEADLINE: Duration = Duration::from_secs(20);
/// How often it looks whether a job has failed meanwhile, and counters have moved.
const GLANCE: Duration = Duration::from_millis(10);
/// Below the file's prefix; what is published here shows that all that was published before has arrived.
const MARKER: &str = "slt-marker";

/// An error as text, for sqllogictest to compare.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct SltError(String);

impl SltError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

type Rows = Vec<Vec<String>>;

/// One file's world.
pub(super) struct Database {
    sut: Box<dyn Sut>,
    client: TestClient,
    broker: std::net::SocketAddr,
    /// What arrived and was not asked for yet.
    arrived: Vec<Message>,
    markers: u64,
    dir: TempDir,
    /// Names and values, by which `$NAME` in scripts is replaced, and back in answers.
    variables: Vec<(&'static str, String)>,
    topic: String,
}

impl Database {
    pub(super) async fn new(name: &str, sut: Box<dyn Sut>, broker: &Mosquitto) -> Result<Self> {
        let topic = format!("slt/{name}");
        let dir = tempfile::tempdir()?;
        let client = TestClient::connect(broker).await?;
        client.subscribe(&format!("{topic}/#"), 2).await?;
        let path = dir
            .path()
            .to_str()
            .context("the temporary folder's name is not UTF-8")?;
        let mut variables = vec![
            ("$BROKER", broker.url()),
            ("$DIR", path.to_owned()),
            ("$TOPIC", topic.clone()),
        ];
        let websocket = broker.websocket_url();
        variables.extend(websocket.map(|url| ("$WEBSOCKET", url)));
        Ok(Self {
            sut,
            client,
            broker: broker.plain_addr(),
            arrived: Vec::new(),
            markers: 0,
            dir,
            variables,
            topic,
        })
    }

    async fn run_command(&mut self, text: &str) -> Result<Option<Rows>> {
        let text = self
            .variables
            .iter()
            .fold(text.to_owned(), |text, (name, value)| {
                text.replace(name, value)
            });
        match script::parse(&text)? {
            Command::Sql(sql) => return self.run_sql(sql).await,
            Command::Publish(publishes) => {
                for publish in publishes {
                    self.publish(publish).await?;
                }
            }
            Command::Messages {
                count,
                filter,
                show,
            } => {
                let messages = match count {
                    Some(count) => self.take(count, filter).await?,
                    None => self.take_all(filter).await?,
                };
                return Ok(Some(rows(&messages, &show)));
            }
            Command::Retained { filter, show } => {
                return Ok(Some(rows(&self.retained(filter).await?, &show)));
            }
            Command::Write { path, text } => write(Path::new(path), text)?,
            Command::Sqlite { path, sql } => {
                rusqlite::Connection::open(path)?.execute_batch(sql)?
            }
            Command::File(path) => return Ok(Some(read_lines(Path::new(path))?)),
            Command::Metric { table, name } => {
                return Ok(Some(vec![vec![self.metric(table, name)?.to_string()]]));
            }
            Command::Await { table, name, value } => self.await_metric(table, name, value).await?,
            Command::Wait => {
                self.bounded(|sut| sut.wait(), "the jobs did not end")
                    .await?
            }
            Command::Stop => {
                self.bounded(|sut| sut.stop(), "the jobs did not stop")
                    .await?
            }
            Command::CheckJobs => self.check_jobs()?,
        }
        Ok(None)
    }

    async fn run_sql(&mut self, sql: &str) -> Result<Option<Rows>> {
        let first = sql.split_whitespace().next().unwrap_or_default();
        let asks = ["select", "explain", "with"]
            .iter()
            .any(|word| first.eq_ignore_ascii_case(word));
        if asks {
            return self.sut.query(sql).await.map(Some);
        }
        self.sut.execute(sql).await?;
        Ok(None)
    }

    async fn bounded<'a, F>(
        &'a mut self,
        ending: impl FnOnce(&'a mut dyn Sut) -> F,
        complaint: &str,
    ) -> Result<()>
    where
        F: Future<Output = Result<()>>,
    {
        match tokio::time::timeout(DEADLINE, ending(&mut *self.sut)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => bail!("{complaint} within {DEADLINE:?}"),
        }
    }

    async fn publish(&mut self, publish: Publish<'_>) -> Result<()> {
        let payload = match publish.payload {
            Payload::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            Payload::Bytes(bytes) => bytes.into(),
        };
        let Publish {
            topic,
            qos,
            retain,
            properties,
            ..
        } = publish;
        self.client
            .publish_with(topic, payload, qos, retain, properties)
            .await
    }

    /// The next `count` messages on `filter`.
    async fn take(&mut self, count: usize, filter: &str) -> Result<Vec<Message>> {
        let until = Instant::now() + DEADLINE;
        loop {
            self.receive_arrived();
            let have = self
                .arrived
                .iter()
                .filter(|m| matches(filter, &m.topic))
                .count();
            if have >= count {
                let mut taken = Vec::with_capacity(count);
                self.arrived.retain(|message| {
                    let take = taken.len() < count && matches(filter, &message.topic);
                    if take {
                        taken.push(message.clone());
                    }
                    !take
                });
                return Ok(taken);
            }
            self.check_jobs()
                .with_context(|| format!("{have} of {count} messages on '{filter}' had arrived"))?;
            if Instant::now() > until {
                let texts: Vec<_> = self.arrived.iter().map(Message::text).collect();
                bail!(
                    "{have} of {count} messages arrived on '{filter}' within {DEADLINE:?}; all that is there:\n{}",
                    texts.join("\n")
                );
            }
            if let Ok(message) = self.client.recv(GLANCE).await {
                self.keep(message);
            }
        }
    }

    /// Everything on `filter` that was published before this call.
    async fn take_all(&mut self, filter: &str) -> Result<Vec<Message>> {
        self.markers += 1;
        let marker = format!("{}/{MARKER}", self.topic);
        let number = self.markers.to_string();
        self.client
            .publish(&marker, number.clone(), 1, false)
            .await?;
        loop {
            let message = self.client.recv(DEADLINE).await?;
            if message.topic == marker && message.text() == number {
                break;
            }
            self.keep(message);
        }
        let (wanted, others) = std::mem::take(&mut self.arrived)
            .into_iter()
            .partition(|message| matches(filter, &message.topic));
        self.arrived = others;
        Ok(wanted)
    }

    fn receive_arrived(&mut self) {
        while let Some(message) = self.client.try_recv() {
            self.keep(message);
        }
    }

    fn keep(&mut self, message: Message) {
        if !message.topic.ends_with(MARKER) {
            self.arrived.push(message);
        }
    }

    /// What the broker gives to a new subscriber. Retained messages precede everything published afterwards.
    async fn retained(&mut self, filter: &str) -> Result<Vec<Message>> {
        let mut client = TestClient::builder().connect(self.broker).await?;
        client.subscribe(filter, 2).await?;
        let marker = format!("{}/{MARKER}/retained", self.topic);
        client.subscribe(&marker, 1).await?;
        client.publish(&marker, "", 1, false).await?;
        let mut messages = Vec::new();
        loop {
            let message = client.recv(DEADLINE).await?;
            if message.topic == marker {
                return Ok(messages);
            }
            if message.retain {
                messages.push(message);
            }
        }
    }

    fn metric(&self, table: &str, name: &str) -> Result<u64> {
        self.sut
            .metric(table, name)
            .with_context(|| format!("no job counts '{name}' for a table '{table}'"))
    }

    async fn await_metric(&mut self, table: &str, name: &str, value: u64) -> Result<()> {
        let until = Instant::now() + DEADLINE;
        loop {
            let now = self.metric(table, name)?;
            if now == value {
                return Ok(());
            }
            self.check_jobs()?;
            ensure!(
                Instant::now() < until,
                "'{name}' of '{table}' is {now}, not {value}, after {DEADLINE:?}"
            );
            tokio::time::sleep(GLANCE).await;
        }
    }

    fn check_jobs(&self) -> Result<()> {
        match self.sut.failure() {
            Some(reason) => bail!("a job has failed: {reason}"),
            None => Ok(()),
        }
    }

    /// A value of an answer. A blank line would end the answer, so nothing is written as `(empty)`.
    fn cell(&self, text: &str) -> String {
        match text {
            "" => "(empty)".to_owned(),
            text => self.anonymous(text),
        }
    }

    /// Puts the names of the variables in the place of their values, so that answers are the same in every run.
    fn anonymous(&self, text: &str) -> String {
        self.variables
            .iter()
            .fold(text.to_owned(), |text, (name, value)| {
                text.replace(value, name)
            })
    }
}

#[async_trait]
impl AsyncDB for Database {
    type Error = SltError;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, text: &str) -> Result<DBOutput<DefaultColumnType>, SltError> {
        match self.run_command(text).await {
            Ok(None) => Ok(DBOutput::StatementComplete(0)),
            Ok(Some(rows)) => {
                let columns = rows.first().map_or(1, Vec::len);
                let cells = |row: Vec<String>| row.iter().map(|cell| self.cell(cell)).collect();
                Ok(DBOutput::Rows {
                    types: vec![DefaultColumnType::Text; columns],
                    rows: rows.into_iter().map(cells).collect(),
                })
            }
            Err(error) => Err(SltError(self.anonymous(&format!("{error:#}")))),
        }
    }

    async fn shutdown(&mut self) {
        if let Err(error) = self.sut.stop().await {
            tracing::debug!(%error, "a job ended badly after its test was done");
        }
        tracing::trace!(dir = %self.dir.path().display(), "the test's folder goes away");
    }

    fn engine_name(&self) -> &str {
        "headwater"
    }

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

fn rows(messages: &[Message], show: &[Show]) -> Rows {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "NULL".to_owned());
    let cell = |message: &Message, show: &Show| match show {
        Show::Topic => message.topic.clone(),
        Show::Payload => message.text(),
        Show::Hex => message
            .payload
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        Show::Qos => message.qos.to_string(),
        Show::Retain => message.retain.to_string(),
        Show::ContentType => text(&message.properties.content_type),
        Show::ResponseTopic => text(&message.properties.response_topic),
        Show::CorrelationData => {
            let data = message.properties.correlation_data.as_deref();
            text(&data.map(|data| String::from_utf8_lossy(data).into_owned()))
        }
        Show::Format => {
            let indicator = message.properties.payload_format;
            text(&indicator.map(|indicator| indicator.to_string()))
        }
        Show::Expiry => {
            let seconds = message.properties.message_expiry_interval;
            text(&seconds.map(|seconds| seconds.to_string()))
        }
        Show::User => {
            let properties = message.properties.user_properties.iter();
            let pairs: Vec<_> = properties
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            pairs.join(",")
        }
    };
    let row = |message: &Message| show.iter().map(|show| cell(message, show)).collect();
    messages.iter().map(row).collect()
}

fn write(path: &Path, text: &str) -> Result<()> {
    let mut text = text.to_owned();
    if !text.is_empty() {
        text.push('\n');
    }
    std::fs::write(path, text).with_context(|| format!("'{}' cannot be written", path.display()))
}

fn read_lines(path: &Path) -> Result<Rows> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("'{}' cannot be read", path.display()))?;
    Ok(text.lines().map(|line| vec![line.to_owned()]).collect())
}

/// Whether a topic filter matches a topic (MQTT 5.0, 4.7), for filters and topics as tests write them.
fn matches(filter: &str, topic: &str) -> bool {
    let mut topic = topic.split('/');
    for level in filter.split('/') {
        match (level, topic.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (level, Some(name)) if level == name => {}
            _ => return false,
        }
    }
    topic.next().is_none()
}
