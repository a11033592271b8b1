//! The state of operators, and the checkpoint of which it is.
//!
//! Rows are written before the checkpoint that has them, a few at a time, so that journals do not wait for all of them. In
//! the checkpoint's transaction they are only named; what no part names any more is deleted there.

use rusqlite::{Transaction, params};

use super::{Checkpoint, Database, StateError};
use crate::durable::Seat;
use crate::durable::part::{Kept, Part};
use crate::ipc::{decode, encode};
use crate::spool::Spool;

impl Database {
    /// The state that an operator had on a worker. What there was no memory for then goes into a file, if there may be any.
    pub(crate) fn state(
        &self,
        seat: &Seat,
        spool: Option<&Spool>,
    ) -> Result<Vec<Part>, StateError> {
        let query = "SELECT about, id, spilled, piece.rows FROM state LEFT JOIN piece ON id = state.rows \
                     WHERE operator = ?1 AND worker = ?2 ORDER BY part";
        let failed = |source| self.failed(source);
        let mut statement = self.connection.prepare_cached(query).map_err(failed)?;
        let seat = params![seat.operator, seat.worker];
        let mut rows = statement.query(seat).map_err(failed)?;
        let mut file = None;
        let mut parts = Vec::new();
        // one after the other: together they may be more than the memory
        while let Some(row) = rows.next().map_err(failed)? {
            let stored = || Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
            let (about, id, spilled, rows): (_, _, _, Vec<u8>) = stored().map_err(failed)?;
            parts.push(match spool.filter(|_| spilled) {
                Some(spool) => {
                    let file = match &mut file {
                        Some(file) => file,
                        none => none.insert(spool.file()?),
                    };
                    Part::stored_in_file(about, id, file.write_encoded(&rows)?)
                }
                None => {
                    let rows = decode(&rows).map_err(|source| self.damaged(source))?;
                    Part::stored(about, id, rows)
                }
            });
        }
        Ok(parts)
    }

    /// Writes the rows of parts that are not on disk yet, for the next checkpoint to name them.
    pub(crate) fn keep(&mut self, parts: &[Part]) -> Result<(), StateError> {
        let unkept = parts.iter().filter(|part| !part.kept.is_on_disk());
        let encoded = unkept.map(|part| {
            let rows = match &part.spilled {
                Some(rows) => rows.encoded()?,
                None => encode(&part.rows).map_err(|source| self.damaged(source))?,
            };
            Ok((&part.kept, rows))
        });
        let encoded = encoded.collect::<Result<Vec<_>, StateError>>()?;
        let mut places: Vec<(&Kept, i64)> = Vec::with_capacity(encoded.len());
        self.transact(|transaction| {
            let insert = "INSERT INTO piece (rows) VALUES (?1)";
            let mut statement = transaction.prepare_cached(insert)?;
            for (kept, rows) in encoded {
                places.push((kept, statement.insert([rows])?));
            }
            Ok(())
        })?;
        places.iter().for_each(|(kept, place)| kept.at(*place));
        Ok(())
    }

    /// Puts a checkpoint in the place of the last, and drops from the journal what is in it.
    pub(crate) fn commit(&mut self, checkpoint: &Checkpoint) -> Result<(), StateError> {
        let workers = self.workers;
        self.transact(|transaction| {
            replace_state(transaction, &checkpoint.states)?;
            for (share, position) in &checkpoint.positions {
                let share = share.to_string();
                let set = "INSERT OR REPLACE INTO position VALUES (?1, ?2)";
                transaction.execute(set, params![share, position])?;
                let trim = "DELETE FROM journal WHERE share = ?1 AND position <= ?2";
                transaction.execute(trim, params![share, position])?;
            }
            let set = "UPDATE checkpoint SET number = ?1, begun_us = ?2, workers = ?3";
            let Checkpoint {
                number,
                begun_us,
                cut,
                ..
            } = checkpoint;
            transaction.execute(set, params![number, begun_us, workers])?;
            transaction.execute("DELETE FROM told WHERE epoch <= ?1", [cut])?;
            Ok(())
        })
    }
}

/// Names the rows of all parts, which are on disk, and deletes those that have no name.
fn replace_state(
    transaction: &Transaction<'_>,
    states: &[(Seat, Vec<Part>)],
) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM state", [])?;
    // nothing is inserted, and that is an error, for rows that are not there
    let insert = "INSERT INTO state SELECT ?1, ?2, ?3, ?4, id, ?6 FROM piece WHERE id = ?5";
    let mut statement = transaction.prepare_cached(insert)?;
    for (seat, parts) in states {
        for (number, part) in parts.iter().enumerate() {
            let (about, place) = (part.text(), part.kept.place());
            let Seat { operator, worker } = seat;
            let spilled = part.spilled.is_some();
            statement.insert(params![operator, worker, number, about, place, spilled])?;
        }
    }
    let unnamed = "DELETE FROM piece WHERE id NOT IN (SELECT rows FROM state)";
    transaction.execute(unnamed, [])?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests;
