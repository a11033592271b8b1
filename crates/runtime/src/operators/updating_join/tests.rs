use std::collections::BTreeMap;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimestampNanosecondType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use headwater_connector::Metrics;
use headwater_planner::plan::{change_field, time_field};
use proptest::prelude::*;

use super::*;
use crate::durable::part::stored_again;

/// A row of either side: key, value, what it does, event time.
type Given = (Option<&'static str>, i64, i64, i64);

/// The values of both sides, what the row does, its event time.
type Told = (Option<i64>, Option<i64>, i64, i64);

const TTL: i64 = 10;
const LEFT: usize = 0;
const RIGHT: usize = 1;

fn side() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, true),
        Field::new("value", DataType::Int64, false),
        change_field(),
        time_field(),
    ]))
}

fn join(preserved: [bool; 2]) -> UpdatingJoin {
    counted(preserved, &Arc::default())
}

fn counted(preserved: [bool; 2], metrics: &Arc<Metrics>) -> UpdatingJoin {
    let value = |name: &str| Field::new(name, DataType::Int64, true);
    let key = |name: &str| Field::new(name, DataType::Utf8, true);
    let output = Schema::new(vec![
        key("left_key"),
        value("left"),
        key("right_key"),
        value("right"),
        change_field(),
        time_field(),
    ]);
    let key = || Arc::new(Column::new("key", 0)) as Arc<dyn PhysicalExpr>;
    let plan = plan::UpdatingJoin {
        on: vec![(key(), key())],
        times: [3, 3],
        changes: [Some(2), Some(2)],
        preserved,
        ttl: Duration::from_nanos(TTL.unsigned_abs()),
    };
    let context = MachineContext {
        inputs: vec![side(), side()],
        output: Arc::new(output),
        late: LateRows::new(metrics, false),
        spool: None,
    };
    UpdatingJoin::new(&plan, &context).unwrap()
}

fn rows(given: &[Given]) -> RecordBatch {
    let keys: StringArray = given.iter().map(|row| row.0).collect();
    let values: Int64Array = given.iter().map(|row| row.1).collect();
    let changes: Int64Array = given.iter().map(|row| row.2).collect();
    let times: TimestampNanosecondArray = given.iter().map(|row| Some(row.3)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(keys),
        Arc::new(values),
        Arc::new(changes),
        Arc::new(times),
    ];
    RecordBatch::try_new(side(), columns).unwrap()
}

/// What becomes of rows of an input.
fn take(join: &mut UpdatingJoin, input: usize, given: &[Given]) -> Vec<Told> {
    assert!(join.rows(input, rows(given)).unwrap().is_empty());
    emitted(join)
}

/// All that is due.
fn emitted(join: &mut UpdatingJoin) -> Vec<Told> {
    let mut told = Vec::new();
    while let Some(piece) = join.emit().unwrap() {
        assert!(
            piece.num_rows() <= PIECE_CHANGES + 1,
            "{} rows at once",
            piece.num_rows()
        );
        let value = |column: usize, row| {
            let values = piece.column(column).as_primitive::<Int64Type>();
            values.is_valid(row).then(|| values.value(row))
        };
        let times = piece.column(5).as_primitive::<TimestampNanosecondType>();
        let row = |row| {
            (
                value(1, row),
                value(3, row),
                value(4, row).unwrap(),
                times.value(row),
            )
        };
        told.extend((0..piece.num_rows()).map(row));
    }
    assert!(!join.is_due());
    told
}

#[test]
fn a_row_without_a_partner_is_replaced_by_its_first_pair() {
    let mut left = join([true, false]);
    assert_eq!(
        take(&mut left, LEFT, &[(Some("a"), 1, 1, 5)]),
        [(Some(1), None, 1, 5)]
    );
    assert_eq!(
        take(&mut left, RIGHT, &[(Some("a"), 7, 1, 8)]),
        [(Some(1), None, -2, 5), (Some(1), Some(7), 2, 8)]
    );
    assert_eq!(
        take(&mut left, RIGHT, &[(Some("a"), 8, 1, 9)]),
        [(Some(1), Some(8), 3, 9)]
    );
    assert_eq!(take(&mut left, RIGHT, &[(Some("b"), 9, 1, 9)]), []);
}

