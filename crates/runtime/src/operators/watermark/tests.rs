//! What comes out for what comes in.

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimestampNanosecondType};
use datafusion::logical_expr::Operator as Op;
use datafusion::physical_expr::expressions::{binary, cast, col, lit};
use headwater_connector::Metrics;
use headwater_planner::plan::{TIME_TYPE, with_time};

use super::*;

fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("t", DataType::Int64, true)]))
}

fn batch(times: &[Option<i64>]) -> RecordBatch {
    let times = Int64Array::from(times.to_vec());
    RecordBatch::try_new(columns(), vec![Arc::new(times)]).unwrap()
}

/// The event time is the column `t`, the watermark 10 ns earlier.
fn by_value() -> EventTime {
    let t = col("t", &columns()).unwrap();
    let before = binary(Arc::clone(&t), Op::Minus, lit(10_i64), &columns()).unwrap();
    let time = |expr| cast(expr, &columns(), TIME_TYPE).unwrap();
    EventTime::Value {
        time: time(t),
        watermark: time(before),
    }
}

const SOURCE: Lane = Lane(3);
const OWN: Lane = Lane(5);

struct Bench(Watermarks);

impl Bench {
    fn new(time: EventTime, idle: Option<Duration>, bad_rows: BadRows) -> Self {
        let watermark = Watermark {
            time,
            idle,
            table: "readings".to_owned(),
        };
        let lanes = (Minimum::new([(0, SOURCE)], |lane| [lane].into()), OWN);
        let output = with_time(&columns());
        Self(Watermarks::new(
            &Arc::new(watermark),
            &output,
            lanes,
            bad_rows,
        ))
    }

    fn take(&mut self, rows: Rows) -> Vec<String> {
        let out = self.0.take(rows).unwrap();
        out.iter().map(text).collect()
    }

    fn rows(&mut self, times: &[i64]) -> Vec<String> {
        let times: Vec<_> = times.iter().copied().map(Some).collect();
        self.take(Rows::new(batch(&times)))
    }

    fn tick(&mut self, now_us: u64) -> Vec<String> {
        self.take(Rows::Control(Control::Tick { now_us }))
    }
}

fn text(rows: &Rows) -> String {
    match rows {
        Rows::Empty => "nothing".to_owned(),
        Rows::Batch(batch) => {
            let values = batch.column(0).as_primitive::<Int64Type>();
            let times = batch.column(1).as_primitive::<TimestampNanosecondType>();
            assert_eq!(values.values(), times.values(), "the event time");
            format!("{:?}", &times.values()[..])
        }
        Rows::Rejected(letters) => format!("{} rejected", letters.num_rows()),
        Rows::Partial(groups) => format!("{} groups", groups.num_rows()),
        Rows::Control(Control::Tick { now_us }) => format!("tick {now_us}"),
        Rows::Control(Control::Watermark { lane, mark }) => {
            assert_eq!(*lane, OWN);
            format!("{mark:?}")
        }
    }
}

#[test]
fn the_watermark_follows_each_batch_if_it_has_risen() {
    let mut bench = Bench::new(by_value(), None, BadRows::Fail);
    assert_eq!(bench.rows(&[20, 50, 30]), ["[20, 50, 30]", "At(40)"]);
    assert_eq!(
        bench.rows(&[10, 45]),
        ["[10, 45]"],
        "late or not, they go on"
    );
    assert_eq!(bench.rows(&[51]), ["[51]", "At(41)"]);
}

#[test]
fn a_row_without_a_time_is_bad_data() {
    let some_null = || Rows::new(batch(&[Some(20), None, Some(50), Some(60), None]));
    let mut bench = Bench::new(by_value(), None, BadRows::Fail);
    let error = bench.0.take(some_null()).unwrap_err();
    assert!(
        error.to_string().contains("'readings' has no event time"),
        "{error}"
    );
    let metrics = Arc::<Metrics>::default();
    let mut bench = Bench::new(by_value(), None, BadRows::Drop(Arc::clone(&metrics)));
    assert_eq!(bench.take(some_null()), ["[20]", "[50]", "[60]", "At(50)"]);
    assert_eq!(metrics.snapshot().bad_data, 2);
    let letters = BadRows::DeadLetter(Arc::clone(&metrics));
    let mut bench = Bench::new(by_value(), None, letters);
    let expect = ["[20]", "[50]", "[60]", "2 rejected", "At(50)"];
    assert_eq!(bench.take(some_null()), expect);
    assert_eq!(bench.take(Rows::new(batch(&[None]))), ["1 rejected"]);
}

