//! One worker thread: builds its share of the dataflow, runs it, and carries acknowledgements back.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::error::DataFusionError;
use datafusion::physical_expr::PhysicalExpr;
use headwater_connector::{Metrics, OperatorError, thread_cpu_ns};
use headwater_format::BadData;
use headwater_planner::plan::{
    Lookup, Node, NodeId, Plan, PlanOperator, Step, Watermark, WindowAggregate,
};
use timely::dataflow::operators::probe::Handle as ProbeHandle;
use timely::dataflow::operators::{Concatenate, Probe};
use timely::dataflow::{Scope, Stream};
use timely::scheduling::Activator;
use timely::worker::Worker;
use tokio_util::sync::CancellationToken;

use crate::acks::Acks;
use crate::backlog::Backlog;
use crate::bridge::lookup::LookupOutlet;
use crate::bridge::{SinkOutlet, SourceInlet};
use crate::durable::Seat;
use crate::durable::part::Part;
use crate::durable::report::Reports;
use crate::epoch::EpochClock;
use crate::error::{JobError, row_fault};
use crate::gate::{Gate, waits};
use crate::lanes::{Lanes, tick_every};
use crate::name::OperatorName;
use crate::operators::bad_rows::BadRows;
use crate::operators::chain::{Chain, chain_rows};
use crate::operators::dead_letters::dead_letters;
use crate::operators::exchange::{Exchange, exchange_rows};
use crate::operators::growing::{growing_rows, piece_rows};
use crate::operators::late::LateRows;
use crate::operators::lookup::{LookupParts, lookup_rows};
use crate::operators::rename::rename_lanes;
use crate::operators::sink::sink_rows;
use crate::operators::source::{SourceParts, no_rows, source_rows};
use crate::operators::stage::{Cuts, Stage, restore, stage_rows};
use crate::operators::stateful::Stateful;
use crate::operators::watermark::{Watermarks, watermark_rows};
use crate::operators::window::{Partial, partial_rows};
use crate::peers::Layout;
use crate::peers::away::Away;
use crate::rows::Rows;
use crate::state::Fate;
use crate::state_size::StateSize;

/// The ends of sources, sinks and lookup tables that one worker will take, by node.
#[derive(Default)]
pub(crate) struct Ends {
    pub(crate) sources: BTreeMap<NodeId, (SourceInlet, Acks)>,
    pub(crate) sinks: BTreeMap<NodeId, SinkOutlet>,
    pub(crate) lookups: BTreeMap<NodeId, LookupOutlet>,
    pub(crate) machines: BTreeMap<NodeId, Machine>,
}

/// An operator with state, on its way to its worker.
pub(crate) struct Machine {
    pub(crate) machine: Box<dyn Stateful>,
    pub(crate) late: LateRows,
    /// What an earlier run has left of it.
    pub(crate) parts: Vec<Part>,
}

/// What every worker needs to know.
pub(crate) struct Blueprint {
    pub(crate) plan: Plan,
    pub(crate) lanes: Lanes,
    pub(crate) layout: Layout,
    /// If there are other processes.
    pub(crate) away: Option<Away>,
    pub(crate) metrics: BTreeMap<NodeId, Arc<Metrics>>,
    pub(crate) clock: EpochClock,
    pub(crate) state_size: Arc<StateSize>,
    pub(crate) backlog: Arc<Backlog>,
    /// If lookups wait for their tables.
    pub(crate) gate: Option<Arc<Gate>>,
    /// One entry a worker of this process.
    pub(crate) cpu: Arc<[WorkerCpu]>,
    /// One entry a worker of this process, taken by it.
    pub(crate) ends: Vec<Mutex<Ends>>,
    pub(crate) fate: Arc<Fate>,
    /// If the job takes checkpoints.
    pub(crate) reports: Option<Reports>,
    pub(crate) suspended: CancellationToken,
}

/// How long the thread of a worker has been on a CPU, as of its last turn.
#[derive(Debug, Default)]
pub struct WorkerCpu(AtomicU64);

impl WorkerCpu {
    /// The time, in nanoseconds.
    pub fn ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Says how long that of this thread is.
    fn note(&self) {
        self.0.store(thread_cpu_ns(), Ordering::Relaxed);
    }
}

/// A source on this worker, as its loop sees it.
struct Source {
    acks: Rc<RefCell<Acks>>,
    activator: Activator,
    accepted: ProbeHandle<u64>,
}

impl Source {
    /// Lets go what the sinks have accepted; the operator may then have credit again.
    fn release(&self) {
        if self.acks.borrow_mut().release(&self.accepted) {
            self.activator.activate();
        }
    }
}

