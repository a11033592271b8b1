//! Rows that have come, taken one by one, or two by two where one takes the place of the other.

use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::compute::filter_record_batch;
use arrow::record_batch::RecordBatch;
use arrow::row::Rows;
use datafusion::common::Result;

use super::Row;

/// The rows of a batch of one input.
pub(super) struct Arrived {
    pub(super) input: usize,
    pub(super) keys: Rows,
    /// Where all keys have a value; `None` if they do everywhere.
    pub(super) present: Option<NullBuffer>,
    pub(super) rows: Rows,
    pub(super) times: Vec<i64>,
    /// What each row does; without it all are new.
    pub(super) changes: Option<Int64Array>,
    /// The row that is next.
    pub(super) at: usize,
}

/// What becomes of the rows of a key.
pub(super) struct Move {
    pub(super) key: Box<[u8]>,
    /// Whether all of the key has a value.
    pub(super) has_key: bool,
    /// The row that is taken back.
    pub(super) old: Option<Row>,
    /// The row that comes, with its event time; in the place of the other, if there is one.
    pub(super) new: Option<(Row, i64)>,
}

impl Arrived {
    /// What is to be done next; `None` at the end.
    pub(super) fn next(&mut self) -> Option<Move> {
        let at = self.at;
        if at == self.times.len() {
            return None;
        }
        self.at += 1;
        let is_new = self.change(at) > 0;
        let mut next = Move {
            key: self.keys.row(at).data().into(),
            has_key: self.has_key(at),
            old: (!is_new).then(|| self.row(at)),
            new: is_new.then(|| (self.row(at), self.times[at])),
        };
        if !is_new && self.is_replaced(at) {
            next.new = Some((self.row(at + 1), self.times[at + 1]));
            self.at += 1;
        }
        Some(next)
    }

    /// Whether the row behind this one takes its place, under the same key.
    fn is_replaced(&self, at: usize) -> bool {
        at + 1 < self.times.len()
            && self.change(at + 1) == -self.change(at)
            && self.keys.row(at + 1) == self.keys.row(at)
    }

    fn change(&self, at: usize) -> i64 {
        self.changes.as_ref().map_or(1, |changes| changes.value(at))
    }

    pub(super) fn has_key(&self, at: usize) -> bool {
        self.present
            .as_ref()
            .is_none_or(|present| present.is_valid(at))
    }

    pub(super) fn row(&self, at: usize) -> Row {
        Arc::from(self.rows.row(at).data())
    }

    /// The new rows that come before `earliest`, if there are any.
    pub(super) fn late(&self, rows: &RecordBatch, earliest: i64) -> Result<Option<RecordBatch>> {
        let is_late = |(at, time): (usize, &i64)| *time < earliest && self.change(at) > 0;
        if !self.times.iter().enumerate().any(is_late) {
            return Ok(None);
        }
        let late = self.times.iter().enumerate();
        let late: BooleanArray = late.map(|row| Some(is_late(row))).collect();
        Ok(Some(filter_record_batch(rows, &late)?))
    }
}
