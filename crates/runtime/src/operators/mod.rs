//! The timely operators, one a file, in the order of the data's way.

pub(crate) mod chain;
pub(crate) mod dead_letters;
pub(crate) mod growing;
pub(crate) mod sink;
pub(crate) mod source;
pub(crate) mod stateful;

use timely::container::CapacityContainerBuilder;

use crate::rows::Rows;

/// How operators build their output: they give whole batches, so nothing is ever built up.
pub(crate) type RowsBuilder = CapacityContainerBuilder<Rows>;
