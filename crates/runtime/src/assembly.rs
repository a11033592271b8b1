//! Makes the parts of a job: the operators, their tasks, and the channels between these and the workers.

mod launch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use headwater_connector::{
    Connection, FixedRows, LookupOperator, Metrics, Operator, Registry, Rejects, SinkOperator,
    SourceOperator, TaskContext, measured,
};
use headwater_format::BadData;
use headwater_planner::plan::{Lookup, LookupTable, NodeId, Plan, PlanOperator};

use self::launch::{Task, open_signal, spawn};
use crate::acks::{AckGauge, Acks};
use crate::backlog::Backlog;
use crate::bridge;
use crate::durable::Share;
use crate::durable::keeping::Keeping;
use crate::durable::store::StateError;
use crate::epoch::EpochClock;
use crate::error::JobError;
use crate::gate::{Gate, gated, waits};
use crate::job::{JobOptions, OperatorKind, OperatorStatus, OverLimit};
use crate::lanes::Lanes;
use crate::lookup::LookupTask;
use crate::name::OperatorName;
use crate::operators::lookup::key_schema;
use crate::operators::machines::{MachineContext, machine};
use crate::peers::away::Away;
use crate::peers::{Layout, Peers};
use crate::spool::Spool;
use crate::tasks::{run_sink, run_source};
use crate::values::Values;
use crate::worker::{Ends, Machine};

/// A job in the making: the tasks and the ends of the channels that the workers will take.
pub(crate) struct Assembly<'a> {
    plan: &'a Plan,
    options: JobOptions,
    clock: EpochClock,
    /// If the job keeps state on disk.
    keeping: Option<Keeping>,
    /// What the nodes of the plan are called.
    names: Vec<OperatorName>,
    layout: Layout,
    /// If there are other processes.
    away: Option<Away>,
    lanes: Lanes,
    /// One entry a worker of this process.
    ends: Vec<Ends>,
    metrics: BTreeMap<NodeId, Arc<Metrics>>,
    operators: Vec<OperatorStatus>,
    tasks: Vec<Task>,
    sources: usize,
    backlog: Arc<Backlog>,
    /// If lookups wait for their tables.
    gate: Option<Arc<Gate>>,
    /// The sources that are not read meanwhile.
    gated: BTreeSet<NodeId>,
}

impl<'a> Assembly<'a> {
    /// # Errors
    /// If what an earlier run has left cannot be taken up.
    pub(crate) fn new(
        plan: &'a Plan,
        options: JobOptions,
        peers: Option<&Peers>,
    ) -> Result<Self, JobError> {
        let workers = options.parallelism.max(1);
        let names = 0..plan.nodes.len();
        let clock = peers.map_or_else(EpochClock::default, |peers| peers.clock.clone());
        let away = peers.map(|peers| peers.away.clone());
        let alone = Layout::alone(workers);
        let layout = away.as_ref().map_or(alone, |away| away.layout);
        let backlog = away.as_ref().map(|away| Arc::clone(&away.backlog));
        let backlog = backlog.unwrap_or_default();
        let waiting = plan.nodes.iter().filter(|node| waits(&node.operator));
        let waiting = waiting.count() * workers;
        let keeping = Keeping::open(plan, &options.state, workers, &clock);
        Ok(Self {
            plan,
            clock,
            keeping: keeping.map_err(JobError::State)?,
            options,
            names: names.map(|id| OperatorName::of(plan, NodeId(id))).collect(),
            layout,
            away,
            lanes: Lanes::of(plan, layout.all_workers()),
            ends: std::iter::repeat_with(Ends::default)
                .take(workers)
                .collect(),
            metrics: BTreeMap::new(),
            operators: Vec::new(),
            tasks: Vec::new(),
            sources: 0,
            gate: (waiting > 0).then(|| Arc::new(Gate::new(waiting, &backlog))),
            gated: gated(plan),
            backlog,
        })
    }

    fn make(
        &self,
        id: NodeId,
        table: &Connection,
        registry: &Registry,
        context: TaskContext,
    ) -> Result<Operator, JobError> {
        registry
            .get(&table.connector)
            .map_err(anyhow::Error::from)
            .and_then(|connector| connector.make_operator(table, context))
            .map_err(|source| self.refused(id, source))
    }

    fn wrong_kind(&self, id: NodeId, expected: &str) -> JobError {
        let source = anyhow::anyhow!("the connector did not make {expected} of it");
        self.refused(id, source)
    }

