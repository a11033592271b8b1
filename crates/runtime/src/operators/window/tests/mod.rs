//! The machines against cases, and against an oracle that knows no batches, panes or segments.

mod cases;
mod oracle;
mod partials;
mod sessions;

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, StringArray, TimestampNanosecondArray};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimestampNanosecondType};
use arrow::record_batch::RecordBatch;
use arrow::util::display::array_value_to_string;
use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::{AggregateUDF, Operator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, lit};
use headwater_connector::Metrics;
use headwater_planner::plan::{Aggregate, TIME_TYPE, WINDOW, Window, WindowAggregate, time_field};

use super::partial::Partial;
use crate::durable::part::Part;
use crate::durable::part::disk::{Disk, divided};
use crate::operators::late::LateRows;
use crate::operators::machines::MachineContext;
use crate::operators::stateful::Stateful;
use crate::rows::Rows;
use crate::spool::Spool;

/// A row: key, value, event time.
type Row = (Option<&'static str>, Option<i64>, i64);

/// A row of a window: start and end (both the event time for an instant), key, and the aggregates as text.
type Made = (i64, i64, Option<String>, String);

fn input() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, true),
        Field::new("value", DataType::Int64, true),
        time_field(),
    ]))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let keys: StringArray = rows.iter().map(|row| row.0).collect();
    let values: Int64Array = rows.iter().map(|row| row.1).collect();
    let times: TimestampNanosecondArray = rows.iter().map(|row| Some(row.2)).collect();
    let columns = vec![
        Arc::new(keys) as _,
        Arc::new(values) as _,
        Arc::new(times) as _,
    ];
    RecordBatch::try_new(input(), columns).expect("rows of the schema")
}

fn value() -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new("value", 1))
}

/// An aggregate of the value; by `make` it becomes DISTINCT or ordered.
fn aggregate(
    function: Arc<AggregateUDF>,
    positive: bool,
    make: impl Fn(AggregateExprBuilder) -> AggregateExprBuilder,
) -> Aggregate {
    let builder = AggregateExprBuilder::new(function, vec![value()]);
    let function = make(builder.schema(input()).alias("x")).build();
    let filter = || Arc::new(BinaryExpr::new(value(), Operator::Gt, lit(0_i64)));
    Aggregate {
        function: Arc::new(function.expect("an aggregate")),
        filter: positive.then(|| filter() as _),
    }
}

fn by_value(builder: AggregateExprBuilder) -> AggregateExprBuilder {
    let options = SortOptions {
        descending: false,
        nulls_first: false,
    };
    builder.order_by(vec![PhysicalSortExpr::new(value(), options)])
}

/// `count(value), sum(value), count(DISTINCT value), sum(value) FILTER (value > 0), first_value(value ORDER BY value NULLS LAST),
/// array_agg(value ORDER BY value) FILTER (value > 0)`.
fn aggregates() -> Vec<Aggregate> {
    vec![
        aggregate(count_udaf(), false, |builder| builder),
        aggregate(sum_udaf(), false, |builder| builder),
        aggregate(count_udaf(), false, AggregateExprBuilder::distinct),
        aggregate(sum_udaf(), true, |builder| builder),
        aggregate(first_value_udaf(), false, by_value),
        aggregate(array_agg_udaf(), true, by_value),
    ]
}

/// What `aggregates` are of these values, as text.
fn aggregated(values: &[Option<i64>]) -> String {
    let mut present: Vec<i64> = values.iter().copied().flatten().collect();
    present.sort_unstable();
    let positive: Vec<i64> = present.iter().copied().filter(|value| *value > 0).collect();
    let mut distinct = present.clone();
    distinct.dedup();
    let sum = |values: &[i64]| match values {
        [] => String::new(),
        values => values.iter().sum::<i64>().to_string(),
    };
    let first = present.first().map_or(String::new(), ToString::to_string);
    let list = match positive.as_slice() {
        [] => String::new(),
        values => format!("{values:?}"),
    };
    let (count, distinct) = (present.len(), distinct.len());
    format!(
        "{count} {} {distinct} {} {first} {list}",
        sum(&present),
        sum(&positive)
    )
}

/// A machine and what it counts.
struct Tested {
    machine: Box<dyn Stateful>,
    /// What is before it, if there are several workers.
    partial: Option<Partial>,
    metrics: Arc<Metrics>,
    has_key: bool,
    has_window: bool,
    /// Its checkpoints.
    disk: Disk,
}

fn plan(window: Window, has_key: bool) -> WindowAggregate {
    let key = || Arc::new(Column::new("key", 0)) as Arc<dyn PhysicalExpr>;
    WindowAggregate {
        window,
        time: 2,
        keys: has_key.then(key).into_iter().collect(),
        aggregates: aggregates(),
    }
}

/// A machine behind partial aggregates.
fn tested_behind_partials(window: Window, has_key: bool) -> Tested {
    let partial = Partial::new(&plan(window, has_key), &input()).expect("not a session");
    Tested {
        partial: Some(partial),
        ..tested(window, has_key)
    }
}

