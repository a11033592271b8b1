//! The dataflow that a SQL text becomes: a DAG of few kinds of operators, in an order in which inputs come first.
//!
//! It is data: it opens no connection and runs nothing. The runtime builds one timely computation of it.

mod event_time;
mod instant_input;
mod lookup;
mod over;

pub use self::event_time::{
    Aggregate, CHANGE, EventTime, Instant, TIME, TIME_TYPE, TtlJoin, UpdatingAggregate,
    UpdatingJoin, WINDOW, Watermark, Window, WindowAggregate, change_field, heeds_order,
    time_field, with_time,
};
pub use self::instant_input::InstantInput;
pub use self::lookup::{Lookup, LookupTable, MemoryLookup, Pairing};
pub use self::over::{Frame, Over, OverCall, OverFunction};

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::unnest::UnnestExec;
use headwater_connector::Connection;

/// The dataflow of one job.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The operators; the inputs of each come before it.
    pub nodes: Vec<Node>,
}

/// The index of a node in [`Plan::nodes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// One operator of a dataflow.
#[derive(Debug, Clone)]
pub struct Node {
    /// A name that is unique in the plan and the same whenever the same SQL is planned: the id of the operator.
    pub id: String,
    /// What it does.
    pub operator: PlanOperator,
    /// Where its rows come from: none for a source, one or more for a union, two for joins and lookups in memory, else one. Where its bad data comes from,
    /// for [`PlanOperator::DeadLetters`].
    pub inputs: Vec<NodeId>,
    /// The rows it puts out (for a sink: the rows it takes).
    pub schema: SchemaRef,
}

/// What an operator does.
#[derive(Debug, Clone)]
pub enum PlanOperator {
    /// Reads a table. A table that is read several times is one source with several outputs.
    Source(Arc<Connection>),
    /// Gives these rows once and ends: a query without a table, and `VALUES`.
    Values(RecordBatch),
    /// Steps that look at one batch at a time and keep nothing.
    Chain(Vec<Step>),
    /// The rows of all inputs, those of one input in their order.
    Union,
    /// Looks each row up in a table.
    Lookup(Arc<Lookup>),
    /// Looks each row of the first input up in a memory table, which the second writes.
    MemoryLookup(Arc<MemoryLookup>),
    /// Gives rows their event time, and watermarks.
    Watermark(Arc<Watermark>),
    /// Aggregates each batch by itself, by key and pane of a window, and so before the exchange of the window that it is of: the
    /// groups are sent in the place of rows.
    PartialWindowAggregate(Arc<WindowAggregate>),
    /// Brings rows with equal keys to the same worker; without keys, all rows to one.
    Exchange(Vec<Arc<dyn PhysicalExpr>>),
    /// Aggregates by key and window.
    WindowAggregate(Arc<WindowAggregate>),
    /// A query over the rows of one window at a time.
    Instant(Arc<Instant>),
    /// Functions over the rows before each row.
    Over(Arc<Over>),
    /// Joins two streams without windows: the left input and the right one.
    TtlJoin(Arc<TtlJoin>),
    /// Aggregates by key that change.
    UpdatingAggregate(Arc<UpdatingAggregate>),
    /// Joins two streams without windows, with results that change.
    UpdatingJoin(Arc<UpdatingJoin>),
    /// Writes a table.
    Sink(Arc<Connection>),
    /// The bad data of a source, a chain or a sink, which has `bad_data = 'dead_letter'`, as rows of the sink that
    /// takes it.
    DeadLetters {
        /// The name of the table at which it was met: what `source` says in those rows.
        table: String,
    },
    /// Shows the rows of a bare `SELECT` to whoever started the job.
    Preview,
}

/// One step of a [`PlanOperator::Chain`].
#[derive(Debug, Clone)]
pub enum Step {
    /// Keeps the rows for which the predicate is true (`WHERE`), then only the columns named, if any are.
    Filter {
        /// A boolean expression over the step's input.
        predicate: Arc<dyn PhysicalExpr>,
        /// Indices of the columns to keep.
        projection: Option<Vec<usize>>,
    },
    /// Computes new columns (`SELECT`).
    Project {
        /// One expression over the step's input per column.
        exprs: Vec<Arc<dyn PhysicalExpr>>,
        /// The new columns.
        schema: SchemaRef,
    },
    /// Keeps some columns, in this order.
    Columns(Vec<usize>),
    /// One row for every element of a list (`unnest`). Its input is replaced batch by batch.
    Unnest(Arc<UnnestExec>),
}
