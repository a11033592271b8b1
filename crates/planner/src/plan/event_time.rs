//! Event time and what depends on it: the watermark, windows, exchanges by key, joins, aggregates that change.
//!
//! Every stream below one of these operators carries the event time of its rows in a column of its own, which users do
//! not see: [`TIME`], nanoseconds since 1970 in UTC, never null. A row of a window that has closed has the window's last
//! nanosecond, so that results can be put into windows, and joined, once more.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef, TimeUnit};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_plan::ExecutionPlan;

/// The name of the column that holds the event time.
pub const TIME: &str = "__headwater_time";

pub use headwater_connector::CHANGE;

/// The name of the column in which a window is `{start, end}`.
pub const WINDOW: &str = "window";

/// The type of event times.
pub const TIME_TYPE: DataType = DataType::Timestamp(TimeUnit::Nanosecond, None);

/// The column that says what a row of an updating stream does.
pub fn change_field() -> Field {
    Field::new(CHANGE, DataType::Int64, false)
}

/// The column that holds the event time.
pub fn time_field() -> Field {
    Field::new(TIME, TIME_TYPE, false)
}

/// Gives each row its event time, in a column [`TIME`] after those of the input, and follows the rows with watermarks.
#[derive(Debug, Clone)]
pub struct Watermark {
    /// The event time of a row of the input; a row in which it is null is bad data.
    pub time: EventTime,
    /// How long a source may be silent before others stop to wait for it; `None` for ever.
    pub idle: Option<Duration>,
    /// The name of the table: what late rows are counted and reported under.
    pub table: String,
}

/// Where event time comes from.
#[derive(Debug, Clone)]
pub enum EventTime {
    /// The moment of arrival. The watermark follows the clock, rows or none.
    Arrival {
        /// How far it stays behind.
        delay: Duration,
    },
    /// A value of the row.
    Value {
        /// The event time, over the input: of the type [`TIME_TYPE`].
        time: Arc<dyn PhysicalExpr>,
        /// What the watermark is after the row, likewise over the input; it never falls, and null leaves it.
        watermark: Arc<dyn PhysicalExpr>,
    },
}

/// How time is cut. All lengths are positive, in nanoseconds; windows are half-open and aligned to 1970 plus the offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Window {
    /// Windows of `width_ns` that begin every `slide_ns` (which divides nothing in particular, and is not greater than
    /// the width). A tumbling window has a slide equal to its width.
    Hop {
        /// From one beginning to the next.
        slide_ns: i64,
        /// From the beginning to the end.
        width_ns: i64,
        /// By how much the beginnings are shifted, at least 0 and less than the slide.
        offset_ns: i64,
    },
    /// Within each tumbling window of `width_ns`, the windows that begin with it and end at each multiple of `step_ns`, which
    /// divides the width.
    Cumulate {
        /// From one end to the next.
        step_ns: i64,
        /// Of the longest window.
        width_ns: i64,
    },
    /// For each key, rows of which none is further than the gap from the next. It ends a gap after its last row.
    Session {
        /// A pause that long, or longer, ends a session.
        gap_ns: i64,
    },
    /// Rows of the same event time: the input has windows already, and each is looked at by itself.
    Instant,
}

impl fmt::Display for Window {
    /// `hop 1s, 10s`, as in EXPLAIN.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = |ns: &i64| Duration::from_nanos(ns.unsigned_abs());
        match self {
            Self::Hop {
                slide_ns,
                width_ns,
                offset_ns,
            } => {
                match slide_ns == width_ns {
                    true => write!(f, "tumble {:?}", length(width_ns))?,
                    false => write!(f, "hop {:?}, {:?}", length(slide_ns), length(width_ns))?,
                }
                match offset_ns {
                    0 => Ok(()),
                    offset => write!(f, " from {:?}", length(offset)),
                }
            }
            Self::Cumulate { step_ns, width_ns } => {
                write!(f, "cumulate {:?}, {:?}", length(step_ns), length(width_ns))
            }
            Self::Session { gap_ns } => write!(f, "session {:?}", length(gap_ns)),
            Self::Instant => write!(f, "each window"),
        }
    }
}

/// One aggregate of a window or of an updating stream.
#[derive(Debug, Clone)]
pub struct Aggregate {
    /// The function with its arguments over the input.
    pub function: Arc<AggregateFunctionExpr>,
    /// `FILTER (WHERE …)`: a boolean over the input.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
}

/// Whether the `ORDER BY` of a function, if it has one, is heeded where rows come in no order. Percentiles look at it to
/// know which end is the first.
pub fn heeds_order(function: &AggregateFunctionExpr) -> bool {
    let orders_itself =
        function.fun().supports_within_group_clause() || function.fun().name() == "string_agg";
    orders_itself || !function.order_sensitivity().hard_requires()
}

