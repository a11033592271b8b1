//! Environment variables that look like ours and mean nothing.

use std::collections::BTreeSet;

use clap::{Command, CommandFactory};
use headwater_engine::connector::config::nearest;
use headwater_server::settings;

/// How ours begin.
const PREFIX: &str = "HEADWATER_";

/// What others call theirs: what stands for `{{ NAME }}`, and what Kubernetes says of a service with our name.
const OTHERS: [&str; 3] = ["VAR_", "SERVICE_", "PORT"];

/// A warning for each variable that is set and that no option of any command and no setting of the server reads.
pub(crate) fn warnings() -> Vec<String> {
    let mut known: BTreeSet<String> = settings::variables().collect();
    read_by(&crate::Arguments::command(), &mut known);
    let set = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let unknown = set.filter(|name| !known.contains(name));
    unknown.filter_map(|name| warning(&name, &known)).collect()
}

/// Adds the variables of a command and of those below it.
fn read_by(command: &Command, known: &mut BTreeSet<String>) {
    let variables = command
        .get_arguments()
        .filter_map(|option| option.get_env());
    known.extend(variables.map(|name| name.to_string_lossy().into_owned()));
    for command in command.get_subcommands() {
        read_by(command, known);
    }
}

fn warning(name: &str, known: &BTreeSet<String>) -> Option<String> {
    let rest = name.strip_prefix(PREFIX)?;
    if OTHERS.iter().any(|other| rest.starts_with(other)) {
        return None;
    }
    let known = known.iter().filter_map(|name| name.strip_prefix(PREFIX));
    let meant = nearest(rest, known).map(|near| format!("; did you mean '{PREFIX}{near}'?"));
    let meant = meant.unwrap_or_default();
    Some(format!(
        "the environment variable '{name}' is set, but no option and no setting is read from it{meant}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_looks_like_ours_and_is_not_is_warned_of() {
        let mut known: BTreeSet<String> = settings::variables().collect();
        read_by(&crate::Arguments::command(), &mut known);
        for ours in [
            "HEADWATER_STATE_DIR",
            "HEADWATER_TLS_CERT",
            "HEADWATER_SERVER",
            "HEADWATER_TOKEN",
        ] {
            assert!(known.contains(ours), "{ours}");
        }
        let near = |name: &str| warning(name, &known);
        let ends = |name: &str, end: &str| near(name).is_some_and(|text| text.ends_with(end));
        assert!(ends(
            "HEADWATER_STATEDIR",
            "did you mean 'HEADWATER_STATE_DIR'?"
        ));
        assert!(ends("HEADWATER_LISTN", "did you mean 'HEADWATER_LISTEN'?"));
        assert!(ends("HEADWATER_COLOUR", "no setting is read from it"));
        for others in [
            "HEADWATER_VAR_LISTEN",
            "HEADWATER_PORT_5115_TCP",
            "STATE_DIR",
        ] {
            assert_eq!(near(others), None);
        }
    }
}
