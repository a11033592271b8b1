//! Compressed payloads: `compression = 'gzip'` (RFC 1952) and `'zstd'` (RFC 8878).
//!
//! The outermost layer: a source decompresses before frames and format see anything, a sink compresses what the format
//! has written. A small payload can stand for gigabytes, so what comes out is bounded by `compression.max_size`; more
//! is bad data, like bytes that are no such stream. Several streams one after the other are one payload, as both
//! specifications say.

use std::fmt;
use std::io::{self, Read};

use flate2::bufread::MultiGzDecoder;
use flate2::{Compress, Crc, FlushCompress, Status};
use zstd::bulk::Compressor as ZstdCompressor;
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};

use crate::config::{Compression, FormatConfig};
use crate::error::{BadPayload, FormatError};
use crate::payloads::Payloads;

/// How much room for plain bytes is kept from one message to the next.
const KEPT_BYTES: usize = 1 << 20;
/// How much the room for plain bytes grows at least.
const STEP_BYTES: usize = 16 << 10;
/// A gzip header without name and time, of an unknown system.
const GZIP_HEADER: [u8; 10] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF];

/// Makes payloads plain again.
pub(crate) struct Decompressor {
    max_size: usize,
    plain: Vec<u8>,
    stream: Stream,
}

enum Stream {
    Gzip,
    Zstd(ZstdDecoder<'static>),
}

impl Decompressor {
    /// The compression of a table's payloads; `None` if they are plain.
    ///
    /// # Errors
    /// No room for the state.
    pub(crate) fn new(config: &FormatConfig) -> Result<Option<Self>, FormatError> {
        let stream = match config.compression {
            None => return Ok(None),
            Some(Compression::Gzip) => Stream::Gzip,
            Some(Compression::Zstd) => Stream::Zstd(ZstdDecoder::new().map_err(FormatError::Zstd)?),
        };
        let max_size = config.compression_max_size;
        let mut new = Self {
            max_size,
            plain: Vec::new(),
            stream,
        };
        new.limit_window().map_err(FormatError::Zstd)?;
        Ok(Some(new))
    }

    /// A frame may ask for a window that is far larger than all it holds: no larger one than the plain bytes may be.
    fn limit_window(&mut self) -> io::Result<()> {
        let bits = usize::BITS - self.max_size.leading_zeros();
        match &mut self.stream {
            Stream::Gzip => Ok(()),
            Stream::Zstd(decoder) => {
                decoder.set_parameter(DParameter::WindowLogMax(bits.clamp(10, 27)))
            }
        }
    }

    /// How many bytes came out of the last payload.
    pub(crate) fn plain_bytes(&self) -> usize {
        self.plain.len()
    }

