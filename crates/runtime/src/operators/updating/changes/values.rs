//! Values with how often they are there, as bytes: for each its number, its length and itself.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, AsArray};
use datafusion::common::{Result, ScalarValue, internal_datafusion_err};

/// The values of a group for a function, in Arrow's row format, with how often they are there.
pub(super) type Counts = BTreeMap<Box<[u8]>, u64>;

pub(super) fn save(counts: &Counts) -> ScalarValue {
    let mut bytes = Vec::new();
    for (value, count) in counts {
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
        bytes.extend_from_slice(value);
    }
    ScalarValue::LargeBinary(Some(bytes))
}

/// # Errors
/// Bytes that were not saved.
pub(super) fn load(saved: &[ArrayRef]) -> Result<Counts> {
    let lost = || internal_datafusion_err!("the state of an aggregate is cut off");
    let column = saved.first().ok_or_else(lost)?;
    let column = column.as_binary_opt::<i64>().ok_or_else(lost)?;
    let mut rest = column.value(0);
    let mut counts = Counts::new();
    while !rest.is_empty() {
        let (count, more) = rest.split_first_chunk::<8>().ok_or_else(lost)?;
        let (length, more) = more.split_first_chunk::<8>().ok_or_else(lost)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_long| lost())?;
        let (value, more) = more.split_at_checked(length).ok_or_else(lost)?;
        counts.insert(value.into(), u64::from_le_bytes(*count));
        rest = more;
    }
    Ok(counts)
}
