//! What a format has learnt of its messages, kept for the next run: names that a birth told once (Sparkplug B).
//!
//! ```text
//! push ─► Decoder ─ learnt ─► waiting, with the batch's position ─ committed ─► State, then the acknowledgement
//! ```
//!
//! Something is stored when the messages that taught it are durable, and before they are acknowledged. Earlier, a
//! crash could forget what a message that comes again still needs (a death makes known metrics stale); later, it could
//! lose what no message will tell again.

use std::collections::{BTreeMap, VecDeque};

use headwater_format::{Decoder, Learnt};
use serde_json::Value;

use crate::operator::{OperatorError, Position};
use crate::state::{State, StateError};

/// Under which name of a table's place in the state folder it is kept.
const NAME: &str = "learnt";

/// What was learnt and is not stored yet. Bounded by what is not acknowledged.
#[derive(Debug)]
pub(super) struct Memory {
    state: State,
    waiting: VecDeque<(Position, Vec<Learnt>)>,
}

impl Memory {
    /// Gives a decoder what earlier runs have learnt. `None` if nothing is kept.
    ///
    /// # Errors
    /// A state folder that cannot be used, or holds what the format does not understand.
    pub(super) fn begin(
        state: &State,
        decoder: &mut Decoder,
    ) -> Result<Option<Self>, OperatorError> {
        if !state.is_kept() {
            return Ok(None);
        }
        let state = state.child(NAME);
        let known: Vec<Value> = state.load_all().map_err(unusable)?;
        decoder.remember(known).map_err(unusable)?;
        let waiting = VecDeque::new();
        Ok(Some(Self { state, waiting }))
    }

    /// A batch ends at this position.
    pub(super) fn note(&mut self, position: Position, decoder: &mut Decoder) {
        let learnt = decoder.learnt();
        if !learnt.is_empty() {
            self.waiting.push_back((position, learnt));
        }
    }

    /// Everything up to this position is durable.
    ///
    /// # Errors
    /// A state folder that cannot be used.
    pub(super) fn committed(&mut self, position: Position) -> Result<(), OperatorError> {
        let durable = self.waiting.partition_point(|(at, _)| *at <= position);
        let durable = self.waiting.drain(..durable).flat_map(|(_, learnt)| learnt);
        // Of several under one name the last one counts.
        let last: BTreeMap<_, _> = durable.map(|learnt| (learnt.name, learnt.value)).collect();
        for (name, value) in &last {
            self.store(name, value.as_ref()).map_err(unusable)?;
        }
        Ok(())
    }

    fn store(&self, name: &str, value: Option<&Value>) -> Result<(), StateError> {
        match value {
            Some(value) => self.state.store(name, value),
            None => self.state.remove(name),
        }
    }
}

fn unusable(error: impl std::error::Error + Send + Sync + 'static) -> OperatorError {
    OperatorError::caused_by("cannot remember what the messages have told", error)
}
