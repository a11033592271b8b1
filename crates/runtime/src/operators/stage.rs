//! Runs an operator with state, a [`Stateful`] machine, on one worker.
//!
//! Input: one or more streams of rows, watermarks and ticks. Output: what the machine answers to rows, at once and in
//! their epoch, with the dead letters of late ones; what rows make due, if that may be much; and what becomes due when the
//! watermark of all lanes above has risen, or by the clock, followed by a watermark on a lane of its own, or the tick. What is
//! due is held in the epoch of the message that made it so: no other epoch waits for it, so rows are acknowledged once the
//! machine has absorbed them.
//!
//! Order: a watermark goes out after everything that it made due. While that goes out, in pieces between which the worker
//! does other things, rows that come in are taken as always; the watermarks behind them, too, and are told together at the
//! end.
//!
//! Inputs beside: where the rows that go out have the event time of some inputs alone, watermarks of the others say nothing but
//! their end, which the machine is told. As long as it waits for that, nothing is said about time.
//!
//! Memory: the machine's, up to the job's limit ([`StateSize`]), above which it fails or is told to move state to disk, and what one activation puts out: [`SLICE`] of work or [`SLICE_ROWS`], and one piece more. While
//! there is no room at the job's sinks it waits.
//!
//! Checkpoints: what comes behind a cut waits until everything before it has been absorbed and put out; then the state is
//! handed over ([`Cuts`]). A machine that keeps what is due hands it over when something waits; what of it has not gone out
//! is then behind the cut. One whose inputs have ended before those of the job hands over once what it keeps.
//!
//! Errors: those of the machine. After one it does nothing more, and keeps its epoch open, so that nothing of it can be
//! acknowledged.

mod cuts;

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::common::Result;
use datafusion::error::DataFusionError;
use headwater_connector::Metrics;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, CapabilityTrait, InputCapability};
use timely::dataflow::{Scope, Stream};
use timely::progress::frontier::MutableAntichain;
use timely::progress::operate::FrontierInterest;

pub(crate) use self::cuts::Cuts;
use self::cuts::Waiting;

use crate::backlog::Backlog;
use crate::bridge::Waker;
use crate::control::{Control, Lane, Mark};
use crate::durable::part::Part;
use crate::gate::Gate;
use crate::minimum::Minimum;
use crate::operators::late::LateRows;
use crate::operators::stateful::END;
use crate::operators::stateful::Stateful;
use crate::operators::{Output, send};
use crate::rows::Rows;
use crate::state_size::StateSize;

/// For how long the operator puts out what is due before the worker does something else.
const SLICE: Duration = Duration::from_millis(5);

/// How many rows it puts out before that, likewise.
const SLICE_ROWS: usize = 65_536;

/// Ticks of several sources that come within this time are one, in microseconds.
const TICK_US: u64 = 900_000;

/// A machine and what is around it.
pub(crate) struct Stage {
    pub(crate) machine: Box<dyn Stateful>,
    /// Where the machine gives its late rows.
    pub(crate) late: LateRows,
    /// Of all lanes that lead to it.
    pub(crate) minimum: Minimum,
    /// Of lanes that lead to it and have no part in the event time of its rows: it is told their end.
    pub(crate) aside: Minimum,
    /// Passed at that end.
    pub(crate) gate: Option<Arc<Gate>>,
    /// On which it speaks.
    pub(crate) lane: Lane,
    pub(crate) metrics: Arc<Metrics>,
    /// Of the whole job.
    pub(crate) state_size: Arc<StateSize>,
    pub(crate) backlog: Arc<Backlog>,
    /// If the job takes checkpoints.
    pub(crate) cuts: Option<Cuts>,
}

/// An epoch that can be kept open.
trait Epoch: CapabilityTrait<u64> {
    fn hold(&self) -> Capability<u64>;
}

impl Epoch for InputCapability<u64> {
    fn hold(&self) -> Capability<u64> {
        self.retain(0)
    }
}

impl Epoch for Capability<u64> {
    fn hold(&self) -> Capability<u64> {
        self.clone()
    }
}

