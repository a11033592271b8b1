//! A compiled query → the nodes of a dataflow.
//!
//! DataFusion's operators are walked from the leaf up. Steps that look at one batch at a time are gathered and become
//! one `Chain` where a union, a sink or the terminal needs them as a node. A table that several queries read is one
//! source; a table that several queries write is one sink behind a union.

mod exclusive;
mod values;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, cast};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::{InterleaveExec, UnionExec};
use datafusion::physical_plan::unnest::UnnestExec;
use headwater_connector::{Connection, Registry};

use crate::dead_letter::{Letters, Route, has_letters_above};
use crate::error::PlanError;
use crate::overflow;
use crate::plan::{Node, NodeId, Plan, PlanOperator, Step};
use crate::source::SourceExec;
use crate::stream::StreamExec;
use crate::unsupported::{DEPTH_HINT, DEPTH_MAX};

/// A dataflow that grows by one query at a time.
#[derive(Default)]
pub(crate) struct Dataflow {
    plan: Plan,
    sources: HashMap<String, NodeId>,
    sinks: Vec<Writes>,
    previews: usize,
    /// How many nodes of a kind there are for a target, for their names.
    named: HashMap<String, usize>,
}

/// A table that is written, or what stands for one, and the id of its node.
#[derive(Debug, Clone)]
pub(crate) struct Sink {
    pub(crate) connection: Arc<Connection>,
    pub(crate) id: String,
}

impl Sink {
    /// The sink that is a table of the catalog.
    pub(crate) fn of(connection: &Arc<Connection>) -> Self {
        Self {
            connection: Arc::clone(connection),
            id: format!("sink_{}", connection.name),
        }
    }
}

/// All that is written to one sink.
struct Writes {
    sink: Sink,
    inputs: Vec<NodeId>,
}

/// Rows on their way: the last node, and the steps that are not a node yet.
struct Rows {
    node: NodeId,
    steps: Vec<Step>,
    schema: SchemaRef,
}

impl Dataflow {
    /// Adds a query that writes a table.
    ///
    /// # Errors
    /// An operator that the runtime does not have.
    pub(crate) fn write(
        &mut self,
        connection: &Arc<Connection>,
        query: &Arc<dyn ExecutionPlan>,
    ) -> Result<(), PlanError> {
        let rows = self.rows(query, &connection.name)?;
        let wanted = connection.config.schema.arrow_schema();
        let rows = renamed_to(rows, &wanted)?;
        let input = self.node(rows, &connection.name);
        self.add_write(Sink::of(connection), input);
        Ok(())
    }

    fn add_write(&mut self, sink: Sink, input: NodeId) {
        match self
            .sinks
            .iter_mut()
            .find(|writes| writes.sink.id == sink.id)
        {
            Some(writes) => writes.inputs.push(input),
            None => self.sinks.push(Writes {
                sink,
                inputs: vec![input],
            }),
        }
    }

    /// Adds a query whose rows are shown.
    ///
    /// # Errors
    /// An operator that the runtime does not have.
    pub(crate) fn preview(&mut self, query: &Arc<dyn ExecutionPlan>) -> Result<(), PlanError> {
        let id = format!("preview_{}", self.previews);
        self.previews += 1;
        let rows = self.rows(query, &id)?;
        let schema = Arc::clone(&rows.schema);
        let input = self.node(rows, &id);
        self.push(id, PlanOperator::Preview, vec![input], schema);
        Ok(())
    }

