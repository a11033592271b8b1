//! SQL → a dataflow plan.
//!
//! ```text
//! text ─ parse ─► statements ─┬─ CREATE TABLE ─ ddl ─► connector ─► catalog
//!                             ├─ CREATE VIEW ────────── bind ─────► catalog
//!                             └─ INSERT, SELECT ─ unsupported ─ bind ─ query ─ compile ─ translate ─► Plan
//! ```
//!
//! A text is tokenised once, so that every error counts lines and columns from its top (`dialect`, `parse`). Tables
//! are declared (`ddl`), made by their connectors, and kept with the views by name (`catalog`). A query is refused as
//! soon as it asks for what cannot be run (`unsupported`), bound and compiled by DataFusion (`session`, `source`,
//! `types`, `functions`) once the names that are left out were put in (`implied`), named windows written out
//! (`named_windows`), clauses that would be passed over refused (`misplaced`) and unnest in FROM was unfolded (`lateral`), brought into the form of the sink's columns (`query`) and translated operator by operator into [`plan`]
//! (`translate`), with integers that do not overflow silently (`overflow`) and a way for bad data (`dead_letter`); that
//! can be read as text (`explain`). Whatever goes wrong becomes a [`PlanError`] with a place
//! and a hint (`error`, `syntax_hint`, `bind_error`, `type_error`, `fields`), the smallest expression that fails alone if nothing better
//! is known (`planner::pinpoint`).
//!
//! **Invariants.** No connector is known by name. Nothing is opened, read or run. Nothing that changes with time is
//! computed while planning: a query may run for years. DataFusion's executors are never started; of its physical
//! plan only expressions, `UnnestExec` and queries over one window leave this crate. Bad text is an error, never a panic.

mod dialect;
mod parse;
mod syntax_hint;
mod watermark_clause;

mod ddl;
mod type_name;
mod types;

mod catalog;
mod source;

mod comparison;
mod functions;
mod implied;
mod lateral;
mod misplaced;
mod named_windows;
mod session;

mod query;
mod stream;
mod unsupported;

mod dead_letter;
mod overflow;
pub mod plan;
mod translate;

mod explain;

mod bind_error;
mod error;
mod fields;
mod names;
mod type_error;

mod planner;
mod render;

pub use error::{PlanError, without_secrets};
pub use plan::{Node, NodeId, Plan, PlanOperator, Step};
pub use planner::{EventTime, Planner, Script};
pub use render::create_table;
pub use types::{is_json, json_metadata};
