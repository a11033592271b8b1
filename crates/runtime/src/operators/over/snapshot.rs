//! The state as columns, for a checkpoint, and back.
//!
//! ```text
//! rows that are not due        as they came
//! rows that are kept           keys … │ time │ what is kept …
//! accumulators of keys         keys … │ states of the first … │ of the second … │
//! ```
//!
//! Rows that are kept lie in chunks, each of which is written once. Those among them that no row to come looks at are known by
//! what follows them.

use arrow::array::{Array, ArrayRef};
use arrow::compute::concat_batches;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::Accumulator;
use serde::{Deserialize, Serialize};

use super::keys::KeptRow;
use super::runs::Begin;
use super::{Over, begin_all};
use crate::durable::part::{Part, columns};
use crate::operators::stateful::{Held, times};

/// About how many rows go into one part.
const PART_ROWS: usize = 65_536;

/// What is in a part.
#[derive(Debug, Serialize, Deserialize)]
enum What {
    Pending,
    Kept,
    /// How many columns the state of each accumulator has.
    Running(Vec<usize>),
}

/// The accumulators of one key.
type Accumulators = Vec<Box<dyn Accumulator>>;

pub(super) fn save(over: &mut Over) -> Result<Vec<Part>> {
    let mut parts = vec![Part::word(&over.watermark)?];
    let pending = over.pending.rows();
    let mut rest = pending.as_slice();
    while !rest.is_empty() {
        let mut rows = 0;
        let fits = rest.iter().take_while(|batch| {
            rows += batch.num_rows();
            rows <= PART_ROWS
        });
        let (some, others) = rest.split_at(fits.count().max(1));
        let rows = concat_batches(&some[0].schema(), some.iter().copied())?;
        parts.push(Part::new(&What::Pending, rows)?);
        rest = others;
    }
    for chunk in over.history.stored() {
        parts.push(Part::new(&What::Kept, chunk.rows.clone())?.of(chunk.kept));
    }
    save_running(over, &mut parts)?;
    Ok(parts)
}

fn save_running(over: &mut Over, parts: &mut Vec<Part>) -> Result<()> {
    let mut keys = Vec::new();
    let mut states = Vec::new();
    let begin = begin_all(&over.functions);
    for (key, kept) in over.keys.all() {
        if !kept.running.is_empty() {
            keys.push(key.clone());
            states.push(state(&mut kept.running, &begin)?);
        }
    }
    for (keys, states) in keys.chunks(PART_ROWS).zip(states.chunks(PART_ROWS)) {
        let mut all = over.keys.columns(keys.iter())?;
        let widths: Vec<_> = states[0].iter().map(Vec::len).collect();
        for (index, width) in widths.iter().enumerate() {
            for column in 0..*width {
                let values = states.iter().map(|state| state[index][column].clone());
                all.push(ScalarValue::iter_to_array(values)?);
            }
        }
        let rows = columns(all, keys.len())?;
        parts.push(Part::new(&What::Running(widths), rows)?);
    }
    Ok(())
}

/// The states of accumulators, which stay as they are.
fn state(running: &mut Accumulators, begin: Begin<'_>) -> Result<Vec<Vec<ScalarValue>>> {
    let states = running.iter_mut().map(|accumulator| accumulator.state());
    let states = states.collect::<Result<Vec<_>>>()?;
    // some give their state away
    *running = begin()?;
    for (accumulator, state) in running.iter_mut().zip(&states) {
        let columns = state.iter().map(|value| value.to_array_of_size(1));
        accumulator.merge_batch(&columns.collect::<Result<Vec<_>>>()?)?;
    }
    Ok(states)
}

pub(super) fn load(over: &mut Over, parts: Vec<Part>) -> Result<()> {
    let mut parts = parts.into_iter();
    if let Some(first) = parts.next() {
        over.watermark = first.about()?;
    }
    for part in parts {
        match part.about()? {
            What::Pending => over.pending.push(part.rows)?,
            What::Kept => load_kept(over, &part)?,
            What::Running(widths) => load_running(over, &part, &widths)?,
        }
    }
    over.keys.sweep(over.watermark);
    Ok(())
}

fn load_kept(over: &mut Over, part: &Part) -> Result<()> {
    let (keys, count) = (over.plan.keys.len(), part.rows.num_rows());
    if part.rows.num_columns() != keys + 1 + over.memory.width() {
        return internal_err!("the state is that of other functions");
    }
    let (keys, needs) = (&part.rows.columns()[..keys], over.keys.needs);
    let times = times(&part.rows, keys.len())?;
    let latest = times.iter().copied().max().unwrap_or(i64::MIN);
    let first = over
        .history
        .push_again(part.rows.clone(), latest, &part.kept)?;
    for (key, rows) in over.keys.groups_of(keys, count)? {
        over.keys.with(&key, |kept| {
            for row in rows {
                let (number, time) = (first + row as usize, times[row as usize]);
                kept.forget_before(time, &needs);
                kept.rows.push_back(KeptRow { number, time });
            }
        });
    }
    Ok(())
}

fn load_running(over: &mut Over, part: &Part, widths: &[usize]) -> Result<()> {
    let (keys, count) = (over.plan.keys.len(), part.rows.num_rows());
    if part.rows.num_columns() != keys + widths.iter().sum::<usize>() {
        return internal_err!("the state is that of other functions");
    }
    let (keys, states) = part.rows.columns().split_at(keys);
    for (key, rows) in over.keys.groups_of(keys, count)? {
        let mut running = begin_all(&over.functions)()?;
        if running.len() != widths.len() {
            return internal_err!("the state is that of other functions");
        }
        for row in rows {
            let mut states = states;
            for (accumulator, width) in running.iter_mut().zip(widths) {
                let (own, others) = states.split_at(*width);
                let own: Vec<ArrayRef> = own.iter().map(|it| it.slice(row as usize, 1)).collect();
                accumulator.merge_batch(&own)?;
                states = others;
            }
        }
        over.keys.with(&key, |kept| kept.running = running);
    }
    Ok(())
}

/// What is in a part.
pub(super) fn held(over: &Over, part: &Part) -> Result<Held> {
    if part.rows.num_columns() == 0 {
        return Ok(Held::Word);
    }
    Ok(match part.about()? {
        What::Pending => Held::Input(0),
        What::Kept | What::Running(_) => {
            Held::Keyed(part.rows.columns()[..over.plan.keys.len()].to_vec())
        }
    })
}
