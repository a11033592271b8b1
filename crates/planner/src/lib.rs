//! SQL → a dataflow plan.

mod error;
pub mod plan;

use std::sync::Arc;

use headwater_connector::{Connection, ConnectionProfile, Registry};

pub use error::PlanError;
pub use plan::{Node, NodeId, Plan, PlanOperator, Step};

/// What a SQL text comes to.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// All `INSERT`s and bare `SELECT`s of the text as one dataflow, in which a table that is read several times is
    /// one source. `None` if there are none.
    pub plan: Option<Plan>,
    /// The answers of the `EXPLAIN`s, in order.
    pub explains: Vec<String>,
    /// Every `CREATE TABLE` of the text, in order.
    pub tables: Vec<Arc<Connection>>,
}

/// Turns SQL into dataflow plans; remembers the tables, views and profiles that it was told of.
pub struct Planner {
    _registry: Registry,
    profiles: Vec<ConnectionProfile>,
}

impl Planner {
    /// A planner with an empty catalog, whose tables are made by these connectors.
    pub fn new(registry: Registry) -> Self {
        Self {
            _registry: registry,
            profiles: Vec::new(),
        }
    }

    /// Makes a profile known to `connection_profile = '…'`; the last one of a name wins.
    pub fn add_profile(&mut self, profile: ConnectionProfile) {
        self.profiles.retain(|known| known.name != profile.name);
        self.profiles.push(profile);
    }

    /// Plans a SQL text of any number of statements.
    ///
    /// # Errors
    /// The first thing that is wrong with the text, with its place in it. The tables and views that stand before it
    /// are in the catalog then.
    pub async fn plan(&mut self, _sql: &str) -> Result<Script, PlanError> {
        Err(PlanError::new("nothing can be planned yet"))
    }
}
