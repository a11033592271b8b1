//! Which watermarks lead where: the numbers of lanes, computed from the plan, the same on all workers.
//!
//! An operator that makes watermarks (a source makes but the last one), on one worker, is a *lane*. Watermarks go with the rows, so the lanes that lead to
//! an operator are those of the nearest such operators above it: of the same worker, and of all workers beyond an
//! exchange, which copies them to all.
//!
//! Rows of one lane that come on two ways are not in order with each other: what a watermark says holds only for its own
//! way. There are two ways where inputs of a union have a lane in common, and behind an exchange if several workers had a
//! lane in common before it, because of another exchange. There the lanes are *renamed*, so that none meets itself.
//!
//! Each lane has *roots*, the sources above it: by them one knows which lanes are idle, and awake, together (`minimum`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use headwater_planner::plan::{Node, NodeId, Plan, PlanOperator};

use crate::control::Lane;
use crate::minimum::Minimum;

/// How often sources tell the time: as often as aggregates that change are flushed.
const TICK: Duration = Duration::from_secs(1);

/// How often they do at most, where idleness is a matter of less than a second.
const TICK_MIN: Duration = Duration::from_millis(50);

/// New names of lanes that come into one input of an operator on one worker.
pub(crate) type Renames = BTreeMap<Lane, Lane>;

/// The lanes of a plan on a number of workers.
pub(crate) struct Lanes {
    workers: usize,
    next: u32,
    /// For each node, the lane of the first worker, if it makes watermarks.
    own: Vec<Option<Lane>>,
    /// For each node and worker, the lanes of what comes out there.
    carried: Vec<Vec<BTreeSet<Lane>>>,
    /// By node and input, those of each worker.
    renames: BTreeMap<(NodeId, usize), Vec<Renames>>,
    /// For each lane, those of the sources that it comes from.
    roots: BTreeMap<Lane, BTreeSet<Lane>>,
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
        | PlanOperator::Over(_)
        | PlanOperator::TtlJoin(_)
        | PlanOperator::UpdatingAggregate(_)
        | PlanOperator::UpdatingJoin(_)
        | PlanOperator::MemoryLookup(_) => Some(TICK),
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
            roots: BTreeMap::new(),
        };
        for (index, node) in plan.nodes.iter().enumerate() {
            let own = has_lane(&node.operator).then(|| lanes.make(timed(node)));
            let carried = match (&node.operator, own) {
                (_, Some(first)) => lanes.each(|worker| BTreeSet::from([beside(first, worker)])),
                (PlanOperator::Exchange(_), None) => lanes.exchange(NodeId(index), node.inputs[0]),
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

    /// New names for the lanes of an input, by worker, if any of these needs some.
    pub(crate) fn renames(&self, id: NodeId, input: usize) -> Option<&[Renames]> {
        self.renames.get(&(id, input)).map(Vec::as_slice)
    }

    /// The lanes of the sources that a lane comes from; its own, if it is that of a source. (A watermark stands on sources, with no
    /// exchange between, so all those of one source are idle together.)
    pub(crate) fn roots(&self, lane: Lane) -> BTreeSet<Lane> {
        self.roots.get(&lane).cloned().unwrap_or_default()
    }

    /// The lanes of an operator on all workers, of which the first is answered.
    fn make(&mut self, inputs: &[NodeId]) -> Lane {
        let first = self.number(self.workers);
        for worker in 0..self.workers {
            let own = beside(first, worker);
            let above = self.of_inputs(inputs, worker).into_iter();
            let roots: BTreeSet<_> = above.flat_map(|lane| self.roots(lane)).collect();
            let roots = if roots.is_empty() {
                BTreeSet::from([own])
            } else {
                roots
            };
            self.roots.insert(own, roots);
        }
        first
    }

    /// How far event time has come, at the beginning, on all lanes that lead to a node on a worker.
    pub(crate) fn above(&self, node: &Node, worker: usize) -> Minimum {
        self.of_some(node, worker, 0..node.inputs.len())
    }

    /// The same of an operator with state; and of those of its inputs whose event time is not that of its rows.
    pub(crate) fn above_stage(&self, node: &Node, worker: usize) -> (Minimum, Minimum) {
        let (all, of_rows) = (node.inputs.len(), timed(node).len());
        let some = |inputs| self.of_some(node, worker, inputs);
        (some(0..of_rows), some(of_rows..all))
    }

    fn of_some(&self, node: &Node, worker: usize, inputs: Range<usize>) -> Minimum {
        let lanes = inputs.flat_map(|position| {
            let carried = self.carried(node.inputs[position], worker).iter();
            carried.map(move |lane| (position, *lane))
        });
        Minimum::new(lanes, |lane| self.roots(lane))
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

    fn exchange(&mut self, id: NodeId, input: NodeId) -> Vec<BTreeSet<Lane>> {
        let mut all = BTreeSet::new();
        for worker in 0..self.workers {
            let lanes = self.enter((id, 0, worker), input, &all);
            all.extend(lanes);
        }
        self.each(|_| all.clone())
    }

    fn union(&mut self, id: NodeId, inputs: &[NodeId]) -> Vec<BTreeSet<Lane>> {
        let mut carried = self.each(|_| BTreeSet::new());
        for (position, input) in inputs.iter().enumerate() {
            for (worker, carried) in carried.iter_mut().enumerate() {
                let lanes = self.enter((id, position, worker), *input, carried);
                carried.extend(lanes);
            }
        }
        carried
    }

    /// The lanes of an input on a worker, with new names if one of them is among those that have been `met` already.
    fn enter(
        &mut self,
        (id, position, worker): (NodeId, usize, usize),
        input: NodeId,
        met: &BTreeSet<Lane>,
    ) -> BTreeSet<Lane> {
        let lanes = self.carried(input, worker).clone();
        if lanes.is_disjoint(met) {
            return lanes;
        }
        let names: Renames = lanes.iter().map(|lane| (*lane, self.number(1))).collect();
        for (lane, name) in &names {
            self.roots.insert(*name, self.roots(*lane));
        }
        let lanes = names.values().copied().collect();
        let none = vec![Renames::new(); self.workers];
        self.renames.entry((id, position)).or_insert(none)[worker] = names;
        lanes
    }
}

/// The inputs of an operator whose event time is that of its rows.
fn timed(node: &Node) -> &[NodeId] {
    match &node.operator {
        PlanOperator::MemoryLookup(_) => node.inputs.get(..1).unwrap_or_default(),
        _ => &node.inputs,
    }
}

fn beside(first: Lane, worker: usize) -> Lane {
    Lane(first.0 + worker as u32)
}

#[cfg(test)]
mod tests;
