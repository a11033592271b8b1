//! What the workers tell the coordinator about a cut.

use tokio::sync::mpsc;

use super::part::Part;
use super::{Seat, Share};

/// About the cut that was made last.
pub(crate) enum Report {
    /// The state of an operator on a worker: all of the epochs up to the cut, and nothing later.
    State { seat: Seat, parts: Vec<Part> },
    /// The same of an operator to which nothing will come any more: at this cut, unless it has told that already, and at all
    /// that follow.
    Ended { seat: Seat, parts: Vec<Part> },
    /// Everything of these epochs that came from this share has been accepted, and this is how far it had come then;
    /// `None` if it had not begun.
    Accepted { share: Share, position: Option<u64> },
}

/// The way to the coordinator, bounded by one report a cut from each.
pub(crate) type Reports = mpsc::UnboundedSender<(u64, Report)>;
