//! The machine for sessions.
//!
//! Every row goes to the open session of its key that it is less than a gap away from, or begins one; a row between two
//! sessions makes them one. The [`Book`] knows which sessions are open, and nothing of the functions. Their states lie in
//! [`Segments`]: only the newest takes rows. When a session ends that has rows in the newest, this becomes columns and
//! another is begun, so that a session in the end is the merged states of a few places. A checkpoint merges those of the sessions
//! that have changed, and writes them alone. A segment without places of open sessions is dropped; and when too many places, or
//! keys, belong to sessions that have ended, what is open is moved together.
//!
//! A session ends when the watermark is a gap after its last row. A row is late if, alone, it were a session that has ended,
//! and no open session takes it.

mod book;
mod segments;

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::physical_plan::aggregates::group_values::GroupValues;
use headwater_planner::plan::WindowAggregate;

use self::book::{Book, Ended};
use self::segments::{FULL, Place, Restored, Segments};
use super::aggregates::Functions;
use super::groups::Grouping;
use super::input::{Columns, Input, Selection};
use super::output::Output;
use crate::durable::part::Part;
use crate::operators::late::LateRows;
use crate::operators::machines::MachineContext;
use crate::operators::stateful::{Held, Stateful, times};

/// How many sessions are put out at once: some milliseconds.
const PIECE: usize = 8_192;

/// How many keys or places may be of no use, beside as many as there are open sessions. In tests it is
/// soon reached.
const UNUSED_MAX: usize = if cfg!(test) { 4 } else { 65_536 };

/// The machine.
pub(super) struct Session {
    time: usize,
    input: Input,
    grouping: Grouping,
    output: Output,
    late: LateRows,
    /// Numbers the keys.
    keys: Option<Box<dyn GroupValues>>,
    book: Book,
    segments: Segments,
    watermark: i64,
    /// The key of each row; only kept for its memory.
    numbers: Vec<usize>,
}

/// Where the rows of a batch go.
#[derive(Default)]
struct Placement {
    /// In the newest segment, of those that are not late.
    places: Vec<usize>,
    on_time: Vec<u32>,
    late: Vec<u32>,
    /// Those that begin a place.
    first: Vec<u32>,
}

impl Session {
    pub(super) fn new(
        plan: &Arc<WindowAggregate>,
        gap_ns: i64,
        context: &MachineContext,
    ) -> Result<Self> {
        let functions = Functions::new(&plan.aggregates)?;
        let output = Output::new(&context.output, true)?;
        let keys = plan.keys.len();
        let grouping = Grouping::new(functions, &context.output, output.keys_begin(), keys);
        Ok(Self {
            time: plan.time,
            input: Input::new(&plan.keys, &plan.aggregates),
            output,
            late: context.late.clone(),
            keys: grouping.table()?,
            book: Book::new(gap_ns),
            segments: Segments::new(grouping.functions.clone())?,
            grouping,
            watermark: i64::MIN,
            numbers: Vec::new(),
        })
    }

    fn number(&mut self, columns: &Columns) -> Result<()> {
        match &mut self.keys {
            Some(keys) => keys.intern(&columns.keys, &mut self.numbers),
            None => {
                self.numbers.clear();
                self.numbers.resize(columns.rows, 0);
                Ok(())
            }
        }
    }

    fn place(&mut self, times: &[i64]) -> Placement {
        let mut placement = Placement::default();
        for (row, (key, time)) in (0..).zip(self.numbers.iter().zip(times)) {
            let unused = self.segments.unused();
            match self.book.place(*key, *time, self.watermark, unused) {
                Some(place) => {
                    if place == unused {
                        self.segments.begin_place();
                        placement.first.push(row);
                    }
                    placement.places.push(place.row as usize);
                    placement.on_time.push(row);
                }
                None => placement.late.push(row),
            }
        }
        placement
    }

    /// Puts sessions out.
    fn put_out(&mut self, ended: &[Ended]) -> Result<RecordBatch> {
        let places: Vec<_> = ended.iter().map(|ended| &ended.places).collect();
        let mut merged = self.segments.take(&places)?;
        let results = merged.results()?;
        let starts = ended.iter().map(|ended| ended.start).collect();
        let ends = ended.iter().map(|ended| ended.end).collect();
        self.output.rows((starts, ends), merged.keys, results)
    }

    /// Moves what is open together, if much is of no use.
    fn tidy(&mut self) -> Result<()> {
        let used = 2 * self.book.open() + UNUSED_MAX;
        let keys = self.keys.as_ref().map_or(0, |keys| keys.len());
        if keys > used || self.segments.places() > used {
            self.move_together()?;
        }
        Ok(())
    }

