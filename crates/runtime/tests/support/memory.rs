//! A lookup in a memory table.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::physical_expr::expressions::{Column, cast};
use headwater_planner::plan::{
    MemoryLookup, Node, NodeId, Pairing, PlanOperator, Step, time_field,
};

use super::time::{node, watermark};
use super::{Bench, expr, rows_with, schema};

fn output() -> SchemaRef {
    let side = schema();
    let fields = side.fields().iter().chain(side.fields()).cloned();
    let fields = fields.chain([Arc::new(time_field())]);
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Rows of `stream` whose number is in `table`: `out` sees the number in the text that it has there.
pub(crate) fn looked_up(bench: &mut Bench, waits: bool) -> Vec<Node> {
    let exchange = |id, input| node(id, PlanOperator::Exchange(vec![expr("n")]), &[input]);
    let lookup = MemoryLookup {
        table: "table".to_owned(),
        schema: schema(),
        pairing: Pairing {
            keys: vec![expr("n")],
            columns: vec![0],
            filter: None,
            outer: false,
            timed: true,
        },
        change: None,
        waits,
    };
    let lookup = PlanOperator::MemoryLookup(Arc::new(lookup));
    let text = Arc::new(Column::new("text", 3));
    let found = cast(text, &output(), DataType::Int64).unwrap();
    let shown = Arc::new(Schema::new(vec![Field::new(
        "found",
        DataType::Int64,
        true,
    )]));
    let shows = Step::Project {
        exprs: vec![found],
        schema: Arc::clone(&shown),
    };
    let inputs = vec![NodeId(4), NodeId(5)];
    vec![
        bench.source("stream"),
        bench.source("table"),
        watermark(0),
        watermark(1),
        exchange("exchange_stream", 2),
        exchange("exchange_table", 3),
        Node {
            id: "lookup".to_owned(),
            operator: lookup,
            inputs,
            schema: output(),
        },
        Node {
            id: "chain".to_owned(),
            operator: PlanOperator::Chain(vec![shows]),
            inputs: vec![NodeId(6)],
            schema: shown,
        },
        bench.sink("out", 7),
    ]
}

/// Rows of the table with these texts.
pub(crate) fn known(rows: &[(i64, i64)]) -> RecordBatch {
    let (keys, texts): (Vec<_>, Vec<_>) = rows
        .iter()
        .map(|(key, text)| (*key, text.to_string()))
        .unzip();
    rows_with(&keys, texts)
}
