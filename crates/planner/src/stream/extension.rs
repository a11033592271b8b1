//! Compiles the nodes of a stream: their expressions become physical ones.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, Result, internal_err};
use datafusion::error::DataFusionError;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::expr::NullTreatment;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, LogicalPlan, UserDefinedLogicalNode, WindowFunctionDefinition,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregateBuilder};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::windows::create_udwf_window_expr;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use super::constant::rows_of;
use super::exec::StreamExec;
use super::instant::InstantLeaf;
use super::lookup::Table;
use super::memory::MemoryLookupNode;
use super::node::{EventTimeNode, Kind, StreamNode};
use crate::error::PlanError;
use crate::overflow;
use crate::plan::{
    Aggregate, CHANGE, EventTime, Frame, Instant, InstantInput, Lookup, LookupTable, MemoryLookup,
    Over, OverCall, OverFunction, Pairing, PlanOperator, TtlJoin, UpdatingAggregate, UpdatingJoin,
    Watermark, Window, WindowAggregate, heeds_order,
};
use crate::source::SourceExec;

/// DataFusion's planner, extended by our nodes.
#[derive(Debug)]
pub(crate) struct StreamPlanner;

#[async_trait]
impl QueryPlanner for StreamPlanner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(Nodes)]);
        planner.create_physical_plan(plan, session).await
    }
}

struct Nodes;

#[async_trait]
impl ExtensionPlanner for Nodes {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(leaf) = node.as_any().downcast_ref::<InstantLeaf>() {
            let schema = Arc::clone(node.schema().inner());
            return Ok(Some(Arc::new(InstantInput::new(leaf.index, schema))));
        }
        let Some(node) = node.as_any().downcast_ref::<StreamNode>() else {
            return Ok(None);
        };
        let compiler = Compiler {
            planner,
            session,
            context,
            inputs: physical_inputs,
        };
        let schemas: Vec<_> = logical_inputs
            .iter()
            .map(|input| input.schema().as_ref())
            .collect();
        let (operator, exchange) = compiler.operator(node, &schemas).await?;
        let schema = Arc::clone(node.schema_ref().inner());
        let exec = StreamExec::new(operator, exchange, physical_inputs.to_vec(), schema);
        Ok(Some(Arc::new(exec)))
    }
}

/// Keys of each input.
type Keys = Vec<Vec<Arc<dyn PhysicalExpr>>>;

/// What the inputs of an operator are exchanged by.
type Exchange = Option<Keys>;

/// The last column of an input, which is its time.
fn last(input: &DFSchema) -> usize {
    input.fields().len() - 1
}

/// The column of an input that says what its rows do, if they change: the one before its time.
fn change(input: &DFSchema) -> Option<usize> {
    let before = last(input).checked_sub(1)?;
    (input.field(before).name() == CHANGE).then_some(before)
}

struct Compiler<'a> {
    planner: &'a dyn PhysicalPlanner,
    session: &'a dyn Session,
    context: &'a PhysicalPlanningContext,
    inputs: &'a [Arc<dyn ExecutionPlan>],
}

