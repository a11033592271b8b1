//! The file: SQLite, because it keeps its word about what is on disk and forgets nothing half-way.
//!
//! `synchronous = FULL` in WAL mode: a transaction that was committed survives the loss of power. The lock is held as
//! long as the job runs, so that no second process runs the same job.

mod state;
mod told;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, params};

use super::part::Part;
use super::{Seat, Share};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

pub(crate) use self::told::Telling;
use crate::ipc::{decode, encode};
use crate::spool::SpoolError;

/// The version of `schema.sql`.
const VERSION: i64 = 2;

/// Why a job's state cannot be kept or taken up.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Two processes run one job.
    #[error(
        "'{path}' is in use: another process runs this job; end that, or give this one another job id"
    )]
    Locked {
        /// The file.
        path: String,
    },
    /// The query is not the one that left the state.
    #[error(
        "'{path}' is the state of another query than this: run that one again until it has ended, or give this one \
         another job id; or remove the file, and with it what was acknowledged and not yet put out"
    )]
    OtherPlan {
        /// The file.
        path: String,
    },
    /// A source is read in another number of shares.
    #[error(
        "'{path}' is the state of a job that read '{table}' in {kept} shares, and now it would be {given}, which cannot \
         take up where those were: start with the parallelism of before, or remove the file, and with it what was \
         acknowledged and not yet put out"
    )]
    OtherShares {
        /// The file.
        path: String,
        /// The source.
        table: String,
        /// How many there were.
        kept: usize,
        /// How many there would be.
        given: usize,
    },
    /// There is no folder for it.
    #[error(transparent)]
    Folder(headwater_connector::StateError),
    /// A file of a later version.
    #[error("'{path}' was written by another version of Headwater")]
    OtherVersion {
        /// The file.
        path: String,
    },
    /// State for which there is no memory cannot go to disk.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The disk is full, or damaged, or gone.
    #[error("the state in '{path}' cannot be read or written")]
    Database {
        /// The file.
        path: String,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// What is kept cannot be decoded.
    #[error("the state in '{path}' is damaged")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        source: ArrowError,
    },
}

/// What a checkpoint is.
pub(crate) struct Checkpoint {
    pub(crate) number: u64,
    /// The last epoch that is in it.
    pub(crate) cut: u64,
    pub(crate) begun_us: u64,
    pub(crate) positions: Vec<(Share, u64)>,
    pub(crate) states: Vec<(Seat, Vec<Part>)>,
}

/// A batch of the journal.
pub(crate) struct Entry {
    pub(crate) position: u64,
    pub(crate) rows: RecordBatch,
    pub(crate) rejected: Option<RecordBatch>,
}

/// A batch for the journal, as bytes.
pub(crate) struct Draft {
    pub(crate) share: Share,
    pub(crate) position: u64,
    pub(crate) rows: Vec<u8>,
    pub(crate) rejected: Option<Vec<u8>>,
}

impl Draft {
    pub(crate) fn new(share: Share, entry: &Entry) -> Result<Self, ArrowError> {
        Ok(Self {
            share,
            position: entry.position,
            rows: encode(&entry.rows)?,
            rejected: entry.rejected.as_ref().map(encode).transpose()?,
        })
    }

    /// In bytes.
    pub(crate) fn size(&self) -> usize {
        self.rows.len() + self.rejected.as_ref().map_or(0, Vec::len)
    }
}

/// The file of one job.
pub(crate) struct Database {
    connection: Connection,
    path: PathBuf,
    /// By how many workers the state was left.
    left_by: usize,
    workers: usize,
}

