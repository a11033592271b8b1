//! The connectors an engine knows, by name.

use std::sync::Arc;

use crate::config::ConfigError;
use crate::connector::ErasedConnector;

/// The connectors an engine knows, by name. The planner and the runtime reach connectors through it alone.
#[derive(Clone, Default)]
pub struct Registry {
    connectors: Vec<Arc<dyn ErasedConnector>>,
}

impl Registry {
    /// Adds a connector; the last one added under a name wins.
    #[must_use]
    pub fn with(mut self, connector: impl ErasedConnector) -> Self {
        self.connectors
            .retain(|known| known.name() != connector.name());
        self.connectors.push(Arc::new(connector));
        self
    }

    /// The connector of this name.
    ///
    /// # Errors
    /// Names the connectors there are, and the nearest one.
    pub fn get(&self, name: &str) -> Result<&Arc<dyn ErasedConnector>, ConfigError> {
        self.connectors
            .iter()
            .find(|connector| connector.name() == name)
            .ok_or_else(|| ConfigError::unknown_connector(name, self.names()))
    }

    /// All names, in the order of registration.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.connectors.iter().map(|connector| connector.name())
    }

    /// All connectors, in the order of registration.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn ErasedConnector>> {
        self.connectors.iter()
    }
}
