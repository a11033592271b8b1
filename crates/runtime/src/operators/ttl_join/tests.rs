use std::collections::VecDeque;
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimestampNanosecondType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use headwater_connector::Metrics;
use headwater_planner::plan::time_field;
use proptest::prelude::*;

use super::*;
use crate::durable::part::disk::{Disk, divided};
use crate::operators::stateful::END;

/// A row of either side: key, value, event time.
type Given = (Option<&'static str>, i64, i64);

/// What is done with a join: rows of an input, or a watermark.
enum Do {
    Left(Vec<Given>),
    Right(Vec<Given>),
    Advance(i64),
}
use Do::{Advance, Left, Right};

/// The key and the values of both sides, and the time.
type Joined = (String, i64, i64, i64);

const TTL: i64 = 10;

fn side() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, true),
        time_field(),
        Field::new("value", DataType::Int64, false),
    ]))
}

fn join() -> TtlJoin {
    counted(&Arc::default())
}

fn counted(metrics: &Arc<Metrics>) -> TtlJoin {
    let column = |name: &str| Field::new(name, DataType::Int64, false);
    let key = |name: &str| Field::new(name, DataType::Utf8, true);
    let output = Schema::new(vec![
        key("left_key"),
        column("left"),
        key("right_key"),
        column("right"),
        time_field(),
    ]);
    let key = || Arc::new(Column::new("key", 0)) as Arc<dyn PhysicalExpr>;
    let plan = plan::TtlJoin {
        on: vec![(key(), key())],
        times: [1, 1],
        ttl: Duration::from_nanos(TTL.unsigned_abs()),
    };
    let context = MachineContext {
        inputs: vec![side(), side()],
        output: Arc::new(output),
        late: LateRows::new(metrics, false),
        spool: None,
    };
    TtlJoin::new(&Arc::new(plan), &context).expect("keys of a type that has a row format")
}

fn rows(given: &[Given]) -> RecordBatch {
    let keys: StringArray = given.iter().map(|row| row.0).collect();
    let values: Int64Array = given.iter().map(|row| row.1).collect();
    let times: TimestampNanosecondArray = given.iter().map(|row| Some(row.2)).collect();
    RecordBatch::try_new(
        side(),
        vec![Arc::new(keys), Arc::new(times), Arc::new(values)],
    )
    .expect("rows of the schema")
}

fn joined(batch: &RecordBatch) -> Vec<Joined> {
    let keys = batch.column(0).as_string::<i32>();
    let int = |column: usize| batch.column(column).as_primitive::<Int64Type>();
    let times = batch.column(4).as_primitive::<TimestampNanosecondType>();
    let row = |row| {
        let key = keys.value(row).to_owned();
        (key, int(1).value(row), int(3).value(row), times.value(row))
    };
    (0..batch.num_rows()).map(row).collect()
}

fn run(join: &mut TtlJoin, doings: &[Do]) -> Vec<Joined> {
    let mut made = Vec::new();
    for doing in doings {
        take(join, doing);
        made.extend(emitted(join));
    }
    made
}

fn take(join: &mut TtlJoin, doing: &Do) {
    match doing {
        Left(given) => assert!(join.rows(0, rows(given)).expect("no error").is_empty()),
        Right(given) => assert!(join.rows(1, rows(given)).expect("no error").is_empty()),
        Advance(watermark) => join.advance(*watermark).expect("no error"),
    }
}

/// All that is due.
fn emitted(join: &mut TtlJoin) -> Vec<Joined> {
    let mut made = Vec::new();
    while let Some(piece) = join.emit().expect("no error") {
        assert!(
            piece.num_rows() <= 8192,
            "{} rows at once",
            piece.num_rows()
        );
        made.extend(joined(&piece));
    }
    assert!(!join.is_due());
    made
}

fn check(doings: &[Do], expect: &[(&str, i64, i64, i64)]) {
    let expect = expect.iter();
    let expect: Vec<Joined> = expect
        .map(|(key, left, right, time)| ((*key).to_owned(), *left, *right, *time))
        .collect();
    assert_eq!(run(&mut join(), doings), expect);
}

