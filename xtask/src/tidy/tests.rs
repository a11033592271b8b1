#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use super::*;

#[test]
fn the_repository_is_tidy() {
    if let Err(problems) = check(&crate::root()) {
        panic!("{problems}");
    }
}

/// What the rules say of a repository with this one file.
fn problems(name: &str, text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    check(dir.path()).map_or_else(|error| error.to_string(), |()| String::new())
}

#[test]
fn every_rule_finds_what_it_is_for() {
    let long = "fn f() {}\n".repeat(501);
    let unfinished = format!("//! Doc.\nfn f() {{ {}!() }}\n", concat!("to", "do"));
    let lock = "[[package]]\nname = \"a\"\nsource = \"git+https://example.org/a\"\n";
    let schema = r#"{"properties": {"tls": {"description": "x", "properties": {"ca": {}}}}}"#;
    let cases = [
        ("src/x.rs", unfinished.as_str(), "src/x.rs:2: 'unfinished'"),
        ("src/x.rs", long.as_str(), "501 lines, more than 500"),
        (
            "crates/a/src/lib.rs",
            "fn f() {}\n",
            "must begin with `//!`",
        ),
        (
            "crates/a/Cargo.toml",
            "[package]\n",
            "must take the workspace's lints",
        ),
        (
            "schemas/a/table.json",
            schema,
            "property '/tls/ca' has no description",
        ),
        ("schemas/a/table.json", "{", "EOF while parsing"),
        (
            "docs/a.md",
            "see\n[b](b.md#c)\n",
            "docs/a.md:2: there is no 'b.md'",
        ),
        (
            "Cargo.lock",
            lock,
            "Cargo.lock:3: a crate that is not from crates.io",
        ),
        (
            ".cargo/config.toml",
            "[source.crates-io]\n",
            "a package registry is named",
        ),
        (
            "sql-tests/a.slt",
            "statement ok\nx\n",
            "must begin with a comment",
        ),
    ];
    for (name, text, expect) in cases {
        let problems = problems(name, text);
        let problems = problems.replace(concat!("to", "do!("), "unfinished");
        assert!(problems.contains(expect), "{name}: {problems}");
    }
}

#[test]
fn what_is_in_order_is_left_alone() {
    let tests_do_not_count = format!(
        "//! Doc.\n#[cfg(test)]\nmod tests {{\n{}}}\n",
        "//\n".repeat(600)
    );
    let cases = [
        ("src/x.rs", tests_do_not_count.as_str()),
        ("tests/x.rs", &"//\n".repeat(600)),
        (
            "a.md",
            "[a](a.md) [b](https://example.org/b.md) [c](#c)\n```\n[d](d.md)\n```\n",
        ),
        ("Cargo.toml", "[workspace]\nmembers = []\n"),
    ];
    for (name, text) in cases {
        assert_eq!(problems(name, text), "", "{name}");
    }
}