#[test]
fn a_row_with_the_time_of_the_end_is_bad_data_and_does_not_end_the_lane() {
    let metrics = Arc::<Metrics>::default();
    let mut bench = Bench::new(by_value(), None, BadRows::Drop(Arc::clone(&metrics)));
    assert_eq!(
        bench.rows(&[20, END, END - 1]),
        ["[20]", "[9223372036854775806]", "At(9223372036854775796)"]
    );
    assert_eq!(metrics.snapshot().bad_data, 1);
}

#[test]
fn a_silent_lane_becomes_idle_and_awakes_with_its_next_rows() {
    let idle = Some(Duration::from_secs(2));
    let mut bench = Bench::new(by_value(), idle, BadRows::Fail);
    assert_eq!(bench.rows(&[20]), ["[20]", "At(10)"]);
    assert_eq!(bench.tick(1_000_000), ["tick 1000000"]);
    assert_eq!(bench.tick(2_900_000), ["tick 2900000"]);
    assert_eq!(bench.tick(3_000_000), ["Idle", "tick 3000000"]);
    assert_eq!(bench.tick(4_000_000), ["tick 4000000"]);
    // also with rows that do not raise it
    assert_eq!(bench.rows(&[15]), ["[15]", "At(10)"]);
    assert_eq!(bench.tick(5_000_000), ["tick 5000000"]);
    assert_eq!(bench.tick(7_000_000), ["Idle", "tick 7000000"]);
    // one that has never had rows, too
    let mut bench = Bench::new(by_value(), idle, BadRows::Fail);
    assert_eq!(bench.tick(1_000_000), ["tick 1000000"]);
    assert_eq!(bench.tick(3_000_000), ["Idle", "tick 3000000"]);
    // and without a limit, never
    let mut bench = Bench::new(by_value(), None, BadRows::Fail);
    bench.tick(1_000_000);
    assert_eq!(bench.tick(3_000_000_000), ["tick 3000000000"]);
}

#[test]
fn the_end_of_the_source_is_the_end_of_the_lane() {
    let mut bench = Bench::new(by_value(), None, BadRows::Fail);
    let end = Rows::Control(Control::Watermark {
        lane: SOURCE,
        mark: Mark::At(END),
    });
    assert_eq!(bench.take(end), [format!("At({END})")]);
}

#[test]
fn by_arrival_the_watermark_follows_the_clock() {
    let delay = Duration::from_secs(1);
    let mut bench = Bench::new(
        EventTime::Arrival { delay },
        Some(Duration::from_secs(2)),
        BadRows::Fail,
    );
    let before_us = now_us();
    let out = bench.0.take(Rows::new(batch(&[Some(1)]))).unwrap();
    let [
        Rows::Batch(rows),
        Rows::Control(Control::Watermark { mark, .. }),
    ] = &out[..]
    else {
        panic!("{out:?}");
    };
    let time = rows
        .column(1)
        .as_primitive::<TimestampNanosecondType>()
        .value(0);
    assert!(time >= 1000 * before_us.cast_signed());
    assert_eq!(*mark, Mark::At(time - 1_000_000_000));
    // a tick of a moment ago says nothing new
    assert_eq!(bench.tick(before_us), [format!("tick {before_us}")]);
    // later ones do, rows or none
    for seconds in [60, 120] {
        let at_us = before_us + seconds * 1_000_000;
        let expect = Mark::At(1000 * (at_us - 1_000_000).cast_signed());
        let expect = [format!("{expect:?}"), format!("tick {at_us}")];
        assert_eq!(bench.tick(at_us), expect);
    }
    // a clock that has gone back does not make rows late
    let out = bench.0.take(Rows::new(batch(&[Some(1)]))).unwrap();
    let [Rows::Batch(rows)] = &out[..] else {
        panic!("{out:?}");
    };
    let later = rows
        .column(1)
        .as_primitive::<TimestampNanosecondType>()
        .value(0);
    assert_eq!(later, 1000 * (before_us + 120_000_000).cast_signed());
}