#[test]
fn the_last_pair_is_replaced_by_the_row_alone() {
    let mut full = join([true, true]);
    take(&mut full, LEFT, &[(Some("a"), 1, 1, 5)]);
    take(
        &mut full,
        RIGHT,
        &[(Some("a"), 7, 1, 5), (Some("a"), 8, 1, 5)],
    );
    assert_eq!(
        take(&mut full, RIGHT, &[(Some("a"), 7, -1, 6)]),
        [(Some(1), Some(7), -4, 5)]
    );
    assert_eq!(
        take(&mut full, RIGHT, &[(Some("a"), 8, -1, 6)]),
        [(Some(1), Some(8), -5, 5), (Some(1), None, 5, 5)]
    );
    assert_eq!(
        take(&mut full, LEFT, &[(Some("a"), 1, -1, 6)]),
        [(Some(1), None, -6, 5)]
    );
    assert_eq!(
        take(&mut full, LEFT, &[(Some("a"), 1, -1, 6)]),
        [],
        "there is none left"
    );
}

#[test]
fn a_row_in_the_place_of_another_replaces_it_in_each_pair() {
    let mut inner = join([false, false]);
    take(&mut inner, LEFT, &[(Some("a"), 1, 1, 5)]);
    take(
        &mut inner,
        RIGHT,
        &[(Some("a"), 7, 1, 5), (Some("a"), 8, 1, 5)],
    );
    assert_eq!(
        take(
            &mut inner,
            LEFT,
            &[(Some("a"), 1, -9, 6), (Some("a"), 2, 9, 6)]
        ),
        [
            (Some(1), Some(7), -3, 5),
            (Some(2), Some(7), 3, 6),
            (Some(1), Some(8), -4, 5),
            (Some(2), Some(8), 4, 6),
        ]
    );
}

#[test]
fn null_is_equal_to_nothing() {
    let mut full = join([true, true]);
    assert_eq!(
        take(&mut full, LEFT, &[(None, 1, 1, 5)]),
        [(Some(1), None, 1, 5)]
    );
    assert_eq!(
        take(&mut full, RIGHT, &[(None, 7, 1, 5)]),
        [(None, Some(7), 2, 5)]
    );
    assert_eq!(
        take(&mut full, LEFT, &[(None, 1, -1, 5)]),
        [(Some(1), None, -3, 5)]
    );
}

#[test]
fn rows_too_far_apart_are_no_pair_and_old_ones_are_forgotten() {
    let metrics = Arc::default();
    let mut left = counted([true, false], &metrics);
    take(
        &mut left,
        LEFT,
        &[(Some("a"), 1, 1, 0), (Some("a"), 2, 1, 5)],
    );
    assert_eq!(
        take(&mut left, RIGHT, &[(Some("a"), 7, 1, 11)]),
        [(Some(2), None, -3, 5), (Some(2), Some(7), 3, 11)]
    );
    let before = left.size();
    left.advance(14).unwrap();
    assert_eq!(emitted(&mut left), []);
    assert!(left.size() < before, "the row of 0 is gone");
    assert_eq!(
        take(&mut left, LEFT, &[(Some("a"), 1, -1, 14)]),
        [],
        "nobody knows it"
    );
    assert_eq!(
        take(&mut left, LEFT, &[(Some("a"), 3, 1, 3)]),
        [],
        "it is late"
    );
    assert_eq!(metrics.snapshot().late_rows, 1);
    assert_eq!(
        take(&mut left, LEFT, &[(Some("a"), 4, 1, 4)]),
        [(Some(4), Some(7), 4, 11)]
    );
}

#[test]
fn many_partners_come_in_pieces() {
    let mut left = join([true, true]);
    let many: Vec<_> = (0..20_000).map(|value| (Some("a"), value, 1, 5)).collect();
    assert_eq!(take(&mut left, RIGHT, &many).len(), 20_000);
    assert_eq!(take(&mut left, LEFT, &[(Some("a"), 1, 1, 5)]).len(), 40_000);
    assert_eq!(
        take(&mut left, LEFT, &[(Some("a"), 1, -1, 5)]).len(),
        40_000
    );
}

/// The sides of a row that are told: the values of both.
type Answer = BTreeMap<(Option<i64>, Option<i64>), i64>;

