//! `sql-tests/**/*.slt` against the engine and a real Mosquitto. One file is one test.

#![allow(missing_docs, reason = "a test")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, anyhow};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use headwater_engine::connector::{CHANGE, Flushed, OperatorError, SinkOperator, State};
use headwater_engine::{CHECKPOINT_INTERVAL, Engine, EngineError, Job, JobOptions, PreviewFactory};
use headwater_format::{Encoder, Format, FormatConfig, Payloads};
use headwater_testkit::slt::Sut;

fn main() -> ExitCode {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sql-tests");
    headwater_testkit::slt::run(dir, || Ok(Box::new(EngineUnderTest::default())))
}

#[derive(Default)]
struct EngineUnderTest {
    engine: Engine,
    jobs: Vec<Job>,
    ended: Vec<Job>,
    started: usize,
}

/// The rows of a bare `SELECT`, as they come; those that change as they are shown.
#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Vec<RecordBatch>>>);

/// Rows that change, as the command shows them.
fn records(batch: &RecordBatch) -> Result<Vec<Vec<String>>> {
    let config = FormatConfig {
        format: Some(Format::DebeziumJson),
        ..FormatConfig::default()
    };
    let mut payloads = Payloads::new();
    Encoder::new(&config, batch.schema())?.encode(batch, &mut payloads)?;
    let records = payloads.iter();
    let records = records.map(|record| vec![String::from_utf8_lossy(record).into_owned()]);
    Ok(records.collect())
}

#[async_trait]
impl SinkOperator for Collected {
    async fn write(&mut self, rows: RecordBatch) -> Result<(), OperatorError> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(rows);
        Ok(())
    }

    fn flush(&mut self) -> Flushed {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Collected {
    fn preview(&self) -> PreviewFactory {
        let collected = self.clone();
        Arc::new(move |_schema, _context| Ok(Box::new(collected.clone())))
    }

    fn rows(&self) -> Result<Vec<Vec<String>>> {
        let options = FormatOptions::default().with_null("NULL");
        let batches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows = Vec::new();
        for batch in batches.iter() {
            if batch.schema().index_of(CHANGE).is_ok() {
                rows.extend(records(batch)?);
                continue;
            }
            let columns = batch
                .columns()
                .iter()
                .map(|column| ArrayFormatter::try_new(column, &options))
                .collect::<Result<Vec<_>, _>>()?;
            let cells = |row| {
                columns
                    .iter()
                    .map(|column| column.value(row).to_string())
                    .collect()
            };
            rows.extend((0..batch.num_rows()).map(cells));
        }
        Ok(rows)
    }
}

/// An error as the command shows it: with the line, the column and the hint.
fn as_read(error: EngineError, sql: &str) -> anyhow::Error {
    match error {
        EngineError::Plan(error) => anyhow!(error.render("sql", sql)),
        error => error.into(),
    }
}

impl EngineUnderTest {
    async fn start(&mut self, sql: &str, preview: PreviewFactory) -> Result<Vec<String>> {
        static STARTED: AtomicU64 = AtomicU64::new(0);
        self.started += 1;
        let options = JobOptions {
            checkpoint_interval: CHECKPOINT_INTERVAL,
            // one broker serves all files, and keeps their sessions: client ids must differ
            job_id: format!(
                "slt-{}-{}",
                std::process::id(),
                STARTED.fetch_add(1, Relaxed)
            ),
            parallelism: 1 + self.started % 2,
            state_limit_bytes: None,
            over_limit: headwater_engine::OverLimit::default(),
            preview,
            state: State::default(),
        };
        let execution = self.engine.execute(sql, options).await;
        let execution = execution.map_err(|error| as_read(error, sql))?;
        if let Some(job) = execution.job {
            job.opened().await;
            // What fails after everything was open is for `wait`, however soon it does.
            if !job.is_open()
                && let Some(Err(error)) = job.outcome()
            {
                return Err(error.into());
            }
            self.jobs.push(job);
        }
        Ok(execution.explains)
    }

    async fn end(&mut self) -> Result<()> {
        self.ended.clear();
        for job in std::mem::take(&mut self.jobs) {
            let outcome = job.wait().await;
            self.ended.push(job);
            outcome?;
        }
        Ok(())
    }
}

#[async_trait]
impl Sut for EngineUnderTest {
    async fn execute(&mut self, sql: &str) -> Result<()> {
        let preview = self.engine.print_rows();
        self.start(sql, preview).await.map(drop)
    }

    async fn query(&mut self, sql: &str) -> Result<Vec<Vec<String>>> {
        let collected = Collected::default();
        let others = std::mem::take(&mut self.jobs);
        let explains = self.start(sql, collected.preview()).await;
        let outcome = match &explains {
            Ok(_) => self.end().await,
            Err(_) => Ok(()),
        };
        self.jobs = others;
        let explains = explains?;
        outcome?;
        if explains.is_empty() {
            return collected.rows();
        }
        Ok(explains
            .iter()
            .flat_map(|text| text.lines())
            .map(|line| vec![line.to_owned()])
            .collect())
    }

    async fn wait(&mut self) -> Result<()> {
        self.end().await
    }

    async fn stop(&mut self) -> Result<()> {
        for job in &self.jobs {
            job.stop();
        }
        self.end().await
    }

    fn metric(&self, table: &str, name: &str) -> Option<u64> {
        let jobs = if self.jobs.is_empty() {
            &self.ended
        } else {
            &self.jobs
        };
        let ids = [
            format!("source_{table}"),
            format!("sink_{table}"),
            table.to_owned(),
        ];
        let mut operators = jobs.iter().flat_map(|job| job.operators());
        let counters = operators
            .find(|operator| ids.contains(&operator.id))?
            .metrics
            .snapshot();
        Some(match name {
            "messages" => counters.messages,
            "bytes" => counters.bytes,
            "rows" => counters.rows,
            "bad_data" => counters.bad_data,
            "dead_letters" => counters.dead_letters,
            "reconnects" => counters.reconnects,
            "in_flight" => counters.in_flight,
            _ => return None,
        })
    }

    fn failure(&self) -> Option<String> {
        let failed = |job: &Job| job.outcome().and_then(Result::err);
        self.jobs
            .iter()
            .find_map(failed)
            .map(|error| format!("{:#}", anyhow::Error::from(error)))
    }
}
