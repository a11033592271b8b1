//! Gives lanes other names, where a union would mix up watermarks of one lane that come on several ways.
//!
//! Input and output: anything, in order. Memory: none.

use std::convert::Infallible;

use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;

use crate::control::Control;
use crate::lanes::Renames;
use crate::operators::apply::apply;
use crate::rows::Rows;

/// Builds the operator.
pub(crate) fn rename_lanes<'scope>(
    rows: Stream<'scope, u64, Rows>,
    name: &str,
    renames: Renames,
) -> Stream<'scope, u64, Rows> {
    let rename = move |mut rows| {
        if let Rows::Control(Control::Watermark { lane, .. }) = &mut rows
            && let Some(name) = renames.get(lane)
        {
            *lane = *name;
        }
        Ok::<_, Infallible>(vec![rows])
    };
    apply(rows, Pipeline, name, rename, |never| match never {})
}
