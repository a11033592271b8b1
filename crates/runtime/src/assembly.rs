//! Makes the parts of a job: the operators, their tasks, and the channels between these and the workers.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use futures::FutureExt;
use headwater_connector::{
    Connection, Metrics, Operator, OperatorError, Registry, Rejects, SinkOperator, SourceOperator,
    TaskContext, measured,
};
use headwater_format::BadData;
use headwater_planner::plan::{Lookup, NodeId, Plan, PlanOperator};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::acks::{AckGauge, Acks};
use crate::backlog::Backlog;
use crate::bridge;
use crate::epoch::EpochClock;
use crate::error::{JobError, panic_message};
use crate::job::{Job, JobOptions, OperatorKind, OperatorStatus};
use crate::lanes::Lanes;
use crate::lookup::LookupTask;
use crate::name::OperatorName;
use crate::operators::lookup::key_schema;
use crate::operators::machines::{MachineContext, machine};
use crate::state::Fate;
use crate::state_size::StateSize;
use crate::tasks::{run_sink, run_source};
use crate::threads::start_workers;
use crate::values::Values;
use crate::worker::{Blueprint, Ends, WorkerCpu};

/// A job in the making: the tasks and the ends of the channels that the workers will take.
pub(crate) struct Assembly {
    options: JobOptions,
    /// What the nodes of the plan are called.
    names: Vec<OperatorName>,
    workers: usize,
    lanes: Lanes,
    ends: Vec<Ends>,
    metrics: BTreeMap<NodeId, Arc<Metrics>>,
    operators: Vec<OperatorStatus>,
    tasks: Vec<Task>,
    sources: usize,
    backlog: Arc<Backlog>,
}

/// Something to be spawned once everything has been made.
type Task = Box<dyn FnOnce(&TaskTracker, &Arc<Fate>, &watch::Sender<usize>) + Send>;

impl Assembly {
    pub(crate) fn new(plan: &Plan, options: JobOptions) -> Self {
        let workers = options.parallelism.max(1);
        let names = 0..plan.nodes.len();
        Self {
            options,
            names: names.map(|id| OperatorName::of(plan, NodeId(id))).collect(),
            workers,
            lanes: Lanes::of(plan, workers),
            ends: std::iter::repeat_with(Ends::default)
                .take(workers)
                .collect(),
            metrics: BTreeMap::new(),
            operators: Vec::new(),
            tasks: Vec::new(),
            sources: 0,
            backlog: Arc::default(),
        }
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
    /// workers.
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
        let parallelism = divisible.clamp(1, self.workers);
        let metrics = Arc::new(Metrics::of(&table.name));
        let mut acks = Vec::with_capacity(parallelism);
        for subtask in 0..parallelism {
            let context = self.context(name, subtask, parallelism, &metrics);
            let Operator::Source(source) = self.make(id, table, registry, context)? else {
                return Err(self.wrong_kind(id, "a source"));
            };
            acks.push(self.add_share(id, self.sources + subtask, source, &metrics));
        }
        self.add_source(id, name, metrics, acks);
        Ok(())
    }

    /// Rows that come from the plan itself, once.
    pub(crate) fn values(&mut self, id: NodeId, name: &str, rows: RecordBatch) {
        let metrics = Arc::new(Metrics::of(name));
        let source = Box::new(Values::new(rows, Arc::clone(&metrics)));
        let acks = vec![self.add_share(id, self.sources, source, &metrics)];
        self.add_source(id, name, metrics, acks);
    }

    /// The task of one share of a source, and its end on one of the workers.
    fn add_share(
        &mut self,
        id: NodeId,
        worker: usize,
        source: Box<dyn SourceOperator>,
        metrics: &Arc<Metrics>,
    ) -> Arc<AckGauge> {
        let gauge = Arc::<AckGauge>::default();
        let (end, inlet, durable) = bridge::source();
        self.backlog.join(inlet.waker.clone());
        let acks = Acks::new(durable, Arc::clone(&gauge), Arc::clone(&self.backlog));
        self.ends[worker % self.workers]
            .sources
            .insert(id, (inlet, acks));
        let name = self.names[id.0].clone();
        let metrics = Arc::clone(metrics);
        self.tasks.push(Box::new(move |tracker, fate, unopened| {
            let opened = open_signal(unopened);
            let task = run_source(source, end, fate.drain.clone(), opened);
            spawn(tracker, fate, name, measured(metrics, task));
        }));
        gauge
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
        let metrics = Arc::<Metrics>::default();
        let context = self.context(name, 0, 1, &metrics);
        let rejects = context.rejects.clone();
        let sink = (self.options.preview)(schema, context);
        let sink = sink.map_err(|source| self.refused(id, source))?;
        self.add_sink(id, name, sink, metrics, rejects);
        Ok(())
    }

