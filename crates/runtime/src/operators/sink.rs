//! Hands batches to a sink's task and holds their epoch until the task has had them accepted.
//!
//! Input: batches of any number of epochs; what is said about time ends here. Output: the dead letters of the sink, in an
//! epoch that is not later than those of their rows, and the frontier, which passes an epoch only when the other side has
//! accepted every batch of it. Order: batches go to the task in the order of arrival. Memory: a counter for each open
//! epoch; the batches wait in the task's queue, where the job's backlog counts them.

use std::collections::BTreeMap;

use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::Operator;

use crate::backlog::Size;
use crate::bridge::{Answer, SinkBatch, SinkOutlet};
use crate::operators::RowsBuilder;
use crate::rows::Rows;

/// Builds the operator of one sink on this worker.
pub(crate) fn sink_rows<'scope>(
    rows: Stream<'scope, u64, Rows>,
    name: &str,
    outlet: SinkOutlet,
) -> Stream<'scope, u64, Rows> {
    let scope = rows.scope();
    rows.unary_frontier::<RowsBuilder, _, _, _>(Pipeline, name, move |_capability, info| {
        outlet
            .waker
            .bind(scope.worker().sync_activator_for(info.address.to_vec()));
        let SinkOutlet {
            worker,
            batches,
            answers,
            backlog,
            waker: _,
        } = outlet;
        let mut batches = Some(batches);
        let mut open: BTreeMap<u64, (Capability<u64>, usize)> = BTreeMap::new();
        move |(input, frontier), output| {
            input.for_each(|capability, data| {
                let (Some(rows), Some(batches)) = (data.take(), &batches) else {
                    return;
                };
                let epoch = *capability.time();
                open.entry(epoch)
                    .or_insert_with(|| (capability.retain(0), 0))
                    .1 += 1;
                let size = Size::of(&rows);
                backlog.add(size);
                // the task has gone only if it failed; the epoch then stays open, and the job ends
                batches
                    .send(SinkBatch {
                        worker,
                        epoch,
                        rows,
                        size,
                    })
                    .ok();
            });
            while let Ok(answer) = answers.try_recv() {
                match answer {
                    Answer::Rejected(epoch, letters) => {
                        // open, because an epoch is accepted only after its dead letters have been told
                        if let Some((held, _)) = open.get(&epoch) {
                            output
                                .session(held)
                                .give_container(&mut Rows::rejected(letters));
                        }
                    }
                    Answer::Accepted(epoch) => {
                        if let Some((_, waiting)) = open.get_mut(&epoch) {
                            *waiting -= 1;
                            if *waiting == 0 {
                                open.remove(&epoch);
                            }
                        }
                    }
                }
            }
            if frontier.is_empty() {
                batches = None;
            }
        }
    })
}
