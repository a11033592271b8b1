//! Looks each row of a stream up in a table, and puts both together.
//!
//! ```text
//!  rows ──► keys ──► waiting, in order, each in its epoch ─────────────► pairs ──► out
//!             └─ the distinct ones ─► the table's task ─ their rows ─►─┘
//! ```
//!
//! Input and output: rows and what is said about time, in order, in their epochs; the rows of one row in the order in
//! which the table gave them. A row whose key the table does not have is left out, or, in an outer join, has nulls. A null
//! key is found nowhere. An epoch stays open while rows of it wait, so that nothing is acknowledged before it was joined.
//!
//! Memory: what waits for the table, which the sources' credit bounds, of which [`REQUESTS_IN_FLIGHT`] batches have been
//! asked for; and what one activation makes: [`MADE_ROWS`] and one piece more. While there is no room at the job's sinks,
//! it waits.
//!
//! Errors: a key that cannot be computed is bad data of the row. A condition of an outer join that fails on a pair fails
//! the job. A table that cannot be reached is the affair of its task ([`lookup`](crate::lookup)).

mod keys;
mod pairs;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test")]
mod tests;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use headwater_connector::{Found, Metrics};
use headwater_planner::plan;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::Operator;

use self::keys::Keyed;
pub(crate) use self::keys::{Keys, key_schema};
pub(crate) use self::pairs::Joining;
use crate::backlog::Backlog;
use crate::bridge::Waker;
use crate::bridge::lookup::{LookupOutlet, LookupRequest, REQUESTS_IN_FLIGHT};
use crate::operators::bad_rows::{BadRows, Evaluated};
use crate::operators::{Output, RowsBuilder, send};
use crate::rows::Rows;

/// After how many rows made the operator yields.
const MADE_ROWS: usize = 65_536;

/// What a lookup is made of.
pub(crate) struct LookupParts {
    pub(crate) plan: Arc<plan::Lookup>,
    /// The columns of what it puts out.
    pub(crate) schema: SchemaRef,
    pub(crate) outlet: LookupOutlet,
    pub(crate) bad_rows: BadRows,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) backlog: Arc<Backlog>,
}

/// Builds the operator. What goes wrong with rows goes to `fail`.
pub(crate) fn lookup_rows<'scope>(
    rows: Stream<'scope, u64, Rows>,
    name: &str,
    parts: LookupParts,
    fail: impl Fn(DataFusionError) + 'static,
) -> Result<Stream<'scope, u64, Rows>> {
    let scope = rows.scope();
    let mut looking = Looking::new(parts)?;
    Ok(
        rows.unary_frontier::<RowsBuilder, _, _, _>(Pipeline, name, move |_capability, info| {
            let activator = scope.activator_for(Rc::clone(&info.address));
            let address = || scope.worker().sync_activator_for(info.address.to_vec());
            looking.waker.bind(address());
            let waker = Waker::default();
            waker.bind(address());
            looking.backlog.join(waker);
            // after a failure the epoch is kept open, so that nothing of it can be acknowledged
            let mut failed = None;
            move |(input, frontier), output| {
                input.for_each(|capability, data| {
                    let rows = std::mem::take(data);
                    let held = capability.retain(0);
                    if let Err(error) = looking.take(rows, &held, output) {
                        failed.get_or_insert(held);
                        fail(error);
                    }
                });
                looking.ask();
                looking.hear();
                match looking.emit(output) {
                    Ok(true) => activator.activate(),
                    Ok(false) => {}
                    Err((held, error)) => {
                        failed.get_or_insert(held);
                        fail(error);
                    }
                }
                looking.ask();
                if frontier.is_empty() && looking.waiting.is_empty() {
                    // the task ends when no worker can ask for more
                    looking.requests = None;
                }
            }
        }),
    )
}

/// The operator at work.
struct Looking {
    plan: Arc<plan::Lookup>,
    schema: SchemaRef,
    keys: Keys,
    bad_rows: BadRows,
    metrics: Arc<Metrics>,
    backlog: Arc<Backlog>,
    worker: usize,
    requests: Option<tokio::sync::mpsc::Sender<LookupRequest>>,
    answers: std::sync::mpsc::Receiver<Arc<Found>>,
    waker: Waker,
    waiting: VecDeque<Waiting>,
    /// How many of those that wait, from the front, have been asked for.
    asked: usize,
    /// How many of them have been answered.
    answered: usize,
}