    /// The whole dataflow, unless it is empty. `dead_letters` tells the sink for the dead letters of a table.
    ///
    /// # Errors
    /// Those of `dead_letters`, and a sink of dead letters that would destroy what another table reads or writes.
    pub(crate) fn finish(
        mut self,
        registry: &Registry,
        dead_letters: impl FnMut(&Connection) -> Result<Sink, PlanError>,
    ) -> Result<Option<Plan>, PlanError> {
        let mut route = Route::new(dead_letters);
        for id in 0..self.plan.nodes.len() {
            route.node(&self.plan, NodeId(id))?;
        }
        for writes in &self.sinks {
            route.table(&writes.sink.connection)?;
        }
        // a sink of dead letters comes after all that may have some
        let takes = |writes: &Writes| route.takes(&writes.sink);
        let (last, first): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.sinks).into_iter().partition(takes);
        for writes in first {
            let id = self.push_sink(writes);
            route.node(&self.plan, id)?;
        }
        self.sinks = last;
        for Letters { node, table, sink } in route.letters {
            let id = format!("bad_data_{}", self.plan.nodes[node.0].id);
            let schema = sink.connection.config.schema.arrow_schema();
            let letters = PlanOperator::DeadLetters { table };
            let letters = self.push(id, letters, vec![node], schema);
            self.add_write(sink, letters);
        }
        self.check_exclusive(registry)?;
        for writes in std::mem::take(&mut self.sinks) {
            self.push_sink(writes);
        }
        Ok((!self.plan.nodes.is_empty()).then_some(self.plan))
    }

    fn push_sink(&mut self, writes: Writes) -> NodeId {
        let Writes { sink, inputs } = writes;
        let schema = self.schema_of(&inputs);
        let input = match inputs.as_slice() {
            [only] => *only,
            _ => self.union(inputs, &sink.connection.name, Arc::clone(&schema)),
        };
        let operator = PlanOperator::Sink(sink.connection);
        self.push(sink.id, operator, vec![input], schema)
    }

    /// Walks a compiled query; `target` names the nodes that come of it.
    fn rows(&mut self, query: &Arc<dyn ExecutionPlan>, target: &str) -> Result<Rows, PlanError> {
        if let Some(scan) = query.downcast_ref::<SourceExec>() {
            return Ok(self.scan(scan));
        }
        if let Some(values) = values::values(query)? {
            return Ok(self.values(values, target));
        }
        if let Some(stream) = query.downcast_ref::<StreamExec>() {
            return self.stream(stream, target);
        }
        if query.is::<UnionExec>() || query.is::<InterleaveExec>() {
            return self.merged(query, target);
        }
        let children = query.children();
        let [child] = children.as_slice() else {
            return Err(not_runnable(query));
        };
        if query.is::<CooperativeExec>() || query.is::<CoalescePartitionsExec>() {
            return self.rows(child, target);
        }
        let step = step(query)?;
        let mut rows = self.rows(child, target)?;
        rows.steps.push(step);
        rows.schema = query.schema();
        Ok(rows)
    }

    fn scan(&mut self, scan: &SourceExec) -> Rows {
        let connection = &scan.connection;
        let node = match self.sources.get(&connection.name) {
            Some(node) => *node,
            None => {
                let schema = connection.config.schema.arrow_schema();
                let source = PlanOperator::Source(Arc::clone(connection));
                let id = format!("source_{}", connection.name);
                let node = self.push(id, source, Vec::new(), schema);
                self.sources.insert(connection.name.clone(), node);
                node
            }
        };
        Rows {
            node,
            steps: scan.projection.iter().cloned().map(Step::Columns).collect(),
            schema: scan.schema(),
        }
    }

    /// A node of its own, behind exchanges if it wants its rows brought together.
    fn stream(&mut self, stream: &StreamExec, target: &str) -> Result<Rows, PlanError> {
        let mut inputs = Vec::with_capacity(stream.inputs.len());
        for (index, input) in stream.inputs.iter().enumerate() {
            let rows = self.rows(input, target)?;
            let schema = Arc::clone(&rows.schema);
            let mut input = self.node(rows, target);
            if let Some(keys) = stream.exchange.as_ref().and_then(|by| by.get(index)) {
                input = self.partial(stream, input, target);
                let id = self.name("exchange", target);
                let exchange = PlanOperator::Exchange(keys.clone());
                input = self.push(id, exchange, vec![input], schema);
            }
            inputs.push(input);
        }
        let id = self.name(stream_kind(&stream.operator), target);
        let schema = stream.schema();
        Ok(Rows {
            node: self.push(id, stream.operator.clone(), inputs, Arc::clone(&schema)),
            steps: Vec::new(),
            schema,
        })
    }

    /// A node that makes groups of rows before they are exchanged, where that may pay. Late rows that become dead letters are wanted
    /// as they were.
    fn partial(&mut self, stream: &StreamExec, input: NodeId, target: &str) -> NodeId {
        match &stream.operator {
            PlanOperator::WindowAggregate(by)
                if by.has_small_states() && !has_letters_above(&self.plan, input) =>
            {
                let id = self.name("partial", target);
                let operator = PlanOperator::PartialWindowAggregate(Arc::clone(by));
                let schema = Arc::clone(&self.plan.nodes[input.0].schema);
                self.push(id, operator, vec![input], schema)
            }
            _ => input,
        }
    }

    fn values(&mut self, values: RecordBatch, target: &str) -> Rows {
        let schema = values.schema();
        let id = self.name("values", target);
        let operator = PlanOperator::Values(values);
        Rows {
            node: self.push(id, operator, Vec::new(), Arc::clone(&schema)),
            steps: Vec::new(),
            schema,
        }
    }

    fn merged(&mut self, query: &Arc<dyn ExecutionPlan>, target: &str) -> Result<Rows, PlanError> {
        let schema = query.schema();
        let mut inputs = Vec::new();
        let mut children = query.children();
        if !children.iter().all(|child| values::is_empty(child)) {
            children.retain(|child| !values::is_empty(child));
        }
        for child in children {
            let rows = renamed_to(self.rows(child, target)?, &schema)?;
            inputs.push(self.node(rows, target));
        }
        Ok(Rows {
            node: self.union(inputs, target, Arc::clone(&schema)),
            steps: Vec::new(),
            schema,
        })
    }

    /// Makes a node of the steps, if there are any.
    fn node(&mut self, rows: Rows, target: &str) -> NodeId {
        if rows.steps.is_empty() {
            return rows.node;
        }
        let id = self.name("chain", target);
        self.push(
            id,
            PlanOperator::Chain(rows.steps),
            vec![rows.node],
            rows.schema,
        )
    }

    fn union(&mut self, inputs: Vec<NodeId>, target: &str, schema: SchemaRef) -> NodeId {
        let id = self.name("union", target);
        self.push(id, PlanOperator::Union, inputs, schema)
    }

    fn push(
        &mut self,
        id: String,
        operator: PlanOperator,
        inputs: Vec<NodeId>,
        schema: SchemaRef,
    ) -> NodeId {
        self.plan.nodes.push(Node {
            id,
            operator,
            inputs,
            schema,
        });
        NodeId(self.plan.nodes.len() - 1)
    }

    /// The next name of a kind for a target: `chain_alerts_0`, `chain_alerts_1`.
    fn name(&mut self, kind: &str, target: &str) -> String {
        let prefix = format!("{kind}_{target}");
        let count = self.named.entry(prefix.clone()).or_default();
        *count += 1;
        format!("{prefix}_{}", *count - 1)
    }

    /// The schema of the rows that several nodes put out together.
    fn schema_of(&self, inputs: &[NodeId]) -> SchemaRef {
        let mut schemas = inputs.iter().map(|id| &self.plan.nodes[id.0].schema);
        let first = schemas
            .next()
            .map(Arc::clone)
            .unwrap_or_else(|| Arc::new(Schema::empty()));
        schemas.fold(first, |merged, schema| {
            let fields = merged.fields().iter().zip(schema.fields());
            let fields = fields.map(|(one, other)| {
                let nullable = one.is_nullable() || other.is_nullable();
                one.as_ref().clone().with_nullable(nullable)
            });
            Arc::new(Schema::new(fields.collect::<Vec<_>>()))
        })
    }
}

