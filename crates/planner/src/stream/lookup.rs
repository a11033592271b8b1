//! Joins with tables in which rows are looked up: a node of one input, the stream.
//!
//! The table is part of the node and no input of it, since nothing flows out of it by itself. So DataFusion's optimiser
//! sees the expressions that make keys, and moves filters on the stream's columns below the node; the condition beside
//! the keys is kept from it, because it speaks of the table's columns, too.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, Result, TableReference};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, Filter, Join, LogicalPlan, TryCast};
use headwater_connector::{Connection, ConnectionType};

use super::join::Condition;
use super::lower::refuse_window;
use super::node::{Kind, StreamNode};
use crate::error::PlanError;
use crate::names::quoted;
use crate::source::SourceTable;

/// What is looked up where. The keys are the node's expressions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct LookupNode {
    pub(crate) table: Table,
    /// What the table is called in the query.
    qualifier: TableReference,
    /// The columns of the table that are equal to the keys.
    pub(crate) columns: Vec<usize>,
    /// What else must be true of a pair.
    pub(crate) filter: Option<Expr>,
    /// Whether rows for which there is none stay.
    pub(crate) outer: bool,
    /// Whether the last column of the input is its event time.
    pub(crate) timed: bool,
}

/// A table, known by its name within a plan.
#[derive(Clone)]
pub(crate) struct Table(pub(crate) Arc<Connection>);

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Table {}

impl Hash for Table {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

impl fmt::Debug for Table {
    /// The name only: a connection may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

impl LookupNode {
    /// The table's columns behind those of the stream.
    pub(super) fn fields(&self) -> impl Iterator<Item = (Option<TableReference>, FieldRef)> {
        let schema = self.table.0.config.schema.arrow_schema();
        let fields: Vec<_> = schema.fields().iter().cloned().collect();
        fields.into_iter().map(|field| {
            let nullable = self.outer || field.is_nullable();
            let field = field.as_ref().clone().with_nullable(nullable);
            (Some(self.qualifier.clone()), Arc::new(field))
        })
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

/// Makes nodes of all joins with lookup tables.
///
/// # Errors
/// Such a join that cannot be run, and such a table outside of a join, in the user's words.
pub(super) fn lookups(query: LogicalPlan) -> Result<LogicalPlan> {
    let rewritten = query.transform_up(|node| match node {
        LogicalPlan::Join(join) => match (table(&join.left)?, table(&join.right)?) {
            (None, None) => Ok(Transformed::no(LogicalPlan::Join(join))),
            (None, Some(right)) => lookup(join, right).map(Transformed::yes),
            (Some(left), _) => Err(on_the_left(&left.0.name).into()),
        },
        node => Ok(Transformed::no(node)),
    });
    let rewritten = rewritten?.data;
    rewritten.apply(|node| match node {
        LogicalPlan::TableScan(_) => match table(node)? {
            Some(table) => Err(alone(&table.0.name).into()),
            None => Ok(TreeNodeRecursion::Continue),
        },
        _ => Ok(TreeNodeRecursion::Continue),
    })?;
    Ok(rewritten)
}

/// The lookup table that a side of a join is, perhaps under another name.
pub(super) fn table(side: &LogicalPlan) -> Result<Option<Table>> {
    match side {
        LogicalPlan::SubqueryAlias(alias) => table(&alias.input),
        LogicalPlan::TableScan(scan) => {
            let provider = source_as_provider(&scan.source)?;
            let table = provider.downcast_ref::<SourceTable>();
            let connection = table.map(|table| Arc::clone(table.connection()));
            let lookup = |table: &Arc<Connection>| table.connection_type == ConnectionType::Lookup;
            Ok(connection.filter(lookup).map(Table))
        }
        _ => Ok(None),
    }
}

fn lookup(join: Join, table: Table) -> Result<LogicalPlan> {
    let outer = match join.join_type {
        JoinType::Inner => false,
        JoinType::Left => true,
        other => return Err(neither(other, &table.0.name).into()),
    };
    let Condition { keys, mut rest } = Condition::of(&join)?;
    let (left, right) = (join.left.schema(), join.right.schema());
    let (mut columns, mut exprs) = (Vec::new(), Vec::new());
    for (key, column) in keys {
        refuse_window(&key)?;
        let index = bare(&column).and_then(|column| right.maybe_index_of_column(column));
        let Some(index) = index else {
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
    if columns.is_empty() {
        return Err(no_key(&table.0.name).into());
    }
    let qualifier = right.iter().find_map(|(table, _)| table.cloned());
    let qualifier = qualifier.unwrap_or_else(|| TableReference::bare(table.0.name.as_str()));
    let condition = conjunction(rest);
    let (within, above) = if outer {
        (condition, None)
    } else {
        (None, condition)
    };
    let node = LookupNode {
        table,
        qualifier,
        columns,
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