/// Runs one worker until the dataflow is complete or the job has failed.
pub(crate) fn run(worker: &mut Worker, blueprint: &Blueprint) {
    blueprint.fate.join_worker();
    // those of this process are numbered in a row
    let index = worker.index() % blueprint.layout.workers;
    let ends = std::mem::take(
        &mut *blueprint.ends[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner),
    );
    let sources =
        worker.dataflow::<u64, _, _>(|scope| Builder::new(scope, blueprint, ends).build());
    while worker.has_dataflows() && !blueprint.fate.ended() {
        worker.step_or_park(None);
        sources.iter().for_each(Source::release);
        blueprint.cpu[index].note();
    }
}

/// Ends whatever still runs on this worker, for timely would go on stepping it.
pub(crate) fn stop(worker: &mut Worker) {
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
}

/// Whether the plan has a way for the dead letters of a node.
pub(crate) fn has_dead_letters(plan: &Plan, id: NodeId) -> bool {
    plan.nodes.iter().any(|node| {
        matches!(node.operator, PlanOperator::DeadLetters { .. }) && node.inputs.contains(&id)
    })
}

/// Turns the nodes of a plan into timely operators, inputs first.
struct Builder<'a, 'scope> {
    scope: Scope<'scope, u64>,
    blueprint: &'a Blueprint,
    ends: Ends,
    streams: Vec<Option<Stream<'scope, u64, Rows>>>,
    // which sources each node's rows come from
    origins: Vec<BTreeSet<NodeId>>,
    accepted: BTreeMap<NodeId, ProbeHandle<u64>>,
    sources: Vec<Source>,
}

impl<'a, 'scope> Builder<'a, 'scope> {
    fn new(scope: Scope<'scope, u64>, blueprint: &'a Blueprint, ends: Ends) -> Self {
        Self {
            scope,
            blueprint,
            ends,
            streams: Vec::new(),
            origins: Vec::new(),
            accepted: BTreeMap::new(),
            sources: Vec::new(),
        }
    }

    fn build(mut self) -> Vec<Source> {
        for (index, node) in self.blueprint.plan.nodes.iter().enumerate() {
            let id = NodeId(index);
            let mut origins: BTreeSet<NodeId> = node
                .inputs
                .iter()
                .flat_map(|input| self.origins[input.0].clone())
                .collect();
            if let PlanOperator::Source(_) | PlanOperator::Values(_) = &node.operator {
                origins.insert(id);
            }
            self.origins.push(origins);
            let stream = self.node(id, node);
            self.streams.push(stream);
        }
        self.sources
    }

