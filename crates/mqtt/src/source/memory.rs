//! Which filters the broker keeps in a source's session, remembered from one run to the next.
//!
//! A session outlives the process with all its subscriptions, and a broker does not say which it has. So they are written
//! down before they are asked for, beside those of earlier runs, and only a broker that had no session lets the earlier
//! ones be forgotten. Without a state folder nothing is known ([`Former`]).

use headwater_connector::{State, StateError};
use serde::{Deserialize, Serialize};

use crate::options::{ConnectOptions, Former, Subscription};

/// The name under which it is stored.
const NAME: &str = "subscriptions";

/// What a source knows of its session.
#[derive(Debug)]
pub(super) struct Memory {
    state: State,
    session: Session,
    /// What this run asks for.
    current: Vec<String>,
}

/// A session: whose it is, and what it may be subscribed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    broker: String,
    client_id: String,
    filters: Vec<String>,
    /// Whether it has no others.
    complete: bool,
}

impl Memory {
    /// Remembers what a run is about to subscribe to, and tells what earlier ones have left. `None` if the session ends
    /// with the connection.
    ///
    /// # Errors
    /// A state folder that cannot be used.
    pub(super) fn begin(
        state: State,
        options: &ConnectOptions,
        subscriptions: &[Subscription],
    ) -> Result<(Option<Self>, Former), StateError> {
        if options.clean_start && options.session_expiry.is_zero() {
            return Ok((None, Former::default()));
        }
        let current: Vec<_> = subscriptions.iter().map(|s| s.filter.clone()).collect();
        let mut session = Session {
            broker: options.address(),
            client_id: options.client_id.clone(),
            filters: current.clone(),
            complete: false,
        };
        let known: Option<Session> = state.load(NAME)?;
        let known = known.filter(|known| known.is_same(&session));
        let former = known.map_or_else(Former::default, |known| Former {
            filters: known.filters,
            complete: known.complete,
        });
        let gone = former.filters.iter().filter(|f| !current.contains(f));
        session.filters.extend(gone.cloned());
        session.complete = former.complete;
        state.store(NAME, &session)?;
        let memory = Self {
            state,
            session,
            current,
        };
        Ok((Some(memory), former))
    }

    /// The broker had no session before this one: there are no filters but those of now.
    ///
    /// # Errors
    /// A state folder that cannot be used.
    pub(super) fn began_anew(&mut self) -> Result<(), StateError> {
        self.session.filters.clone_from(&self.current);
        self.session.complete = true;
        self.state.store(NAME, &self.session)
    }
}

impl Session {
    fn is_same(&self, other: &Self) -> bool {
        (&self.broker, &self.client_id) == (&other.broker, &other.client_id)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::options::QoS;

    /// One run, and what it knew of those before.
    fn run(state: &State, client_id: &str, filters: &[&str], anew: bool) -> (Vec<String>, bool) {
        let mut options = ConnectOptions::new("h", 1883, client_id);
        options.session_expiry = Duration::from_secs(60);
        let filters: Vec<_> = filters
            .iter()
            .map(|filter| Subscription::new(*filter, QoS::AtLeastOnce))
            .collect();
        let (memory, former) = Memory::begin(state.clone(), &options, &filters).unwrap();
        if anew {
            memory.unwrap().began_anew().unwrap();
        }
        (former.filters, former.complete)
    }

    fn known(filters: &[&str], complete: bool) -> (Vec<String>, bool) {
        (filters.iter().map(ToString::to_string).collect(), complete)
    }

    #[test]
    fn what_a_session_may_have_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        assert_eq!(run(&state, "a", &["x"], true), known(&[], false));
        assert_eq!(run(&state, "a", &["y"], false), known(&["x"], true));
        // a run may have ended before it could unsubscribe
        assert_eq!(run(&state, "a", &["y"], false), known(&["y", "x"], true));
        assert_eq!(run(&state, "a", &["y"], true), known(&["y", "x"], true));
        assert_eq!(run(&state, "a", &["y"], false), known(&["y"], true));
        assert_eq!(run(&state, "b", &["y"], false), known(&[], false));
        assert_eq!(run(&state, "b", &["z"], false), known(&["y"], false));
    }

    #[test]
    fn without_a_state_folder_nothing_is_known() {
        let state = State::default();
        assert_eq!(run(&state, "a", &["x"], true), known(&[], false));
        assert_eq!(run(&state, "a", &["y"], true), known(&[], false));
    }
}
