//! How a stage takes part in checkpoints: what comes behind a cut waits until the state at the cut has been handed over.
//! Then it *resumes*, a little at a time, so that what is done with is acknowledged early and sources read on; whatever comes
//! meanwhile queues behind it.
//!
//! A stage to which nothing will come any more is not run at later cuts. So it hands over once what it has at all of them.
//!
//! Memory: the messages that wait, which the sources' credit bounds. Order: kept, within what waits and within what does
//! not; a lane's messages are in the order of their epochs.

use std::collections::VecDeque;
use std::time::Duration;

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
    /// What waits no more, and what has come since.
    resumed: VecDeque<Waiting>,
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
            resumed: VecDeque::new(),
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

    /// Whether messages wait for the next cut.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether there is something before which nothing may be taken.
    pub(super) fn is_resuming(&self) -> bool {
        !self.resumed.is_empty()
    }

    pub(super) fn queue(&mut self, message: Waiting) {
        self.resumed.push_back(message);
    }

    /// The next message that waits no more; it may have to wait for the next cut.
    pub(super) fn resume(&mut self) -> Option<Waiting> {
        self.resumed.pop_front()
    }

    /// Hands over the state at a cut, which it took so long to make; what has waited resumes, if
    /// anything has.
    pub(super) fn hand_over(&mut self, cut: u64, parts: Vec<Part>, took: Duration) -> bool {
        self.done = cut;
        let seat = self.seat.clone();
        let Seat { operator, worker } = &seat;
        tracing::debug!(operator, worker, parts = parts.len(), ?took, "state");
        // without a coordinator the job is ending
        self.reports.send((cut, Report::State { seat, parts })).ok();
        self.resumed.append(&mut self.waiting);
        self.is_resuming()
    }

    /// Hands over the state at all cuts that are to come, when nothing waits and nothing will come.
    pub(super) fn end(self, parts: Vec<Part>) {
        let Self { done, seat, .. } = self;
        self.reports
            .send((done, Report::Ended { seat, parts }))
            .ok();
    }

    /// Whether nobody asks for its state any more.
    pub(super) fn is_over(&self) -> bool {
        self.reports.is_closed()
    }
}
