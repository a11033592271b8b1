//! Aggregates by key and window.
//!
//! Input: rows with an event time. Output: one row for each window and key that had rows: the window, the keys, the
//! aggregates, and the window's last nanosecond as event time. Order: windows in the order of their ends.
//!
//! Two machines. [`Aligned`](aligned::Aligned) is for windows that are the same for all keys: hopping, tumbling,
//! cumulating ones and single instants. [`Session`](session::Session) is for windows that follow the rows of each key.
//! Both leave the work on rows to DataFusion's group values and group accumulators, a batch at a time:
//!
//! ```text
//!  batch ─► input (keys, arguments, filters) ─► split by pane ─► groups of the pane ──┐
//!                                                                                     ├─► closing ─► output
//!           watermark ─► panes whose windows have ended (cut) ────────────────────────┘
//!
//!  batch ─► input ─► sessions of the keys (book) ─► segments of state ─► merged when a session ends ─► output
//! ```
//!
//! Where there are several workers, rows can become groups before they come to the worker of their key, a batch at a time, and
//! the panes take those: see [`partial`].
//!
//! The groups of a pane become *runs* of columns at checkpoints, and when there is no memory for them: see [`run`].
//!
//! Late rows, those whose windows have all closed, are noted and left out. Memory: a state for each key and pane, or for
//! each open session, counted for the job's limit; where the job lets state go to disk, that of panes does. Errors: those of functions.

mod aggregates;
mod aligned;
mod chore;
mod closing;
mod cut;
mod groups;
mod input;
mod merge;
mod output;
mod pane;
mod partial;
mod run;
mod session;
mod spilling;
mod split;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use datafusion::common::{Result, internal_err};
use headwater_planner::plan::{Window, WindowAggregate};

pub(in crate::operators) use self::aggregates::{Accumulators, Functions, States, check_order};
use self::aligned::Aligned;
use self::cut::Cut;
pub(in crate::operators) use self::input::{Columns, Input, arguments};
pub(crate) use self::partial::{Partial, partial_rows};
use self::session::Session;
use crate::operators::machines::MachineContext;
use crate::operators::stateful::Stateful;

/// The machine for one kind of window.
pub(crate) fn machine(
    plan: &Arc<WindowAggregate>,
    context: &MachineContext,
) -> Result<Box<dyn Stateful>> {
    Ok(match (plan.window, Cut::of(plan.window)) {
        (Window::Session { gap_ns }, _) => Box::new(Session::new(plan, gap_ns, context)?),
        (_, Some(cut)) => Box::new(Aligned::new(plan, cut, context)?),
        (window, None) => return internal_err!("nothing is known of the window {window}"),
    })
}