/// Makes a machine and the progress of event time what they were at a checkpoint.
pub(crate) fn restore(
    machine: &mut dyn Stateful,
    minimum: &mut Minimum,
    parts: Vec<Part>,
) -> Result<()> {
    let mut parts = parts.into_iter();
    if let Some(first) = parts.next() {
        let told = first.about()?;
        // the end is said anew, or nobody below would hear of it
        if told < END {
            minimum.begin(told);
        }
        machine.restore(parts.collect())?;
    }
    Ok(())
}

/// What a stage hands over that has been told about time so far.
fn state(stage: &mut Stage, settled: i64) -> Result<Vec<Part>> {
    let mut parts = vec![Part::word(&settled)?];
    parts.extend(stage.machine.snapshot()?);
    Ok(parts)
}

/// Builds the operator. An error of the machine goes to `fail`.
pub(crate) fn stage_rows<'scope>(
    scope: Scope<'scope, u64>,
    name: &str,
    inputs: Vec<Stream<'scope, u64, Rows>>,
    stage: Stage,
    fail: impl Fn(DataFusionError) + 'static,
) -> Stream<'scope, u64, Rows> {
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let inputs = inputs.into_iter();
    let mut inputs: Vec<_> = inputs
        .map(|rows| builder.new_input(rows, Pipeline))
        .collect();
    let interest = match stage.cuts {
        Some(_) => FrontierInterest::Always,
        None => FrontierInterest::Never,
    };
    for input in 0..inputs.len() {
        builder.set_notify_for(input, interest);
    }
    let (output, stream) = builder.new_output();
    let mut output = OutputBuilder::from(output);
    let address = builder.operator_info().address;
    let activator = scope.activator_for(Rc::clone(&address));
    let waker = Waker::default();
    waker.bind(scope.worker().sync_activator_for(address.to_vec()));
    stage.backlog.join(waker);
    let metrics = Arc::clone(&stage.metrics);
    let mut running = Running::new(stage);
    builder.build(move |capabilities| {
        running.begin(capabilities);
        move |frontiers| {
            let _cpu = metrics.stopwatch();
            let mut output = output.activate();
            for (index, input) in inputs.iter_mut().enumerate() {
                input.for_each(|capability, data| {
                    let rows = std::mem::take(data);
                    let taken = running.receive(index, rows, &capability, &mut output);
                    taken.unwrap_or_else(&fail);
                });
            }
            let emitted = running.emit(&mut output);
            let goes_on = emitted.and_then(|more| Ok(running.cut(frontiers, &mut output)? || more));
            let goes_on = goes_on.and_then(|more| running.end(frontiers).map(|()| more));
            match goes_on {
                Ok(true) => activator.activate(),
                Ok(false) => {}
                Err(error) => fail(error),
            }
        }
    });
    stream
}

/// A stage at work.
struct Running {
    stage: Stage,
    /// How far the machine has been told event time has come.
    told: i64,
    /// The same, without what it has not put out yet: what a checkpoint keeps, so that it is told again what was due.
    settled: i64,
    /// When it was told the time last.
    ticked_us: u64,
    /// The size of its state when it was last counted.
    state_bytes: u64,
    due: Option<Due>,
    /// Whether something is to be said about time when the machine has stopped to wait.
    unsaid: bool,
    /// The epoch in which it failed.
    failed: Option<Capability<u64>>,
}

/// What the machine has to put out, and what is to be said behind it.
struct Due {
    held: Capability<u64>,
    /// Whether event time has come further, or has stopped or begun to be waited for.
    speaks: bool,
    tick: Option<Control>,
}

impl Running {
    fn new(stage: Stage) -> Self {
        Self {
            told: stage.minimum.reached(),
            settled: stage.minimum.reached(),
            unsaid: stage.machine.is_waiting(),
            stage,
            ticked_us: 0,
            state_bytes: 0,
            due: None,
            failed: None,
        }
    }

    /// Puts out what was due already when the machine took up its state.
    fn begin(&mut self, capabilities: Vec<Capability<u64>>) {
        if self.stage.machine.is_due() {
            self.due = capabilities.first().map(|first| Due {
                held: first.clone(),
                speaks: false,
                tick: None,
            });
        }
    }

