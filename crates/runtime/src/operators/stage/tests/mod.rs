//! A stage with a machine that keeps numbers until event time has passed them.

mod cuts;

use std::cell::RefCell;
use std::collections::BTreeMap;

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use datafusion::common::exec_err;
use timely::dataflow::operators::Input;
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::core::input::Handle as InputHandle;
use timely::dataflow::operators::probe::Handle as ProbeHandle;
use timely::worker::Worker;

use super::*;
use crate::backlog::{BACKLOG_ROWS, Size};
use crate::operators::RowsBuilder;
use crate::operators::apply::apply;
use crate::operators::stateful::Held;

/// A number that the machine does not bear.
const BAD: i64 = -1;

/// Numbers from here on are answered at once.
const HASTY: i64 = 1_000_000;

/// The state of so many numbers and no more.
const STATE_LIMIT_BYTES: u64 = 8 * 10;

/// Its rows are event times. Each that is due goes out as a piece of its own, of `piece_rows` rows.
struct Keeper {
    kept: BTreeMap<i64, usize>,
    due: Vec<i64>,
    piece_rows: usize,
    late: LateRows,
    told: i64,
    /// Whether what is due is part of its state.
    keeps_due: bool,
}

fn numbers(values: impl IntoIterator<Item = i64>) -> RecordBatch {
    let column = Int64Array::from_iter_values(values);
    RecordBatch::try_from_iter([("n", Arc::new(column) as _)]).unwrap()
}

fn values(batch: &RecordBatch) -> &[i64] {
    batch.column(0).as_primitive::<Int64Type>().values()
}

impl Stateful for Keeper {
    fn rows(&mut self, _input: usize, rows: RecordBatch) -> Result<Vec<RecordBatch>> {
        let mut hasty = Vec::new();
        for value in values(&rows) {
            match *value {
                BAD => return exec_err!("-1 is not borne"),
                value if value >= HASTY => hasty.push(value),
                value if value < self.told => self.late.note(&numbers([value]))?,
                value => *self.kept.entry(value).or_default() += 1,
            }
        }
        Ok(vec![numbers(hasty)])
    }

    fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    fn advance(&mut self, watermark: i64) -> Result<()> {
        assert!(watermark > self.told);
        self.told = watermark;
        let later = self.kept.split_off(&watermark);
        let due = std::mem::replace(&mut self.kept, later);
        self.due.extend(due.into_keys());
        Ok(())
    }

    fn emit(&mut self) -> Result<Option<RecordBatch>> {
        if self.due.is_empty() {
            return Ok(None);
        }
        let next = self.due.remove(0);
        Ok(Some(numbers(std::iter::repeat_n(next, self.piece_rows))))
    }

    fn tick(&mut self, now_us: u64) -> Result<()> {
        self.due.push(now_us.cast_signed());
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Vec<Part>> {
        let due = self.due.iter().filter(|_| self.keeps_due);
        let kept: Vec<_> = due.chain(self.kept.keys()).copied().collect();
        Ok(vec![Part::new(&self.told, numbers(kept))?])
    }

    fn keeps_what_is_due(&self) -> bool {
        self.keeps_due
    }

    fn restore(&mut self, parts: Vec<Part>) -> Result<()> {
        for part in parts {
            self.told = part.about()?;
            let (due, kept) = values(&part.rows)
                .iter()
                .partition(|value| **value < self.told);
            self.due = due;
            self.kept = Vec::into_iter(kept).map(|value| (value, 1)).collect();
        }
        Ok(())
    }

    fn held(&self, _part: &Part) -> Result<Held> {
        Ok(Held::Input(0))
    }

    fn size(&self) -> usize {
        8 * self.kept.len()
    }
}

/// A stage with two inputs, each with a lane, and what has come out of it.
struct Bench<'w> {
    worker: &'w mut Worker,
    inputs: Vec<InputHandle<u64, RowsBuilder>>,
    out: Rc<RefCell<Vec<String>>>,
    done: ProbeHandle<u64>,
    backlog: Arc<Backlog>,
    metrics: Arc<Metrics>,
    errors: Rc<RefCell<Vec<String>>>,
}

impl<'w> Bench<'w> {
    fn new(worker: &'w mut Worker, piece_rows: usize, left: Vec<Part>, cuts: Option<Cuts>) -> Self {
        Self::keeping(worker, piece_rows, left, (cuts, false))
    }

