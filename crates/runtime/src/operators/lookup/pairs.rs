//! Rows of a batch and the rows that were found for them → rows of the join, piece by piece.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt32Array, new_null_array};
use arrow::compute::{take, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::Result;
use datafusion::common::cast::as_boolean_array;
use headwater_connector::Found;
use headwater_planner::plan::Pairing;

use super::keys::{Keyed, NONE};

/// The most pairs that are made at once, and one more for a row of which earlier pieces had none: however many rows a key
/// has, they come in pieces.
const PIECE_ROWS: usize = 8192;

/// A batch that is being joined.
pub(crate) struct Joining {
    rows: RecordBatch,
    of_row: Vec<u32>,
    /// `None` if no row has a key.
    found: Option<Arc<Found>>,
    /// For each key the first of its rows, and behind the last key the end.
    first: Vec<usize>,
    /// The row that is next, which of its partners is next, and whether it has had one.
    row: usize,
    partner: usize,
    matched: bool,
}

/// Some pairs: rows of the batch, and rows that were found; null for none.
#[derive(Default)]
struct Pairs {
    rows: Vec<u32>,
    partners: Vec<Option<u32>>,
}

impl Pairs {
    fn push(&mut self, row: usize, partner: Option<usize>) {
        // batches have fewer rows than 2^32
        self.rows.push(row as u32);
        self.partners.push(partner.map(|partner| partner as u32));
    }
}

impl Joining {
    pub(crate) fn new(keyed: &mut Keyed, found: Option<Arc<Found>>) -> Self {
        let of_row = std::mem::take(&mut keyed.of_row);
        let keys = of_row.iter().filter(|key| **key != NONE).max();
        let keys = keys.map_or(0, |last| *last as usize + 1);
        let first = found.as_ref().map_or_else(Vec::new, |found| {
            let first_of = |key| found.keys.partition_point(|other| (*other as usize) < key);
            (0..=keys).map(first_of).collect()
        });
        Self {
            rows: keyed.rows.clone(),
            of_row,
            found,
            first,
            row: 0,
            partner: 0,
            matched: false,
        }
    }

    /// The next rows of the join, perhaps none of them; `None` at the end.
    pub(crate) fn piece(
        &mut self,
        pairing: &Pairing,
        schema: &SchemaRef,
    ) -> Result<Option<RecordBatch>> {
        let first_row = self.row;
        if first_row == self.of_row.len() {
            return Ok(None);
        }
        let (candidates, ends) = self.candidates();
        let holds = match &pairing.filter {
            Some(filter) if !candidates.rows.is_empty() => {
                let pairs = self.joined(&candidates, pairing, schema)?;
                let holds = filter.evaluate(&pairs)?.into_array(pairs.num_rows())?;
                Some(as_boolean_array(&holds)?.clone())
            }
            _ => None,
        };
        let pairs = self.settled(first_row, candidates, &ends, holds.as_ref(), pairing.outer);
        self.joined(&pairs, pairing, schema).map(Some)
    }

    /// The next pairs by their keys, and for each row that has no more of them how many pairs there are up to its end.
    fn candidates(&mut self) -> (Pairs, Vec<usize>) {
        let (mut pairs, mut ends) = (Pairs::default(), Vec::new());
        let mut alone = 0;
        while let Some(key) = self.of_row.get(self.row)
            && pairs.rows.len() + alone < PIECE_ROWS
        {
            let partners = match (*key, self.first.as_slice()) {
                (NONE, _) | (_, []) => 0..0,
                (key, first) => first[key as usize]..first[key as usize + 1],
            };
            let next = partners.start + self.partner;
            let room = PIECE_ROWS - pairs.rows.len() - alone;
            let taken = room.min(partners.end - next);
            (next..next + taken).for_each(|partner| pairs.push(self.row, Some(partner)));
            if next + taken < partners.end {
                self.partner += taken;
                break;
            }
            alone += usize::from(partners.is_empty());
            self.partner = 0;
            self.row += 1;
            ends.push(pairs.rows.len());
        }
        (pairs, ends)
    }

    /// The pairs for which the condition holds, and rows without any, if they stay.
    fn settled(
        &mut self,
        first_row: usize,
        candidates: Pairs,
        ends: &[usize],
        holds: Option<&BooleanArray>,
        outer: bool,
    ) -> Pairs {
        if !outer && holds.is_none() {
            return candidates;
        }
        let holds =
            |pair: &usize| holds.is_none_or(|holds| holds.is_valid(*pair) && holds.value(*pair));
        let mut settled = Pairs::default();
        let mut begin = 0;
        let all = candidates.rows.len();
        let rows = ends.iter().map(|end| (*end, true));
        for (index, (end, complete)) in rows.chain([(all, false)]).enumerate() {
            for pair in (begin..end).filter(holds) {
                settled.rows.push(candidates.rows[pair]);
                settled.partners.push(candidates.partners[pair]);
                self.matched = true;
            }
            begin = end;
            if complete && !std::mem::take(&mut self.matched) && outer {
                settled.push(first_row + index, None);
            }
        }
        settled
    }

    fn joined(&self, pairs: &Pairs, pairing: &Pairing, schema: &SchemaRef) -> Result<RecordBatch> {
        let rows = self.stream_rows(&pairs.rows)?;
        let mut columns = rows.columns().to_vec();
        let time = pairing.timed.then(|| columns.pop()).flatten();
        let first = columns.len();
        let width = schema.fields().len() - usize::from(pairing.timed) - first;
        match &self.found {
            Some(found) if found.rows.num_rows() > 0 => {
                let partners = UInt32Array::from(pairs.partners.clone());
                for column in found.rows.columns() {
                    columns.push(take(column, &partners, None)?);
                }
            }
            _ => {
                let nulls = schema.fields().iter().skip(first).take(width);
                let nulls = nulls.map(|field| -> ArrayRef {
                    new_null_array(field.data_type(), pairs.rows.len())
                });
                columns.extend(nulls);
            }
        }
        columns.extend(time);
        let options = RecordBatchOptions::new().with_row_count(Some(pairs.rows.len()));
        let schema = Arc::clone(schema);
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }

    /// The rows of the batch that are in pairs: mostly each of them once.
    fn stream_rows(&self, rows: &[u32]) -> Result<RecordBatch> {
        let each_once = rows.len() == self.rows.num_rows()
            && rows
                .iter()
                .enumerate()
                .all(|(index, row)| index == *row as usize);
        match each_once {
            true => Ok(self.rows.clone()),
            false => Ok(take_record_batch(
                &self.rows,
                &UInt32Array::from(rows.to_vec()),
            )?),
        }
    }
}
