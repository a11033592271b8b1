//! A job: one plan, running.
//!
//! A job has its own timely computation with its own worker threads, and its own tasks; jobs share nothing but the
//! tokio runtime, so one that fails takes no other with it. It ends when all its sources have ended and everything read
//! has been accepted by the sinks and acknowledged; or when [`Job::stop`] makes the sources stop reading, likewise; or
//! when something fails, and then what was unacknowledged stays so.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use futures::FutureExt;
use headwater_connector::{
    Connection, Metrics, Operator, OperatorError, Registry, Rejects, SinkOperator, SourceOperator,
    TaskContext,
};
use headwater_format::BadData;
use headwater_planner::plan::{NodeId, Plan, PlanOperator};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::acks::{AckGauge, Acks};
use crate::backlog::Backlog;
use crate::bridge;
use crate::epoch::EpochClock;
use crate::error::{JobError, panic_message};
use crate::state::Fate;
use crate::tasks::{run_sink, run_source};
use crate::threads::start_workers;
use crate::values::Values;
use crate::worker::{self, Blueprint, Ends};

/// Makes the sink for the rows of a bare `SELECT`.
pub type PreviewFactory =
    Arc<dyn Fn(SchemaRef, TaskContext) -> anyhow::Result<Box<dyn SinkOperator>> + Send + Sync>;

/// How a plan is run.
#[derive(Clone)]
pub struct JobOptions {
    /// The job's id: part of the client ids, so the same for every run of the same pipeline.
    pub job_id: String,
    /// Worker threads, at least one.
    pub parallelism: usize,
    /// Where the rows of a bare `SELECT` go.
    pub preview: PreviewFactory,
}

/// What one operator counts.
#[derive(Debug, Clone)]
pub struct OperatorStatus {
    /// The operator's id in the plan.
    pub id: String,
    /// Whether it reads.
    pub is_source: bool,
    /// Its counters.
    pub metrics: Arc<Metrics>,
    /// For a source: how far its acknowledgements lag, one gauge a subtask.
    pub acks: Vec<Arc<AckGauge>>,
}

/// How a job ended.
pub type Outcome = Result<(), Arc<JobError>>;

/// A running job. Dropping it does not end it.
pub struct Job {
    id: String,
    fate: Arc<Fate>,
    operators: Vec<OperatorStatus>,
    backlog: Arc<Backlog>,
    unopened: watch::Receiver<usize>,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Job {
    /// Starts a plan. Must be called within a tokio runtime, on which the sources and sinks will run.
    ///
    /// # Errors
    /// An operator that cannot be made, before anything has been started.
    pub fn start(plan: Plan, registry: &Registry, options: JobOptions) -> Result<Self, JobError> {
        let workers = options.parallelism.max(1);
        let mut assembly = Assembly::new(workers, options);
        for (index, node) in plan.nodes.iter().enumerate() {
            check_dead_letters(&plan, NodeId(index))?;
            match &node.operator {
                PlanOperator::Source(table) => {
                    assembly.source(NodeId(index), &node.id, table, registry)?;
                }
                PlanOperator::Values(rows) => {
                    assembly.values(NodeId(index), &node.id, rows.clone());
                }
                PlanOperator::Sink(table) => {
                    assembly.sink(NodeId(index), &node.id, table, registry)?;
                }
                PlanOperator::Preview => {
                    assembly.preview(NodeId(index), &node.id, Arc::clone(&node.schema))?;
                }
                PlanOperator::Chain(_) | PlanOperator::Union | PlanOperator::DeadLetters { .. } => {
                }
                _ => return Err(not_yet(&node.id)),
            }
        }
        Ok(assembly.start(plan))
    }

    /// The id it was started with.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What its sources and sinks count, in the plan's order.
    pub fn operators(&self) -> &[OperatorStatus] {
        &self.operators
    }

    /// What waits at its sinks.
    pub fn backlog(&self) -> &Arc<Backlog> {
        &self.backlog
    }

    /// Resolves when every source and sink has reached its other side, or the job has ended.
    pub async fn opened(&self) {
        let mut unopened = self.unopened.clone();
        // an error means that all tasks have ended
        unopened.wait_for(|count| *count == 0).await.ok();
    }

    /// Whether every source and sink has reached its other side.
    pub fn is_open(&self) -> bool {
        *self.unopened.borrow() == 0
    }

    /// Stops reading and lets the job drain: what was read is processed, written, and acknowledged; then it ends.
    pub fn stop(&self) {
        self.fate.drain.cancel();
    }

    /// Ends the job where it stands. What is unacknowledged stays so.
    pub fn abort(&self) {
        self.fate.end();
    }

    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome.borrow().clone()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Why it failed.
    pub async fn wait(&self) -> Outcome {
        let mut outcome = self.outcome.clone();
        match outcome
            .wait_for(Option::is_some)
            .await
            .map(|outcome| outcome.clone())
        {
            Ok(Some(outcome)) => outcome,
            // the supervisor is gone without a word only when the tokio runtime was shut down
            _ => Ok(()),
        }
    }
}

/// A job in the making: the tasks and the ends of the channels that the workers will take.
struct Assembly {
    options: JobOptions,
    workers: usize,
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
    fn new(workers: usize, options: JobOptions) -> Self {
        Self {
            options,
            workers,
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
        name: &str,
        table: &Connection,
        registry: &Registry,
        context: TaskContext,
    ) -> Result<Operator, JobError> {
        registry
            .get(&table.connector)
            .map_err(anyhow::Error::from)
            .and_then(|connector| connector.make_operator(table, context))
            .map_err(|source| JobError::Start {
                operator: name.to_owned(),
                source,
            })
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
        }
    }

