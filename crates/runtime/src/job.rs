//! A job: one plan, running.
//!
//! A job has its own timely computation with its own worker threads, and its own tasks; jobs share nothing but the
//! tokio runtime, so one that fails takes no other with it. It ends when all its sources have ended and everything read
//! has been accepted by the sinks and acknowledged; or when [`Job::stop`] makes the sources stop reading, likewise; or
//! when something fails, and then what was unacknowledged stays so.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use headwater_connector::{Metrics, Registry, SinkOperator, State, TaskContext};
use headwater_format::BadData;
use headwater_planner::plan::{NodeId, Plan, PlanOperator};
use tokio::sync::watch;

use crate::acks::AckGauge;
use crate::assembly::Assembly;
use crate::backlog::Backlog;
pub use crate::durable::coordinator::CheckpointStatus;
use crate::durable::coordinator::History;
use crate::durable::keeping::keeps_state;
use crate::error::{JobError, chain};
use crate::loops;
use crate::name::OperatorName;
use crate::peers::{Cluster, Hello, Layout, PeerError, Peers, meet};
use crate::state::Fate;
use crate::worker::{self, WorkerCpu};

/// Makes the sink for the rows of a bare `SELECT`.
pub type PreviewFactory =
    Arc<dyn Fn(SchemaRef, TaskContext) -> anyhow::Result<Box<dyn SinkOperator>> + Send + Sync>;

/// How a plan is run.
#[derive(Clone)]
pub struct JobOptions {
    /// The job's id: part of the client ids, so the same for every run of the same pipeline.
    pub job_id: String,
    /// Worker threads of this process, at least one.
    pub parallelism: usize,
    /// The most memory, in bytes, that the state of windows, joins and aggregates may take together. `None` is no limit.
    pub state_limit_bytes: Option<u64>,
    /// What happens when it takes more.
    pub over_limit: OverLimit,
    /// Where the rows of a bare `SELECT` go.
    pub preview: PreviewFactory,
    /// What the job remembers from one run to the next: a place of its own. A job with windows, joins or aggregates keeps
    /// their state there, so that neither a crash nor [`Job::stop`] loses it.
    pub state: State,
    /// How often that state is kept.
    pub checkpoint_interval: Duration,
}

/// What becomes of a job whose state takes more memory than it may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OverLimit {
    /// It fails.
    #[default]
    Fail,
    /// The state of windows (tumbling, hopping and cumulating ones) goes to disk: to [`JobOptions::state`], if that is a
    /// place, or else to the system's folder for temporary files. If other state takes more than it may, the job fails.
    Spill,
}

/// What kind of operator one is, as far as people care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperatorKind {
    /// It reads.
    Source,
    /// It keeps state.
    Stateful,
    /// It writes.
    Sink,
}

/// What one operator counts.
#[derive(Debug, Clone)]
pub struct OperatorStatus {
    /// The operator's id in the plan.
    pub id: String,
    /// What kind it is.
    pub kind: OperatorKind,
    /// Its counters.
    pub metrics: Arc<Metrics>,
    /// For a source: how far its acknowledgements lag, one gauge a subtask.
    pub acks: Vec<Arc<AckGauge>>,
}

/// How a job ended.
pub type Outcome = Result<(), Arc<JobError>>;

/// How often the state of a job is kept unless someone says otherwise, as in Arroyo.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);

/// A running job. Dropping it does not end it.
pub struct Job {
    pub(crate) id: String,
    pub(crate) fate: Arc<Fate>,
    pub(crate) operators: Vec<OperatorStatus>,
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) worker_cpu: Arc<[WorkerCpu]>,
    pub(crate) checkpoints: History,
    pub(crate) unopened: watch::Receiver<usize>,
    pub(crate) outcome: watch::Receiver<Option<Outcome>>,
}

impl Job {
    /// Starts a plan. Must be called within a tokio runtime, on which the sources and sinks will run.
    ///
    /// # Errors
    /// An operator that cannot be made, before anything has been started.
    pub fn start(plan: Plan, registry: &Registry, options: JobOptions) -> Result<Self, JobError> {
        assemble(&plan, registry, options, None)?.start(None)
    }

