use std::time::Duration;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int64Array, StringArray, TimestampNanosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::datasource::MemTable;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::first_last::last_value_udaf;
use datafusion::functions_aggregate::min_max::max_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::functions_window::lead_lag::lag_udwf;
use datafusion::functions_window::nth_value::first_value_udwf;
use datafusion::logical_expr::{AggregateUDF, WindowUDF};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{Column, lit};
use datafusion::physical_plan::windows::create_udwf_window_expr;
use datafusion::prelude::SessionContext;
use headwater_connector::Metrics;
use headwater_planner::plan::{Aggregate, Frame, OverCall, OverFunction, time_field};
use proptest::prelude::*;

use super::*;
use crate::durable::divide::by_hash;
use crate::durable::part::disk::{Disk, divided};
use crate::operators::stateful::END;

/// A row: key, value, whether a filter lets it pass, event time.
type Given = (Option<u8>, Option<i64>, bool, i64);

/// Long enough for everything.
const EVER: u64 = 1_000_000;

/// How far rows come behind each other.
const LAG: i64 = 10;

fn input() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, true),
        Field::new("value", DataType::Int64, true),
        Field::new("passes", DataType::Boolean, false),
        Field::new("id", DataType::Int64, false),
        time_field(),
    ]))
}

fn column(name: &str) -> Arc<dyn PhysicalExpr> {
    let index = input().index_of(name).expect("a column");
    Arc::new(Column::new(name, index))
}

fn aggregate(function: Arc<AggregateUDF>, of: &str, frame: Frame) -> OverFunction {
    aggregate_if(function, of, frame, false, false)
}

fn aggregate_if(
    function: Arc<AggregateUDF>,
    of: &str,
    frame: Frame,
    filtered: bool,
    ignore_nulls: bool,
) -> OverFunction {
    let function = AggregateExprBuilder::new(function, vec![column(of)])
        .schema(input())
        .alias("f")
        .with_ignore_nulls(ignore_nulls)
        .build();
    let call = OverCall::Aggregate(Aggregate {
        function: Arc::new(function.expect("a function")),
        filter: filtered.then(|| column("passes")),
    });
    OverFunction { call, frame }
}

fn window(function: Arc<WindowUDF>, args: &[Arc<dyn PhysicalExpr>], frame: Frame) -> OverFunction {
    let function = create_udwf_window_expr(&function, args, &input(), "f".to_owned(), false);
    OverFunction {
        call: OverCall::Window(function.expect("a function")),
        frame,
    }
}

fn rows(from: u64, to: u64) -> Frame {
    Frame::Rows {
        from: Some(from),
        to,
    }
}

fn range(from: u64, to: u64) -> Frame {
    Frame::Range {
        from_ns: Some(from),
        to_ns: to,
    }
}

const FROM_FIRST: Frame = Frame::Rows { from: None, to: 0 };

const FROM_FIRST_TIME: Frame = Frame::Range {
    from_ns: None,
    to_ns: 0,
};

/// A function, and the same in SQL.
type Asked = (OverFunction, &'static str);

fn functions() -> Vec<Asked> {
    let lag = [column("value"), lit(2_i64), lit(-1_i64)];
    vec![
        (
            aggregate(sum_udaf(), "value", range(7, 0)),
            "sum(value) OVER (PARTITION BY key ORDER BY __headwater_time RANGE BETWEEN INTERVAL '7 nanoseconds' PRECEDING AND CURRENT ROW)",
        ),
        (
            aggregate_if(count_udaf(), "value", range(9, 3), true, false),
            "count(value) FILTER (WHERE passes) OVER (PARTITION BY key ORDER BY __headwater_time
               RANGE BETWEEN INTERVAL '9 nanoseconds' PRECEDING AND INTERVAL '3 nanoseconds' PRECEDING)",
        ),
        (
            aggregate(max_udaf(), "value", rows(3, 1)),
            "max(value) OVER (PARTITION BY key ORDER BY __headwater_time, id ROWS BETWEEN 3 PRECEDING AND 1 PRECEDING)",
        ),
        (
            window(lag_udwf(), &lag, rows(2, 0)),
            "lag(value, 2, -1) OVER (PARTITION BY key ORDER BY __headwater_time, id)",
        ),
        (
            window(first_value_udwf(), &[column("value")], rows(4, 0)),
            "first_value(value) OVER (PARTITION BY key ORDER BY __headwater_time, id ROWS 4 PRECEDING)",
        ),
        (
            aggregate(sum_udaf(), "value", FROM_FIRST_TIME),
            "sum(value) OVER (PARTITION BY key ORDER BY __headwater_time)",
        ),
        (
            aggregate_if(count_udaf(), "value", FROM_FIRST, true, false),
            "count(value) FILTER (WHERE passes) OVER (PARTITION BY key ORDER BY __headwater_time, id ROWS UNBOUNDED PRECEDING)",
        ),
        (
            aggregate_if(last_value_udaf(), "value", FROM_FIRST, false, true),
            "last_value(value) IGNORE NULLS OVER (PARTITION BY key ORDER BY __headwater_time, id ROWS UNBOUNDED PRECEDING)",
        ),
    ]
}

