//! The logical nodes that DataFusion does not have.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, TableReference, plan_err};
use datafusion::logical_expr::utils::exprlist_to_fields;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

use super::lookup::LookupNode;
use super::memory::{MemoryLookupNode, MemoryNode};
use super::updating::change_of;
use crate::functions::window_type;
use crate::plan::{Frame, TIME, Window, change_field, time_field};

/// A node of a stream: what it does, with which expressions, on which inputs. Its columns follow from the three.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct StreamNode {
    pub(crate) kind: Kind,
    pub(crate) exprs: Vec<Expr>,
    pub(crate) inputs: Vec<LogicalPlan>,
    schema: DFSchemaRef,
}

/// What a node does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Adds the event time. Expressions: none for the time of arrival, else the time and the watermark.
    EventTime(EventTimeNode),
    /// Looks rows up in a table. Expressions: the keys.
    Lookup(LookupNode),
    /// The rows of a memory table, which are its input.
    Memory(MemoryNode),
    /// Looks rows of the left up in a memory table, whose rows are the right. Expressions: the keys of the left, then those of the
    /// right.
    MemoryLookup(MemoryLookupNode),
    /// Aggregates by key and window. Expressions: the keys, the aggregates, the input's time.
    WindowAggregate {
        window: Window,
        /// The name of the window's column, unless the input has windows already, of which one key is the column.
        name: Option<String>,
        /// How many of the expressions are keys.
        keys: usize,
    },
    /// Aggregates by key that change. Expressions: the keys, the aggregates, the input's change if it has one, its time.
    UpdatingAggregate {
        /// How many of the expressions are keys.
        keys: usize,
        /// How many are aggregates.
        functions: usize,
        /// How long a group without new rows is kept.
        ttl: Duration,
    },
    /// A query over one window at a time, whose leaves are [`InstantLeaf`](super::instant::InstantLeaf)s. Expressions: what
    /// its inputs are exchanged by, as many of each.
    Instant(Arc<LogicalPlan>),
    /// Functions over the rows before each row. Expressions: the keys, the functions, the input's time.
    Over {
        /// How many of the expressions are keys.
        keys: usize,
        /// What each function looks at.
        frames: Vec<Frame>,
        /// How long what is kept by number is kept.
        ttl: Duration,
    },
    /// An inner join of rows that meet within this time. Expressions: the keys of the left, then those of the right.
    TtlJoin(Duration),
    /// A join of rows that meet within a time, with results that change. Expressions: the keys of the left, then those of the
    /// right.
    UpdatingJoin {
        /// Whether rows of the left, and of the right, come without a partner, too.
        preserved: [bool; 2],
        ttl: Duration,
    },
}

/// What is to be known of a table's event time beside its expressions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct EventTimeNode {
    /// The name of the table.
    pub(crate) table: String,
    /// How far the watermark of the time of arrival stays behind.
    pub(crate) delay: Duration,
    /// How long the table may be silent before others stop to wait for it.
    pub(crate) idle: Option<Duration>,
}

type Fields = Vec<(Option<TableReference>, FieldRef)>;

impl StreamNode {
    pub(crate) fn try_new(kind: Kind, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let fields = fields(&kind, &exprs, &inputs)?;
        let schema = DFSchema::new_with_metadata(fields, Default::default())?;
        Ok(Self {
            kind,
            exprs,
            inputs,
            schema: Arc::new(schema),
        })
    }

    /// A lookup on a stream that has its event time.
    pub(super) fn timed(&self, input: LogicalPlan) -> Result<Self> {
        let mut kind = self.kind.clone();
        if let Kind::Lookup(lookup) = &mut kind {
            lookup.timed = true;
        }
        Self::try_new(kind, self.exprs.clone(), vec![input])
    }

