//! What goes from worker to worker: rows with the worker they are for.
//!
//! Within a process a parcel goes over as it is. Between processes it is bytes: 8 for the number of its records, 8 for
//! its kind, 8 for the process that it comes from, 8 for the length of the rest, which may be followed by padding; then the rest: a batch as an Arrow IPC stream, schema included, or the parts of a [`Control`]. Bytes are
//! decoded by [`Parcel::open`] and not as soon as they arrive, because there a fault could only be a panic; likewise a
//! batch that cannot be encoded goes over as the reason why.
//!
//! All numbers are little-endian. The processes of a job run the same version, so there is no number of a format.

use std::cell::OnceCell;
use std::io::Write;

use arrow::error::ArrowError;
use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::communication::Push;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::{ContainerBytes, Message};

use crate::backlog::Size;
use crate::control::{Control, Lane, Mark};
use crate::ipc::{self, cut_off};
use crate::rows::Rows;

/// A message for one worker.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parcel {
    /// The worker's index. Of no meaning once it is there.
    to: usize,
    /// The process that it comes from.
    from: usize,
    content: Content,
    // timely asks for the length before it asks for the bytes
    encoded: OnceCell<Vec<u8>>,
}

#[derive(Debug, Clone)]
enum Content {
    Rows(Rows),
    Bytes(Vec<u8>),
}

impl Default for Content {
    fn default() -> Self {
        Self::Rows(Rows::Empty)
    }
}

impl Parcel {
    /// Addresses rows to a worker.
    pub(crate) fn new(to: usize, rows: Rows) -> Self {
        Self {
            to,
            from: 0,
            content: Content::Rows(rows),
            encoded: OnceCell::new(),
        }
    }

    /// The worker's index.
    pub(crate) fn to(&self) -> usize {
        self.to
    }

    /// Says which process it comes from. To be done before it is weighed or sent.
    pub(crate) fn sign(&mut self, process: usize) {
        self.from = process;
    }

    /// The process that has sent it; `None` if it has come as it was, from this one.
    pub(crate) fn sender(&self) -> Option<usize> {
        match &self.content {
            Content::Rows(_) => None,
            Content::Bytes(bytes) => usize::try_from(word(bytes, 2).ok()?).ok(),
        }
    }

    /// How large it is between processes: the same at both ends.
    pub(crate) fn wire_size(&self) -> Size {
        // neither is ever less than none
        let number = |place| word(self.encoded(), place).map_or(0, i64::unsigned_abs);
        Size {
            rows: number(0),
            bytes: number(3),
        }
    }

    /// What is in it.
    pub(crate) fn open(self) -> Result<Rows, ArrowError> {
        match self.content {
            Content::Rows(rows) => Ok(rows),
            Content::Bytes(bytes) => decode(&bytes),
        }
    }

    fn encoded(&self) -> &[u8] {
        match &self.content {
            Content::Rows(rows) => self.encoded.get_or_init(|| encode(self.from, rows)),
            Content::Bytes(bytes) => bytes,
        }
    }
}

impl Accountable for Parcel {
    fn record_count(&self) -> i64 {
        match &self.content {
            Content::Rows(rows) => rows.record_count(),
            Content::Bytes(bytes) => word(bytes, 0).unwrap_or_default(),
        }
    }
}

impl ContainerBytes for Parcel {
    fn from_bytes(bytes: Bytes) -> Self {
        Self {
            to: 0,
            from: 0,
            content: Content::Bytes(bytes.to_vec()),
            encoded: OnceCell::new(),
        }
    }

    fn length_in_bytes(&self) -> usize {
        self.encoded().len()
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        // timely gives a writer into memory of the length that it was told
        writer.write_all(self.encoded()).ok();
    }
}

/// Gives each parcel to its worker.
pub(crate) struct Delivery;

impl Distributor<Parcel> for Delivery {
    fn partition<T: Clone, P: Push<Message<T, Parcel>>>(
        &mut self,
        parcel: &mut Parcel,
        time: &T,
        workers: &mut [P],
    ) {
        let worker = &mut workers[parcel.to];
        Message::push_at(parcel, time.clone(), worker);
    }

    fn flush<T: Clone, P: Push<Message<T, Parcel>>>(&mut self, _time: &T, _workers: &mut [P]) {}
}

/// The kinds of parcels between processes.
const BATCH: i64 = 0;
const REJECTED: i64 = 1;
const TICK: i64 = 2;
const WATERMARK: i64 = 3;
const IDLE: i64 = 4;
const FAULT: i64 = 5;
const PARTIAL: i64 = 6;

/// The bytes before the content.
const HEADER_BYTES: usize = 32;

fn encode(from: usize, rows: &Rows) -> Vec<u8> {
    let (kind, content) = match rows {
        // it is never sent
        Rows::Empty => (FAULT, Ok(b"nothing".to_vec())),
        Rows::Batch(batch) => (BATCH, ipc::encode(batch)),
        Rows::Rejected(batch) => (REJECTED, ipc::encode(batch)),
        Rows::Partial(groups) => (PARTIAL, ipc::encode(groups)),
        Rows::Control(Control::Tick { now_us }) => (TICK, Ok(now_us.to_le_bytes().to_vec())),
        Rows::Control(Control::Watermark { lane, mark }) => {
            let number = i64::from(lane.0).to_le_bytes();
            match mark {
                Mark::At(at) => (WATERMARK, Ok([number, at.to_le_bytes()].concat())),
                Mark::Idle => (IDLE, Ok(number.to_vec())),
            }
        }
    };
    let (kind, content) = match content {
        Ok(content) => (kind, content),
        Err(error) => (FAULT, error.to_string().into_bytes()),
    };
    let mut bytes = Vec::with_capacity(HEADER_BYTES + content.len());
    bytes.extend(rows.record_count().to_le_bytes());
    bytes.extend(kind.to_le_bytes());
    bytes.extend((from as u64).to_le_bytes());
    bytes.extend((content.len() as u64).to_le_bytes());
    bytes.extend(content);
    bytes
}

fn decode(bytes: &[u8]) -> Result<Rows, ArrowError> {
    let content = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let control = match word(bytes, 1)? {
        BATCH => return ipc::decode(content).map(Rows::Batch),
        REJECTED => return ipc::decode(content).map(Rows::Rejected),
        PARTIAL => return ipc::decode(content).map(Rows::Partial),
        TICK => Control::Tick {
            now_us: word(content, 0)?.cast_unsigned(),
        },
        WATERMARK => Control::Watermark {
            lane: lane(content)?,
            mark: Mark::At(word(content, 1)?),
        },
        IDLE => Control::Watermark {
            lane: lane(content)?,
            mark: Mark::Idle,
        },
        _ => {
            let reason = String::from_utf8_lossy(content);
            return Err(ArrowError::IpcError(reason.into_owned()));
        }
    };
    Ok(Rows::Control(control))
}

fn lane(bytes: &[u8]) -> Result<Lane, ArrowError> {
    u32::try_from(word(bytes, 0)?)
        .map(Lane)
        .map_err(|error| ArrowError::IpcError(error.to_string()))
}

/// The number at a place, counted in words of 8 bytes.
fn word(bytes: &[u8], place: usize) -> Result<i64, ArrowError> {
    let word = bytes.get(8 * place..).and_then(<[u8]>::first_chunk);
    word.map(|word| i64::from_le_bytes(*word))
        .ok_or_else(cut_off)
}

#[cfg(test)]
mod tests;
