//! The buffer into which the socket is read.
//!
//! A large buffer makes few system calls, but whoever keeps one small message must not keep the whole buffer alive. So
//! a small take is copied and the buffer reused; only a take that fills a good part of it is handed out as it is.

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

/// Bytes that were read and not yet understood. Bounded by the maximum packet size plus `GROW_MAX`.
#[derive(Debug, Default)]
pub struct ReadBuffer {
    bytes: BytesMut,
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
            let mut fresh = BytesMut::with_capacity(CAPACITY.max(self.bytes.len() + room));
            fresh.extend_from_slice(&self.bytes);
            self.bytes = fresh;
        }
        &mut self.bytes
    }

    /// Takes the first `len` bytes as something that can be kept.
    pub fn take(&mut self, len: usize) -> Bytes {
        if len > COPY_MAX {
            let taken = self.bytes.split_to(len).freeze();
            if self.bytes.len() + len > 2 * CAPACITY {
                // The rest must not keep the buffer of a huge packet alive.
                self.bytes = BytesMut::from(&self.bytes[..]);
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
        self.bytes = BytesMut::new();
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
