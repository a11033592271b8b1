//! The groups as columns, for a checkpoint, and back.
//!
//! ```text
//! keys … │ rows │ time │ changed │ sent │ values sent … │ states of the first function … │ of the second … │
//! ```

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, UInt64Array};
use arrow::datatypes::{Int64Type, UInt64Type};
use arrow::record_batch::RecordBatch;
use datafusion::common::{Result, ScalarValue, internal_datafusion_err, internal_err};
use serde::{Deserialize, Serialize};

use super::function::Function;
use super::group::Group;
use crate::durable::part::{Part, columns};

/// Where what stands in the columns.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Layout {
    keys: usize,
    /// How many columns the state of each function has.
    states: Vec<usize>,
}

/// How many columns stand between the keys and the values that were sent.
const FLAGS: usize = 4;

/// Some groups, whose keys are given as columns.
pub(super) fn save(
    functions: &[Function],
    keys: Vec<ArrayRef>,
    groups: &mut [&mut Group],
) -> Result<Part> {
    let count = groups.len();
    let mut layout = Layout {
        keys: keys.len(),
        states: Vec::with_capacity(functions.len()),
    };
    let mut all = keys;
    let groups_of = || groups.iter();
    let flags: [ArrayRef; FLAGS] = [
        Arc::new(UInt64Array::from_iter_values(
            groups_of().map(|group| group.rows),
        )),
        Arc::new(Int64Array::from_iter_values(
            groups_of().map(|group| group.time),
        )),
        Arc::new(BooleanArray::from_iter(
            groups_of().map(|group| Some(group.changed)),
        )),
        Arc::new(BooleanArray::from_iter(
            groups_of().map(|group| Some(group.sent.is_some())),
        )),
    ];
    all.extend(flags);
    for (index, function) in functions.iter().enumerate() {
        let nothing = function.nothing()?;
        let sent = groups.iter().map(|group| match &group.sent {
            Some(values) => values[index].clone(),
            None => nothing.clone(),
        });
        all.push(ScalarValue::iter_to_array(sent)?);
    }
    for (index, function) in functions.iter().enumerate() {
        let states = groups.iter_mut();
        let states = states.map(|group| function.save(&mut group.states[index]));
        let states = states.collect::<Result<Vec<_>>>()?;
        let width = states.first().map_or(0, Vec::len);
        layout.states.push(width);
        for column in 0..width {
            let values = states.iter().map(|state| state[column].clone());
            all.push(ScalarValue::iter_to_array(values)?);
        }
    }
    Part::new(&layout, columns(all, count)?)
}

/// The keys of the groups in a part.
pub(super) fn keys(part: &Part) -> Result<Vec<ArrayRef>> {
    let layout: Layout = part.about()?;
    match part.rows.columns().get(..layout.keys) {
        Some(keys) => Ok(keys.to_vec()),
        None => internal_err!("groups have lost their keys"),
    }
}

/// The groups in a part, in the order of its rows.
///
/// # Errors
/// A part that other functions have written.
pub(super) fn load(functions: &[Function], part: &Part) -> Result<Vec<Group>> {
    let layout: Layout = part.about()?;
    let width = layout.keys + FLAGS + functions.len() + layout.states.iter().sum::<usize>();
    if layout.states.len() != functions.len() || part.rows.num_columns() != width {
        return internal_err!("the state is that of other aggregates");
    }
    let rows = 0..part.rows.num_rows();
    rows.map(|row| group(functions, &layout, &part.rows, row))
        .collect()
}

fn group(functions: &[Function], layout: &Layout, rows: &RecordBatch, row: usize) -> Result<Group> {
    let lost = || internal_datafusion_err!("the state of groups has other columns");
    let (_, columns) = rows.columns().split_at(layout.keys);
    let (flags, columns) = columns.split_at(FLAGS);
    let (sent, mut columns) = columns.split_at(functions.len());
    let flag = |index: usize| flags[index].as_boolean_opt().ok_or_else(lost);
    let count = flags[0].as_primitive_opt::<UInt64Type>().ok_or_else(lost)?;
    let time = flags[1].as_primitive_opt::<Int64Type>().ok_or_else(lost)?;
    let mut group = Group::new(functions)?;
    group.rows = count.value(row);
    group.time = time.value(row);
    group.changed = flag(2)?.value(row);
    if flag(3)?.value(row) {
        let values = sent.iter();
        let values = values.map(|values| ScalarValue::try_from_array(values, row));
        group.sent = Some(values.collect::<Result<_>>()?);
    }
    for ((function, state), width) in functions.iter().zip(&mut group.states).zip(&layout.states) {
        let (own, others) = columns.split_at(*width);
        let own: Vec<_> = own.iter().map(|column| column.slice(row, 1)).collect();
        *state = function.load(&own)?;
        columns = others;
    }
    group.measure();
    Ok(group)
}
