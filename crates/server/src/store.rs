//! What the server keeps: profiles, tables, pipelines, jobs and their errors, in SQLite within the data folder.
//!
//! SQLite blocks, so it has a thread of its own, which takes one piece of work after the other; nobody else touches the
//! file, and a second server on the same folder is refused. Configurations and SQL are sealed ([`crate::secrets`]),
//! since both may hold secrets; names, states and times are not.
//!
//! What is used cannot be deleted: the database itself refuses, by foreign keys.

mod pipelines;
mod profiles;
mod tables;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row};
use tokio::sync::{mpsc, oneshot};

pub(crate) use pipelines::{JobState, NewPipeline, PipelineRecord};
pub(crate) use profiles::ProfileRecord;
pub(crate) use tables::{NewTable, TableRecord};

use crate::secrets::{SecretError, Vault};

/// The database's file within the data folder.
const FILE: &str = "headwater.db";
/// How much work may wait for the thread.
const QUEUE: usize = 64;

/// Each step brings a database from the version that is its index to the next; those that were released never change.
const MIGRATIONS: &[&str] = &[
    include_str!("store/schema_1.sql"),
    include_str!("store/schema_2.sql"),
];

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("no {0} has this id")]
    Missing(&'static str),
    #[error("{0}")]
    Taken(String),
    #[error("{0}")]
    InUse(String),
    #[error(
        "the database '{path}' is used by another server; every server needs a data folder of its own"
    )]
    Locked { path: String },
    #[error(
        "the database '{path}' was written by a later version of Headwater (schema {found}, this one knows {known})"
    )]
    TooNew {
        path: String,
        found: usize,
        known: usize,
    },
    #[error("the database failed")]
    Database(#[from] rusqlite::Error),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("what is kept is damaged")]
    Damaged(#[from] serde_json::Error),
    #[error("the database's thread has ended")]
    Closed,
    #[error("no thread for the database")]
    Thread(#[from] std::io::Error),
}

type Work = Box<dyn FnOnce(&mut Database) + Send>;

/// The way to the database's thread.
#[derive(Clone)]
pub(crate) struct Store {
    work: mpsc::Sender<Work>,
    version: Arc<AtomicU64>,
}

/// What a page is taken of.
struct Listing<'a> {
    table: &'a str,
    /// The query, up to its WHERE.
    select: &'a str,
    /// The column and the value that all rows must have, if not all of the table are meant.
    of: Option<(&'a str, &'a str)>,
}

/// The database, on its thread.
pub(crate) struct Database {
    connection: Connection,
    vault: Vault,
}

impl Store {
    /// Opens the database of a data folder, which is made or brought up to date if need be.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let mut database = Database::open(data_dir)?;
        let (sender, mut work) = mpsc::channel::<Work>(QUEUE);
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                while let Some(work) = work.blocking_recv() {
                    work(&mut database);
                }
            })?;
        Ok(Self {
            work: sender,
            version: Arc::default(),
        })
    }

    /// A number that is another one once anything has changed; at the latest when that is answered.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Has the thread do something, and waits for the answer.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let version = Arc::clone(&self.version);
        let work: Work = Box::new(move |database| {
            let done = work(database);
            version.store(database.connection.total_changes(), Ordering::Release);
            // whoever asked may have gone
            answer.send(done).ok();
        });
        let sent = self.work.send(work).await;
        sent.map_err(|_closed| StoreError::Closed)?;
        answered.await.map_err(|_dropped| StoreError::Closed)?
    }
}

