//! The groups' keys, in Arrow's row format, and a slot for each group.
//!
//! A slot is a number that stays the same as long as the group lives; then another group may have it.

use std::hash::BuildHasher;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::hash_utils::RandomState;
use datafusion::common::{Result, internal_datafusion_err};
use hashbrown::HashTable;

use super::log::Place;

/// Stands for no number.
pub(super) const NONE: u32 = u32::MAX;

/// What is known of a group beside its state.
pub(super) struct Slot {
    key: Box<[u8]>,
    hash: u64,
    /// The event time of its latest row.
    pub(super) time: i64,
    /// Where its state lies, if it does.
    pub(super) place: Option<Place>,
    /// Its number among the fresh groups, or [`NONE`].
    pub(super) fresh: u32,
    /// In how many places it is noted that it has changed. While there are any, the slot remains.
    pub(super) noted: u32,
    /// The flush in which it is told next.
    pub(super) flush: u32,
    /// Whether there is a result that was told.
    pub(super) is_told: bool,
}

/// The groups.
pub(super) struct Table {
    /// And where it puts the keys of a batch. Without keys there is one group, of which the converter would know nothing.
    converter: Option<(RowConverter, Rows)>,
    index: Index,
}

struct Index {
    entries: HashTable<u32>,
    groups: Groups,
}

struct Groups {
    hasher: RandomState,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// What the keys take.
    key_bytes: usize,
}

impl Table {
    pub(super) fn new(keys: Vec<DataType>) -> Result<Self> {
        let converter = match keys.is_empty() {
            true => None,
            false => {
                let fields = keys.into_iter().map(SortField::new);
                let converter = RowConverter::new(fields.collect())?;
                let rows = converter.empty_rows(0, 0);
                Some((converter, rows))
            }
        };
        let index = Index {
            entries: HashTable::new(),
            groups: Groups {
                hasher: RandomState::default(),
                slots: Vec::new(),
                free: Vec::new(),
                key_bytes: 0,
            },
        };
        Ok(Self { converter, index })
    }

    /// The slots of rows with these keys, which are new if they have to be.
    pub(super) fn find(
        &mut self,
        keys: &[ArrayRef],
        count: usize,
        slots: &mut Vec<u32>,
    ) -> Result<()> {
        slots.clear();
        match &mut self.converter {
            None if count == 0 => {}
            None => slots.resize(count, self.index.find(&[])?),
            Some((converter, rows)) => {
                rows.clear();
                converter.append(rows, keys)?;
                for key in rows.iter() {
                    slots.push(self.index.find(key.data())?);
                }
            }
        }
        Ok(())
    }

    /// The keys of some slots.
    pub(super) fn keys(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        let Some((converter, _)) = &self.converter else {
            return Ok(Vec::new());
        };
        let parser = converter.parser();
        let keys = slots.iter().map(|slot| parser.parse(&self.slot(*slot).key));
        Ok(converter.convert_rows(keys)?)
    }

    pub(super) fn slot(&self, slot: u32) -> &Slot {
        self.index.groups.slot(slot)
    }

    pub(super) fn slot_mut(&mut self, slot: u32) -> &mut Slot {
        &mut self.index.groups.slots[slot as usize]
    }

    /// Forgets the groups that are not to be kept, and says where the state of each lies.
    pub(super) fn retain(
        &mut self,
        mut keep: impl FnMut(u32, &Slot) -> bool,
        mut forgotten: impl FnMut(Option<Place>),
    ) {
        let Index { entries, groups } = &mut self.index;
        entries.retain(|number| {
            let stays = keep(*number, groups.slot(*number));
            if !stays {
                forgotten(groups.free(*number));
            }
            stays
        });
    }

    /// Forgets a group.
    pub(super) fn forget(&mut self, slot: u32) -> Option<Place> {
        let Index { entries, groups } = &mut self.index;
        let hash = groups.slot(slot).hash;
        let entry = entries.find_entry(hash, |number| *number == slot).ok()?;
        entry.remove();
        groups.free(slot)
    }

    /// In bytes, roughly.
    pub(super) fn size(&self) -> usize {
        let Index { entries, groups } = &self.index;
        let free = size_of_val(groups.free.as_slice());
        let slots = groups.slots.capacity() * size_of::<Slot>();
        entries.capacity() * (size_of::<u32>() + 1) + slots + free + groups.key_bytes
    }
}

impl Index {
    fn find(&mut self, key: &[u8]) -> Result<u32> {
        let Self { entries, groups } = self;
        let hash = groups.hasher.hash_one(key);
        let is_same = |number: &u32| {
            let slot = groups.slot(*number);
            slot.hash == hash && *slot.key == *key
        };
        if let Some(number) = entries.find(hash, is_same) {
            return Ok(*number);
        }
        let number = groups.add(key, hash)?;
        entries.insert_unique(hash, number, |number| groups.slot(*number).hash);
        Ok(number)
    }
}

impl Groups {
    fn slot(&self, slot: u32) -> &Slot {
        &self.slots[slot as usize]
    }

    fn add(&mut self, key: &[u8], hash: u64) -> Result<u32> {
        let slot = Slot {
            key: key.into(),
            hash,
            time: i64::MIN,
            place: None,
            fresh: NONE,
            noted: 0,
            flush: 0,
            is_told: false,
        };
        self.key_bytes += key.len();
        if let Some(number) = self.free.pop() {
            self.slots[number as usize] = slot;
            return Ok(number);
        }
        let number = u32::try_from(self.slots.len()).ok();
        let number = number.filter(|number| *number != NONE);
        let number = number.ok_or_else(|| internal_datafusion_err!("there are too many groups"))?;
        self.slots.push(slot);
        Ok(number)
    }

    /// Another group may have the slot; where the state of the one that had it lies.
    fn free(&mut self, slot: u32) -> Option<Place> {
        let group = &mut self.slots[slot as usize];
        self.key_bytes -= std::mem::take(&mut group.key).len();
        self.free.push(slot);
        group.place.take()
    }
}