fn over(functions: Vec<OverFunction>, ttl: u64, metrics: &Arc<Metrics>) -> Over {
    let mut output: Vec<_> = input().fields().iter().cloned().collect();
    let time = output.pop().expect("a time");
    for function in &functions {
        let of = match &function.call {
            OverCall::Aggregate(aggregate) => aggregate.function.field(),
            OverCall::Window(window) => window.field().expect("a field"),
        };
        let field = Field::new("f", of.data_type().clone(), true);
        output.push(Arc::new(field));
    }
    output.push(time);
    let plan = plan::Over {
        keys: vec![column("key")],
        functions,
        time: 4,
        ttl: Duration::from_nanos(ttl),
    };
    let context = MachineContext {
        inputs: vec![input()],
        output: Arc::new(Schema::new(output)),
        late: LateRows::new(metrics, false),
        spool: None,
    };
    Over::new(&Arc::new(plan), &context).expect("a machine")
}

/// Rows, numbered from `first`.
fn batch(given: &[Given], first: usize) -> RecordBatch {
    let key = |key: Option<u8>| key.map(|key| format!("k{key}"));
    let keys: StringArray = given.iter().map(|row| key(row.0)).collect();
    let values: Int64Array = given.iter().map(|row| row.1).collect();
    let passes: BooleanArray = given.iter().map(|row| Some(row.2)).collect();
    let ids = Int64Array::from_iter_values((first as i64..).take(given.len()));
    let times = TimestampNanosecondArray::from_iter_values(given.iter().map(|row| row.3));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(keys),
        Arc::new(values),
        Arc::new(passes),
        Arc::new(ids),
        Arc::new(times),
    ];
    RecordBatch::try_new(input(), columns).expect("rows of the schema")
}

fn due(machine: &mut Over, watermark: i64) -> Vec<RecordBatch> {
    machine.advance(watermark).expect("no error");
    let mut due = Vec::new();
    while let Some(piece) = machine.emit().expect("no error") {
        due.push(piece);
    }
    due
}

/// The values of the functions, behind the row's number.
fn answered(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut lines = Vec::new();
    for batch in batches {
        let ids = batch.column(3).as_primitive::<Int64Type>();
        let functions = &batch.columns()[4..batch.num_columns() - 1];
        let functions = functions.iter();
        let functions: Vec<_> = functions
            .map(|values| ArrayFormatter::try_new(values, &options).expect("a type"))
            .collect();
        for row in 0..batch.num_rows() {
            let values = functions.iter().map(|values| values.value(row).to_string());
            let id = format!("{:3}:", ids.value(row));
            lines.push([id].into_iter().chain(values).collect::<Vec<_>>().join(" "));
        }
    }
    lines
}

