//! What is said about time, between the rows.
//!
//! ```text
//!          Tick; at last At(END)             At(…), Idle, Tick                        At(…), Idle, Tick
//!  source ─────────────────────► watermark ───────────────────► operator with state ───────────────────►
//! ```
//!
//! Control goes down the streams in its place among the rows, and operators without state hand it on in order. Only
//! sources above a watermark speak, so other plans pay nothing. What an operator says holds for what comes behind it on the
//! same way: `lanes` tells the ways apart.

/// A remark of an operator about the rows that come behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// The time of day at a source, in microseconds since 1970; about once a second, whether rows come or not.
    Tick { now_us: u64 },
    /// How far event time has come on a lane.
    Watermark { lane: Lane, mark: Mark },
}

/// How far event time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// No row will come whose event time is before this, in nanoseconds since 1970; none at all after
    /// [`END`](crate::operators::stateful::END).
    At(i64),
    /// Nothing has come for a while: whoever waits for several lanes goes on without this one, until it says where it is.
    Idle,
}

/// A way of watermarks: that of one operator on one worker. Numbered the same on all workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Lane(pub(crate) u32);
