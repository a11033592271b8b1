//! The operator around a function: each message becomes some others, at once, in order and in the same epoch.
//!
//! An error goes to `fail`, and the message is withheld: the epoch is kept open, so that nothing of it can be
//! acknowledged.

use timely::Container;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::ParallelizationContract;
use timely::dataflow::operators::generic::operator::Operator;

/// Builds the operator.
pub(crate) fn apply<'scope, I: Container, O: Container + Clone, E>(
    messages: Stream<'scope, u64, I>,
    pact: impl ParallelizationContract<u64, I>,
    name: &str,
    mut run: impl FnMut(I) -> Result<Vec<O>, E> + 'static,
    fail: impl Fn(E) + 'static,
) -> Stream<'scope, u64, O> {
    messages.unary::<CapacityContainerBuilder<O>, _, _, _>(pact, name, move |_capability, _info| {
        let mut failed = None;
        move |input, output| {
            input.for_each(|capability, data| match run(std::mem::take(data)) {
                Ok(made) => {
                    for mut message in made {
                        output.session(&capability).give_container(&mut message);
                    }
                }
                Err(error) => {
                    failed.get_or_insert_with(|| capability.retain(0));
                    fail(error);
                }
            });
        }
    })
}