    fn node(&mut self, id: NodeId, node: &Node) -> Option<Stream<'scope, u64, Rows>> {
        match &node.operator {
            PlanOperator::Source(_) | PlanOperator::Values(_) => Some(self.source(id, &node.id)),
            PlanOperator::Chain(steps) => self.chain(id, node, steps),
            PlanOperator::Lookup(lookup) => self.lookup(id, node, lookup),
            PlanOperator::Union => Some(self.union(id, node)),
            PlanOperator::Watermark(watermark) => self.watermark(id, node, watermark),
            PlanOperator::PartialWindowAggregate(plan) => self.partial(id, node, plan),
            PlanOperator::Exchange(keys) => self.exchange(id, node, keys),
            PlanOperator::WindowAggregate(_)
            | PlanOperator::Instant(_)
            | PlanOperator::Over(_)
            | PlanOperator::TtlJoin(_)
            | PlanOperator::UpdatingAggregate(_)
            | PlanOperator::UpdatingJoin(_)
            | PlanOperator::MemoryLookup(_) => self.stage(id, node),
            PlanOperator::Sink(_) | PlanOperator::Preview => self.sink(id, node.inputs[0]),
            PlanOperator::DeadLetters { table } => self.dead_letters(id, node, table),
        }
    }

    fn input(&self, input: NodeId) -> Option<Stream<'scope, u64, Rows>> {
        self.streams[input.0].clone()
    }

    fn source(&mut self, id: NodeId, name: &str) -> Stream<'scope, u64, Rows> {
        // all workers must build the same graph, so the probe is there with or without a share of the source
        let accepted = ProbeHandle::new();
        self.accepted.insert(id, accepted.clone());
        let lane = self.blueprint.lanes.own(id, self.scope.index());
        let speaks = lane.zip(tick_every(&self.blueprint.plan, id));
        let Some((inlet, acks)) = self.ends.sources.remove(&id) else {
            return no_rows(self.scope, name, speaks.map(|(lane, _)| lane));
        };
        let parts = SourceParts {
            inlet,
            acks,
            clock: self.blueprint.clock.clone(),
            speaks,
            suspended: self.blueprint.suspended.clone(),
        };
        let (stream, handle) = source_rows(self.scope, name, parts);
        self.sources.push(Source {
            acks: handle.acks,
            activator: handle.activator,
            accepted,
        });
        stream
    }

    fn chain(&self, id: NodeId, node: &Node, steps: &[Step]) -> Option<Stream<'scope, u64, Rows>> {
        let chain = Chain::new(steps, self.bad_rows(id));
        let fail = self.evaluate_fault(id);
        let rows = self.input(node.inputs[0])?;
        Some(match piece_rows(steps) {
            None => chain_rows(rows, &node.id, chain, fail),
            Some(most) => {
                let bound = (most, Arc::clone(&self.blueprint.backlog));
                growing_rows(rows, &node.id, chain, bound, fail)
            }
        })
    }

    fn lookup(
        &mut self,
        id: NodeId,
        node: &Node,
        lookup: &Arc<Lookup>,
    ) -> Option<Stream<'scope, u64, Rows>> {
        let rows = self.input(node.inputs[0])?;
        let parts = LookupParts {
            plan: Arc::clone(lookup),
            schema: Arc::clone(&node.schema),
            outlet: self.ends.lookups.remove(&id)?,
            bad_rows: self.bad_rows(id),
            metrics: Arc::clone(self.blueprint.metrics.get(&id)?),
            backlog: Arc::clone(&self.blueprint.backlog),
        };
        let fail = self.evaluate_fault(id);
        let joined = lookup_rows(rows, &node.id, parts, fail.clone());
        joined.map_err(fail).ok()
    }

    fn union(&self, id: NodeId, node: &Node) -> Stream<'scope, u64, Rows> {
        let inputs = node.inputs.iter().enumerate();
        let inputs: Vec<_> = inputs
            .filter_map(|(position, input)| {
                let rows = self.input(*input)?;
                Some(self.renamed(rows, (id, position), node))
            })
            .collect();
        self.scope.concatenate(inputs)
    }

    /// The rows of an input, with other names of lanes if there must be.
    fn renamed(
        &self,
        rows: Stream<'scope, u64, Rows>,
        (id, position): (NodeId, usize),
        node: &Node,
    ) -> Stream<'scope, u64, Rows> {
        match self.blueprint.lanes.renames(id, position) {
            Some(renames) => rename_lanes(rows, &node.id, renames[self.scope.index()].clone()),
            None => rows,
        }
    }

    fn watermark(
        &self,
        id: NodeId,
        node: &Node,
        watermark: &Arc<Watermark>,
    ) -> Option<Stream<'scope, u64, Rows>> {
        let lane = self.blueprint.lanes.own(id, self.scope.index())?;
        let above = self.blueprint.lanes.above(node, self.scope.index());
        let watermarks = Watermarks::new(watermark, &node.schema, (above, lane), self.bad_rows(id));
        let rows = self.input(node.inputs[0])?;
        let fail = self.evaluate_fault(id);
        Some(watermark_rows(rows, &node.id, watermarks, fail))
    }

    /// With one worker it is nothing at all, like the exchange behind it.
    fn partial(
        &self,
        id: NodeId,
        node: &Node,
        plan: &WindowAggregate,
    ) -> Option<Stream<'scope, u64, Rows>> {
        let rows = self.input(node.inputs[0])?;
        if self.scope.peers() == 1 {
            return Some(rows);
        }
        let fail = self.compute_fault(id);
        let partial = Partial::new(plan, &node.schema).map_err(&fail).ok()?;
        Some(partial_rows(rows, &node.id, partial, fail))
    }

    fn exchange(
        &self,
        id: NodeId,
        node: &Node,
        keys: &[Arc<dyn PhysicalExpr>],
    ) -> Option<Stream<'scope, u64, Rows>> {
        let rows = self.renamed(self.input(node.inputs[0])?, (id, 0), node);
        let fail = self.evaluate_fault(id);
        let exchange = Exchange::new(keys, self.scope.peers());
        let exchange = exchange.map_err(fail.clone()).ok()?;
        let exchange = exchange.over(self.blueprint.away.clone());
        Some(exchange_rows(rows, &node.id, exchange, fail))
    }

    /// An operator with state.
    fn stage(&mut self, id: NodeId, node: &Node) -> Option<Stream<'scope, u64, Rows>> {
        let inputs: Option<Vec<_>> = node.inputs.iter().map(|input| self.input(*input)).collect();
        let Machine {
            mut machine,
            late,
            parts,
        } = self.ends.machines.remove(&id)?;
        let lanes = &self.blueprint.lanes;
        let (mut minimum, aside) = lanes.above_stage(node, self.scope.index());
        let fail = self.compute_fault(id);
        restore(machine.as_mut(), &mut minimum, parts)
            .map_err(&fail)
            .ok()?;
        let stage = Stage {
            machine,
            late,
            minimum,
            aside,
            gate: self
                .blueprint
                .gate
                .clone()
                .filter(|_| waits(&node.operator)),
            lane: lanes.own(id, self.scope.index())?,
            metrics: Arc::clone(self.blueprint.metrics.get(&id)?),
            state_size: Arc::clone(&self.blueprint.state_size),
            backlog: Arc::clone(&self.blueprint.backlog),
            cuts: self.cuts(&node.id),
        };
        Some(stage_rows(self.scope, &node.id, inputs?, stage, fail))
    }

    /// How the operator of this name takes part in checkpoints, if there are any.
    fn cuts(&self, name: &str) -> Option<Cuts> {
        let reports = self.blueprint.reports.clone()?;
        let seat = Seat {
            operator: name.to_owned(),
            worker: self.scope.index(),
        };
        Some(Cuts::new(self.blueprint.clock.clone(), reports, seat))
    }

    /// What to do when an expression fails on a row.
    fn evaluate_fault(&self, id: NodeId) -> impl Fn(DataFusionError) + Clone + 'static {
        let (fate, operator) = (Arc::clone(&self.blueprint.fate), self.name(id));
        move |error| {
            fate.fail(JobError::Evaluate {
                operator: operator.clone(),
                reason: row_fault(&error),
            });
        }
    }

    /// What to do when a function over many rows fails.
    fn compute_fault(&self, id: NodeId) -> impl Fn(DataFusionError) + 'static {
        let (fate, operator) = (Arc::clone(&self.blueprint.fate), self.name(id));
        move |error| {
            fate.fail(JobError::Compute {
                operator: operator.clone(),
                reason: row_fault(&error),
            });
        }
    }

    fn name(&self, id: NodeId) -> OperatorName {
        OperatorName::of(&self.blueprint.plan, id)
    }

    fn dead_letters(
        &self,
        id: NodeId,
        node: &Node,
        table: &str,
    ) -> Option<Stream<'scope, u64, Rows>> {
        let (fate, operator) = (Arc::clone(&self.blueprint.fate), self.name(id));
        let fail = move |error| {
            fate.fail(JobError::Operator {
                operator: operator.clone(),
                source: OperatorError::caused_by("dead letters do not fit their table", error),
            });
        };
        let (rows, columns) = (self.input(node.inputs[0])?, Arc::clone(&node.schema));
        Some(dead_letters(
            rows,
            &node.id,
            columns,
            table.to_owned(),
            fail,
        ))
    }

    /// The stream of a sink carries its dead letters.
    fn sink(&mut self, id: NodeId, input: NodeId) -> Option<Stream<'scope, u64, Rows>> {
        let rows = self.at_home(id, self.input(input)?);
        let outlet = self.ends.sinks.remove(&id)?;
        let mut done = sink_rows(rows, &self.blueprint.plan.nodes[id.0].id, outlet);
        for origin in &self.origins[id.0] {
            if let Some(accepted) = self.accepted.get(origin) {
                done = done.probe_with(accepted);
            }
        }
        Some(done)
    }

    /// The rows of a sink in the process in which it writes; as they are, if there is only one.
    fn at_home(&self, id: NodeId, rows: Stream<'scope, u64, Rows>) -> Stream<'scope, u64, Rows> {
        let Some(away) = self.blueprint.away.clone() else {
            return rows;
        };
        let (layout, plan) = (self.blueprint.layout, &self.blueprint.plan);
        let home = layout.home(plan, id);
        let exchange = Exchange::to_sink(layout.receiver(home, self.scope.index()), away);
        let fail = self.evaluate_fault(id);
        exchange_rows(rows, &plan.nodes[id.0].id, exchange, fail)
    }

    /// Rows become dead letters if the plan has a way for them, and are dropped only if every source above says so.
    fn bad_rows(&self, id: NodeId) -> BadRows {
        let origins = &self.origins[id.0];
        let letters = has_dead_letters(&self.blueprint.plan, id);
        let drops = |id: &NodeId| match &self.blueprint.plan.nodes[id.0].operator {
            PlanOperator::Source(table) => table.config.format.bad_data == BadData::Drop,
            _ => false,
        };
        match origins
            .first()
            .and_then(|first| self.blueprint.metrics.get(first))
        {
            Some(metrics) if letters => BadRows::DeadLetter(Arc::clone(metrics)),
            Some(metrics) if origins.iter().all(drops) => BadRows::Drop(Arc::clone(metrics)),
            _ => BadRows::Fail,
        }
    }
}
