//! Pieces, and the bound that they keep.

use std::cell::RefCell;

use arrow::array::Int64Array;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::physical_expr::expressions::col;
use headwater_connector::Rejects;
use timely::Accountable;
use timely::dataflow::operators::{Input, Probe};
use timely::worker::Worker;

use super::*;
use crate::backlog::BACKLOG_ROWS;
use crate::bridge;
use crate::operators::apply::apply;
use crate::operators::bad_rows::BadRows;
use crate::operators::sink::sink_rows;
use thousandfold::thousandfold;

#[path = "../../../tests/support/thousandfold.rs"]
mod thousandfold;

#[test]
fn pieces_follow_what_comes_of_them() {
    let mut pieces = Pieces::new(PIECE_ROWS);
    let little = Size { rows: 1, bytes: 1 };
    for expect in [128, 256, 512, 1024, 2048, 4096, 8192, 8192] {
        pieces.made(pieces.rows, little);
        assert_eq!(pieces.rows, expect);
    }
    let much = Size {
        rows: 8192 * 1000,
        bytes: 1,
    };
    pieces.made(8192, much);
    assert_eq!(pieces.rows, 65, "65,536 rows of 1,000 from each");
    let huge = Size {
        rows: 1,
        bytes: 1 << 30,
    };
    pieces.made(65, huge);
    assert_eq!(pieces.rows, 1);
    pieces.made(1, huge);
    assert_eq!(pieces.rows, 1);
    // the end of a batch says nothing of longer pieces
    let mut pieces = Pieces::new(PIECE_ROWS);
    pieces.made(3, little);
    assert_eq!(pieces.rows, FIRST_ROWS);
}

fn numbers() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
}

/// No threads: the sink's queue is read only when the test says so.
fn bound_is_kept(worker: &mut Worker) {
    const ROWS: i64 = 8192;
    let backlog = Arc::<Backlog>::default();
    let (mut end, mut outlets) = bridge::sink(1, Rejects::default(), &backlog);
    let steps = thousandfold(col("n", &numbers()).unwrap());
    let most = piece_rows(&steps).unwrap();
    let bound = (most, Arc::clone(&backlog));
    let (mut input, probe) = worker.dataflow::<u64, _, _>(|scope| {
        let (input, rows) = scope.new_input::<Rows>();
        let chain = Chain::new(&steps, BadRows::Fail);
        let fail = |error| panic!("{error}");
        let rows = growing_rows(rows, "chain", chain, bound, fail);
        let done = sink_rows(rows, "out", outlets.remove(0));
        (input, done.probe().0)
    });
    let column = Int64Array::from_iter_values(0..ROWS);
    let batch = RecordBatch::try_new(numbers(), vec![Arc::new(column)]).unwrap();
    input.send_batch(&mut Rows::new(batch));
    input.close();
    let mut taken = 0;
    while taken < 1000 * ROWS as u64 {
        for _ in 0..1000 {
            worker.step();
        }
        let expect = BACKLOG_ROWS.min(1000 * ROWS as u64 - taken);
        assert!(backlog.rows() >= expect, "it goes on after {taken}");
        // what may be under way between the chain and the sink
        assert!(backlog.rows() < BACKLOG_ROWS + 4 * MADE_ROWS, "{taken}");
        assert!(!probe.done());
        while let Ok(batch) = end.batches.try_recv() {
            taken += batch.size.rows;
            end.written(batch.size);
            end.accept(vec![(batch.worker, batch.epoch)]).unwrap();
        }
    }
    while !probe.done() {
        worker.step();
    }
    assert_eq!((taken, backlog.rows()), (1000 * ROWS as u64, 0));
}

#[test]
fn what_waits_at_the_sinks_is_bounded() {
    timely::execute_directly(bound_is_kept);
}

#[test]
fn what_is_said_about_time_keeps_its_place() {
    timely::execute_directly(|worker: &mut Worker| {
        let seen = Rc::<RefCell<Vec<i64>>>::default();
        let out = Rc::clone(&seen);
        let mut input = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = scope.new_input::<Rows>();
            let bound = (10, Arc::<Backlog>::default());
            let chain = Chain::new(&[], BadRows::Fail);
            let fail = |error| panic!("{error}");
            let rows = growing_rows(rows, "chain", chain, bound, fail);
            let see = move |rows: Rows| {
                out.borrow_mut().push(match rows {
                    Rows::Control(Control::Tick { now_us }) => -now_us.cast_signed(),
                    rows => rows.record_count(),
                });
                Ok::<_, ()>(Vec::<Rows>::new())
            };
            apply(rows, Pipeline, "see", see, |()| {});
            input
        });
        for now_us in [1, 2] {
            let column = Int64Array::from_iter_values(0..25);
            let batch = RecordBatch::try_new(numbers(), vec![Arc::new(column)]).unwrap();
            input.send_batch(&mut Rows::new(batch));
            input.send_batch(&mut Rows::Control(Control::Tick { now_us }));
            input.advance_to(now_us);
        }
        worker.step();
        // the negative ones are ticks, the others pieces
        assert_eq!(*seen.borrow(), [10, 10, 5, -1, 10, 10, 5, -2]);
    });
}
