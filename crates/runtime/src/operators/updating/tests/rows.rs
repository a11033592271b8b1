//! Of the machine for rows that only come: what is kept, and what is told of many groups.

use std::collections::BTreeMap;

use super::*;
use crate::durable::part::columns;

/// How many rows there are in parts, and in those of them that are not on the disk yet.
fn rows_of(parts: &[Part]) -> (usize, usize) {
    let rows = |part: &Part| part.rows.num_rows();
    let all = parts.iter().map(rows).sum();
    let news = parts.iter().filter(|part| is_written(part));
    (all, news.map(rows).sum())
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|key| format!("k{key}")).collect()
}

fn add_all(scene: &mut Scene, names: &[String], value: f64, time: i64) {
    let rows: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), value, time))
        .collect();
    scene.add(&rows);
}

#[test]
fn a_checkpoint_writes_what_has_changed_since_the_last_one() {
    for function in [Some(function(&sum_udaf(), "whole")), None] {
        let mut scene = Scene::of(function, vec![column("key")], false);
        let all = names(1_000);
        add_all(&mut scene, &all, 1.0, 1);
        scene.machine.tick(0).unwrap();
        scene.emitted();
        let first = scene.machine.snapshot().unwrap();
        assert_eq!(rows_of(&first), (1_000, 1_000));
        assert_eq!(rows_of(&scene.machine.snapshot().unwrap()).1, 0);
        for round in 0..20 {
            scene.add(&[("k7", 1.0, 2), ("k700", 1.0, 2)]);
            scene.machine.tick(0).unwrap();
            scene.emitted();
            let (rows, news) = rows_of(&scene.machine.snapshot().unwrap());
            assert!(news <= 16, "{news} rows are written in round {round}");
            assert!(rows <= 1_050, "{rows} rows are kept in round {round}");
        }
    }
}

#[test]
fn what_is_dead_is_not_kept_for_long() {
    let mut scene = Scene::new(function(&sum_udaf(), "whole"), false);
    let all = names(100);
    for round in 0..20 {
        add_all(&mut scene, &all, 1.0, 1);
        scene.machine.tick(0).unwrap();
        scene.emitted();
        let (rows, _) = rows_of(&scene.machine.snapshot().unwrap());
        assert!(rows <= 220, "{rows} rows are kept in round {round}");
    }
    let size = scene.machine.size();
    scene.machine.advance(1_000).unwrap();
    assert_eq!(rows_of(&scene.machine.snapshot().unwrap()), (0, 0));
    assert!(scene.machine.size() < size);
}

#[test]
fn groups_that_were_forgotten_stay_so() {
    for flushes_first in [true, false] {
        let mut scene = Scene::new(function(&count_udaf(), "value"), false);
        scene.add(&[("old", 1.0, 0), ("kept", 1.0, 50), ("older", 1.0, 0)]);
        if flushes_first {
            scene.flush(&["old 1", "kept 1", "older 1"]);
        }
        // the log has them, from before they are told or from behind that
        scene.machine.snapshot().unwrap();
        scene.machine.tick(0).unwrap();
        scene.emitted();
        scene.machine.advance(100).unwrap();
        scene.restart();
        scene.add(&[("old", 1.0, 100), ("kept", 1.0, 100)]);
        scene.flush(&["old 1", "-kept 1", "kept 2"]);
        scene.restart();
        scene.add(&[("old", 1.0, 100), ("older", 1.0, 100)]);
        scene.flush(&["-old 1", "old 2", "older 1"]);
    }
}

#[test]
fn groups_of_the_distant_past_are_told_also_after_a_restart() {
    let mut scene = Scene::new(function(&count_udaf(), "value"), false);
    scene.machine.advance(200).unwrap();
    scene.add(&[("late", 1.0, 0)]);
    scene.restart();
    scene.flush(&["late 1"]);
    let mut scene = Scene::new(function(&count_udaf(), "value"), false);
    scene.add(&[("late", 1.0, 0)]);
    scene.machine.snapshot().unwrap();
    scene.machine.advance(200).unwrap();
    scene.restart();
    scene.flush(&["late 1"]);
}

#[test]
fn workers_that_have_looked_for_old_groups_at_other_times_become_one() {
    let mut parts = Vec::new();
    for (name, watermarks) in [("b", &[100, 105][..]), ("a", &[105])] {
        let mut scene = Scene::new(function(&count_udaf(), "value"), false);
        scene.add(&[(name, 1.0, 10)]);
        for watermark in watermarks {
            scene.machine.advance(*watermark).unwrap();
        }
        parts.extend(scene.machine.snapshot().unwrap());
    }
    let mut scene = Scene::new(function(&count_udaf(), "value"), false);
    scene.machine.restore(parts).unwrap();
    scene.restart();
    scene.machine.tick(0).unwrap();
    let mut told = scene.emitted();
    told.sort();
    assert_eq!(told, ["a 1", "b 1"]);
}