/// What the node of an operator is called.
fn stream_kind(operator: &PlanOperator) -> &'static str {
    match operator {
        PlanOperator::Lookup(_) | PlanOperator::MemoryLookup(_) => "lookup",
        PlanOperator::Watermark(_) => "watermark",
        PlanOperator::WindowAggregate(_) => "window",
        PlanOperator::Instant(_) => "instant",
        PlanOperator::Over(_) => "over",
        PlanOperator::TtlJoin(_) | PlanOperator::UpdatingJoin(_) => "join",
        PlanOperator::UpdatingAggregate(_) => "aggregate",
        _ => "operator",
    }
}

/// Refuses expressions whose evaluation could exhaust a stack, which views upon views can make. Does not recurse itself.
fn check_depth(expr: &Arc<dyn PhysicalExpr>) -> Result<(), PlanError> {
    let mut open = vec![(expr, 1)];
    while let Some((expr, depth)) = open.pop() {
        if depth > DEPTH_MAX {
            let message = format!("an expression is nested more than {DEPTH_MAX} levels deep");
            return Err(PlanError::new(message).hint(DEPTH_HINT));
        }
        open.extend(expr.children().into_iter().map(|child| (child, depth + 1)));
    }
    Ok(())
}

/// One operator of DataFusion as one step of a chain.
fn step(query: &Arc<dyn ExecutionPlan>) -> Result<Step, PlanError> {
    if let Some(filter) = query.downcast_ref::<FilterExec>() {
        if filter.fetch().is_some() {
            return Err(not_runnable(query));
        }
        check_depth(filter.predicate())?;
        return Ok(Step::Filter {
            predicate: checked(filter.predicate(), &filter.input().schema())?,
            projection: filter.projection().as_ref().map(|columns| columns.to_vec()),
        });
    }
    if let Some(projection) = query.downcast_ref::<ProjectionExec>() {
        let exprs = projection.expr().iter();
        exprs
            .clone()
            .try_for_each(|column| check_depth(&column.expr))?;
        return Ok(Step::Project {
            exprs: exprs
                .map(|column| checked(&column.expr, &projection.input().schema()))
                .collect::<Result<_, _>>()?,
            schema: query.schema(),
        });
    }
    if query.is::<UnnestExec>() {
        // The downcast of an `Arc` needs `Any`, which a plan is only behind its trait.
        let any: Arc<dyn std::any::Any + Send + Sync> = Arc::clone(query) as _;
        if let Ok(unnest) = any.downcast::<UnnestExec>() {
            return Ok(Step::Unnest(unnest));
        }
    }
    Err(not_runnable(query))
}