    fn refused(&self, id: NodeId, source: anyhow::Error) -> JobError {
        JobError::Start {
            operator: self.names[id.0].clone(),
            source,
        }
    }

    fn context(
        &self,
        name: &str,
        subtask: usize,
        parallelism: usize,
        metrics: &Arc<Metrics>,
    ) -> TaskContext {
        TaskContext {
            rejects: Rejects::new(BadData::Fail, Arc::clone(metrics)),
            job_id: self.options.job_id.clone(),
            operator_id: name.to_owned(),
            subtask,
            parallelism,
            metrics: Arc::clone(metrics),
            state: self.options.state.child(name).child(&subtask.to_string()),
        }
    }

    /// One operator on each of as many workers as the source can be divided among; several sources begin at different
    /// workers. Those of other processes are made there.
    pub(crate) fn source(
        &mut self,
        id: NodeId,
        name: &str,
        table: &Connection,
        registry: &Registry,
    ) -> Result<(), JobError> {
        let divisible = registry
            .get(&table.connector)
            .and_then(|connector| connector.max_parallelism(table))
            .map_err(|error| self.refused(id, error.into()))?;
        let parallelism = divisible.clamp(1, self.layout.all_workers());
        let metrics = Arc::new(Metrics::of(&table.name));
        if let Some(keeping) = &mut self.keeping {
            keeping.shares(name, parallelism).map_err(JobError::State)?;
        }
        let mut acks = Vec::with_capacity(parallelism);
        for subtask in 0..parallelism {
            if self.seat(subtask).is_none() {
                continue;
            }
            let context = self.context(name, subtask, parallelism, &metrics);
            let Operator::Source(source) = self.make(id, table, registry, context)? else {
                return Err(self.wrong_kind(id, "a source"));
            };
            let share = (name, subtask, parallelism);
            acks.push(self.add_share(id, share, source, &metrics)?);
        }
        self.add_source(id, name, metrics, acks);
        Ok(())
    }

    /// Rows that come from the plan itself, once.
    pub(crate) fn values(
        &mut self,
        id: NodeId,
        name: &str,
        rows: RecordBatch,
    ) -> Result<(), JobError> {
        let metrics = Arc::new(Metrics::of(name));
        let mut acks = Vec::new();
        if self.seat(0).is_some() {
            let source = Box::new(Values::new(rows, Arc::clone(&metrics)));
            acks.push(self.add_share(id, (name, 0, 1), source, &metrics)?);
        }
        self.add_source(id, name, metrics, acks);
        Ok(())
    }

    /// The worker that has this share of the next source, if it is one of this process.
    fn seat(&self, subtask: usize) -> Option<usize> {
        self.layout.local(self.layout.seat(self.sources + subtask))
    }

    /// The task of one share of a source, and its end on one of the workers.
    fn add_share(
        &mut self,
        id: NodeId,
        (name, subtask, shares): (&str, usize, usize),
        source: Box<dyn SourceOperator>,
        metrics: &Arc<Metrics>,
    ) -> Result<Arc<AckGauge>, JobError> {
        let gauge = Arc::<AckGauge>::default();
        let (end, inlet, durable) = bridge::source();
        self.backlog.join(inlet.waker.clone());
        let operator = name.to_owned();
        let share = Share { operator, subtask };
        let (source, cuts) = match &mut self.keeping {
            Some(keeping) => keeping
                .source(self.plan, id, (share, shares), source)
                .map_err(JobError::State)?,
            None => (source, None),
        };
        let suspends = cuts.is_some();
        let gate = self.gate.clone().filter(|_| self.gated.contains(&id));
        let bounds = (Arc::clone(&self.backlog), gate);
        let acks = Acks::new(durable, Arc::clone(&gauge), bounds, cuts);
        if let Some(worker) = self.seat(subtask) {
            self.ends[worker].sources.insert(id, (inlet, acks));
        }
        let name = self.names[id.0].clone();
        let metrics = Arc::clone(metrics);
        self.tasks.push(Box::new(move |tracker, started| {
            let opened = open_signal(started.unopened);
            let drain = started.fate.drain.clone();
            let suspension = started.suspension.clone().filter(|_| suspends);
            let task = run_source(source, end, drain, suspension, opened);
            spawn(tracker, started.fate, name, measured(metrics, task));
        }));
        Ok(gauge)
    }

