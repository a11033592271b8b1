//! What the assembly of a job needs of its state on disk: it gives sources their journals and operators what they have
//! left.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::error::ArrowError;
use arrow::util::pretty::pretty_format_batches;
use headwater_connector::{Metrics, Position, SinkOperator, SourceOperator, State};
use headwater_planner::plan::{LookupTable, Node, NodeId, Plan, PlanOperator};
use tokio::sync::{mpsc, oneshot};

use super::coordinator::{Coordinator, History, Suspension};
use super::divide::divided;
use super::journal::Journal;
use super::part::Part;
use super::report::{Report, Reports};
use super::store::{Database, Request, StateError, Store, open};
use super::told::Told;
use super::{Seat, Share};
use crate::acks::Cuts;
use crate::epoch::EpochClock;
use crate::error::JobError;
use crate::operators::stateful::Stateful;
use crate::spool::Spool;
use crate::state::Fate;

/// The state of a job in the making.
pub(crate) struct Keeping {
    database: Database,
    store: Store,
    requests: mpsc::Receiver<Request>,
    clock: EpochClock,
    reports: Reports,
    received: mpsc::UnboundedReceiver<(u64, Report)>,
    /// The number of the last checkpoint; 0 if there is none.
    number: u64,
    /// The sinks that were told changes behind it.
    told: HashSet<String>,
    workers: usize,
    shares: usize,
    seats: usize,
    metrics: Vec<Arc<Metrics>>,
}

/// What is left of it when the job runs.
pub(crate) struct Kept {
    pub(crate) reports: Reports,
    pub(crate) store: Store,
    pub(crate) coordinator: Coordinator,
    /// The file has been closed.
    pub(crate) closed: oneshot::Receiver<()>,
}

/// Whether an operator has state that is worth keeping.
fn is_stateful(operator: &PlanOperator) -> bool {
    matches!(
        operator,
        PlanOperator::WindowAggregate(_)
            | PlanOperator::Instant(_)
            | PlanOperator::Over(_)
            | PlanOperator::TtlJoin(_)
            | PlanOperator::UpdatingAggregate(_)
            | PlanOperator::UpdatingJoin(_)
            | PlanOperator::MemoryLookup(_)
    )
}

/// The text of a plan as far as its state depends on it: partial aggregates keep none, so where they are may change; rows that
/// are part of it may not.
fn identity(plan: &Plan) -> String {
    let is_partial = |node: &Node| matches!(node.operator, PlanOperator::PartialWindowAggregate(_));
    let mut plain = plan.clone();
    for input in plain.nodes.iter_mut().flat_map(|node| &mut node.inputs) {
        let above = &plan.nodes[input.0];
        if is_partial(above) {
            *input = above.inputs[0];
        }
    }
    let kept = plain.nodes.iter().filter(|node| !is_partial(node));
    let kept = kept.flat_map(|node| [Some(plain.describe(node)), own_rows(node)]);
    let kept: Vec<_> = kept.flatten().collect();
    kept.join("\n")
}

/// The rows that are part of an operator, as text.
fn own_rows(node: &Node) -> Option<String> {
    let rows = match &node.operator {
        PlanOperator::Values(rows) => rows,
        PlanOperator::Lookup(lookup) => match &lookup.table {
            LookupTable::Constant(rows) => rows,
            LookupTable::Connected(_) => return None,
        },
        _ => return None,
    };
    // what has no text is known by the columns that the plan tells
    let text = pretty_format_batches(std::slice::from_ref(rows)).ok()?;
    Some(text.to_string())
}

/// Whether rows of a source come to an operator with state.
fn leads_to_state(plan: &Plan, source: NodeId) -> bool {
    let mut below = vec![false; plan.nodes.len()];
    below[source.0] = true;
    for (index, node) in plan.nodes.iter().enumerate() {
        if node.inputs.iter().any(|input| below[input.0]) {
            if is_stateful(&node.operator) {
                return true;
            }
            below[index] = true;
        }
    }
    false
}