    /// Settles all open sessions, and forgets the keys of others.
    fn move_together(&mut self) -> Result<()> {
        let open = self.book.those(|_| true);
        self.keys = self.grouping.table()?;
        let mut numbers = Vec::with_capacity(open.len());
        for sessions in open.chunks(FULL) {
            let keys = self.settle(sessions)?;
            let mut own = vec![0; sessions.len()];
            if let Some(table) = &mut self.keys {
                table.intern(&keys, &mut own)?;
            }
            numbers.append(&mut own);
        }
        self.book.renumber(&open, &numbers);
        self.segments.all_are_settled();
        Ok(())
    }

    /// Makes one state of those of each of some sessions, for a checkpoint; their keys.
    fn settle(&mut self, sessions: &[u32]) -> Result<Vec<ArrayRef>> {
        let merged = self.segments.take(&self.book.places(sessions))?;
        let keys = merged.keys.clone();
        let spans = self.book.spans(sessions);
        let first = self.segments.settle(merged, spans)?;
        self.book.move_to(first, sessions);
        Ok(keys)
    }

    /// Settles the sessions that are not, and some to keep the log short.
    fn settle_all(&mut self) -> Result<()> {
        let Self { book, segments, .. } = self;
        let mut changed = book.those(|places| !segments.has_settled(places));
        if changed.is_empty() {
            return Ok(());
        }
        let untidy = segments.untidy(changed.len());
        if !untidy.is_empty() {
            changed = book.those(|places| {
                !segments.has_settled(places) || untidy.contains(&places.first().segment)
            });
        }
        for sessions in changed.chunks(FULL) {
            self.settle(sessions)?;
        }
        self.segments.all_are_settled();
        Ok(())
    }
}

impl Stateful for Session {
    fn rows(&mut self, _input: usize, rows: RecordBatch) -> Result<Vec<RecordBatch>> {
        let mut columns = self.input.columns(&rows)?;
        self.number(&columns)?;
        let placement = self.place(times(&rows, self.time)?);
        let first = Selection::Rows(UInt32Array::from(placement.first));
        self.segments.add_keys(first.of_all(&columns.keys)?)?;
        if !placement.late.is_empty() {
            let late = Selection::Rows(placement.late.into());
            self.late.note(&late.of_batch(&rows)?)?;
            columns = columns.select(&Selection::Rows(placement.on_time.into()))?;
        }
        self.segments.update(&columns, &placement.places)?;
        self.tidy()?;
        Ok(Vec::new())
    }

    fn advance(&mut self, watermark: i64) -> Result<()> {
        self.watermark = watermark;
        Ok(())
    }

    fn emit(&mut self) -> Result<Option<RecordBatch>> {
        let book = &mut self.book;
        let ended = std::iter::from_fn(|| book.next_ended(self.watermark));
        let ended: Vec<_> = ended.take(PIECE).collect();
        match ended.is_empty() {
            true => Ok(None),
            false => self.put_out(&ended).map(Some),
        }
    }

    fn snapshot(&mut self) -> Result<Vec<Part>> {
        self.settle_all()?;
        let word = Part::word(&self.watermark);
        std::iter::once(word).chain(self.segments.parts()).collect()
    }

    fn restore(&mut self, parts: Vec<Part>) -> Result<()> {
        let mut parts = parts.into_iter();
        if let Some(first) = parts.next() {
            self.watermark = first.about()?;
        }
        let mut sessions = Vec::new();
        for part in parts {
            let restored = Restored::of(&part)?;
            let mut keys = vec![0; restored.sessions()];
            if let Some(table) = &mut self.keys {
                table.intern(restored.keys(), &mut keys)?;
            }
            let spans: Vec<_> = restored.spans().collect();
            sessions.push((self.segments.restore(restored), keys, spans));
        }
        // of each session the last holds
        let mut used = Vec::new();
        for (first, keys, spans) in sessions.into_iter().rev() {
            let rows = (first.row..).zip(keys).zip(spans);
            let (book, watermark) = (&mut self.book, self.watermark);
            let kept = rows.filter(|((row, key), span)| {
                let place = Place { row: *row, ..first };
                book.restore(*key, *span, watermark, place)
            });
            used.push((first, kept.count()));
        }
        self.segments.use_only(&used);
        Ok(())
    }

    fn held(&self, part: &Part) -> Result<Held> {
        Ok(match part.is_word() {
            true => Held::Word,
            false => Held::Keyed(segments::keys(part)?),
        })
    }

    fn size(&self) -> usize {
        let keys = self.keys.as_ref().map_or(0, |keys| keys.size());
        keys + self.book.size() + self.segments.size()
    }
}
