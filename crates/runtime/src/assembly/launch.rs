//! Starts what has been assembled: the tasks, the workers, and who waits for their end.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use headwater_connector::OperatorError;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Assembly;
use crate::durable::coordinator::{History, Suspension};
use crate::durable::keeping::Kept;
use crate::durable::store::Store;
use crate::error::{JobError, panic_message};
use crate::job::Job;
use crate::name::OperatorName;
use crate::peers::Peers;
use crate::peers::control::Control;
use crate::peers::line::Lines;
use crate::state::Fate;
use crate::state_size::StateSize;
use crate::threads::start_workers;
use crate::worker::{Blueprint, WorkerCpu};

/// Something to be spawned once everything has been made.
pub(super) type Task = Box<dyn FnOnce(&TaskTracker, &Started<'_>) + Send>;

/// What tasks are told when they are spawned.
pub(super) struct Started<'a> {
    pub(super) fate: &'a Arc<Fate>,
    pub(super) unopened: &'a watch::Sender<usize>,
    pub(super) suspension: Option<Suspension>,
}

impl Assembly<'_> {
    /// Starts the tasks and the workers.
    ///
    /// # Errors
    /// If the machine has no thread for the state, or nothing for the connections to other processes.
    pub(crate) fn start(self, peers: Option<Peers>) -> Result<Job, JobError> {
        let fate = Arc::<Fate>::default();
        let (lines, control) = bind(peers, &fate)?;
        let history = History::default();
        let kept = self.keeping.map(|keeping| {
            let interval = self.options.checkpoint_interval;
            keeping.start(&self.options.job_id, interval, history.clone(), &fate)
        });
        let kept = kept.transpose()?;
        let suspension = kept
            .as_ref()
            .map(|kept| kept.coordinator.suspension.clone());
        let (unopened_sender, unopened) = watch::channel(self.tasks.len());
        let (outcome_sender, outcome) = watch::channel(None);
        let worker_cpu: Arc<[WorkerCpu]> = (0..self.layout.workers)
            .map(|_| WorkerCpu::default())
            .collect();
        let tracker = TaskTracker::new();
        let started = Started {
            fate: &fate,
            unopened: &unopened_sender,
            suspension: suspension.clone(),
        };
        for task in self.tasks {
            task(&tracker, &started);
        }
        tracker.close();
        let suspended =
            suspension.map_or_else(CancellationToken::new, |suspension| suspension.suspended);
        let blueprint = Blueprint {
            plan: self.plan.clone(),
            lanes: self.lanes,
            layout: self.layout,
            away: self.away,
            metrics: self.metrics,
            clock: self.clock,
            reports: kept.as_ref().map(|kept| kept.reports.clone()),
            suspended: suspended.clone(),
            state_size: Arc::new(StateSize::new(
                self.options.state_limit_bytes,
                self.options.over_limit,
            )),
            backlog: Arc::clone(&self.backlog),
            gate: self.gate.clone(),
            cpu: Arc::clone(&worker_cpu),
            ends: self.ends.into_iter().map(Mutex::new).collect(),
            fate: Arc::clone(&fate),
        };
        let workers_done = start_workers(&self.options.job_id, blueprint, lines);
        let supervised = Arc::clone(&fate);
        let keeper = kept.map(|kept| keep(kept, Arc::clone(&fate)));
        tokio::spawn(async move {
            let stopped = async {
                supervised.drain.cancelled().await;
                self.gate.iter().for_each(|gate| gate.stop());
                std::future::pending::<()>().await;
            };
            tokio::select! {
                // the sender is dropped only with the thread that runs the workers
                _ = workers_done => {}
                () = stopped => {}
            }
            tracker.wait().await;
            if let Some(control) = control {
                control.finish().await;
            }
            if let Some((store, closed, coordinator)) = keeper {
                coordinator.abort();
                let has_ended = !supervised.ended() && !suspended.is_cancelled();
                if has_ended {
                    store.clear().await;
                }
                drop(store);
                // the thread tells it at its end
                closed.await.ok();
            }
            let result = supervised
                .take_error()
                .map_or(Ok(()), |error| Err(Arc::new(error)));
            outcome_sender.send_replace(Some(result));
        });
        Ok(Job {
            id: self.options.job_id,
            fate,
            operators: self.operators,
            backlog: self.backlog,
            worker_cpu,
            checkpoints: history,
            unopened,
            outcome,
        })
    }
}

/// Binds the job to the other processes, if there are some.
fn bind(
    peers: Option<Peers>,
    fate: &Arc<Fate>,
) -> Result<(Option<Lines>, Option<Control>), JobError> {
    let bound = peers.map(|peers| peers.start(fate)).transpose();
    let bound = bound.map_err(|error| JobError::Threads(error.to_string()))?;
    Ok(bound.unzip())
}

/// Takes checkpoints from now on; the rest is for the end of the job.
fn keep(kept: Kept, fate: Arc<Fate>) -> (Store, oneshot::Receiver<()>, JoinHandle<()>) {
    let Kept {
        store,
        coordinator,
        closed,
        reports: _,
    } = kept;
    let coordinator = tokio::spawn(async move {
        let stop = fate.drain.clone();
        let suspends = || !fate.finishes.load(Ordering::Acquire);
        tokio::select! {
            () = fate.abort.cancelled() => {}
            () = coordinator.run(stop, suspends) => {}
        }
    });
    (store, closed, coordinator)
}

pub(super) fn open_signal(unopened: &watch::Sender<usize>) -> impl FnOnce() + Send + 'static {
    let unopened = unopened.clone();
    move || unopened.send_modify(|count| *count -= 1)
}

/// Runs a task under the job's fate: an error or a panic of it fails the job, the job's end ends it.
pub(super) fn spawn(
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
