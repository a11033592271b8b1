//! What processes tell each other on their control connections, and how it is written: 4 bytes for the length, most
//! significant first, then JSON.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The most that one frame may hold: a hello with all addresses, or the reason of a failure.
const FRAME_BYTES: u32 = 64 << 10;

/// Something about the job as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Word {
    /// All others have said hello. The first word.
    Ready,
    /// Nothing else to say.
    Alive,
    /// A source has closed the epochs before this one; those that wait follow.
    Closed(u64),
    /// So much of what the other has sent has arrived, and there is room for more.
    Arrived { rows: u64, bytes: u64 },
    /// The job is to be stopped: sources stop reading, the rest drains.
    Stop,
    /// The job was ended where it stands, without an error.
    Ended,
    /// The job failed, in the process of this number.
    Failed { process: usize, reason: String },
    /// All that this process had to do is done. The last word.
    Done,
}

/// Reads one frame, and not a byte more.
pub(super) async fn read_frame<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<T> {
    let length = stream.read_u32().await?;
    if length > FRAME_BYTES {
        let error = "a frame that is too long";
        return Err(io::Error::new(io::ErrorKind::InvalidData, error));
    }
    let mut bytes = vec![0; length as usize];
    stream.read_exact(&mut bytes).await?;
    serde_json::from_slice(&bytes).map_err(io::Error::from)
}

/// Writes one frame.
pub(super) async fn write_frame(
    stream: &mut (impl AsyncWrite + Unpin),
    content: &impl Serialize,
) -> io::Result<()> {
    let content = serde_json::to_vec(content)?;
    let length = u32::try_from(content.len()).map_err(io::Error::other)?;
    let mut frame = Vec::with_capacity(4 + content.len());
    frame.extend(length.to_be_bytes());
    frame.extend(content);
    stream.write_all(&frame).await
}