fn tested(window: Window, has_key: bool) -> Tested {
    let metrics: Arc<Metrics> = Arc::default();
    let has_window = window != Window::Instant;
    let aggregates = aggregates();
    let mut fields = Vec::new();
    if has_window {
        let bound = |name: &str| Field::new(name, TIME_TYPE, false);
        let bounds = Fields::from(vec![bound("start"), bound("end")]);
        fields.push(Field::new(WINDOW, DataType::Struct(bounds), false));
    }
    fields.extend(has_key.then(|| Field::new("key", DataType::Utf8, true)));
    let names = aggregates.iter().enumerate();
    fields.extend(names.map(|(index, aggregate)| {
        let field = aggregate.function.field();
        Field::clone(&field).with_name(format!("x{index}"))
    }));
    fields.push(time_field());
    let context = MachineContext {
        inputs: vec![input()],
        output: Arc::new(Schema::new(fields)),
        late: LateRows::new(&metrics, false),
        spool: Some(Spool::new(&std::env::temp_dir(), &metrics)),
    };
    let plan = plan(window, has_key);
    Tested {
        partial: None,
        machine: super::machine(&Arc::new(plan), &context).expect("a machine"),
        metrics,
        has_key,
        has_window,
        disk: Disk::default(),
    }
}

impl Tested {
    fn rows(&mut self, rows: &[Row]) {
        let rows = Rows::new(batch(rows));
        let sent = match &mut self.partial {
            Some(partial) => partial.take(rows).expect("no error"),
            None => vec![rows],
        };
        for sent in sent {
            match sent {
                Rows::Batch(rows) => {
                    let made = self.machine.rows(0, rows).expect("no error");
                    assert_eq!(made, []);
                }
                Rows::Partial(groups) => {
                    self.machine.groups(&groups).expect("no error");
                }
                other => unreachable!("{other:?} is sent"),
            }
        }
    }

    fn advance(&mut self, watermark: i64) {
        self.machine.advance(watermark).expect("no error");
    }

    /// The rows of one piece.
    fn piece(&mut self) -> Option<Vec<Made>> {
        let piece = self.machine.emit().expect("no error")?;
        Some(
            (0..piece.num_rows())
                .map(|row| self.made(&piece, row))
                .collect(),
        )
    }

    /// All that is due.
    fn due(&mut self) -> Vec<Made> {
        std::iter::from_fn(|| self.piece()).flatten().collect()
    }

    /// What is due, if a checkpoint has to wait for it.
    fn settled(&mut self) -> Vec<Made> {
        let mut made = Vec::new();
        while !self.machine.keeps_what_is_due()
            && let Some(piece) = self.piece()
        {
            made.extend(piece);
        }
        made
    }

    fn made(&self, piece: &RecordBatch, row: usize) -> Made {
        let mut columns = piece.columns().to_vec();
        let time = columns.pop().expect("a time");
        let time = time.as_primitive::<TimestampNanosecondType>().value(row);
        let (start, end) = match self.has_window {
            true => {
                let window = columns.remove(0);
                let bound = |index| {
                    let bound = window.as_struct().column(index);
                    bound.as_primitive::<TimestampNanosecondType>().value(row)
                };
                assert_eq!(time, bound(1) - 1, "the time is the last of the window");
                (bound(0), bound(1))
            }
            false => (time, time),
        };
        let key = self.has_key.then(|| columns.remove(0));
        let key = key.filter(|key| key.is_valid(row));
        let key = key.map(|key| key.as_string::<i32>().value(row).to_owned());
        let text = columns
            .iter()
            .map(|column| array_value_to_string(column, row));
        let text: Vec<_> = text.map(|text| text.expect("text")).collect();
        (start, end, key, text.join(" "))
    }

    fn snapshot(&mut self) -> Vec<Part> {
        self.machine.snapshot().expect("a snapshot")
    }

    /// How many rows are written for a checkpoint.
    fn checkpoint(&mut self) -> usize {
        let parts = self.snapshot();
        self.disk.take(&parts)
    }

    /// Goes on with a new machine and what the old one leaves, by way of the disk.
    /// What was in a file already may stay there.
    fn restart(&mut self, window: Window, stays: bool) {
        let parts = self.snapshot();
        self.disk.take(&parts);
        let stays = |part: &Part| stays && part.spilled.is_some();
        let parts = parts.into_iter().zip(self.disk.parts());
        let parts = parts.map(|(part, stored)| if stays(&part) { part } else { stored });
        self.go_on(window, parts.collect());
    }

    /// The same, after several machines have had the state, each some of the keys.
    fn divide(&mut self, window: Window) {
        self.checkpoint();
        let divided =
            |left, machines| divided(&*self.machine, left, machines, |_, _| Ok(Vec::new()));
        let left = divided(vec![self.disk.parts()], 3)
            .into_iter()
            .map(|parts| {
                let mut some = tested(window, self.has_key);
                some.machine.restore(parts).expect("the state of the plan");
                some.snapshot()
            });
        let parts = divided(left.collect(), 1).remove(0);
        self.go_on(window, parts);
    }

    fn go_on(&mut self, window: Window, parts: Vec<Part>) {
        let before = std::mem::replace(self, tested(window, self.has_key));
        self.metrics.add_late_rows(before.late());
        (self.partial, self.disk) = (before.partial, before.disk);
        self.machine.restore(parts).expect("the state of the plan");
    }

    fn late(&self) -> u64 {
        self.metrics.snapshot().late_rows
    }
}
