//! A join of two streams without windows whose results change: because a row without a partner is put out too, until one
//! comes, or because the rows of a side are taken back themselves.
//!
//! ```text
//!  left ──► keys ──┬─► partners among what is kept of the right ──┐
//!                  └─► kept, with how many partners it has had    ├──► rows, retractions: `CHANGE` says which
//!  right ─► keys ──┬─► partners among what is kept of the left ───┘
//!                  └─► kept, likewise
//! ```
//!
//! Input: 0 is the left; with `change`, rows that take back an equal one that came before. Output: at once, batch by batch as
//! they came: what changes with each of its rows. What a row brings is looked at partner by partner: the pair with it, or,
//! if the partner's side is preserved, the partner alone; what was true is taken back, and what is true now comes in its place.
//! So a partner that was alone is replaced by its first pair, and the last pair of a partner by the partner alone; and a row that
//! takes the place of another of the same keys replaces it in each pair. Columns: those of the left, of the right, what the
//! row does, the later event time.
//! Keys: null is equal to nothing.
//! Time: two rows are a pair if their event times are no further apart than the time to live, and neither has been dropped. A row
//! is dropped, without a word, when the watermark is further ahead of it than that; a row that comes later still is late:
//! counted, and left out. What takes back a row that has been dropped, or never came, is left out.
//! Memory: the rows that are not dropped, up to an eighth longer than the time to live; what waits, which the sources' credit
//! bounds, since its epoch is held; and the changes of one row, as many as it has partners. Errors: none that a row could cause; keys are
//! columns.

mod arrived;
mod output;
mod side;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test")]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, internal_err};
use headwater_planner::plan;

use self::arrived::{Arrived, Move};
use self::output::{Change, Output};
use self::side::{Kept, Side};
use crate::durable::part::Part;
use crate::operators::late::LateRows;
use crate::operators::machines::MachineContext;
use crate::operators::stateful::{END, Held, Stateful};

/// How many changes are put out at once.
const PIECE_CHANGES: usize = 8_192;

/// The columns of a row, in Arrow's row format.
type Row = Arc<[u8]>;

/// The machine.
pub(crate) struct UpdatingJoin {
    sides: [Side; 2],
    ttl_ns: u64,
    /// The earliest event time of rows that are not late when they come.
    expected: i64,
    /// The earliest event time of rows that have not been dropped.
    earliest: i64,
    /// From which watermark on it pays to look for rows whose time is over.
    sweep_at: i64,
    late: LateRows,
    waiting: VecDeque<Waiting>,
    /// What has not been put out.
    due: VecDeque<Change>,
    /// How many changes there have been.
    changes: i64,
    output: Output,
}

/// What has come in and is not done with.
enum Waiting {
    Rows(Box<Arrived>),
    /// Rows before this are out of time.
    Earliest(i64),
}

impl UpdatingJoin {
    pub(crate) fn new(join: &plan::UpdatingJoin, context: &MachineContext) -> Result<Self> {
        let side = |input: usize| Side::new(join, input, &context.inputs[input]);
        let sides = [side(0)?, side(1)?];
        Ok(Self {
            output: Output::new(&context.output),
            sides,
            ttl_ns: u64::try_from(join.ttl.as_nanos()).unwrap_or(u64::MAX),
            expected: i64::MIN,
            earliest: i64::MIN,
            sweep_at: i64::MIN,
            late: context.late.clone(),
            waiting: VecDeque::new(),
            due: VecDeque::new(),
            changes: 0,
        })
    }

    /// Works on what waits until there is enough for a piece.
    fn work(&mut self) -> Result<()> {
        while self.due.len() < PIECE_CHANGES
            && let Some(next) = self.waiting.front_mut()
        {
            match next {
                Waiting::Rows(arrived) => match arrived.next() {
                    Some(step) => {
                        let input = arrived.input;
                        self.apply(input, step);
                    }
                    None => {
                        self.waiting.pop_front();
                    }
                },
                Waiting::Earliest(earliest) => {
                    self.earliest = *earliest;
                    self.waiting.pop_front();
                    self.sweep();
                }
            }
        }
        Ok(())
    }

    /// One row comes, goes, or takes the place of another.
    fn apply(&mut self, input: usize, step: Move) {
        let old = step
            .old
            .and_then(|row| self.sides[input].take(&step.key, &row));
        // one that is out of time counts as dropped, whether it has been or not
        let old = old.filter(|old| old.time >= self.earliest);
        let new = step.new.filter(|(_, time)| *time >= self.earliest);
        if old.is_none() && new.is_none() {
            return;
        }
        let partners = match step.has_key {
            true => self.meet(input, &step.key, old.as_ref(), new.as_ref()),
            false => 0,
        };
        let own = &mut self.sides[input];
        let alone = |partners: usize| own.is_preserved && partners == 0;
        let taken = old.filter(|old| alone(old.partners));
        let taken = taken.map(|old| Change::alone(input, old.row, old.time));
        let given = new.as_ref().filter(|_| alone(partners));
        let given = given.map(|(row, time)| Change::alone(input, Arc::clone(row), *time));
        if let Some((row, time)) = new {
            let kept = Kept {
                row,
                time,
                partners,
            };
            // without a key it has no partners, and only needs to be known if it may be taken back
            if step.has_key || own.is_preserved {
                own.keep(step.key, kept);
            }
        }
        self.replace(taken, given);
    }

