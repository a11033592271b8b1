//! Runs `sql-tests/**/*.slt`: one file, one test.
//!
//! The files are sqllogictest scripts (the `sqllogictest` crate parses them, compares and updates), with statements of
//! ours in the place of SQL that talk to a real broker. `sql-tests/README.md` describes the language for those who
//! write cases; [`script`] reads it and [`database`] carries it out.
//!
//! ```text
//! file.slt ──sqllogictest──► Database ──SQL──────────────────► Sut (the engine, by the test that calls `run`)
//!                               └──────publish, messages, …──► TestClient ──► Mosquitto, one per test binary
//! ```
//!
//! The testkit does not depend on the engine: whoever calls [`run`] implements [`Sut`].
//!
//! With `HEADWATER_UPDATE_SLT=1` in the environment, the answers in the files are replaced by what came out.

mod database;
mod script;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use async_trait::async_trait;
use libtest_mimic::{Arguments, Trial};
use sqllogictest::{
    DefaultColumnType, Runner, default_column_validator, default_normalizer, default_validator,
};

use crate::Mosquitto;
use database::{Database, SltError};

/// When this environment variable is set, files are updated instead of compared.
pub const UPDATE_VARIABLE: &str = "HEADWATER_UPDATE_SLT";
/// How long one file may take altogether.
const FILE_DEADLINE: Duration = Duration::from_secs(120);

/// The system under test: an engine with a catalog of its own, and the jobs that it was asked to run.
///
/// Errors are compared with what the scripts expect, so they should read as a user reads them.
#[async_trait]
pub trait Sut: Send {
    /// Executes SQL text of one or more statements. Tables enter the catalog; `INSERT`s become a job in the
    /// background, and the call returns when its sources have subscribed.
    ///
    /// # Errors
    /// What is wrong with the text, or why the job did not start.
    async fn execute(&mut self, sql: &str) -> Result<()>;

    /// Answers a `SELECT` over sources that end, or an `EXPLAIN`: rows of columns as text.
    ///
    /// # Errors
    /// What is wrong with the text, or why the job failed.
    async fn query(&mut self, sql: &str) -> Result<Vec<Vec<String>>>;

    /// Waits until the jobs that were started have ended by themselves, and forgets them.
    ///
    /// # Errors
    /// Why one of them failed.
    async fn wait(&mut self) -> Result<()>;

    /// Ends all jobs in good order: they stop reading, finish what they have read, and are forgotten.
    ///
    /// # Errors
    /// Why one of them failed.
    async fn stop(&mut self) -> Result<()>;

    /// The counter `name` (`messages`, `rows`, `bad_data`, …) of a table that a running job reads or writes, or that
    /// the jobs that ended last did.
    fn metric(&self, table: &str, name: &str) -> Option<u64>;

    /// Why a running job has failed, if one has.
    fn failure(&self) -> Option<String>;
}

/// Makes a fresh [`Sut`]; called within a tokio runtime, once for every file.
pub type Factory = fn() -> Result<Box<dyn Sut>>;

/// Runs all `.slt` files below `dir` as tests, with the command line of `cargo test`. For a test without harness:
///
/// ```ignore
/// fn main() -> std::process::ExitCode {
///     headwater_testkit::slt::run("../../sql-tests", || Ok(Box::new(EngineUnderTest::new())))
/// }
/// ```
pub fn run(dir: impl AsRef<Path>, factory: Factory) -> ExitCode {
    let dir = dir.as_ref();
    let broker = Arc::new(SharedBroker::default());
    let trials = match files(dir) {
        Ok(files) => files
            .into_iter()
            .map(|file| trial(dir, file, factory, Arc::clone(&broker)))
            .collect(),
        Err(error) => vec![Trial::test("sql-tests", move || {
            Err(format!("{error:#}").into())
        })],
    };
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(dir: &Path, file: PathBuf, factory: Factory, broker: Arc<SharedBroker>) -> Trial {
    let name = file.strip_prefix(dir).unwrap_or(&file).with_extension("");
    let name = name.to_string_lossy().into_owned();
    Trial::test(name.clone(), move || {
        let broker = broker.get()?;
        let update = std::env::var_os(UPDATE_VARIABLE).is_some();
        let case = Case {
            file: &file,
            name: &name,
            update,
        };
        case.run(factory, &broker)
            .map_err(|error| format!("{error:#}").into())
    })
}

/// All `.slt` files below a folder, sorted.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("'{}' cannot be read", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "slt") {
                found.push(path);
            }
        }
    }
    if found.is_empty() {
        bail!("there are no .slt files below '{}'", dir.display());
    }
    found.sort();
    Ok(found)
}

/// One broker for all files of a test binary, started by the first that needs it and killed with the last owner.
#[derive(Default)]
struct SharedBroker {
    running: Mutex<Option<Arc<Mosquitto>>>,
}

impl SharedBroker {
    fn get(&self) -> Result<Arc<Mosquitto>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(broker) = &*running {
            return Ok(Arc::clone(broker));
        }
        let broker = Mosquitto::builder().max_inflight_messages(0).websockets();
        let broker = Arc::new(broker.start()?);
        *running = Some(Arc::clone(&broker));
        Ok(broker)
    }
}

/// One file.
struct Case<'a> {
    file: &'a Path,
    /// Becomes its topic prefix, so it differs from that of any other file on the same broker.
    name: &'a str,
    /// Whether answers are replaced instead of compared.
    update: bool,
}

impl Case<'_> {
    fn run(&self, factory: Factory, broker: &Mosquitto) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let outcome = runtime.block_on(async {
            let script = self.run_script(factory, broker);
            match tokio::time::timeout(FILE_DEADLINE, script).await {
                Ok(outcome) => outcome,
                Err(_elapsed) => bail!("{}: not done in {FILE_DEADLINE:?}", self.file.display()),
            }
        });
        // A job that hangs must not hang the test that found it.
        runtime.shutdown_timeout(Duration::from_secs(5));
        outcome
    }

    async fn run_script(&self, factory: Factory, broker: &Mosquitto) -> Result<()> {
        let mut database = Some(Database::new(self.name, factory()?, broker).await?);
        let mut runner = Runner::new(move || {
            let database = database.take();
            async move { database.ok_or_else(|| SltError::new("a file has one connection only")) }
        });
        let mut outcome = match self.update {
            false => runner
                .run_file_async(self.file)
                .await
                .map_err(|error| anyhow!("{error}")),
            true => runner
                .update_test_file(
                    self.file,
                    " ",
                    default_validator,
                    default_normalizer,
                    default_column_validator,
                )
                .await
                .map_err(|error| anyhow!("{}: {error}", self.file.display())),
        };
        if outcome.is_ok() {
            outcome = check_jobs(&mut runner, self.file).await;
        }
        runner.shutdown_async().await;
        outcome
    }
}

/// A job that failed without anybody asking fails its file.
async fn check_jobs<M>(runner: &mut Runner<Database, M>, file: &Path) -> Result<()>
where
    M: sqllogictest::MakeConnection<Conn = Database>,
{
    let script = format!("statement ok\n{}\n", script::CHECK_JOBS);
    let records = sqllogictest::parse_with_name::<DefaultColumnType>(
        &script,
        file.to_string_lossy().into_owned(),
    )?;
    let outcome = runner.run_multi_async(records).await;
    outcome.map_err(|error| anyhow!("after the last statement: {error}"))
}
