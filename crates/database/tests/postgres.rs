//! The connector against a real PostgreSQL, which it starts on a free port with a throw-away folder. Run by hand, because it
//! needs the feature and the database installed (Debian's package `postgresql`):
//!
//! ```sh
//! cargo test -p headwater-database --features postgres --test postgres -- --ignored
//! ```

#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::record_batch::RecordBatch;
use headwater_connector::{
    ErasedConnector, LookupError, LookupOperator, Metrics, Operator, Options, Progress, Rejects,
    SqlOption, State, StepStatus, TableSchema, TaskContext,
};
use headwater_database::postgres::PostgresConnector;

/// How long the database may take to start or to stop.
const DEADLINE: Duration = Duration::from_secs(60);

/// A database of one test.
struct Postgres {
    folder: tempfile::TempDir,
    port: u16,
    server: Option<Child>,
}

/// As the user `postgres` where this is root, which the database refuses to be.
fn command(program: &Path) -> Command {
    let root = Command::new("id").arg("-u").output();
    let root = root.is_ok_and(|id| id.stdout.trim_ascii() == b"0");
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    command.arg(program);
    command
}

fn binary(name: &str) -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql");
    let versions = versions.context("PostgreSQL is not installed: apt-get install postgresql")?;
    let mut found: Vec<_> = versions
        .filter_map(|version| Some(version.ok()?.path().join("bin").join(name)))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found
        .pop()
        .with_context(|| format!("'{name}' is not installed"))
}

