//! Headwater testkit.
