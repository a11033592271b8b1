//! A dataflow as text, for `EXPLAIN`.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr_common::physical_expr::fmt_sql;
use headwater_connector::Connection;

use crate::plan::{LookupTable, Node, Over, Plan, PlanOperator, Step, WindowAggregate};
use crate::type_name::sql_type;

/// One paragraph a node: its id, what it does, from which nodes; under it its steps and its columns.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, node) in self.nodes.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            self.fmt_node(node, f)?;
        }
        Ok(())
    }
}

impl Plan {
    /// The paragraph of one node.
    pub fn describe(&self, node: &Node) -> String {
        struct Paragraph<'a>(&'a Plan, &'a Node);
        impl fmt::Display for Paragraph<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt_node(self.1, f)
            }
        }
        Paragraph(self, node).to_string()
    }

    fn fmt_node(&self, node: &Node, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", node.id)?;
        match &node.operator {
            PlanOperator::Source(connection) => write!(f, ": read {}", Place(connection))?,
            PlanOperator::Values(rows) => {
                write!(f, ": ")?;
                write_count(rows, f)?;
            }
            PlanOperator::Chain(_) => {}
            PlanOperator::Union => write!(f, ": union")?,
            PlanOperator::Lookup(lookup) => {
                write!(f, ": look up {} in ", List(&lookup.pairing.keys))?;
                match &lookup.table {
                    LookupTable::Connected(table) => write!(f, "{}", Place(table))?,
                    LookupTable::Constant(rows) => write_count(rows, f)?,
                }
            }
            PlanOperator::MemoryLookup(lookup) => {
                let keys = List(&lookup.pairing.keys);
                write!(f, ": look up {keys} in memory table '{}'", lookup.table)?;
                if lookup.waits {
                    write!(f, ", once it is read whole")?;
                }
            }
            PlanOperator::Watermark(watermark) => {
                write!(f, ": watermark of '{}'", watermark.table)?
            }
            PlanOperator::PartialWindowAggregate(by) => {
                write!(f, ": partial ")?;
                write_window(by, f)?;
            }
            PlanOperator::Exchange(keys) if keys.is_empty() => write!(f, ": all to one worker")?,
            PlanOperator::Exchange(keys) => write!(f, ": exchange by {}", List(keys))?,
            PlanOperator::WindowAggregate(by) => {
                write!(f, ": ")?;
                write_window(by, f)?;
            }
            PlanOperator::Instant(_) => write!(f, ": query over each window")?,
            PlanOperator::Over(over) => write_over(over, f)?,
            PlanOperator::TtlJoin(join) => write!(f, ": join within {:?}", join.ttl)?,
            PlanOperator::UpdatingAggregate(_) => write!(f, ": updating aggregate")?,
            PlanOperator::UpdatingJoin(join) => {
                write!(f, ": updating {join} within {:?}", join.ttl)?;
            }
            PlanOperator::Sink(connection) => write!(f, ": write {}", Place(connection))?,
            PlanOperator::DeadLetters { .. } => write!(f, ": bad data")?,
            PlanOperator::Preview => write!(f, ": show")?,
        }
        for (index, input) in node.inputs.iter().enumerate() {
            let separator = if index == 0 { " <- " } else { ", " };
            let id = self
                .nodes
                .get(input.0)
                .map_or("?", |input| input.id.as_str());
            write!(f, "{separator}{id}")?;
        }
        if let PlanOperator::Chain(steps) = &node.operator {
            let mut input = node.inputs.first().and_then(|id| self.nodes.get(id.0));
            for step in steps {
                let schema = input.take().map(|node| node.schema.as_ref());
                write!(f, "\n  {}", Line(step, schema))?;
            }
        }
        write!(f, "\n  -> {}", Columns(&node.schema))
    }
}

/// `tumble 10s by device`.
fn write_window(by: &WindowAggregate, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{}", by.window)?;
    match by.keys.as_slice() {
        [] => Ok(()),
        keys => write!(f, " by {}", List(keys)),
    }
}

/// `over rows by device: range 600s, rows 1`.
fn write_over(over: &Over, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, ": over rows")?;
    if !over.keys.is_empty() {
        write!(f, " by {}", List(&over.keys))?;
    }
    for (index, function) in over.functions.iter().enumerate() {
        let separator = if index == 0 { ": " } else { ", " };
        write!(f, "{separator}{}", function.frame)?;
    }
    Ok(())
}

/// Expressions with commas between them.
struct List<'a>(&'a [Arc<dyn PhysicalExpr>]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, expr) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}", fmt_sql(expr.as_ref()))?;
        }
        Ok(())
    }
}

struct Place<'a>(&'a Connection);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} '{}' ({})",
            self.0.connector, self.0.name, self.0.description
        )
    }
}

/// One step; the schema of its input is known for the first one only.
struct Line<'a>(&'a Step, Option<&'a Schema>);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Step::Filter { predicate, .. } => write!(f, "filter {}", fmt_sql(predicate.as_ref())),
            Step::Project { exprs, schema } => {
                write!(f, "project ")?;
                for (index, (expr, field)) in exprs.iter().zip(schema.fields()).enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    let text = fmt_sql(expr.as_ref()).to_string();
                    write!(f, "{separator}{text}")?;
                    if text != *field.name() {
                        write!(f, " AS {}", field.name())?;
                    }
                }
                Ok(())
            }
            Step::Columns(columns) if columns.is_empty() => write!(f, "keep no column"),
            Step::Columns(columns) => {
                write!(f, "keep ")?;
                for (index, column) in columns.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    match self.1.and_then(|schema| schema.fields().get(*column)) {
                        Some(field) => write!(f, "{separator}{}", field.name())?,
                        None => write!(f, "{separator}#{column}")?,
                    }
                }
                Ok(())
            }
            Step::Unnest(unnest) => {
                let schema = unnest.input().schema();
                let lists = unnest.list_column_indices().iter();
                let lists =
                    lists.map(|list| schema.field(list.index_in_input_schema).name().clone());
                let structs = unnest.struct_column_indices().iter();
                let structs = structs.map(|index| schema.field(*index).name().clone());
                let names: Vec<_> = lists.chain(structs).collect();
                write!(f, "unnest {}", names.join(", "))
            }
        }
    }
}

fn write_count(rows: &RecordBatch, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match rows.num_rows() {
        1 => write!(f, "1 row"),
        rows => write!(f, "{rows} rows"),
    }
}

struct Columns<'a>(&'a Schema);

impl fmt::Display for Columns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.fields().is_empty() {
            return write!(f, "no columns");
        }
        for (index, field) in self.0.fields().iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{} {}", field.name(), sql_type(field))?;
            if !field.is_nullable() {
                write!(f, " NOT NULL")?;
            }
        }
        Ok(())
    }
}
