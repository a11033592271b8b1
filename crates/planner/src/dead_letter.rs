//! Which operators have dead letters, and which sink takes them.
//!
//! A source and a sink do what their own table says. A chain has no table: its rows come from the sources above it. If
//! one of those says `bad_data = 'fail'`, so does the chain; else, if one says `'dead_letter'`, the rows on which an
//! expression fails go where that one says (the first one, if there are several); else they are dropped.

use std::collections::BTreeSet;
use std::sync::Arc;

use headwater_connector::{BadData, Connection};

use crate::error::PlanError;
use crate::plan::{NodeId, Plan, PlanOperator};
use crate::translate::Sink;

/// The dead letters of one node.
pub(crate) struct Letters {
    /// The node.
    pub(crate) node: NodeId,
    /// The tables at which they are met.
    pub(crate) table: String,
    /// Where they go.
    pub(crate) sink: Sink,
}

/// Finds the way of dead letters, node by node, inputs first.
pub(crate) struct Route<F> {
    sink_of: F,
    /// For each node seen, the sources above it.
    sources: Vec<BTreeSet<NodeId>>,
    /// What was found.
    pub(crate) letters: Vec<Letters>,
    /// The ids of the sinks that take dead letters.
    taking: BTreeSet<String>,
}

impl<F: FnMut(&Connection) -> Result<Sink, PlanError>> Route<F> {
    /// `sink_of` tells the sink for the dead letters of a table that has them.
    pub(crate) fn new(sink_of: F) -> Self {
        Self {
            sink_of,
            sources: Vec::new(),
            letters: Vec::new(),
            taking: BTreeSet::new(),
        }
    }

    /// Looks at the next node of the plan.
    pub(crate) fn node(&mut self, plan: &Plan, id: NodeId) -> Result<(), PlanError> {
        // unions of sinks' inputs come without being looked at
        while self.sources.len() <= id.0 {
            let node = &plan.nodes[self.sources.len()];
            let mut sources: BTreeSet<_> = node
                .inputs
                .iter()
                .flat_map(|input| self.sources[input.0].clone())
                .collect();
            if matches!(node.operator, PlanOperator::Source(_)) {
                sources.insert(NodeId(self.sources.len()));
            }
            self.sources.push(sources);
        }
        let table = match &plan.nodes[id.0].operator {
            PlanOperator::Source(table) | PlanOperator::Sink(table) => {
                has_letters(table).then(|| (Arc::clone(table), table.name.clone()))
            }
            // rows without a time, and late ones, go the way of those on which an expression fails
            PlanOperator::Chain(_)
            | PlanOperator::Lookup(_)
            | PlanOperator::Watermark(_)
            | PlanOperator::WindowAggregate(_)
            | PlanOperator::Over(_) => self.chain(plan, id),
            PlanOperator::Values(_)
            | PlanOperator::Union
            | PlanOperator::PartialWindowAggregate(_)
            | PlanOperator::Exchange(_)
            | PlanOperator::Instant(_)
            | PlanOperator::TtlJoin(_)
            | PlanOperator::UpdatingAggregate(_)
            | PlanOperator::UpdatingJoin(_)
            | PlanOperator::MemoryLookup(_)
            | PlanOperator::DeadLetters { .. }
            | PlanOperator::Preview => None,
        };
        if let Some((table, name)) = table {
            let sink = (self.sink_of)(&table)?;
            self.taking.insert(sink.id.clone());
            self.letters.push(Letters {
                node: id,
                table: name,
                sink,
            });
        }
        Ok(())
    }

    /// The table whose dead letters a chain has, and what they say of where they were met.
    fn chain(&self, plan: &Plan, id: NodeId) -> Option<(Arc<Connection>, String)> {
        let sources =
            self.sources[id.0]
                .iter()
                .filter_map(|source| match &plan.nodes[source.0].operator {
                    PlanOperator::Source(table) => Some(table),
                    _ => None,
                });
        let sources: Vec<_> = sources.collect();
        let fails = |table: &&Arc<Connection>| table.config.format.bad_data == BadData::Fail;
        if sources.iter().any(fails) {
            return None;
        }
        let table = sources.iter().find(|table| has_letters(table))?;
        let names: Vec<_> = sources.iter().map(|table| table.name.as_str()).collect();
        Some((Arc::clone(table), names.join(", ")))
    }

    /// Notes the sink for the dead letters of a table that is written, before it is a node.
    pub(crate) fn table(&mut self, table: &Connection) -> Result<(), PlanError> {
        if has_letters(table) {
            let sink = (self.sink_of)(table)?;
            self.taking.insert(sink.id);
        }
        Ok(())
    }

    /// Whether a sink takes dead letters.
    pub(crate) fn takes(&self, sink: &Sink) -> bool {
        self.taking.contains(&sink.id)
    }
}

/// Whether a source above a node, or the node itself, has dead letters.
pub(crate) fn has_letters_above(plan: &Plan, id: NodeId) -> bool {
    let mut open = vec![id];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        let node = &plan.nodes[id.0];
        match &node.operator {
            PlanOperator::Source(table) if has_letters(table) => return true,
            _ => open.extend(node.inputs.iter().filter(|input| seen.insert(**input))),
        }
    }
    false
}

fn has_letters(table: &Connection) -> bool {
    table.config.format.bad_data == BadData::DeadLetter
}
