//! Headwater runtime.
