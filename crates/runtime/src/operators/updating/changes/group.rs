//! One group: how many rows it has, what its functions have made of them, and what was said of it.

use datafusion::common::{Result, ScalarValue};

use super::function::{Arguments, Function, State};

/// The values of the functions for a group.
pub(super) type Values = Vec<ScalarValue>;

/// One group.
pub(super) struct Group {
    pub(super) states: Vec<State>,
    pub(super) rows: u64,
    /// The event time of its latest row.
    pub(super) time: i64,
    /// What was put out last.
    pub(super) sent: Option<Values>,
    /// Whether rows have come since.
    pub(super) changed: bool,
    /// How much memory it took when it was put out last.
    bytes: usize,
}

impl Group {
    /// Without rows.
    pub(super) fn new(functions: &[Function]) -> Result<Self> {
        let states = functions.iter().map(Function::state);
        let mut group = Self {
            states: states.collect::<Result<_>>()?,
            rows: 0,
            time: i64::MIN,
            sent: None,
            changed: false,
            bytes: 0,
        };
        group.measure();
        Ok(group)
    }

    /// Takes some of the rows of a batch.
    pub(super) fn add(
        &mut self,
        functions: &[Function],
        arguments: &[Arguments],
        rows: &[u32],
    ) -> Result<()> {
        self.rows += rows.len() as u64;
        for ((function, state), arguments) in functions.iter().zip(&mut self.states).zip(arguments)
        {
            if let Some(values) = arguments.of(rows)? {
                function.add(state, &values)?;
            }
        }
        Ok(())
    }

    /// Takes some of the rows of a batch back.
    pub(super) fn retract(
        &mut self,
        functions: &[Function],
        arguments: &[Arguments],
        rows: &[u32],
    ) -> Result<()> {
        // more than it has were sent before its time was over
        self.rows = self.rows.saturating_sub(rows.len() as u64);
        for ((function, state), arguments) in functions.iter().zip(&mut self.states).zip(arguments)
        {
            if let Some(values) = arguments.of(rows)? {
                function.retract(state, &values)?;
            }
        }
        Ok(())
    }

    /// Notes that rows have come; whether they are the first since it was put out.
    pub(super) fn touch(&mut self, latest: i64) -> bool {
        self.time = self.time.max(latest);
        !std::mem::replace(&mut self.changed, true)
    }

    /// What is to be taken back and what is to be sent.
    pub(super) fn change(
        &mut self,
        functions: &[Function],
    ) -> Result<(Option<Values>, Option<Values>)> {
        self.changed = false;
        let now = match self.rows {
            0 => None,
            _ => {
                let values = functions.iter().zip(&mut self.states);
                let values = values.map(|(function, state)| function.value(state));
                Some(values.collect::<Result<Values>>()?)
            }
        };
        if now == self.sent {
            self.measure();
            return Ok((None, None));
        }
        let before = std::mem::replace(&mut self.sent, now.clone());
        self.measure();
        Ok((before, now))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub(super) fn is_changed(&self) -> bool {
        self.changed
    }

    pub(super) fn time(&self) -> i64 {
        self.time
    }

    /// Counts the memory. That may take as long as there are values, so it is not done for each row.
    pub(super) fn measure(&mut self) {
        let sent = self.sent.iter().flatten().map(ScalarValue::size);
        let states = self.states.iter().map(State::size);
        self.bytes = size_of::<Self>() + sent.sum::<usize>() + states.sum::<usize>();
    }

    /// How much memory it takes, in bytes, roughly, as of when it was put out last.
    pub(super) fn size(&self) -> usize {
        self.bytes
    }
}
