//! Headwater local.
