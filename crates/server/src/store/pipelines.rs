//! Pipelines, their jobs, and what went wrong in those.

use std::fmt;

use rusqlite::{OptionalExtension, Row};

use super::profiles::now;
use super::{Database, Listing, StoreError};
use crate::secrets::new_id;
use crate::types::{JobLogLevel, PipelineGraph, StopType};

/// How many errors of a job are kept; older ones are forgotten.
const ERRORS_MAX: u32 = 100;

/// A pipeline to be kept.
#[derive(Debug, Clone)]
pub(crate) struct NewPipeline {
    pub(crate) name: String,
    pub(crate) query: String,
    pub(crate) parallelism: u64,
    pub(crate) checkpoint_interval_micros: u64,
    pub(crate) preview: bool,
    /// Whether its sinks are written, and not only shown.
    pub(crate) writes: bool,
    pub(crate) graph: PipelineGraph,
    /// The names of the profiles that it uses.
    pub(crate) profiles: Vec<String>,
    /// The names of the kept tables that it uses.
    pub(crate) tables: Vec<String>,
}

/// A pipeline as it is kept, with its job.
#[derive(Debug, Clone)]
pub(crate) struct PipelineRecord {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) query: String,
    pub(crate) parallelism: u64,
    pub(crate) checkpoint_interval_micros: u64,
    pub(crate) preview: bool,
    pub(crate) writes: bool,
    pub(crate) stop: StopType,
    pub(crate) graph: PipelineGraph,
    pub(crate) created_at: u64,
    pub(crate) job: JobRecord,
}

/// A job as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct JobRecord {
    pub(crate) id: String,
    pub(crate) state: JobState,
    pub(crate) run_id: u64,
    pub(crate) start_time: Option<u64>,
    pub(crate) finish_time: Option<u64>,
    pub(crate) failure_message: Option<String>,
    pub(crate) created_at: u64,
}

/// How the level of what did not end a job is written.
const WARN: &str = "warn";

/// What went wrong in a job.
#[derive(Debug, Clone)]
pub(crate) struct ErrorRecord {
    pub(crate) id: String,
    pub(crate) level: JobLogLevel,
    pub(crate) operator_id: Option<String>,
    pub(crate) message: String,
    pub(crate) details: String,
    pub(crate) created_at: u64,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JobState {
    Created,
    /// Started, but not all its sources and sinks have reached their other side.
    Scheduling,
    Running,
    Stopping,
    /// It drains, and will start again.
    Restarting,
    Stopped,
    /// Its sources have ended.
    Finished,
    Failed,
}

impl JobState {
    const ALL: [Self; 8] = [
        Self::Created,
        Self::Scheduling,
        Self::Running,
        Self::Stopping,
        Self::Restarting,
        Self::Stopped,
        Self::Finished,
        Self::Failed,
    ];

