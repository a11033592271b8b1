use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimestampNanosecondType};
use datafusion::physical_expr::expressions::Column;
use headwater_planner::plan::{change_field, time_field};
use proptest::prelude::*;

use super::*;
use crate::durable::part::disk::{Disk, divided};
use crate::operators::late::LateRows;
use crate::operators::stateful::END;

const KEYS: [Option<&str>; 5] = [Some("a"), Some("b"), Some("c"), Some("d"), None];

/// What is written to the table: the number of a key, a value, and whether it takes a row back.
type Write = (usize, i64, bool);

/// A row of the stream, and the value that it has found.
type Found = (Option<String>, i64, Option<i64>);

fn int(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn schema(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}

fn stream() -> SchemaRef {
    schema(vec![text("key"), int("n"), time_field()])
}

fn written(changes: bool) -> SchemaRef {
    let change = changes.then(change_field);
    let fields = [text("id"), int("value")].into_iter().chain(change);
    schema(fields.chain([time_field()]).collect())
}

fn lookup(changes: bool, waits: bool) -> MemoryLookup {
    let pairing = plan::Pairing {
        keys: vec![Arc::new(Column::new("key", 0))],
        columns: vec![0],
        filter: None,
        outer: true,
        timed: true,
    };
    let plan = plan::MemoryLookup {
        table: "t".to_owned(),
        schema: schema(vec![text("id"), int("value")]),
        pairing,
        change: changes.then_some(2),
        waits,
    };
    let output = vec![
        text("key"),
        int("n"),
        text("id"),
        int("value"),
        time_field(),
    ];
    let context = MachineContext {
        inputs: vec![stream(), written(changes)],
        output: schema(output),
        late: LateRows::new(&Arc::default(), false),
        spool: None,
    };
    MemoryLookup::new(&Arc::new(plan), &context).unwrap()
}

fn batch(schema: SchemaRef, keys: &[usize], numbers: Vec<Vec<i64>>) -> RecordBatch {
    let texts: StringArray = keys.iter().map(|key| KEYS[*key]).collect();
    let numbers = numbers
        .into_iter()
        .map(|numbers| Arc::new(Int64Array::from(numbers)) as ArrayRef);
    let times = TimestampNanosecondArray::from(vec![7; keys.len()]);
    let columns = [Arc::new(texts) as ArrayRef].into_iter().chain(numbers);
    RecordBatch::try_new(
        schema,
        columns.chain([Arc::new(times) as ArrayRef]).collect(),
    )
    .unwrap()
}

fn write(machine: &mut MemoryLookup, changes: bool, writes: &[Write]) {
    let keys: Vec<_> = writes.iter().map(|write| write.0).collect();
    let values = writes.iter().map(|write| write.1).collect();
    let signs = writes.iter().map(|write| if write.2 { -1 } else { 1 });
    let signs = changes.then(|| signs.collect());
    let numbers = [values].into_iter().chain(signs).collect();
    let made = machine
        .rows(TABLE, batch(written(changes), &keys, numbers))
        .unwrap();
    assert!(made.is_empty());
}

/// What comes at once of rows with these keys, which are numbered.
fn ask(machine: &mut MemoryLookup, keys: &[usize]) -> Vec<Found> {
    let numbers = (0..keys.len() as i64).collect();
    let made = machine
        .rows(0, batch(stream(), keys, vec![numbers]))
        .unwrap();
    made.iter().flat_map(found).collect()
}

fn found(rows: &RecordBatch) -> Vec<Found> {
    let texts = |column: usize| rows.column(column).as_string::<i32>();
    let ints = |column: usize| rows.column(column).as_primitive::<Int64Type>();
    let times = rows.column(4).as_primitive::<TimestampNanosecondType>();
    assert!(times.values().iter().all(|time| *time == 7));
    let row = |row| {
        let key = texts(0)
            .is_valid(row)
            .then(|| texts(0).value(row).to_owned());
        let value = ints(3).is_valid(row).then(|| ints(3).value(row));
        assert_eq!(texts(2).is_valid(row), value.is_some());
        (key, ints(1).value(row), value)
    };
    (0..rows.num_rows()).map(row).collect()
}

fn emitted(machine: &mut MemoryLookup) -> Vec<Found> {
    let mut made = Vec::new();
    while let Some(piece) = machine.emit().unwrap() {
        made.extend(found(&piece));
    }
    made
}

fn restored(machine: &MemoryLookup, parts: Vec<Part>) -> MemoryLookup {
    let changes = machine.lookup.change.is_some();
    let mut next = lookup(changes, machine.lookup.waits);
    next.restore(parts).unwrap();
    next
}

/// What each of some machines has left, for another number of them.
fn redivided(machine: &MemoryLookup, left: Vec<Vec<Part>>, machines: usize) -> Vec<Vec<Part>> {
    let keys = |_input, rows: &RecordBatch| Ok(vec![Arc::clone(rows.column(0))]);
    divided(machine, left, machines, keys)
}

fn all(machine: &mut MemoryLookup) -> Vec<Option<i64>> {
    let found = ask(machine, &[0, 1, 2, 3, 4]);
    found.into_iter().map(|(_, _, value)| value).collect()
}

#[test]
fn the_last_row_of_a_key_is_found() {
    let mut machine = lookup(false, false);
    assert_eq!(all(&mut machine), [None; 5]);
    write(
        &mut machine,
        false,
        &[(0, 1, false), (1, 2, false), (0, 3, false), (4, 4, false)],
    );
    assert_eq!(all(&mut machine), [Some(3), Some(2), None, None, None]);
    write(&mut machine, false, &[(1, 5, false)]);
    let rows = ask(&mut machine, &[1, 0, 1]);
    let b = || Some("b".to_owned());
    assert_eq!(
        rows,
        [
            (b(), 0, Some(5)),
            (Some("a".to_owned()), 1, Some(3)),
            (b(), 2, Some(5))
        ]
    );
    assert!(!machine.is_due());
}

#[test]
fn what_is_taken_back_is_gone_unless_another_row_has_its_place() {
    let mut machine = lookup(true, false);
    write(&mut machine, true, &[(0, 1, false), (1, 2, false)]);
    // in one batch, and in another than the row
    write(
        &mut machine,
        true,
        &[(0, 1, true), (0, 3, false), (2, 4, false), (2, 4, true)],
    );
    assert_eq!(all(&mut machine), [Some(3), Some(2), None, None, None]);
    write(
        &mut machine,
        true,
        &[(0, 1, true), (1, 2, true), (1, 2, true), (3, 9, true)],
    );
    assert_eq!(all(&mut machine), [Some(3), None, None, None, None]);
    // the new row may come before the old one goes
    write(&mut machine, true, &[(0, 5, false), (0, 3, true)]);
    assert_eq!(all(&mut machine)[0], Some(5));
}

#[test]
fn rows_wait_until_the_table_has_been_read_whole() {
    let mut machine = lookup(false, true);
    assert_eq!(ask(&mut machine, &[0, 1]), []);
    write(&mut machine, false, &[(1, 2, false)]);
    machine.advance(END).unwrap();
    assert!(machine.is_waiting() && !machine.is_due());
    assert_eq!(emitted(&mut machine), []);
    write(&mut machine, false, &[(0, 1, false)]);
    let size = machine.size();
    machine.ended(TABLE).unwrap();
    assert!(!machine.is_waiting() && machine.is_due());
    // what comes meanwhile stands behind
    assert_eq!(ask(&mut machine, &[1]), []);
    let values: Vec<_> = emitted(&mut machine)
        .iter()
        .map(|row| (row.1, row.2))
        .collect();
    assert_eq!(values, [(0, Some(1)), (1, Some(2)), (0, Some(2))]);
    assert!(!machine.is_due() && machine.size() < size);
    assert_eq!(ask(&mut machine, &[1]).len(), 1);
}

#[test]
fn a_checkpoint_writes_what_has_come_since_the_last_one() {
    let (mut machine, mut disk) = (lookup(false, true), Disk::default());
    for _ in 0..20 {
        write(
            &mut machine,
            false,
            &[(0, 1, false), (1, 2, false), (2, 3, false), (3, 4, false)],
        );
    }
    ask(&mut machine, &[0, 1, 2]);
    let rows = disk.take(&machine.snapshot().unwrap());
    assert_eq!(rows, 83);
    assert_eq!(disk.take(&machine.snapshot().unwrap()), 0);
    let mut machine = restored(&machine, disk.parts());
    assert_eq!(
        disk.take(&machine.snapshot().unwrap()),
        0,
        "after a restart"
    );
    machine.ended(TABLE).unwrap();
    let values: Vec<_> = emitted(&mut machine).iter().map(|row| row.2).collect();
    assert_eq!(values, [Some(1), Some(2), Some(3)]);
}

#[test]
fn rows_that_have_lost_their_place_are_cleared_away() {
    let (mut machine, mut disk) = (lookup(true, false), Disk::default());
    let mut most = 0;
    for round in 0..14_000 {
        let key = (round % 4) as usize;
        // every key but the last is gone again and again
        write(&mut machine, true, &[(key, round, false)]);
        write(&mut machine, true, &[(key, round, key < 3)]);
        if round % 1_000 == 0 {
            disk.take(&machine.snapshot().unwrap());
            most = most.max(disk.rows());
        }
    }
    assert!((1_000..10_000).contains(&most), "{most} rows on the disk");
    assert!(machine.size() < 1 << 20, "{} bytes", machine.size());
    assert_eq!(all(&mut machine), [None, None, None, Some(13_999), None]);
}

#[derive(Debug, Clone)]
enum Do {
    Write(Vec<Write>),
    Ask(Vec<usize>),
    Restart,
    Divide,
}

fn doings() -> impl Strategy<Value = Vec<Do>> {
    let write = (0..KEYS.len(), 0..3i64, prop::bool::weighted(0.4));
    let doing = prop_oneof![
        4 => prop::collection::vec(write, 1..12).prop_map(Do::Write),
        4 => prop::collection::vec(0..KEYS.len(), 1..6).prop_map(Do::Ask),
        1 => Just(Do::Restart),
        1 => Just(Do::Divide),
    ];
    prop::collection::vec(doing, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// Whatever is written and taken back, in any batches, with checkpoints and other machines that take them up: what is found is
    /// what a map from keys to values has.
    #[test]
    fn finds_what_a_map_has(doings in doings(), changes: bool) {
        let (mut machine, mut disk) = (lookup(changes, false), Disk::default());
        let mut map = BTreeMap::new();
        for doing in doings {
            match doing {
                Do::Write(writes) => {
                    write(&mut machine, changes, &writes);
                    for (key, value, back) in writes {
                        let Some(key) = KEYS[key] else { continue };
                        let takes_back = changes && back;
                        if !takes_back {
                            map.insert(key, value);
                        } else if map.get(key) == Some(&value) {
                            map.remove(key);
                        }
                    }
                }
                Do::Ask(keys) => {
                    let found = ask(&mut machine, &keys);
                    let found: Vec<_> = found.into_iter().map(|row| row.2).collect();
                    let of = |key: &usize| KEYS[*key].and_then(|key| map.get(key).copied());
                    let expect: Vec<_> = keys.iter().map(of).collect();
                    prop_assert_eq!(found, expect);
                }
                Do::Restart => {
                    disk.take(&machine.snapshot().unwrap());
                    machine = restored(&machine, disk.parts());
                }
                Do::Divide => {
                    disk.take(&machine.snapshot().unwrap());
                    let some = redivided(&machine, vec![disk.parts()], 3).into_iter();
                    let left = some.map(|parts| restored(&machine, parts).snapshot().unwrap());
                    let left = redivided(&machine, left.collect(), 1).remove(0);
                    machine = restored(&machine, left);
                }
            }
        }
    }
}