impl Database {
    /// Opens the file, or makes it, for a plan on a number of workers.
    ///
    /// # Errors
    /// If it is in use, damaged, or of another plan or number of workers.
    pub(crate) fn open(path: &Path, plan: &str, workers: usize) -> Result<Self, StateError> {
        let at = || path.display().to_string();
        let failed = |source: rusqlite::Error| match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                StateError::Locked { path: at() }
            }
            _ => StateError::Database { path: at(), source },
        };
        let connection = Connection::open(path).map_err(failed)?;
        let version = prepared(&connection).map_err(failed)?;
        if version != VERSION {
            return Err(StateError::OtherVersion { path: at() });
        }
        let query = "SELECT plan, workers FROM checkpoint";
        let kept = connection.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?)));
        let kept: Option<(String, usize)> = kept.optional().map_err(failed)?;
        match kept {
            Some((kept, _)) if kept != plan => {
                return Err(StateError::OtherPlan { path: at() });
            }
            Some(_) => {}
            None => {
                let first = "INSERT INTO checkpoint VALUES (1, ?1, ?2, 0, 0)";
                connection
                    .execute(first, params![plan, workers])
                    .map_err(failed)?;
            }
        }
        Ok(Self {
            connection,
            path: path.to_owned(),
            left_by: kept.map_or(workers, |(_, kept)| kept),
            workers,
        })
    }

    /// By how many workers the state was left.
    pub(crate) fn left_by(&self) -> usize {
        self.left_by
    }

    /// In how many shares a source had come somewhere at the last checkpoint.
    pub(crate) fn shares(&self, operator: &str) -> Result<usize, StateError> {
        let query = "SELECT count(*) FROM position WHERE share LIKE ?1 ESCAPE '\\'";
        let count = self
            .connection
            .query_row(query, [shares_of(operator)], |row| row.get(0));
        count.map_err(|source| self.failed(source))
    }

    /// Gives the journals of shares that there are no more to those that there are, behind their own entries.
    pub(crate) fn adopt(&mut self, operator: &str, shares: usize) -> Result<(), StateError> {
        let of_all = "SELECT DISTINCT share FROM journal WHERE share LIKE ?1 ESCAPE '\\'";
        let read = || {
            let mut statement = self.connection.prepare(of_all)?;
            let all = statement.query_map([shares_of(operator)], |row| row.get(0))?;
            all.collect::<rusqlite::Result<Vec<String>>>()
        };
        let all = read().map_err(|source| self.failed(source))?;
        for orphan in all {
            let subtask = orphan.rsplit('/').next().and_then(|n| n.parse().ok());
            let Some(subtask) = subtask.filter(|subtask: &usize| *subtask >= shares) else {
                continue;
            };
            let heir = Share {
                operator: operator.to_owned(),
                subtask: subtask % shares,
            };
            let last = self.last_entry(&heir)?.max(self.position(&heir)?);
            let give = "UPDATE journal SET share = ?1, position = position + ?2 WHERE share = ?3";
            self.transact(|transaction| {
                let behind = last.unwrap_or(0);
                transaction.execute(give, params![heir.to_string(), behind, orphan])?;
                transaction.execute("DELETE FROM position WHERE share = ?1", [orphan])?;
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The number of the last checkpoint; 0 before the first.
    pub(crate) fn number(&self) -> Result<u64, StateError> {
        let number = self
            .connection
            .query_row("SELECT number FROM checkpoint", [], |row| row.get(0));
        number.map_err(|source| self.failed(source))
    }

    /// How far a share had come at the last checkpoint.
    pub(crate) fn position(&self, share: &Share) -> Result<Option<u64>, StateError> {
        let query = "SELECT position FROM position WHERE share = ?1";
        let position = self
            .connection
            .query_row(query, [share.to_string()], |row| row.get(0));
        position.optional().map_err(|source| self.failed(source))
    }

    /// The last entry of a share's journal.
    pub(crate) fn last_entry(&self, share: &Share) -> Result<Option<u64>, StateError> {
        let query = "SELECT max(position) FROM journal WHERE share = ?1";
        let position = self
            .connection
            .query_row(query, [share.to_string()], |row| row.get(0));
        position.map_err(|source| self.failed(source))
    }

    /// The next entries of a share's journal, of which none is without rows to decode.
    pub(crate) fn entries(
        &self,
        share: &Share,
        after: u64,
        most: usize,
    ) -> Result<Vec<Entry>, StateError> {
        let query = "SELECT position, rows, rejected FROM journal \
                     WHERE share = ?1 AND position > ?2 ORDER BY position LIMIT ?3";
        type Stored = (u64, Vec<u8>, Option<Vec<u8>>);
        let read = || {
            let mut statement = self.connection.prepare_cached(query)?;
            let rows = statement.query_map(params![share.to_string(), after, most], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<Stored>>>()
        };
        let stored = read().map_err(|source| self.failed(source))?;
        let entries = stored.into_iter().map(|(position, rows, rejected)| {
            Ok(Entry {
                position,
                rows: decode(&rows)?,
                rejected: rejected.as_deref().map(decode).transpose()?,
            })
        });
        entries
            .collect::<Result<_, _>>()
            .map_err(|source| self.damaged(source))
    }

    /// Adds entries to the journal; they are on disk when it returns.
    pub(crate) fn append(&mut self, drafts: &[Draft]) -> Result<(), StateError> {
        let insert = "INSERT INTO journal VALUES (?1, ?2, ?3, ?4)";
        self.transact(|transaction| {
            let mut statement = transaction.prepare_cached(insert)?;
            for draft in drafts {
                let Draft {
                    share,
                    position,
                    rows,
                    rejected,
                } = draft;
                statement.execute(params![share.to_string(), position, rows, rejected])?;
            }
            Ok(())
        })
    }

    /// Forgets everything, so that the job begins anew the next time.
    pub(crate) fn clear(&mut self) -> Result<(), StateError> {
        self.transact(|transaction| {
            transaction.execute_batch(
                "DELETE FROM state; DELETE FROM piece; DELETE FROM position; DELETE FROM journal; DELETE FROM told; DELETE FROM checkpoint;",
            )
        })
    }

    fn transact(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), StateError> {
        let done = self.connection.transaction().and_then(|transaction| {
            work(&transaction)?;
            transaction.commit()
        });
        done.map_err(|source| self.failed(source))
    }

    fn failed(&self, source: rusqlite::Error) -> StateError {
        let path = self.path.display().to_string();
        StateError::Database { path, source }
    }

    /// The error of a source that cannot be divided anew.
    pub(crate) fn other_shares(&self, table: &str, kept: usize, given: usize) -> StateError {
        StateError::OtherShares {
            path: self.path.display().to_string(),
            table: table.to_owned(),
            kept,
            given,
        }
    }

    pub(crate) fn damaged(&self, source: ArrowError) -> StateError {
        let path = self.path.display().to_string();
        StateError::Damaged { path, source }
    }
}

/// The pattern of the shares of a source.
fn shares_of(operator: &str) -> String {
    let escaped = operator.replace('\\', "\\\\");
    let escaped = escaped.replace('%', "\\%").replace('_', "\\_");
    format!("{escaped}/%")
}

/// Locks the file and makes the tables that it has not; the version of those that it has.
fn prepared(connection: &Connection) -> rusqlite::Result<i64> {
    // before anything is written: pages as large as rows are
    connection.execute_batch(
        "PRAGMA page_size = 16384; PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; \
         PRAGMA synchronous = FULL; BEGIN IMMEDIATE;",
    )?;
    let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version == 0 || version == VERSION {
        connection.execute_batch(include_str!("schema.sql"))?;
        connection.execute_batch("UPDATE told SET epoch = NULL")?;
        connection.pragma_update(None, "user_version", VERSION)?;
    }
    connection.execute_batch("COMMIT;")?;
    Ok(if version == 0 { VERSION } else { version })
}
