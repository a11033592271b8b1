//! Lookup joins: rows of a stream, each with the rows of a table that have its key.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::physical_expr::PhysicalExpr;
use headwater_connector::Connection;

/// Looks up each row of the input in a table, and puts both together, in the order of the input. Needs no event time; that
/// of the input, and what is said about it, goes on with the rows.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The table.
    pub table: LookupTable,
    /// Which of its rows belong to a row of the input.
    pub pairing: Pairing,
}

/// Looks up each row of the first input in a memory table, which keeps the last row of each key that the second input has
/// brought. The event time is that of the first input; the second neither holds it back nor moves it on.
#[derive(Debug, Clone)]
pub struct MemoryLookup {
    /// The name of the table.
    pub table: String,
    /// Its columns, which are the first of the second input.
    pub schema: SchemaRef,
    /// Which row belongs to a row of the first input. The key is one of columns.
    pub pairing: Pairing,
    /// The column [`CHANGE`](crate::plan::CHANGE) of the second input, if it has one.
    pub change: Option<usize>,
    /// Whether all that writes the table ends by itself: then no row is looked up before it has.
    pub waits: bool,
}

/// Which rows of a table belong to a row of a stream, and what becomes of both.
///
/// Output columns: those of the stream, those of the table, and at last the stream's [`TIME`](crate::plan::TIME) if it has
/// one.
#[derive(Debug, Clone)]
pub struct Pairing {
    /// What is looked up, over the stream: of the types of `columns`. A null is found nowhere.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// The columns of the table that must be equal to them.
    pub columns: Vec<usize>,
    /// What else must be true of a pair, over the output.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// Whether a row for which there is none stays, with nulls for the table's columns (`LEFT JOIN`).
    pub outer: bool,
    /// Whether the last column of the stream is its event time.
    pub timed: bool,
}

/// What rows are looked up in.
#[derive(Debug, Clone)]
pub enum LookupTable {
    /// A table elsewhere, which may change.
    Connected(Arc<Connection>),
    /// Rows of the query itself, fewer than 2^32, whose columns have different names.
    Constant(RecordBatch),
}

impl LookupTable {
    /// What errors and metrics call it.
    pub fn name(&self) -> &str {
        match self {
            Self::Connected(table) => &table.name,
            Self::Constant(_) => "values",
        }
    }

    /// Its columns.
    pub fn schema(&self) -> SchemaRef {
        match self {
            Self::Connected(table) => table.config.schema.arrow_schema(),
            Self::Constant(rows) => rows.schema(),
        }
    }
}