impl Postgres {
    fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("postgres-").tempdir()?;
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(folder.path(), everybody)?;
        let data = folder.path().join("data");
        let made = command(&binary("initdb")?)
            .args([
                "--auth=trust",
                "--username=postgres",
                "--no-sync",
                "--encoding=UTF8",
                "-D",
            ])
            .arg(&data)
            .output()?;
        ensure!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        let mut database = Self {
            folder,
            port,
            server: None,
        };
        database.run()?;
        Ok(database)
    }

    fn run(&mut self) -> Result<()> {
        let server = command(&binary("postgres")?)
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .args(["-h", "127.0.0.1", "-k", ""])
            .args(["-p", &self.port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.server = Some(server);
        let until = Instant::now() + DEADLINE;
        while self.sql("SELECT 1").is_err() {
            ensure!(Instant::now() < until, "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn sql(&self, sql: &str) -> Result<()> {
        let done = Command::new("psql")
            .args([
                "-h",
                "127.0.0.1",
                "-U",
                "postgres",
                "-v",
                "ON_ERROR_STOP=1",
                "-q",
                "-c",
                sql,
            ])
            .args(["-p", &self.port.to_string()])
            .output()?;
        ensure!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        Ok(())
    }

    /// Ends the server at once.
    fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().ok();
            server.wait().ok();
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

fn connection(
    database: &Postgres,
    table: &str,
    columns: Vec<Field>,
) -> Result<headwater_connector::Connection> {
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", database.port);
    let options = [
        ("url", url.as_str()),
        ("password", "hidden"),
        ("type", "lookup"),
        ("table", table),
    ];
    let options = options.map(|(key, value)| SqlOption::new(key, value));
    let schema = TableSchema::payload_only(&Schema::new(columns));
    let connector: &dyn ErasedConnector = &PostgresConnector;
    Ok(connector.from_options("t", &Options(options.to_vec()), schema, None)?)
}

fn lookup(
    database: &Postgres,
    table: &str,
    columns: Vec<Field>,
) -> Result<Box<dyn LookupOperator>> {
    let context = TaskContext {
        job_id: "test".to_owned(),
        operator_id: "t".to_owned(),
        subtask: 0,
        parallelism: 1,
        metrics: Arc::new(Metrics::default()),
        rejects: Rejects::default(),
        state: State::default(),
    };
    let connector: &dyn ErasedConnector = &PostgresConnector;
    match connector.make_operator(&connection(database, table, columns)?, context)? {
        Operator::Lookup(lookup) => Ok(lookup),
        _ => bail!("no lookup table"),
    }
}

fn keys(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn ids(ids: &[i64]) -> RecordBatch {
    keys(vec![("id", Arc::new(Int64Array::from(ids.to_vec())))])
}

fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL"]
async fn rows_are_found_by_keys_of_any_type() -> Result<()> {
    let database = Postgres::start()?;
    database.sql(
        "CREATE SCHEMA plant;
         CREATE TABLE plant.devices (id int PRIMARY KEY, tag uuid, name varchar(20), \"on\" bool, price numeric(10,2),
           since timestamptz, raw bytea, spec jsonb);
         INSERT INTO plant.devices VALUES
           (1, '00000000-0000-0000-0000-000000000001', 'pump', true, 12.50, '2023-09-18 16:00:00+02', '\\x0102', '{\"max\": 9}'),
           (2, '00000000-0000-0000-0000-000000000002', 'fan', false, NULL, NULL, NULL, NULL),
           (3, NULL, 'fan', NULL, 1, NULL, NULL, NULL)",
    )?;
    let timestamp = DataType::Timestamp(arrow::datatypes::TimeUnit::Nanosecond, None);
    let spec = DataType::Struct(vec![field("max", DataType::Int64)].into());
    let mut table = lookup(
        &database,
        "plant.devices",
        vec![
            field("id", DataType::Int64),
            field("tag", DataType::Utf8),
            field("name", DataType::Utf8),
            field("on", DataType::Boolean),
            field("price", DataType::Decimal128(10, 2)),
            field("since", timestamp),
            field("raw", DataType::Binary),
            field("spec", spec),
        ],
    )?;
    table.open().await.unwrap();
    // in the order of the keys; what is out of the column's range has no row
    let found = table.lookup(&ids(&[2, i64::MAX, 7, 1])).await.unwrap();
    assert_eq!(found.keys, [0, 3]);
    let first = found.rows.slice(1, 1);
    let text = |column: usize| {
        arrow::util::display::array_value_to_string(first.column(column), 0).unwrap()
    };
    let row: Vec<_> = (0..8).map(text).collect();
    let expected = [
        "1",
        "00000000-0000-0000-0000-000000000001",
        "pump",
        "true",
        "12.50",
        "2023-09-18T14:00:00",
        "0102",
        "{max: 9}",
    ];
    assert_eq!(row, expected);
    // by columns that are no key, several rows each, and by text that is no value of its type
    let by_name = keys(vec![(
        "name",
        Arc::new(StringArray::from(vec!["fan", "pump"])),
    )]);
    assert_eq!(table.lookup(&by_name).await.unwrap().keys, [0, 0, 1]);
    let tags = ["none", "00000000-0000-0000-0000-000000000002", ""];
    let by_tag = keys(vec![("tag", Arc::new(StringArray::from(tags.to_vec())))]);
    let found = table.lookup(&by_tag).await.unwrap();
    assert_eq!(found.keys, [1]);
    assert_eq!(found.rows.column(0).as_primitive::<Int64Type>().value(0), 2);
    let both = keys(vec![
        ("name", Arc::new(StringArray::from(vec!["fan", "fan"]))),
        ("id", Arc::new(Int64Array::from(vec![3, 1]))),
    ]);
    assert_eq!(table.lookup(&both).await.unwrap().keys, [0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL"]
async fn a_database_that_is_away_may_come_back_and_a_table_that_is_not_there_will_not() -> Result<()>
{
    let mut database = Postgres::start()?;
    database.sql("CREATE TABLE t (id bigint, v bigint); INSERT INTO t VALUES (1, 10)")?;
    let columns = || vec![field("id", DataType::Int64), field("v", DataType::Int64)];
    let mut missing = lookup(&database, "other", columns())?;
    let error = missing.open().await.unwrap_err();
    assert!(matches!(error, LookupError::Final(_)), "{error}");
    let mut table = lookup(&database, "t", columns())?;
    table.open().await.unwrap();
    assert_eq!(table.lookup(&ids(&[1])).await.unwrap().keys, [0]);
    database.stop();
    let error = table.lookup(&ids(&[1])).await.unwrap_err();
    assert!(matches!(error, LookupError::Passing(_)), "{error}");
    assert!(matches!(table.open().await, Err(LookupError::Passing(_))));
    database.run()?;
    table.open().await.unwrap();
    assert_eq!(table.lookup(&ids(&[1])).await.unwrap().keys, [0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL"]
async fn a_connection_test_says_what_is_wrong_without_the_password() -> Result<()> {
    let database = Postgres::start()?;
    let connector: &dyn ErasedConnector = &PostgresConnector;
    let connection = connection(&database, "t", vec![field("id", DataType::Int64)])?;
    let (progress, mut steps) = Progress::channel();
    let test = connector.test(&connection, Default::default(), progress)?;
    assert!(!test.context("a test")?.await);
    let step = steps.recv().await.unwrap();
    assert_eq!(step.status, StepStatus::Failed);
    let message = step.message;
    assert!(
        message.contains("relation \"t\" does not exist"),
        "{message}"
    );
    assert!(!message.contains("hidden"), "{message}");
    Ok(())
}
