//! Headwater engine.