/// Whether a job has a place for state and anything to keep there.
pub(crate) fn keeps_state(plan: &Plan, state: &State) -> bool {
    state.is_kept() && plan.nodes.iter().any(|node| is_stateful(&node.operator))
}

impl Keeping {
    /// Opens what a job keeps, if it has a place for it and anything to keep.
    pub(crate) fn open(
        plan: &Plan,
        state: &State,
        workers: usize,
        clock: &EpochClock,
    ) -> Result<Option<Self>, StateError> {
        if !keeps_state(plan, state) {
            return Ok(None);
        }
        let Some(folder) = state.folder().map_err(StateError::Folder)? else {
            return Ok(None);
        };
        let database = open(folder, &identity(plan), workers)?;
        let (store, requests) = Store::new();
        let (reports, received) = mpsc::unbounded_channel();
        Ok(Some(Self {
            number: database.number()?,
            told: database.told_sinks()?,
            database,
            store,
            requests,
            clock: clock.clone(),
            reports,
            received,
            workers,
            shares: 0,
            seats: 0,
            metrics: Vec::new(),
        }))
    }

    /// A source that goes on where it was, and how it takes part in checkpoints; as it is, if no operator with state is
    /// below it.
    pub(crate) fn source(
        &mut self,
        plan: &Plan,
        id: NodeId,
        (share, shares): (Share, usize),
        mut source: Box<dyn SourceOperator>,
    ) -> Result<(Box<dyn SourceOperator>, Option<Cuts>), StateError> {
        if !leads_to_state(plan, id) {
            return Ok((source, None));
        }
        self.shares += 1;
        let position = self.database.position(&share)?;
        let (clock, reports) = (self.clock.clone(), self.reports.clone());
        let cuts = Cuts::new(clock, reports, share.clone(), position);
        if source.rereads() {
            let kept = self.database.shares(&share.operator)?;
            let divided_anew = self.database.left_by() != self.workers;
            if divided_anew && ![0, shares].contains(&kept) {
                return Err(self.database.other_shares(&share.operator, kept, shares));
            }
            if let Some(position) = position {
                source.resume(Position(position));
            }
            return Ok((source, Some(cuts)));
        }
        let last = self.database.last_entry(&share)?;
        let store = self.store.clone();
        let journal = Journal::new(source, store, share, position.unwrap_or(0), last);
        Ok((Box::new(journal), Some(cuts)))
    }

    /// What an operator with state has left, for each of the workers that there are now. It counts at `metrics`.
    pub(crate) fn seats(
        &mut self,
        plan: &Plan,
        id: NodeId,
        machine: &dyn Stateful,
        (metrics, spool): (&Arc<Metrics>, Option<&Spool>),
    ) -> Result<Vec<Vec<Part>>, StateError> {
        self.seats += self.workers;
        self.metrics.push(Arc::clone(metrics));
        let operator = &plan.nodes[id.0].id;
        let left = (0..self.database.left_by()).map(|worker| {
            let operator = operator.clone();
            let spool = spool.filter(|_| machine.spills());
            self.database.state(&Seat { operator, worker }, spool)
        });
        let left = left.collect::<Result<Vec<_>, _>>()?;
        match left.len() == self.workers {
            true => Ok(left),
            false => divided(plan, id, machine, left, self.workers).map_err(|error| {
                let error = ArrowError::ExternalError(error.into());
                self.database.damaged(error)
            }),
        }
    }

    /// Takes up a source in so many shares, before the first of them.
    pub(crate) fn shares(&mut self, operator: &str, shares: usize) -> Result<(), StateError> {
        if self.database.left_by() == self.workers {
            return Ok(());
        }
        self.database.adopt(operator, shares)
    }

    /// Tells a sink whether it goes on: behind a checkpoint, and where changes that it was told will be taken back.
    pub(crate) fn sink(&self, name: &str, sink: &mut dyn SinkOperator) {
        if self.number > 0 || self.told.contains(name) {
            sink.resume();
        }
    }

