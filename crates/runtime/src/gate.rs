//! Keeps sources from being read while lookups wait for memory tables that are read whole first.
//!
//! What a source has read while a lookup waits would have to be kept until the table is there, however large it is. So the sources
//! of rows that would wait are *gated*: they have no credit while any lookup of this process waits. The sources of such a
//! table are not, even if their rows wait at another lookup, or two tables could wait for each other; those rows are kept as
//! state. All of these end by themselves, or the table would not be waited for: what goes on for ever is always gated.
//!
//! A job that is stopped opens the gate, so that what its sources have read goes where it is kept.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use headwater_planner::plan::{NodeId, Plan, PlanOperator};

use crate::backlog::Backlog;

/// The lookups of one process that wait.
pub(crate) struct Gate {
    waiting: AtomicUsize,
    stopped: AtomicBool,
    /// Wakes the sources.
    backlog: Arc<Backlog>,
}

impl Gate {
    /// Closed while any of so many lookups waits.
    pub(crate) fn new(waiting: usize, backlog: &Arc<Backlog>) -> Self {
        Self {
            waiting: AtomicUsize::new(waiting),
            stopped: AtomicBool::new(false),
            backlog: Arc::clone(backlog),
        }
    }

    /// Whether sources may be read.
    pub(crate) fn is_open(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0 || self.stopped.load(Ordering::Acquire)
    }

    /// Notes that a lookup waits no more.
    pub(crate) fn pass(&self) {
        if self.waiting.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.backlog.wake();
        }
    }

    /// Opens it because the job is stopped.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.backlog.wake();
    }
}

/// Whether an operator looks rows up once a table is read whole.
pub(crate) fn waits(operator: &PlanOperator) -> bool {
    matches!(operator, PlanOperator::MemoryLookup(lookup) if lookup.waits)
}

/// The sources that are gated: those of rows that would wait, without those whose end is waited for.
pub(crate) fn gated(plan: &Plan) -> BTreeSet<NodeId> {
    let waiting = plan.nodes.iter().filter(|node| waits(&node.operator));
    let (mut streams, mut tables) = (BTreeSet::new(), BTreeSet::new());
    for node in waiting {
        let mut inputs = node.inputs.iter();
        inputs
            .next()
            .into_iter()
            .for_each(|stream| add_sources(plan, *stream, &mut streams));
        inputs.for_each(|table| add_sources(plan, *table, &mut tables));
    }
    streams.difference(&tables).copied().collect()
}

/// Adds the sources from which the rows of a node come; those of a lookup are the stream's.
fn add_sources(plan: &Plan, id: NodeId, sources: &mut BTreeSet<NodeId>) {
    let node = &plan.nodes[id.0];
    let inputs = match &node.operator {
        PlanOperator::Source(_) | PlanOperator::Values(_) => {
            sources.insert(id);
            &[]
        }
        PlanOperator::MemoryLookup(_) => node.inputs.get(..1).unwrap_or_default(),
        _ => node.inputs.as_slice(),
    };
    inputs
        .iter()
        .for_each(|input| add_sources(plan, *input, sources));
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Schema;
    use arrow::record_batch::RecordBatch;
    use headwater_planner::plan::{MemoryLookup, Node, Pairing};

    use super::*;

    fn source() -> (PlanOperator, Vec<usize>) {
        let rows = RecordBatch::new_empty(Arc::new(Schema::empty()));
        (PlanOperator::Values(rows), Vec::new())
    }

    fn lookup(stream: usize, table: usize, waits: bool) -> (PlanOperator, Vec<usize>) {
        let lookup = MemoryLookup {
            table: "t".to_owned(),
            schema: Arc::new(Schema::empty()),
            pairing: Pairing {
                keys: Vec::new(),
                columns: Vec::new(),
                filter: None,
                outer: false,
                timed: true,
            },
            change: None,
            waits,
        };
        let lookup = PlanOperator::MemoryLookup(Arc::new(lookup));
        (lookup, vec![stream, table])
    }

    #[track_caller]
    fn check(nodes: Vec<(PlanOperator, Vec<usize>)>, expect: &[usize]) {
        let nodes = nodes.into_iter().map(|(operator, inputs)| Node {
            id: String::new(),
            operator,
            inputs: inputs.into_iter().map(NodeId).collect(),
            schema: Arc::new(Schema::empty()),
        });
        let plan = Plan {
            nodes: nodes.collect(),
        };
        let expect = expect.iter().copied().map(NodeId).collect();
        assert_eq!(gated(&plan), expect);
    }

    #[test]
    fn sources_that_no_table_needs_are_gated() {
        check(vec![source(), source(), lookup(0, 1, true)], &[0]);
        check(vec![source(), source(), lookup(0, 1, false)], &[]);
        check(vec![source(), lookup(0, 0, true)], &[]);
        // two tables wait for each other's streams
        let two = [lookup(0, 1, true), lookup(1, 0, true)];
        check([vec![source(), source()], two.into()].concat(), &[]);
        // a table is written by a lookup in another: its stream is needed, and the table of that is, too
        let behind = [lookup(0, 1, true), lookup(2, 3, true)];
        let nodes = [vec![source(), source(), source()], behind.into()].concat();
        check(nodes, &[2]);
    }

    #[test]
    fn it_opens_when_the_last_lookup_has_its_table_or_the_job_is_stopped() {
        let gate = Gate::new(2, &Arc::default());
        gate.pass();
        assert!(!gate.is_open());
        gate.pass();
        assert!(gate.is_open());
        let gate = Gate::new(2, &Arc::default());
        gate.stop();
        assert!(gate.is_open());
    }
}
