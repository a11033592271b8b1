//! Functions `OVER` the rows before each row: what they look at, and what they compute of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::window::StandardWindowFunctionExpr;

use super::Aggregate;

/// Functions over each row and those of the same key before it, in the order of event time. A row is put out once, when the
/// watermark has passed it; rows that come later than that are late: counted, and left out.
///
/// Output columns: those of the input without [`TIME`](super::TIME), one for each function, [`TIME`](super::TIME).
#[derive(Debug, Clone)]
pub struct Over {
    /// What rows are partitioned by.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// What is computed of each row.
    pub functions: Vec<OverFunction>,
    /// The input's column [`TIME`](super::TIME).
    pub time: usize,
    /// How long what is kept of a key by number is kept without new rows, in event time.
    pub ttl: Duration,
}

/// A function and the rows that it looks at.
#[derive(Debug, Clone)]
pub struct OverFunction {
    /// The function.
    pub call: OverCall,
    /// The rows.
    pub frame: Frame,
}

/// A function with its arguments over the input.
#[derive(Debug, Clone)]
pub enum OverCall {
    /// An aggregate.
    Aggregate(Aggregate),
    /// One that says something of a row by its place, like `lag`. If it does not heed frames, the frame says which row before
    /// is the first that it needs.
    Window(Arc<dyn StandardWindowFunctionExpr>),
}

/// Which rows a function looks at: those of the same key from a first one up to a last one, neither of which comes after the row
/// itself. Without a first one, all that have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Frame {
    /// By number: so many rows before the row.
    Rows {
        /// The first.
        from: Option<u64>,
        /// The last.
        to: u64,
    },
    /// By event time: so many nanoseconds before the row. Rows of the same time have the same frame.
    Range {
        /// The first.
        from_ns: Option<u64>,
        /// The last.
        to_ns: u64,
    },
}

impl Frame {
    /// Whether it begins with the first row.
    pub fn is_unbounded(&self) -> bool {
        matches!(
            self,
            Self::Rows { from: None, .. } | Self::Range { from_ns: None, .. }
        )
    }
}

impl fmt::Display for Frame {
    /// `range 600s`, `rows 9 to 1`, as in EXPLAIN.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = |ns: u64| format!("{:?}", Duration::from_nanos(ns));
        let (what, from, to) = match self {
            Self::Rows { from, to } => (
                "rows",
                from.map(|rows| rows.to_string()),
                (*to > 0).then(|| to.to_string()),
            ),
            Self::Range { from_ns, to_ns } => (
                "range",
                from_ns.map(length),
                (*to_ns > 0).then(|| length(*to_ns)),
            ),
        };
        write!(f, "{what} {}", from.as_deref().unwrap_or("unbounded"))?;
        to.map_or(Ok(()), |to| write!(f, " to {to}"))
    }
}