    /// One operator on each of as many workers as the source can be divided among; several sources begin at different
    /// workers.
    fn source(
        &mut self,
        id: NodeId,
        name: &str,
        table: &Connection,
        registry: &Registry,
    ) -> Result<(), JobError> {
        let divisible = registry
            .get(&table.connector)
            .and_then(|connector| connector.max_parallelism(table))
            .map_err(|error| JobError::Start {
                operator: name.to_owned(),
                source: error.into(),
            })?;
        let parallelism = divisible.clamp(1, self.workers);
        let metrics = Arc::new(Metrics::of(&table.name));
        let mut acks = Vec::with_capacity(parallelism);
        for subtask in 0..parallelism {
            let context = self.context(name, subtask, parallelism, &metrics);
            let Operator::Source(source) = self.make(name, table, registry, context)? else {
                return Err(wrong_kind(name, "a source"));
            };
            acks.push(self.add_share(id, name, self.sources + subtask, source));
        }
        self.add_source(id, name, metrics, acks);
        Ok(())
    }

    /// Rows that come from the plan itself, once.
    fn values(&mut self, id: NodeId, name: &str, rows: RecordBatch) {
        let metrics = Arc::new(Metrics::of(name));
        let source = Box::new(Values::new(rows, Arc::clone(&metrics)));
        let acks = vec![self.add_share(id, name, self.sources, source)];
        self.add_source(id, name, metrics, acks);
    }

    /// The task of one share of a source, and its end on one of the workers.
    fn add_share(
        &mut self,
        id: NodeId,
        name: &str,
        worker: usize,
        source: Box<dyn SourceOperator>,
    ) -> Arc<AckGauge> {
        let gauge = Arc::<AckGauge>::default();
        let (end, inlet, durable) = bridge::source();
        self.backlog.join(inlet.waker.clone());
        let acks = Acks::new(durable, Arc::clone(&gauge), Arc::clone(&self.backlog));
        self.ends[worker % self.workers]
            .sources
            .insert(id, (inlet, acks));
        let name = name.to_owned();
        self.tasks.push(Box::new(move |tracker, fate, unopened| {
            let opened = open_signal(unopened);
            let drain = fate.drain.clone();
            spawn(tracker, fate, name, run_source(source, end, drain, opened));
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
            is_source: true,
            metrics,
            acks,
        });
    }

    fn sink(
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
        let Operator::Sink(sink) = self.make(name, table, registry, context)? else {
            return Err(wrong_kind(name, "a sink"));
        };
        self.add_sink(id, name, sink, metrics, rejects);
        Ok(())
    }

    fn preview(&mut self, id: NodeId, name: &str, schema: SchemaRef) -> Result<(), JobError> {
        let metrics = Arc::<Metrics>::default();
        let context = self.context(name, 0, 1, &metrics);
        let rejects = context.rejects.clone();
        let sink = (self.options.preview)(schema, context).map_err(|source| JobError::Start {
            operator: name.to_owned(),
            source,
        })?;
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
        let task_name = name.to_owned();
        self.tasks.push(Box::new(move |tracker, fate, unopened| {
            let opened = open_signal(unopened);
            spawn(tracker, fate, task_name, run_sink(sink, end, opened));
        }));
        self.metrics.insert(id, Arc::clone(&metrics));
        self.operators.push(OperatorStatus {
            id: name.to_owned(),
            is_source: false,
            metrics,
            acks: Vec::new(),
        });
    }

    fn start(self, plan: Plan) -> Job {
        let fate = Arc::<Fate>::default();
        let (unopened_sender, unopened) = watch::channel(self.tasks.len());
        let (outcome_sender, outcome) = watch::channel(None);
        let tracker = TaskTracker::new();
        for task in self.tasks {
            task(&tracker, &fate, &unopened_sender);
        }
        tracker.close();
        let blueprint = Blueprint {
            plan,
            metrics: self.metrics,
            clock: EpochClock::default(),
            backlog: Arc::clone(&self.backlog),
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
            unopened,
            outcome,
        }
    }
}

/// Dead letters must have somewhere to go: nothing else would notice that they are lost.
fn check_dead_letters(plan: &Plan, id: NodeId) -> Result<(), JobError> {
    let node = &plan.nodes[id.0];
    let has_letters = match &node.operator {
        PlanOperator::Source(table) | PlanOperator::Sink(table) => {
            table.config.format.bad_data == BadData::DeadLetter
        }
        _ => false,
    };
    if !has_letters || worker::has_dead_letters(plan, id) {
        return Ok(());
    }
    Err(JobError::Start {
        operator: node.id.clone(),
        source: anyhow::anyhow!("the plan has no place for its dead letters; this is a bug"),
    })
}

fn not_yet(name: &str) -> JobError {
    JobError::Start {
        operator: name.to_owned(),
        source: anyhow::anyhow!("this version cannot run such an operator yet"),
    }
}

fn wrong_kind(name: &str, expected: &str) -> JobError {
    let source = anyhow::anyhow!("the connector did not make {expected} of it");
    JobError::Start {
        operator: name.to_owned(),
        source,
    }
}

fn open_signal(unopened: &watch::Sender<usize>) -> impl FnOnce() + Send + 'static {
    let unopened = unopened.clone();
    move || unopened.send_modify(|count| *count -= 1)
}

/// Runs a task under the job's fate: an error or a panic of it fails the job, the job's end ends it.
fn spawn(
    tracker: &TaskTracker,
    fate: &Arc<Fate>,
    operator: String,
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
            Ok(Err(source)) => fate.fail(JobError::Operator { operator, source }),
            Err(panic) => fate.fail(JobError::Panicked {
                place: format!("the task of '{operator}'"),
                message: panic_message(panic.as_ref()),
            }),
        }
    });
}