    fn keeping(
        worker: &'w mut Worker,
        piece_rows: usize,
        left: Vec<Part>,
        (cuts, keeps_due): (Option<Cuts>, bool),
    ) -> Self {
        let backlog = Arc::<Backlog>::default();
        let metrics = Arc::<Metrics>::default();
        let late = LateRows::new(&metrics, true);
        let mut machine = Keeper {
            kept: BTreeMap::new(),
            due: Vec::new(),
            piece_rows,
            late: late.clone(),
            told: i64::MIN,
            keeps_due,
        };
        let mut minimum = Minimum::new([(0, Lane(0)), (1, Lane(1))], |lane| [lane].into());
        restore(&mut machine, &mut minimum, left).unwrap();
        let stage = Stage {
            machine: Box::new(machine),
            late,
            minimum,
            aside: Minimum::new([], |lane| [lane].into()),
            gate: None,
            lane: Lane(7),
            metrics: Arc::clone(&metrics),
            state_size: Arc::new(StateSize::new(
                Some(STATE_LIMIT_BYTES),
                crate::job::OverLimit::Fail,
            )),
            backlog: Arc::clone(&backlog),
            cuts,
        };
        let out = Rc::<RefCell<Vec<String>>>::default();
        let errors = Rc::<RefCell<Vec<String>>>::default();
        let (seen, failed) = (Rc::clone(&out), Rc::clone(&errors));
        let (inputs, done) = worker.dataflow::<u64, _, _>(|scope| {
            let (left, left_rows) = scope.new_input();
            let (right, right_rows) = scope.new_input();
            let fail = move |error: DataFusionError| failed.borrow_mut().push(error.to_string());
            let rows = stage_rows(scope, "stage", vec![left_rows, right_rows], stage, fail);
            let see = move |rows| {
                seen.borrow_mut().push(text(&rows));
                Ok::<_, ()>(Vec::<Rows>::new())
            };
            let done = apply(rows, Pipeline, "see", see, |()| {});
            (vec![left, right], done.probe().0)
        });
        Self {
            worker,
            inputs,
            out,
            done,
            backlog,
            metrics,
            errors,
        }
    }

    fn give(&mut self, input: usize, mut rows: Rows) {
        self.inputs[input].send_batch(&mut rows);
    }

    fn rows(&mut self, input: usize, values: impl IntoIterator<Item = i64>) {
        self.give(input, Rows::new(numbers(values)));
    }

    fn mark(&mut self, input: usize, mark: Mark) {
        let lane = Lane(input as u32);
        self.give(input, Rows::Control(Control::Watermark { lane, mark }));
    }

    fn tick(&mut self, input: usize, now_us: u64) {
        self.give(input, Rows::Control(Control::Tick { now_us }));
    }

    /// Ends the epoch and lets the worker run until there is nothing to do.
    fn next_epoch(&mut self) {
        for input in &mut self.inputs {
            let epoch = *input.time() + 1;
            input.advance_to(epoch);
        }
        self.steps();
    }

    fn steps(&mut self) {
        for _ in 0..100 {
            self.worker.step();
        }
    }

    /// Whether all of an epoch has been dealt with.
    fn is_done(&self, epoch: u64) -> bool {
        !self.done.less_equal(&epoch)
    }

    #[track_caller]
    fn check(&mut self, expect: &[&str]) {
        assert_eq!(*self.out.borrow(), expect);
        self.out.borrow_mut().clear();
    }
}

fn text(rows: &Rows) -> String {
    match rows {
        Rows::Empty => "nothing".to_owned(),
        Rows::Batch(batch) => match values(batch) {
            [first, .., last] if first == last => format!("{first} × {}", batch.num_rows()),
            values => format!("{values:?}"),
        },
        Rows::Rejected(letters) => format!("{} late", letters.num_rows()),
        Rows::Partial(groups) => format!("{} groups", groups.num_rows()),
        Rows::Control(Control::Tick { now_us }) => format!("tick {now_us}"),
        Rows::Control(Control::Watermark { lane, mark }) => format!("{} {mark:?}", lane.0),
    }
}