    /// What changes with each partner of a row; answers how many the new one has.
    fn meet(
        &mut self,
        input: usize,
        key: &[u8],
        old: Option<&Kept>,
        new: Option<&(Row, i64)>,
    ) -> usize {
        let (earliest, ttl_ns) = (self.earliest, self.ttl_ns);
        let other = &mut self.sides[1 - input];
        let preserved = other.is_preserved;
        let mut partners = 0;
        let mut replaced = Vec::new();
        for partner in other.partners(key, earliest) {
            let near = |time: i64| time.abs_diff(partner.time) <= ttl_ns;
            let old = old.filter(|old| near(old.time));
            let new = new.filter(|(_, time)| near(*time));
            if old.is_none() && new.is_none() {
                continue;
            }
            let before = partner.partners;
            partner.partners =
                (before + usize::from(new.is_some())).saturating_sub(usize::from(old.is_some()));
            partners += usize::from(new.is_some());
            let alone = |partners: usize, time: i64| {
                let alone = (preserved && partners == 0).then(|| Arc::clone(&partner.row));
                alone.map(|row| Change::alone(1 - input, row, time))
            };
            let pair = |row: &Row, time: i64| {
                let time = time.max(partner.time);
                Change::pair(input, Arc::clone(row), Arc::clone(&partner.row), time)
            };
            let taken = match old {
                Some(old) => Some(pair(&old.row, old.time)),
                None => alone(before, partner.time),
            };
            let given = match new {
                Some((row, time)) => Some(pair(row, *time)),
                None => alone(partner.partners, partner.time),
            };
            replaced.push((taken, given));
        }
        for (taken, given) in replaced {
            self.replace(taken, given);
        }
        partners
    }

    /// Puts out that one row is taken back and another comes in its place, unless they are equal.
    fn replace(&mut self, taken: Option<Change>, given: Option<Change>) {
        let rows = |change: &Option<Change>| change.as_ref().map(|change| change.rows.clone());
        if rows(&taken) == rows(&given) {
            return;
        }
        self.changes += 1;
        let number = self.changes;
        self.due.extend(taken.map(|taken| taken.doing(-number)));
        self.due.extend(given.map(|given| given.doing(number)));
    }

    /// Drops the rows whose time is over.
    fn sweep(&mut self) {
        if self.earliest < self.sweep_at {
            return;
        }
        self.sweep_at = self.earliest.saturating_add_unsigned(self.ttl_ns / 8);
        for side in &mut self.sides {
            side.drop_before(self.earliest);
        }
    }
}

impl Stateful for UpdatingJoin {
    fn rows(&mut self, input: usize, rows: RecordBatch) -> Result<Vec<RecordBatch>> {
        let side = &self.sides[input];
        let arrived = side.arrived(input, &rows)?;
        if let Some(late) = arrived.late(&rows, self.expected)? {
            self.late.note(&late)?;
        }
        self.waiting.push_back(Waiting::Rows(Box::new(arrived)));
        Ok(Vec::new())
    }

    fn is_due(&self) -> bool {
        !self.waiting.is_empty() || !self.due.is_empty()
    }

    fn advance(&mut self, watermark: i64) -> Result<()> {
        if watermark != END {
            self.expected = watermark.saturating_sub_unsigned(self.ttl_ns);
            self.waiting.push_back(Waiting::Earliest(self.expected));
        }
        Ok(())
    }

    fn emit(&mut self) -> Result<Option<RecordBatch>> {
        self.work()?;
        let mut count = self.due.len().min(PIECE_CHANGES);
        // a row and the one in its place stay together
        let splits = |at: usize| match (self.due.get(at - 1), self.due.get(at)) {
            (Some(last), Some(next)) => last.change == -next.change,
            _ => false,
        };
        if count > 0 && splits(count) {
            count += 1;
        }
        let piece: Vec<_> = self.due.drain(..count).collect();
        match piece.as_slice() {
            [] => Ok(None),
            changes => self.output.rows(&self.sides, changes).map(Some),
        }
    }

    fn snapshot(&mut self) -> Result<Vec<Part>> {
        let mut parts = vec![Part::word(&self.earliest)?];
        for (input, side) in self.sides.iter().enumerate() {
            let kept = side.saved(self.earliest)?;
            for rows in kept {
                parts.push(Part::new(&input, rows)?);
            }
        }
        Ok(parts)
    }

    fn restore(&mut self, parts: Vec<Part>) -> Result<()> {
        let mut parts = parts.into_iter();
        if let Some(first) = parts.next() {
            self.earliest = first.about()?;
            self.expected = self.earliest;
        }
        for part in parts {
            let input: usize = part.about()?;
            match self.sides.get_mut(input) {
                Some(side) => side.restore(input, &part.rows)?,
                None => return internal_err!("the state is of an input that is not there"),
            }
        }
        Ok(())
    }

    fn held(&self, part: &Part) -> Result<Held> {
        Ok(match part.rows.num_columns() {
            0 => Held::Word,
            _ => Held::Input(part.about()?),
        })
    }

    fn size(&self) -> usize {
        let due = self.due.len() * size_of::<Change>();
        self.sides.iter().map(Side::size).sum::<usize>() + due
    }
}
