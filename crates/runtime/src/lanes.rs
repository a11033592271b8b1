//! Which watermarks lead where: the numbers of lanes, computed from the plan, the same on all workers.
//!
//! An operator that makes watermarks (a source makes but the last one), on one worker, is a *lane*. Watermarks go with the rows, so the lanes that lead to
//! an operator are those of the nearest such operators above it: of the same worker, and of all workers beyond an
//! exchange, which copies them to all.
//!
//! Rows of one lane that come on two ways to one union are not in order with each other: what a watermark says there
//! holds only for its own way. So a union has the lanes of its later inputs *renamed* where they would meet themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headwater_planner::plan::{NodeId, Plan, PlanOperator};

use crate::control::Lane;

/// How often sources tell the time: as often as aggregates that change are flushed.
const TICK: Duration = Duration::from_secs(1);

/// How often they do at most, where idleness is a matter of less than a second.
const TICK_MIN: Duration = Duration::from_millis(50);

/// New names of the lanes that come into one input of a union.
pub(crate) type Renames = BTreeMap<Lane, Lane>;

/// The lanes of a plan on a number of workers.
pub(crate) struct Lanes {
    workers: usize,
    next: u32,
    /// For each node, the lane of the first worker, if it makes watermarks.
    own: Vec<Option<Lane>>,
    /// For each node and worker, the lanes of what comes out there.
    carried: Vec<Vec<BTreeSet<Lane>>>,
    renames: BTreeMap<(NodeId, usize), Renames>,
}

/// Whether an operator makes watermarks.
fn has_lane(operator: &PlanOperator) -> bool {
    match operator {
        PlanOperator::Source(_) | PlanOperator::Values(_) => true,
        operator => wants_time(operator).is_some(),
    }
}

/// How often an operator wants to be told the time, if it wants to be told about time.
fn wants_time(operator: &PlanOperator) -> Option<Duration> {
    match operator {
        PlanOperator::Watermark(watermark) => {
            let often = |idle: Duration| idle.clamp(TICK_MIN, TICK);
            Some(watermark.idle.map_or(TICK, often))
        }
        PlanOperator::WindowAggregate(_)
        | PlanOperator::Instant(_)
        | PlanOperator::TtlJoin(_)
        | PlanOperator::UpdatingAggregate(_) => Some(TICK),
        _ => None,
    }
}

/// How often a source must tell the time; `None` if nothing below it wants to be told anything about time.
pub(crate) fn tick_every(plan: &Plan, source: NodeId) -> Option<Duration> {
    let mut below = BTreeSet::from([source]);
    let mut every = None;
    for (index, node) in plan.nodes.iter().enumerate().skip(source.0) {
        if node.inputs.iter().any(|input| below.contains(input)) {
            below.insert(NodeId(index));
            every = every.into_iter().chain(wants_time(&node.operator)).min();
        }
    }
    every
}

impl Lanes {
    /// Numbers the lanes of a plan.
    pub(crate) fn of(plan: &Plan, workers: usize) -> Self {
        let mut lanes = Self {
            workers,
            next: 0,
            own: Vec::new(),
            carried: Vec::new(),
            renames: BTreeMap::new(),
        };
        for (index, node) in plan.nodes.iter().enumerate() {
            let own = has_lane(&node.operator).then(|| lanes.number(workers));
            let carried = match (&node.operator, own) {
                (_, Some(first)) => lanes.each(|worker| BTreeSet::from([beside(first, worker)])),
                (PlanOperator::Exchange(_), None) => {
                    let all = lanes.of_all_workers(node.inputs[0]);
                    lanes.each(|_| all.clone())
                }
                (PlanOperator::Union, None) => lanes.union(NodeId(index), &node.inputs),
                _ => lanes.each(|worker| lanes.of_inputs(&node.inputs, worker)),
            };
            lanes.own.push(own);
            lanes.carried.push(carried);
        }
        lanes
    }

    /// The lane of an operator on a worker, if it makes watermarks.
    pub(crate) fn own(&self, id: NodeId, worker: usize) -> Option<Lane> {
        self.own[id.0].map(|first| beside(first, worker))
    }

    /// The lanes of what a node puts out on a worker.
    pub(crate) fn carried(&self, id: NodeId, worker: usize) -> &BTreeSet<Lane> {
        &self.carried[id.0][worker]
    }

    /// New names for the lanes of an input of a union, if they need any.
    pub(crate) fn renames(&self, union: NodeId, input: usize) -> Option<&Renames> {
        self.renames.get(&(union, input))
    }

    fn number(&mut self, count: usize) -> Lane {
        let first = self.next;
        // a plan has far fewer operators and workers than would overflow
        self.next += count as u32;
        Lane(first)
    }

    fn each(&self, lanes: impl FnMut(usize) -> BTreeSet<Lane>) -> Vec<BTreeSet<Lane>> {
        (0..self.workers).map(lanes).collect()
    }

    fn of_inputs(&self, inputs: &[NodeId], worker: usize) -> BTreeSet<Lane> {
        let of_input = |input: &NodeId| self.carried(*input, worker).iter().copied();
        inputs.iter().flat_map(of_input).collect()
    }

    fn of_all_workers(&self, id: NodeId) -> BTreeSet<Lane> {
        self.carried[id.0].iter().flatten().copied().collect()
    }

    fn union(&mut self, id: NodeId, inputs: &[NodeId]) -> Vec<BTreeSet<Lane>> {
        let mut met = BTreeSet::new();
        let mut carried = self.each(|_| BTreeSet::new());
        for (position, input) in inputs.iter().enumerate() {
            let lanes = self.of_all_workers(*input);
            let mut names = Renames::new();
            if !met.is_disjoint(&lanes) {
                names = lanes.iter().map(|lane| (*lane, self.number(1))).collect();
            }
            for (worker, carried) in carried.iter_mut().enumerate() {
                let name = |lane: &Lane| *names.get(lane).unwrap_or(lane);
                carried.extend(self.carried(*input, worker).iter().map(name));
            }
            met.extend(lanes);
            if !names.is_empty() {
                self.renames.insert((id, position), names);
            }
        }
        carried
    }
}

fn beside(first: Lane, worker: usize) -> Lane {
    Lane(first.0 + worker as u32)
}

#[cfg(test)]
mod tests;
