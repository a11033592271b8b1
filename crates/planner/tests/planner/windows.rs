//! What windows of event time become.

use crate::fake::{dataflow, error};

const TIMED: &str = r#"
CREATE TABLE timed (
  device TEXT NOT NULL,
  temperature DOUBLE,
  ts TIMESTAMP NOT NULL,
  WATERMARK FOR ts AS (ts - INTERVAL '5 seconds')
) WITH (connector = 'fake', type = 'source', topic = 'timed');
"#;

fn timed(query: &str) -> String {
    dataflow(&format!("{TIMED}{query}")).to_string()
}

#[test]
fn a_tumbling_window() {
    let plan = timed(
        "SELECT device, tumble(INTERVAL '1 minute') AS w, avg(temperature) AS mean FROM timed GROUP BY 1, 2",
    );
    insta::assert_snapshot!(plan, @r#"
    source_timed: read fake 'timed' (timed)
      -> device TEXT NOT NULL, temperature DOUBLE, ts TIMESTAMP NOT NULL
    watermark_preview_0_0: watermark of 'timed' <- source_timed
      -> device TEXT NOT NULL, temperature DOUBLE, ts TIMESTAMP NOT NULL, __headwater_time TIMESTAMP NOT NULL
    chain_preview_0_0 <- watermark_preview_0_0
      project device, temperature, __headwater_time
      -> device TEXT NOT NULL, temperature DOUBLE, __headwater_time TIMESTAMP NOT NULL
    partial_preview_0_0: partial tumble 60s by device <- chain_preview_0_0
      -> device TEXT NOT NULL, temperature DOUBLE, __headwater_time TIMESTAMP NOT NULL
    exchange_preview_0_0: exchange by device <- partial_preview_0_0
      -> device TEXT NOT NULL, temperature DOUBLE, __headwater_time TIMESTAMP NOT NULL
    window_preview_0_0: tumble 60s by device <- exchange_preview_0_0
      -> tumble(60s) STRUCT<start TIMESTAMP, end TIMESTAMP> NOT NULL, device TEXT NOT NULL, avg(timed.temperature) DOUBLE, __headwater_time TIMESTAMP NOT NULL
    chain_preview_0_1 <- window_preview_0_0
      project device, tumble(60s) AS w, avg(timed.temperature) AS mean
      -> device TEXT NOT NULL, w STRUCT<start TIMESTAMP, end TIMESTAMP> NOT NULL, mean DOUBLE
    preview_0: show <- chain_preview_0_1
      -> device TEXT NOT NULL, w STRUCT<start TIMESTAMP, end TIMESTAMP> NOT NULL, mean DOUBLE
    "#);
}

#[test]
fn the_time_of_arrival_if_no_other_is_declared() {
    let plan = timed(
        "SELECT count(*) AS n FROM readings GROUP BY hop(INTERVAL '1 second', INTERVAL '10 seconds')",
    );
    insta::assert_snapshot!(plan, @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_preview_0_0 <- source_readings
      keep no column
      -> no columns
    watermark_preview_0_0: watermark of 'readings' <- chain_preview_0_0
      -> __headwater_time TIMESTAMP NOT NULL
    partial_preview_0_0: partial hop 1s, 10s <- watermark_preview_0_0
      -> __headwater_time TIMESTAMP NOT NULL
    exchange_preview_0_0: all to one worker <- partial_preview_0_0
      -> __headwater_time TIMESTAMP NOT NULL
    window_preview_0_0: hop 1s, 10s <- exchange_preview_0_0
      -> hop(1s, 10s) STRUCT<start TIMESTAMP, end TIMESTAMP> NOT NULL, count(Int64(1)) BIGINT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    chain_preview_0_1 <- window_preview_0_0
      project count(Int64(1)) AS n
      -> n BIGINT NOT NULL
    preview_0: show <- chain_preview_0_1
      -> n BIGINT NOT NULL
    "#);
}

#[test]
fn a_window_that_is_named_by_its_alias() {
    let plan = timed(
        "INSERT INTO alerts SELECT device, mean FROM (SELECT device, session(INTERVAL '1 hour') AS window, avg(temperature) FILTER (WHERE temperature > 0) AS mean, count(DISTINCT temperature) FROM timed WHERE temperature > 10 GROUP BY window, device HAVING count(*) > 2) WHERE mean > 70",
    );
    insta::assert_snapshot!(plan, @r#"
    source_timed: read fake 'timed' (timed)
      -> device TEXT NOT NULL, temperature DOUBLE, ts TIMESTAMP NOT NULL
    watermark_alerts_0: watermark of 'timed' <- source_timed
      -> device TEXT NOT NULL, temperature DOUBLE, ts TIMESTAMP NOT NULL, __headwater_time TIMESTAMP NOT NULL
    chain_alerts_0 <- watermark_alerts_0
      project device, temperature, __headwater_time
      filter temperature > 10
      project device, temperature, temperature > 0, __headwater_time
      -> device TEXT NOT NULL, temperature DOUBLE, temperature > 0 BOOLEAN, __headwater_time TIMESTAMP NOT NULL
    exchange_alerts_0: exchange by device <- chain_alerts_0
      -> device TEXT NOT NULL, temperature DOUBLE, temperature > 0 BOOLEAN, __headwater_time TIMESTAMP NOT NULL
    window_alerts_0: session 3600s by device <- exchange_alerts_0
      -> session(3600s) STRUCT<start TIMESTAMP, end TIMESTAMP> NOT NULL, device TEXT NOT NULL, avg(timed.temperature) FILTER (WHERE timed.temperature > Int64(0)) DOUBLE, count(DISTINCT timed.temperature) BIGINT NOT NULL, count(Int64(1)) BIGINT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    chain_alerts_1 <- window_alerts_0
      project device, avg(timed.temperature) FILTER (WHERE timed.temperature > Int64(0)), count(Int64(1))
      filter count(Int64(1)) > 2 AND avg(timed.temperature) FILTER (WHERE timed.temperature > Int64(0)) > 70
      project device, avg(timed.temperature) FILTER (WHERE timed.temperature > Int64(0)) AS temperature
      -> device TEXT NOT NULL, temperature DOUBLE
    sink_alerts: write fake 'alerts' (alerts) <- chain_alerts_1
      -> device TEXT NOT NULL, temperature DOUBLE
    "#);
}

#[test]
fn windows_of_windows() {
    let plan = timed(
        "SELECT w.start AS start, max(n) AS most FROM (SELECT device, tumble(INTERVAL '1 minute') AS w, count(*) AS n FROM timed GROUP BY device, w) GROUP BY w",
    );
    insta::assert_snapshot!(plan, @r#"
    source_timed: read fake 'timed' (timed)
      -> device TEXT NOT NULL, temperature DOUBLE, ts TIMESTAMP NOT NULL
    chain_preview_0_0 <- source_timed
      keep device, ts
      -> device TEXT NOT NULL, ts TIMESTAMP NOT NULL
    watermark_preview_0_0: watermark of 'timed' <- chain_preview_0_0
      -> device TEXT NOT NULL, ts TIMESTAMP NOT NULL, __headwater_time TIMESTAMP NOT NULL
    chain_preview_0_1 <- watermark_preview_0_0
      project device, __headwater_time
      -> device TEXT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    partial_preview_0_0: partial tumble 60s by device <- chain_preview_0_1
      -> device TEXT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    exchange_preview_0_0: exchange by device <- partial_preview_0_0
      -> device TEXT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    window_preview_0_0: tumble 60s by device <- exchange_preview_0_0
      -> tumble(60s) STRUCT<start TIMESTAMP, end TIMESTAMP> NOT NULL, device TEXT NOT NULL, count(Int64(1)) BIGINT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    chain_preview_0_2 <- window_preview_0_0
      project tumble(60s) AS w, count(Int64(1)) AS n, __headwater_time
      -> w STRUCT<start TIMESTAMP, end TIMESTAMP> NOT NULL, n BIGINT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    partial_preview_0_1: partial each window by w <- chain_preview_0_2
      -> w STRUCT<start TIMESTAMP, end TIMESTAMP> NOT NULL, n BIGINT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    exchange_preview_0_1: exchange by w <- partial_preview_0_1
      -> w STRUCT<start TIMESTAMP, end TIMESTAMP> NOT NULL, n BIGINT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    window_preview_0_1: each window by w <- exchange_preview_0_1
      -> w STRUCT<start TIMESTAMP, end TIMESTAMP> NOT NULL, max(n) BIGINT, __headwater_time TIMESTAMP NOT NULL
    chain_preview_0_3 <- window_preview_0_1
      project get_field(w, start) AS start, max(n) AS most
      -> start TIMESTAMP NOT NULL, most BIGINT
    preview_0: show <- chain_preview_0_3
      -> start TIMESTAMP NOT NULL, most BIGINT
    "#);
    let plan = timed(
        "SELECT tumble(INTERVAL '1 hour') AS hour, max(n) AS most FROM (SELECT device, tumble(INTERVAL '1 minute') AS w, count(*) AS n FROM timed GROUP BY device, w) GROUP BY hour",
    );
    insta::assert_snapshot!(plan, @r#"
    source_timed: read fake 'timed' (timed)
      -> device TEXT NOT NULL, temperature DOUBLE, ts TIMESTAMP NOT NULL
    chain_preview_0_0 <- source_timed
      keep device, ts
      -> device TEXT NOT NULL, ts TIMESTAMP NOT NULL
    watermark_preview_0_0: watermark of 'timed' <- chain_preview_0_0
      -> device TEXT NOT NULL, ts TIMESTAMP NOT NULL, __headwater_time TIMESTAMP NOT NULL
    chain_preview_0_1 <- watermark_preview_0_0
      project device, __headwater_time
      -> device TEXT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    partial_preview_0_0: partial tumble 60s by device <- chain_preview_0_1
      -> device TEXT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    exchange_preview_0_0: exchange by device <- partial_preview_0_0
      -> device TEXT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    window_preview_0_0: tumble 60s by device <- exchange_preview_0_0
      -> tumble(60s) STRUCT<start TIMESTAMP, end TIMESTAMP> NOT NULL, device TEXT NOT NULL, count(Int64(1)) BIGINT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    chain_preview_0_2 <- window_preview_0_0
      project count(Int64(1)) AS n, __headwater_time
      -> n BIGINT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    partial_preview_0_1: partial tumble 3600s <- chain_preview_0_2
      -> n BIGINT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    exchange_preview_0_1: all to one worker <- partial_preview_0_1
      -> n BIGINT NOT NULL, __headwater_time TIMESTAMP NOT NULL
    window_preview_0_1: tumble 3600s <- exchange_preview_0_1
      -> tumble(3600s) STRUCT<start TIMESTAMP, end TIMESTAMP> NOT NULL, max(n) BIGINT, __headwater_time TIMESTAMP NOT NULL
    chain_preview_0_3 <- window_preview_0_1
      project tumble(3600s) AS hour, max(n) AS most
      -> hour STRUCT<start TIMESTAMP, end TIMESTAMP> NOT NULL, most BIGINT
    preview_0: show <- chain_preview_0_3
      -> hour STRUCT<start TIMESTAMP, end TIMESTAMP> NOT NULL, most BIGINT
    "#);
}

#[test]
fn a_query_without_windows_needs_no_time() {
    let plan = timed("SELECT device FROM timed WHERE temperature > 1");
    insta::assert_snapshot!(plan, @r#"
    source_timed: read fake 'timed' (timed)
      -> device TEXT NOT NULL, temperature DOUBLE, ts TIMESTAMP NOT NULL
    chain_preview_0_0 <- source_timed
      keep device, temperature
      filter temperature > 1
      -> device TEXT NOT NULL
    preview_0: show <- chain_preview_0_0
      -> device TEXT NOT NULL
    "#);
}

#[test]
fn unions_and_views() {
    let plan = timed(
        "CREATE VIEW both AS SELECT device, temperature FROM timed UNION ALL SELECT device, temperature FROM others; SELECT device, max(temperature) AS m FROM both GROUP BY device, cumulate(INTERVAL '1 minute', INTERVAL '1 hour')",
    );
    insta::assert_snapshot!(plan, @r#"
    source_timed: read fake 'timed' (timed)
      -> device TEXT NOT NULL, temperature DOUBLE, ts TIMESTAMP NOT NULL
    watermark_preview_0_0: watermark of 'timed' <- source_timed
      -> device TEXT NOT NULL, temperature DOUBLE, ts TIMESTAMP NOT NULL, __headwater_time TIMESTAMP NOT NULL
    chain_preview_0_0 <- watermark_preview_0_0
      project CAST(device AS Utf8) AS device, temperature, __headwater_time
      -> device TEXT, temperature DOUBLE, __headwater_time TIMESTAMP NOT NULL
    source_others: read fake 'others' (others)
      -> device TEXT, temperature FLOAT
    watermark_preview_0_1: watermark of 'others' <- source_others
      -> device TEXT, temperature FLOAT, __headwater_time TIMESTAMP NOT NULL
    chain_preview_0_1 <- watermark_preview_0_1
      project device, CAST(temperature AS Float64) AS temperature, __headwater_time
      -> device TEXT, temperature DOUBLE, __headwater_time TIMESTAMP NOT NULL
    union_preview_0_0: union <- chain_preview_0_0, chain_preview_0_1
      -> device TEXT, temperature DOUBLE, __headwater_time TIMESTAMP NOT NULL
    partial_preview_0_0: partial cumulate 60s, 3600s by device <- union_preview_0_0
      -> device TEXT, temperature DOUBLE, __headwater_time TIMESTAMP NOT NULL
    exchange_preview_0_0: exchange by device <- partial_preview_0_0
      -> device TEXT, temperature DOUBLE, __headwater_time TIMESTAMP NOT NULL
    window_preview_0_0: cumulate 60s, 3600s by device <- exchange_preview_0_0
      -> cumulate(60s, 3600s) STRUCT<start TIMESTAMP, end TIMESTAMP> NOT NULL, device TEXT, max(both.temperature) DOUBLE, __headwater_time TIMESTAMP NOT NULL
    chain_preview_0_2 <- window_preview_0_0
      project device, max(both.temperature) AS m
      -> device TEXT, m DOUBLE
    preview_0: show <- chain_preview_0_2
      -> device TEXT, m DOUBLE
    "#);
}

#[test]
fn a_window_without_a_group() {
    let error = error("SELECT tumble(INTERVAL '1 minute') AS w FROM readings");
    insta::assert_snapshot!(error, @r#"
    error: 'tumble' cuts time into windows, by which rows are grouped: it stands in GROUP BY, and in SELECT beside it
     --> test.sql:1:8
      |
    1 | SELECT tumble(INTERVAL '1 minute') AS w FROM readings
      |        ^
    "#);
}

#[test]
fn a_width_without_a_fixed_length() {
    let error = error("SELECT count(*) FROM readings GROUP BY tumble(INTERVAL '1 month')");
    insta::assert_snapshot!(error, @r#"
    error: 'tumble' takes intervals of a fixed length, like INTERVAL '10 seconds' or INTERVAL '1 day', not 1 months
     --> test.sql:1:40
      |
    1 | SELECT count(*) FROM readings GROUP BY tumble(INTERVAL '1 month')
      |                                        ^
    "#);
}

#[test]
fn a_slide_that_is_too_long() {
    let error = error(
        "SELECT count(*) FROM readings GROUP BY hop(INTERVAL '1 minute', INTERVAL '1 second')",
    );
    insta::assert_snapshot!(error, @r#"
    error: the slide of 'hop' is longer than its width, so that rows would fall between the windows; the slide comes first
     --> test.sql:1:40
      |
    1 | SELECT count(*) FROM readings GROUP BY hop(INTERVAL '1 minute', INTERVAL '1 second')
      |                                        ^
    "#);
}

#[test]
fn a_column_for_a_width() {
    let error = error("SELECT count(*) FROM readings GROUP BY tumble(ts)");
    insta::assert_snapshot!(error, @r#"
    error: 'tumble' takes intervals of a fixed length, like INTERVAL '10 seconds' or INTERVAL '1 day', not readings.ts
     --> test.sql:1:40
      |
    1 | SELECT count(*) FROM readings GROUP BY tumble(ts)
      |                                        ^
    "#);
}

#[test]
fn arguments_of_a_window() {
    let error = error(
        "SELECT count(*) FROM readings GROUP BY session(INTERVAL '1 minute', INTERVAL '1 second')",
    );
    insta::assert_snapshot!(error, @r#"
    error: 'session' has 2 arguments; write session(gap)
     --> test.sql:1:40
      |
    1 | SELECT count(*) FROM readings GROUP BY session(INTERVAL '1 minute', INTERVAL '1 second')
      |                                        ^
    "#);
}

#[test]
fn two_windows() {
    let error = error(
        "SELECT count(*) FROM readings GROUP BY session(INTERVAL '1 minute'), tumble(INTERVAL '1 minute')",
    );
    insta::assert_snapshot!(error, @r#"
    error: GROUP BY has several windows; a row can be in those of one function only
     --> test.sql:1:8
      |
    1 | SELECT count(*) FROM readings GROUP BY session(INTERVAL '1 minute'), tumble(INTERVAL '1 minute')
      |        ^
    "#);
}

#[test]
fn a_step_that_does_not_divide() {
    let error = error(
        "SELECT count(*) FROM readings GROUP BY cumulate(INTERVAL '7 seconds', INTERVAL '1 minute')",
    );
    insta::assert_snapshot!(error, @r#"
    error: the step of 'cumulate' does not divide its width; the step comes first
     --> test.sql:1:40
      |
    1 | SELECT count(*) FROM readings GROUP BY cumulate(INTERVAL '7 seconds', INTERVAL '1 minute')
      |                                        ^
    "#);
}

#[test]
fn rollup() {
    let error = error("SELECT count(*) FROM readings GROUP BY ROLLUP (device)");
    insta::assert_snapshot!(error, @r#"
    error: GROUP BY takes columns and expressions, without ROLLUP, CUBE and GROUPING SETS
     --> test.sql:1:48
      |
    1 | SELECT count(*) FROM readings GROUP BY ROLLUP (device)
      |                                                ^
    "#);
}

#[test]
fn event_time_that_is_text() {
    let error = error(
        "CREATE TABLE a (ts TEXT, WATERMARK FOR ts) WITH (connector = 'fake', type = 'source', topic = 'a')",
    );
    insta::assert_snapshot!(error, @r#"
    error: column 'ts' is of the type TEXT, and an event time is a TIMESTAMP
     --> test.sql:1:26
      |
    1 | CREATE TABLE a (ts TEXT, WATERMARK FOR ts) WITH (connector = 'fake', type = 'source', topic = 'a')
      |                          ^
      = hint: compute one: ts TIMESTAMP GENERATED ALWAYS AS (to_timestamp_millis(ms)) STORED
    "#);
}

#[test]
fn watermark_for_no_column() {
    let error = error(
        "CREATE TABLE a (ts TIMESTAMP, WATERMARK FOR t) WITH (connector = 'fake', type = 'source', topic = 'a')",
    );
    insta::assert_snapshot!(error, @r#"
    error: column 't' not found
     --> test.sql:1:31
      |
    1 | CREATE TABLE a (ts TIMESTAMP, WATERMARK FOR t) WITH (connector = 'fake', type = 'source', topic = 'a')
      |                               ^
    "#);
}

#[test]
fn watermark_without_as() {
    let error = error(
        "CREATE TABLE a (ts TIMESTAMP, WATERMARK FOR ts ts - 1) WITH (connector = 'fake', type = 'source', topic = 'a')",
    );
    insta::assert_snapshot!(error, @r#"
    error: WATERMARK FOR ts is followed by AS, not ts
     --> test.sql:1:48
      |
    1 | CREATE TABLE a (ts TIMESTAMP, WATERMARK FOR ts ts - 1) WITH (connector = 'fake', type = 'source', topic = 'a')
      |                                                ^
      = hint: write WATERMARK FOR column AS column - INTERVAL '5 seconds', or WATERMARK FOR column
    "#);
}

#[test]
fn watermark_twice() {
    let error = error(
        "CREATE TABLE a (ts TIMESTAMP, WATERMARK FOR ts, WATERMARK FOR ts) WITH (connector = 'fake', type = 'source', topic = 'a')",
    );
    insta::assert_snapshot!(error, @r#"
    error: a table has one WATERMARK only
     --> test.sql:1:49
      |
    1 | CREATE TABLE a (ts TIMESTAMP, WATERMARK FOR ts, WATERMARK FOR ts) WITH (connector = 'fake', type = 'source', topic = 'a')
      |                                                 ^
    "#);
}

#[test]
fn watermark_that_is_no_moment() {
    let error = error(
        "CREATE TABLE a (ts TIMESTAMP, WATERMARK FOR ts AS (1 + 1)) WITH (connector = 'fake', type = 'source', topic = 'a')",
    );
    insta::assert_snapshot!(error, @r#"
    error: the watermark is of the type BIGINT, and an event time is a TIMESTAMP
     --> test.sql:1:31
      |
    1 | CREATE TABLE a (ts TIMESTAMP, WATERMARK FOR ts AS (1 + 1)) WITH (connector = 'fake', type = 'source', topic = 'a')
      |                               ^
      = hint: compute one: ts TIMESTAMP GENERATED ALWAYS AS (to_timestamp_millis(ms)) STORED
    "#);
}

#[test]
fn event_time_field_that_does_not_exist() {
    let error = error(
        "CREATE TABLE a (ts TIMESTAMP) WITH (connector = 'fake', type = 'source', topic = 'a', event_time_field = 'tss')",
    );
    insta::assert_snapshot!(error, @r#"
    error: column 'tss' not found
     --> test.sql:1:87
      |
    1 | CREATE TABLE a (ts TIMESTAMP) WITH (connector = 'fake', type = 'source', topic = 'a', event_time_field = 'tss')
      |                                                                                       ^
      = hint: did you mean 'ts'?
    "#);
}

#[test]
fn watermark_field_alone() {
    let error = error(
        "CREATE TABLE a (ts TIMESTAMP) WITH (connector = 'fake', type = 'source', topic = 'a', watermark_field = 'ts')",
    );
    insta::assert_snapshot!(error, @r#"
    error: option 'watermark_field' needs 'event_time_field' beside it
     --> test.sql:1:87
      |
    1 | CREATE TABLE a (ts TIMESTAMP) WITH (connector = 'fake', type = 'source', topic = 'a', watermark_field = 'ts')
      |                                                                                       ^
    "#);
}

#[test]
fn idle_micros_that_is_no_number() {
    let error = error(
        "CREATE TABLE a (ts TIMESTAMP) WITH (connector = 'fake', type = 'source', topic = 'a', idle_micros = 'x')",
    );
    insta::assert_snapshot!(error, @r#"
    error: option 'idle_micros' is 'x', and must be a number of microseconds, or -1 to wait for ever
     --> test.sql:1:87
      |
    1 | CREATE TABLE a (ts TIMESTAMP) WITH (connector = 'fake', type = 'source', topic = 'a', idle_micros = 'x')
      |                                                                                       ^
    "#);
}

#[test]
fn event_time_of_a_sink() {
    let error = error(
        "CREATE TABLE a (ts TIMESTAMP, WATERMARK FOR ts) WITH (connector = 'fake', type = 'sink', topic = 'a')",
    );
    insta::assert_snapshot!(error, @r#"
    error: table 'a' is a sink, and only sources have an event time
     --> test.sql:1:31
      |
    1 | CREATE TABLE a (ts TIMESTAMP, WATERMARK FOR ts) WITH (connector = 'fake', type = 'sink', topic = 'a')
      |                               ^
    "#);
}

#[test]
fn groups_are_made_before_the_exchange_where_their_states_are_small() {
    let check = |select: &str, window: &str, expected: bool| {
        let plan = timed(&format!(
            "SELECT {select} FROM timed GROUP BY {window}, device"
        ));
        assert_eq!(plan.contains("partial_preview"), expected, "{plan}");
    };
    let tumble = "tumble(INTERVAL '1 minute')";
    let small = "count(*), sum(temperature), avg(temperature), min(ts), max(temperature), stddev(temperature), var_pop(temperature),
      bool_and(temperature > 1), corr(temperature, temperature), sum(1) FILTER (WHERE temperature > 0)";
    check(small, tumble, true);
    check(
        small,
        "cumulate(INTERVAL '1 minute', INTERVAL '1 hour')",
        true,
    );
    check(
        "device",
        "hop(INTERVAL '1 second', INTERVAL '5 seconds')",
        true,
    );
    check(small, "session(INTERVAL '1 minute')", false);
    for large in [
        "count(DISTINCT temperature)",
        "min(device || 'x')",
        "array_agg(temperature)",
        "string_agg(device, ',')",
        "first_value(temperature ORDER BY ts)",
        "median(temperature)",
        "approx_percentile_cont(0.5) WITHIN GROUP (ORDER BY temperature)",
    ] {
        check(large, tumble, false);
        check(&format!("count(*), {large}"), tumble, false);
    }
}
