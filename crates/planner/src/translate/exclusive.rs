//! Tables that cannot be in one job: a file that one of them would empty for the other, a client id that both would have.

use std::collections::HashMap;

use headwater_connector::{Connection, Exclusive, Registry};

use super::Dataflow;
use crate::error::PlanError;
use crate::plan::{LookupTable, PlanOperator};

/// A table, and whether it is `read` or `written`.
type Use<'a> = (&'a Connection, &'static str);

impl Dataflow {
    /// Refuses two tables of this dataflow that cannot be in one job.
    ///
    /// # Errors
    /// Names both tables.
    pub(crate) fn check_exclusive(&self, registry: &Registry) -> Result<(), PlanError> {
        let mut taken: HashMap<(&str, Exclusive), Use<'_>> = HashMap::new();
        for one in self.uses() {
            let (table, _) = one;
            let connector = registry.get(&table.connector)?;
            let Some(thing) = connector.exclusive(table)? else {
                continue;
            };
            let other = taken.insert((&table.connector, thing.clone()), one);
            if let Some(other) = other {
                check_together(&thing, one, other)?;
            }
        }
        Ok(())
    }

    /// What is read, and then what is written.
    fn uses(&self) -> impl Iterator<Item = Use<'_>> {
        let nodes = || self.plan.nodes.iter();
        let sources = nodes().filter_map(|node| match &node.operator {
            PlanOperator::Source(table) => Some((&**table, "read")),
            PlanOperator::Lookup(lookup) => match &lookup.table {
                LookupTable::Connected(table) => Some((&**table, "read")),
                LookupTable::Constant(_) => None,
            },
            _ => None,
        });
        let sinks = nodes().filter_map(|node| match &node.operator {
            PlanOperator::Sink(table) => Some((&**table, "written")),
            _ => None,
        });
        let waiting = self.sinks.iter();
        let waiting = waiting.map(|writes| (&*writes.sink.connection, "written"));
        sources.chain(sinks).chain(waiting)
    }
}

/// Whether a table can be in one job with an earlier one that has the same thing.
fn check_together(thing: &Exclusive, one: Use<'_>, other: Use<'_>) -> Result<(), PlanError> {
    let ((table, verb), (other, other_verb)) = (one, other);
    let (name, other_name) = (&table.name, &other.name);
    match thing {
        // a table that is looked up twice is one
        Exclusive::Identity(_) if name == other_name => Ok(()),
        Exclusive::Content(_) if verb == "read" => Ok(()),
        Exclusive::Content(thing) => {
            let message = format!(
                "'{thing}' is written by table '{name}' and {other_verb} by table '{other_name}' of the same job; \
                 a sink begins by emptying it"
            );
            Err(PlanError::new(message).hint(match other_verb {
                "read" => "give the sink a path of its own",
                _ => "write both into one table",
            }))
        }
        Exclusive::Identity(thing) => {
            let message = format!(
                "tables '{other_name}' and '{name}' of the same job both have the {thing}; they would throw each other out"
            );
            Err(PlanError::new(message).hint("give each its own, or leave the option out"))
        }
    }
}
