//! The changes that sinks were told since the last checkpoint.

use std::collections::HashSet;

use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use rusqlite::params;

use super::{Database, StateError};
use crate::ipc::{decode, encode};

/// Changes that a sink will be told, as bytes.
pub(crate) struct Telling {
    sink: String,
    epoch: u64,
    rows: Vec<u8>,
}

impl Telling {
    pub(crate) fn new(sink: &str, epoch: u64, rows: &RecordBatch) -> Result<Self, ArrowError> {
        Ok(Self {
            sink: sink.to_owned(),
            epoch,
            rows: encode(rows)?,
        })
    }
}

impl Database {
    /// Keeps what sinks will be told; it is on disk when it returns.
    pub(crate) fn tell(&mut self, tellings: &[Telling]) -> Result<(), StateError> {
        let insert = "INSERT INTO told (sink, epoch, rows) VALUES (?1, ?2, ?3)";
        self.transact(|transaction| {
            let mut statement = transaction.prepare_cached(insert)?;
            for Telling { sink, epoch, rows } in tellings {
                statement.execute(params![sink, epoch, rows])?;
            }
            Ok(())
        })
    }

    /// What earlier runs have told a sink behind the last checkpoint, the last first, before that of a number.
    pub(crate) fn told(
        &self,
        sink: &str,
        before: i64,
        most: usize,
    ) -> Result<Vec<(i64, RecordBatch)>, StateError> {
        let query = "SELECT number, rows FROM told \
                     WHERE sink = ?1 AND epoch IS NULL AND number < ?2 ORDER BY number DESC LIMIT ?3";
        let read = || {
            let mut statement = self.connection.prepare_cached(query)?;
            let rows = statement.query_map(params![sink, before, most], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<(i64, Vec<u8>)>>>()
        };
        let stored = read().map_err(|source| self.failed(source))?;
        let told = stored.into_iter();
        let told = told.map(|(number, rows)| Ok((number, decode(&rows)?)));
        told.collect::<Result<_, _>>()
            .map_err(|source| self.damaged(source))
    }

    /// The sinks that earlier runs have told something behind the last checkpoint.
    pub(crate) fn told_sinks(&self) -> Result<HashSet<String>, StateError> {
        let read = || {
            let query = "SELECT DISTINCT sink FROM told WHERE epoch IS NULL";
            let mut statement = self.connection.prepare(query)?;
            let sinks = statement.query_map([], |row| row.get(0))?;
            sinks.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|source| self.failed(source))
    }

    /// Forgets what earlier runs have told a sink.
    pub(crate) fn forget_told(&mut self, sink: &str) -> Result<(), StateError> {
        let delete = "DELETE FROM told WHERE sink = ?1 AND epoch IS NULL";
        self.transact(|transaction| transaction.execute(delete, [sink]).map(drop))
    }
}
