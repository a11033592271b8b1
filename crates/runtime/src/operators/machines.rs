//! Which machine does the work of which operator with state. One line each, so that a new one is added here and nowhere
//! else.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use headwater_connector::Metrics;
use headwater_planner::plan::{NodeId, Plan, PlanOperator};

use crate::operators::instant::Instant;
use crate::operators::late::LateRows;
use crate::operators::memory_lookup::MemoryLookup;
use crate::operators::over::Over;
use crate::operators::stateful::Stateful;
use crate::operators::ttl_join::TtlJoin;
use crate::operators::updating;
use crate::operators::updating_join::UpdatingJoin;
use crate::operators::window;
use crate::spool::Spool;
use crate::worker::has_dead_letters;

/// What a machine is told beside what the plan says of its operator.
pub(crate) struct MachineContext {
    /// The columns of each input.
    pub(crate) inputs: Vec<SchemaRef>,
    /// The columns of what it puts out.
    pub(crate) output: SchemaRef,
    /// Where it gives its late rows.
    pub(crate) late: LateRows,
    /// Where state goes for which there is no memory, if it may.
    pub(crate) spool: Option<Spool>,
}

impl MachineContext {
    pub(crate) fn new(
        plan: &Plan,
        id: NodeId,
        metrics: &Arc<Metrics>,
        spool: Option<&Spool>,
    ) -> Self {
        let node = &plan.nodes[id.0];
        let schema = |input: &NodeId| Arc::clone(&plan.nodes[input.0].schema);
        Self {
            inputs: node.inputs.iter().map(schema).collect(),
            output: Arc::clone(&node.schema),
            late: LateRows::new(metrics, has_dead_letters(plan, id)),
            spool: spool.cloned(),
        }
    }
}

/// Makes the machine of one worker; `None` if there is none for this operator yet.
pub(crate) fn machine(
    operator: &PlanOperator,
    context: &MachineContext,
) -> Result<Option<Box<dyn Stateful>>> {
    Ok(match operator {
        PlanOperator::WindowAggregate(plan) => Some(window::machine(plan, context)?),
        PlanOperator::Instant(plan) => Some(Box::new(Instant::new(plan, context))),
        PlanOperator::Over(over) => Some(Box::new(Over::new(over, context)?)),
        PlanOperator::TtlJoin(join) => Some(Box::new(TtlJoin::new(join, context)?)),
        PlanOperator::UpdatingAggregate(by) => Some(updating::machine(by, context)?),
        PlanOperator::UpdatingJoin(join) => Some(Box::new(UpdatingJoin::new(join, context)?)),
        PlanOperator::MemoryLookup(lookup) => Some(Box::new(MemoryLookup::new(lookup, context)?)),
        _ => None,
    })
}
