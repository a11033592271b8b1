//! What all endpoints share.

use std::ops::Deref;
use std::sync::Arc;

use headwater_engine::connector::State;

use crate::answers::Answers;
use crate::guard::Guard;
use crate::jobs::Jobs;
use crate::settings::Settings;
use crate::store::Store;
use crate::workshop::Workshop;

/// The server's parts; cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

/// The server's parts.
pub(crate) struct Parts {
    /// How it was configured.
    pub(crate) settings: Settings,
    /// Who may ask.
    pub(crate) guard: Guard,
    /// What it keeps.
    pub(crate) store: Store,
    /// What jobs remember from one run to the next, a place each.
    pub(crate) state: State,
    /// Where SQL and configurations are made something of.
    pub(crate) workshop: Workshop,
    /// What runs.
    pub(crate) jobs: Jobs,
    /// What lists were answered last.
    pub(crate) answers: Answers,
    /// The OpenAPI document, as JSON and as a page.
    pub(crate) openapi: (String, String),
}

impl App {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