    /// The node as a part of DataFusion's plans.
    pub(crate) fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension {
            node: Arc::new(self),
        })
    }

    /// Its columns.
    pub(crate) fn schema_ref(&self) -> &DFSchemaRef {
        &self.schema
    }

    /// Which columns of each side are needed for some of the join's, beside the keys: those that users do not see always.
    fn join_columns(&self, output: &[usize]) -> Vec<Vec<usize>> {
        let mut first = 0;
        let sides = self.inputs.iter().map(|side| {
            let (count, seen) = (side.schema().fields().len(), seen(side).count());
            let own = first..first + seen;
            let needed = output.iter().filter(|column| own.contains(column));
            let needed = needed.map(|column| column - own.start).chain(seen..count);
            first = own.end;
            needed.collect()
        });
        sides.collect()
    }

    /// The same of a lookup in memory. Which row is taken back is known by all its columns.
    fn looked_up_columns(&self, lookup: &MemoryLookupNode, output: &[usize]) -> Vec<Vec<usize>> {
        let refs = lookup.filter.iter().flat_map(Expr::column_refs);
        let compared = refs.filter_map(|column| self.schema.maybe_index_of_column(column));
        let mut output: Vec<_> = output.iter().copied().chain(compared).collect();
        output.sort_unstable();
        output.dedup();
        let mut columns = self.join_columns(&output);
        if change_of(&self.inputs[1]).is_some() {
            columns[1] = (0..self.inputs[1].schema().fields().len()).collect();
        }
        columns
    }

    /// The node that a plan begins with, if it is one of ours.
    pub(crate) fn of(plan: &LogicalPlan) -> Option<&Self> {
        match plan {
            LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
            _ => None,
        }
    }

    /// A query without its nodes of some kinds, in whose place their first inputs come.
    pub(super) fn removed(query: LogicalPlan, of: impl Fn(&Kind) -> bool) -> Result<LogicalPlan> {
        let without = query.transform_up(|plan| match Self::of(&plan) {
            Some(node) if of(&node.kind) => Ok(Transformed::yes(node.inputs[0].clone())),
            _ => Ok(Transformed::no(plan)),
        });
        without.map(|without| without.data)
    }
}

fn fields(kind: &Kind, exprs: &[Expr], inputs: &[LogicalPlan]) -> Result<Fields> {
    let time = || (None, Arc::new(time_field()));
    match kind {
        Kind::EventTime(_) => {
            let input = inputs[0].schema().iter();
            let input = input.map(|(table, field)| (table.cloned(), Arc::clone(field)));
            Ok(input.chain([time()]).collect())
        }
        Kind::Memory(_) => {
            let rows = inputs[0].schema().iter();
            Ok(rows
                .map(|(table, field)| (table.cloned(), Arc::clone(field)))
                .collect())
        }
        Kind::MemoryLookup(lookup) => {
            let table =
                seen(&inputs[1]).map(|(table, field)| (table, missing(&field, lookup.outer)));
            Ok(without_time(&inputs[0])
                .chain(table)
                .chain([time()])
                .collect())
        }
        Kind::Lookup(lookup) => {
            let stream = inputs[0].schema().iter();
            let stream = stream.map(|(table, field)| (table.cloned(), Arc::clone(field)));
            let mut columns: Vec<_> = stream.collect();
            let time = lookup.timed.then(|| columns.pop()).flatten();
            Ok(columns
                .into_iter()
                .chain(lookup.fields())
                .chain(time)
                .collect())
        }
        Kind::WindowAggregate { name, .. } => {
            let window = name.as_deref().map(window_field);
            // The last expression is the input's time.
            let columns = exprlist_to_fields(&exprs[..exprs.len() - 1], &inputs[0])?;
            Ok(window.into_iter().chain(columns).chain([time()]).collect())
        }
        Kind::UpdatingAggregate {
            keys, functions, ..
        } => {
            let columns = exprlist_to_fields(&exprs[..keys + functions], &inputs[0])?;
            let change = (None, Arc::new(change_field()));
            Ok(columns.into_iter().chain([change, time()]).collect())
        }
        Kind::Instant(query) => Ok(without_time(query).chain([time()]).collect()),
        Kind::Over { keys, .. } => {
            let functions = exprlist_to_fields(&exprs[*keys..exprs.len() - 1], &inputs[0])?;
            let columns = without_time(&inputs[0]);
            Ok(columns.chain(functions).chain([time()]).collect())
        }
        Kind::TtlJoin(_) => {
            let columns = inputs.iter().flat_map(without_time);
            Ok(columns.chain([time()]).collect())
        }
        Kind::UpdatingJoin { preserved, .. } => {
            let [of_left, of_right] = *preserved;
            let sides = inputs.iter().zip([of_right, of_left]);
            let columns = sides.flat_map(|(side, may_miss)| {
                seen(side).map(move |(table, field)| (table, missing(&field, may_miss)))
            });
            let change = (None, Arc::new(change_field()));
            Ok(columns.chain([change, time()]).collect())
        }
    }
}

