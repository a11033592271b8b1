//! Where the states of sessions lie: in segments, of which the newest takes rows and the others are columns.
//!
//! A place is taken once and never again, so a segment only grows, and is dropped when none of its places is in use.

use std::collections::BTreeMap;

use arrow::array::ArrayRef;
use arrow::compute::{concat, interleave};
use datafusion::common::Result;
use datafusion::logical_expr::EmitTo;

use super::book::Places;
use crate::operators::window::aggregates::{Accumulators, Functions};
use crate::operators::window::groups::Chunk;
use crate::operators::window::input::Columns;

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
}

/// The states of some sessions, one each.
pub(super) struct Merged {
    pub(super) keys: Vec<ArrayRef>,
    accumulators: Accumulators,
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
        self.insert(chunk);
        Ok(())
    }

    /// Adds a segment before the newest, which is empty.
    fn insert(&mut self, chunk: Chunk) {
        let sealed = Sealed {
            used: chunk.groups,
            bytes: chunk.size(),
            chunk,
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
        self.sealed.retain(|_, sealed| {
            if sealed.used == 0 {
                self.bytes -= sealed.bytes;
                self.places -= sealed.chunk.groups;
            }
            sealed.used > 0
        });
    }

    /// Puts the states of sessions side by side into a segment of their own, and gives the first place.
    pub(super) fn restore(&mut self, mut merged: Merged, sessions: usize) -> Result<Place> {
        if sessions == 0 {
            return Ok(self.unused);
        }
        Ok(self.add(Chunk {
            groups: sessions,
            keys: merged.keys,
            states: merged.accumulators.states()?,
        }))
    }

    /// The states of sessions that lie side by side from a place on.
    pub(super) fn chunk(&self, first: Place) -> Option<&Chunk> {
        let sealed = self.sealed.get(&first.segment);
        sealed.map(|sealed| &sealed.chunk)
    }

    /// Puts the states of sessions into a segment of their own, and gives the first place.
    pub(super) fn add(&mut self, chunk: Chunk) -> Place {
        let first = self.unused;
        self.places += chunk.groups;
        self.insert(chunk);
        first
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