    fn add_source(
        &mut self,
        id: NodeId,
        name: &str,
        metrics: Arc<Metrics>,
        acks: Vec<Arc<AckGauge>>,
    ) {
        self.sources += 1;
        self.metrics.insert(id, Arc::clone(&metrics));
        if acks.is_empty() {
            // all of it is in other processes
            return;
        }
        self.operators.push(OperatorStatus {
            id: name.to_owned(),
            kind: OperatorKind::Source,
            metrics,
            acks,
        });
    }

    pub(crate) fn sink(
        &mut self,
        id: NodeId,
        name: &str,
        table: &Connection,
        registry: &Registry,
    ) -> Result<(), JobError> {
        if self.is_elsewhere(id) {
            self.add_no_sink(id);
            return Ok(());
        }
        let metrics = Arc::new(Metrics::of(&table.name));
        let mut context = self.context(name, 0, 1, &metrics);
        let rejects = Rejects::new(table.config.format.bad_data, Arc::clone(&metrics));
        context.rejects = rejects.clone();
        let Operator::Sink(sink) = self.make(id, table, registry, context)? else {
            return Err(self.wrong_kind(id, "a sink"));
        };
        self.add_sink(id, name, sink, metrics, rejects);
        Ok(())
    }

    pub(crate) fn preview(
        &mut self,
        id: NodeId,
        name: &str,
        schema: SchemaRef,
    ) -> Result<(), JobError> {
        if self.is_elsewhere(id) {
            self.add_no_sink(id);
            return Ok(());
        }
        let metrics = Arc::<Metrics>::default();
        let context = self.context(name, 0, 1, &metrics);
        let rejects = context.rejects.clone();
        let sink = (self.options.preview)(schema, context);
        let sink = sink.map_err(|source| self.refused(id, source))?;
        self.add_sink(id, name, sink, metrics, rejects);
        Ok(())
    }

    fn is_elsewhere(&self, sink: NodeId) -> bool {
        self.layout.home(self.plan, sink) != self.layout.process
    }

    /// The ends of a sink that writes in another process: nothing comes to them.
    fn add_no_sink(&mut self, id: NodeId) {
        let rejects = Rejects::new(BadData::Fail, Arc::default());
        let (_, outlets) = bridge::sink(self.layout.workers, rejects, &self.backlog);
        for (ends, outlet) in self.ends.iter_mut().zip(outlets) {
            ends.sinks.insert(id, outlet);
        }
    }

    /// One task for all workers: one connection a sink, and one order.
    fn add_sink(
        &mut self,
        id: NodeId,
        name: &str,
        mut sink: Box<dyn SinkOperator>,
        metrics: Arc<Metrics>,
        rejects: Rejects,
    ) {
        let keeping = self.keeping.as_ref();
        let told = keeping.and_then(|keeping| {
            keeping.sink(&self.plan.nodes[id.0].id, sink.as_mut());
            keeping.told(self.plan, id)
        });
        let (end, outlets) = bridge::sink(self.layout.workers, rejects, &self.backlog);
        for (ends, outlet) in self.ends.iter_mut().zip(outlets) {
            ends.sinks.insert(id, outlet);
        }
        let task_name = self.names[id.0].clone();
        let counted = Arc::clone(&metrics);
        self.tasks.push(Box::new(move |tracker, started| {
            let drain = started.fate.drain.clone();
            let opened = open_signal(started.unopened);
            let task = run_sink(sink, end, told, drain, opened);
            spawn(tracker, started.fate, task_name, measured(counted, task));
        }));
        self.metrics.insert(id, Arc::clone(&metrics));
        self.operators.push(OperatorStatus {
            id: name.to_owned(),
            kind: OperatorKind::Sink,
            metrics,
            acks: Vec::new(),
        });
    }

