//! Who does what: workers are numbered over all processes, and sources and sinks are spread over them by their place in
//! the plan, so that every process knows without asking.

use headwater_planner::plan::{NodeId, Plan, PlanOperator};

/// The workers of a job, and which of them are this process's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) process: usize,
    pub(crate) processes: usize,
    /// Of each process.
    pub(crate) workers: usize,
}

impl Layout {
    /// All workers are of this process.
    pub(crate) fn alone(workers: usize) -> Self {
        Self {
            process: 0,
            processes: 1,
            workers,
        }
    }

    /// How many workers there are in all.
    pub(crate) fn all_workers(self) -> usize {
        self.processes * self.workers
    }

    /// The process of a worker.
    pub(crate) fn process_of(self, worker: usize) -> usize {
        worker / self.workers
    }

    /// A worker's number among those of this process, if it is one of them.
    pub(crate) fn local(self, worker: usize) -> Option<usize> {
        (self.process_of(worker) == self.process).then_some(worker % self.workers)
    }

    /// The worker of the n-th share of all sources: the processes take turns, and in each the workers.
    pub(crate) fn seat(self, share: usize) -> usize {
        let within = share / self.processes % self.workers;
        share % self.processes * self.workers + within
    }

    /// The process in which a sink writes: they take turns, in the order of the plan. What a bare `SELECT` puts out is
    /// shown by the first.
    pub(crate) fn home(self, plan: &Plan, sink: NodeId) -> usize {
        if matches!(plan.nodes[sink.0].operator, PlanOperator::Preview) {
            return 0;
        }
        let is_sink = |operator: &PlanOperator| matches!(operator, PlanOperator::Sink(_));
        let before = plan.nodes.iter().take(sink.0);
        before.filter(|node| is_sink(&node.operator)).count() % self.processes
    }

    /// The worker that takes the rows of a worker for a sink of a process: so each sink's rows keep their order on the way
    /// from one worker, and all workers of that process have a part in it.
    pub(crate) fn receiver(self, home: usize, sender: usize) -> usize {
        home * self.workers + sender % self.workers
    }
}
