//! Puts a source's batches into the dataflow.
//!
//! Input: the bounded queue of the source's task. Output: the same batches in the same order, each in an epoch.
//! Memory: nothing of its own; the [`Acks`] count what is downstream and stop the reading when the credit is spent.

use std::cell::RefCell;
use std::rc::Rc;

use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::source;
use timely::dataflow::{Scope, Stream};
use timely::scheduling::Activator;
use tokio::sync::mpsc::error::TryRecvError;

use crate::acks::Acks;
use crate::bridge::SourceInlet;
use crate::epoch::EpochClock;
use crate::operators::RowsBuilder;
use crate::rows::Rows;

/// After how many rows an epoch is closed although more are waiting: bounds the time to acknowledgement under load.
const EPOCH_ROWS: usize = 32_768;

/// What the worker needs of a source operator that it has built.
pub(crate) struct SourceHandle {
    pub(crate) acks: Rc<RefCell<Acks>>,
    pub(crate) activator: Activator,
}

/// Builds the operator of one source subtask.
pub(crate) fn source_rows<'scope>(
    scope: Scope<'scope, u64>,
    name: &str,
    inlet: SourceInlet,
    acks: Acks,
    clock: EpochClock,
) -> (Stream<'scope, u64, Rows>, SourceHandle) {
    let acks = Rc::new(RefCell::new(acks));
    let handle: Rc<RefCell<Option<Activator>>> = Rc::default();
    let (acks_inside, handle_inside) = (Rc::clone(&acks), Rc::clone(&handle));
    let stream = source::<_, RowsBuilder, _, _>(scope, name, move |capability, info| {
        let activator = scope.activator_for(Rc::clone(&info.address));
        inlet
            .waker
            .bind(scope.worker().sync_activator_for(info.address.to_vec()));
        clock.join(inlet.waker.clone());
        *handle_inside.borrow_mut() = Some(activator.clone());
        let mut batches = inlet.batches;
        let mut capability = Some(capability);
        move |output| {
            let Some(held) = capability.as_mut() else {
                return;
            };
            follow(held, &clock);
            let epoch = *held.time();
            let mut rows = 0;
            let mut took = false;
            let mut more = true;
            while more && rows < EPOCH_ROWS && acks_inside.borrow().has_credit() {
                match batches.try_recv() {
                    Ok(batch) => {
                        acks_inside.borrow_mut().push(epoch, &batch);
                        rows += batch.rows.num_rows();
                        took = true;
                        output
                            .session(&*held)
                            .give_container(&mut Rows::new(batch.rows));
                        if let Some(rejected) = batch.rejected {
                            rows += rejected.num_rows();
                            output
                                .session(&*held)
                                .give_container(&mut Rows::rejected(rejected));
                        }
                    }
                    Err(TryRecvError::Empty) => more = false,
                    Err(TryRecvError::Disconnected) => {
                        capability = None;
                        return;
                    }
                }
            }
            if took {
                held.downgrade(&clock.close(epoch));
            }
            if rows >= EPOCH_ROWS {
                activator.activate();
            }
        }
    });
    // `source` calls the constructor before it returns
    #[expect(
        clippy::expect_used,
        reason = "set by the constructor that has just run"
    )]
    let activator = handle
        .borrow_mut()
        .take()
        .expect("the source operator was constructed");
    (stream, SourceHandle { acks, activator })
}

/// Builds a source operator for a worker that has no share of the source: it ends at once.
pub(crate) fn no_rows<'scope>(scope: Scope<'scope, u64>, name: &str) -> Stream<'scope, u64, Rows> {
    source::<_, RowsBuilder, _, _>(scope, name, |capability, _info| {
        let mut capability = Some(capability);
        move |_output| drop(capability.take())
    })
}

fn follow(held: &mut Capability<u64>, clock: &EpochClock) {
    let current = clock.current();
    if current > *held.time() {
        held.downgrade(&current);
    }
}