impl Compiler<'_> {
    async fn operator(
        &self,
        node: &StreamNode,
        inputs: &[&DFSchema],
    ) -> Result<(PlanOperator, Exchange)> {
        match &node.kind {
            Kind::EventTime(event_time) => {
                let watermark = self.watermark(event_time, &node.exprs, inputs[0])?;
                Ok((PlanOperator::Watermark(Arc::new(watermark)), None))
            }
            Kind::WindowAggregate { window, keys, .. } => {
                let aggregate = self.window_aggregate(*window, *keys, &node.exprs, inputs[0])?;
                let exchange = Some(vec![aggregate.keys.clone()]);
                let operator = PlanOperator::WindowAggregate(Arc::new(aggregate));
                Ok((operator, exchange))
            }
            Kind::Lookup(lookup) => {
                let output = node.schema_ref();
                let filter = lookup.filter.as_ref();
                let filter = filter.map(|filter| self.expression(filter, output));
                let keys = node.exprs.iter().map(|key| self.expression(key, inputs[0]));
                let lookup = Lookup {
                    table: match &lookup.table {
                        Table::Memory(_) => {
                            return internal_err!("a lookup in memory has no second input");
                        }
                        Table::Connected(table) => LookupTable::Connected(Arc::clone(table)),
                        Table::Constant(rows) => {
                            LookupTable::Constant(rows_of(rows, self.session).await?)
                        }
                    },
                    pairing: Pairing {
                        keys: keys.collect::<Result<_>>()?,
                        columns: lookup.equal.clone(),
                        filter: filter.transpose()?,
                        outer: lookup.outer,
                        timed: lookup.timed,
                    },
                };
                Ok((PlanOperator::Lookup(Arc::new(lookup)), None))
            }
            Kind::Memory(_) => internal_err!("a memory table is not what writes it"),
            Kind::MemoryLookup(lookup) => {
                let keys = self.keys(&node.exprs, inputs)?;
                let lookup = self.memory_lookup(lookup, node, &keys, inputs)?;
                Ok((PlanOperator::MemoryLookup(Arc::new(lookup)), Some(keys)))
            }
            Kind::UpdatingAggregate {
                keys,
                functions,
                ttl,
            } => {
                let split = (*keys, *functions);
                let aggregate = self.updating_aggregate(split, *ttl, &node.exprs, inputs[0])?;
                let exchange = Some(vec![aggregate.keys.clone()]);
                let operator = PlanOperator::UpdatingAggregate(Arc::new(aggregate));
                Ok((operator, exchange))
            }
            Kind::Instant(query) => {
                let instant = Instant {
                    plan: overflow::checked_joins(self.session.create_physical_plan(query).await?)?,
                    times: inputs.iter().map(|input| last(input)).collect(),
                };
                let exchange = Some(self.keys(&node.exprs, inputs)?);
                Ok((PlanOperator::Instant(Arc::new(instant)), exchange))
            }
            Kind::Over { keys, frames, ttl } => {
                let over = self.over((*keys, frames), *ttl, &node.exprs, inputs[0])?;
                let exchange = Some(vec![over.keys.clone()]);
                Ok((PlanOperator::Over(Arc::new(over)), exchange))
            }
            Kind::TtlJoin(ttl) => {
                let keys = self.keys(&node.exprs, inputs)?;
                let join = self.ttl_join(*ttl, &keys, inputs)?;
                Ok((PlanOperator::TtlJoin(Arc::new(join)), Some(keys)))
            }
            Kind::UpdatingJoin { preserved, ttl } => {
                let keys = self.keys(&node.exprs, inputs)?;
                let TtlJoin { on, times, ttl } = self.ttl_join(*ttl, &keys, inputs)?;
                let join = UpdatingJoin {
                    changes: [0, 1].map(|side| change(inputs[side])),
                    preserved: *preserved,
                    on,
                    times,
                    ttl,
                };
                Ok((PlanOperator::UpdatingJoin(Arc::new(join)), Some(keys)))
            }
        }
    }

    /// The expressions of a node as keys of its inputs, as many of each.
    fn keys(&self, exprs: &[Expr], inputs: &[&DFSchema]) -> Result<Keys> {
        let each = exprs.len() / inputs.len();
        let of_input = inputs.iter().enumerate().map(|(index, input)| {
            let keys = exprs[index * each..][..each].iter();
            keys.map(|key| self.expression(key, input)).collect()
        });
        of_input.collect()
    }

    fn ttl_join(&self, ttl: Duration, keys: &Keys, inputs: &[&DFSchema]) -> Result<TtlJoin> {
        let ([left, right], [left_keys, right_keys]) = (inputs, keys.as_slice()) else {
            return internal_err!("a join has two sides");
        };
        let on = left_keys.iter().cloned().zip(right_keys.iter().cloned());
        Ok(TtlJoin {
            on: on.collect(),
            times: [last(left), last(right)],
            ttl,
        })
    }

    fn memory_lookup(
        &self,
        lookup: &MemoryLookupNode,
        node: &StreamNode,
        keys: &Keys,
        inputs: &[&DFSchema],
    ) -> Result<MemoryLookup> {
        let ([of_stream, of_table], [_, table]) = (keys.as_slice(), inputs) else {
            return internal_err!("a lookup in memory has two inputs");
        };
        let columns = of_table.iter().map(index_of);
        let change = change(table);
        let seen: Vec<usize> = (0..change.unwrap_or_else(|| last(table))).collect();
        let output = node.schema_ref();
        let filter = lookup.filter.as_ref();
        let filter = filter.map(|filter| self.expression(filter, output));
        Ok(MemoryLookup {
            table: lookup.table.clone(),
            schema: Arc::new(table.as_arrow().project(&seen)?),
            pairing: Pairing {
                keys: of_stream.clone(),
                columns: columns.collect::<Result<_>>()?,
                filter: filter.transpose()?,
                outer: lookup.outer,
                timed: true,
            },
            change,
            waits: self.inputs.get(1).is_some_and(ends),
        })
    }

    fn watermark(
        &self,
        node: &EventTimeNode,
        exprs: &[Expr],
        input: &DFSchema,
    ) -> Result<Watermark> {
        let time = match exprs {
            [] => EventTime::Arrival { delay: node.delay },
            [time, watermark] => EventTime::Value {
                time: self.expression(time, input)?,
                watermark: self.expression(watermark, input)?,
            },
            _ => return internal_err!("an event time has two expressions"),
        };
        Ok(Watermark {
            time,
            idle: node.idle,
            table: node.table.clone(),
        })
    }

    fn window_aggregate(
        &self,
        window: Window,
        keys: usize,
        exprs: &[Expr],
        input: &DFSchema,
    ) -> Result<WindowAggregate> {
        let (keys, rest) = exprs.split_at(keys);
        let Some((time, aggregates)) = rest.split_last() else {
            return internal_err!("an aggregate by windows has a time");
        };
        let keys = keys.iter().map(|key| self.expression(key, input));
        let aggregates = aggregates
            .iter()
            .map(|aggregate| self.aggregate(aggregate, input));
        Ok(WindowAggregate {
            window,
            time: self.column(time, input)?,
            keys: keys.collect::<Result<_>>()?,
            aggregates: aggregates.collect::<Result<_>>()?,
        })
    }

    fn updating_aggregate(
        &self,
        (keys, functions): (usize, usize),
        ttl: Duration,
        exprs: &[Expr],
        input: &DFSchema,
    ) -> Result<UpdatingAggregate> {
        let (keys, rest) = exprs.split_at(keys);
        let (functions, hidden) = rest.split_at(functions);
        let (change, time) = match hidden {
            [time] => (None, time),
            [change, time] => (Some(change), time),
            _ => return internal_err!("an aggregate has a time"),
        };
        let keys = keys.iter().map(|key| self.expression(key, input));
        let functions = functions.iter();
        let functions = functions.map(|function| self.aggregate(function, input));
        Ok(UpdatingAggregate {
            keys: keys.collect::<Result<_>>()?,
            aggregates: functions.collect::<Result<_>>()?,
            time: self.column(time, input)?,
            change: change
                .map(|change| self.column(change, input))
                .transpose()?,
            ttl,
        })
    }

    fn over(
        &self,
        (keys, frames): (usize, &[Frame]),
        ttl: Duration,
        exprs: &[Expr],
        input: &DFSchema,
    ) -> Result<Over> {
        let (keys, rest) = exprs.split_at(keys);
        let Some((time, calls)) = rest.split_last() else {
            return internal_err!("functions over rows have a time");
        };
        let keys = keys.iter().map(|key| self.expression(key, input));
        let functions = calls.iter().zip(frames).map(|(call, frame)| {
            Ok(OverFunction {
                call: self.over_call(call, input)?,
                frame: *frame,
            })
        });
        Ok(Over {
            keys: keys.collect::<Result<_>>()?,
            functions: functions.collect::<Result<_>>()?,
            time: self.column(time, input)?,
            ttl,
        })
    }

    fn over_call(&self, call: &Expr, input: &DFSchema) -> Result<OverCall> {
        let window = match call {
            Expr::Alias(alias) => return self.over_call(&alias.expr, input),
            Expr::WindowFunction(window) => window,
            aggregate => return self.aggregate(aggregate, input).map(OverCall::Aggregate),
        };
        let WindowFunctionDefinition::WindowUDF(function) = &window.fun else {
            return internal_err!("{call} is not computed as an aggregate");
        };
        let args = window.params.args.iter();
        let args = args.map(|arg| self.expression(arg, input));
        let args = args.collect::<Result<Vec<_>>>()?;
        let name = function.name().to_owned();
        let ignore_nulls = window.params.null_treatment == Some(NullTreatment::IgnoreNulls);
        let schema = input.as_arrow();
        let call = create_udwf_window_expr(function, &args, schema, name, ignore_nulls)?;
        Ok(OverCall::Window(call))
    }

    fn aggregate(&self, expr: &Expr, input: &DFSchema) -> Result<Aggregate> {
        let schema = input.as_arrow();
        let properties = self.session.execution_props();
        let lowered =
            LoweredAggregateBuilder::new(expr, input, schema, properties, self.context).build()?;
        if !heeds_order(&lowered.aggregate) {
            let name = lowered.aggregate.fun().name();
            let error = PlanError::new(format!("'{name}' cannot heed an ORDER BY")).about(name);
            let hint = "array_agg, string_agg, first_value and last_value can";
            return Err(error.hint(hint).into());
        }
        can_be_computed(&lowered.aggregate)?;
        Ok(Aggregate {
            function: lowered.aggregate,
            filter: lowered.filter,
        })
    }

    fn expression(&self, expr: &Expr, input: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
        let planner = self.planner;
        let physical = planner.create_physical_expr(expr, input, self.session, self.context)?;
        overflow::checked(physical, input.as_arrow())
    }

    fn column(&self, expr: &Expr, input: &DFSchema) -> Result<usize> {
        index_of(&self.expression(expr, input)?)
    }
}

/// Whether there is a function for these arguments, which DataFusion knows of some only when they are computed.
fn can_be_computed(function: &AggregateFunctionExpr) -> Result<()> {
    let name = function.fun().name();
    let refused = |error: DataFusionError| {
        let reason = error.strip_backtrace();
        PlanError::new(format!("'{name}' cannot be computed: {reason}")).about(name)
    };
    function.create_accumulator().map_err(refused)?;
    Ok(())
}

fn index_of(expr: &Arc<dyn PhysicalExpr>) -> Result<usize> {
    match expr.downcast_ref::<Column>() {
        Some(column) => Ok(column.index()),
        None => internal_err!("{expr} is not a column"),
    }
}

/// Whether the rows of a plan end by themselves. A lookup in memory ends with its stream.
fn ends(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if let Some(source) = plan.downcast_ref::<SourceExec>() {
        return source.ends;
    }
    match plan.downcast_ref::<StreamExec>() {
        Some(StreamExec {
            operator: PlanOperator::MemoryLookup(_),
            inputs,
            ..
        }) => inputs.first().is_some_and(ends),
        _ => plan.children().into_iter().all(ends),
    }
}
