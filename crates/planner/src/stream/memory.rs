//! Memory tables with a primary key: a stream of rows by itself, and a table in which rows are looked up on the right of a join.
//!
//! A reference to one is marked by a node above all that writes it, which is gone when a query has been lowered. A join finds
//! the mark and takes what writes the table into a lookup, out of reach of DataFusion's optimiser: a condition on the table's
//! rows that were moved below the lookup would hide that a row takes the place of another. Once event time has been threaded
//! through both sides, the lookup becomes a node of two inputs.

use std::sync::Arc;

use datafusion::common::{Column, JoinType, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};

use super::arrange::pushed_down;
use super::computed::Computed;
use super::constant::is_constant;
use super::lookup::LookupNode;
use super::lower::{Lowering, Stream};
use super::node::{Kind, StreamNode, columns, time_of};
use super::updating::{change_of, refuse_changes};
use crate::error::PlanError;
use crate::names::quoted;

/// A memory table as a query names it. Its rows are the node's input.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct MemoryNode {
    pub(crate) table: String,
    /// The columns of its primary key, in their order in the table.
    pub(crate) key: Vec<usize>,
}

/// A memory table in which rows are looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct MemoryTable {
    node: MemoryNode,
    /// All that is written to it.
    writes: LogicalPlan,
}

/// How rows are looked up in a memory table. Expressions of the node: the keys of the stream, then those of the table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct MemoryLookupNode {
    pub(crate) table: String,
    /// What else must be true of a pair.
    pub(crate) filter: Option<Expr>,
    /// Whether rows for which there is none stay.
    pub(crate) outer: bool,
}

/// The rows of a memory table with a primary key, marked. Rows that are part of the query need no mark: they are looked up
/// however they are named.
pub(crate) fn marked(rows: LogicalPlan, table: &str, key: &[usize]) -> Result<LogicalPlan> {
    if key.is_empty() || is_constant(&rows)? {
        return Ok(rows);
    }
    let node = MemoryNode {
        table: table.to_owned(),
        key: key.to_vec(),
    };
    StreamNode::try_new(Kind::Memory(node), Vec::new(), vec![rows]).map(StreamNode::into_plan)
}

/// The same query, in which what is left of memory tables is the stream of their rows.
pub(super) fn unmarked(query: LogicalPlan) -> Result<LogicalPlan> {
    StreamNode::removed(query, |kind| matches!(kind, Kind::Memory(_)))
}

/// The memory table that a side of a join is, perhaps under another name.
pub(super) fn memory(side: &LogicalPlan) -> Option<MemoryTable> {
    match side {
        LogicalPlan::SubqueryAlias(alias) => memory(&alias.input),
        plan => match StreamNode::of(plan)? {
            StreamNode {
                kind: Kind::Memory(node),
                inputs,
                ..
            } => Some(MemoryTable {
                node: node.clone(),
                writes: inputs[0].clone(),
            }),
            _ => None,
        },
    }
}

/// Refuses a side of a join that is a query of such a table's rows: it would be joined as a stream, where a lookup is expected.
pub(super) fn refuse_query_of(side: &LogicalPlan) -> Result<()> {
    match side {
        LogicalPlan::SubqueryAlias(_) | LogicalPlan::Projection(_) | LogicalPlan::Filter(_) => {
            refuse_query_of(side.inputs()[0])
        }
        plan => match StreamNode::of(plan).map(|node| &node.kind) {
            Some(Kind::Memory(node)) => Err(in_a_query(&node.table).into()),
            _ => Ok(()),
        },
    }
}

impl MemoryTable {
    /// What errors call it.
    pub(super) fn name(&self) -> &str {
        &self.node.table
    }

    /// Whether one more column is part of the key by which a row is looked up.
    pub(super) fn takes(&self, column: usize, taken: &[usize]) -> bool {
        self.node.key.contains(&column) && !taken.contains(&column)
    }

    /// Whether these columns, of which each is one of the key, are all of it.
    pub(super) fn is_whole_key(&self, columns: &[usize]) -> bool {
        columns.len() == self.node.key.len()
    }

