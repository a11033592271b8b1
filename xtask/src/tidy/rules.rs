//! The rules, one function each.

use serde_json::Value;

use super::File;

/// Files that may be longer than [`LINES_MAX`], each with a reason.
const LONG_FILES: &[(&str, &str)] = &[];
const LINES_MAX: usize = 500;
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

impl File {
    fn is_rust(&self) -> bool {
        self.name.ends_with(".rs")
    }

    fn is_test(&self) -> bool {
        let mut parts = self.name.split('/');
        parts.any(|part| matches!(part, "tests" | "benches" | "tests.rs"))
    }
}

/// `:<line>: what`, for a byte of the text.
fn at(text: &str, offset: usize, what: &str) -> String {
    let line = text[..offset].matches('\n').count() + 1;
    format!(":{line}: {what}")
}

/// What is not done has no place in the code: it stands in an issue.
pub(super) fn nothing_unfinished(file: &File) -> Vec<String> {
    // Put together, so that this file does not break its own rule.
    let marks = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("FIX", "ME"),
    ];
    if !file.is_rust() {
        return Vec::new();
    }
    let find = |mark: &str| -> Vec<String> {
        let found = file.text.match_indices(mark);
        found
            .map(|(offset, mark)| at(&file.text, offset, &format!("'{mark}'")))
            .collect()
    };
    marks.into_iter().flat_map(find).collect()
}

/// A file that does not fit into a head is two files. Tests at the end of a file do not count.
pub(super) fn files_are_short(file: &File) -> Vec<String> {
    let allowed = LONG_FILES.iter().any(|(name, _reason)| *name == file.name);
    if !file.is_rust() || file.is_test() || allowed {
        return Vec::new();
    }
    let code = file.text.split("\n#[cfg(test)]\nmod tests {").next();
    let lines = code.unwrap_or_default().lines().count();
    match lines > LINES_MAX {
        true => vec![format!(": {lines} lines, more than {LINES_MAX}: divide it")],
        false => Vec::new(),
    }
}

/// Every crate opens with an essay of its own, or has a README.
pub(super) fn crates_say_what_they_are(file: &File) -> Vec<String> {
    let is_root = ["src/lib.rs", "src/main.rs"]
        .iter()
        .any(|root| file.name.ends_with(root));
    let crate_dir = file.path.parent().and_then(|src| src.parent());
    let has_readme = crate_dir.is_some_and(|dir| dir.join("README.md").exists());
    match is_root && !has_readme && !file.text.starts_with("//!") {
        true => vec![": must begin with `//!` and say what the crate is for".to_owned()],
        false => Vec::new(),
    }
}

/// A crate that forgets the workspace's lints has none.
pub(super) fn crates_take_the_lints(file: &File) -> Vec<String> {
    let is_member = file.name.ends_with("/Cargo.toml") && file.text.contains("[package]");
    match is_member && !file.text.contains("[lints]\nworkspace = true") {
        true => vec![": must take the workspace's lints".to_owned()],
        false => Vec::new(),
    }
}

/// The schemas are the only description of the options, so every property has one.
pub(super) fn options_are_described(file: &File) -> Vec<String> {
    if !file.name.starts_with("schemas/") || !file.name.ends_with(".json") {
        return Vec::new();
    }
    let mut problems = Vec::new();
    match serde_json::from_str(&file.text) {
        Ok(schema) => undescribed(&schema, "", &mut problems),
        Err(error) => problems.push(format!(": {error}")),
    }
    problems
}

fn undescribed(schema: &Value, path: &str, problems: &mut Vec<String>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        let path = format!("{path}/{name}");
        let text = property.get("description").and_then(Value::as_str);
        if text.unwrap_or_default().trim().is_empty() && property.get("$ref").is_none() {
            problems.push(format!(": property '{path}' has no description"));
        }
        undescribed(property, &path, problems);
    }
    for keyword in ["oneOf", "anyOf", "allOf"] {
        let variants = schema.get(keyword).and_then(Value::as_array);
        for variant in variants.into_iter().flatten() {
            undescribed(variant, path, problems);
        }
    }
    for keyword in ["$defs", "definitions"] {
        let definitions = schema.get(keyword).and_then(Value::as_object);
        for (name, definition) in definitions.into_iter().flatten() {
            undescribed(definition, &format!("{path}/{keyword}/{name}"), problems);
        }
    }
}

/// Links of Markdown files to files of the repository; those to other places are not followed.
pub(super) fn links_lead_somewhere(file: &File) -> Vec<String> {
    if !file.name.ends_with(".md") {
        return Vec::new();
    }
    let mut problems = Vec::new();
    let mut in_code = false;
    for (index, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        let targets = line
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|_| !in_code) {
            let path = target.split(['#', ' ']).next().unwrap_or_default();
            let is_elsewhere = path.contains(':') || path.is_empty();
            let here = file.path.with_file_name("");
            if !is_elsewhere && !here.join(path).exists() {
                problems.push(format!(":{}: there is no '{path}'", index + 1));
            }
        }
    }
    problems
}

/// Dependencies come from crates.io, and nobody's mirror or private registry is written down.
pub(super) fn crates_come_from_crates_io(file: &File) -> Vec<String> {
    let name = file.name.rsplit('/').next().unwrap_or_default();
    let mut problems = Vec::new();
    for (offset, _) in file
        .text
        .match_indices("\nsource = \"")
        .filter(|_| name == "Cargo.lock")
    {
        if !file.text[offset..].starts_with(&format!("\nsource = \"{CRATES_IO}\"")) {
            problems.push(at(
                &file.text,
                offset + 1,
                "a crate that is not from crates.io",
            ));
        }
    }
    let configures = file.name.starts_with(".cargo/")
        || file.name.starts_with(".ci/")
        || name.contains("Dockerfile")
        || name.ends_with(".toml");

    let marks = [
        "[source.",
        "[registries",
        "registry = ",
        "registry-index",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
    ];
    for mark in marks.into_iter().filter(|_| configures) {
        for (offset, _) in file.text.match_indices(mark) {
            problems.push(at(&file.text, offset, "a package registry is named"));
        }
    }
    problems
}

/// Every SQL test opens with a comment that says what it is about.
pub(super) fn sql_tests_say_what_they_are_about(file: &File) -> Vec<String> {
    match file.name.ends_with(".slt") && !file.text.starts_with("# ") {
        true => vec![":1: must begin with a comment that says what the case is about".to_owned()],
        false => Vec::new(),
    }
}