    /// One task for all workers: one connection a sink, and one order.
    fn add_sink(
        &mut self,
        id: NodeId,
        name: &str,
        sink: Box<dyn SinkOperator>,
        metrics: Arc<Metrics>,
        rejects: Rejects,
    ) {
        let (end, outlets) = bridge::sink(self.workers, rejects, &self.backlog);
        for (ends, outlet) in self.ends.iter_mut().zip(outlets) {
            ends.sinks.insert(id, outlet);
        }
        let task_name = self.names[id.0].clone();
        let counted = Arc::clone(&metrics);
        self.tasks.push(Box::new(move |tracker, fate, unopened| {
            let task = run_sink(sink, end, open_signal(unopened));
            spawn(tracker, fate, task_name, measured(counted, task));
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
        let metrics = Arc::new(Metrics::of(&table.name));
        let context = self.context(name, 0, 1, &metrics);
        self.names[id.0] = OperatorName::of_table(name, &table.name);
        let Operator::Lookup(operator) = self.make(id, table, registry, context)? else {
            return Err(self.wrong_kind(id, "a lookup table"));
        };
        let (end, outlets) = bridge::lookup::lookup(self.workers);
        for (ends, outlet) in self.ends.iter_mut().zip(outlets) {
            ends.lookups.insert(id, outlet);
        }
        let task = LookupTask {
            table: table.name.clone(),
            operator,
            keys: key_schema(plan),
            schema: table.config.schema.arrow_schema(),
            metrics: Arc::clone(&metrics),
        };
        let task_name = self.names[id.0].clone();
        let counted = Arc::clone(&metrics);
        self.tasks.push(Box::new(move |tracker, fate, unopened| {
            let task = task.run(end, open_signal(unopened));
            spawn(tracker, fate, task_name, measured(counted, task));
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
    pub(crate) fn stateful(&mut self, plan: &Plan, id: NodeId) -> Result<(), JobError> {
        let node = &plan.nodes[id.0];
        let operator = self.names[id.0].clone();
        let refused = |source| JobError::Start {
            operator: operator.clone(),
            source,
        };
        let metrics = Arc::new(Metrics::of(&tables_above(plan, id).join(", ")));
        for (worker, ends) in self.ends.iter_mut().enumerate() {
            let context = MachineContext::new(plan, id, (worker, self.workers), &metrics);
            let late = context.late.clone();
            let machine =
                machine(&node.operator, &context).map_err(|error| refused(error.into()))?;
            let machine = machine.ok_or_else(|| {
                refused(anyhow::anyhow!(
                    "this version cannot run such an operator yet"
                ))
            })?;
            ends.machines.insert(id, (machine, late));
        }
        self.metrics.insert(id, Arc::clone(&metrics));
        self.operators.push(OperatorStatus {
            id: node.id.clone(),
            kind: OperatorKind::Stateful,
            metrics,
            acks: Vec::new(),
        });
        Ok(())
    }

    pub(crate) fn start(self, plan: Plan) -> Job {
        let fate = Arc::<Fate>::default();
        let (unopened_sender, unopened) = watch::channel(self.tasks.len());
        let (outcome_sender, outcome) = watch::channel(None);
        let worker_cpu: Arc<[WorkerCpu]> =
            (0..self.workers).map(|_| WorkerCpu::default()).collect();
        let tracker = TaskTracker::new();
        for task in self.tasks {
            task(&tracker, &fate, &unopened_sender);
        }
        tracker.close();
        let blueprint = Blueprint {
            plan,
            lanes: self.lanes,
            metrics: self.metrics,
            clock: EpochClock::default(),
            state_size: Arc::new(StateSize::new(self.options.state_limit_bytes)),
            backlog: Arc::clone(&self.backlog),
            cpu: Arc::clone(&worker_cpu),
            ends: self.ends.into_iter().map(Mutex::new).collect(),
            fate: Arc::clone(&fate),
        };
        let workers_done = start_workers(&self.options.job_id, blueprint);
        let supervised = Arc::clone(&fate);
        tokio::spawn(async move {
            // the sender is dropped only with the thread that runs the workers
            workers_done.await.ok();
            tracker.wait().await;
            let result = supervised
                .take_error()
                .map_or(Ok(()), |error| Err(Arc::new(error)));
            outcome_sender.send_replace(Some(result));
        });
        Job {
            id: self.options.job_id,
            fate,
            operators: self.operators,
            backlog: self.backlog,
            worker_cpu,
            unopened,
            outcome,
        }
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

fn open_signal(unopened: &watch::Sender<usize>) -> impl FnOnce() + Send + 'static {
    let unopened = unopened.clone();
    move || unopened.send_modify(|count| *count -= 1)
}

/// Runs a task under the job's fate: an error or a panic of it fails the job, the job's end ends it.
fn spawn(
    tracker: &TaskTracker,
    fate: &Arc<Fate>,
    operator: OperatorName,
    task: impl Future<Output = Result<(), OperatorError>> + Send + 'static,
) {
    let fate = Arc::clone(fate);
    tracker.spawn(async move {
        let guarded = AssertUnwindSafe(task).catch_unwind();
        let result = tokio::select! {
            biased;
            () = fate.abort.cancelled() => return,
            result = guarded => result,
        };
        match result {
            Ok(Ok(())) => {}
            Ok(Err(OperatorError::Unread(what))) => {
                tracing::info!("{what}; the job ends");
                fate.end();
            }
            Ok(Err(source)) => fate.fail(JobError::Operator { operator, source }),
            Err(panic) => fate.fail(JobError::Panicked {
                place: format!("the task of {operator}"),
                message: panic_message(panic.as_ref()),
            }),
        }
    });
}