    /// One task for all workers, and so one cache.
    pub(crate) fn lookup(
        &mut self,
        id: NodeId,
        name: &str,
        plan: &Lookup,
        registry: &Registry,
    ) -> Result<(), JobError> {
        let table = &plan.table;
        let metrics = Arc::new(Metrics::of(table.name()));
        let context = self.context(name, 0, 1, &metrics);
        self.names[id.0] = OperatorName::of_table(name, table.name());
        let operator: Box<dyn LookupOperator> = match table {
            LookupTable::Connected(table) => match self.make(id, table, registry, context)? {
                Operator::Lookup(operator) => operator,
                _ => return Err(self.wrong_kind(id, "a lookup table")),
            },
            LookupTable::Constant(rows) => {
                let rows =
                    FixedRows::new(rows.clone(), &key_schema(&plan.pairing, &table.schema()));
                Box::new(rows.map_err(|error| self.refused(id, error.into()))?)
            }
        };
        let (end, outlets) = bridge::lookup::lookup(self.layout.workers);
        for (ends, outlet) in self.ends.iter_mut().zip(outlets) {
            ends.lookups.insert(id, outlet);
        }
        let task = LookupTask {
            table: table.name().to_owned(),
            operator,
            keys: key_schema(&plan.pairing, &table.schema()),
            schema: table.schema(),
            metrics: Arc::clone(&metrics),
        };
        let task_name = self.names[id.0].clone();
        let counted = Arc::clone(&metrics);
        self.tasks.push(Box::new(move |tracker, started| {
            let task = task.run(end, open_signal(started.unopened));
            spawn(tracker, started.fate, task_name, measured(counted, task));
        }));
        self.metrics.insert(id, Arc::clone(&metrics));
        self.operators.push(OperatorStatus {
            id: name.to_owned(),
            kind: OperatorKind::Stateful,
            metrics,
            acks: Vec::new(),
        });
        Ok(())
    }

    /// A machine on every worker.
    pub(crate) fn stateful(&mut self, id: NodeId) -> Result<(), JobError> {
        let plan = self.plan;
        let node = &plan.nodes[id.0];
        let operator = self.names[id.0].clone();
        let refused = |source| JobError::Start {
            operator: operator.clone(),
            source,
        };
        let metrics = Arc::new(Metrics::of(&tables_above(plan, id).join(", ")));
        let spool = self.spool(&metrics).map_err(JobError::State)?;
        for ends in &mut self.ends {
            let context = MachineContext::new(plan, id, &metrics, spool.as_ref());
            let late = context.late.clone();
            let machine =
                machine(&node.operator, &context).map_err(|error| refused(error.into()))?;
            let machine = machine.ok_or_else(|| {
                refused(anyhow::anyhow!(
                    "this version cannot run such an operator yet"
                ))
            })?;
            let parts = Vec::new();
            let machine = Machine {
                machine,
                late,
                parts,
            };
            ends.machines.insert(id, machine);
        }
        self.take_up(id, (&metrics, spool.as_ref()))
            .map_err(JobError::State)?;
        self.metrics.insert(id, Arc::clone(&metrics));
        self.operators.push(OperatorStatus {
            id: node.id.clone(),
            kind: OperatorKind::Stateful,
            metrics,
            acks: Vec::new(),
        });
        Ok(())
    }
}

impl Assembly<'_> {
    /// Where the state of an operator goes for which there is no memory, if it may.
    fn spool(&self, metrics: &Arc<Metrics>) -> Result<Option<Spool>, StateError> {
        let options = &self.options;
        if options.state_limit_bytes.is_none() || options.over_limit == OverLimit::Fail {
            return Ok(None);
        }
        let folder = options.state.folder().map_err(StateError::Folder)?;
        let folder = folder.map_or_else(std::env::temp_dir, Path::to_owned);
        Ok(Some(Spool::new(&folder, metrics)))
    }

    /// Gives the machines of an operator what earlier ones have left.
    fn take_up(
        &mut self,
        id: NodeId,
        shared: (&Arc<Metrics>, Option<&Spool>),
    ) -> Result<(), StateError> {
        let first = self.ends.first().and_then(|ends| ends.machines.get(&id));
        let (Some(keeping), Some(first)) = (&mut self.keeping, first) else {
            return Ok(());
        };
        let left = keeping.seats(self.plan, id, first.machine.as_ref(), shared)?;
        for (ends, parts) in self.ends.iter_mut().zip(left) {
            if let Some(machine) = ends.machines.get_mut(&id) {
                machine.parts = parts;
            }
        }
        Ok(())
    }
}

/// The tables from which the rows of a node come, as watermarks name them.
fn tables_above(plan: &Plan, id: NodeId) -> Vec<&str> {
    let node = &plan.nodes[id.0];
    if let PlanOperator::Watermark(watermark) = &node.operator {
        return vec![&watermark.table];
    }
    let above = node.inputs.iter();
    let mut tables: Vec<_> = above.flat_map(|input| tables_above(plan, *input)).collect();
    tables.sort_unstable();
    tables.dedup();
    tables
}