/// What DataFusion says of all rows at once.
fn oracle(given: &[Given], functions: &[Asked]) -> Vec<String> {
    let all = batch(given, 0);
    let table = MemTable::try_new(all.schema(), vec![vec![all]]).expect("a table");
    let functions: Vec<_> = functions.iter().map(|(_, sql)| *sql).collect();
    let functions = functions.join(", ");
    let sql = format!(
        "SELECT key, value, passes, id, {functions}, __headwater_time FROM rows ORDER BY id"
    );
    let answer = async {
        let context = SessionContext::new();
        context
            .register_table("rows", Arc::new(table))
            .expect("a name");
        context.sql(&sql).await?.collect().await
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let answer = runtime.expect("a runtime").block_on(answer);
    answered(&answer.expect("an answer"))
}

/// Machines among which rows are divided by key, and their checkpoints.
struct Machines(Vec<Over>, Vec<Asked>, Disk);

impl Machines {
    fn new(count: usize, functions: &[Asked], metrics: &Arc<Metrics>) -> Self {
        let machine = || {
            let functions = functions.iter().map(|(function, _)| function.clone());
            over(functions.collect(), EVER, metrics)
        };
        let machines = (0..count).map(|_| machine());
        Self(machines.collect(), functions.to_vec(), Disk::default())
    }

    fn rows(&mut self, rows: &RecordBatch) {
        let keys = vec![Arc::clone(rows.column(0))];
        for (machine, own) in by_hash(rows, keys, self.0.len()).expect("keys") {
            self.0[machine].rows(0, own).expect("no error");
        }
    }

    fn due(&mut self, watermark: i64) -> Vec<RecordBatch> {
        let machines = self.0.iter_mut();
        machines
            .flat_map(|machine| due(machine, watermark))
            .collect()
    }

    /// So many others go on with what these have left on the disk.
    fn followed(mut self, count: usize, metrics: &Arc<Metrics>) -> Self {
        let mut others = Self::new(count, &self.1, metrics);
        let machines = self.0.iter_mut();
        let left = machines.map(|machine| machine.snapshot().expect("a snapshot"));
        let left: Vec<_> = left.collect();
        self.2.take(&left.concat());
        let mut stored = self.2.parts().into_iter();
        let left = left.iter().map(Vec::len);
        let left: Vec<_> = left
            .map(|parts| stored.by_ref().take(parts).collect())
            .collect();
        let keys = |_input, rows: &RecordBatch| Ok(vec![Arc::clone(rows.column(0))]);
        let shares = match left.len() == count {
            true => left,
            false => divided(&others.0[0], left, count, keys),
        };
        for (machine, share) in others.0.iter_mut().zip(shares) {
            machine.restore(share).expect("the state of the plan");
        }
        others.2 = self.2;
        others
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// In any order that the watermark allows and any batches, with other machines that take up the state: what DataFusion says
    /// of all rows at once.
    #[test]
    fn says_what_a_batch_says(
        steps in prop::collection::vec((0..6i64, 0..LAG, prop::option::weighted(0.9, 0..4u8),
            prop::option::weighted(0.8, -50..50i64), any::<bool>()), 1..80),
        size in 1..20usize,
        restart_every in 1..5usize,
        counts in prop::collection::vec(1..4usize, 1..4),
        only_ranges: bool,
    ) {
        let mut latest = 0;
        let given = steps.into_iter().map(|(step, back, key, value, passes)| {
            latest += step;
            (key, value, passes, latest - back)
        });
        let given: Vec<Given> = given.collect();
        let metrics = Arc::default();
        let mut functions = functions();
        // the first look at ranges, so that nothing is kept by number
        functions.truncate(if only_ranges { 2 } else { 8 });
        let mut machines = Machines::new(counts[0], &functions, &metrics);
        let (mut made, mut latest) = (Vec::new(), i64::MIN);
        for (turn, rows) in given.chunks(size).enumerate() {
            machines.rows(&batch(rows, turn * size));
            latest = rows.iter().map(|row| row.3).fold(latest, i64::max);
            made.extend(machines.due(latest - LAG));
            if turn % restart_every == 0 {
                let count = counts[(turn / restart_every) % counts.len()];
                machines = machines.followed(count, &metrics);
            }
        }
        made.extend(machines.due(END));
        for machine in &machines.0 {
            prop_assert_eq!(machine.size(), 0);
        }
        let mut made = answered(&made);
        made.sort();
        prop_assert_eq!(metrics.snapshot().late_rows, 0);
        prop_assert_eq!(made, oracle(&given, &functions));
    }
}

fn row(key: u8, value: i64, time: i64) -> Given {
    (Some(key), Some(value), true, time)
}

#[test]
fn rows_come_out_in_the_order_of_time_and_late_ones_do_not() {
    let metrics = Arc::default();
    let mut machine = over(
        vec![aggregate(sum_udaf(), "value", range(5, 0))],
        EVER,
        &metrics,
    );
    let rows = [row(1, 1, 20), row(2, 2, 10), row(1, 3, 15), row(1, 4, 15)];
    machine.rows(0, batch(&rows, 0)).expect("no error");
    assert_eq!(answered(&due(&mut machine, 10)), [] as [&str; 0]);
    assert_eq!(
        answered(&due(&mut machine, 16)),
        ["  1: 2", "  2: 7", "  3: 7"]
    );
    let late = [row(1, 5, 15), row(1, 6, 16)];
    machine.rows(0, batch(&late, 4)).expect("no error");
    assert_eq!(metrics.snapshot().late_rows, 1);
    assert_eq!(answered(&due(&mut machine, END)), ["  5: 13", "  0: 14"]);
}

#[test]
fn what_is_kept_by_number_is_forgotten_after_a_pause() {
    let functions = || {
        vec![
            window(lag_udwf(), &[column("value")], rows(1, 0)),
            aggregate(count_udaf(), "value", FROM_FIRST),
            aggregate(max_udaf(), "value", range(30, 0)),
        ]
    };
    // the longest range is longer than this
    let mut machine = over(functions(), 20, &Arc::default());
    let empty = machine.size();
    let given = [row(1, 1, 0), row(1, 2, 30), row(1, 3, 61), row(1, 4, 62)];
    let expect = ["  0: NULL 1 1", "  1: 1 2 2", "  2: NULL 1 3", "  3: 3 2 4"];
    machine.rows(0, batch(&given, 0)).expect("no error");
    assert_eq!(answered(&due(&mut machine, 63)), expect);
    // it is the same when time has passed in between
    let mut machine = over(functions(), 20, &Arc::default());
    let mut made = Vec::new();
    for (index, row) in given.iter().enumerate() {
        machine.rows(0, batch(&[*row], index)).expect("no error");
        made.extend(answered(&due(&mut machine, row.3 + 1)));
    }
    assert_eq!(made, expect);
    assert!(machine.size() > empty);
    due(&mut machine, 200);
    assert_eq!(machine.size(), empty, "keys are forgotten");
    // and when other machines have gone on
    let (mut disk, mut made) = (Disk::default(), Vec::new());
    for (index, row) in given.iter().enumerate() {
        let mut machine = over(functions(), 20, &Arc::default());
        machine
            .restore(disk.parts())
            .expect("the state of the plan");
        machine.rows(0, batch(&[*row], index)).expect("no error");
        made.extend(answered(&due(&mut machine, row.3 + 1)));
        disk.take(&machine.snapshot().expect("a snapshot"));
    }
    assert_eq!(made, expect);
}

#[test]
fn a_checkpoint_writes_the_rows_that_have_come_since_the_last_one() {
    let functions = || {
        vec![
            aggregate(max_udaf(), "value", range(30, 0)),
            window(lag_udwf(), &[column("value")], rows(1, 0)),
        ]
    };
    let (mut machine, mut disk) = (over(functions(), 50, &Arc::default()), Disk::default());
    let mut checkpoint = |machine: &mut Over| disk.take(&machine.snapshot().expect("a snapshot"));
    let all: Vec<Given> = (0..200).map(|key| row(key, 1, 0)).collect();
    machine.rows(0, batch(&all, 0)).expect("no error");
    assert_eq!(checkpoint(&mut machine), 200, "they are not due");
    due(&mut machine, 1);
    assert_eq!(checkpoint(&mut machine), 200, "they are kept");
    assert_eq!(checkpoint(&mut machine), 0);
    let more: Vec<Given> = (0..3).map(|key| row(key, 1, 1)).collect();
    machine.rows(0, batch(&more, 0)).expect("no error");
    due(&mut machine, 2);
    assert_eq!(checkpoint(&mut machine), 3);
    due(&mut machine, 100);
    assert_eq!(checkpoint(&mut machine), 0);
    assert_eq!(disk.rows(), 0, "what is forgotten is deleted");
}

#[test]
fn many_rows_come_in_pieces_and_what_is_not_looked_at_is_freed() {
    let functions = vec![
        aggregate(sum_udaf(), "value", range(100, 0)),
        window(lag_udwf(), &[column("value")], rows(1, 0)),
    ];
    let mut machine = over(functions, EVER, &Arc::default());
    let given: Vec<Given> = (0..100_000)
        .map(|n| row((n % 7) as u8, 1, n / 10))
        .collect();
    for (index, rows) in given.chunks(1000).enumerate() {
        machine
            .rows(0, batch(rows, index * 1000))
            .expect("no error");
    }
    let all = machine.size();
    machine.advance(END - 1).expect("no error");
    let mut pieces = Vec::new();
    while let Some(piece) = machine.emit().expect("no error") {
        assert!(piece.num_rows() <= 8192, "{} at once", piece.num_rows());
        pieces.push(piece);
    }
    let made = concat_batches(&pieces[0].schema(), &pieces).expect("one schema");
    assert_eq!(made.num_rows(), 100_000);
    let sums = made.column(4).as_primitive::<Int64Type>();
    // 101 times ten rows, of which every seventh is of the key
    let whole = sums.values().iter().skip(2000);
    assert!(whole.clone().all(|sum| (144..=145).contains(sum)));
    assert!(machine.size() < all / 20, "{} of {all}", machine.size());
}

#[test]
fn rows_that_are_kept_are_moved_when_others_are_dropped() {
    // of a few keys one row each, for ever, and a busy one
    let lag = vec![window(lag_udwf(), &[column("value")], rows(1, 0))];
    let mut machine = over(lag, u64::MAX, &Arc::default());
    let quiet = |time| -> Vec<Given> {
        let keys = 1..200;
        keys.map(|key| row(key, i64::from(key), time)).collect()
    };
    machine.rows(0, batch(&quiet(0), 0)).expect("no error");
    due(&mut machine, 1);
    for turn in 1..200 {
        let busy: Vec<Given> = (0..500).map(|n| row(0, n, turn)).collect();
        machine.rows(0, batch(&busy, 0)).expect("no error");
        due(&mut machine, turn + 1);
    }
    assert!(
        machine.history.count() < 30_000,
        "{}",
        machine.history.count()
    );
    machine.rows(0, batch(&quiet(200), 0)).expect("no error");
    let made = answered(&due(&mut machine, END - 1));
    let expect = (1..200).map(|key| format!("{:3}: {key}", key - 1));
    assert_eq!(made, expect.collect::<Vec<_>>());
}
