//! Chains that may make more of their rows: evaluated piece by piece, within the bound of what waits at the sinks.
//!
//! Input and output: as of [`chain`](super::chain). Order: kept. Memory: the input that was not evaluated yet, which the
//! source's credit bounds, and what one activation makes: [`MADE_ROWS`] or [`MADE_BYTES`], and one piece more.
//!
//! What a piece makes is not known before, so pieces begin small and double as long as little comes out, and are cut
//! down as soon as much does. After what it may make at once the operator yields, so that its output reaches the sinks
//! and is counted in the [`Backlog`]; while there is no room, it waits.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use arrow::datatypes::DataType;
use arrow::record_batch::RecordBatch;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Operator as Op;
use datafusion::physical_expr::expressions::BinaryExpr;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use headwater_planner::plan::Step;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::Operator;

use crate::backlog::{Backlog, Size};
use crate::bridge::Waker;
use crate::control::Control;
use crate::operators::RowsBuilder;
use crate::operators::chain::Chain;
use crate::rows::Rows;

/// After how many rows made the operator yields.
const MADE_ROWS: u64 = 65_536;

/// After how many bytes made the operator yields.
const MADE_BYTES: u64 = 8 << 20;

/// The rows of the first piece.
const FIRST_ROWS: usize = 64;

/// The most rows of a piece: those of a full batch. What makes many rows of one gets smaller pieces.
const PIECE_ROWS: usize = 8192;
const PIECE_ROWS_UNNEST: usize = 1024;

/// The most bytes of a piece that has more than one row.
const PIECE_BYTES: u64 = 1 << 20;

/// The most rows that a piece of a chain may have, if the chain can make much of little.
pub(crate) fn piece_rows(steps: &[Step]) -> Option<usize> {
    let unnests = |step: &Step| matches!(step, Step::Unnest(_));
    let grows = |step: &Step| match step {
        Step::Filter { predicate, .. } => may_grow(predicate),
        Step::Project { exprs, .. } => exprs.iter().any(may_grow),
        Step::Columns(_) => false,
        Step::Unnest(_) => true,
    };
    match steps.iter().any(unnests) {
        true => Some(PIECE_ROWS_UNNEST),
        false => steps.iter().any(grows).then_some(PIECE_ROWS),
    }
}

/// Whether an expression could make values much longer than what it is given: only functions can, and `||`, whose
/// values have no fixed length. Expressions may be deep, so this does not recurse.
fn may_grow(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        let function = expr.downcast_ref::<ScalarFunctionExpr>();
        if function.is_some_and(|function| !is_fixed(function.return_type())) {
            return true;
        }
        let binary = expr.downcast_ref::<BinaryExpr>();
        if binary.is_some_and(|binary| *binary.op() == Op::StringConcat) {
            return true;
        }
        open.extend(expr.children());
    }
    false
}

fn is_fixed(data_type: &DataType) -> bool {
    data_type.is_primitive() || matches!(data_type, DataType::Boolean | DataType::Null)
}

/// How many rows the next piece may have.
struct Pieces {
    rows: usize,
    most: usize,
}

impl Pieces {
    fn new(most: usize) -> Self {
        Self {
            rows: FIRST_ROWS.min(most),
            most,
        }
    }

    /// The length of the next piece of this batch; at least one row.
    fn next(&self, waiting: &Waiting) -> usize {
        let fits = usize::try_from(PIECE_BYTES / waiting.row_bytes).unwrap_or(usize::MAX);
        self.rows
            .min(fits)
            .clamp(1, waiting.batch.num_rows().max(1))
    }

    /// Learns from what came of a piece of `rows` rows.
    fn made(&mut self, rows: usize, made: Size) {
        let share = |made: u64, bound: u64| made as f64 / bound as f64;
        let filled = share(made.rows, MADE_ROWS).max(share(made.bytes, MADE_BYTES));
        if filled > 1.0 {
            // fewer than before, because `filled` is above 1
            self.rows = ((rows as f64 / filled) as usize).max(1);
        } else if filled < 0.5 && rows >= self.rows {
            self.rows = (self.rows * 2).min(self.most);
        }
    }
}

/// A batch, or what is left of it.
struct Waiting {
    held: Capability<u64>,
    batch: RecordBatch,
    /// The mean of the whole batch: of a slice it cannot be told, because lists count in full. At least 1.
    row_bytes: u64,
}

/// What has come in and not gone out, in order.
enum Next {
    Batch(Waiting),
    Control(Capability<u64>, Control),
}

impl Next {
    fn new(rows: Rows, held: impl FnOnce() -> Capability<u64>) -> Option<Self> {
        match rows {
            Rows::Batch(batch) => {
                let size = Size::of(&batch);
                Some(Self::Batch(Waiting {
                    held: held(),
                    batch,
                    row_bytes: (size.bytes / size.rows.max(1)).max(1),
                }))
            }
            Rows::Control(control) => Some(Self::Control(held(), control)),
            Rows::Empty | Rows::Rejected(_) | Rows::Partial(_) => None,
        }
    }
}

/// Builds the operator for a chain whose pieces have at most `most` rows. An evaluation that fails goes to `fail`, and
/// what is left of its batch is withheld.
pub(crate) fn growing_rows<'scope>(
    rows: Stream<'scope, u64, Rows>,
    name: &str,
    chain: Chain,
    (most, backlog): (usize, Arc<Backlog>),
    fail: impl Fn(DataFusionError) + 'static,
) -> Stream<'scope, u64, Rows> {
    let scope = rows.scope();
    rows.unary::<RowsBuilder, _, _, _>(Pipeline, name, move |_capability, info| {
        let activator = scope.activator_for(Rc::clone(&info.address));
        let waker = Waker::default();
        waker.bind(scope.worker().sync_activator_for(info.address.to_vec()));
        backlog.join(waker);
        let mut waiting: VecDeque<Next> = VecDeque::new();
        let mut pieces = Pieces::new(most);
        // after a failure the epoch is kept open, so that nothing of it can be acknowledged
        let mut failed = None;
        move |input, output| {
            input.for_each(|capability, data| {
                waiting.extend(Next::new(std::mem::take(data), || capability.retain(0)));
            });
            let mut made = Size::default();
            while made.rows < MADE_ROWS && made.bytes < MADE_BYTES && backlog.has_room() {
                let mut next = match waiting.pop_front() {
                    Some(Next::Batch(next)) => next,
                    Some(Next::Control(held, control)) => {
                        let mut rows = Rows::Control(control);
                        output.session(&held).give_container(&mut rows);
                        continue;
                    }
                    None => return,
                };
                let len = pieces.next(&next);
                let piece = match chain.evaluate(&next.batch.slice(0, len)) {
                    Ok(piece) => piece,
                    Err(error) => {
                        failed.get_or_insert(next.held);
                        fail(error);
                        continue;
                    }
                };
                let mut size = Size::default();
                for mut rows in piece {
                    size.add(rows.size());
                    output.session(&next.held).give_container(&mut rows);
                }
                pieces.made(len, size);
                made.add(size);
                if len < next.batch.num_rows() {
                    next.batch = next.batch.slice(len, next.batch.num_rows() - len);
                    waiting.push_front(Next::Batch(next));
                }
            }
            // without room, the backlog wakes it
            if !waiting.is_empty() && backlog.has_room() {
                activator.activate();
            }
        }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test")]
mod tests;
