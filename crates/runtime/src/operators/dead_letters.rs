//! Makes rows of a sink out of the dead letters of another operator.
//!
//! Input: the stream of the operator that has dead letters, of which the ordinary rows are passed over. Output: the dead
//! letters with the columns of the sink that takes them, in the same order and epoch. Memory: none. Errors: columns that
//! do not fit, which planning has ruled out.

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use headwater_connector::dead_letter::fit;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::operator::Operator;

use crate::operators::RowsBuilder;
use crate::rows::Rows;

/// Builds the operator. `table` is the name of the table at which the letters were met. An error goes to `fail`.
pub(crate) fn dead_letters<'scope>(
    rows: Stream<'scope, u64, Rows>,
    name: &str,
    columns: SchemaRef,
    table: String,
    fail: impl Fn(ArrowError) + 'static,
) -> Stream<'scope, u64, Rows> {
    rows.unary::<RowsBuilder, _, _, _>(Pipeline, name, move |_capability, _info| {
        // after a failure the epoch is kept open, so that nothing of it can be acknowledged
        let mut failed = None;
        move |input, output| {
            input.for_each(|capability, data| {
                let Some(letters) = data.take_rejected() else {
                    return;
                };
                match fit(&letters, &columns, &table) {
                    Ok(letters) => output
                        .session(&capability)
                        .give_container(&mut Rows::new(letters)),
                    Err(error) => {
                        failed.get_or_insert_with(|| capability.retain(0));
                        fail(error);
                    }
                }
            });
        }
    })
}
