//! A query over one window at a time: a plan of DataFusion's own, apart from the stream in which it stands.
//!
//! Its leaves stand for the rows of the inputs. It is optimised and compiled by itself (`extension`), and the runtime runs
//! it once for each window. Its last column is the event time.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{DFSchemaRef, Result};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

use super::node::{Kind, StreamNode};

/// The leaf that stands for the rows of an input.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct InstantLeaf {
    /// Which input.
    pub(crate) index: usize,
    schema: DFSchemaRef,
}

impl InstantLeaf {
    /// Stands for the rows of a stream, the input of that index.
    pub(super) fn of(index: usize, stream: &LogicalPlan) -> LogicalPlan {
        LogicalPlan::Extension(Extension {
            node: Arc::new(Self {
                index,
                schema: Arc::clone(stream.schema()),
            }),
        })
    }
}

/// The node of a query over the windows of some streams, of which each is exchanged by as many of `keys`, one after the
/// other.
pub(super) fn over_instants(
    query: LogicalPlan,
    keys: Vec<Expr>,
    inputs: Vec<LogicalPlan>,
) -> Result<LogicalPlan> {
    let kind = Kind::Instant(Arc::new(query));
    StreamNode::try_new(kind, keys, inputs).map(StreamNode::into_plan)
}

impl UserDefinedLogicalNodeCore for InstantLeaf {
    fn name(&self) -> &'static str {
        "InstantLeaf"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        Vec::new()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.index)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, _: Vec<LogicalPlan>) -> Result<Self> {
        Ok(self.clone())
    }
}

impl PartialOrd for InstantLeaf {
    /// Plans have no order, save that equal ones are equal.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}
