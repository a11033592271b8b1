//! What becomes of aggregates without a window and of tables of changes, and what they cannot be used for.

use crate::fake::{dataflow, error};

const CHANGES: &str = "
CREATE TABLE changes (device TEXT, n BIGINT)
WITH (connector = 'formatted', type = 'source', topic = 'changes', format = 'debezium_json');
CREATE TABLE told (device TEXT, n BIGINT)
WITH (connector = 'formatted', type = 'sink', topic = 'told', format = 'debezium_json');
CREATE TABLE plain (device TEXT, n BIGINT)
WITH (connector = 'formatted', type = 'sink', topic = 'plain', format = 'json');
CREATE VIEW counts AS SELECT device, count(*) AS n FROM readings GROUP BY device;
";

fn planned(query: &str) -> String {
    dataflow(&format!("{CHANGES}{query}"))
}

/// Its lines count from 10.
fn refused(query: &str) -> String {
    error(&format!("{CHANGES}{query}"))
}

#[test]
fn an_aggregate_by_key() {
    insta::assert_snapshot!(planned("INSERT INTO told SELECT device, n + 1 FROM counts WHERE n > 10"), @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_told_0 <- source_readings
      keep device
      -> device TEXT NOT NULL
    watermark_told_0: watermark of 'readings' <- chain_told_0
      -> device TEXT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    exchange_told_0: exchange by device <- watermark_told_0
      -> device TEXT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    aggregate_told_0: updating aggregate <- exchange_told_0
      -> device TEXT NOT NULL, count(Int64(1)) BIGINT NOT NULL, __headwater_change BIGINT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    chain_told_1 <- aggregate_told_0
      project device, count(Int64(1)), __headwater_change
      filter count(Int64(1)) > 10
      project device, count(Int64(1)) + 1 AS n, __headwater_change
      -> device TEXT NOT NULL, n BIGINT NOT NULL, __headwater_change BIGINT NOT NULL
    sink_told: write formatted 'told' (told) <- chain_told_1
      -> device TEXT NOT NULL, n BIGINT NOT NULL, __headwater_change BIGINT NOT NULL
    "#);
}

#[test]
fn an_aggregate_of_changes_knows_what_is_taken_back() {
    let query = "SELECT max(n) FILTER (WHERE device <> 'x') AS most, count(DISTINCT device) AS devices FROM changes";
    insta::assert_snapshot!(planned(query), @r#"
    source_changes: read formatted 'changes' (changes)
      -> device TEXT, n BIGINT, __headwater_change BIGINT NOT NULL
    watermark_preview_0_0: watermark of 'changes' <- source_changes
      -> device TEXT, n BIGINT, __headwater_change BIGINT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    chain_preview_0_0 <- watermark_preview_0_0
      project device, n, device != x, __headwater_change, __headwater_time
      -> device TEXT, n BIGINT, device != x BOOLEAN, __headwater_change BIGINT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    exchange_preview_0_0: all to one worker <- chain_preview_0_0
      -> device TEXT, n BIGINT, device != x BOOLEAN, __headwater_change BIGINT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    aggregate_preview_0_0: updating aggregate <- exchange_preview_0_0
      -> max(changes.n) FILTER (WHERE changes.device != Utf8("x")) BIGINT, count(DISTINCT changes.device) BIGINT NOT NULL, __headwater_change BIGINT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    chain_preview_0_1 <- aggregate_preview_0_0
      project max(changes.n) FILTER (WHERE changes.device != Utf8("x")) AS most, count(DISTINCT changes.device) AS devices, __headwater_change
      -> most BIGINT, devices BIGINT NOT NULL, __headwater_change BIGINT NOT NULL
    preview_0: show <- chain_preview_0_1
      -> most BIGINT, devices BIGINT NOT NULL, __headwater_change BIGINT NOT NULL
    "#);
}

#[test]
fn distinct_rows_of_a_stream_stay() {
    insta::assert_snapshot!(planned("INSERT INTO plain SELECT DISTINCT device, 1 FROM others"), @r#"
    source_others: read fake 'others' (others)
      -> device TEXT, temperature FLOAT
    chain_plain_0 <- source_others
      keep device
      -> device TEXT
    watermark_plain_0: watermark of 'others' <- chain_plain_0
      -> device TEXT, __headwater_time TIMESTAMP NOT NULL
    chain_plain_1 <- watermark_plain_0
      project device, 1 AS Int64(1), __headwater_time
      -> device TEXT, Int64(1) BIGINT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    exchange_plain_0: exchange by device, Int64(1) <- chain_plain_1
      -> device TEXT, Int64(1) BIGINT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    aggregate_plain_0: updating aggregate <- exchange_plain_0
      -> device TEXT, Int64(1) BIGINT NOT NULL, __headwater_change BIGINT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    chain_plain_2 <- aggregate_plain_0
      project device, Int64(1) AS n
      -> device TEXT, n BIGINT NOT NULL
    sink_plain: write formatted 'plain' (plain) <- chain_plain_2
      -> device TEXT, n BIGINT NOT NULL
    "#);
}

#[test]
fn rows_that_stay_are_new_rows_where_changes_are_told() {
    insta::assert_snapshot!(planned("INSERT INTO told SELECT device, 1 FROM others"), @r#"
    source_others: read fake 'others' (others)
      -> device TEXT, temperature FLOAT
    chain_told_0 <- source_others
      keep device
      project device, 1 AS n, 1 AS __headwater_change
      -> device TEXT, n BIGINT NOT NULL, __headwater_change BIGINT NOT NULL
    sink_told: write formatted 'told' (told) <- chain_told_0
      -> device TEXT, n BIGINT NOT NULL, __headwater_change BIGINT NOT NULL
    "#);
    insta::assert_snapshot!(planned("SELECT * FROM counts UNION ALL SELECT device, 0 FROM others"), @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_preview_0_0 <- source_readings
      keep device
      -> device TEXT NOT NULL
    watermark_preview_0_0: watermark of 'readings' <- chain_preview_0_0
      -> device TEXT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    exchange_preview_0_0: exchange by device <- watermark_preview_0_0
      -> device TEXT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    aggregate_preview_0_0: updating aggregate <- exchange_preview_0_0
      -> device TEXT NOT NULL, count(Int64(1)) BIGINT NOT NULL, __headwater_change BIGINT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    chain_preview_0_1 <- aggregate_preview_0_0
      project CAST(device AS Utf8) AS device, count(Int64(1)) AS n, __headwater_change
      -> device TEXT, n BIGINT NOT NULL, __headwater_change BIGINT NOT NULL
    source_others: read fake 'others' (others)
      -> device TEXT, temperature FLOAT
    chain_preview_0_2 <- source_others
      keep device
      -> device TEXT
    watermark_preview_0_1: watermark of 'others' <- chain_preview_0_2
      -> device TEXT, __headwater_time TIMESTAMP NOT NULL
    chain_preview_0_3 <- watermark_preview_0_1
      project device, 0 AS n, 1 AS __headwater_change
      -> device TEXT, n BIGINT NOT NULL, __headwater_change BIGINT NOT NULL
    union_preview_0_0: union <- chain_preview_0_1, chain_preview_0_3
      -> device TEXT, n BIGINT NOT NULL, __headwater_change BIGINT NOT NULL
    preview_0: show <- union_preview_0_0
      -> device TEXT, n BIGINT NOT NULL, __headwater_change BIGINT NOT NULL
    "#);
}

#[test]
fn changes_are_passed_on_as_they_are() {
    insta::assert_snapshot!(planned("INSERT INTO told (device) SELECT upper(device) FROM changes WHERE n > 0"), @r#"
    source_changes: read formatted 'changes' (changes)
      -> device TEXT, n BIGINT, __headwater_change BIGINT NOT NULL
    watermark_told_0: watermark of 'changes' <- source_changes
      -> device TEXT, n BIGINT, __headwater_change BIGINT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    chain_told_0 <- watermark_told_0
      project device, n, __headwater_change
      filter n > 0
      project upper(device) AS device, NULL AS n, __headwater_change
      -> device TEXT, n BIGINT, __headwater_change BIGINT NOT NULL
    sink_told: write formatted 'told' (told) <- chain_told_0
      -> device TEXT, n BIGINT, __headwater_change BIGINT NOT NULL
    "#);
}

#[test]
fn sinks_of_rows_that_stay() {
    insta::assert_snapshot!(refused("INSERT INTO plain SELECT device, count(*) FROM readings GROUP BY device"), @r#"
    error: table 'plain' takes rows that stay, and the results of the query change: an aggregate without a window or a table of 'debezium_json' takes rows back
     --> test.sql:9:13
      |
    9 | INSERT INTO plain SELECT device, count(*) FROM readings GROUP BY device
      |             ^
      = hint: write the changes, with format = 'debezium_json' in the sink, or group by a window, for example GROUP BY tumble(INTERVAL '1 minute')
    "#);
    insta::assert_snapshot!(refused("INSERT INTO plain\nSELECT * FROM changes"), @r#"
    error: table 'plain' takes rows that stay, and the results of the query change: an aggregate without a window or a table of 'debezium_json' takes rows back
     --> test.sql:9:13
      |
    9 | INSERT INTO plain
      |             ^
      = hint: write the changes, with format = 'debezium_json' in the sink, or group by a window, for example GROUP BY tumble(INTERVAL '1 minute')
    "#);
    insta::assert_snapshot!(refused("CREATE TABLE late WITH (connector = 'fake', type = 'sink', topic = 't') AS SELECT count(*) AS n FROM readings"), @r#"
    error: table 'late' takes rows that stay, and the results of the query change: an aggregate without a window or a table of 'debezium_json' takes rows back
     --> test.sql:9:14
      |
    9 | CREATE TABLE late WITH (connector = 'fake', type = 'sink', topic = 't') AS SELECT count(*) AS n FROM readings
      |              ^
      = hint: write the changes, with format = 'debezium_json' in the sink, or group by a window, for example GROUP BY tumble(INTERVAL '1 minute')
    "#);
    insta::assert_snapshot!(refused("CREATE TABLE m AS SELECT DISTINCT n FROM counts;\nINSERT INTO plain SELECT '', n FROM m"), @r#"
    error: table 'plain' takes rows that stay, and the results of the query change: an aggregate without a window or a table of 'debezium_json' takes rows back
     --> test.sql:10:13
       |
    10 | INSERT INTO plain SELECT '', n FROM m
       |             ^
      = hint: write the changes, with format = 'debezium_json' in the sink, or group by a window, for example GROUP BY tumble(INTERVAL '1 minute')
    "#);
}

#[test]
fn windows_over_changes() {
    insta::assert_snapshot!(refused("SELECT count(*) FROM counts GROUP BY tumble(INTERVAL '1 minute')"), @r#"
    error: a window takes rows that stay, and these change: an aggregate without a window or a table of 'debezium_json' takes rows back
     --> test.sql:9:38
      |
    9 | SELECT count(*) FROM counts GROUP BY tumble(INTERVAL '1 minute')
      |                                      ^
      = hint: group the rows below by a window, for example GROUP BY tumble(INTERVAL '1 minute')
    "#);
    insta::assert_snapshot!(refused("SELECT session(INTERVAL '1 minute') AS w FROM changes GROUP BY w"), @r#"
    error: a window takes rows that stay, and these change: an aggregate without a window or a table of 'debezium_json' takes rows back
     --> test.sql:9:8
      |
    9 | SELECT session(INTERVAL '1 minute') AS w FROM changes GROUP BY w
      |        ^
      = hint: group the rows below by a window, for example GROUP BY tumble(INTERVAL '1 minute')
    "#);
}

#[test]
fn joins_of_changes() {
    insta::assert_snapshot!(refused("SELECT r.device FROM readings AS r JOIN counts AS c ON r.device = c.device AND c.n > random()"), @"
    error: 'random' gives another value each time, and the rows here change: one that is taken back must be equal to the one that was sent
     --> test.sql:9:86
      |
    9 | SELECT r.device FROM readings AS r JOIN counts AS c ON r.device = c.device AND c.n > random()
      |                                                                                      ^
    ");
    insta::assert_snapshot!(refused("SELECT r.device FROM changes AS c\nLEFT JOIN readings AS r ON r.device = c.device AND c.device > 'k'"), @"
    error: beside equal columns, an outer join without windows looks only at columns of the side whose rows may be missing
     --> test.sql:10:6
       |
    10 | LEFT JOIN readings AS r ON r.device = c.device AND c.device > 'k'
       |      ^
      = hint: put the condition into WHERE if it may leave rows out, or into a subquery of the side that it is about
    ");
}

#[test]
fn functions_over_changes() {
    insta::assert_snapshot!(refused("SELECT row_number() OVER (PARTITION BY device ORDER BY n) FROM counts"), @r#"
    error: OVER takes rows that stay, and these change: an aggregate without a window or a table of 'debezium_json' takes rows back
     --> test.sql:9:8
      |
    9 | SELECT row_number() OVER (PARTITION BY device ORDER BY n) FROM counts
      |        ^
      = hint: group the rows below by a window, for example GROUP BY tumble(INTERVAL '1 minute')
    "#);
}

#[test]
fn values_that_differ_each_time() {
    insta::assert_snapshot!(refused("SELECT device FROM counts WHERE n > 10 * random()"), @r#"
    error: 'random' gives another value each time, and the rows here change: one that is taken back must be equal to the one that was sent
     --> test.sql:9:42
      |
    9 | SELECT device FROM counts WHERE n > 10 * random()
      |                                          ^
    "#);
    insta::assert_snapshot!(refused("SELECT device, now() FROM changes"), @r#"
    error: 'now' gives another value each time, and the rows here change: one that is taken back must be equal to the one that was sent
     --> test.sql:9:16
      |
    9 | SELECT device, now() FROM changes
      |                ^
    "#);
    insta::assert_snapshot!(refused("SELECT count(*) FROM changes GROUP BY random() > 0.5"), @r#"
    error: 'random' gives another value each time, and the rows here change: one that is taken back must be equal to the one that was sent
     --> test.sql:9:39
      |
    9 | SELECT count(*) FROM changes GROUP BY random() > 0.5
      |                                       ^
    "#);
    insta::assert_snapshot!(refused("SELECT sum(n * random()) FROM changes"), @r#"
    error: 'random' gives another value each time, and the rows here change: one that is taken back must be equal to the one that was sent
     --> test.sql:9:16
      |
    9 | SELECT sum(n * random()) FROM changes
      |                ^
    "#);
}

#[test]
fn what_distinct_cannot_do() {
    insta::assert_snapshot!(refused("SELECT DISTINCT ON (device) device, n FROM counts"), @r#"
    error: DISTINCT ON takes the first of rows that are in an order, which those of a stream are not
     --> test.sql:9:8
      |
    9 | SELECT DISTINCT ON (device) device, n FROM counts
      |        ^
    "#);
}

#[test]
fn a_condition_without_columns_stays_above_the_aggregate() {
    insta::assert_snapshot!(planned("SELECT count(*) AS n FROM others GROUP BY tumble(INTERVAL '1 minute') HAVING random() < 0.5"), @r#"
    source_others: read fake 'others' (others)
      -> device TEXT, temperature FLOAT
    chain_preview_0_0 <- source_others
      keep no column
      -> no columns
    watermark_preview_0_0: watermark of 'others' <- chain_preview_0_0
      -> __headwater_time TIMESTAMP NOT NULL
    partial_preview_0_0: partial tumble 60s <- watermark_preview_0_0
      -> __headwater_time TIMESTAMP NOT NULL
    exchange_preview_0_0: all to one worker <- partial_preview_0_0
      -> __headwater_time TIMESTAMP NOT NULL
    window_preview_0_0: tumble 60s <- exchange_preview_0_0
      -> tumble(60s) STRUCT<start TIMESTAMP, end TIMESTAMP> NOT NULL, count(Int64(1)) BIGINT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    chain_preview_0_1 <- window_preview_0_0
      project count(Int64(1)), __headwater_time
      filter random() < 0.5 OR __headwater_time < -9223372036854775808
      project count(Int64(1)) AS n
      -> n BIGINT NOT NULL
    preview_0: show <- chain_preview_0_1
      -> n BIGINT NOT NULL
    "#);
}