    /// The error of a join by less than the key.
    pub(super) fn no_key(&self) -> PlanError {
        let name = |column: &usize| quoted(self.writes.schema().field(*column).name());
        let names: Vec<_> = self.node.key.iter().map(name).collect();
        let table = quoted(self.name());
        let message = format!(
            "the join does not say which row of the memory table '{}' belongs to a row of the stream: rows are looked up by the \
             whole primary key ({})",
            self.name(),
            names.join(", ")
        );
        let equal = names
            .iter()
            .map(|name| format!("stream.{name} = {table}.{name}"));
        let equal: Vec<_> = equal.collect();
        PlanError::new(message).about("JOIN").hint(format!(
            "write JOIN {table} ON {}; without PRIMARY KEY the table is joined as a stream",
            equal.join(" AND ")
        ))
    }

    /// The error of the table on the left of a join.
    pub(super) fn on_the_left(&self) -> PlanError {
        let (name, table) = (self.name(), quoted(self.name()));
        PlanError::new(format!(
            "the memory table '{name}' with its PRIMARY KEY stands on the left of the join, where the stream belongs"
        ))
        .about("JOIN")
        .hint(format!(
            "write FROM stream JOIN {table} ON …, or LEFT JOIN {table} ON …; the stream of all that is written to it is \
             (SELECT * FROM {table})"
        ))
    }

    /// The error of another join than `JOIN` and `LEFT JOIN`.
    pub(super) fn neither(&self, join: JoinType) -> PlanError {
        let (kind, name) = (join.to_string().to_uppercase(), self.name());
        PlanError::new(format!(
            "a {kind} JOIN would need all rows of the memory table '{name}', whose PRIMARY KEY says that they are looked up"
        ))
        .about("JOIN")
        .hint("write JOIN or LEFT JOIN, or leave out PRIMARY KEY, and the table is joined as a stream")
    }
}

fn in_a_query(name: &str) -> PlanError {
    let table = quoted(name);
    PlanError::new(format!(
        "rows of the memory table '{name}' are looked up by its name, and here is a query of it on the right of the join"
    ))
    .about("JOIN")
    .hint(format!(
        "write JOIN {table} ON …, with conditions on its rows in ON or WHERE; without PRIMARY KEY the table is joined as a stream"
    ))
}

impl Lowering {
    /// A lookup in a memory table, of which both sides are streams. That of the result is the left one.
    pub(super) fn in_memory(
        &self,
        node: &StreamNode,
        lookup: &LookupNode,
        memory: &MemoryTable,
    ) -> Result<Stream> {
        let input = self.timed(node.inputs[0].clone())?;
        refuse_changes(&input, "a lookup", "JOIN")?;
        let writes = pushed_down(unmarked(memory.writes.clone())?)?;
        let table = named(self.timed(writes)?.plan, lookup)?;
        let shown = columns(&input.plan).chain(lookup.columns());
        let shown: Vec<_> = shown.collect();
        let mut computed = Computed::over(input.plan.clone()).beside(&table);
        let keys = node.exprs.iter();
        let keys: Vec<_> = keys
            .map(|key| computed.column(key.clone()).unalias())
            .collect();
        let of_table = lookup.keys().map(Expr::Column);
        let exprs = keys.into_iter().chain(of_table).collect();
        let kind = Kind::MemoryLookup(MemoryLookupNode {
            table: memory.name().to_owned(),
            filter: lookup.filter.clone(),
            outer: lookup.outer,
        });
        let plan = StreamNode::try_new(kind, exprs, vec![computed.finish()?, table])?.into_plan();
        // without the keys that were computed
        let shown = shown.into_iter().chain([time_of(&plan)?]);
        let shown = shown.map(Expr::Column).collect();
        let plan = Projection::try_new(shown, Arc::new(plan))?;
        Ok(Stream {
            plan: LogicalPlan::Projection(plan),
            ..input
        })
    }
}

/// The rows of a table with the names that its columns have in the query.
fn named(table: LogicalPlan, lookup: &LookupNode) -> Result<LogicalPlan> {
    let hidden = change_of(&table).into_iter().chain([time_of(&table)?]);
    let hidden: Vec<Column> = hidden.collect();
    let shown = table.schema().columns().into_iter();
    let shown = shown
        .filter(|column| !hidden.contains(column))
        .zip(lookup.columns());
    let shown = shown.map(|(column, name)| {
        Expr::Column(column).alias_qualified(name.relation.clone(), name.name)
    });
    let hidden = hidden.iter().cloned().map(Expr::Column);
    let all = shown.chain(hidden).collect();
    Projection::try_new(all, Arc::new(table)).map(LogicalPlan::Projection)
}
