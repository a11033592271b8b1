//! Joins with tables in which rows are looked up, and with rows of the query itself: a node of one input, the stream.
//!
//! The table is part of the node and no input of it, since nothing flows out of it by itself. So DataFusion's optimiser
//! sees the expressions that make keys, and moves filters on the stream's columns below the node; the condition beside
//! the keys is kept from it, because it speaks of the table's columns, too.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, Result, TableReference, internal_err};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    Cast, Expr, ExprSchemable, Filter, Join, LogicalPlan, Projection, TryCast, col, lit,
};
use headwater_connector::{Connection, ConnectionType};

use super::constant::is_constant;
use super::join::Condition;
use super::lower::refuse_window;
use super::memory::{MemoryTable, memory, refuse_query_of, unmarked};
use super::node::{Kind, StreamNode};
use crate::error::PlanError;
use crate::names::quoted;
use crate::source::SourceTable;

/// The column of rows that all have the same key.
const EVERY: &str = "_every";

/// What is looked up where. The keys are the node's expressions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct LookupNode {
    pub(crate) table: Table,
    /// The table's columns, as the query calls them.
    fields: Vec<(Option<TableReference>, FieldRef)>,
    /// The columns of the table that are equal to the keys.
    pub(crate) equal: Vec<usize>,
    /// What else must be true of a pair.
    pub(crate) filter: Option<Expr>,
    /// Whether rows for which there is none stay.
    pub(crate) outer: bool,
    /// Whether the last column of the input is its event time.
    pub(crate) timed: bool,
}

/// What rows are looked up in.
#[derive(Clone)]
pub(crate) enum Table {
    /// A table, known by its name within a plan.
    Connected(Arc<Connection>),
    /// Rows of the query itself.
    Constant(Arc<LogicalPlan>),
    /// A table that other queries of the job write.
    Memory(Arc<MemoryTable>),
}

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Connected(one), Self::Connected(other)) => one.name == other.name,
            (Self::Constant(one), Self::Constant(other)) => one == other,
            (Self::Memory(one), Self::Memory(other)) => one == other,
            _ => false,
        }
    }
}

impl Eq for Table {}

impl Hash for Table {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Connected(table) => table.name.hash(state),
            Self::Constant(rows) => rows.hash(state),
            Self::Memory(table) => table.hash(state),
        }
    }
}

impl fmt::Debug for Table {
    /// The name only: a connection may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected(table) => f.write_str(&table.name),
            Self::Constant(_) => f.write_str("VALUES"),
            Self::Memory(table) => f.write_str(table.name()),
        }
    }
}

impl LookupNode {
    /// The table's columns behind those of the stream.
    pub(super) fn fields(&self) -> impl Iterator<Item = (Option<TableReference>, FieldRef)> {
        self.fields.iter().map(|(qualifier, field)| {
            let nullable = self.outer || field.is_nullable();
            let field = field.as_ref().clone().with_nullable(nullable);
            (qualifier.clone(), Arc::new(field))
        })
    }

    /// Whether rows are looked up in a memory table.
    pub(super) fn is_in_memory(&self) -> bool {
        matches!(self.table, Table::Memory(_))
    }

    /// The names of the table's columns.
    pub(super) fn columns(&self) -> impl Iterator<Item = Column> {
        let fields = self.fields.iter();
        fields.map(|(qualifier, field)| Column::new(qualifier.clone(), field.name()))
    }

    /// The names of those that are equal to the keys.
    pub(super) fn keys(&self) -> impl Iterator<Item = Column> {
        let fields = self.equal.iter().map(|index| &self.fields[*index]);
        fields.map(|(qualifier, field)| Column::new(qualifier.clone(), field.name()))
    }

    /// Which columns of the stream are needed for some of the output's, beside the keys.
    pub(super) fn needed(&self, stream: &DFSchema, output: &[usize]) -> Vec<usize> {
        let time = stream.fields().len() - usize::from(self.timed);
        let shown = output.iter().copied().filter(|column| *column < time);
        let refs = self.filter.iter().flat_map(Expr::column_refs);
        let compared = refs.filter_map(|column| stream.maybe_index_of_column(column));
        let mut needed: Vec<_> = shown
            .chain(compared)
            .chain(time..stream.fields().len())
            .collect();
        needed.sort_unstable();
        needed.dedup();
        needed
    }
}

