use arrow::array::{AsArray, Int64Array, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimestampNanosecondType};
use datafusion::common::{JoinType, NullEquality};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use headwater_connector::Metrics;
use headwater_planner::plan::time_field;

use super::*;
use crate::durable::part::stored_again;
use crate::operators::stateful::END;

/// A row: value and event time.
type Row = (i64, i64);

fn schema() -> SchemaRef {
    let value = Field::new("value", DataType::Int64, true);
    Arc::new(Schema::new(vec![value, time_field()]))
}

fn leaf(index: usize) -> Arc<dyn ExecutionPlan> {
    Arc::new(InstantInput::new(index, schema()))
}

fn machine(plan: Arc<dyn ExecutionPlan>, inputs: usize) -> Instant {
    counted(plan, inputs, &Arc::default())
}

fn counted(plan: Arc<dyn ExecutionPlan>, inputs: usize, metrics: &Arc<Metrics>) -> Instant {
    let context = MachineContext {
        inputs: vec![schema(); inputs],
        output: plan.schema(),
        late: LateRows::new(metrics, false),
        spool: None,
    };
    let times = vec![1; inputs];
    Instant::new(&Arc::new(plan::Instant { plan, times }), &context)
}

fn give(machine: &mut Instant, input: usize, rows: &[Row]) {
    let values: Int64Array = rows.iter().map(|row| row.0).collect();
    let times: TimestampNanosecondArray = rows.iter().map(|row| Some(row.1)).collect();
    let batch = RecordBatch::try_new(schema(), vec![Arc::new(values), Arc::new(times)]);
    let made = machine.rows(input, batch.expect("rows of the schema"));
    assert_eq!(made.expect("no error"), []);
}

/// What is due, with the value of the first column and the time in the last.
fn due(machine: &mut Instant, watermark: i64) -> Vec<Row> {
    machine.advance(watermark).expect("no error");
    let mut due = Vec::new();
    while let Some(piece) = machine.emit().expect("no error") {
        let values = piece.column(0).as_primitive::<Int64Type>();
        let times = piece.columns().last().expect("a time");
        let times = times.as_primitive::<TimestampNanosecondType>();
        due.extend(
            values
                .values()
                .iter()
                .zip(times.values())
                .map(|(v, t)| (*v, *t)),
        );
    }
    due
}

#[test]
fn an_instant_is_put_out_when_the_watermark_has_passed_it() {
    let mut machine = machine(leaf(0), 1);
    give(&mut machine, 0, &[(1, 20), (2, 10), (3, 20), (4, 30)]);
    give(&mut machine, 0, &[(5, 10)]);
    assert_eq!(due(&mut machine, 10), []);
    // in the order of time, then of arrival
    assert_eq!(due(&mut machine, 21), [(2, 10), (5, 10), (1, 20), (3, 20)]);
    assert_eq!(due(&mut machine, END), [(4, 30)]);
    assert_eq!(machine.size(), 0);
}

#[test]
fn rows_of_an_instant_that_is_over_are_late() {
    let metrics = Arc::default();
    let mut machine = counted(leaf(0), 1, &metrics);
    assert_eq!(due(&mut machine, 20), []);
    give(&mut machine, 0, &[(1, 19), (2, 20), (3, 10)]);
    assert_eq!(due(&mut machine, END), [(2, 20)]);
    assert_eq!(metrics.snapshot().late_rows, 2);
}

/// The rows of two inputs, joined by their values, those of the second on the left.
fn joined(join: JoinType) -> Vec<Row> {
    let key = || Arc::new(Column::new("value", 0)) as Arc<dyn PhysicalExpr>;
    let join = HashJoinExec::try_new(
        leaf(1),
        leaf(0),
        vec![(key(), key())],
        None,
        &join,
        None,
        PartitionMode::CollectLeft,
        NullEquality::NullEqualsNothing,
        false,
    );
    let mut machine = machine(Arc::new(join.expect("a join")), 2);
    give(&mut machine, 0, &[(1, 10), (2, 10), (3, 20)]);
    give(&mut machine, 1, &[(1, 10), (1, 20), (3, 20), (3, 30)]);
    due(&mut machine, END)
}

#[test]
fn a_join_takes_the_rows_of_one_instant_and_forgets_those_before() {
    assert_eq!(joined(JoinType::Inner), [(1, 10), (3, 20)]);
    assert_eq!(joined(JoinType::LeftAnti), [(1, 20), (3, 30)]);
    assert_eq!(joined(JoinType::RightAnti), [(2, 10)]);
}

#[test]
fn a_join_of_a_hot_key_comes_in_pieces() {
    let key = || Arc::new(Column::new("value", 0)) as Arc<dyn PhysicalExpr>;
    let join = HashJoinExec::try_new(
        leaf(0),
        leaf(1),
        vec![(key(), key())],
        None,
        &JoinType::Full,
        None,
        PartitionMode::CollectLeft,
        NullEquality::NullEqualsNothing,
        false,
    );
    let mut machine = machine(Arc::new(join.expect("a join")), 2);
    give(&mut machine, 0, &vec![(1, 10); 3000]);
    give(&mut machine, 1, &vec![(1, 10); 30]);
    machine.advance(END).expect("no error");
    let mut rows = 0;
    while let Some(piece) = machine.emit().expect("no error") {
        assert!(
            piece.num_rows() <= 8192,
            "{} rows at once",
            piece.num_rows()
        );
        rows += piece.num_rows();
    }
    assert_eq!(rows, 90_000);
}

#[test]
fn another_machine_goes_on_with_the_state() {
    let metrics = Arc::default();
    let mut before = counted(leaf(0), 1, &metrics);
    give(&mut before, 0, &[(1, 10), (2, 20), (3, 10)]);
    give(&mut before, 0, &[(4, 20), (5, 30)]);
    assert_eq!(due(&mut before, 11), [(1, 10), (3, 10)]);
    let parts = before.snapshot().expect("a snapshot");
    let mut machine = counted(leaf(0), 1, &metrics);
    let parts = parts.iter().map(stored_again).collect();
    machine.restore(parts).expect("the state of the plan");
    assert!(machine.size() > 0);
    give(&mut machine, 0, &[(6, 10), (7, 20)]);
    assert_eq!(metrics.snapshot().late_rows, 1, "10 was put out before");
    assert_eq!(due(&mut machine, 21), [(2, 20), (4, 20), (7, 20)]);
    assert_eq!(due(&mut machine, END), [(5, 30)]);
}
