//! The members of an object, and the columns they belong to.
//!
//! Devices send the same members in the same order, message after message. So an object remembers the names that the
//! one before it had, unknown ones too, and compares each name with what stood at its place before anything is
//! scanned or looked up ([`Shape`]). A wrong guess costs one lookup and corrects the memory.

mod append;

use std::collections::HashMap;

use arrow::array::ArrayRef;
use arrow::datatypes::Fields as ArrowFields;
use arrow::error::ArrowError;

use super::column::Column;
use super::fault::Result;
use super::scan::{Scanner, sixteen};
use crate::config::JsonOptions;
use crate::error::FormatError;

/// How many members of an object are remembered, and how long their names may be, with quotes and colon. Others are
/// looked up each time.
const SHAPE_MEMBERS_MAX: usize = 64;
const SHAPE_NAME_BYTES_MAX: usize = 32;

/// With so many columns, names are looked up by hash.
const SEARCH_COLUMNS_MAX: usize = 8;

/// The columns of an object, at any depth.
#[derive(Debug)]
pub(crate) struct Fields {
    columns: Vec<Column>,
    names: Vec<String>,
    by_name: HashMap<Box<[u8]>, usize>,
    shape: Shape,
    /// For each column, the object that it was last seen in.
    seen: Vec<u64>,
    /// Counts the objects.
    object: u64,
}

impl Fields {
    /// No objects yet.
    ///
    /// # Errors
    /// A type that cannot be read; `path` is that of the object, empty for the payload itself.
    pub(crate) fn new(
        fields: &ArrowFields,
        options: &JsonOptions,
        path: &str,
    ) -> std::result::Result<Self, FormatError> {
        let column = |field| {
            let name: &str = arrow::datatypes::FieldRef::as_ref(field).name();
            let dot = if path.is_empty() { "" } else { "." };
            Column::new(field, options, &format!("{path}{dot}{name}"))
        };
        let names: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
        let key = |(index, name): (usize, &String)| (name.as_bytes().into(), index);
        Ok(Self {
            columns: fields
                .iter()
                .map(column)
                .collect::<std::result::Result<_, _>>()?,
            by_name: names.iter().enumerate().map(key).collect(),
            shape: Shape::default(),
            seen: vec![0; names.len()],
            object: 0,
            names,
        })
    }

    /// Appends the object that the scanner is at to the columns, each of which has `len` values.
    ///
    /// # Errors
    /// What does not fit. The columns are then of different lengths, until they are truncated.
    #[inline]
    pub(crate) fn read(&mut self, scanner: &mut Scanner<'_>, len: usize) -> Result<()> {
        let start = scanner.position();
        if scanner.peek() != b'{' {
            return Err(scanner.unexpected("an object"));
        }
        scanner.enter()?;
        scanner.skip_space();
        self.object += 1;
        let mut found = 0;
        let mut place = 0;
        let mut more = scanner.peek() != b'}';
        if !more {
            scanner.leave();
        }
        while more {
            match self.name(scanner, place)? {
                Some(index) => found += self.value(scanner, index, len)?,
                None => scanner.skip_value()?,
            }
            place += 1;
            more = scanner.more(b'}')?;
        }
        if found < self.columns.len() {
            self.fill(start)?;
        }
        Ok(())
    }

    /// Goes over a member's name and the colon; answers the column it belongs to.
    #[inline]
    fn name(&mut self, scanner: &mut Scanner<'_>, place: usize) -> Result<Option<usize>> {
        if let Some(guess) = self.shape.0.get(place)
            && guess.matches(scanner)
        {
            scanner.advance(guess.len);
            scanner.skip_space();
            return Ok(guess.column);
        }
        self.look_up(scanner, place)
    }

    #[cold]
    fn look_up(&mut self, scanner: &mut Scanner<'_>, place: usize) -> Result<Option<usize>> {
        let name = scanner.string()?;
        let mut plain = Vec::new();
        let key = if name.escaped {
            name.unescape_into(&mut plain)?;
            &plain[..]
        } else {
            name.raw
        };
        let column = if self.names.len() > SEARCH_COLUMNS_MAX {
            self.by_name.get(key).copied()
        } else {
            self.names.iter().position(|known| known.as_bytes() == key)
        };
        if !name.escaped {
            self.shape.learn(place, name.raw, column);
        }
        scanner.colon()?;
        Ok(column)
    }

    /// Reads a member's value into its column; answers how many columns that are new in this object (0 or 1).
    #[inline]
    fn value(&mut self, scanner: &mut Scanner<'_>, index: usize, len: usize) -> Result<usize> {
        let again = self.seen[index] == self.object;
        if again {
            self.columns[index].truncate(len);
        }
        self.seen[index] = self.object;
        match self.columns[index].read(scanner) {
            Ok(()) => Ok(usize::from(!again)),
            Err(fault) => Err(fault.in_field(&self.names[index])),
        }
    }

    /// Appends null to the columns that the object had no member for.
    #[cold]
    fn fill(&mut self, start: usize) -> Result<()> {
        for (index, column) in self.columns.iter_mut().enumerate() {
            if self.seen[index] != self.object {
                column
                    .read_absent(start)
                    .map_err(|fault| fault.in_field(&self.names[index]))?;
            }
        }
        Ok(())
    }

    /// Appends null to all columns.
    pub(crate) fn push_null(&mut self) {
        self.columns.iter_mut().for_each(Column::push_null);
    }

    /// Brings all columns back to `len` values.
    pub(crate) fn truncate(&mut self, len: usize) {
        for column in &mut self.columns {
            column.truncate(len);
        }
    }

    /// The columns as arrays, in order; starts anew.
    pub(crate) fn finish(&mut self) -> std::result::Result<Vec<ArrayRef>, ArrowError> {
        self.columns.iter_mut().map(Column::finish).collect()
    }
}

/// The names of an object's members, by place.
#[derive(Debug, Default)]
struct Shape(Vec<Guess>);

/// A name that may come, with its quotes and the colon, ready to be compared in one step, or in two.
#[derive(Debug)]
struct Guess {
    bytes: [u128; 2],
    mask: [u128; 2],
    len: usize,
    column: Option<usize>,
}

impl Guess {
    fn new(name: &[u8], column: Option<usize>) -> Option<Self> {
        let len = name.len() + 3;
        let mut bytes = [0; SHAPE_NAME_BYTES_MAX];
        let mut mask = [0; SHAPE_NAME_BYTES_MAX];
        mask.get_mut(..len)?.fill(0xFF);
        bytes[0] = b'"';
        bytes[1..len - 2].copy_from_slice(name);
        bytes[len - 2] = b'"';
        bytes[len - 1] = b':';
        Some(Self {
            bytes: [sixteen(&bytes, 0), sixteen(&bytes, 16)],
            mask: [sixteen(&mask, 0), sixteen(&mask, 16)],
            len,
            column,
        })
    }

    /// Whether this name comes next.
    #[inline]
    fn matches(&self, scanner: &Scanner<'_>) -> bool {
        (scanner.peek_16() ^ self.bytes[0]) & self.mask[0] == 0
            && (self.len <= 16 || (scanner.peek_16_more() ^ self.bytes[1]) & self.mask[1] == 0)
    }
}

impl Shape {
    fn learn(&mut self, place: usize, name: &[u8], column: Option<usize>) {
        let Some(guess) = Guess::new(name, column) else {
            return;
        };
        if let Some(old) = self.0.get_mut(place) {
            *old = guess;
        } else if place == self.0.len() && place < SHAPE_MEMBERS_MAX {
            self.0.push(guess);
        }
    }
}