impl Database {
    fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let path = data_dir.join(FILE);
        let vault = Vault::open_in(data_dir, !path.exists())?;
        let mut connection = Connection::open(&path)?;
        // one server a database; what was answered must survive a power failure
        let settings = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;
                        PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;";
        connection
            .execute_batch(settings)
            .map_err(|error| match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Locked {
                    path: path.display().to_string(),
                },
                _ => error.into(),
            })?;
        migrate(&mut connection, &path)?;
        let database = Self { connection, vault };
        database.check_key()?;
        Ok(database)
    }

    /// Whether what was sealed is opened by this key, tried with one row of each table.
    fn check_key(&self) -> Result<(), StoreError> {
        for (table, sealed) in [
            ("profiles", "config"),
            ("tables", "config"),
            ("pipelines", "query"),
        ] {
            let sql = format!("SELECT id, {sealed} FROM {table} LIMIT 1");
            let row = self.connection.query_row(&sql, [], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))
            });
            if let Some((id, sealed)) = row.optional()? {
                self.unseal(&id, &sealed)?;
            }
        }
        Ok(())
    }

    fn seal(&self, id: &str, text: &str) -> Result<Vec<u8>, StoreError> {
        Ok(self.vault.seal(id, text)?)
    }

    fn unseal(&self, id: &str, sealed: &[u8]) -> Result<String, StoreError> {
        Ok(self.vault.open(id, sealed)?)
    }

    /// One page of a table's rows, newest first: those older than `after`, and one more than `limit` to see if there are
    /// more.
    fn page<T>(
        &self,
        Listing { table, select, of }: Listing<'_>,
        (after, limit): (Option<String>, u32),
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let before = match after {
            None => i64::MAX,
            Some(id) => {
                let sql = format!("SELECT seq FROM {table} WHERE id = ?1");
                let seq = self
                    .connection
                    .query_row(&sql, [&id], |row| row.get(0))
                    .optional()?;
                seq.ok_or(StoreError::Missing("item to start after"))?
            }
        };
        let (column, value) = of.unwrap_or(("''", ""));
        let sql = format!(
            "{select} WHERE {table}.seq < ?1 AND {column} = ?3 ORDER BY {table}.seq DESC LIMIT ?2"
        );
        let mut statement = self.connection.prepare(&sql)?;
        let rows = statement.query_map((before, i64::from(limit) + 1, value), read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Deletes the row of this id. `held` says what may hold it.
    fn delete(
        &self,
        table: &str,
        what: &'static str,
        id: &str,
        held: &str,
    ) -> Result<(), StoreError> {
        let sql = format!("DELETE FROM {table} WHERE id = ?1");
        match self.connection.execute(&sql, [id]) {
            Ok(0) => Err(StoreError::Missing(what)),
            Ok(_) => Ok(()),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => Err(
                StoreError::InUse(format!("the {what} is used by {held}; delete those first")),
            ),
            Err(error) => Err(error.into()),
        }
    }
}

/// An insertion that fails because the name is there already.
fn taken(error: rusqlite::Error, what: &str, name: &str) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => {
            StoreError::Taken(format!("a {what} with the name '{name}' exists already"))
        }
        _ => error.into(),
    }
}

/// Brings the schema up to date, each step whole or not at all.
fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let found: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    if found > MIGRATIONS.len() {
        return Err(StoreError::TooNew {
            path: path.display().to_string(),
            found,
            known: MIGRATIONS.len(),
        });
    }
    for (version, step) in MIGRATIONS.iter().enumerate().skip(found) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(
            None,
            "user_version",
            u32::try_from(version + 1).unwrap_or(u32::MAX),
        )?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_database_has_one_server() {
        let dir = tempfile::tempdir().unwrap();
        let first = Database::open(dir.path()).unwrap();
        let second = Database::open(dir.path()).err().unwrap();
        assert!(matches!(second, StoreError::Locked { .. }), "{second}");
        drop(first);
        Database::open(dir.path()).unwrap();
    }

    #[test]
    fn a_database_is_opened_with_its_own_key_only() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(dir.path()).unwrap();
        let config = serde_json::json!({ "password": "geheim" });
        database.insert_profile("p", "mqtt", &config).unwrap();
        drop(database);
        let key = dir.path().join("secret.key");
        let bytes = std::fs::read(&key).unwrap();
        std::fs::remove_file(&key).unwrap();
        let lost = Database::open(dir.path()).err().unwrap().to_string();
        assert!(lost.ends_with("put it back"), "{lost}");
        assert!(!key.exists(), "another key is of no use");
        std::fs::write(&key, vec![7; bytes.len()]).unwrap();
        let wrong = Database::open(dir.path()).err().unwrap().to_string();
        assert!(wrong.ends_with("was it exchanged?"), "{wrong}");
        std::fs::write(&key, bytes).unwrap();
        Database::open(dir.path()).unwrap();
    }

    #[test]
    fn a_later_schema_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(dir.path()).unwrap();
        database
            .connection
            .pragma_update(None, "user_version", 99)
            .unwrap();
        drop(database);
        let error = Database::open(dir.path()).err().unwrap();
        assert!(
            matches!(error, StoreError::TooNew { found: 99, .. }),
            "{error}"
        );
    }
}