const A: Option<&str> = Some("a");
const B: Option<&str> = Some("b");

#[test]
fn rows_meet_whichever_comes_first() {
    check(
        &[Left(vec![(A, 1, 100)]), Right(vec![(A, 2, 105)])],
        &[("a", 1, 2, 105)],
    );
    check(
        &[Right(vec![(A, 2, 105)]), Left(vec![(A, 1, 100)])],
        &[("a", 1, 2, 105)],
    );
    check(&[Left(vec![(A, 1, 100)]), Right(vec![(B, 2, 100)])], &[]);
    // those of one row in the order in which its partners came
    check(
        &[
            Left(vec![(A, 1, 101), (B, 2, 101), (A, 3, 100)]),
            Right(vec![(B, 4, 100), (A, 5, 100)]),
        ],
        &[("b", 2, 4, 101), ("a", 1, 5, 101), ("a", 3, 5, 100)],
    );
}

#[test]
fn null_is_equal_to_nothing() {
    let mut machine = join();
    let empty = machine.size();
    let nothing = [Left(vec![(None, 1, 100)]), Right(vec![(None, 2, 100)])];
    assert_eq!(run(&mut machine, &nothing), []);
    assert_eq!(machine.size(), empty, "rows without a key are not kept");
}

#[test]
fn the_time_to_live_is_between_the_rows() {
    let left = || Left(vec![(A, 1, 100)]);
    check(&[left(), Right(vec![(A, 2, 110)])], &[("a", 1, 2, 110)]);
    check(&[left(), Right(vec![(A, 2, 90)])], &[("a", 1, 2, 100)]);
    check(&[left(), Right(vec![(A, 2, 111)])], &[]);
    // wherever the watermark stands, while the rows come before it
    check(
        &[left(), Advance(110), Right(vec![(A, 2, 110)])],
        &[("a", 1, 2, 110)],
    );
    check(&[left(), Advance(111), Right(vec![(A, 2, 111)])], &[]);
}

#[test]
fn a_row_that_comes_too_late_is_counted_and_left_out() {
    let metrics = Arc::default();
    let mut machine = counted(&metrics);
    let doings = [
        Left(vec![(A, 1, 100)]),
        Advance(112),
        Right(vec![(A, 2, 101), (A, 3, 102)]),
        Left(vec![(A, 4, 112)]),
    ];
    assert_eq!(run(&mut machine, &doings), [("a".to_owned(), 4, 3, 112)]);
    assert_eq!(metrics.snapshot().late_rows, 1);
}

#[test]
fn a_hot_key_comes_in_pieces_and_what_comes_meanwhile_waits() {
    let many: Vec<Given> = (0..3000).map(|row| (A, row, 100)).collect();
    let few: Vec<Given> = (0..30).map(|row| (A, row, 105)).collect();
    let doings = [
        Left(many),
        Right(few),
        // the left rows are dropped only when all their pairs have gone out
        Advance(111),
        Right(vec![(A, 99, 111)]),
        Left(vec![(A, 77, 111)]),
    ];
    let mut machine = join();
    doings.iter().for_each(|doing| take(&mut machine, doing));
    assert!(machine.is_due());
    let made = emitted(&mut machine);
    let pairs = (0..30).flat_map(|right| (0..3000).map(move |left| (left, right, 105)));
    let last = (0..30).map(|right| (77, right, 111)).chain([(77, 99, 111)]);
    let expect = pairs.chain(last);
    let expect = expect.map(|(left, right, time)| ("a".to_owned(), left, right, time));
    assert_eq!(made, expect.collect::<Vec<_>>());
}

#[test]
fn many_partners_that_are_too_far_away_do_not_take_all_the_time() {
    let mut machine = join();
    let far: Vec<Given> = (0..3000).map(|row| (A, row, 100)).collect();
    let other: Vec<Given> = (0..1000).map(|row| (A, row, 200)).collect();
    [Left(far), Right(other)]
        .iter()
        .for_each(|doing| take(&mut machine, doing));
    let mut pieces = 0;
    while let Some(piece) = machine.emit().expect("no error") {
        assert_eq!(piece.num_rows(), 0);
        pieces += 1;
    }
    assert!(pieces >= 3, "{pieces}");
}

