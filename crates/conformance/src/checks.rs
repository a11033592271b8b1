//! All checks, one file a subject, in the order of the table.

mod connections;
mod connector;
mod delivery;
mod flow;
mod options;
mod properties;
mod retained;
mod sessions;
mod shared;
mod topics;
mod wills;

use crate::check::Check;

/// Every check.
pub(crate) fn all() -> impl Iterator<Item = Check> {
    let groups: [&[Check]; 11] = [
        delivery::CHECKS,
        topics::CHECKS,
        retained::CHECKS,
        sessions::CHECKS,
        shared::CHECKS,
        flow::CHECKS,
        connections::CHECKS,
        wills::CHECKS,
        properties::CHECKS,
        options::CHECKS,
        connector::CHECKS,
    ];
    groups.into_iter().flatten().copied()
}