/// Makes nodes of all joins with lookup tables, with memory tables that have a key, and with rows that are part of the query.
///
/// # Errors
/// Such a join that cannot be run, and such a table outside of a join, in the user's words.
pub(super) fn lookups(query: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = query.transform_up(|node| match node {
        LogicalPlan::Join(join) => looked_up(join),
        node => Ok(Transformed::no(node)),
    });
    let rewritten = unmarked(rewritten?.data)?;
    rewritten.apply(|node| match node {
        LogicalPlan::TableScan(_) => match connection(node)? {
            Some(table) => Err(alone(&table.name).into()),
            None => Ok(TreeNodeRecursion::Continue),
        },
        _ => Ok(TreeNodeRecursion::Continue),
    })?;
    Ok(rewritten)
}

fn looked_up(join: Join) -> Result<Transformed<LogicalPlan>> {
    let (left, right) = (table(&join.left)?, table(&join.right)?);
    match (left, right) {
        (Some(Table::Connected(left)), _) => Err(on_the_left(&left.name).into()),
        (Some(Table::Memory(left)), _) => Err(left.on_the_left().into()),
        (_, Some(Table::Connected(right))) => {
            let outer = is_outer(join.join_type, |other| neither(other, &right.name))?;
            lookup(join, Table::Connected(right), outer).map(Transformed::yes)
        }
        (_, Some(Table::Memory(right))) => {
            let outer = is_outer(join.join_type, |other| right.neither(other))?;
            lookup(join, Table::Memory(right), outer).map(Transformed::yes)
        }
        (None, Some(_)) if matches!(join.join_type, JoinType::Inner | JoinType::Left) => {
            with_values(join, false).map(Transformed::yes)
        }
        (Some(_), None) if matches!(join.join_type, JoinType::Inner | JoinType::Right) => {
            with_values(join, true).map(Transformed::yes)
        }
        _ => {
            refuse_query_of(&join.right)?;
            Ok(Transformed::no(LogicalPlan::Join(join)))
        }
    }
}

/// Whether rows of the stream for which there is none stay.
fn is_outer(join: JoinType, refusal: impl FnOnce(JoinType) -> PlanError) -> Result<bool> {
    match join {
        JoinType::Inner => Ok(false),
        JoinType::Left => Ok(true),
        other => Err(refusal(other).into()),
    }
}

/// A join with rows of the query, which are on its right, or on its left. Without a key every row has them all.
fn with_values(join: Join, on_the_left: bool) -> Result<LogicalPlan> {
    let outer = join.join_type != JoinType::Inner;
    let columns = join.schema.columns().into_iter().map(Expr::Column);
    let columns = columns.collect();
    let mut join = match on_the_left {
        true => exchanged(join)?,
        false => join,
    };
    let keys = Condition::of(&join)?.keys;
    if !keys.iter().any(|(_, column)| bare(column).is_some()) {
        let own = join.right.schema().columns().into_iter().map(Expr::Column);
        let own = own.chain([lit(true).alias(EVERY)]).collect();
        let right = Projection::try_new(own, join.right)?;
        join.right = Arc::new(LogicalPlan::Projection(right));
        join.on.push((lit(true), col(EVERY)));
    }
    let rows = Table::Constant(Arc::clone(&join.right));
    let plan = lookup(join, rows, outer)?;
    Projection::try_new(columns, Arc::new(plan)).map(LogicalPlan::Projection)
}

/// A join with its sides exchanged, without regard to which of them may be missing.
fn exchanged(join: Join) -> Result<Join> {
    let on = join.on.into_iter().map(|(left, right)| (right, left));
    Join::try_new(
        join.right,
        join.left,
        on.collect(),
        join.filter,
        JoinType::Inner,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )
}

/// What a side of a join is, if rows are looked up in it.
pub(super) fn table(side: &LogicalPlan) -> Result<Option<Table>> {
    if let Some(connection) = connection(side)? {
        return Ok(Some(Table::Connected(connection)));
    }
    if let Some(memory) = memory(side) {
        return Ok(Some(Table::Memory(Arc::new(memory))));
    }
    let constant = is_constant(side)?;
    Ok(constant.then(|| Table::Constant(Arc::new(side.clone()))))
}