/// What is true after all changes.
fn settled(told: &[Told]) -> Answer {
    let mut answer = Answer::new();
    for (left, right, change, _) in told {
        let count = answer.entry((*left, *right)).or_default();
        *count += change.signum();
        assert!(
            *count >= 0,
            "{left:?}, {right:?} is taken back before it is told"
        );
    }
    answer.retain(|_, count| *count > 0);
    answer
}

/// The join of rows that are there.
fn batch(preserved: [bool; 2], sides: &[Vec<(Option<&str>, i64)>; 2]) -> Answer {
    let mut answer = Answer::new();
    let mut alone = [sides[0].clone(), sides[1].clone()];
    for left in &sides[0] {
        for right in &sides[1] {
            if left.0.is_some() && left.0 == right.0 {
                *answer.entry((Some(left.1), Some(right.1))).or_default() += 1;
                alone[0].retain(|row| row != left);
                alone[1].retain(|row| row != right);
            }
        }
    }
    for (_, value) in alone[0].iter().filter(|_| preserved[0]) {
        *answer.entry((Some(*value), None)).or_default() += 1;
    }
    for (_, value) in alone[1].iter().filter(|_| preserved[1]) {
        *answer.entry((None, Some(*value))).or_default() += 1;
    }
    answer
}

/// Something that happens: on which side, to a row of which key and value; or the machine is stopped and another goes on.
#[derive(Debug, Clone)]
enum Event {
    Comes(usize, Option<&'static str>, i64),
    Goes(usize, usize),
    Changes(usize, usize, i64),
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    let key = prop_oneof![Just(None), Just(Some("a")), Just(Some("b"))];
    prop_oneof![
        4 => (0..2usize, key, 0..4i64).prop_map(|(side, key, value)| Event::Comes(side, key, value)),
        2 => (0..2usize, 0..8usize).prop_map(|(side, at)| Event::Goes(side, at)),
        2 => (0..2usize, 0..8usize, 0..4i64).prop_map(|(side, at, value)| Event::Changes(side, at, value)),
        1 => Just(Event::Restart),
    ]
}

fn restarted(mut join: UpdatingJoin, preserved: [bool; 2]) -> UpdatingJoin {
    let parts = join.snapshot().unwrap();
    let mut next = self::join(preserved);
    next.restore(parts.iter().map(stored_again).collect())
        .unwrap();
    next
}

#[test]
fn each_part_is_of_the_input_whose_exchange_divides_it_or_of_every_worker() {
    let mut join = join([true, true]);
    take(&mut join, 0, &[(Some("a"), 1, 1, 5)]);
    take(&mut join, 1, &[(Some("b"), 2, 2, 5)]);
    let parts = join.snapshot().unwrap();
    let held = parts.iter().map(|part| match join.held(part).unwrap() {
        Held::Word => None,
        Held::Input(input) => Some(input),
        Held::Keyed(_) => panic!("the exchanges know the keys"),
    });
    let held: Vec<_> = held.collect();
    assert_eq!(held, [None, Some(0), Some(1)]);
}

proptest! {
    #[test]
    fn what_is_told_and_not_taken_back_is_the_join(
        preserved in prop::array::uniform2(any::<bool>()),
        events in prop::collection::vec(event(), 0..60),
    ) {
        let mut machine = join(preserved);
        let mut sides: [Vec<(Option<&'static str>, i64)>; 2] = Default::default();
        let mut told = Vec::new();
        for (number, event) in events.into_iter().enumerate() {
            let number = number as i64 + 1;
            match event {
                Event::Comes(side, key, value) => {
                    sides[side].push((key, value));
                    told.extend(take(&mut machine, side, &[(key, value, number, 5)]));
                }
                Event::Goes(side, at) if at < sides[side].len() => {
                    let (key, value) = sides[side].swap_remove(at);
                    told.extend(take(&mut machine, side, &[(key, value, -number, 5)]));
                }
                Event::Changes(side, at, value) if at < sides[side].len() => {
                    let (key, old) = sides[side][at];
                    sides[side][at].1 = value;
                    let change = [(key, old, -number, 5), (key, value, number, 5)];
                    told.extend(take(&mut machine, side, &change));
                }
                Event::Restart => machine = restarted(machine, preserved),
                _ => {}
            }
        }
        prop_assert_eq!(settled(&told), batch(preserved, &sides));
    }
}
