//! Stands for the file of a job where machines are tested: the rows of a part are written once, and deleted with the first
//! checkpoint that leaves them out.

use std::collections::BTreeMap;

use super::Part;
use crate::ipc::{decode, encode};

/// The last checkpoint of one machine.
#[derive(Default)]
pub(crate) struct Disk {
    pieces: BTreeMap<i64, Vec<u8>>,
    /// How many there have been.
    written: i64,
    state: Vec<(String, i64)>,
}

impl Disk {
    /// Takes a checkpoint; how many rows are written for it.
    pub(crate) fn take(&mut self, parts: &[Part]) -> usize {
        let mut rows = 0;
        self.state.clear();
        for part in parts {
            if !part.kept.is_on_disk() {
                let part = part.loaded().expect("files can be read");
                self.written += 1;
                rows += part.rows.num_rows();
                let encoded = encode(&part.rows).expect("rows can be encoded");
                self.pieces.insert(self.written, encoded);
                part.kept.at(self.written);
            }
            let place = part.kept.place().expect("it was written");
            assert!(self.pieces.contains_key(&place), "it was deleted");
            self.state.push((part.about.clone(), place));
        }
        let is_named = |place: &i64| self.state.iter().any(|(_, named)| named == place);
        self.pieces.retain(|place, _| is_named(place));
        rows
    }

    /// The checkpoint as it comes back.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let parts = self.state.iter().map(|(about, place)| {
            let rows = decode(&self.pieces[place]).expect("what was encoded can be decoded");
            Part::stored(about.clone(), *place, rows)
        });
        parts.collect()
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.parts().iter().map(|part| part.rows.num_rows()).sum()
    }
}