#[test]
fn a_group_is_told_once_a_flush_however_often_it_has_come() {
    let mut scene = Scene::new(function(&count_udaf(), "value"), false);
    let all = names(300);
    for _ in 0..3 {
        add_all(&mut scene, &all, 1.0, 1);
    }
    scene.machine.tick(0).unwrap();
    let mut told = scene.emitted();
    told.sort();
    let mut expect: Vec<_> = all.iter().map(|name| format!("{name} 3")).collect();
    expect.sort();
    assert_eq!(told, expect);
    scene.flush(&[]);
}

#[test]
fn a_flush_that_waits_is_followed_by_no_other() {
    let mut scene = Scene::new(function(&count_udaf(), "value"), false);
    let all = names(20);
    add_all(&mut scene, &all, 1.0, 1);
    scene.machine.tick(0).unwrap();
    assert!(scene.machine.emit().unwrap().is_some());
    add_all(&mut scene, &all, 1.0, 1);
    scene.machine.tick(0).unwrap();
    assert_eq!(scene.emitted().len(), 18, "those that were left");
    scene.machine.tick(0).unwrap();
    assert_eq!(scene.emitted().len(), 40, "taken back and told");
}

#[test]
fn a_new_group_without_a_value_has_none_beside_one_that_had() {
    for (udaf, after) in [(&sum_udaf(), "a 3"), (&max_udaf(), "a 2")] {
        let mut scene = Scene::new(function(udaf, "whole"), false);
        scene.add(&[("a", 1.0, 1)]);
        scene.flush(&["a 1"]);
        scene.add(&[("new", f64::NAN, 2), ("a", 2.0, 2)]);
        scene.flush(&["new ", "-a 1", after]);
    }
}

/// What happens: a row comes for each of some keys, perhaps without a value, some pieces of a flush are put out, a checkpoint, a restart with it, a
/// restart in which the state is divided among two machines and put together again.
#[derive(Debug, Clone)]
enum Event {
    Add(Vec<u8>, Option<i8>),
    Flush(usize),
    Checkpoint,
    Restart,
    Rescale,
}

fn event() -> impl Strategy<Value = Event> {
    let keys = prop_oneof![
        4 => prop::collection::vec(0..6_u8, 1..6),
        1 => prop::collection::vec(any::<u8>(), 70..150),
    ];
    prop_oneof![
        6 => (keys, prop::option::weighted(0.7, -3..4_i8)).prop_map(|(keys, value)| Event::Add(keys, value)),
        3 => (0..40_usize).prop_map(Event::Flush),
        1 => Just(Event::Checkpoint),
        1 => Just(Event::Restart),
        1 => Just(Event::Rescale),
    ]
}

/// The rows of a part with these numbers modulo 2 of their keys' hashes.
fn half(scene: &Scene, part: &Part, which: usize) -> Part {
    let Held::Keyed(keys) = scene.machine.held(part).unwrap() else {
        panic!("the groups have no keys");
    };
    let keys = keys[0].as_string::<i32>();
    let rows = (0..part.rows.num_rows() as u32)
        .filter(|row| keys.value(*row as usize).len() % 2 == which)
        .collect::<arrow::array::UInt32Array>();
    let taken = arrow::compute::take_record_batch(&part.rows, &rows).unwrap();
    let about: serde_json::Value = part.about().unwrap();
    let taken = columns(taken.columns().to_vec(), taken.num_rows()).unwrap();
    Part::new(&about, taken).unwrap()
}

fn rescale(scene: &mut Scene, told: &mut Vec<String>) {
    fold(told, scene.emitted());
    let parts = scene.machine.snapshot().unwrap();
    let mut both = Vec::new();
    for which in 0..2 {
        let halves = parts.iter().map(|part| half(scene, part, which)).collect();
        let mut other = machine(&scene.aggregate, &scene.context).unwrap();
        other.restore(halves).unwrap();
        both.extend(other.snapshot().unwrap());
    }
    scene.machine = machine(&scene.aggregate, &scene.context).unwrap();
    scene.machine.restore(both).unwrap();
    scene.machine.tick(0).unwrap();
}

fn happens(
    event: &Event,
    scene: &mut Scene,
    there: &mut BTreeMap<String, Vec<Option<i8>>>,
    told: &mut Vec<String>,
) {
    match event {
        Event::Add(keys, value) => {
            let names: Vec<_> = keys.iter().map(|key| format!("k{key}")).collect();
            add_all(scene, &names, value.map_or(f64::NAN, f64::from), 1);
            for name in names {
                there.entry(name).or_default().push(*value);
            }
        }
        Event::Flush(pieces) => {
            scene.machine.tick(0).unwrap();
            for _ in 0..*pieces {
                if let Some(piece) = scene.machine.emit().unwrap() {
                    scene.answered.push(piece);
                }
            }
            let put_out = std::mem::take(&mut scene.answered);
            fold(told, put_out.iter().flat_map(shown).collect());
        }
        Event::Checkpoint => {
            fold(told, scene.emitted());
            scene.machine.snapshot().unwrap();
        }
        Event::Restart => {
            fold(told, scene.emitted());
            scene.restart();
        }
        Event::Rescale => rescale(scene, told),
    }
}

