//! Stands for the file of a job where machines are tested: the rows of a part are written once, and deleted with the first
//! checkpoint that leaves them out.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::ArrayRef;
use arrow::record_batch::RecordBatch;
use datafusion::common::Result;

use super::Part;
use crate::durable::divide::divided_by;
use crate::ipc::{decode, encode};
use crate::operators::stateful::Stateful;

/// The last checkpoint of one machine.
#[derive(Default)]
pub(crate) struct Disk {
    pieces: BTreeMap<i64, RecordBatch>,
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
                part.kept.at(self.written);
                self.pieces.insert(self.written, part.rows);
            }
            let place = part.kept.place().expect("it was written");
            assert!(self.pieces.contains_key(&place), "it was deleted");
            self.state.push((part.about.clone(), place));
        }
        let named: BTreeSet<_> = self.state.iter().map(|(_, place)| *place).collect();
        self.pieces.retain(|place, _| named.contains(place));
        rows
    }

    /// The checkpoint as it comes back.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let parts = self.state.iter().map(|(about, place)| {
            let rows = encode(&self.pieces[place]).expect("rows can be encoded");
            let rows = decode(&rows).expect("what was encoded can be decoded");
            Part::stored(about.clone(), *place, rows)
        });
        parts.collect()
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.pieces.values().map(RecordBatch::num_rows).sum()
    }
}

/// What each of some machines has left, for another number of them; `keys_of` gives the keys of an input's rows.
pub(crate) fn divided(
    machine: &dyn Stateful,
    left: Vec<Vec<Part>>,
    machines: usize,
    keys_of: impl Fn(usize, &RecordBatch) -> Result<Vec<ArrayRef>>,
) -> Vec<Vec<Part>> {
    // before the rest stands event time, which the stage tells
    let time = || Part::word(&0).expect("a number");
    let left = left.into_iter();
    let left = left.map(|parts| [vec![time()], parts].concat()).collect();
    let divided = divided_by(machine, left, machines, keys_of).expect("the state has keys");
    let divided = divided.into_iter();
    divided.map(|parts| parts[1..].to_vec()).collect()
}