    /// The plain bytes of a payload, until the next call.
    ///
    /// # Errors
    /// Bytes that are no such stream, one that ends too early, and one that holds more than is allowed.
    pub(crate) fn decompress(&mut self, payload: &[u8]) -> Result<&[u8], BadPayload> {
        self.plain.clear();
        self.plain.shrink_to(KEPT_BYTES);
        let (name, result) = match &mut self.stream {
            Stream::Gzip => ("gzip", gunzip(payload, self.max_size, &mut self.plain)),
            Stream::Zstd(decoder) => {
                let result = unzstd(decoder, payload, self.max_size, &mut self.plain);
                ("zstd", result)
            }
        };
        let reason = match result {
            Ok(()) if self.plain.len() <= self.max_size => return Ok(&self.plain),
            Ok(()) => format!(
                "decompressed, the payload has more than the {} bytes that compression.max_size allows",
                self.max_size
            ),
            Err(error) => format!("the payload is not compressed with {name}: {error}"),
        };
        Err(BadPayload::new(reason, payload))
    }
}

/// Stops one byte beyond the limit.
fn gunzip(payload: &[u8], max_size: usize, plain: &mut Vec<u8>) -> io::Result<()> {
    if payload.is_empty() {
        return Err(ends_early());
    }
    let limit = (max_size as u64).saturating_add(1);
    MultiGzDecoder::new(payload)
        .take(limit)
        .read_to_end(plain)
        .map(drop)
}

/// Stops at most one step beyond the limit.
fn unzstd(
    decoder: &mut ZstdDecoder<'_>,
    payload: &[u8],
    max_size: usize,
    plain: &mut Vec<u8>,
) -> io::Result<()> {
    let mut input = InBuffer::around(payload);
    decoder.reinit()?;
    let mut at_end = false;
    while input.pos() < payload.len() || !at_end {
        if plain.len() == plain.capacity() {
            plain.reserve(STEP_BYTES.max(plain.len()));
        }
        let (before, written) = (input.pos(), plain.len());
        let mut output = OutBuffer::around_pos(plain, written);
        let hint = decoder.run(&mut input, &mut output)?;
        at_end = hint == 0;
        if at_end && input.pos() < payload.len() {
            decoder.reinit()?;
        }
        if plain.len() > max_size {
            return Ok(());
        }
        if !at_end && input.pos() == before && plain.len() == written {
            return Err(ends_early());
        }
    }
    Ok(())
}

fn ends_early() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it ends too early")
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor")
            .field("max_size", &self.max_size)
            .finish_non_exhaustive()
    }
}

/// Compresses payloads, each by itself.
pub(crate) struct Compressor {
    stream: Output,
    /// The payloads before they are compressed.
    pub(crate) plain: Payloads,
}

enum Output {
    Gzip(Box<Compress>),
    Zstd(ZstdCompressor<'static>),
}

impl Compressor {
    /// The compression of a table's payloads; `None` if they stay plain.
    ///
    /// # Errors
    /// No room for the state.
    pub(crate) fn new(config: &FormatConfig) -> Result<Option<Self>, FormatError> {
        let stream = match config.compression {
            None => return Ok(None),
            Some(Compression::Gzip) => Output::Gzip(Box::new(Compress::new(
                flate2::Compression::default(),
                false,
            ))),
            Some(Compression::Zstd) => {
                let level = zstd::DEFAULT_COMPRESSION_LEVEL;
                Output::Zstd(ZstdCompressor::new(level).map_err(FormatError::Zstd)?)
            }
        };
        Ok(Some(Self {
            stream,
            plain: Payloads::new(),
        }))
    }

    /// Appends all plain payloads, compressed, and forgets them.
    ///
    /// # Errors
    /// The library refuses, which would be a bug.
    pub(crate) fn compress(&mut self, out: &mut Payloads) -> Result<(), FormatError> {
        for payload in self.plain.iter() {
            match &mut self.stream {
                Output::Gzip(deflate) => gzip(deflate, payload, &mut out.buffer)?,
                Output::Zstd(compressor) => {
                    let frame = compressor.compress(payload).map_err(FormatError::Zstd)?;
                    out.buffer.extend_from_slice(&frame);
                }
            }
            out.end();
        }
        self.plain.clear();
        Ok(())
    }
}

fn gzip(deflate: &mut Compress, payload: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
    deflate.reset();
    out.extend_from_slice(&GZIP_HEADER);
    let mut rest = payload;
    loop {
        out.reserve(STEP_BYTES.max(rest.len() / 2));
        let before = deflate.total_in();
        let status = deflate.compress_vec(rest, out, FlushCompress::Finish);
        let taken = usize::try_from(deflate.total_in() - before).unwrap_or(rest.len());
        rest = &rest[taken..];
        match status.map_err(FormatError::Deflate)? {
            Status::StreamEnd => break,
            Status::Ok | Status::BufError => {}
        }
    }
    let mut crc = Crc::new();
    crc.update(payload);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    // The length modulo 2^32, as RFC 1952 says.
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    Ok(())
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}
