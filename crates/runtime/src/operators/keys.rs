//! What joins ask of the keys of rows.

use arrow::array::{Array, ArrayRef};
use arrow::buffer::NullBuffer;

/// Where all keys have a value; `None` if they do everywhere.
pub(crate) fn present(keys: &[ArrayRef]) -> Option<NullBuffer> {
    let nulls: Vec<_> = keys.iter().map(|key| key.logical_nulls()).collect();
    let union = |all: Option<NullBuffer>, nulls: &Option<NullBuffer>| {
        NullBuffer::union(all.as_ref(), nulls.as_ref())
    };
    nulls.iter().fold(None, union)
}