    /// Takes a message, unless it must wait, or nothing is taken any more.
    fn receive(
        &mut self,
        input: usize,
        rows: Rows,
        epoch: &impl Epoch,
        output: &mut Output<'_>,
    ) -> Result<()> {
        if self.failed.is_some() {
            return Ok(());
        }
        if let Some(cuts) = &mut self.stage.cuts
            && cuts.is_resuming()
        {
            let epoch = epoch.hold();
            cuts.queue(Waiting { input, rows, epoch });
            return Ok(());
        }
        self.receive_next(input, rows, epoch, output)
    }

    /// Takes the message whose turn it is, unless it must wait for a cut.
    fn receive_next(
        &mut self,
        input: usize,
        rows: Rows,
        epoch: &impl Epoch,
        output: &mut Output<'_>,
    ) -> Result<()> {
        if let Some(cuts) = &mut self.stage.cuts
            && cuts.holds_up(*epoch.time())
        {
            let epoch = epoch.hold();
            cuts.wait(Waiting { input, rows, epoch });
            return Ok(());
        }
        let taken = self.take(input, rows, epoch, output);
        if taken.is_err() {
            self.failed = Some(epoch.hold());
        }
        taken
    }

    /// Takes some of the messages that wait no more.
    fn resume(&mut self, output: &mut Output<'_>) -> Result<()> {
        let began = Instant::now();
        while let Some(Waiting { input, rows, epoch }) =
            self.stage.cuts.as_mut().and_then(Cuts::resume)
            && self.failed.is_none()
        {
            self.receive_next(input, rows, &epoch, output)?;
            if began.elapsed() >= SLICE {
                break;
            }
        }
        Ok(())
    }

    /// Hands over the state, if it is wanted and everything of these epochs has come and gone; whether messages that have
    /// waited were taken, which may have made something due, or are to be taken.
    fn cut(
        &mut self,
        frontiers: &[MutableAntichain<u64>],
        output: &mut Output<'_>,
    ) -> Result<bool> {
        if self.stage.cuts.as_ref().is_some_and(Cuts::is_resuming) {
            self.resume(output)?;
            return Ok(true);
        }
        let keeps = self.stage.machine.keeps_what_is_due();
        let cuts = self.stage.cuts.as_ref().filter(|cuts| {
            let may_be_due = keeps && cuts.has_waiting();
            (self.due.is_none() || may_be_due) && self.failed.is_none()
        });
        let is_past = |cut: &u64| frontiers.iter().all(|frontier| !frontier.less_equal(cut));
        let Some(cut) = cuts.and_then(Cuts::wanted).filter(is_past) else {
            return Ok(false);
        };
        let began = Instant::now();
        let parts = state(&mut self.stage, self.settled)?;
        let took = began.elapsed();
        if let Some(due) = &mut self.due {
            // it may be there already since an earlier cut, and is never behind what waits
            due.held.try_downgrade(&(cut + 1)).ok();
        }
        let cuts = self.stage.cuts.as_mut();
        Ok(cuts.is_some_and(|cuts| cuts.hand_over(cut, parts, took)))
    }

    /// Hands over the state for all cuts that are to come, if nothing else is: then the operator is not run any more.
    fn end(&mut self, frontiers: &[MutableAntichain<u64>]) -> Result<()> {
        let is_idle = self.due.is_none() && self.failed.is_none();
        if !is_idle || !frontiers.iter().all(MutableAntichain::is_empty) {
            return Ok(());
        }
        let has_more = |cuts: &Cuts| cuts.has_waiting() || cuts.is_resuming();
        if let Some(cuts) = self.stage.cuts.take_if(|cuts| !has_more(cuts))
            && !cuts.is_over()
        {
            cuts.end(state(&mut self.stage, self.settled)?);
        }
        Ok(())
    }

