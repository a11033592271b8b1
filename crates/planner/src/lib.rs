//! SQL → a dataflow plan.
pub mod plan;
