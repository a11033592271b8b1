//! The files of the server that may be named over the API: those in folders that the configuration allows.
//!
//! Whoever may use the API may not therefore read the server's files: not by `single_file`, nor by a schema or a
//! certificate that lies in a file. Options that name files are known from the schemas (`config::files`).

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use headwater_engine::connector::config::ConfigError;

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

    /// Refuses a file that lies elsewhere.
    pub(crate) fn check(&self, option: &str, path: &str) -> Result<(), ConfigError> {
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
