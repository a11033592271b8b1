//! What operators ask of the keys of rows.

use arrow::array::{Array, ArrayRef};
use arrow::buffer::NullBuffer;
use datafusion::common::utils::normalize_float_zero;

/// Where all keys have a value; `None` if they do everywhere.
pub(crate) fn present(keys: &[ArrayRef]) -> Option<NullBuffer> {
    let nulls: Vec<_> = keys.iter().map(|key| key.logical_nulls()).collect();
    let union = |all: Option<NullBuffer>, nulls: &Option<NullBuffer>| {
        NullBuffer::union(all.as_ref(), nulls.as_ref())
    };
    nulls.iter().fold(None, union)
}

/// Keys whose bytes are equal if they are equal in SQL: of the two zeros of floating point numbers there is one.
pub(crate) fn with_one_zero(keys: &[ArrayRef]) -> Vec<ArrayRef> {
    keys.iter().map(normalize_float_zero).collect()
}
