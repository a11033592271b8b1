//! How a stage takes part in checkpoints: what comes behind a cut waits until the state at the cut has been handed over.
//!
//! Memory: the messages that wait, which the sources' credit bounds. Order: kept, within what waits and within what does
//! not; a lane's messages are in the order of their epochs.

use std::collections::VecDeque;

use timely::dataflow::operators::Capability;

use crate::durable::Seat;
use crate::durable::part::Part;
use crate::durable::report::{Report, Reports};
use crate::epoch::EpochClock;
use crate::rows::Rows;

/// The cuts of one stage.
pub(crate) struct Cuts {
    clock: EpochClock,
    reports: Reports,
    seat: Seat,
    /// The last cut at which it handed over its state.
    done: u64,
    waiting: VecDeque<Waiting>,
}

/// A message that has come behind a cut.
pub(super) struct Waiting {
    pub(super) input: usize,
    pub(super) rows: Rows,
    pub(super) epoch: Capability<u64>,
}

impl Cuts {
    pub(crate) fn new(clock: EpochClock, reports: Reports, seat: Seat) -> Self {
        Self {
            clock,
            reports,
            seat,
            done: 0,
            waiting: VecDeque::new(),
        }
    }

    /// The cut at which its state is wanted.
    pub(super) fn wanted(&self) -> Option<u64> {
        let cut = self.clock.last_cut();
        (cut > self.done).then_some(cut)
    }

    /// Whether a message of this epoch must wait.
    pub(super) fn holds_up(&self, epoch: u64) -> bool {
        self.wanted().is_some_and(|cut| epoch > cut)
    }

    pub(super) fn wait(&mut self, message: Waiting) {
        self.waiting.push_back(message);
    }

    /// Hands over the state at a cut, and gives back what has waited.
    pub(super) fn hand_over(&mut self, cut: u64, parts: Vec<Part>) -> VecDeque<Waiting> {
        self.done = cut;
        let seat = self.seat.clone();
        // without a coordinator the job is ending
        self.reports.send((cut, Report::State { seat, parts })).ok();
        std::mem::take(&mut self.waiting)
    }
}
