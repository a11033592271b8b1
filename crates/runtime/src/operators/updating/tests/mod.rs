//! What is put out for which rows: `key value time`, with `-` before rows that take back.

mod rows;

use std::time::Duration;

use arrow::array::{AsArray, Float64Array, Int64Array, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::min_max::max_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::AggregateUDF;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_expr::expressions::{Column, IsNotNullExpr, IsNullExpr};
use headwater_connector::Metrics;
use headwater_planner::plan::{self, Aggregate, change_field, time_field};
use proptest::prelude::*;

use super::*;
use crate::durable::part::{Part, is_written, stored_again};
use crate::operators::late::LateRows;
use crate::operators::stateful::{END, Held};

/// A row: key, value, event time. What is no number is null where a whole one is wanted.
type Row<'a> = (&'a str, f64, i64);

fn input() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Float64, true),
        Field::new("whole", DataType::Int64, true),
        change_field(),
        time_field(),
    ]))
}

fn column(name: &str) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new_with_schema(name, &input()).unwrap())
}

fn function(function: &Arc<AggregateUDF>, argument: &str) -> AggregateFunctionExpr {
    AggregateExprBuilder::new(Arc::clone(function), vec![column(argument)])
        .schema(input())
        .alias("result")
        .build()
        .unwrap()
}

struct Scene {
    aggregate: Arc<plan::UpdatingAggregate>,
    context: MachineContext,
    machine: Box<dyn Stateful>,
    /// The answer to the latest rows.
    answered: Vec<RecordBatch>,
}

impl Scene {
    /// One function by key; `retracts` says whether its input takes rows back.
    fn new(function: AggregateFunctionExpr, retracts: bool) -> Self {
        Self::of(function, vec![column("key")], retracts)
    }

    fn of(
        function: impl Into<Option<AggregateFunctionExpr>>,
        keys: Vec<Arc<dyn PhysicalExpr>>,
        retracts: bool,
    ) -> Self {
        Self::filtered(function, None, keys, retracts)
    }

    fn filtered(
        function: impl Into<Option<AggregateFunctionExpr>>,
        filter: Option<Arc<dyn PhysicalExpr>>,
        keys: Vec<Arc<dyn PhysicalExpr>>,
        retracts: bool,
    ) -> Self {
        let function = function.into();
        let mut fields = vec![Arc::new(Field::new("key", DataType::Utf8, false))];
        fields.truncate(keys.len());
        fields.extend(function.iter().map(AggregateFunctionExpr::field));
        fields.extend([change_field().into(), time_field().into()]);
        let metrics: Arc<Metrics> = Arc::default();
        let context = MachineContext {
            inputs: vec![input()],
            output: Arc::new(Schema::new(fields)),
            late: LateRows::new(&metrics, false),
            spool: None,
        };
        let aggregate = plan::UpdatingAggregate {
            keys,
            aggregates: function
                .into_iter()
                .map(|function| Aggregate {
                    function: Arc::new(function),
                    filter: filter.clone(),
                })
                .collect(),
            time: 4,
            change: retracts.then_some(3),
            ttl: Duration::from_nanos(80),
        };
        let aggregate = Arc::new(aggregate);
        let mut machine = machine(&aggregate, &context).unwrap();
        machine.tick(0).unwrap();
        Self {
            aggregate,
            context,
            machine,
            answered: Vec::new(),
        }
    }

    /// Another machine goes on with what this one has left on the disk.
    fn restart(&mut self) {
        let parts = self.machine.snapshot().unwrap();
        let parts: Vec<_> = parts.iter().map(stored_again).collect();
        for part in &parts {
            let Held::Keyed(keys) = self.machine.held(part).unwrap() else {
                panic!("the groups have no keys");
            };
            assert_eq!(keys.len(), self.aggregate.keys.len());
        }
        self.machine = machine(&self.aggregate, &self.context).unwrap();
        self.machine.restore(parts).unwrap();
        self.machine.tick(0).unwrap();
    }