/// What has come in and not gone out, in its epoch.
struct Waiting {
    held: Capability<u64>,
    what: What,
}

enum What {
    /// Rows with their keys.
    Rows(Keyed),
    /// Rows with what the table has for them.
    Joining(Joining),
    /// What is said about time.
    Said(Rows),
}

impl Looking {
    fn new(parts: LookupParts) -> Result<Self> {
        let LookupOutlet {
            worker,
            requests,
            answers,
            waker,
        } = parts.outlet;
        Ok(Self {
            keys: Keys::new(&parts.plan.pairing, &parts.plan.table.schema())?,
            plan: parts.plan,
            schema: parts.schema,
            bad_rows: parts.bad_rows,
            metrics: parts.metrics,
            backlog: parts.backlog,
            worker,
            requests: Some(requests),
            answers,
            waker,
            waiting: VecDeque::new(),
            asked: 0,
            answered: 0,
        })
    }

    /// Puts what comes in behind what waits.
    fn take(&mut self, rows: Rows, held: &Capability<u64>, output: &mut Output<'_>) -> Result<()> {
        match rows {
            Rows::Batch(batch) => {
                self.metrics.add_rows(batch.num_rows() as u64);
                let Evaluated { good, letters } =
                    self.bad_rows.evaluate(&batch, |rows| self.keys.of(rows))?;
                send(
                    letters.map(Rows::rejected).unwrap_or_default(),
                    held,
                    output,
                );
                for keyed in good {
                    self.wait(held, What::Rows(keyed));
                }
            }
            said @ Rows::Control(_) => self.wait(held, What::Said(said)),
            Rows::Rejected(_) | Rows::Partial(_) | Rows::Empty => {}
        }
        Ok(())
    }

    fn wait(&mut self, held: &Capability<u64>, what: What) {
        let held = held.clone();
        self.waiting.push_back(Waiting { held, what });
    }

    /// Asks for the rows of some batches that wait.
    fn ask(&mut self) {
        let Some(requests) = &self.requests else {
            return;
        };
        while self.asked < self.answered + REQUESTS_IN_FLIGHT
            && let Some(Waiting { what, .. }) = self.waiting.get_mut(self.asked)
        {
            if let What::Rows(keyed) = what
                && let Some(keys) = keyed.keys.take()
            {
                let worker = self.worker;
                // There is room for as many. A task that has gone has failed, and the job ends.
                requests.try_send(LookupRequest { worker, keys }).ok();
            }
            self.asked += 1;
        }
    }

    /// Puts answers to the batches that they are for.
    fn hear(&mut self) {
        while self.answered < self.asked
            && let Some(Waiting { what, .. }) = self.waiting.get_mut(self.answered)
        {
            if let What::Rows(keyed) = what {
                let found = match keyed.asks {
                    false => None,
                    true => match self.answers.try_recv() {
                        Ok(found) => Some(found),
                        Err(_) => return,
                    },
                };
                *what = What::Joining(Joining::new(keyed, found));
            }
            self.answered += 1;
        }
    }

    /// Puts out what has been answered; whether there is more, once others have had their turn.
    fn emit(
        &mut self,
        output: &mut Output<'_>,
    ) -> Result<bool, (Capability<u64>, DataFusionError)> {
        let mut made = 0;
        while self.answered > 0
            && self.backlog.has_room()
            && let Some(Waiting { held, what }) = self.waiting.front_mut()
        {
            if made >= MADE_ROWS {
                return Ok(true);
            }
            match what {
                What::Said(said) => send(std::mem::take(said), held, output),
                What::Joining(joining) => match joining.piece(&self.plan.pairing, &self.schema) {
                    Ok(Some(piece)) => {
                        made += piece.num_rows();
                        self.metrics.add_rows_out(piece.num_rows() as u64);
                        send(Rows::new(piece), held, output);
                        continue;
                    }
                    Ok(None) => {}
                    Err(error) => return Err((held.clone(), error)),
                },
                What::Rows(_) => {}
            }
            self.waiting.pop_front();
            self.asked -= 1;
            self.answered -= 1;
        }
        Ok(false)
    }
}
