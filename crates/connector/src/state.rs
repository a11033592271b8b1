//! What outlives a run: a folder of small files that an operator reads when it starts and writes when it has learnt
//! something.
//!
//! ```text
//! <state folder>/<job>/<operator>/<subtask>/<name>.json
//! ```
//!
//! A [`State`] is a place in that tree, or nowhere: without a state folder nothing is found and nothing is kept, and
//! every operator works as if it ran for the first time. A file is replaced as a whole: it is written beside its place,
//! synced and renamed, so that a crash leaves the old one or the new one.
//!
//! Reads and writes block. They are for what changes seldom and is small.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How long the name of a file or folder may be before it is cut and a hash tells it apart. File systems take 255.
const NAME_MAX: usize = 120;
/// What the names of files end with.
const SUFFIX: &str = ".json";

/// A place in the state folder, or nowhere.
#[derive(Debug, Clone, Default)]
pub struct State {
    folder: Option<PathBuf>,
}

/// A state folder that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("state folder: cannot {action} '{path}'")]
pub struct StateError {
    action: &'static str,
    path: String,
    #[source]
    source: io::Error,
}

impl State {
    /// The root of a tree. Makes the folder if it does not exist.
    ///
    /// # Errors
    /// A folder that can be neither made nor written to.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, StateError> {
        let folder = folder.into();
        std::fs::create_dir_all(&folder).map_err(failed("make", &folder))?;
        // found out now, and not when the first operator has learnt something
        tempfile::tempfile_in(&folder).map_err(failed("write into", &folder))?;
        Ok(Self {
            folder: Some(folder),
        })
    }

    /// Whether what is stored is found again.
    pub fn is_kept(&self) -> bool {
        self.folder.is_some()
    }

    /// The folder itself, for an operator that keeps files of its own kind. It is made.
    ///
    /// # Errors
    /// A folder that cannot be made.
    pub fn folder(&self) -> Result<Option<&Path>, StateError> {
        let Some(folder) = &self.folder else {
            return Ok(None);
        };
        std::fs::create_dir_all(folder).map_err(failed("make", folder))?;
        Ok(Some(folder))
    }

    /// A place below this one. Any name will do; it is made when something is stored.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        Self {
            folder: self.folder.as_ref().map(|folder| folder.join(escape(name))),
        }
    }

    /// What was stored under a name, if anything was.
    ///
    /// # Errors
    /// A file that cannot be read or holds something else.
    pub fn load<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StateError> {
        match self.file(name) {
            Some(path) => read(&path),
            None => Ok(None),
        }
    }

    /// All that was stored here, in the order of their file names.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_all<T: DeserializeOwned>(&self) -> Result<Vec<T>, StateError> {
        let Some(folder) = &self.folder else {
            return Ok(Vec::new());
        };
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed("read", folder))?,
        };
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        let paths: io::Result<Vec<_>> = paths.collect();
        let mut paths = paths.map_err(failed("read", folder))?;
        paths.retain(|path| path.to_string_lossy().ends_with(SUFFIX));
        paths.sort();
        let values = paths.iter().map(|path| read(path).map(Option::into_iter));
        let values: Result<Vec<_>, _> = values.collect();
        Ok(values?.into_iter().flatten().collect())
    }

    /// Puts a value in the place of what was stored under this name.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn store<T: Serialize>(&self, name: &str, value: &T) -> Result<(), StateError> {
        let (Some(folder), Some(path)) = (&self.folder, self.file(name)) else {
            return Ok(());
        };
        let written = || {
            std::fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(&serde_json::to_vec(value)?)?;
            file.as_file().sync_data()?;
            file.persist(&path).map_err(io::Error::from).map(drop)
        };
        written().map_err(failed("write", &path))
    }

    /// Forgets what was stored under this name.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), StateError> {
        let Some(path) = self.file(name) else {
            return Ok(());
        };
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(failed("remove", &path)),
        }
    }

    /// Forgets all that was stored here and below. Stored again, it is a new place.
    ///
    /// # Errors
    /// A folder that cannot be removed; part of it may have gone.
    pub fn clear(&self) -> Result<(), StateError> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(failed("remove", folder)),
        }
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?;
        Some(folder.join(escape(name) + SUFFIX))
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(failed("read", path))?,
    };
    let value = serde_json::from_slice(&bytes);
    // whoever has to decide whether to delete it should know what they lose
    let value = value.map_err(|error| {
        let what = "is not what this version of headwater stores; remove the file to begin anew";
        io::Error::new(io::ErrorKind::InvalidData, format!("it {what}: {error}"))
    });
    value.map(Some).map_err(failed("read", path))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    let path = path.display().to_string();
    move |source| StateError {
        action,
        path,
        source,
    }
}

/// A name as every file system takes it, and no other name has it: what is not plain is written `%2F`, and what is too
/// long ends in a hash of the whole.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for (at, byte) in name.bytes().enumerate() {
        // a leading dot would hide the file, and '..' leave the folder
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if plain || (byte == b'.' && at > 0) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    if escaped.len() > NAME_MAX {
        escaped.truncate(NAME_MAX - 17);
        escaped.push_str(&format!("~{:016x}", fnv1a(name)));
    }
    escaped
}

/// A hash that is the same in every version.
fn fnv1a(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    text.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests;