#[test]
fn what_is_dropped_is_freed() {
    let mut machine = join();
    let empty = machine.size();
    let many: Vec<Given> = (0..20_000).map(|row| (A, row, row / 100)).collect();
    for part in many.chunks(7) {
        run(&mut machine, &[Left(part.to_vec())]);
    }
    let full = machine.size();
    run(&mut machine, &[Advance(180)]);
    assert!(machine.size() < full / 4, "{} of {full}", machine.size());
    // those of the last 30 ns are there, and are found in order
    let found = run(&mut machine, &[Right(vec![(A, 0, 180)])]);
    let values: Vec<i64> = found.iter().map(|row| row.1).collect();
    assert_eq!(values, (17_000..19_100).collect::<Vec<_>>());
    run(&mut machine, &[Advance(END)]);
    assert_eq!(machine.size(), empty);
}

/// Takes a checkpoint; how many rows are written for it.
fn checkpoint(join: &mut TtlJoin, disk: &mut Disk) -> usize {
    disk.take(&join.snapshot().expect("a snapshot"))
}

/// A machine that takes up what others have left.
fn restored(parts: Vec<Part>) -> TtlJoin {
    let mut machine = join();
    machine.restore(parts).expect("the state of the plan");
    machine
}

/// What each of so many machines has left, for another number of them.
fn redivided(left: Vec<Vec<Part>>, machines: usize) -> Vec<Vec<Part>> {
    let keys = |_input, rows: &RecordBatch| Ok(vec![Arc::clone(rows.column(0))]);
    divided(&join(), left, machines, keys)
}

#[test]
fn a_checkpoint_writes_what_has_come_since_the_last_one() {
    let (mut machine, mut disk) = (join(), Disk::default());
    let many: Vec<Given> = (0..20_000).map(|row| (A, row, row / 2_000)).collect();
    for part in many.chunks(1_000) {
        run(&mut machine, &[Left(part.to_vec())]);
    }
    assert_eq!(checkpoint(&mut machine, &mut disk), 20_000);
    assert_eq!(checkpoint(&mut machine, &mut disk), 0);
    run(
        &mut machine,
        &[Left(vec![(B, 1, 10)]), Right(vec![(B, 2, 10)])],
    );
    assert_eq!(checkpoint(&mut machine, &mut disk), 2);
    let mut machine = restored(disk.parts());
    assert_eq!(checkpoint(&mut machine, &mut disk), 0, "after a restart");
    let made = run(&mut machine, &[Left(vec![(B, 3, 10)])]);
    assert_eq!(made, [("b".to_owned(), 3, 2, 10)]);
}

#[test]
fn a_slow_stream_has_few_parts_and_is_written_few_times() {
    let (mut machine, mut disk) = (join(), Disk::default());
    let (mut written, mut parts) = (0, 0);
    for row in 0..1_000 {
        run(&mut machine, &[Left(vec![(A, row, 0)])]);
        written += checkpoint(&mut machine, &mut disk);
        parts = parts.max(disk.parts().len());
    }
    assert!(parts <= 12, "{parts} parts");
    assert!(written <= 11_000, "{written} rows are written");
}

#[test]
fn what_is_dropped_is_deleted_from_the_disk() {
    let (mut machine, mut disk) = (join(), Disk::default());
    let many: Vec<Given> = (0..40_000).map(|row| (A, row, row / 1_000)).collect();
    for part in many.chunks(1_000) {
        run(&mut machine, &[Left(part.to_vec())]);
    }
    checkpoint(&mut machine, &mut disk);
    assert_eq!(disk.rows(), 40_000);
    // rows of the last 20 ns, and of the chunk in which they begin
    run(&mut machine, &[Advance(30)]);
    assert_eq!(checkpoint(&mut machine, &mut disk), 0, "nothing has come");
    let rows = disk.rows();
    assert!((20_000..28_192).contains(&rows), "{rows} rows");
    // those that are dropped are not late
    let metrics = Arc::default();
    let mut next = counted(&metrics);
    next.restore(disk.parts()).expect("the state of the plan");
    let found = run(&mut next, &[Right(vec![(A, 0, 30)])]);
    assert_eq!(found.len(), 20_000);
    assert_eq!(metrics.snapshot().late_rows, 0);
    run(&mut machine, &[Advance(END)]);
    assert_eq!(checkpoint(&mut machine, &mut disk), 0);
    assert_eq!(disk.rows(), 0);
}

