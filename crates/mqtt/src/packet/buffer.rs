//! The buffer into which the socket is read.
//!
//! A large buffer makes few system calls, but whoever keeps one small message must not keep the whole buffer alive. So
//! a small take is copied and the buffer reused; only a take that fills a good part of it is handed out as it is. Such a
//! buffer is read into again once nobody holds a part of it any more: under load a few buffers go round, instead of fresh
//! memory for every read, which the system would have to clear page by page.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// Capacity of a fresh buffer, in bytes.
const CAPACITY: usize = 128 * 1024;
/// Takes up to this size are copied. A buffer that is handed out is thus at most `CAPACITY / COPY_MAX` times larger
/// than what was taken.
const COPY_MAX: usize = 16 * 1024;
/// No read is offered less room than this.
const READ_MIN: usize = 32 * 1024;
/// How much room a packet that is larger than the buffer gets ahead of its arrival. Its length is only the sender's
/// claim, so memory follows the bytes that did arrive.
const GROW_MAX: usize = 4 * 1024 * 1024;
/// How many buffers that were handed out are remembered: about as many as wait between driver and owner.
const LENT_MAX: usize = 12;

/// Bytes that were read and not yet understood. Bounded by the maximum packet size plus `GROW_MAX`, and `LENT_MAX`
/// buffers that were handed out.
#[derive(Debug, Default)]
pub struct ReadBuffer {
    bytes: BytesMut,
    /// The ends of buffers of `CAPACITY` whose contents are with somebody else, oldest first.
    lent: VecDeque<BytesMut>,
    /// Whether `bytes` has the usual capacity, and may be lent.
    usual: bool,
}

impl ReadBuffer {
    /// All bytes that have not been taken.
    pub fn unread(&self) -> &[u8] {
        &self.bytes
    }

    /// Room for the next read. `wanted` is how many more bytes the first packet lacks, as far as is known.
    pub fn for_read(&mut self, wanted: usize) -> &mut BytesMut {
        let room = READ_MIN.max(wanted.min(GROW_MAX));
        if self.bytes.capacity() - self.bytes.len() < room {
            self.replace(self.bytes.len() + room);
        }
        &mut self.bytes
    }

    /// Goes on in another buffer, one that has come back if there is one.
    fn replace(&mut self, len: usize) {
        let usual = len <= CAPACITY;
        let returned = self
            .lent
            .iter_mut()
            .position(|lent| usual && lent.try_reclaim(CAPACITY));
        let mut fresh = returned
            .and_then(|at| self.lent.remove(at))
            .unwrap_or_else(|| BytesMut::with_capacity(len.max(CAPACITY)));
        fresh.extend_from_slice(&self.bytes);
        let mut old = std::mem::replace(&mut self.bytes, fresh);
        if std::mem::replace(&mut self.usual, usual) {
            old.clear();
            if self.lent.len() == LENT_MAX {
                self.lent.pop_front();
            }
            self.lent.push_back(old);
        }
    }

    /// Takes the first `len` bytes as something that can be kept.
    pub fn take(&mut self, len: usize) -> Bytes {
        if len > COPY_MAX {
            let taken = self.bytes.split_to(len).freeze();
            if self.bytes.len() + len > 2 * CAPACITY {
                // The rest must not keep the buffer of a huge packet alive.
                self.bytes = BytesMut::from(&self.bytes[..]);
                self.usual = false;
            }
            return taken;
        }
        let taken = Bytes::copy_from_slice(&self.bytes[..len]);
        self.skip(len);
        taken
    }

    /// Forgets the first `len` bytes.
    pub fn skip(&mut self, len: usize) {
        self.bytes.advance(len);
        if self.bytes.is_empty() && self.bytes.capacity() < CAPACITY {
            // All read: start over at the front, without an allocation if nobody holds a part of the buffer.
            self.bytes.clear();
            let _reclaimed = self.bytes.try_reclaim(CAPACITY);
        }
    }

    /// Forgets everything, for a new connection.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_take_does_not_keep_the_buffer() {
        let mut buffer = ReadBuffer::default();
        buffer.for_read(0).extend_from_slice(b"hello world");
        let before = buffer.unread().as_ptr();
        let taken = buffer.take(5);
        assert_eq!(&taken[..], b"hello");
        assert_eq!(buffer.unread(), b" world");
        let rest = buffer.take(6);
        buffer.for_read(0).extend_from_slice(b"again");
        assert_eq!(&rest[..], b" world");
        assert_eq!(
            buffer.unread().as_ptr(),
            before,
            "the same memory is read into again"
        );
    }

    #[test]
    fn a_buffer_that_comes_back_is_read_into_again() {
        let mut buffer = ReadBuffer::default();
        let mut fill = || {
            let room = buffer.for_read(0);
            room.extend_from_slice(&[7; CAPACITY - READ_MIN + 1]);
            (room.as_ptr(), buffer.take(CAPACITY - READ_MIN + 1))
        };
        let (first, held) = fill();
        let (second, returned) = fill();
        assert_ne!(first, second, "the first is still held");
        drop(returned);
        let (third, also_held) = fill();
        assert!(
            third != first && third != second,
            "the second is only now retired"
        );
        let (fourth, _) = fill();
        assert_eq!(fourth, second);
        assert_eq!(held, also_held, "what is held is left alone");
    }

    #[test]
    fn only_so_many_buffers_are_remembered() {
        let mut buffer = ReadBuffer::default();
        let held: Vec<_> = (0..3 * LENT_MAX)
            .map(|_| {
                buffer.for_read(0).extend_from_slice(&[7; CAPACITY]);
                buffer.take(CAPACITY)
            })
            .collect();
        assert_eq!(held.len(), 3 * LENT_MAX);
        assert_eq!(buffer.lent.len(), LENT_MAX);
    }

    #[test]
    fn a_huge_packet_gives_its_buffer_away() {
        let mut buffer = ReadBuffer::default();
        let huge = vec![7; 3 * CAPACITY];
        buffer.for_read(huge.len() + 3).extend_from_slice(&huge);
        buffer.for_read(0).extend_from_slice(b"abc");
        let taken = buffer.take(huge.len());
        assert_eq!(taken.len(), huge.len());
        assert_eq!(buffer.unread(), b"abc");
        assert!(buffer.bytes.capacity() < CAPACITY);
    }

    #[test]
    fn a_claimed_length_does_not_allocate() {
        let mut buffer = ReadBuffer::default();
        assert!(buffer.for_read(268_435_455).capacity() <= 2 * GROW_MAX);
    }
}
