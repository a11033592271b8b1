//! Where rows go, and that what is said about time goes everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, mpsc};

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::logical_expr::Operator as Op;
use datafusion::physical_expr::expressions::{binary, col, lit};
use timely::dataflow::operators::Input;

use super::*;
use crate::control::Control;

const KEYS: i64 = 100;

fn numbers(values: impl IntoIterator<Item = i64>) -> RecordBatch {
    let column = Int64Array::from_iter_values(values);
    RecordBatch::try_from_iter([("n", Arc::new(column) as _)]).unwrap()
}

/// By the number modulo the number of keys, or without keys.
fn exchange(workers: usize, keyed: bool) -> Exchange {
    let schema = Schema::new(vec![Field::new("n", DataType::Int64, false)]);
    let key = binary(col("n", &schema).unwrap(), Op::Modulo, lit(KEYS), &schema).unwrap();
    let keys = keyed.then_some(key);
    Exchange::new(keys.as_slice(), workers).unwrap()
}

/// What each of some workers gets, in its order, if each of them sends all keys and then a tick, in two rounds. The
/// numbers are the keys and a hundred times the sender, the time is ten times the sender and the round.
fn received(config: timely::Config, workers: usize, keyed: bool) -> Vec<Vec<Rows>> {
    let (sender, receiver) = mpsc::channel();
    let sender = Mutex::new(sender);
    let guards = timely::execute(config, move |worker| {
        let (index, sender) = (worker.index(), sender.lock().unwrap().clone());
        let mut input = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = scope.new_input::<Rows>();
            let exchange = exchange(workers, keyed);
            let fail = |error| panic!("{error}");
            let rows = exchange_rows(rows, "exchange", exchange, fail);
            let see = move |rows| {
                sender.send((index, rows)).unwrap();
                Ok::<_, DataFusionError>(Vec::<Rows>::new())
            };
            apply(rows, Pipeline, "see", see, fail);
            input
        });
        for round in [1, 2] {
            let now_us = 10 * index as u64 + round;
            let first = KEYS * index as i64;
            input.send_batch(&mut Rows::new(numbers(first..first + KEYS)));
            input.send_batch(&mut Rows::Control(Control::Tick { now_us }));
            input.advance_to(round);
        }
    });
    for guard in guards.unwrap().join() {
        guard.unwrap();
    }
    let mut received = vec![Vec::new(); workers];
    for (worker, rows) in receiver {
        received[worker].push(rows);
    }
    received
}

fn keys(rows: &[Rows]) -> Vec<i64> {
    let batches = rows.iter().filter_map(|rows| match rows {
        Rows::Batch(batch) => Some(batch),
        _ => None,
    });
    let values = |batch: &RecordBatch| {
        batch
            .column(0)
            .as_primitive::<Int64Type>()
            .values()
            .to_vec()
    };
    batches.flat_map(values).collect()
}

fn ticks(rows: &[Rows]) -> usize {
    let is_tick = |rows: &&Rows| matches!(rows, Rows::Control(Control::Tick { .. }));
    rows.iter().filter(is_tick).count()
}

/// Within a process, and as if each worker were one of its own: then rows go over as bytes.
fn configs(workers: usize) -> [timely::Config; 2] {
    let communication = timely::CommunicationConfig::ProcessBinary(workers);
    let worker = timely::WorkerConfig::default();
    let within = timely::Config::process(workers);
    [
        within,
        timely::Config {
            communication,
            worker,
        },
    ]
}

#[test]
fn equal_keys_meet_on_one_worker() {
    let runs = [1, 2, 3].into_iter().flat_map(|workers| {
        let runs = configs(workers).into_iter();
        runs.map(move |config| (workers, received(config, workers, true)))
    });
    for (workers, received) in runs {
        let mut places = BTreeMap::<i64, BTreeSet<usize>>::new();
        let mut count = 0;
        for (worker, rows) in received.iter().enumerate() {
            let keys = keys(rows);
            assert!(!keys.is_empty(), "worker {worker} of {workers} has a share");
            count += keys.len();
            for key in keys {
                places.entry(key % KEYS).or_default().insert(worker);
            }
            assert_eq!(ticks(rows), 2 * workers, "two of every worker");
        }
        assert_eq!(count, workers * 2 * KEYS as usize, "all rows, once");
        assert!(places.values().all(|workers| workers.len() == 1));
    }
}

#[test]
fn groups_go_where_their_rows_go() {
    for keyed in [true, false] {
        let mut exchange = exchange(3, keyed);
        let mut places = |rows: Rows| {
            let parcels = exchange.address(rows).unwrap().into_iter();
            let places = parcels.flat_map(|parcel| {
                let to = parcel.to();
                let keys = match parcel.open().unwrap() {
                    Rows::Batch(batch) | Rows::Partial(batch) => keys(&[Rows::Batch(batch)]),
                    _ => Vec::new(),
                };
                keys.into_iter().map(move |key| (key % KEYS, to))
            });
            places.collect::<BTreeMap<i64, usize>>()
        };
        let rows = places(Rows::new(numbers(0..3 * KEYS)));
        assert_eq!(rows.len(), KEYS as usize);
        // a group has its key in the first column
        assert_eq!(places(Rows::partial(numbers(0..KEYS))), rows);
    }
}

#[test]
fn without_keys_all_rows_go_to_the_first_worker() {
    let [within, _] = configs(3);
    let received = received(within, 3, false);
    assert_eq!(keys(&received[0]).len(), 3 * 2 * KEYS as usize);
    for rows in &received {
        assert_eq!(ticks(rows), 6);
    }
    assert!(keys(&received[1]).is_empty() && keys(&received[2]).is_empty());
}

#[test]
fn what_one_worker_sends_another_keeps_its_order() {
    let received = configs(3).map(|config| received(config, 3, true));
    for rows in received.iter().flatten() {
        for sender in 0..3 {
            // for each batch of the sender 'r', for each of its ticks the round
            let from_sender = rows.iter().filter_map(|rows| match rows {
                Rows::Batch(batch) => {
                    let first = batch.column(0).as_primitive::<Int64Type>().value(0);
                    (first / KEYS == sender).then(|| "r".to_owned())
                }
                Rows::Control(Control::Tick { now_us }) => {
                    let (from, round) = (now_us / 10, now_us % 10);
                    (from == sender.unsigned_abs()).then(|| round.to_string())
                }
                _ => None,
            });
            assert_eq!(from_sender.collect::<String>(), "r1r2");
        }
    }
}
