//! The timely operators, one a file, in the order of the data's way.

pub(crate) mod apply;
pub(crate) mod bad_rows;
pub(crate) mod chain;
pub(crate) mod chunks;
pub(crate) mod dead_letters;
pub(crate) mod exchange;
pub(crate) mod growing;
pub(crate) mod instant;
pub(crate) mod keys;
pub(crate) mod late;
pub(crate) mod lookup;
pub(crate) mod machines;
mod memory_lookup;
mod one_zero;
pub(crate) mod over;
pub(crate) mod rename;
pub(crate) mod sink;
pub(crate) mod source;
pub(crate) mod stage;
pub(crate) mod stateful;
pub(crate) mod ttl_join;
pub(crate) mod updating;
pub(crate) mod updating_join;
pub(crate) mod watermark;
pub(crate) mod window;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::CapabilityTrait;
use timely::dataflow::operators::generic::OutputBuilderSession;

use crate::rows::Rows;

/// How operators build their output: they give whole batches, so nothing is ever built up.
pub(crate) type RowsBuilder = CapacityContainerBuilder<Rows>;

/// Where operators put their output.
pub(crate) type Output<'a> = OutputBuilderSession<'a, u64, RowsBuilder>;

/// Puts a message out, unless it is empty.
pub(crate) fn send(mut rows: Rows, epoch: &impl CapabilityTrait<u64>, output: &mut Output<'_>) {
    output.session(epoch).give_container(&mut rows);
}