#[test]
fn rows_in_no_order_of_time_are_cleared_away_too() {
    let mut machine = join();
    // one in a hundred is of a later time
    let times = (0..40_000).map(|row| if row % 100 == 0 { 5 } else { row / 20_000 });
    let many: Vec<Given> = times.map(|time| (A, 0, time)).collect();
    for part in many.chunks(1_000) {
        run(&mut machine, &[Left(part.to_vec())]);
    }
    let full = machine.size();
    let later: Vec<Given> = (0..100_000).map(|_| (B, 0, 2)).collect();
    run(&mut machine, &[Left(later), Advance(13)]);
    assert!(machine.size() < full / 4, "{} of {full}", machine.size());
    assert_eq!(run(&mut machine, &[Right(vec![(A, 0, 13)])]).len(), 400);
}

/// What comes behind a checkpoint.
#[derive(Debug, Clone, Copy)]
enum Next {
    GoesOn,
    Restarts,
    /// Other machines have had the state in between, each some of the keys.
    Divides,
}

proptest! {
    /// In any order and any batches, with a watermark that follows, checkpoints, and other machines that take them up: the pairs
    /// of equal keys that are near enough.
    #[test]
    fn joins_what_a_nested_loop_joins(
        left in prop::collection::vec((0..4usize, 0..60i64), 0..60),
        right in prop::collection::vec((0..4usize, 0..60i64), 0..60),
        size in 1..20usize,
        // whether what is due is taken at once, or at the end
        at_once: bool,
        every in 1..9usize,
        nexts in prop::collection::vec(prop::sample::select(vec![Next::GoesOn, Next::Restarts, Next::Divides]), 40),
    ) {
        let keys = [A, B, Some("c"), None];
        let mut given = [left, right].map(|mut side| {
            side.sort_by_key(|row| row.1);
            let rows = side.iter().zip(0..).map(|((key, time), value)| (keys[*key], value, *time));
            rows.collect::<VecDeque<Given>>()
        });
        let mut expect = Vec::new();
        for (key, left, left_time) in &given[0] {
            for (_, right, right_time) in given[1].iter().filter(|row| row.0 == *key) {
                if let Some(key) = key && left_time.abs_diff(*right_time) <= 10 {
                    expect.push(((*key).to_owned(), *left, *right, *left_time.max(right_time)));
                }
            }
        }
        let (mut machine, mut disk) = (join(), Disk::default());
        let mut nexts = nexts.into_iter().cycle();
        let mut made = Vec::new();
        for turn in 0.. {
            let side = &mut given[turn % 2];
            let batch: Vec<Given> = side.drain(..size.min(side.len())).collect();
            take(&mut machine, &match turn % 2 { 0 => Left(batch), _ => Right(batch) });
            if at_once {
                made.extend(emitted(&mut machine));
            }
            let next = given.iter().filter_map(|side| side.front()).map(|row| row.2).min();
            let Some(watermark) = next else { break };
            take(&mut machine, &Advance(watermark));
            if turn % every == 0 {
                made.extend(emitted(&mut machine));
                checkpoint(&mut machine, &mut disk);
                machine = match nexts.next() {
                    Some(Next::Restarts) => restored(disk.parts()),
                    Some(Next::Divides) => {
                        let some = redivided(vec![disk.parts()], 3).into_iter();
                        let left = some.map(|parts| restored(parts).snapshot().expect("a snapshot"));
                        restored(redivided(left.collect(), 1).remove(0))
                    }
                    _ => machine,
                };
            }
        }
        made.extend(emitted(&mut machine));
        made.sort();
        expect.sort();
        prop_assert_eq!(made, expect);
    }
}