    fn rows(&mut self, retract: bool, rows: &[Row<'_>]) {
        let keys = StringArray::from_iter_values(rows.iter().map(|row| row.0));
        let values = Float64Array::from_iter_values(rows.iter().map(|row| row.1));
        let whole = rows
            .iter()
            .map(|row| row.1.is_finite().then_some(row.1 as i64));
        let whole = Int64Array::from_iter(whole);
        let times = TimestampNanosecondArray::from_iter_values(rows.iter().map(|row| row.2));
        let retracts = Int64Array::from(vec![if retract { -1 } else { 1 }; rows.len()]);
        let batch = RecordBatch::try_new(
            input(),
            vec![
                Arc::new(keys),
                Arc::new(values),
                Arc::new(whole),
                Arc::new(retracts),
                Arc::new(times),
            ],
        );
        self.answered = self.machine.rows(0, batch.unwrap()).unwrap();
    }

    fn add(&mut self, rows: &[Row<'_>]) {
        self.rows(false, rows);
    }

    fn retract(&mut self, rows: &[Row<'_>]) {
        self.rows(true, rows);
    }

    fn emitted(&mut self) -> Vec<String> {
        let emitted = std::iter::from_fn(|| self.machine.emit().unwrap());
        let pieces: Vec<_> = self.answered.drain(..).chain(emitted).collect();
        pieces.iter().flat_map(shown).collect()
    }

    fn flush(&mut self, expect: &[&str]) {
        self.machine.tick(0).unwrap();
        assert_eq!(self.emitted(), expect);
    }
}

/// The rows of a piece as text.
fn shown(piece: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default();
    let columns = piece.columns().iter();
    let columns = columns.map(|column| ArrayFormatter::try_new(column, &options).unwrap());
    let columns: Vec<_> = columns.collect();
    let (values, change) = columns.split_at(columns.len() - 2);
    let rows = (0..piece.num_rows()).map(|row| {
        let number = change[0].value(row).to_string();
        let sign = if number.starts_with('-') { "-" } else { "" };
        let values = values.iter().map(|value| value.value(row).to_string());
        format!("{sign}{}", values.collect::<Vec<_>>().join(" "))
    });
    rows.collect()
}

#[test]
fn only_what_has_changed_is_put_out() {
    let mut scene = Scene::new(function(&sum_udaf(), "whole"), false);
    scene.add(&[("a", 1.0, 1), ("b", 2.0, 1), ("a", 3.0, 2)]);
    assert_eq!(scene.emitted(), [""; 0], "not before the clock says so");
    scene.flush(&["a 4", "b 2"]);
    scene.flush(&[]);
    scene.add(&[("b", 5.0, 3), ("b", 0.0, 3), ("a", 0.0, 3)]);
    scene.flush(&["-b 2", "b 7"]);
}

#[test]
fn distinct_rows_are_told_at_once_unless_rows_are_taken_back() {
    let mut scene = Scene::of(None, vec![column("key")], false);
    scene.add(&[("a", 1.0, 1), ("b", 2.0, 1), ("a", 3.0, 2)]);
    assert_eq!(scene.emitted(), ["a", "b"]);
    scene.add(&[("b", 1.0, 3), ("c", 2.0, 3)]);
    assert_eq!(scene.emitted(), ["c"]);
    scene.flush(&[]);
    let mut scene = Scene::of(None, vec![column("key")], true);
    scene.add(&[("a", 1.0, 1), ("b", 2.0, 1), ("a", 3.0, 2)]);
    assert_eq!(scene.emitted(), [""; 0]);
    scene.retract(&[("a", 3.0, 2), ("b", 2.0, 1)]);
    scene.flush(&["a"]);
    scene.retract(&[("a", 1.0, 1)]);
    scene.flush(&["-a"]);
}

#[test]
fn the_end_flushes() {
    let mut scene = Scene::new(function(&count_udaf(), "value"), false);
    scene.add(&[("a", 1.0, 1)]);
    scene.machine.advance(END).unwrap();
    assert_eq!(scene.emitted(), ["a 1"]);
}

#[test]
fn without_keys_all_rows_are_one_group() {
    let mut scene = Scene::of(function(&count_udaf(), "value"), Vec::new(), false);
    scene.flush(&[]);
    scene.add(&[("a", 1.0, 1), ("b", 1.0, 1)]);
    scene.flush(&["2"]);
}

#[test]
fn retractions_take_back_in_any_order() {
    for exact in ["whole", "value"] {
        let mut scene = Scene::new(function(&sum_udaf(), exact), true);
        scene.add(&[("a", 1.0, 1), ("a", 2.0, 1)]);
        scene.retract(&[("a", 1.0, 1)]);
        scene.machine.tick(0).unwrap();
        let sum = scene.emitted().concat();
        assert_eq!(sum.trim_end_matches(".0"), "a 2");
    }
    let mut scene = Scene::new(function(&max_udaf(), "value"), true);
    scene.add(&[("a", 1.0, 1), ("a", 3.0, 1), ("a", 3.0, 1), ("a", 2.0, 1)]);
    scene.flush(&["a 3.0"]);
    scene.retract(&[("a", 3.0, 2)]);
    scene.flush(&[]);
    scene.retract(&[("a", 3.0, 2), ("a", 1.0, 2)]);
    scene.flush(&["-a 3.0", "a 2.0"]);
}

#[test]
fn nothing_is_left_of_a_float_that_was_taken_back() {
    let mut scene = Scene::new(function(&sum_udaf(), "value"), true);
    scene.add(&[("a", 0.1, 1), ("a", f64::NAN, 1), ("a", 0.2, 1)]);
    scene.retract(&[("a", 0.1, 1), ("a", f64::NAN, 1)]);
    scene.flush(&["a 0.2"]);
}

#[test]
fn a_group_without_rows_is_taken_back_and_forgotten() {
    let mut scene = Scene::new(function(&count_udaf(), "value"), true);
    let empty = scene.machine.size();
    scene.add(&[("a", 1.0, 1)]);
    assert!(scene.machine.size() > empty);
    scene.flush(&["a 1"]);
    scene.retract(&[("a", 1.0, 2)]);
    scene.flush(&["-a 1"]);
    assert_eq!(scene.machine.size(), empty);
    scene.add(&[("a", 1.0, 3)]);
    scene.retract(&[("a", 1.0, 3)]);
    scene.flush(&[]);
    scene.retract(&[("never", 1.0, 3)]);
    scene.flush(&[]);
}

#[test]
fn a_group_is_forgotten_after_its_time() {
    let mut scene = Scene::new(function(&count_udaf(), "value"), true);
    scene.add(&[("old", 1.0, 0), ("new", 1.0, 50)]);
    scene.machine.advance(100).unwrap();
    scene.flush(&["old 1", "new 1"]);
    scene.machine.advance(120).unwrap();
    scene.retract(&[("old", 1.0, 0)]);
    scene.add(&[("new", 1.0, 50)]);
    scene.flush(&["-new 1", "new 2"]);
    scene.add(&[("old", 1.0, 120)]);
    scene.flush(&["old 1"]);
}

#[test]
fn functions_that_cannot_be_read_twice_begin_anew() {
    let mut scene = Scene::new(function(&array_agg_udaf(), "whole"), false);
    scene.add(&[("a", 2.0, 1)]);
    scene.flush(&["a [2]"]);
    scene.add(&[("a", 1.0, 2)]);
    scene.flush(&["-a [2]", "a [2, 1]"]);
    let mut scene = Scene::new(function(&array_agg_udaf(), "whole"), true);
    scene.add(&[("a", 2.0, 1), ("a", 1.0, 1)]);
    scene.retract(&[("a", 2.0, 1)]);
    scene.flush(&["a [1]"]);
}

#[test]
fn what_is_kept_outlives_the_machine() {
    for retracts in [false, true] {
        let mut scene = Scene::new(function(&array_agg_udaf(), "whole"), retracts);
        scene.restart();
        scene.add(&[("a", 2.0, 1), ("b", 1.0, 1)]);
        scene.flush(&["a [2]", "b [1]"]);
        scene.add(&[("a", 3.0, 2)]);
        scene.restart();
        scene.flush(&["-a [2]", "a [2, 3]"]);
        scene.machine.advance(200).unwrap();
        scene.restart();
        scene.add(&[("b", 5.0, 200)]);
        scene.flush(&["b [5]"]);
    }
    let mut scene = Scene::of(function(&max_udaf(), "value"), Vec::new(), true);
    scene.add(&[("a", 2.0, 1), ("b", 1.0, 1)]);
    scene.flush(&["2.0"]);
    scene.restart();
    scene.retract(&[("a", 2.0, 2)]);
    scene.flush(&["-2.0", "1.0"]);
    let mut scene = Scene::of(None, vec![column("key")], false);
    scene.add(&[("a", 1.0, 1)]);
    assert_eq!(scene.emitted(), ["a"]);
    scene.restart();
    scene.add(&[("a", 1.0, 1), ("b", 1.0, 1)]);
    assert_eq!(scene.emitted(), ["b"]);
}

#[test]
fn a_filter_leaves_rows_out_of_its_function() {
    let nothing: Arc<dyn PhysicalExpr> = Arc::new(IsNullExpr::new(column("value")));
    let all: Arc<dyn PhysicalExpr> = Arc::new(IsNotNullExpr::new(column("value")));
    for (filter, expect) in [(nothing, "a 0"), (all, "a 1")] {
        for retracts in [false, true] {
            let count = function(&count_udaf(), "value");
            let filter = Some(Arc::clone(&filter));
            let mut scene = Scene::filtered(count, filter, vec![column("key")], retracts);
            scene.add(&[("a", 1.0, 1)]);
            scene.flush(&[expect]);
        }
    }
}

/// What happens to the machine: a row of a key comes, the row of that number (of those that are there) is taken back, a flush,
/// and a restart with what was on the disk.
#[derive(Debug, Clone)]
enum Event {
    Add(u8, i8),
    Retract(prop::sample::Index),
    Flush,
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..3_u8, -3..4_i8).prop_map(|(key, value)| Event::Add(key, value)),
        3 => any::<prop::sample::Index>().prop_map(Event::Retract),
        1 => Just(Event::Flush),
        1 => Just(Event::Restart),
    ]
}

/// Of what was put out, what was not taken back; only what is there can be taken back.
fn fold(told: &mut Vec<String>, changes: Vec<String>) {
    for change in changes {
        match change.strip_prefix('-') {
            Some(row) => {
                let sent = told.iter().position(|sent| sent == row);
                told.swap_remove(sent.unwrap());
            }
            None => told.push(change),
        }
    }
}

proptest! {
    #[test]
    fn what_was_told_is_what_is_true(events in prop::collection::vec(event(), 0..60)) {
        type Answer = fn(&[i8]) -> i64;
        let answers: [(&Arc<AggregateUDF>, Answer); 3] = [
            (&count_udaf(), |values| values.len() as i64),
            (&sum_udaf(), |values| values.iter().copied().map(i64::from).sum()),
            (&max_udaf(), |values| values.iter().copied().max().map_or(0, i64::from)),
        ];
        for (udaf, answer) in answers {
            let mut scene = Scene::new(function(udaf, "whole"), true);
            let mut there: Vec<(u8, i8)> = Vec::new();
            let mut told = Vec::new();
            for event in &events {
                let row = |(key, value): (u8, i8)| (["a", "b", "c"][usize::from(key)], f64::from(value), 1);
                match event {
                    Event::Add(key, value) => {
                        there.push((*key, *value));
                        scene.add(&[row((*key, *value))]);
                    }
                    Event::Retract(index) if !there.is_empty() => {
                        let gone = there.swap_remove(index.index(there.len()));
                        scene.retract(&[row(gone)]);
                    }
                    Event::Retract(_) => {}
                    Event::Restart => scene.restart(),
                    Event::Flush => {
                        scene.machine.tick(0).unwrap();
                        fold(&mut told, scene.emitted());
                    }
                }
            }
            scene.machine.advance(END).unwrap();
            fold(&mut told, scene.emitted());
            let mut expect = Vec::new();
            for (index, key) in ["a", "b", "c"].iter().enumerate() {
                let values = there.iter().filter(|(key, _)| usize::from(*key) == index);
                let values: Vec<_> = values.map(|(_, value)| *value).collect();
                if !values.is_empty() {
                    expect.push(format!("{key} {}", answer(&values)));
                }
            }
            told.sort();
            prop_assert_eq!(&told, &expect);
        }
    }
}