fn numbers(values: &[Option<i8>]) -> impl Iterator<Item = i64> {
    values.iter().flatten().copied().map(i64::from)
}

fn text(value: Option<i64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_was_told_of_rows_is_what_is_true(events in prop::collection::vec(event(), 0..30)) {
        type Answer = fn(&[Option<i8>]) -> String;
        let answers: [(&Arc<AggregateUDF>, Answer); 4] = [
            (&count_udaf(), |values| numbers(values).count().to_string()),
            (&max_udaf(), |values| text(numbers(values).max())),
            (&sum_udaf(), |values| text(numbers(values).reduce(|sum, value| sum + value))),
            // in the order in which they came
            (&array_agg_udaf(), |values| {
                let values = values.iter().map(|value| text(value.map(i64::from)));
                format!("[{}]", values.collect::<Vec<_>>().join(", "))
            }),
        ];
        for (udaf, answer) in answers {
            let mut scene = Scene::new(function(udaf, "whole"), false);
            let mut there = BTreeMap::new();
            let mut told = Vec::new();
            for event in &events {
                happens(event, &mut scene, &mut there, &mut told);
            }
            scene.machine.advance(END).unwrap();
            fold(&mut told, scene.emitted());
            let mut expect: Vec<_> = there
                .iter()
                .map(|(name, values)| format!("{name} {}", answer(values)))
                .collect();
            expect.sort();
            told.sort();
            prop_assert_eq!(&told, &expect);
        }
    }
}

/// Where time goes on: rows of keys come that are so old, event time comes so much further; what is restarted is one of two machines.
#[derive(Debug, Clone)]
enum Lapse {
    Add(Vec<u8>, i64),
    Flush,
    Advance(i64),
    Checkpoint,
    Restart,
    Rescale,
}

fn lapse() -> impl Strategy<Value = Lapse> {
    let keys = prop::collection::vec(0..8_u8, 1..6);
    prop_oneof![
        6 => (keys, 0..12_i64).prop_map(|(keys, age)| Lapse::Add(keys, age)),
        2 => Just(Lapse::Flush),
        4 => (1..6_i64).prop_map(Lapse::Advance),
        1 => Just(Lapse::Checkpoint),
        1 => Just(Lapse::Restart),
        1 => Just(Lapse::Rescale),
    ]
}

/// One that forgets after seven nanoseconds, and looks each time that event time rises.
fn forgetful() -> Scene {
    let mut scene = Scene::new(function(&count_udaf(), "value"), false);
    let aggregate = plan::UpdatingAggregate {
        ttl: Duration::from_nanos(7),
        ..scene.aggregate.as_ref().clone()
    };
    scene.aggregate = Arc::new(aggregate);
    scene.machine = machine(&scene.aggregate, &scene.context).unwrap();
    scene.machine.tick(0).unwrap();
    scene
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_restart_forgets_no_more_and_no_less(lapses in prop::collection::vec(lapse(), 0..40)) {
        let mut now = 100;
        let mut scenes = [forgetful(), forgetful()];
        for lapse in &lapses {
            for (index, scene) in scenes.iter_mut().enumerate() {
                match lapse {
                    Lapse::Add(keys, age) => {
                        let names: Vec<_> = keys.iter().map(|key| format!("k{key}")).collect();
                        add_all(scene, &names, 1.0, now - age);
                    }
                    Lapse::Flush => scene.machine.tick(0).unwrap(),
                    Lapse::Advance(further) => scene.machine.advance(now + further).unwrap(),
                    Lapse::Checkpoint => drop(scene.machine.snapshot().unwrap()),
                    Lapse::Restart if index == 1 => scene.restart(),
                    Lapse::Rescale if index == 1 => rescale(scene, &mut Vec::new()),
                    Lapse::Restart | Lapse::Rescale => {}
                }
            }
            if let Lapse::Advance(further) = lapse {
                now += further;
            }
            let [one, other] = scenes.each_mut().map(|scene| {
                let mut told = scene.emitted();
                told.sort();
                told
            });
            prop_assert_eq!(one, other);
        }
        let ends = scenes.each_mut().map(|scene| {
            scene.machine.advance(END).unwrap();
            let mut told = scene.emitted();
            told.sort();
            told
        });
        prop_assert_eq!(&ends[0], &ends[1]);
    }
}
