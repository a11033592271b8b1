//! A growing column of texts or byte strings that can be cut back.
//!
//! Arrow's own builders cannot forget their last values, and a bad payload must leave nothing behind; so values are
//! gathered in plain vectors, which become Arrow buffers without a copy.

use std::mem;

use arrow::array::{ArrayData, ArrayRef, make_array};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

/// More bytes than Arrow's 32-bit offsets can address in one batch.
#[derive(Debug)]
pub(crate) struct Full;

/// Values of varying length, end to end. Whoever appends to `data` closes the value with [`VarLen::end`].
#[derive(Debug)]
pub(crate) struct VarLen {
    offsets: Vec<i32>,
    pub(crate) data: Vec<u8>,
}

impl Default for VarLen {
    fn default() -> Self {
        Self {
            offsets: vec![0],
            data: Vec::new(),
        }
    }
}

impl VarLen {
    /// Appends one value.
    #[inline]
    pub(crate) fn push(&mut self, value: &[u8]) -> Result<(), Full> {
        self.data.extend_from_slice(value);
        self.end()
    }

    /// Makes a value of what was appended to `data` since the last one.
    #[inline]
    pub(crate) fn end(&mut self) -> Result<(), Full> {
        match i32::try_from(self.data.len()) {
            Ok(end) => {
                self.offsets.push(end);
                Ok(())
            }
            Err(_) => Err(Full),
        }
    }

    /// Appends an empty value, for a null.
    #[inline]
    pub(crate) fn push_empty(&mut self) {
        let end = self.offsets.last().copied().unwrap_or(0);
        self.offsets.push(end);
    }

    /// Forgets all but the first `len` values, and an unfinished one.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.offsets.truncate(len + 1);
        let end = self.offsets.last().copied().unwrap_or(0);
        self.data.truncate(usize::try_from(end).unwrap_or(0));
    }

    /// The values as an array of a text or binary type; starts anew with as much room as was used.
    pub(crate) fn finish(
        &mut self,
        data_type: &DataType,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef, ArrowError> {
        let len = self.offsets.len() - 1;
        let data = mem::take(&mut self.data);
        self.data.reserve(data.len());
        let mut fresh = Vec::with_capacity(len + 1);
        fresh.push(0);
        let offsets = mem::replace(&mut self.offsets, fresh);
        let (plain, offsets) = match data_type {
            DataType::LargeUtf8 | DataType::LargeBinary => {
                let wide: Vec<i64> = offsets.iter().map(|&o| i64::from(o)).collect();
                (data_type.clone(), Buffer::from_vec(wide))
            }
            DataType::Utf8 | DataType::Utf8View => (DataType::Utf8, Buffer::from_vec(offsets)),
            _ => (DataType::Binary, Buffer::from_vec(offsets)),
        };
        let array = ArrayData::builder(plain.clone())
            .len(len)
            .nulls(nulls)
            .add_buffer(offsets)
            .add_buffer(Buffer::from_vec(data))
            .build()?;
        let array = make_array(array);
        if plain == *data_type {
            Ok(array)
        } else {
            cast(&array, data_type)
        }
    }
}
