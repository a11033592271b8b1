//! Puts a source's batches into the dataflow.
//!
//! Input: the bounded queue of the source's task. Output: the same batches in the same order, each in an epoch; if someone
//! below wants to be told about time, also the time of day every now and then, and at last the end.
//! Memory: nothing of its own; the [`Acks`] count what is downstream and stop the reading when the credit is spent.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use headwater_connector::SourceBatch;
use timely::Accountable;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::source;
use timely::dataflow::{Scope, Stream};
use timely::scheduling::Activator;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio_util::sync::CancellationToken;

use crate::acks::Acks;
use crate::bridge::SourceInlet;
use crate::control::{Control, Lane, Mark};
use crate::epoch::{EpochClock, now_us};
use crate::operators::stateful::END;
use crate::operators::{Output, RowsBuilder, send};
use crate::rows::Rows;

/// After how many rows an epoch is closed although more are waiting: bounds the time to acknowledgement under load.
const EPOCH_ROWS: i64 = 32_768;

/// What the worker needs of a source operator that it has built.
pub(crate) struct SourceHandle {
    pub(crate) acks: Rc<RefCell<Acks>>,
    pub(crate) activator: Activator,
}

/// What a source operator is built of.
pub(crate) struct SourceParts {
    pub(crate) inlet: SourceInlet,
    pub(crate) acks: Acks,
    pub(crate) clock: EpochClock,
    /// Its lane and how often it tells the time, if anyone below wants to be told about time.
    pub(crate) speaks: Option<(Lane, Duration)>,
    /// Cancelled if the job ends only for the time being, so that event time does not end with it.
    pub(crate) suspended: CancellationToken,
}

/// Builds the operator of one source subtask.
pub(crate) fn source_rows<'scope>(
    scope: Scope<'scope, u64>,
    name: &str,
    parts: SourceParts,
) -> (Stream<'scope, u64, Rows>, SourceHandle) {
    let acks = Rc::new(RefCell::new(parts.acks));
    let handle: Rc<RefCell<Option<Activator>>> = Rc::default();
    let (acks_inside, handle_inside) = (Rc::clone(&acks), Rc::clone(&handle));
    let stream = source::<_, RowsBuilder, _, _>(scope, name, move |capability, info| {
        let activator = scope.activator_for(Rc::clone(&info.address));
        let waker = parts.inlet.waker;
        waker.bind(scope.worker().sync_activator_for(info.address.to_vec()));
        parts.clock.join(waker);
        *handle_inside.borrow_mut() = Some(activator.clone());
        let mut reading = Reading {
            batches: parts.inlet.batches,
            acks: acks_inside,
            clock: parts.clock,
            speaker: parts.speaks.map(Speaker::new),
            suspended: parts.suspended,
            activator,
        };
        let mut capability = Some(capability);
        move |output| {
            if let Some(held) = &mut capability
                && !reading.run(held, output)
            {
                capability = None;
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

/// A source operator at work.
struct Reading {
    batches: mpsc::Receiver<SourceBatch>,
    acks: Rc<RefCell<Acks>>,
    clock: EpochClock,
    speaker: Option<Speaker>,
    suspended: CancellationToken,
    activator: Activator,
}

impl Reading {
    /// Puts what waits into one epoch; false if the source has ended.
    fn run(&mut self, held: &mut Capability<u64>, output: &mut Output<'_>) -> bool {
        follow(held, &self.clock);
        let epoch = *held.time();
        let mut rows = 0;
        let mut took = false;
        while rows < EPOCH_ROWS && self.acks.borrow().has_credit() {
            match self.batches.try_recv() {
                Ok(batch) => {
                    self.acks.borrow_mut().push(epoch, &batch);
                    took = true;
                    for message in [
                        Rows::new(batch.rows),
                        batch.rejected.map(Rows::rejected).unwrap_or_default(),
                    ] {
                        rows += message.record_count();
                        send(message, held, output);
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    let speaker = self.speaker.as_ref();
                    let speaker = speaker.filter(|_| !self.suspended.is_cancelled());
                    let end = speaker.map(Speaker::end);
                    send(end.unwrap_or_default(), held, output);
                    return false;
                }
            }
        }
        // while nothing is read, no time passes: or else a source would seem idle that is only held up
        if self.acks.borrow().has_credit()
            && let Some(speaker) = &mut self.speaker
        {
            send(speaker.tick(&self.activator), held, output);
        }
        if took {
            held.downgrade(&self.clock.close(epoch));
        }
        if rows >= EPOCH_ROWS {
            self.activator.activate();
        }
        true
    }
}

/// Tells those below about time.
struct Speaker {
    lane: Lane,
    every: Duration,
    due: Instant,
}

impl Speaker {
    fn new((lane, every): (Lane, Duration)) -> Self {
        let due = Instant::now();
        Self { lane, every, due }
    }

    /// The time, if it must be told again. The operator is activated for the next time, once.
    fn tick(&mut self, activator: &Activator) -> Rows {
        let now = Instant::now();
        if now < self.due {
            return Rows::Empty;
        }
        self.due = now + self.every;
        activator.activate_after(self.every);
        Rows::Control(Control::Tick { now_us: now_us() })
    }

    fn end(&self) -> Rows {
        end(self.lane)
    }
}

fn end(lane: Lane) -> Rows {
    let mark = Mark::At(END);
    Rows::Control(Control::Watermark { lane, mark })
}

/// Builds a source operator for a worker that has no share of the source: it ends at once, and says so on its lane if
/// anyone wants to know.
pub(crate) fn no_rows<'scope>(
    scope: Scope<'scope, u64>,
    name: &str,
    lane: Option<Lane>,
) -> Stream<'scope, u64, Rows> {
    source::<_, RowsBuilder, _, _>(scope, name, move |capability, _info| {
        let mut capability = Some(capability);
        move |output| {
            if let Some(held) = capability.take() {
                send(lane.map(end).unwrap_or_default(), &held, output);
            }
        }
    })
}

fn follow(held: &mut Capability<u64>, clock: &EpochClock) {
    let current = clock.current();
    if current > *held.time() {
        held.downgrade(&current);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