/// The lookup table that a side of a join is, perhaps under another name.
fn connection(side: &LogicalPlan) -> Result<Option<Arc<Connection>>> {
    match side {
        LogicalPlan::SubqueryAlias(alias) => connection(&alias.input),
        LogicalPlan::TableScan(scan) => {
            let provider = source_as_provider(&scan.source)?;
            let table = provider.downcast_ref::<SourceTable>();
            let connection = table.map(|table| Arc::clone(table.connection()));
            let lookup = |table: &Arc<Connection>| table.connection_type == ConnectionType::Lookup;
            Ok(connection.filter(lookup))
        }
        _ => Ok(None),
    }
}

fn lookup(join: Join, table: Table, outer: bool) -> Result<LogicalPlan> {
    let Condition { keys, mut rest } = Condition::of(&join)?;
    let (left, right) = (join.left.schema(), join.right.schema());
    let (mut columns, mut exprs) = (Vec::new(), Vec::new());
    for (key, column) in keys {
        refuse_window(&key)?;
        let index = bare(&column).and_then(|column| right.maybe_index_of_column(column));
        let is_of_key = |index: &usize| match &table {
            Table::Memory(memory) => memory.takes(*index, &columns),
            _ => true,
        };
        let Some(index) = index.filter(is_of_key) else {
            rest.push(key.eq(column));
            continue;
        };
        let wanted = right.field(index).data_type();
        if key.get_type(left)? == *wanted && matches!(column, Expr::Column(_)) {
            exprs.push(key);
        } else {
            // 1.5 is not the 1 that it would be looked up as
            rest.push(key.clone().eq(column));
            exprs.push(as_type(key, wanted));
        }
        columns.push(index);
    }
    rest.iter().try_for_each(refuse_window)?;
    match &table {
        Table::Memory(memory) if !memory.is_whole_key(&columns) => {
            return Err(memory.no_key().into());
        }
        Table::Connected(table) if columns.is_empty() => return Err(no_key(&table.name).into()),
        Table::Constant(_) if columns.is_empty() => {
            return internal_err!("a join with values has no key");
        }
        _ => {}
    }
    let fields = right.iter();
    let fields = fields.map(|(table, field)| (table.cloned(), Arc::clone(field)));
    let condition = conjunction(rest);
    let (within, above) = if outer {
        (condition, None)
    } else {
        (None, condition)
    };
    let node = LookupNode {
        table,
        fields: fields.collect(),
        equal: columns,
        filter: within,
        outer,
        timed: false,
    };
    let input = Arc::unwrap_or_clone(join.left);
    let plan = StreamNode::try_new(Kind::Lookup(node), exprs, vec![input])?.into_plan();
    match above {
        Some(condition) => Filter::try_new(condition, Arc::new(plan)).map(LogicalPlan::Filter),
        None => Ok(plan),
    }
}

/// The column that an expression is, apart from its type.
fn bare(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => bare(&alias.expr),
        Expr::Cast(Cast { expr, .. }) | Expr::TryCast(TryCast { expr, .. }) => bare(expr),
        _ => None,
    }
}

/// A value as one of another type; null if it is none.
fn as_type(key: Expr, data_type: &DataType) -> Expr {
    Expr::TryCast(TryCast::new(Box::new(key), data_type.clone()))
}

/// The error of a lookup table that stands alone.
fn alone(table: &str) -> PlanError {
    PlanError::new(format!(
        "'{table}' is a lookup table: it gives rows only to those of a stream that ask for them by key"
    ))
    .about(table)
    .hint(format!(
        "write FROM stream JOIN {0} ON stream.key = {0}.key",
        quoted(table)
    ))
}

fn on_the_left(table: &str) -> PlanError {
    PlanError::new(format!(
        "the lookup table '{table}' stands on the left of the join, where the stream belongs"
    ))
    .about("JOIN")
    .hint(format!(
        "write FROM stream JOIN {0} ON …, or LEFT JOIN {0} ON …",
        quoted(table)
    ))
}

fn neither(join: JoinType, table: &str) -> PlanError {
    PlanError::new(format!(
        "a {} JOIN would need all rows of the lookup table '{table}', of which only those are known that are asked for",
        join.to_string().to_uppercase()
    ))
    .about("JOIN")
    .hint("write JOIN or LEFT JOIN")
}

fn no_key(table: &str) -> PlanError {
    PlanError::new(format!(
        "the join does not say which rows of the lookup table '{table}' belong to a row of the stream"
    ))
    .about("JOIN")
    .hint(format!(
        "write JOIN {0} ON stream.key = {0}.key, with a column of the table by itself on one side",
        quoted(table)
    ))
}
