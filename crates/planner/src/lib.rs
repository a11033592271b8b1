//! Headwater planner.
