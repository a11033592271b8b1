//! Where the states of sessions lie: in segments, of which the newest takes rows and the others are columns.
//!
//! A place is taken once and never again, so a segment only grows, and is dropped when none of its places is in use.
//!
//! A checkpoint *settles* the sessions that have changed since the last one: the states of each become one, in a new segment with
//! the times of the sessions. Such segments are a log, of which each is written once. In it the last row of a session is the one
//! that is true; rows of sessions that have ended are known by their times. Small segments at its end, and those in which most
//! places are of no use, are settled again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::compute::{concat, interleave};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::EmitTo;

use super::book::Places;
use crate::backlog::Size;
use crate::durable::part::{Kept, Part, columns};
use crate::operators::window::aggregates::{Accumulators, Functions};
use crate::operators::window::groups::{Chunk, Layout};
use crate::operators::window::input::Columns;

/// How many sessions are settled at once, into one segment. One with as many places in use is not small.
pub(super) const FULL: usize = if cfg!(test) { 16 } else { 8_192 };

/// The state of rows of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) row: u32,
}

/// All of them.
pub(super) struct Segments {
    functions: Functions,
    /// The place behind the last one of the newest segment.
    unused: Place,
    accumulators: Accumulators,
    /// The keys of the newest segment, in pieces that get smaller, so that they are few and seldom copied.
    keys: Vec<Vec<ArrayRef>>,
    sealed: BTreeMap<u32, Sealed>,
    /// Behind the last segment that has been settled with all others.
    settled_until: u32,
    /// In all segments, in use or not.
    places: usize,
    /// The memory of those that are sealed.
    bytes: usize,
}

/// A segment that takes no rows.
struct Sealed {
    chunk: Chunk,
    /// How many of its places are in use.
    used: usize,
    bytes: usize,
    /// If it is settled.
    settled: Option<Settled>,
}

/// What is known of a segment with the whole states of sessions.
struct Settled {
    /// When each began, and the time of its last row.
    spans: [ArrayRef; 2],
    kept: Kept,
}

/// A settled segment as it comes back.
pub(super) struct Restored {
    chunk: Chunk,
    spans: [Int64Array; 2],
    bytes: usize,
    kept: Kept,
}

/// The states of some sessions, one each.
pub(super) struct Merged {
    pub(super) keys: Vec<ArrayRef>,
    accumulators: Accumulators,
}

impl Restored {
    pub(super) fn of(part: &Part) -> Result<Self> {
        let layout: Layout = part.about()?;
        let span = |column: usize| part.rows.column(column).as_primitive_opt::<Int64Type>();
        let (true, Some(firsts), Some(lasts)) = (part.rows.num_columns() > 2, span(0), span(1))
        else {
            return internal_err!("the state of sessions has no times");
        };
        Ok(Self {
            chunk: Chunk::of_rows(&layout, &without_spans(&part.rows)?)?,
            spans: [firsts.clone(), lasts.clone()],
            // columns that were decoded share one buffer
            bytes: Size::of(&part.rows).bytes as usize,
            kept: part.kept.clone(),
        })
    }

    pub(super) fn keys(&self) -> &[ArrayRef] {
        &self.chunk.keys
    }

    pub(super) fn sessions(&self) -> usize {
        self.chunk.groups
    }

    /// The first and the last time of each session.
    pub(super) fn spans(&self) -> impl Iterator<Item = (i64, i64)> {
        let [firsts, lasts] = &self.spans;
        std::iter::zip(firsts.values(), lasts.values()).map(|(first, last)| (*first, *last))
    }
}

/// The columns of a part behind the first and the last times.
fn without_spans(rows: &RecordBatch) -> Result<RecordBatch> {
    let states: Vec<_> = (2..rows.num_columns()).collect();
    Ok(rows.project(&states)?)
}

/// The keys of the sessions of a part.
pub(super) fn keys(part: &Part) -> Result<Vec<ArrayRef>> {
    let layout: Layout = part.about()?;
    layout.keys(&without_spans(&part.rows)?)
}

impl Merged {
    pub(super) fn results(&mut self) -> Result<Vec<ArrayRef>> {
        self.accumulators.results(EmitTo::All)
    }
}

impl Segments {
    pub(super) fn new(functions: Functions) -> Result<Self> {
        Ok(Self {
            accumulators: functions.accumulators()?,
            functions,
            unused: Place { segment: 0, row: 0 },
            keys: Vec::new(),
            sealed: BTreeMap::new(),
            settled_until: 0,
            places: 0,
            bytes: 0,
        })
    }

