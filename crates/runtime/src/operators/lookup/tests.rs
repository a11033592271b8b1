use arrow::array::{Array, AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::record_batch::RecordBatch;
use datafusion::logical_expr::Operator as Op;
use datafusion::physical_expr::expressions::{binary, col, lit};
use headwater_connector::{Connection, ConnectionType, OperatorConfig, TableSchema};
use proptest::prelude::*;

use super::*;

fn column(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}

fn schema(names: &[&str]) -> SchemaRef {
    let fields: Vec<_> = names.iter().map(|name| column(name)).collect();
    Arc::new(Schema::new(fields))
}

fn batch(names: &[&str], columns: &[Vec<Option<i64>>]) -> RecordBatch {
    let columns = columns.iter().cloned();
    let columns = columns.map(|column| Arc::new(Int64Array::from(column)) as _);
    RecordBatch::try_new(schema(names), columns.collect()).unwrap()
}

/// Rows `key, time` are looked up in a table `id, value` by `key = id`; perhaps only values above a bound.
fn plan(outer: bool, above: Option<i64>) -> plan::Lookup {
    let output = schema(&["key", "id", "value", "time"]);
    let filter = above.map(|bound| {
        let value = col("value", &output).unwrap();
        binary(value, Op::Gt, lit(bound), &output).unwrap()
    });
    let connection = Connection {
        connector: "fake".to_owned(),
        name: "t".to_owned(),
        connection_type: ConnectionType::Lookup,
        profile: Default::default(),
        table: Default::default(),
        config: OperatorConfig {
            schema: TableSchema::payload_only(&schema(&["id", "value"])),
            ..OperatorConfig::default()
        },
        description: String::new(),
    };
    plan::Lookup {
        table: plan::LookupTable::Connected(Arc::new(connection)),
        pairing: plan::Pairing {
            keys: vec![col("key", &schema(&["key", "time"])).unwrap()],
            columns: vec![0],
            filter,
            outer,
            timed: true,
        },
    }
}

type Row = Vec<Option<i64>>;

/// The pieces that come of keys and a table of ids and values.
fn pieces(plan: &plan::Lookup, keys: &[Option<i64>], table: &[(i64, i64)]) -> Vec<Vec<Row>> {
    let times = (0..keys.len() as i64).map(Some).collect();
    let rows = batch(&["key", "time"], &[keys.to_vec(), times]);
    let mut keyed = Keys::new(&plan.pairing, &plan.table.schema())
        .unwrap()
        .of(&rows)
        .unwrap();
    let found = keyed.keys.take().map(|asked| {
        let asked = asked.column(0).as_primitive::<Int64Type>();
        let (mut of_key, mut found) = (Vec::new(), Vec::new());
        for (key, id) in asked.values().iter().enumerate() {
            for row in table.iter().filter(|(other, _)| other == id) {
                of_key.push(key as u32);
                found.push(*row);
            }
        }
        let ids = found.iter().map(|(id, _)| Some(*id)).collect();
        let values = found.iter().map(|(_, value)| Some(*value)).collect();
        Arc::new(Found {
            rows: batch(&["id", "value"], &[ids, values]),
            keys: of_key,
        })
    });
    assert_eq!(found.is_some(), keyed.asks);
    let mut joining = Joining::new(&mut keyed, found);
    let output = schema(&["key", "id", "value", "time"]);
    let mut pieces = Vec::new();
    while let Some(piece) = joining.piece(&plan.pairing, &output).unwrap() {
        let columns = piece.columns().iter();
        let columns: Vec<_> = columns
            .map(|column| column.as_primitive::<Int64Type>())
            .collect();
        let cell =
            |row: usize, column: &Int64Array| column.is_valid(row).then(|| column.value(row));
        let row = |row| columns.iter().map(|column| cell(row, column)).collect();
        pieces.push((0..piece.num_rows()).map(row).collect());
    }
    pieces
}

/// The same by comparing every row with every other.
fn oracle(
    plan: &plan::Lookup,
    above: Option<i64>,
    keys: &[Option<i64>],
    table: &[(i64, i64)],
) -> Vec<Row> {
    let mut rows = Vec::new();
    for (time, key) in keys.iter().enumerate() {
        let pairs = table
            .iter()
            .filter(|(id, value)| *key == Some(*id) && above.is_none_or(|bound| *value > bound));
        let before = rows.len();
        let time = Some(time as i64);
        rows.extend(pairs.map(|(id, value)| vec![*key, Some(*id), Some(*value), time]));
        if rows.len() == before && plan.pairing.outer {
            rows.push(vec![*key, None, None, time]);
        }
    }
    rows
}

#[test]
fn a_hot_key_comes_in_pieces() {
    let table: Vec<_> = (0..20_000).map(|value| (7, value)).collect();
    let keys = [None, Some(7), Some(8), Some(7)];
    for (outer, above) in [
        (false, None),
        (true, None),
        (true, Some(19_990)),
        (true, Some(20_000)),
    ] {
        let plan = plan(outer, above);
        let pieces = pieces(&plan, &keys, &table);
        assert!(pieces.iter().all(|piece| piece.len() <= 8193));
        assert_eq!(pieces.concat(), oracle(&plan, above, &keys, &table));
    }
}

#[test]
fn rows_without_a_key_ask_for_nothing() {
    assert_eq!(
        pieces(&plan(false, None), &[None, None], &[(1, 1)]).concat(),
        Vec::<Row>::new()
    );
    assert_eq!(
        pieces(&plan(true, None), &[None], &[(1, 1)]).concat(),
        [[None, None, None, Some(0)]]
    );
}

proptest! {
    #[test]
    fn pairs_are_those_of_a_nested_loop(
        keys in prop::collection::vec(prop::option::of(0..6_i64), 1..40),
        table in prop::collection::vec((0..8_i64, 0..10_i64), 0..40),
        outer: bool,
        above in prop::option::of(0..10_i64),
    ) {
        // the condition of an inner join is a filter behind it
        let above = above.filter(|_| outer);
        let plan = plan(outer, above);
        prop_assert_eq!(pieces(&plan, &keys, &table).concat(), oracle(&plan, above, &keys, &table));
    }
}