    /// The log of a sink that takes changes.
    pub(crate) fn told(&self, plan: &Plan, id: NodeId) -> Option<Told> {
        let node = &plan.nodes[id.0];
        let PlanOperator::Sink(table) = &node.operator else {
            return None;
        };
        Some(Told {
            store: self.store.clone(),
            sink: node.id.clone(),
            change: table.config.schema.change()?,
        })
    }

    /// Starts the thread of the file.
    pub(crate) fn start(
        self,
        job_id: &str,
        interval: Duration,
        history: History,
        fate: &Arc<Fate>,
    ) -> Result<Kept, JobError> {
        let failing = Arc::clone(fate);
        let fail = move |error| failing.fail(JobError::State(error));
        let closed = Store::serve(self.database, self.requests, job_id, fail);
        let closed = closed.map_err(|error| JobError::Threads(error.to_string()))?;
        Ok(Kept {
            reports: self.reports,
            store: self.store.clone(),
            closed,
            coordinator: Coordinator {
                clock: self.clock,
                store: self.store,
                reports: self.received,
                shares: self.shares,
                seats: self.seats,
                interval,
                number: self.number,
                ended: BTreeMap::new(),
                metrics: self.metrics,
                history,
                suspension: Suspension::new(self.shares),
            },
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use arrow::record_batch::RecordBatch;
    use datafusion::physical_expr::expressions::Column;
    use headwater_planner::plan::{Lookup, Pairing, Window, WindowAggregate};

    use super::*;

    #[test]
    fn a_plan_is_known_by_what_keeps_state() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let by = Arc::new(WindowAggregate {
            window: Window::Instant,
            time: 0,
            keys: vec![Arc::new(Column::new("n", 0))],
            aggregates: Vec::new(),
        });
        let node = |id: &str, operator: PlanOperator, inputs: &[usize]| Node {
            id: id.to_owned(),
            operator,
            inputs: inputs.iter().copied().map(NodeId).collect(),
            schema: Arc::clone(&schema),
        };
        let exchange = || PlanOperator::Exchange(by.keys.clone());
        let window = || PlanOperator::WindowAggregate(Arc::clone(&by));
        let partial = || PlanOperator::PartialWindowAggregate(Arc::clone(&by));
        let nodes = vec![
            node("a", PlanOperator::Union, &[]),
            node("partial", partial(), &[0]),
            node("exchange", exchange(), &[1]),
            node("window", window(), &[2]),
        ];
        let plain = Plan {
            nodes: vec![
                node("a", PlanOperator::Union, &[]),
                node("exchange", exchange(), &[0]),
                node("window", window(), &[1]),
            ],
        };
        assert_eq!(identity(&Plan { nodes }), plain.to_string());
        assert_eq!(identity(&plain), plain.to_string());
    }

    #[test]
    fn a_plan_is_known_by_the_rows_that_are_part_of_it() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let rows = |number| {
            let numbers = Arc::new(Int64Array::from(vec![number]));
            RecordBatch::try_new(Arc::clone(&schema), vec![numbers]).unwrap()
        };
        let values = |number| PlanOperator::Values(rows(number));
        let lookup = |number| {
            PlanOperator::Lookup(Arc::new(Lookup {
                table: LookupTable::Constant(rows(number)),
                pairing: Pairing {
                    keys: Vec::new(),
                    columns: Vec::new(),
                    filter: None,
                    outer: false,
                    timed: false,
                },
            }))
        };
        let identity = |operator| {
            let node = Node {
                id: "a".to_owned(),
                operator,
                inputs: Vec::new(),
                schema: Arc::clone(&schema),
            };
            identity(&Plan { nodes: vec![node] })
        };
        assert_eq!(identity(values(1)), identity(values(1)));
        assert_ne!(identity(values(1)), identity(values(2)));
        assert_eq!(identity(lookup(1)), identity(lookup(1)));
        assert_ne!(identity(lookup(1)), identity(lookup(2)));
    }
}
