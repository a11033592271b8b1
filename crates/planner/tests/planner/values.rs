//! What the expressions of a plan compute from a batch.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, new_null_array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{SchemaRef, TimestampNanosecondType};
use arrow::util::pretty::pretty_format_batches;
use headwater_planner::{Plan, PlanOperator, Step};

use crate::fake::plan;

/// Runs the only chain of a plan over a batch.
fn evaluate(plan: &Plan, mut batch: RecordBatch) -> RecordBatch {
    for node in &plan.nodes {
        let PlanOperator::Chain(steps) = &node.operator else {
            continue;
        };
        for step in steps {
            batch = apply(step, &batch);
        }
    }
    batch
}

fn apply(step: &Step, batch: &RecordBatch) -> RecordBatch {
    match step {
        Step::Filter {
            predicate,
            projection,
        } => {
            let mask = predicate.evaluate(batch).unwrap();
            let mask = mask.into_array(batch.num_rows()).unwrap();
            let filtered = filter_record_batch(batch, mask.as_boolean()).unwrap();
            match projection {
                Some(columns) => filtered.project(columns).unwrap(),
                None => filtered,
            }
        }
        Step::Project { exprs, schema } => {
            let columns = exprs.iter().map(|expr| {
                let value = expr.evaluate(batch).unwrap();
                value.into_array(batch.num_rows()).unwrap()
            });
            RecordBatch::try_new(Arc::clone(schema), columns.collect()).unwrap()
        }
        Step::Columns(columns) => batch.project(columns).unwrap(),
        Step::Unnest(_) => panic!("no unnest here"),
    }
}

/// A batch of `readings` with documents in `data`.
fn readings(schema: &SchemaRef, documents: Vec<Option<&str>>) -> RecordBatch {
    let rows = documents.len();
    let columns = schema
        .fields()
        .iter()
        .map(|field| match field.name().as_str() {
            "device" => Arc::new(StringArray::from(vec!["d"; rows])) as ArrayRef,
            "temperature" => Arc::new(Float64Array::from(vec![20.5; rows])),
            "data" => Arc::new(StringArray::from(documents.clone())),
            _ => new_null_array(field.data_type(), rows),
        });
    RecordBatch::try_new(Arc::clone(schema), columns.collect()).unwrap()
}

fn values(sql: &str, documents: Vec<Option<&str>>) -> String {
    let plan = plan(sql).unwrap().plan.unwrap();
    let batch = evaluate(&plan, readings(&plan.nodes[0].schema, documents));
    assert_eq!(batch.schema(), plan.nodes.last().unwrap().schema);
    pretty_format_batches(&[batch]).unwrap().to_string()
}

const DOCUMENTS: [Option<&str>; 4] = [
    Some(r#"{"a": [1, "two", {"b": 3}], "s": "q\"uote", "n": 4, "f": 1.5}"#),
    Some(r#"{"a": [], "n": "4"}"#),
    Some("no json"),
    None,
];

#[test]
fn json_paths() {
    let sql = "SELECT extract_json(data, '$.a[*]') AS every,
        get_first_json_object(data, '$.s') AS first,
        extract_json_string(data, '$.s') AS text,
        extract_json_string(data, '$.n') AS n FROM readings";
    insta::assert_snapshot!(values(sql, DOCUMENTS.to_vec()), @r#"
    +---------------------+-----------+--------+---+
    | every               | first     | text   | n |
    +---------------------+-----------+--------+---+
    | [1, "two", {"b":3}] | "q\"uote" | q"uote |   |
    | []                  |           |        | 4 |
    |                     |           |        |   |
    |                     |           |        |   |
    +---------------------+-----------+--------+---+
    "#);
}

#[test]
fn json_operators() {
    let sql =
        "SELECT data -> 'a' AS a, data ->> 's' AS s, data -> 's' AS js, (data -> 'n')::BIGINT AS n,
        data -> 'a' -> 2 ->> 'b' AS b, data ? 'f' AS f FROM readings";
    insta::assert_snapshot!(values(sql, DOCUMENTS.to_vec()), @r#"
    +----------------------+--------+-----------+---+---+-------+
    | a                    | s      | js        | n | b | f     |
    +----------------------+--------+-----------+---+---+-------+
    | [1, "two", {"b": 3}] | q"uote | "q\"uote" | 4 | 3 | true  |
    | []                   |        | null      | 4 |   | false |
    | null                 |        | null      |   |   | false |
    | null                 |        | null      |   |   | false |
    +----------------------+--------+-----------+---+---+-------+
    "#);
}

#[test]
fn json_into_the_columns_of_a_sink() {
    let sql = "INSERT INTO alerts SELECT data -> 's', data -> 'n' FROM readings";
    insta::assert_snapshot!(values(sql, DOCUMENTS.to_vec()), @r#"
    +-----------+-------------+
    | device    | temperature |
    +-----------+-------------+
    | "q\"uote" | 4.0         |
    |           | 4.0         |
    |           |             |
    |           |             |
    +-----------+-------------+
    "#);
}

#[test]
fn json_from_a_subquery_into_the_columns_of_a_sink() {
    let sql = "INSERT INTO alerts SELECT s, n FROM (SELECT data -> 's' AS s, data -> 'n' AS n FROM readings) AS t
        WHERE s IS NOT NULL OR n IS NOT NULL";
    insta::assert_snapshot!(values(sql, DOCUMENTS.to_vec()), @r#"
    +-----------+-------------+
    | device    | temperature |
    +-----------+-------------+
    | "q\"uote" | 4.0         |
    |           |             |
    +-----------+-------------+
    "#);
}

#[test]
fn a_filter_drops_rows_for_which_it_is_null() {
    let sql = "SELECT device FROM readings WHERE data ->> 'n' = '4'";
    insta::assert_snapshot!(values(sql, DOCUMENTS.to_vec()), @r#"
    +--------+
    | device |
    +--------+
    | d      |
    | d      |
    +--------+
    "#);
}

/// Planned once, the clock still moves from batch to batch: folded when planned, it would stand still for ever.
#[test]
fn the_clock_moves_between_batches() {
    let plan = plan("SELECT now() AS n FROM readings WHERE now() IS NOT NULL").unwrap();
    let plan = plan.plan.unwrap();
    let read = || {
        let batch = evaluate(&plan, readings(&plan.nodes[0].schema, vec![None]));
        batch
            .column(0)
            .as_primitive::<TimestampNanosecondType>()
            .value(0)
    };
    let first = read();
    let deadline = Instant::now() + Duration::from_secs(10);
    while read() == first {
        assert!(Instant::now() < deadline, "now() stands still at {first}");
    }
    assert!(read() > first);
}

/// Each row gets its own random number.
#[test]
fn random_differs_from_row_to_row() {
    let plan = plan("SELECT random() AS r FROM readings")
        .unwrap()
        .plan
        .unwrap();
    let batch = evaluate(&plan, readings(&plan.nodes[0].schema, vec![None; 2]));
    let numbers = batch
        .column(0)
        .as_primitive::<arrow::datatypes::Float64Type>();
    assert_ne!(numbers.value(0), numbers.value(1));
}
