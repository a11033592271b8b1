//! `headwater connectors`: what can stand in `WITH (…)`.

use anyhow::Context;
use clap::Args;
use headwater_engine::connector::config;
use headwater_engine::connector::{ConfigError, ConnectorMetadata};
use headwater_engine::connectors;

use crate::exit::Exit;

/// List the connectors, or one connector's options.
#[derive(Args)]
pub(crate) struct Connectors {
    /// Show the options of this connector.
    name: Option<String>,

    /// Show the JSON schemas of this connector: {"profile": …, "table": …}.
    #[arg(long, value_name = "NAME", conflicts_with = "name")]
    schema: Option<String>,
}

impl Connectors {
    pub(crate) fn execute(self) -> anyhow::Result<Exit> {
        let registry = connectors();
        let lookup = |name: &str| registry.get(name).map(|connector| connector.metadata());
        let shown = match (&self.name, &self.schema) {
            (Some(name), _) => lookup(name).map(|metadata| options(&metadata)),
            (_, Some(name)) => lookup(name).map(|metadata| schemas(&metadata)),
            (None, None) => {
                for connector in registry.iter() {
                    say!("{}", line(&connector.metadata()));
                }
                return Ok(Exit::Done);
            }
        };
        match shown {
            Ok(text) => {
                say!("{}", text?);
                Ok(Exit::Done)
            }
            Err(error) => Ok(usage(&error)),
        }
    }
}

fn usage(error: &ConfigError) -> Exit {
    complain!("error: {error}");
    Exit::Usage
}

fn line(metadata: &ConnectorMetadata) -> String {
    let kinds = [
        (metadata.source, "source"),
        (metadata.sink, "sink"),
        (metadata.lookup, "lookup"),
    ];
    let kinds = kinds.into_iter().filter(|(is, _)| *is);
    let kinds = kinds.map(|(_, kind)| kind).collect::<Vec<_>>().join(", ");
    format!("{:<12} {:<21} {}", metadata.id, kinds, metadata.description)
}

fn options(metadata: &ConnectorMetadata) -> anyhow::Result<String> {
    let mut text = format!("{}\n\n", line(metadata));
    for option in config::describe(metadata)? {
        let default = match (&option.default, option.required, &option.required_with) {
            (Some(default), ..) => format!(", default '{default}'"),
            (None, true, _) => ", required".to_owned(),
            (None, false, Some(group)) => format!(", required with {group}.…"),
            (None, false, None) => String::new(),
        };
        let only = option
            .only_with
            .as_ref()
            .map_or_else(String::new, |with| format!(", only with {with}"));
        text.push_str(&format!(
            "{} ({}{default}{only})\n    {}\n",
            option.name, option.kind, option.description
        ));
    }
    Ok(text.trim_end().to_owned())
}

fn schemas(metadata: &ConnectorMetadata) -> anyhow::Result<String> {
    let parse = |text: &str| -> anyhow::Result<serde_json::Value> {
        serde_json::from_str(text)
            .with_context(|| format!("a schema of '{}' is not JSON", metadata.id))
    };
    let both = serde_json::json!({
        "profile": metadata.profile_schema.map(parse).transpose()?,
        "table": parse(metadata.table_schema)?,
    });
    Ok(serde_json::to_string_pretty(&both)?)
}