/// Aggregates by key and window. Rows of a window are put out once, when the watermark has reached its end; rows that
/// come for it later are late: counted, and left out.
///
/// Output columns: the window as a struct of `start` and `end` unless it is [`Window::Instant`], the keys, the aggregates, [`TIME`].
#[derive(Debug, Clone)]
pub struct WindowAggregate {
    /// How time is cut.
    pub window: Window,
    /// The input's column [`TIME`].
    pub time: usize,
    /// What rows are grouped by beside the window.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// What is computed of each group.
    pub aggregates: Vec<Aggregate>,
}

impl WindowAggregate {
    /// Whether groups of a few rows each can be sent in the place of rows: windows are the same for all keys, no function heeds
    /// an order or what came before, and each can merge states, all of a fixed width, of many groups at once.
    pub fn has_small_states(&self) -> bool {
        let mut functions = self.aggregates.iter().map(|aggregate| &aggregate.function);
        !matches!(self.window, Window::Session { .. })
            && functions.all(|function| has_small_states(function))
    }
}

fn has_small_states(function: &AggregateFunctionExpr) -> bool {
    let is_small = |state: &FieldRef| {
        let data_type = state.data_type();
        data_type.is_primitive() || *data_type == DataType::Boolean
    };
    function.groups_accumulator_supported()
        && !function.is_distinct()
        && function.order_bys().is_empty()
        && function
            .state_fields()
            .is_ok_and(|states| states.iter().all(is_small))
}

/// A query over the rows of one instant at a time, that is over one window: joins of two windowed streams, functions `OVER
/// (PARTITION BY window …)`. The rows of an instant are kept until the watermark has passed it, and then given to DataFusion.
///
/// Output columns: those of `plan`, the last of which is [`TIME`].
#[derive(Debug, Clone)]
pub struct Instant {
    /// The query, in which leaf `n` (an `InstantInput`) stands for the rows of input `n`.
    pub plan: Arc<dyn ExecutionPlan>,
    /// The column [`TIME`] of each input.
    pub times: Vec<usize>,
}

/// An inner join of two streams by equal keys, without windows: each row meets those of the other side that are not older
/// than the time to live.
///
/// Output columns: those of the left, of the right, each without [`TIME`], and the later [`TIME`] of both.
#[derive(Debug, Clone)]
pub struct TtlJoin {
    /// The keys over the left and over the right input, in pairs of the same type.
    pub on: Vec<(Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>)>,
    /// The column [`TIME`] of the left and of the right.
    pub times: [usize; 2],
    /// How long a row waits for its partners, in event time.
    pub ttl: Duration,
}

/// Aggregates by key that change as rows come in, without a window.
///
/// Output columns: the keys, the aggregates, [`CHANGE`], [`TIME`] (that of the latest row). A row that changes is taken back and then sent
/// anew, flushed once a second.
#[derive(Debug, Clone)]
pub struct UpdatingAggregate {
    /// What rows are grouped by.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// What is computed of each group.
    pub aggregates: Vec<Aggregate>,
    /// The input's column [`TIME`].
    pub time: usize,
    /// The input's column [`CHANGE`], if it is an updating stream itself.
    pub change: Option<usize>,
    /// How long a group without new rows is kept, in event time.
    pub ttl: Duration,
}

/// A join of two streams by equal keys, without windows, whose results change: one that keeps rows without a partner, or whose
/// inputs are updating streams.
///
/// Output columns: those of the left, of the right, each without [`CHANGE`] and [`TIME`], then [`CHANGE`] and the later [`TIME`] of
/// both. A row that is put out without a partner is taken back when one comes.
#[derive(Debug, Clone)]
pub struct UpdatingJoin {
    /// The keys over the left and over the right input, in pairs of the same type.
    pub on: Vec<(Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>)>,
    /// The column [`TIME`] of the left and of the right.
    pub times: [usize; 2],
    /// The column [`CHANGE`] of the left and of the right, if it is an updating stream.
    pub changes: [Option<usize>; 2],
    /// Whether rows of the left, and of the right, come without a partner, too.
    pub preserved: [bool; 2],
    /// How long a row waits for its partners, in event time.
    pub ttl: Duration,
}

impl fmt::Display for UpdatingJoin {
    /// `left join`, as in EXPLAIN.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.preserved {
            [false, false] => "join",
            [true, false] => "left join",
            [false, true] => "right join",
            [true, true] => "full join",
        })
    }
}

/// The schema that follows from adding [`TIME`] to another.
pub fn with_time(schema: &SchemaRef) -> SchemaRef {
    let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
    fields.push(Arc::new(time_field()));
    Arc::new(arrow::datatypes::Schema::new_with_metadata(
        fields,
        schema.metadata().clone(),
    ))
}
