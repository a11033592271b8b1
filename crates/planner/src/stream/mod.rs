//! What depends on event time: a bound query → one in which every stream carries its time.
//!
//! ```text
//! bound query ─ lower ─► the same with `__headwater_time` threaded through, and nodes of our own ─ DataFusion's optimiser
//!     ─ extension ─► a physical plan in which a `StreamExec` stands for each of them ─ translate ─► Plan
//! ```
//!
//! A source's query ends in a node that gives rows their event time ([`node::Kind::EventTime`]), below a projection that
//! hides it. A query that needs no time has those nodes taken out, and costs what it did before. In any other `lower`
//! makes every projection carry the column on, and turns aggregates into nodes that the runtime has an operator for. What
//! looks at one window at a time (functions `OVER`, joins of windows) stays a plan of DataFusion's, in a node of ours.
//!
//! **Invariants.** In a lowered plan [`TIME`](crate::plan::TIME) is the last column of every stream, and
//! [`CHANGE`](crate::plan::CHANGE) is right before it in every stream whose rows can be taken back ([`updating`]). Operators with state and
//! exchanges have expressions that are columns or constants ([`computed`]). DataFusion's optimiser
//! knows which columns a node needs, and prunes the rest; it never moves a filter across a node, because what a watermark has
//! seen must not depend on what a query asks.

mod arrange;
mod computed;
mod constant;
mod exec;
mod extension;
mod filter;
mod instant;
mod join;
mod lookup;
mod lower;
mod memory;
mod node;
mod order;
mod over;
mod over_rows;
mod sums;
mod times;
mod updating;
mod window;
mod window_order;

pub(crate) use self::constant::{is_constant, rows_of};
pub(crate) use self::exec::StreamExec;
pub(crate) use self::extension::StreamPlanner;
pub(crate) use self::lower::{lower, refuse_many_rows};
pub(crate) use self::memory::marked;
pub(crate) use self::node::{EventTimeNode, Kind, StreamNode};
pub(crate) use self::updating::Output;
pub(crate) use self::window::fixed_ns;
pub(crate) use self::window_order::by_ends;