    fn take(
        &mut self,
        input: usize,
        rows: Rows,
        epoch: &impl Epoch,
        output: &mut Output<'_>,
    ) -> Result<()> {
        match rows {
            Rows::Batch(batch) => {
                self.stage.metrics.add_rows(batch.num_rows() as u64);
                for made in self.stage.machine.rows(input, batch)? {
                    self.stage.metrics.add_rows_out(made.num_rows() as u64);
                    send(Rows::new(made), epoch, output);
                }
                if self.stage.machine.is_due() {
                    self.due(epoch);
                }
                let letters = self.stage.late.take()?.map(Rows::rejected);
                send(letters.unwrap_or_default(), epoch, output);
            }
            Rows::Control(Control::Watermark { lane, mark }) => {
                if self.stage.minimum.note(input, lane, mark) {
                    self.due(epoch).speaks = true;
                    self.advance()?;
                }
                if self.stage.aside.note(input, lane, mark) {
                    self.end_aside(input, epoch)?;
                }
            }
            Rows::Control(tick @ Control::Tick { now_us }) => {
                if now_us >= self.ticked_us + TICK_US {
                    self.ticked_us = now_us;
                    self.stage.machine.tick(now_us)?;
                    self.due(epoch).tick = Some(tick);
                }
            }
            Rows::Partial(groups) => {
                let rows = self.stage.machine.groups(&groups)?;
                self.stage.metrics.add_rows(rows);
            }
            Rows::Rejected(_) | Rows::Empty => {}
        }
        Ok(())
    }

    /// Tells the machine how far event time has come, if that is further than before.
    fn advance(&mut self) -> Result<()> {
        let reached = self.stage.minimum.reached();
        if reached > self.told {
            self.told = reached;
            self.stage.machine.advance(reached)?;
            if reached < END {
                self.stage.metrics.set_watermark(reached);
            }
        }
        Ok(())
    }

    /// Tells the machine if nothing will come any more from inputs beside.
    fn end_aside(&mut self, input: usize, epoch: &impl Epoch) -> Result<()> {
        if self.stage.aside.reached() < END {
            return Ok(());
        }
        self.stage.machine.ended(input)?;
        if let Some(gate) = self.stage.gate.take() {
            gate.pass();
        }
        self.due(epoch);
        Ok(())
    }

    fn due(&mut self, epoch: &impl Epoch) -> &mut Due {
        self.due.get_or_insert_with(|| Due {
            held: epoch.hold(),
            speaks: false,
            tick: None,
        })
    }

    /// Puts out some of what is due; whether it should go on as soon as others have had their turn. Without room at the
    /// sinks, the backlog wakes it.
    fn emit(&mut self, output: &mut Output<'_>) -> Result<bool> {
        let emitted = self.emit_some(output);
        if emitted.is_err() {
            self.failed = self.due.take().map(|due| due.held);
        }
        emitted
    }

    fn emit_some(&mut self, output: &mut Output<'_>) -> Result<bool> {
        let Some(due) = self.due.as_ref().filter(|_| self.failed.is_none()) else {
            return Ok(false);
        };
        let began = Instant::now();
        let mut rows = 0;
        while self.stage.backlog.has_room() {
            let Some(piece) = self.stage.machine.emit()? else {
                self.count_state()?;
                self.finish(output);
                return Ok(false);
            };
            rows += piece.num_rows();
            self.stage.metrics.add_rows_out(piece.num_rows() as u64);
            send(Rows::new(piece), &due.held, output);
            if rows >= SLICE_ROWS || began.elapsed() >= SLICE {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Says what is to be said behind what was due.
    fn finish(&mut self, output: &mut Output<'_>) {
        let Some(mut due) = self.due.take() else {
            return;
        };
        self.settled = self.told;
        due.speaks |= std::mem::take(&mut self.unsaid);
        if self.stage.machine.is_waiting() {
            self.unsaid = std::mem::take(&mut due.speaks);
        }
        let Stage { lane, minimum, .. } = &self.stage;
        let say = |mark| Control::Watermark { lane: *lane, mark };
        let reached = due.speaks.then(|| say(Mark::At(minimum.reached())));
        let idle = (due.speaks && minimum.is_idle()).then(|| say(Mark::Idle));
        for control in [reached, idle, due.tick].into_iter().flatten() {
            send(Rows::Control(control), &due.held, output);
        }
    }

    fn count_state(&mut self) -> Result<()> {
        let bytes = self.stage.machine.size() as u64;
        let before = std::mem::replace(&mut self.state_bytes, bytes);
        self.stage.metrics.resize_state(before, bytes);
        let Stage {
            machine,
            state_size,
            ..
        } = &mut self.stage;
        match machine.spills() {
            false => state_size.resize(before, bytes),
            true => match state_size.resize_movable(before, bytes) {
                Some(at_least) => machine.spill(at_least),
                None => Ok(()),
            },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test")]
mod tests;
