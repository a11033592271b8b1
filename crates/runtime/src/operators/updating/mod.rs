//! Aggregates by key that change as rows come in: what was sent is taken back, and what is true now is sent.
//!
//! Input: rows; with `change`, rows that take back an equal one that came before. Output: about once a second, and at the
//! end, for each group that has changed: the row that was sent, taken back, and the row that is true now, each at most
//! once, and neither if they are equal. A group whose rows have all been taken back is taken back itself. The event time
//! of both is that of the group's latest row. Between groups there is no order.
//! Time: rows are never late. A group to which nothing has come for the time to live, in event time, is forgotten without
//! a word: what comes for it later begins anew, and what takes back a row of it is left out.
//! Memory: the groups, up to an eighth longer than the time to live, and what is noted of those that have changed.
//! Errors: those of functions.
//!
//! Two machines: one for rows that only come, whose state is columns ([`rows`]), and one for rows that may be taken back
//! ([`changes`]).

mod changes;
mod rows;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test")]
mod tests;

use std::sync::Arc;

use datafusion::common::Result;
use headwater_planner::plan::UpdatingAggregate;

use self::changes::OfChanges;
use self::rows::OfRows;
use crate::operators::machines::MachineContext;
use crate::operators::stateful::Stateful;

/// The machine of an aggregate.
pub(crate) fn machine(
    aggregate: &Arc<UpdatingAggregate>,
    context: &MachineContext,
) -> Result<Box<dyn Stateful>> {
    Ok(match aggregate.change {
        Some(change) => Box::new(OfChanges::new(aggregate, change, context)?),
        None => Box::new(OfRows::new(aggregate, context)?),
    })
}