fn checked(
    expr: &Arc<dyn PhysicalExpr>,
    input: &Schema,
) -> Result<Arc<dyn PhysicalExpr>, PlanError> {
    let checked = overflow::checked(Arc::clone(expr), input);
    checked.map_err(|error| PlanError::new(error.strip_backtrace()))
}

/// Gives rows the names and types of a schema, column by column.
///
/// # Errors
/// A type that cannot be cast.
fn renamed_to(mut rows: Rows, wanted: &SchemaRef) -> Result<Rows, PlanError> {
    let same = |(given, wanted): (&FieldRef, &FieldRef)| {
        given.name() == wanted.name() && given.data_type() == wanted.data_type()
    };
    let given = rows.schema.fields();
    if given.iter().zip(wanted.fields()).all(same) {
        return Ok(rows);
    }
    let mut exprs = Vec::with_capacity(given.len());
    let mut fields = Vec::with_capacity(given.len());
    for (index, (given, wanted)) in given.iter().zip(wanted.fields()).enumerate() {
        let column = Arc::new(Column::new(given.name(), index));
        let column = cast(column, &rows.schema, wanted.data_type().clone());
        exprs.push(column.map_err(|error| PlanError::new(error.strip_backtrace()))?);
        let nullable = given.is_nullable() || wanted.is_nullable();
        fields.push(wanted.as_ref().clone().with_nullable(nullable));
    }
    let schema = Arc::new(Schema::new(fields));
    rows.steps.push(Step::Project {
        exprs,
        schema: Arc::clone(&schema),
    });
    rows.schema = schema;
    Ok(rows)
}

/// The safety net below `unsupported`: says in the user's words what cannot be run.
fn not_runnable(query: &Arc<dyn ExecutionPlan>) -> PlanError {
    if query.is::<EmptyExec>() {
        return PlanError::new("the condition is never true: the query can give no rows")
            .hint("look for a contradiction in WHERE");
    }
    let name = query.name().trim_end_matches("Exec");
    PlanError::new(format!(
        "the query needs the operator {name}, which this version cannot run yet"
    ))
}
