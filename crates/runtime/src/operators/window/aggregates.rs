//! The functions of an aggregate and their accumulators, one for each, which hold the state of many groups.

use std::sync::Arc;

use arrow::array::ArrayRef;
use datafusion::common::{Result, not_impl_err};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use headwater_planner::plan::{Aggregate, heeds_order};

use super::input::Columns;

/// The functions.
#[derive(Clone)]
pub(in crate::operators) struct Functions(Arc<[Arc<AggregateFunctionExpr>]>);

/// Refuses a function that must have its rows in an order, which a stream has not.
pub(in crate::operators) fn check_order(function: &AggregateFunctionExpr) -> Result<()> {
    if !heeds_order(function) {
        let name = function.fun().name();
        return not_impl_err!("'{name}' cannot heed ORDER BY in a stream");
    }
    Ok(())
}

/// The state of all functions for groups that are numbered from 0.
pub(in crate::operators) struct Accumulators(Vec<Box<dyn GroupsAccumulator>>);

/// The states of some groups, as columns: of each function, those that it merges.
pub(in crate::operators) type States = Vec<Vec<ArrayRef>>;

impl Functions {
    /// # Errors
    /// If a function must have its rows in an order, which a stream has not.
    pub(in crate::operators) fn new(aggregates: &[Aggregate]) -> Result<Self> {
        let functions = aggregates.iter().map(|aggregate| {
            check_order(&aggregate.function)?;
            Ok(Arc::clone(&aggregate.function))
        });
        Ok(Self(functions.collect::<Result<_>>()?))
    }

    pub(in crate::operators) fn len(&self) -> usize {
        self.0.len()
    }

    pub(in crate::operators) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Accumulators without groups.
    pub(in crate::operators) fn accumulators(&self) -> Result<Accumulators> {
        let accumulators = self.0.iter().map(|function| {
            if function.groups_accumulator_supported() {
                return function.create_groups_accumulator();
            }
            let function = Arc::clone(function);
            let adapter = GroupsAccumulatorAdapter::new(move || function.create_accumulator());
            Ok(Box::new(adapter) as _)
        });
        Ok(Accumulators(accumulators.collect::<Result<_>>()?))
    }

    /// How many columns the states of each function are.
    pub(super) fn state_columns(&self) -> Result<Vec<usize>> {
        let states = self
            .0
            .iter()
            .map(|function| Ok(function.state_fields()?.len()));
        states.collect()
    }

    /// Whether the state of each group is an object of its own, so that closing takes its time.
    pub(in crate::operators) fn are_slow(&self) -> bool {
        let mut functions = self.0.iter();
        functions.any(|function| !function.groups_accumulator_supported())
    }
}

impl Accumulators {
    /// Takes rows, each into the group that `groups` says.
    pub(in crate::operators) fn update(
        &mut self,
        columns: &Columns,
        groups: &[usize],
        total: usize,
    ) -> Result<()> {
        let accumulators = self.0.iter_mut().zip(&columns.arguments);
        for (accumulator, arguments) in accumulators {
            let filter = arguments.filter.as_ref();
            accumulator.update_batch(&arguments.values, groups, filter, total)?;
        }
        Ok(())
    }

    /// Takes states, each into the group that `groups` says.
    pub(in crate::operators) fn merge(
        &mut self,
        states: &[Vec<ArrayRef>],
        groups: &[usize],
        total: usize,
    ) -> Result<()> {
        for (accumulator, state) in self.0.iter_mut().zip(states) {
            accumulator.merge_batch(state, groups, total)?;
        }
        Ok(())
    }

    /// Gives the states of all groups away.
    pub(in crate::operators) fn states(&mut self) -> Result<States> {
        let accumulators = self.0.iter_mut();
        accumulators
            .map(|accumulator| accumulator.state(EmitTo::All))
            .collect()
    }

    /// Gives the results of the first groups away; those behind them move up.
    pub(in crate::operators) fn results(&mut self, groups: EmitTo) -> Result<Vec<ArrayRef>> {
        let accumulators = self.0.iter_mut();
        accumulators
            .map(|accumulator| accumulator.evaluate(groups))
            .collect()
    }

    pub(in crate::operators) fn size(&self) -> usize {
        self.0.iter().map(|accumulator| accumulator.size()).sum()
    }
}