    /// Whether it has ended of itself, so that it does not start again with the server.
    pub(crate) fn has_ended(self) -> bool {
        matches!(self, Self::Finished | Self::Failed)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

const SELECT: &str =
    "SELECT pipelines.id, name, query, parallelism, checkpoint_interval_micros, preview,
    writes, stop, graph, pipelines.created_at, jobs.id, state, run_id, start_time, finish_time,
    failure_message, jobs.created_at FROM pipelines JOIN jobs ON pipeline_id = pipelines.id";

struct Sealed {
    query: Vec<u8>,
    stop: String,
    graph: String,
    state: String,
    record: PipelineRecord,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Sealed> {
    let unsigned = |index| row.get::<_, i64>(index).map(i64::cast_unsigned);
    let time = |index| {
        row.get::<_, Option<i64>>(index)
            .map(|time| time.map(i64::cast_unsigned))
    };
    Ok(Sealed {
        query: row.get(2)?,
        stop: row.get(7)?,
        graph: row.get(8)?,
        state: row.get(11)?,
        record: PipelineRecord {
            id: row.get(0)?,
            name: row.get(1)?,
            query: String::new(),
            parallelism: unsigned(3)?,
            checkpoint_interval_micros: unsigned(4)?,
            preview: row.get(5)?,
            writes: row.get(6)?,
            stop: StopType::None,
            graph: PipelineGraph::default(),
            created_at: unsigned(9)?,
            job: JobRecord {
                id: row.get(10)?,
                state: JobState::Created,
                run_id: unsigned(12)?,
                start_time: time(13)?,
                finish_time: time(14)?,
                failure_message: row.get(15)?,
                created_at: unsigned(16)?,
            },
        },
    })
}

impl Database {
    /// All pipelines, and those that are only tried out.
    pub(crate) fn pipelines(&self) -> Result<Vec<PipelineRecord>, StoreError> {
        self.listed((None, u32::MAX), None)
    }

    /// One page of the pipelines, without those that are only tried out.
    pub(crate) fn pipelines_page(
        &self,
        after: Option<String>,
        limit: u32,
    ) -> Result<Vec<PipelineRecord>, StoreError> {
        self.listed((after, limit), Some(("preview", "0")))
    }

    fn listed(
        &self,
        page: (Option<String>, u32),
        of: Option<(&str, &str)>,
    ) -> Result<Vec<PipelineRecord>, StoreError> {
        let pipelines = Listing {
            table: "pipelines",
            select: SELECT,
            of,
        };
        let rows = self.page(pipelines, page, read)?;
        rows.into_iter().map(|row| self.pipeline_of(row)).collect()
    }

    /// The pipeline of this id.
    pub(crate) fn pipeline(&self, id: &str) -> Result<PipelineRecord, StoreError> {
        let sql = format!("{SELECT} WHERE pipelines.id = ?1");
        let row = self.connection.query_row(&sql, [id], read).optional()?;
        self.pipeline_of(row.ok_or(StoreError::Missing("pipeline"))?)
    }

    /// How many pipelines there are.
    pub(crate) fn count_pipelines(&self) -> Result<u32, StoreError> {
        let sql = "SELECT count(*) FROM pipelines";
        Ok(self.connection.query_row(sql, [], |row| row.get(0))?)
    }

    /// Keeps a pipeline that is to run, with a job that was not started yet, and what it uses.
    pub(crate) fn insert_pipeline(
        &mut self,
        new: &NewPipeline,
    ) -> Result<PipelineRecord, StoreError> {
        let id = new_id("pl")?;
        let job_id = new_id("job")?;
        let query = self.seal(&id, &new.query)?;
        let graph = serde_json::to_string(&new.graph)?;
        let stop = serde_json::to_string(&StopType::None)?;
        let transaction = self.connection.transaction()?;
        transaction.execute(
            "INSERT INTO pipelines (id, name, query, parallelism, checkpoint_interval_micros, preview,
             writes, stop, graph, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            (
                &id,
                &new.name,
                query,
                new.parallelism.cast_signed(),
                new.checkpoint_interval_micros.cast_signed(),
                new.preview,
                new.writes,
                stop,
                graph,
                now(),
            ),
        )?;
        transaction.execute(
            "INSERT INTO jobs (id, pipeline_id, state, run_id, created_at) VALUES (?1, ?2, ?3, 0, ?4)",
            (&job_id, &id, JobState::Created.to_string(), now()),
        )?;
        for (names, table, column) in [
            (&new.profiles, "profiles", "profile_id"),
            (&new.tables, "tables", "table_id"),
        ] {
            let sql = format!(
                "INSERT OR IGNORE INTO pipeline_{table} (pipeline_id, {column})
                 SELECT ?1, id FROM {table} WHERE name = ?2"
            );
            for name in names {
                transaction.execute(&sql, (&id, name))?;
            }
        }
        transaction.commit()?;
        self.pipeline(&id)
    }

    /// Forgets a pipeline, its job and its errors.
    pub(crate) fn delete_pipeline(&self, id: &str) -> Result<(), StoreError> {
        self.delete("pipelines", "pipeline", id, "nobody")
    }

    /// Changes what can be changed about a pipeline.
    pub(crate) fn update_pipeline(&self, pipeline: &PipelineRecord) -> Result<(), StoreError> {
        let sql =
            "UPDATE pipelines SET parallelism = ?2, checkpoint_interval_micros = ?3, stop = ?4,
                   graph = ?5 WHERE id = ?1";
        self.connection.execute(
            sql,
            (
                &pipeline.id,
                pipeline.parallelism.cast_signed(),
                pipeline.checkpoint_interval_micros.cast_signed(),
                serde_json::to_string(&pipeline.stop)?,
                serde_json::to_string(&pipeline.graph)?,
            ),
        )?;
        Ok(())
    }

    /// Notes where a job stands.
    pub(crate) fn update_job(&self, job: &JobRecord) -> Result<(), StoreError> {
        let sql = "UPDATE jobs SET state = ?2, run_id = ?3, start_time = ?4, finish_time = ?5,
                   failure_message = ?6 WHERE id = ?1";
        self.connection.execute(
            sql,
            (
                &job.id,
                job.state.to_string(),
                job.run_id.cast_signed(),
                job.start_time.map(u64::cast_signed),
                job.finish_time.map(u64::cast_signed),
                &job.failure_message,
            ),
        )?;
        Ok(())
    }

    /// Notes what went wrong in a job.
    pub(crate) fn insert_error(
        &self,
        job_id: &str,
        level: JobLogLevel,
        operator_id: Option<&str>,
        (message, details): (&str, &str),
    ) -> Result<(), StoreError> {
        let sql =
            "INSERT INTO job_errors (id, job_id, operator_id, message, details, created_at, level)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let level = match level {
            JobLogLevel::Warn => WARN,
            JobLogLevel::Error => "error",
        };
        let id = new_id("err")?;
        let values = (id, job_id, operator_id, message, details, now(), level);
        self.connection.execute(sql, values)?;
        let old = "DELETE FROM job_errors WHERE job_id = ?1 AND seq <=
                   (SELECT seq FROM job_errors WHERE job_id = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)";
        self.connection.execute(old, (job_id, ERRORS_MAX))?;
        Ok(())
    }

    /// One page of what went wrong in a job.
    pub(crate) fn errors_page(
        &self,
        job_id: &str,
        after: Option<String>,
        limit: u32,
    ) -> Result<Vec<ErrorRecord>, StoreError> {
        let errors = Listing {
            table: "job_errors",
            select: "SELECT id, operator_id, message, details, created_at, level FROM job_errors",
            of: Some(("job_id", job_id)),
        };
        self.page(errors, (after, limit), |row| {
            Ok(ErrorRecord {
                id: row.get(0)?,
                operator_id: row.get(1)?,
                message: row.get(2)?,
                details: row.get(3)?,
                created_at: row.get::<_, i64>(4)?.cast_unsigned(),
                level: match row.get::<_, String>(5)?.as_str() {
                    WARN => JobLogLevel::Warn,
                    _ => JobLogLevel::Error,
                },
            })
        })
    }

    fn pipeline_of(&self, row: Sealed) -> Result<PipelineRecord, StoreError> {
        let mut record = row.record;
        record.query = self.unseal(&record.id, &row.query)?;
        record.stop = serde_json::from_str(&row.stop)?;
        record.graph = serde_json::from_str(&row.graph)?;
        let state = JobState::ALL
            .into_iter()
            .find(|state| state.to_string() == row.state);
        // a state of a later version; the schema's version should have told
        record.job.state = state.unwrap_or(JobState::Stopped);
        Ok(record)
    }
}
