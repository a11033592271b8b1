use std::sync::Arc;

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use tempfile::TempDir;

use super::*;

fn part(number: i64) -> Part {
    let numbers = Arc::new(Int64Array::from(vec![number])) as _;
    let rows = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
    Part::new(&number, rows).unwrap()
}

fn seat() -> Seat {
    Seat {
        operator: "window".to_owned(),
        worker: 0,
    }
}

fn checkpoint(parts: &[&Part]) -> Checkpoint {
    Checkpoint {
        number: 1,
        cut: 1,
        begun_us: 0,
        positions: Vec::new(),
        states: vec![(seat(), parts.iter().copied().cloned().collect())],
    }
}

/// Writes what is not yet there, and a checkpoint.
fn commit(database: &mut Database, parts: &[&Part]) {
    let all: Vec<_> = parts.iter().copied().cloned().collect();
    database.keep(&all).unwrap();
    database.commit(&checkpoint(parts)).unwrap();
}

fn open(folder: &TempDir) -> Database {
    Database::open(&folder.path().join("state.db"), "plan", 1).unwrap()
}

/// The rows that are on disk, with or without a name.
fn pieces(database: &Database) -> Vec<i64> {
    let mut statement = database
        .connection
        .prepare("SELECT id FROM piece ORDER BY id");
    let ids = statement.as_mut().unwrap().query_map([], |row| row.get(0));
    ids.unwrap().map(Result::unwrap).collect()
}

fn numbers(parts: &[Part]) -> Vec<i64> {
    let number = |part: &Part| {
        let number = part.rows.column(0).as_primitive::<Int64Type>().value(0);
        assert_eq!(part.about::<i64>().unwrap(), number);
        number
    };
    parts.iter().map(number).collect()
}

#[test]
fn what_comes_again_is_written_once_and_what_does_not_is_deleted() {
    let folder = TempDir::new().unwrap();
    let mut database = open(&folder);
    let (a, b, c) = (part(10), part(20), part(30));
    commit(&mut database, &[&a, &b]);
    assert_eq!(pieces(&database), [1, 2]);
    // in another place, beside another one
    commit(&mut database, &[&c, &a]);
    assert_eq!(pieces(&database), [1, 3]);
    drop(database);

    let mut database = open(&folder);
    let left = database.state(&seat(), None).unwrap();
    assert_eq!(numbers(&left), [30, 10]);
    // also of an earlier run it is not written again; and no number comes again
    let d = part(40);
    commit(&mut database, &[&left[1], &d]);
    assert_eq!(pieces(&database), [1, 4]);
    commit(&mut database, &[&d]);
    assert_eq!(pieces(&database), [4]);
    assert_eq!(numbers(&database.state(&seat(), None).unwrap()), [40]);
    database.clear().unwrap();
    assert_eq!(pieces(&database), [0_i64; 0]);
}

#[test]
fn until_the_checkpoint_is_there_the_last_one_is() {
    let folder = TempDir::new().unwrap();
    let mut database = open(&folder);
    let (a, b) = (part(10), part(20));
    commit(&mut database, &[&a]);
    database.keep(std::slice::from_ref(&b)).unwrap();
    drop(database);

    let mut database = open(&folder);
    assert_eq!(pieces(&database), [1, 2], "half of a checkpoint");
    let left = database.state(&seat(), None).unwrap();
    assert_eq!(numbers(&left), [10]);
    commit(&mut database, &[&left[0]]);
    assert_eq!(pieces(&database), [1], "which the next one clears away");
    // neither what was never written nor what is there no more can be named
    for gone in [&part(30), &b] {
        let refused = database.commit(&checkpoint(&[gone]));
        assert!(matches!(refused, Err(StateError::Database { .. })));
        assert_eq!(numbers(&database.state(&seat(), None).unwrap()), [10]);
    }
}
