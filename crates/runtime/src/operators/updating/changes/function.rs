//! One aggregate function, and what a group keeps for it.
//!
//! DataFusion's accumulators are made to be read once, at the end. Here they are read again and again, and rows are taken
//! back in any order, so there are two kinds:
//!
//! * those that can be read and go on, and forget exactly what they were told: `count`, and `sum` and `avg` of what is no
//!   float. A float would leave its rounding behind, and NaN never goes;
//! * all others: the values are kept, with how often they are there, and read anew each time.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::row::{RowConverter, SortField};
use datafusion::common::cast::as_boolean_array;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use headwater_planner::plan::Aggregate;

use super::values::{self, Counts};
use crate::operators::window::{arguments, check_order};

/// How many values a function is told at once when it reads all of them anew.
const READ_ROWS: usize = 8_192;

/// A function with its arguments.
pub(super) struct Function {
    function: Arc<AggregateFunctionExpr>,
    filter: Option<Arc<dyn PhysicalExpr>>,
    kind: Kind,
}

/// How a function is used.
enum Kind {
    /// Told to forget.
    Reversed,
    /// Begun anew from all values.
    Recomputed(RowConverter),
}

/// What a group keeps for a function.
pub(super) enum State {
    Accumulator(Box<dyn Accumulator>),
    /// The values that are there, in Arrow's row format, with how often.
    Values {
        counts: Counts,
        bytes: usize,
    },
}

/// The arguments of a function for the rows of a batch.
pub(super) struct Arguments {
    values: Vec<ArrayRef>,
    filter: Option<BooleanArray>,
}

impl Arguments {
    /// Those of some rows, without the ones that the filter leaves out; `None` if nothing remains.
    pub(super) fn of(&self, rows: &[u32]) -> Result<Option<Vec<ArrayRef>>> {
        let rows: UInt32Array = match &self.filter {
            None => rows.to_vec().into(),
            Some(filter) => {
                let rows = rows.iter().copied();
                let kept = rows.filter(|row| {
                    let row = *row as usize;
                    filter.is_valid(row) && filter.value(row)
                });
                kept.collect::<Vec<_>>().into()
            }
        };
        if rows.is_empty() {
            return Ok(None);
        }
        let values = self.values.iter().map(|values| take(values, &rows, None));
        Ok(Some(values.collect::<Result<_, _>>()?))
    }
}

impl Function {
    pub(super) fn new(aggregate: &Aggregate, input: &SchemaRef) -> Result<Self> {
        let function = &aggregate.function;
        check_order(function)?;
        let types = arguments(function).into_iter();
        let types = types.map(|argument| argument.data_type(input));
        let types = types.collect::<Result<Vec<_>>>()?;
        let exact = !types.iter().any(DataType::is_floating);
        let kind = match function.fun().name() {
            "count" if !function.is_distinct() => Kind::Reversed,
            "sum" | "avg" if exact && !function.is_distinct() => Kind::Reversed,
            _ => {
                let fields = types.into_iter().map(SortField::new);
                Kind::Recomputed(RowConverter::new(fields.collect())?)
            }
        };
        Ok(Self {
            function: Arc::clone(function),
            filter: aggregate.filter.clone(),
            kind,
        })
    }

    /// Without values.
    pub(super) fn state(&self) -> Result<State> {
        Ok(match self.kind {
            Kind::Reversed => State::Accumulator(self.function.create_sliding_accumulator()?),
            Kind::Recomputed(_) => State::Values {
                counts: Counts::new(),
                bytes: 0,
            },
        })
    }

    /// Null, of the type of its values.
    pub(super) fn nothing(&self) -> Result<ScalarValue> {
        ScalarValue::try_from(self.function.field().data_type())
    }

    /// What is kept, to be [loaded](Self::load) later; it stays as it is.
    pub(super) fn save(&self, state: &mut State) -> Result<Vec<ScalarValue>> {
        match state {
            State::Accumulator(accumulator) => {
                // some give their state away
                let saved = accumulator.state()?;
                let columns = saved.iter().map(|value| value.to_array_of_size(1));
                *state = self.load(&columns.collect::<Result<Vec<_>>>()?)?;
                Ok(saved)
            }
            State::Values { counts, .. } => Ok(vec![values::save(counts)]),
        }
    }

    /// What was saved, as columns of one row.
    pub(super) fn load(&self, saved: &[ArrayRef]) -> Result<State> {
        let mut state = self.state()?;
        match &mut state {
            State::Accumulator(accumulator) => accumulator.merge_batch(saved)?,
            State::Values { counts, bytes } => {
                *counts = values::load(saved)?;
                *bytes = counts.keys().map(|value| value.len()).sum();
            }
        }
        Ok(state)
    }

    /// The arguments for all rows of a batch.
    pub(super) fn arguments(&self, rows: &RecordBatch) -> Result<Arguments> {
        let count = rows.num_rows();
        let values = arguments(&self.function).into_iter();
        let values = values.map(|argument| argument.evaluate(rows)?.into_array(count));
        let filter = self.filter.as_ref().map(|filter| {
            let kept = filter.evaluate(rows)?.into_array(count)?;
            as_boolean_array(&kept).cloned()
        });
        Ok(Arguments {
            values: values.collect::<Result<_>>()?,
            filter: filter.transpose()?,
        })
    }

    pub(super) fn add(&self, state: &mut State, values: &[ArrayRef]) -> Result<()> {
        match (state, &self.kind) {
            (State::Accumulator(accumulator), _) => accumulator.update_batch(values),
            (State::Values { counts, bytes }, Kind::Recomputed(converter)) => {
                for value in &converter.convert_columns(values)? {
                    *counts.entry(value.data().into()).or_insert_with(|| {
                        *bytes += value.data().len();
                        0
                    }) += 1;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Takes values back. Those that are not there were sent before the time of the group was over.
    pub(super) fn retract(&self, state: &mut State, values: &[ArrayRef]) -> Result<()> {
        match (state, &self.kind) {
            (State::Accumulator(accumulator), _) => accumulator.retract_batch(values),
            (State::Values { counts, bytes }, Kind::Recomputed(converter)) => {
                for value in &converter.convert_columns(values)? {
                    let Some(count) = counts.get_mut(value.data()) else {
                        continue;
                    };
                    *count -= 1;
                    if *count == 0 {
                        *bytes -= value.data().len();
                        counts.remove(value.data());
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What the function says of the values now.
    pub(super) fn value(&self, state: &mut State) -> Result<ScalarValue> {
        match (state, &self.kind) {
            (State::Accumulator(accumulator), _) => accumulator.evaluate(),
            (State::Values { counts, .. }, kind) => {
                let mut read = self.function.create_accumulator()?;
                if let (Kind::Recomputed(converter), false) = (kind, counts.is_empty()) {
                    let parser = converter.parser();
                    let values = counts.iter().flat_map(|(value, count)| {
                        std::iter::repeat_n(parser.parse(value), *count as usize)
                    });
                    let mut values = values.peekable();
                    while values.peek().is_some() {
                        let piece = values.by_ref().take(READ_ROWS);
                        read.update_batch(&converter.convert_rows(piece)?)?;
                    }
                }
                read.evaluate()
            }
        }
    }
}

impl State {
    /// How much memory it takes, in bytes, roughly.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Accumulator(accumulator) => accumulator.size(),
            Self::Values { counts, bytes } => bytes + counts.len() * size_of::<(Box<[u8]>, u64)>(),
        }
    }
}
