//! What a source says about time, beside its rows.

use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use arrow::array::Int64Array;
use arrow::record_batch::RecordBatch;
use headwater_connector::Position;
use timely::dataflow::channels::pact::Pipeline;
use timely::worker::Worker;

use super::*;
use crate::acks::AckGauge;
use crate::backlog::{BACKLOG_ROWS, Backlog, Size};
use crate::bridge::{self, SourceEnd};
use crate::operators::apply::apply;

const LANE: Lane = Lane(4);

fn batch(position: u64) -> SourceBatch {
    let column = Int64Array::from(vec![1, 2]);
    let rows = RecordBatch::try_from_iter([("n", Arc::new(column) as _)]);
    SourceBatch::new(rows.unwrap(), Position(position))
}

/// A source of which the test is the task.
struct Bench<'w> {
    worker: &'w mut Worker,
    end: Option<SourceEnd>,
    backlog: Arc<Backlog>,
    out: Rc<RefCell<Vec<String>>>,
}

impl<'w> Bench<'w> {
    fn new(worker: &'w mut Worker, speaks: bool) -> Self {
        let (end, inlet, durable) = bridge::source();
        let backlog = Arc::<Backlog>::default();
        backlog.join(inlet.waker.clone());
        let gauge = Arc::<AckGauge>::default();
        let acks = Acks::new(durable, gauge, (Arc::clone(&backlog), None), None);
        let parts = SourceParts {
            inlet,
            acks,
            clock: EpochClock::default(),
            speaks: speaks.then_some((LANE, Duration::from_secs(3600))),
            suspended: CancellationToken::new(),
        };
        let out = Rc::<RefCell<Vec<String>>>::default();
        let seen = Rc::clone(&out);
        worker.dataflow::<u64, _, _>(|scope| {
            let (rows, _handle) = source_rows(scope, "in", parts);
            let see = move |rows: Rows| {
                seen.borrow_mut().push(text(&rows));
                Ok::<_, ()>(Vec::<Rows>::new())
            };
            apply(rows, Pipeline, "see", see, |()| {});
        });
        Self {
            worker,
            end: Some(end),
            backlog,
            out,
        }
    }

    fn send(&self, position: u64) {
        let end = self.end.as_ref().unwrap();
        end.batches.try_send(batch(position)).unwrap();
        end.waker.wake();
    }

    fn end(&mut self) {
        let SourceEnd { batches, waker, .. } = self.end.take().unwrap();
        drop(batches);
        waker.wake();
    }

    #[track_caller]
    fn check(&mut self, expect: &[&str]) {
        for _ in 0..10 {
            self.worker.step();
        }
        assert_eq!(self.out.borrow_mut().split_off(0), expect);
    }
}

fn run(speaks: bool, test: impl FnOnce(&mut Bench<'_>) + Send + Sync + 'static) {
    timely::execute_directly(move |worker| test(&mut Bench::new(worker, speaks)));
}

fn text(rows: &Rows) -> String {
    match rows {
        Rows::Batch(batch) => format!("{} rows", batch.num_rows()),
        Rows::Control(Control::Tick { .. }) => "tick".to_owned(),
        Rows::Control(Control::Watermark { lane, mark }) => {
            assert_eq!((*lane, *mark), (LANE, Mark::At(END)));
            "end".to_owned()
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn it_tells_the_time_and_the_end() {
    run(true, |bench| {
        bench.check(&["tick"]);
        bench.send(1);
        // the next tick is in an hour
        bench.check(&["2 rows"]);
        bench.send(2);
        bench.end();
        bench.check(&["2 rows", "end"]);
    });
}

#[test]
fn it_says_nothing_if_nobody_listens() {
    run(false, |bench| {
        bench.send(1);
        bench.end();
        bench.check(&["2 rows"]);
    });
}

#[test]
fn while_it_is_held_up_no_time_passes() {
    run(true, |bench| {
        let full = Size {
            rows: BACKLOG_ROWS,
            bytes: 0,
        };
        bench.backlog.add(full);
        bench.send(1);
        bench.check(&[]);
        bench.backlog.remove(full);
        bench.check(&["2 rows", "tick"]);
        bench.end();
        bench.check(&["end"]);
    });
}