fn run(piece_rows: usize, test: impl FnOnce(&mut Bench<'_>) + Send + Sync + 'static) {
    timely::execute_directly(move |worker| test(&mut Bench::new(worker, piece_rows, vec![], None)));
}

#[test]
fn rows_are_done_with_once_they_are_absorbed() {
    run(1, |bench| {
        bench.rows(0, [3, 1, HASTY]);
        bench.next_epoch();
        bench.check(&["[1000000]"]);
        assert!(bench.is_done(0), "although the state holds rows of it");
        let counted = bench.metrics.snapshot();
        assert_eq!((counted.rows, counted.rows_out), (3, 1));
    });
}

#[test]
fn what_is_due_goes_out_at_the_minimum_of_all_lanes_and_before_the_watermark() {
    run(1, |bench| {
        bench.rows(0, [3, 1]);
        bench.mark(0, Mark::At(4));
        bench.next_epoch();
        bench.check(&[]);
        bench.rows(1, [2]);
        bench.mark(1, Mark::At(3));
        bench.next_epoch();
        bench.check(&["[1]", "[2]", "7 At(3)"]);
        let counted = bench.metrics.snapshot();
        assert_eq!(counted.watermark_ns, Some(3));
        assert_eq!(counted.state_bytes, 8);
        bench.rows(1, [2, 5]);
        bench.mark(1, Mark::At(END));
        bench.next_epoch();
        bench.check(&["1 late", "[3]", "7 At(4)"]);
        bench.mark(0, Mark::At(END));
        bench.next_epoch();
        bench.check(&["[5]", "7 At(9223372036854775807)"]);
        let counted = bench.metrics.snapshot();
        assert_eq!((counted.late_rows, counted.state_bytes), (1, 0));
        assert_eq!(counted.watermark_ns, Some(4));
    });
}

#[test]
fn idleness_is_handed_on_behind_what_was_due_before_it() {
    run(1, |bench| {
        bench.rows(0, [1]);
        bench.mark(1, Mark::Idle);
        bench.mark(0, Mark::At(2));
        bench.mark(0, Mark::Idle);
        bench.next_epoch();
        bench.check(&["[1]", "7 At(2)", "7 Idle"]);
        bench.rows(0, [3]);
        bench.mark(0, Mark::At(2));
        bench.next_epoch();
        bench.check(&["7 At(2)"]);
    });
}

#[test]
fn ticks_are_told_once_and_handed_on() {
    run(1, |bench| {
        bench.tick(0, 5_000_000);
        bench.tick(1, 5_100_000);
        bench.tick(1, 6_000_000);
        bench.next_epoch();
        bench.check(&["[5000000]", "[6000000]", "tick 6000000"]);
    });
}

#[test]
fn rows_come_through_between_the_pieces_of_what_is_due() {
    run(SLICE_ROWS, |bench| {
        bench.rows(0, [1, 2, 3]);
        bench.mark(1, Mark::At(9));
        bench.mark(0, Mark::At(9));
        bench.worker.step();
        // a step puts out one piece
        bench.check(&["1 × 65536"]);
        bench.rows(0, [HASTY, 11]);
        bench.mark(0, Mark::At(12));
        bench.mark(1, Mark::At(12));
        bench.next_epoch();
        let rest = ["[1000000]", "2 × 65536", "3 × 65536", "11 × 65536"];
        bench.check(&[&rest[..], &["7 At(12)"]].concat());
        assert!(bench.is_done(0));
    });
}

#[test]
fn without_room_at_the_sinks_it_waits() {
    run(1, |bench| {
        let full = Size {
            rows: BACKLOG_ROWS,
            bytes: 0,
        };
        bench.backlog.add(full);
        bench.rows(0, [1]);
        bench.mark(1, Mark::At(9));
        bench.mark(0, Mark::At(9));
        bench.next_epoch();
        bench.check(&[]);
        assert!(!bench.is_done(0));
        bench.backlog.remove(full);
        bench.next_epoch();
        bench.check(&["[1]", "7 At(9)"]);
        assert!(bench.is_done(0));
    });
}

#[test]
fn after_an_error_nothing_more_is_done_nor_acknowledged() {
    run(1, |bench| {
        bench.rows(0, [1, BAD]);
        bench.mark(1, Mark::At(9));
        bench.mark(0, Mark::At(9));
        bench.next_epoch();
        bench.rows(0, [BAD]);
        bench.next_epoch();
        bench.check(&[]);
        assert_eq!(*bench.errors.borrow(), ["Execution error: -1 is not borne"]);
        assert!(!bench.is_done(0));
        // ends what is held open
        bench.worker.drop_dataflow(0);
    });
}

#[test]
fn state_beyond_the_limit_fails() {
    run(1, |bench| {
        bench.mark(1, Mark::Idle);
        bench.rows(0, 0..10);
        bench.mark(0, Mark::At(0));
        bench.next_epoch();
        bench.check(&["7 At(0)"]);
        bench.rows(0, 10..15);
        bench.mark(0, Mark::At(2));
        bench.next_epoch();
        bench.check(&["[0]", "[1]"]);
        let error = bench.errors.borrow().join(" ");
        assert!(
            error.contains("takes 104 bytes, more than the limit of 80"),
            "{error}"
        );
        assert!(!bench.is_done(1));
        bench.worker.drop_dataflow(0);
    });
}
