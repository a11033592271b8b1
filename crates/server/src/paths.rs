//! Connectors that keep their hands off the server's disk.
//!
//! Whoever may use the API may not therefore read the server's files: not by `single_file`, nor by a schema or a
//! certificate that lies in a file. Options that name files are known from the schemas (`config::files`); a file must lie
//! in one of the folders that the configuration allows. That is checked before a connector sees the options, because
//! some read files as soon as a table is made, and once more when its job starts.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use headwater_engine::connector::config::{self, ConfigError, Options};
use headwater_engine::connector::{
    Connection, ConnectionProfile, ConnectorMetadata, ErasedConnector, MetadataDef, Operator,
    ProbePlace, Progress, Registry, SampleRequest, Sampling, TableSchema, TaskContext,
};
use headwater_format::FormatConfig;
use serde_json::Value;

/// The folders whose files may be named.
#[derive(Debug, Clone, Default)]
pub(crate) struct AllowedPaths(Arc<Vec<PathBuf>>);

impl AllowedPaths {
    /// These folders, which must exist.
    ///
    /// # Errors
    /// The first that does not.
    pub(crate) fn new(folders: &[PathBuf]) -> Result<Self, (PathBuf, io::Error)> {
        let real = |folder: &PathBuf| folder.canonicalize().map_err(|e| (folder.clone(), e));
        let folders = folders.iter().map(real).collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(folders)))
    }

    /// Connectors that name no other files.
    pub(crate) fn guarded(&self, registry: &Registry) -> Registry {
        registry
            .iter()
            .fold(Registry::default(), |guarded, connector| {
                guarded.with(Guarded {
                    connector: Arc::clone(connector),
                    allowed: self.clone(),
                })
            })
    }

    fn check(&self, option: &str, path: &str) -> Result<(), ConfigError> {
        if real(Path::new(path)).is_some_and(|path| self.0.iter().any(|dir| path.starts_with(dir)))
        {
            return Ok(());
        }
        let message = format!(
            "option '{option}': the server may not use the file '{path}'; whoever runs it can allow a folder with \
             --allow-path"
        );
        Err(ConfigError::new(Some(option), message))
    }
}

/// The place of a file that exists or could be made: without links and `..`.
fn real(path: &Path) -> Option<PathBuf> {
    if let Ok(real) = path.canonicalize() {
        return Some(real);
    }
    let named = path.components().next_back();
    let Some(Component::Normal(name)) = named else {
        return None;
    };
    // a link that leads nowhere yet could lead anywhere
    if path.is_symlink() {
        return None;
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    Some(
        parent
            .unwrap_or(Path::new("."))
            .canonicalize()
            .ok()?
            .join(name),
    )
}

/// A connector whose options are looked at first.
struct Guarded {
    connector: Arc<dyn ErasedConnector>,
    allowed: AllowedPaths,
}

impl Guarded {
    fn check(
        &self,
        profile: &Value,
        table: &Value,
        format: &FormatConfig,
    ) -> Result<(), ConfigError> {
        let files = config::files(&self.connector.metadata(), profile, table, format)?;
        let mut files = files.iter();
        files.try_for_each(|(option, path)| self.allowed.check(option, path))
    }

    fn check_profile(&self, profile: &Value) -> Result<(), ConfigError> {
        self.check(profile, &Value::Null, &FormatConfig::default())
    }
}

impl ErasedConnector for Guarded {
    fn name(&self) -> &'static str {
        self.connector.name()
    }

    fn metadata(&self) -> ConnectorMetadata {
        self.connector.metadata()
    }

    fn metadata_defs(&self) -> Vec<MetadataDef> {
        self.connector.metadata_defs()
    }

    fn from_options(
        &self,
        name: &str,
        options: &Options,
        schema: TableSchema,
        profile: Option<&ConnectionProfile>,
    ) -> Result<Connection, ConfigError> {
        let parsed = config::parse_table(&self.metadata(), options, profile)?;
        self.check(&parsed.profile, &parsed.table, &parsed.format)
            .map_err(|error| error.located(options))?;
        self.connector.from_options(name, options, schema, profile)
    }

    fn locate(&self, location: &str) -> Result<Options, ConfigError> {
        self.connector.locate(location)
    }

    fn from_config(
        &self,
        name: &str,
        profile: &Value,
        table: &Value,
        schema: TableSchema,
        format: FormatConfig,
    ) -> Result<Connection, ConfigError> {
        self.check(profile, table, &format)?;
        self.connector
            .from_config(name, profile, table, schema, format)
    }

    fn test_profile(
        &self,
        profile: &Value,
        progress: Progress,
    ) -> Result<Option<BoxFuture<'static, bool>>, ConfigError> {
        self.check_profile(profile)?;
        self.connector.test_profile(profile, progress)
    }

    fn test(
        &self,
        connection: &Connection,
        place: ProbePlace,
        progress: Progress,
    ) -> Result<Option<BoxFuture<'static, bool>>, ConfigError> {
        self.connector.test(connection, place, progress)
    }

    fn exclusive(&self, connection: &Connection) -> Result<Option<String>, ConfigError> {
        self.connector.exclusive(connection)
    }

    fn max_parallelism(&self, connection: &Connection) -> Result<usize, ConfigError> {
        self.connector.max_parallelism(connection)
    }

    fn dead_letter(&self, table: &Connection, topic: &str) -> Result<Connection, ConfigError> {
        self.connector.dead_letter(table, topic)
    }

    fn feeds(&self, sink: &Connection, source: &Connection) -> Result<Option<String>, ConfigError> {
        self.connector.feeds(sink, source)
    }

    fn sample(
        &self,
        profile: &Value,
        request: SampleRequest,
    ) -> Result<Option<Sampling>, ConfigError> {
        self.check_profile(profile)?;
        self.connector.sample(profile, request)
    }

    fn make_operator(
        &self,
        connection: &Connection,
        context: TaskContext,
    ) -> anyhow::Result<Operator> {
        self.check(
            &connection.profile,
            &connection.table,
            &connection.config.format,
        )?;
        self.connector.make_operator(connection, context)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_files_within_the_folders_are_allowed() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("inside");
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(inside.join("there"), "").unwrap();
        std::fs::write(dir.path().join("secret"), "").unwrap();
        symlink(dir.path().join("secret"), inside.join("link")).unwrap();
        symlink(dir.path().join("none"), inside.join("dangling")).unwrap();
        let allowed = AllowedPaths::new(std::slice::from_ref(&inside)).unwrap();
        let check = |name: &str, expect: bool| {
            let path = inside.join(name);
            let outcome = allowed.check("path", path.to_str().unwrap());
            assert_eq!(outcome.is_ok(), expect, "{name}: {outcome:?}");
        };
        check("there", true);
        check("new", true);
        check("../inside/there", true);
        check("../secret", false);
        check("../new", false);
        check("link", false);
        check("dangling", false);
        check("missing/new", false);
        check("..", false);
        assert!(
            AllowedPaths::default()
                .check("path", "/etc/passwd")
                .is_err()
        );
    }
}