/// A field of a side that may be missing.
fn missing(field: &FieldRef, may_miss: bool) -> FieldRef {
    let nullable = may_miss || field.is_nullable();
    Arc::new(Field::clone(field).with_nullable(nullable))
}

fn window_field(name: &str) -> (Option<TableReference>, FieldRef) {
    (None, Arc::new(Field::new(name, window_type(), false)))
}

/// The fields of a stream before its event time.
fn without_time(stream: &LogicalPlan) -> impl Iterator<Item = (Option<TableReference>, FieldRef)> {
    let schema = stream.schema();
    let fields = schema.iter().take(schema.fields().len() - 1);
    fields.map(|(table, field)| (table.cloned(), Arc::clone(field)))
}

/// The fields of a stream that users see.
fn seen(stream: &LogicalPlan) -> impl Iterator<Item = (Option<TableReference>, FieldRef)> {
    let hidden = usize::from(change_of(stream).is_some());
    let seen = stream.schema().fields().len() - 1 - hidden;
    without_time(stream).take(seen)
}

/// The columns of a stream before its event time.
pub(super) fn columns(stream: &LogicalPlan) -> impl Iterator<Item = Column> {
    without_time(stream).map(|(table, field)| Column::new(table, field.name()))
}

/// The event time of a stream, which is always its last column.
pub(crate) fn time_of(stream: &LogicalPlan) -> Result<Column> {
    match stream.schema().iter().last() {
        Some((table, field)) if field.name() == TIME => {
            Ok(Column::new(table.cloned(), field.name()))
        }
        _ => plan_err!("a stream has lost its event time; this is a bug"),
    }
}

impl UserDefinedLogicalNodeCore for StreamNode {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::EventTime(_) => "EventTime",
            Kind::Lookup(_) => "Lookup",
            Kind::Memory(_) => "Memory",
            Kind::MemoryLookup(_) => "MemoryLookup",
            Kind::WindowAggregate { .. } => "WindowAggregate",
            Kind::UpdatingAggregate { .. } => "UpdatingAggregate",
            Kind::Instant(_) => "Instant",
            Kind::Over { .. } => "Over",
            Kind::TtlJoin(_) => "TtlJoin",
            Kind::UpdatingJoin { .. } => "UpdatingJoin",
        }
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        self.inputs.iter().collect()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.exprs.clone()
    }

    /// All: see the invariants of the module. A lookup holds back only what speaks of its table.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        if let Kind::Lookup(lookup) = &self.kind {
            return lookup
                .fields()
                .map(|(_, field)| field.name().clone())
                .collect();
        }
        let fields = self.schema.fields().iter();
        fields.map(|field| field.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {:?}", self.name(), self.kind)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        Self::try_new(self.kind.clone(), exprs, inputs)
    }

    fn necessary_children_exprs(&self, output: &[usize]) -> Option<Vec<Vec<usize>>> {
        match &self.kind {
            Kind::EventTime(_) => {
                let input = self.inputs[0].schema().fields().len();
                Some(vec![
                    output
                        .iter()
                        .copied()
                        .filter(|column| *column < input)
                        .collect(),
                ])
            }
            Kind::Lookup(lookup) => Some(vec![lookup.needed(self.inputs[0].schema(), output)]),
            Kind::Memory(_) => Some(vec![output.to_vec()]),
            Kind::MemoryLookup(lookup) => Some(self.looked_up_columns(lookup, output)),
            // Those of its expressions, which DataFusion adds.
            Kind::WindowAggregate { .. } | Kind::UpdatingAggregate { .. } => Some(vec![Vec::new()]),
            // The query inside is not looked at.
            Kind::Instant(_) => None,
            Kind::Over { .. } => {
                let time = self.inputs[0].schema().fields().len() - 1;
                let needed = output.iter().copied().filter(|column| *column < time);
                Some(vec![needed.chain([time]).collect()])
            }
            Kind::TtlJoin(_) | Kind::UpdatingJoin { .. } => Some(self.join_columns(output)),
        }
    }
}

impl PartialOrd for StreamNode {
    /// Plans have no order, save that equal ones are equal.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}
