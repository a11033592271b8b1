//! The repository's rules, as far as a program can check them. Each rule looks at one file and answers what is wrong.
//!
//! `cargo xtask tidy` runs them, and so does `cargo test`, through the test at the end.

mod rules;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// A file of the repository.
pub(crate) struct File {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its path from the workspace's folder, with `/`.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
}

/// A rule answers one line for everything in the file that breaks it.
type Rule = fn(&File) -> Vec<String>;

const RULES: &[Rule] = &[
    rules::nothing_unfinished,
    rules::files_are_short,
    rules::crates_say_what_they_are,
    rules::crates_take_the_lints,
    rules::options_are_described,
    rules::links_lead_somewhere,
    rules::crates_come_from_crates_io,
    rules::sql_tests_say_what_they_are_about,
];

/// Checks every file below `root`.
///
/// # Errors
/// Lists everything that breaks a rule.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut problems = Vec::new();
    for file in files(root)? {
        for rule in RULES {
            let found = rule(&file);
            problems.extend(
                found
                    .iter()
                    .map(|problem| format!("{}{problem}", file.name)),
            );
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    bail!("the repository is not tidy:\n{}", problems.join("\n"))
}

/// All text files, without what is generated, in the order of their names.
fn files(root: &Path) -> Result<Vec<File>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                if !matches!(&*name, "target" | ".git" | "node_modules") {
                    folders.push(path);
                }
            } else if let Ok(text) = fs::read_to_string(&path) {
                let name = path.strip_prefix(root).unwrap_or(&path);
                let name = name.to_string_lossy().replace('\\', "/");
                found.push(File { path, name, text });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

#[cfg(test)]
mod tests;