    /// The next place in the newest segment.
    pub(super) fn unused(&self) -> Place {
        self.unused
    }

    /// Puts the next place to use. Its key is to be added.
    pub(super) fn begin_place(&mut self) {
        self.unused.row += 1;
        self.places += 1;
    }

    /// The keys of the places that were put to use.
    pub(super) fn add_keys(&mut self, keys: Vec<ArrayRef>) -> Result<()> {
        if keys.first().is_none_or(|keys| keys.is_empty()) {
            return Ok(());
        }
        self.keys.push(keys);
        while let [.., before, last] = self.keys.as_slice()
            && last[0].len() >= before[0].len()
        {
            let joined = joined(&[before, last])?;
            self.keys.truncate(self.keys.len() - 2);
            self.keys.push(joined);
        }
        Ok(())
    }

    /// Takes rows, each to its place in the newest segment.
    pub(super) fn update(&mut self, columns: &Columns, places: &[usize]) -> Result<()> {
        match places.is_empty() {
            true => Ok(()),
            false => {
                let total = self.unused.row as usize;
                self.accumulators.update(columns, places, total)
            }
        }
    }

    /// Makes columns of the newest segment and begins another.
    fn seal(&mut self) -> Result<()> {
        let groups = self.unused.row as usize;
        let keys: Vec<_> = self.keys.iter().collect();
        let chunk = Chunk {
            groups,
            keys: joined(&keys)?,
            states: self.accumulators.states()?,
        };
        self.keys.clear();
        let bytes = chunk.size();
        self.insert(chunk, bytes, None);
        Ok(())
    }

    /// Adds a segment before the newest, which is empty.
    fn insert(&mut self, chunk: Chunk, bytes: usize, settled: Option<Settled>) {
        let sealed = Sealed {
            used: chunk.groups,
            bytes,
            chunk,
            settled,
        };
        self.bytes += sealed.bytes;
        self.sealed.insert(self.unused.segment, sealed);
        self.unused = Place {
            segment: self.unused.segment + 1,
            row: 0,
        };
    }

    /// Takes the states of sessions out, in the order of `sessions`; their places are of no use then.
    pub(super) fn take(&mut self, sessions: &[&Places]) -> Result<Merged> {
        let newest = self.unused.segment;
        let mut places = sessions.iter().flat_map(|places| places.iter());
        if places.any(|place| place.segment == newest) {
            self.seal()?;
        }
        let firsts: Vec<_> = sessions.iter().map(|places| places.first()).collect();
        let keys = self.gather(&firsts, |chunk| &chunk.keys)?;
        let (groups, places): (Vec<_>, Vec<_>) = sessions
            .iter()
            .enumerate()
            .flat_map(|(group, places)| places.iter().map(move |place| (group, place)))
            .unzip();
        let mut accumulators = self.functions.accumulators()?;
        let functions = self.sealed.values().next();
        let functions = functions.map_or(0, |sealed| sealed.chunk.states.len());
        let states = (0..functions).map(|f| self.gather(&places, |chunk| &chunk.states[f]));
        let states = states.collect::<Result<Vec<_>>>()?;
        // all at once: accumulators take it that each group below the total has had a value
        accumulators.merge(&states, &groups, sessions.len())?;
        self.release(&places);
        Ok(Merged { keys, accumulators })
    }

    /// Some columns at some places.
    fn gather(
        &self,
        places: &[Place],
        columns: impl Fn(&Chunk) -> &Vec<ArrayRef>,
    ) -> Result<Vec<ArrayRef>> {
        let segments: Vec<_> = self.sealed.keys().copied().collect();
        let chunks = self.sealed.values();
        let chunks: Vec<_> = chunks.map(|sealed| columns(&sealed.chunk)).collect();
        let row = |place: &Place| {
            // a segment with a place in use is there
            let index = segments.partition_point(|segment| *segment < place.segment);
            (index, place.row as usize)
        };
        let rows: Vec<_> = places.iter().map(row).collect();
        let width = chunks.first().map_or(0, |chunk| chunk.len());
        let gathered = (0..width).map(|column| {
            let pieces: Vec<_> = chunks.iter().map(|chunk| chunk[column].as_ref()).collect();
            Ok(interleave(&pieces, &rows)?)
        });
        gathered.collect()
    }

    /// Notes that places are of no use any more.
    fn release(&mut self, places: &[Place]) {
        for place in places {
            if let Some(sealed) = self.sealed.get_mut(&place.segment) {
                sealed.used -= 1;
            }
        }
        self.drop_unused();
    }

