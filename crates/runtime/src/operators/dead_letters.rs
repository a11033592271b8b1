//! Makes rows of a sink out of the dead letters of another operator.
//!
//! Input: the stream of the operator that has dead letters, of which the ordinary rows and what is said about time are
//! passed over. Output: the dead letters with the columns of the sink that takes them, in the same order and epoch. Memory:
//! none. Errors: columns that do not fit, which planning has ruled out.

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use headwater_connector::dead_letter::fit;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;

use crate::operators::apply::apply;
use crate::rows::Rows;

/// Builds the operator. `table` is the name of the table at which the letters were met. An error goes to `fail`.
pub(crate) fn dead_letters<'scope>(
    rows: Stream<'scope, u64, Rows>,
    name: &str,
    columns: SchemaRef,
    table: String,
    fail: impl Fn(ArrowError) + 'static,
) -> Stream<'scope, u64, Rows> {
    let route = move |mut rows: Rows| {
        let fitting = rows
            .take_rejected()
            .map(|letters| fit(&letters, &columns, &table));
        let letters = fitting.transpose()?;
        Ok(letters.into_iter().map(Rows::new).collect())
    };
    apply(rows, Pipeline, name, route, fail)
}
