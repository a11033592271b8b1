//! Text that nobody should write: an error, never a panic, and in bounded time.

use futures::executor::block_on;
use headwater_planner::PlanError;

use crate::fake::{plan, planner};

/// Pieces from which mangled statements are put together.
const PIECES: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "INSERT INTO",
    "CREATE TABLE",
    "CREATE VIEW",
    "WITH (",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ";",
    ".",
    "'",
    "\"",
    "->",
    "->>",
    "?",
    "::",
    "<",
    ">",
    "=",
    "*",
    "-",
    "--",
    "/*",
    "AS",
    "AND",
    "OR",
    "NOT",
    "CASE",
    "WHEN",
    "THEN",
    "END",
    "CAST(",
    "unnest(",
    "NULL",
    "METADATA FROM 'x'",
    "GENERATED ALWAYS AS (",
    "STORED",
    "STRUCT<",
    "TEXT[]",
    "INTERVAL '5'",
    "readings",
    "others",
    "alerts",
    "device",
    "temperature",
    "tags",
    "place",
    "data",
    "ts",
    "'$.a'",
    "1",
    "1e999",
    "99999999999999999999",
    "UNION ALL",
    "EXPLAIN",
    "\u{0}",
    "ü",
    "💧",
    "x'zz'",
    "connector = 'fake'",
    "type = 'sink'",
    "topic = 't'",
    "now()",
    "IN",
    "BETWEEN",
    "LIKE",
    "IS",
];

/// Statements that are well formed before they are mangled.
const SEEDS: &[&str] = &[
    "INSERT INTO alerts SELECT device, temperature * 2 FROM readings WHERE temperature > 70 AND data ->> 'a' = 'b'",
    "CREATE TABLE t (a TEXT NOT NULL METADATA FROM 'topic', b INT GENERATED ALWAYS AS (length(a)) STORED, c STRUCT<x INT[]>) WITH (connector = 'fake', type = 'source', topic = 'x', options.deep = 'y')",
    "SELECT device, unnest(tags) AS tag, place['floor'] FROM readings UNION ALL SELECT device, device, 1 FROM others",
    "WITH a AS (SELECT data -> 'x' AS x FROM readings) SELECT CASE WHEN x IS NULL THEN 1 ELSE 2 END FROM a",
];

/// An error's place must lie within the text that it speaks of.
fn check(sql: &str, error: &PlanError) {
    if let Some(location) = error.location {
        let lines = sql.split('\n').count();
        let line = usize::try_from(location.line).unwrap();
        assert!((1..=lines).contains(&line), "{location:?} in {sql:?}");
    }
    assert!(!error.message.is_empty());
    assert!(!error.message.contains("this is a bug"), "{sql:?}");
    error.render("x.sql", sql);
}

/// A sequence that looks random and is the same in every run (splitmix64), so that a failure can be had again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    fn piece(&mut self) -> &'static str {
        PIECES[self.below(PIECES.len())]
    }
}

fn plan_and_check(sql: &str) {
    if let Err(error) = plan(sql) {
        check(sql, &error);
    }
}

#[test]
fn pieces_in_any_order() {
    let mut dice = Dice(1);
    for _ in 0..150 {
        let pieces: Vec<_> = (0..dice.below(25)).map(|_| dice.piece()).collect();
        plan_and_check(&pieces.join(" "));
    }
}

#[test]
fn statements_with_pieces_exchanged() {
    let mut dice = Dice(2);
    for round in 0..200 {
        let mut words: Vec<&str> = SEEDS[round % SEEDS.len()].split(' ').collect();
        for _ in 0..=dice.below(3) {
            let index = dice.below(words.len());
            words[index] = dice.piece();
        }
        plan_and_check(&words.join(" "));
    }
}

#[test]
fn statements_cut_anywhere() {
    for seed in SEEDS {
        for cut in (0..seed.len()).step_by(3) {
            plan_and_check(&seed[..cut]);
        }
    }
}

/// Every way of nesting, far beyond what anybody writes.
#[test]
fn deep_nesting_is_an_error() {
    let nested = |open: &str, inner: &str, close: &str| {
        let depth = 20_000;
        let (open, close) = (open.repeat(depth), close.repeat(depth));
        format!("SELECT {open}{inner}{close} FROM readings")
    };
    let mut texts = vec![
        nested("(", "1", ")"),
        nested("NOT ", "true", ""),
        nested("- ", "1", ""),
        nested("abs(", "1", ")"),
        nested("CASE WHEN true THEN ", "1", " END"),
        nested("CAST(", "1", " AS INT)"),
        nested("[", "1", "]"),
        nested("", "1", " + 1"),
        nested("", "true", " AND true"),
        nested("", "data", " -> 'a'"),
        nested("", "data", "['a']"),
        nested("", "1", "::INT"),
        nested("", "device", ".a"),
    ];
    let many = "SELECT device FROM others UNION ALL ".repeat(20_000);
    texts.push(format!("{many}SELECT device FROM others"));
    let subqueries = "SELECT * FROM (".repeat(20_000);
    texts.push(format!("{subqueries}SELECT 1"));
    let types = "ARRAY<".repeat(20_000);
    texts.push(format!(
        "CREATE TABLE t (a {types}INT) WITH (connector = 'fake')"
    ));
    let structs = "STRUCT<a ".repeat(20_000);
    texts.push(format!(
        "CREATE TABLE t (a {structs}INT) WITH (connector = 'fake')"
    ));
    texts.push(format!("{}SELECT 1", "EXPLAIN ".repeat(20_000)));
    for sql in texts {
        let start: String = sql.chars().take(60).collect();
        match plan(&sql) {
            Ok(_) => panic!("planned: {start}…"),
            Err(error) => check(&sql, &error),
        }
    }
}

/// What is long but not deep is planned.
#[test]
fn long_lists_are_planned() {
    let list: Vec<_> = (0..10_000).map(|n| n.to_string()).collect();
    let list = list.join(", ");
    let sql = format!("SELECT device FROM readings WHERE temperature IN ({list})");
    plan(&sql).unwrap();
    let terms = " + temperature".repeat(300);
    plan(&format!("SELECT temperature{terms} AS t FROM readings")).unwrap();
    // As deep as the parser lets through: refused, but not before everything has recursed over it.
    let terms = " + temperature".repeat(4_900);
    let sql = format!("SELECT temperature{terms} AS t FROM readings");
    check(&sql, &plan(&sql).unwrap_err());
}

#[test]
fn a_text_that_failed_leaves_the_planner_usable() {
    let mut planner = planner();
    block_on(planner.plan("CREATE VIEW v AS SELECT device FROM others; SELECT nothing FROM v"))
        .unwrap_err();
    block_on(planner.plan("SELECT device FROM v")).unwrap();
}