    /// Starts a plan in one of several processes, all of which must do the same. Returns when all are there.
    ///
    /// # Errors
    /// The others, if they do not come or were started differently; an operator that cannot be made, here or in another
    /// process.
    pub async fn start_among(
        plan: Plan,
        registry: &Registry,
        options: JobOptions,
        cluster: Cluster,
    ) -> Result<Self, JobError> {
        if keeps_state(&plan, &options.state) {
            return Err(PeerError::KeepsState.into());
        }
        let layout = Layout {
            process: cluster.process,
            processes: cluster.addresses.len(),
            workers: options.parallelism.max(1),
        };
        let hello = Hello::new(&cluster, &plan, &options.job_id, layout.workers);
        let peers = meet(cluster, hello, layout).await?;
        match assemble(&plan, registry, options, Some(&peers)) {
            Ok(assembly) => assembly.start(Some(peers)),
            Err(error) => {
                peers.refuse(chain(&error)).await;
                Err(error)
            }
        }
    }

    /// The id it was started with.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What its sources, operators with state and sinks count, in the plan's order.
    pub fn operators(&self) -> &[OperatorStatus] {
        &self.operators
    }

    /// The CPU time of its workers: all that its operators do between the tasks of its sources and those of its sinks.
    pub fn worker_cpu(&self) -> &[WorkerCpu] {
        &self.worker_cpu
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

    /// The last checkpoints that were taken, the newest at the end; none without a place for state.
    pub fn checkpoints(&self) -> Vec<CheckpointStatus> {
        self.checkpoints.list()
    }

    /// Stops reading and lets the job drain: what was read is processed, written, and acknowledged; then it ends. If it
    /// keeps its state, open windows stay open, and the next run goes on with them; else they close.
    pub fn stop(&self) {
        self.fate.drain.cancel();
    }

    /// The same, but open windows close in any case, and nothing is kept: the next run begins anew.
    pub fn finish(&self) {
        self.fate.finishes.store(true, Ordering::Release);
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

/// Makes the operators of a plan.
fn assemble<'a>(
    plan: &'a Plan,
    registry: &Registry,
    options: JobOptions,
    peers: Option<&Peers>,
) -> Result<Assembly<'a>, JobError> {
    loops::warn(plan, registry);
    let mut assembly = Assembly::new(plan, options, peers)?;
    for (index, node) in plan.nodes.iter().enumerate() {
        check_dead_letters(plan, NodeId(index))?;
        match &node.operator {
            PlanOperator::Source(table) => {
                assembly.source(NodeId(index), &node.id, table, registry)?;
            }
            PlanOperator::Values(rows) => {
                assembly.values(NodeId(index), &node.id, rows.clone())?;
            }
            PlanOperator::Sink(table) => {
                assembly.sink(NodeId(index), &node.id, table, registry)?;
            }
            PlanOperator::Preview => {
                assembly.preview(NodeId(index), &node.id, Arc::clone(&node.schema))?;
            }
            PlanOperator::Lookup(lookup) => {
                assembly.lookup(NodeId(index), &node.id, lookup, registry)?;
            }
            PlanOperator::WindowAggregate(_)
            | PlanOperator::Instant(_)
            | PlanOperator::Over(_)
            | PlanOperator::TtlJoin(_)
            | PlanOperator::UpdatingAggregate(_)
            | PlanOperator::UpdatingJoin(_)
            | PlanOperator::MemoryLookup(_) => {
                assembly.stateful(NodeId(index))?;
            }
            PlanOperator::Chain(_)
            | PlanOperator::Union
            | PlanOperator::Watermark(_)
            | PlanOperator::PartialWindowAggregate(_)
            | PlanOperator::Exchange(_)
            | PlanOperator::DeadLetters { .. } => {}
        }
    }
    Ok(assembly)
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
        operator: OperatorName::of(plan, id),
        source: anyhow::anyhow!("the plan has no place for its dead letters; this is a bug"),
    })
}
