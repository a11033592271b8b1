//! The payloads that an encoder has written.

use std::mem;
use std::ops::Range;

use bytes::Bytes;
use prost::Message;

use crate::error::FormatError;

/// Payloads, end to end in one growing buffer.
///
/// They leave it in that buffer, so that neither a payload nor a row is allocated by itself.
#[derive(Debug, Default)]
pub struct Payloads {
    pub(crate) buffer: Vec<u8>,
    ends: Vec<usize>,
}

impl Payloads {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a payload of what was appended to the buffer since the last one.
    #[inline]
    pub(crate) fn end(&mut self) {
        self.ends.push(self.buffer.len());
    }

    /// Makes a payload of the message of each row.
    ///
    /// # Errors
    /// The first row of which no message can be made, and why.
    pub(crate) fn messages<M: Message>(
        &mut self,
        rows: usize,
        mut message: impl FnMut(usize) -> Result<M, String>,
    ) -> Result<(), FormatError> {
        for row in 0..rows {
            let message = message(row).map_err(|reason| FormatError::Row { row, reason })?;
            let written = message.encode(&mut self.buffer);
            // A vector takes everything.
            debug_assert!(written.is_ok());
            self.end();
        }
        Ok(())
    }

    /// Forgets what was appended since the last payload.
    pub(crate) fn drop_unfinished(&mut self) {
        self.buffer.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many bytes they have together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Forgets them and keeps their room: for those who only looked at them.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.ends.clear();
    }

    /// All of them, in the order of the rows, as borrowed slices.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let payload = &self.buffer[start..end];
            start = end;
            payload
        })
    }

    /// The buffer with all of them, and where in it they lie, in the order of the rows. A new buffer with as much room takes
    /// its place.
    pub fn take(&mut self) -> (Bytes, Vec<Range<usize>>) {
        let room = self.buffer.len();
        let buffer = mem::replace(&mut self.buffer, Vec::with_capacity(room));
        let mut start = 0;
        let place = |end| mem::replace(&mut start, end)..end;
        (buffer.into(), self.ends.drain(..).map(place).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Payloads {
        let mut payloads = Payloads::new();
        for payload in ["one", "", "three"] {
            payloads.buffer.extend_from_slice(payload.as_bytes());
            payloads.end();
        }
        payloads
    }

    #[test]
    fn payloads_leave_in_order_and_once() {
        let mut payloads = filled();
        assert_eq!((payloads.len(), payloads.bytes()), (3, 8));
        let borrowed: Vec<_> = payloads.iter().map(<[u8]>::to_vec).collect();
        let (buffer, places) = payloads.take();
        let taken: Vec<_> = places.into_iter().map(|place| &buffer[place]).collect();
        assert_eq!(taken, [&b"one"[..], b"", b"three"]);
        assert_eq!(taken, borrowed);
        assert!(payloads.is_empty());
        assert!(payloads.take().1.is_empty());
    }

    #[test]
    fn cleared_payloads_are_gone() {
        let mut payloads = filled();
        payloads.clear();
        assert_eq!((payloads.len(), payloads.bytes()), (0, 0));
    }
}