    fn drop_unused(&mut self) {
        self.sealed.retain(|_, sealed| {
            if sealed.used == 0 {
                self.bytes -= sealed.bytes;
                self.places -= sealed.chunk.groups;
            }
            sealed.used > 0
        });
    }

    /// Puts the states of sessions side by side into a settled segment, and gives the first place.
    pub(super) fn settle(&mut self, mut merged: Merged, spans: [Vec<i64>; 2]) -> Result<Place> {
        let chunk = Chunk {
            groups: spans[0].len(),
            keys: merged.keys,
            states: merged.accumulators.states()?,
        };
        // its sessions wait for their turn
        if self.unused.row > 0 {
            self.seal()?;
        }
        let bytes = chunk.size() + 2 * size_of_val(spans[0].as_slice());
        let settled = Settled {
            spans: spans.map(|times| Arc::new(Int64Array::from(times)) as _),
            kept: Kept::default(),
        };
        Ok(self.add(chunk, bytes, settled))
    }

    /// Takes up a settled segment, in the order in which they were; its first place.
    pub(super) fn restore(&mut self, restored: Restored) -> Place {
        let settled = Settled {
            spans: restored.spans.map(|times| Arc::new(times) as _),
            kept: restored.kept,
        };
        self.add(restored.chunk, restored.bytes, settled)
    }

    fn add(&mut self, chunk: Chunk, bytes: usize, settled: Settled) -> Place {
        let first = self.unused;
        self.places += chunk.groups;
        self.insert(chunk, bytes, Some(settled));
        first
    }

    /// Notes that of segments that were restored so many places are in use.
    pub(super) fn use_only(&mut self, used: &[(Place, usize)]) {
        for (first, used) in used {
            if let Some(sealed) = self.sealed.get_mut(&first.segment) {
                sealed.used = *used;
            }
        }
        self.drop_unused();
        self.all_are_settled();
    }

    /// Notes that all sessions are settled.
    pub(super) fn all_are_settled(&mut self) {
        self.settled_until = self.unused.segment;
    }

    /// Whether a session is settled.
    pub(super) fn has_settled(&self, places: &Places) -> bool {
        let only = places.only();
        only.is_some_and(|place| place.segment < self.settled_until)
    }

    /// The segments that are to be settled again, together with so many sessions: small ones at the end of the log, then each
    /// is larger than all behind it; and some of those in which most is of no use.
    pub(super) fn untidy(&self, mut sessions: usize) -> BTreeSet<u32> {
        let mut untidy = BTreeSet::new();
        let settled = || self.sealed.iter().filter(|(_, it)| it.settled.is_some());
        for (segment, sealed) in settled().rev() {
            if sealed.used > sessions || sealed.used >= FULL {
                break;
            }
            sessions += sealed.used;
            untidy.insert(*segment);
        }
        let mut most = sessions.max(FULL);
        for (segment, sealed) in settled() {
            if 2 * sealed.used <= sealed.chunk.groups && sealed.used <= most {
                most -= sealed.used;
                untidy.insert(*segment);
            }
        }
        untidy
    }

    /// The log, as parts of a checkpoint.
    pub(super) fn parts(&self) -> impl Iterator<Item = Result<Part>> {
        let sealed = self.sealed.values();
        let settled = sealed.filter_map(|it| Some((&it.chunk, it.settled.as_ref()?)));
        settled.map(|(chunk, settled)| {
            let states = chunk.to_rows()?;
            let all = settled.spans.iter().chain(states.columns());
            let rows = columns(all.cloned().collect(), chunk.groups)?;
            Ok(Part::new(&chunk.layout(), rows)?.of(&settled.kept))
        })
    }

    /// How many places there are, in use or not.
    pub(super) fn places(&self) -> usize {
        self.places
    }

    /// In bytes.
    pub(super) fn size(&self) -> usize {
        let keys = self.keys.iter().flatten();
        let keys: usize = keys.map(|keys| keys.get_array_memory_size()).sum();
        keys + self.accumulators.size() + self.bytes
    }
}

/// Columns one behind the other.
fn joined(pieces: &[&Vec<ArrayRef>]) -> Result<Vec<ArrayRef>> {
    let Some(first) = pieces.first() else {
        return Ok(Vec::new());
    };
    let columns = (0..first.len()).map(|column| {
        let pieces: Vec<_> = pieces.iter().map(|piece| piece[column].as_ref()).collect();
        Ok(concat(&pieces)?)
    });
    columns.collect()
}
