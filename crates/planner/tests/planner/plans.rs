//! What SQL becomes.

use crate::fake::{dataflow, plan, planner};
use futures::executor::block_on;

#[test]
fn a_filter_and_a_projection_are_one_chain() {
    let plan = dataflow(
        r#"INSERT INTO alerts SELECT device, temperature * 2 FROM readings WHERE temperature > 70"#,
    );
    insta::assert_snapshot!(plan, @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_alerts_0 <- source_readings
      keep device, temperature
      filter temperature > 70
      project device, temperature * 2 AS temperature
      -> device TEXT NOT NULL, temperature DOUBLE
    sink_alerts: write fake 'alerts' (alerts) <- chain_alerts_0
      -> device TEXT NOT NULL, temperature DOUBLE
    "#);
}

#[test]
fn values_are_cast_to_the_types_of_the_sink() {
    let plan = dataflow(r#"INSERT INTO alerts SELECT 1 + length(device), temperature FROM others"#);
    insta::assert_snapshot!(plan, @r#"
    source_others: read fake 'others' (others)
      -> device TEXT, temperature FLOAT
    chain_alerts_0 <- source_others
      project CAST(1 + CAST(character_length(device) AS Int64) AS Utf8) AS device, CAST(temperature AS Float64) AS temperature
      -> device TEXT, temperature DOUBLE
    sink_alerts: write fake 'alerts' (alerts) <- chain_alerts_0
      -> device TEXT, temperature DOUBLE
    "#);
}

#[test]
fn all_columns_of_a_table() {
    let plan = dataflow(r#"SELECT * FROM others"#);
    insta::assert_snapshot!(plan, @r#"
    source_others: read fake 'others' (others)
      -> device TEXT, temperature FLOAT
    preview_0: show <- source_others
      -> device TEXT, temperature FLOAT
    "#);
}

#[test]
fn a_table_that_is_read_twice_is_one_source() {
    let plan = dataflow(
        r#"INSERT INTO alerts SELECT device, temperature FROM readings WHERE temperature > 70;
SELECT device FROM readings"#,
    );
    insta::assert_snapshot!(plan, @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_alerts_0 <- source_readings
      keep device, temperature
      filter temperature > 70
      -> device TEXT NOT NULL, temperature DOUBLE
    chain_preview_0_0 <- source_readings
      keep device
      -> device TEXT NOT NULL
    preview_0: show <- chain_preview_0_0
      -> device TEXT NOT NULL
    sink_alerts: write fake 'alerts' (alerts) <- chain_alerts_0
      -> device TEXT NOT NULL, temperature DOUBLE
    "#);
}

#[test]
fn a_table_that_is_written_twice_is_one_sink() {
    let plan = dataflow(
        r#"INSERT INTO alerts SELECT device, temperature FROM readings;
INSERT INTO alerts SELECT * FROM others"#,
    );
    insta::assert_snapshot!(plan, @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_alerts_0 <- source_readings
      keep device, temperature
      -> device TEXT NOT NULL, temperature DOUBLE
    source_others: read fake 'others' (others)
      -> device TEXT, temperature FLOAT
    chain_alerts_1 <- source_others
      project device, CAST(temperature AS Float64) AS temperature
      -> device TEXT, temperature DOUBLE
    union_alerts_0: union <- chain_alerts_0, chain_alerts_1
      -> device TEXT, temperature DOUBLE
    sink_alerts: write fake 'alerts' (alerts) <- union_alerts_0
      -> device TEXT, temperature DOUBLE
    "#);
}

#[test]
fn union_all() {
    let plan = dataflow(
        r#"INSERT INTO alerts SELECT device, temperature FROM readings UNION ALL SELECT device, temperature FROM others WHERE temperature < 0"#,
    );
    insta::assert_snapshot!(plan, @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_alerts_0 <- source_readings
      keep device, temperature
      project CAST(device AS Utf8) AS device, temperature
      -> device TEXT, temperature DOUBLE
    source_others: read fake 'others' (others)
      -> device TEXT, temperature FLOAT
    chain_alerts_1 <- source_others
      filter temperature < 0
      project device, CAST(temperature AS Float64) AS temperature
      -> device TEXT, temperature DOUBLE
    union_alerts_0: union <- chain_alerts_0, chain_alerts_1
      -> device TEXT, temperature DOUBLE
    sink_alerts: write fake 'alerts' (alerts) <- union_alerts_0
      -> device TEXT, temperature DOUBLE
    "#);
}

#[test]
fn union_of_three() {
    let plan = dataflow(
        r#"SELECT device FROM readings UNION ALL SELECT device FROM others UNION ALL SELECT 'x' || device FROM others"#,
    );
    insta::assert_snapshot!(plan, @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_preview_0_0 <- source_readings
      keep device
      project CAST(device AS Utf8) AS device
      -> device TEXT
    source_others: read fake 'others' (others)
      -> device TEXT, temperature FLOAT
    chain_preview_0_1 <- source_others
      keep device
      -> device TEXT
    chain_preview_0_2 <- source_others
      keep device
      project x || device AS device
      -> device TEXT
    union_preview_0_0: union <- chain_preview_0_0, chain_preview_0_1, chain_preview_0_2
      -> device TEXT
    preview_0: show <- union_preview_0_0
      -> device TEXT
    "#);
}

#[test]
fn unnest_gives_one_row_for_every_element() {
    let plan = dataflow(r#"SELECT device, unnest(tags) AS tag FROM readings"#);
    insta::assert_snapshot!(plan, @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_preview_0_0 <- source_readings
      keep device, tags
      project device, tags AS __unnest_placeholder(readings.tags)
      unnest __unnest_placeholder(readings.tags)
      project device, __unnest_placeholder(readings.tags,depth=1) AS tag
      -> device TEXT NOT NULL, tag TEXT
    preview_0: show <- chain_preview_0_0
      -> device TEXT NOT NULL, tag TEXT
    "#);
}

#[test]
fn structs_and_lists() {
    let plan = dataflow(
        r#"SELECT place['building'] AS b, place.floor + 1 AS f, tags[1] AS t, {'a': device} AS s FROM readings"#,
    );
    insta::assert_snapshot!(plan, @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_preview_0_0 <- source_readings
      keep device, tags, place
      project get_field(place, building) AS b, CAST(get_field(place, floor) AS Int64) + 1 AS f, array_element(tags, 1) AS t, named_struct(a, device) AS s
      -> b TEXT, f BIGINT, t TEXT, s STRUCT<a TEXT>
    preview_0: show <- chain_preview_0_0
      -> b TEXT, f BIGINT, t TEXT, s STRUCT<a TEXT>
    "#);
}

#[test]
fn a_view_stands_for_its_query() {
    let plan = dataflow(
        r#"CREATE VIEW hot AS SELECT device, temperature AS t FROM readings WHERE temperature > 70;
INSERT INTO alerts SELECT device, t + 1 FROM hot WHERE t < 100"#,
    );
    insta::assert_snapshot!(plan, @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_alerts_0 <- source_readings
      keep device, temperature
      filter temperature > 70 AND temperature < 100
      project device, temperature + 1 AS temperature
      -> device TEXT NOT NULL, temperature DOUBLE
    sink_alerts: write fake 'alerts' (alerts) <- chain_alerts_0
      -> device TEXT NOT NULL, temperature DOUBLE
    "#);
}

#[test]
fn a_view_with_names() {
    let plan = dataflow(
        r#"CREATE VIEW hot (who, what) AS SELECT device, temperature FROM readings;
SELECT who FROM hot"#,
    );
    insta::assert_snapshot!(plan, @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_preview_0_0 <- source_readings
      keep device
      project device AS who
      -> who TEXT NOT NULL
    preview_0: show <- chain_preview_0_0
      -> who TEXT NOT NULL
    "#);
}

#[test]
fn common_table_expressions_and_subqueries() {
    let plan = dataflow(
        r#"WITH hot AS (SELECT * FROM readings WHERE temperature > 70) SELECT device FROM (SELECT device, temperature FROM hot) AS t WHERE temperature < 100"#,
    );
    insta::assert_snapshot!(plan, @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_preview_0_0 <- source_readings
      keep device, temperature
      filter temperature > 70 AND temperature < 100
      -> device TEXT NOT NULL
    preview_0: show <- chain_preview_0_0
      -> device TEXT NOT NULL
    "#);
}

#[test]
fn case_and_casts() {
    let plan = dataflow(
        r#"SELECT CASE WHEN temperature > 70 THEN 'hot' ELSE 'cold' END AS state, CAST(temperature AS TEXT) AS t, temperature::INT AS i FROM readings"#,
    );
    insta::assert_snapshot!(plan, @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_preview_0_0 <- source_readings
      keep temperature
      project CASE WHEN temperature > 70 THEN hot ELSE cold END AS state, CAST(temperature AS Utf8) AS t, CAST(temperature AS Int32) AS i
      -> state TEXT NOT NULL, t TEXT, i INT
    preview_0: show <- chain_preview_0_0
      -> state TEXT NOT NULL, t TEXT, i INT
    "#);
}

#[test]
fn a_column_list_leaves_the_rest_null() {
    let plan = dataflow(r#"INSERT INTO alerts (temperature) SELECT temperature FROM others"#);
    insta::assert_snapshot!(plan, @r#"
    source_others: read fake 'others' (others)
      -> device TEXT, temperature FLOAT
    chain_alerts_0 <- source_others
      keep temperature
      project NULL AS device, CAST(temperature AS Float64) AS temperature
      -> device TEXT, temperature DOUBLE
    sink_alerts: write fake 'alerts' (alerts) <- chain_alerts_0
      -> device TEXT, temperature DOUBLE
    "#);
}

#[test]
fn a_column_list_in_another_order() {
    let plan = dataflow(
        r#"INSERT INTO alerts (temperature, device) SELECT temperature, device FROM readings"#,
    );
    insta::assert_snapshot!(plan, @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_alerts_0 <- source_readings
      keep device, temperature
      -> device TEXT NOT NULL, temperature DOUBLE
    sink_alerts: write fake 'alerts' (alerts) <- chain_alerts_0
      -> device TEXT NOT NULL, temperature DOUBLE
    "#);
}

#[test]
fn json_operators_read_the_type_of_the_sink() {
    let plan = dataflow(
        r#"INSERT INTO alerts SELECT data ->> 'name', data -> 'value' FROM readings WHERE data ? 'value'"#,
    );
    insta::assert_snapshot!(plan, @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_alerts_0 <- source_readings
      keep data
      filter json_contains(data, value)
      project json_as_text(data, name) AS device, json_get_float(data, value) AS temperature
      -> device TEXT, temperature DOUBLE
    sink_alerts: write fake 'alerts' (alerts) <- chain_alerts_0
      -> device TEXT, temperature DOUBLE
    "#);
}

#[test]
fn json_operators_shown_are_json_text() {
    let plan = dataflow(
        r#"SELECT data -> 'a' -> 'b' AS b, data ->> 'c' AS c, (data -> 'n')::BIGINT AS n FROM readings"#,
    );
    insta::assert_snapshot!(plan, @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_preview_0_0 <- source_readings
      keep data
      project serialize_json_union(json_get(data, a, b)) AS b, json_as_text(data, c) AS c, json_get_int(data, n) AS n
      -> b TEXT, c TEXT, n BIGINT
    preview_0: show <- chain_preview_0_0
      -> b TEXT, c TEXT, n BIGINT
    "#);
}

#[test]
fn a_generated_column_is_computed_behind_the_source() {
    let plan = dataflow(
        r#"CREATE TABLE raw (v BIGINT, unit TEXT METADATA FROM 'topic', ts TIMESTAMP GENERATED ALWAYS AS (to_timestamp_millis(v)) STORED, w INT NOT NULL)
WITH (connector = 'fake', type = 'source', topic = 'raw');
SELECT ts, w FROM raw"#,
    );
    insta::assert_snapshot!(plan, @r#"
    source_raw: read fake 'raw' (raw)
      -> v BIGINT, unit TEXT, w INT NOT NULL
    chain_preview_0_0 <- source_raw
      keep v, w
      project CAST(to_timestamp_millis(v) AS Timestamp(Nanosecond, None)) AS ts, w
      -> ts TIMESTAMP, w INT NOT NULL
    preview_0: show <- chain_preview_0_0
      -> ts TIMESTAMP, w INT NOT NULL
    "#);
}

#[test]
fn a_sink_without_columns_takes_those_of_the_query() {
    let plan = dataflow(
        r#"CREATE TABLE out WITH (connector = 'fake', type = 'sink', topic = 'out');
INSERT INTO out SELECT device AS who, data -> 'x' AS x FROM readings;
INSERT INTO out SELECT 1, 'null' FROM others"#,
    );
    insta::assert_snapshot!(plan, @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_out_0 <- source_readings
      keep device, data
      project device AS who, serialize_json_union(json_get(data, x)) AS x
      -> who TEXT NOT NULL, x TEXT
    source_others: read fake 'others' (others)
      -> device TEXT, temperature FLOAT
    chain_out_1 <- source_others
      keep no column
      project 1 AS who, null AS x
      -> who TEXT NOT NULL, x TEXT NOT NULL
    union_out_0: union <- chain_out_0, chain_out_1
      -> who TEXT NOT NULL, x TEXT
    sink_out: write fake 'out' (out) <- union_out_0
      -> who TEXT NOT NULL, x TEXT
    "#);
}

#[test]
fn options_with_dots_and_a_profile() {
    let plan = dataflow(
        r#"CREATE TABLE t (a TEXT) WITH (connector = 'fake', connection_profile = 'plant', type = 'source', topic = 'x', options.deep = 'y');
SELECT a FROM t"#,
    );
    insta::assert_snapshot!(plan, @r#"
    source_t: read fake 't' (x)
      -> a TEXT
    preview_0: show <- source_t
      -> a TEXT
    "#);
}

#[test]
fn types() {
    let plan = dataflow(
        r#"CREATE TABLE t (a BOOLEAN, b SMALLINT, c INT UNSIGNED, d BIGINT, e FLOAT, f DECIMAL(10, 2), g TEXT, h BYTEA, i DATE, j TIME, k TIMESTAMP, l TIMESTAMP(3), m STRUCT<x INT, y ARRAY<TEXT>>, n INT[], o JSON, p VARCHAR(10), q TIMESTAMPTZ, r DOUBLE PRECISION)
WITH (connector = 'fake', type = 'source', topic = 'x');
SELECT * FROM t"#,
    );
    insta::assert_snapshot!(plan, @r#"
    source_t: read fake 't' (x)
      -> a BOOLEAN, b SMALLINT, c INT UNSIGNED, d BIGINT, e FLOAT, f DECIMAL(10, 2), g TEXT, h BYTEA, i DATE, j TIME, k TIMESTAMP, l TIMESTAMP(3), m STRUCT<x INT, y TEXT[]>, n INT[], o JSON, p TEXT, q TIMESTAMPTZ, r DOUBLE
    preview_0: show <- source_t
      -> a BOOLEAN, b SMALLINT, c INT UNSIGNED, d BIGINT, e FLOAT, f DECIMAL(10, 2), g TEXT, h BYTEA, i DATE, j TIME, k TIMESTAMP, l TIMESTAMP(3), m STRUCT<x INT, y TEXT[]>, n INT[], o JSON, p TEXT, q TIMESTAMPTZ, r DOUBLE
    "#);
}

#[test]
fn the_clock_is_read_when_a_batch_is_computed() {
    let plan = dataflow(
        r#"SELECT device, now() AS n, current_timestamp AS c, current_date AS d, ts > now() - INTERVAL '5 minutes' AS fresh, random() AS r FROM readings"#,
    );
    insta::assert_snapshot!(plan, @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_preview_0_0 <- source_readings
      keep device, ts
      project device, now() AS n, now() AS c, current_date() AS d, ts > now() - IntervalMonthDayNano { months: 0, days: 0, nanoseconds: 300000000000 } AS fresh, random() AS r
      -> device TEXT NOT NULL, n TIMESTAMP NOT NULL, c TIMESTAMP NOT NULL, d DATE NOT NULL, fresh BOOLEAN, r DOUBLE
    preview_0: show <- chain_preview_0_0
      -> device TEXT NOT NULL, n TIMESTAMP NOT NULL, c TIMESTAMP NOT NULL, d DATE NOT NULL, fresh BOOLEAN, r DOUBLE
    "#);
}

#[test]
fn names_in_quotes_keep_their_case() {
    let plan = dataflow(
        r#"CREATE TABLE t ("deviceId" TEXT, UPPER INT) WITH (connector = 'fake', type = 'source', topic = 'x');
SELECT "deviceId", upper FROM t"#,
    );
    insta::assert_snapshot!(plan, @r#"
    source_t: read fake 't' (x)
      -> deviceId TEXT, upper INT
    preview_0: show <- source_t
      -> deviceId TEXT, upper INT
    "#);
}

#[test]
fn json_path_functions() {
    let plan = dataflow(
        r#"SELECT extract_json(data, '$.a[*]') AS a, extract_json_string(data, '$.b') AS b, get_first_json_object(data, '$.c') AS c FROM readings"#,
    );
    insta::assert_snapshot!(plan, @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_preview_0_0 <- source_readings
      keep data
      project extract_json(data, $.a[*]) AS a, extract_json_string(data, $.b) AS b, get_first_json_object(data, $.c) AS c
      -> a TEXT[], b TEXT, c TEXT
    preview_0: show <- chain_preview_0_0
      -> a TEXT[], b TEXT, c TEXT
    "#);
}

#[test]
fn constants_are_folded_and_nothing_else() {
    let plan =
        dataflow(r#"SELECT 1 + 2 AS three, upper('x') AS x FROM others WHERE temperature > 3 * 4"#);
    insta::assert_snapshot!(plan, @r#"
    source_others: read fake 'others' (others)
      -> device TEXT, temperature FLOAT
    chain_preview_0_0 <- source_others
      keep temperature
      filter temperature > 12
      project 3 AS three, X AS x
      -> three BIGINT NOT NULL, x TEXT NOT NULL
    preview_0: show <- chain_preview_0_0
      -> three BIGINT NOT NULL, x TEXT NOT NULL
    "#);
}

#[test]
fn if_not_exists_keeps_the_first() {
    let plan = dataflow(
        r#"CREATE TABLE IF NOT EXISTS others (x INT) WITH (connector = 'fake', type = 'source', topic = 'x');
CREATE VIEW IF NOT EXISTS others AS SELECT 1;
SELECT temperature FROM others"#,
    );
    insta::assert_snapshot!(plan, @r#"
    source_others: read fake 'others' (others)
      -> device TEXT, temperature FLOAT
    chain_preview_0_0 <- source_others
      keep temperature
      -> temperature FLOAT
    preview_0: show <- chain_preview_0_0
      -> temperature FLOAT
    "#);
}

#[test]
fn wildcards_with_exceptions() {
    let plan = dataflow(r#"SELECT * EXCEPT (tags, place, data, ts) FROM readings"#);
    insta::assert_snapshot!(plan, @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_preview_0_0 <- source_readings
      keep device, temperature
      -> device TEXT NOT NULL, temperature DOUBLE
    preview_0: show <- chain_preview_0_0
      -> device TEXT NOT NULL, temperature DOUBLE
    "#);
}

#[test]
fn a_branch_that_is_never_true_is_left_out() {
    let plan =
        dataflow(r#"SELECT device FROM readings UNION ALL SELECT device FROM others WHERE 1 = 2"#);
    insta::assert_snapshot!(plan, @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_preview_0_0 <- source_readings
      keep device
      -> device TEXT NOT NULL
    preview_0: show <- chain_preview_0_0
      -> device TEXT NOT NULL
    "#);
}

#[test]
fn explain_gives_the_text_of_the_dataflow_and_runs_nothing() {
    let script = plan("EXPLAIN INSERT INTO alerts SELECT device, 1 FROM others; EXPLAIN SELECT device FROM others").unwrap();
    assert!(script.plan.is_none());
    insta::assert_snapshot!(script.explains.join("\n\n"), @r#"
    source_others: read fake 'others' (others)
      -> device TEXT, temperature FLOAT
    chain_alerts_0 <- source_others
      keep device
      project device, 1 AS temperature
      -> device TEXT, temperature DOUBLE NOT NULL
    sink_alerts: write fake 'alerts' (alerts) <- chain_alerts_0
      -> device TEXT, temperature DOUBLE NOT NULL

    source_others: read fake 'others' (others)
      -> device TEXT, temperature FLOAT
    chain_preview_0_0 <- source_others
      keep device
      -> device TEXT
    preview_0: show <- chain_preview_0_0
      -> device TEXT
    "#);
}

#[test]
fn tables_are_listed_in_the_order_of_their_creation() {
    let sql = "CREATE TABLE z (a INT) WITH (connector = 'fake', type = 'sink', topic = 't');
        CREATE TABLE b WITH (connector = 'fake', type = 'sink', topic = 't');
        CREATE VIEW v AS SELECT device FROM others;
        CREATE TABLE a WITH (connector = 'fake', type = 'sink', topic = 't');
        INSERT INTO a SELECT device FROM v";
    let script = plan(sql).unwrap();
    let columns = |table: &std::sync::Arc<headwater_connector::Connection>| {
        (table.name.clone(), table.config.schema.columns.len())
    };
    let tables: Vec<_> = script.tables.iter().map(columns).collect();
    let expected = [("z", 1), ("b", 0), ("a", 1)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(tables, expected);
}

#[test]
fn what_was_created_is_there_for_the_next_text() {
    let mut planner = planner();
    block_on(planner.plan("CREATE VIEW v AS SELECT device FROM others")).unwrap();
    let script = block_on(planner.plan("SELECT device FROM v")).unwrap();
    assert_eq!(script.plan.unwrap().nodes[0].id, "source_others");
}

#[test]
fn a_text_without_queries_has_no_plan() {
    assert!(plan("-- nothing\n;;").unwrap().plan.is_none());
}

#[test]
fn dotted_options_are_written_with_or_without_quotes() {
    for key in [
        "options.deep",
        "'options.deep'",
        "\"options.deep\"",
        "options . deep",
    ] {
        let sql = format!(
            "CREATE TABLE t (a INT) WITH (connector = 'fake', {key} = 'x', type = source, topic = 't')"
        );
        let script = plan(&sql).unwrap();
        assert_eq!(script.tables[0].table["options"]["deep"], "x", "{key}");
    }
}

#[test]
fn values() {
    let plan = dataflow("INSERT INTO alerts VALUES ('a', 1), ('b', 2)");
    insta::assert_snapshot!(plan, @r#"
    values_alerts_0: 2 rows
      -> column1 TEXT NOT NULL, column2 BIGINT NOT NULL
    chain_alerts_0 <- values_alerts_0
      project column1 AS device, CAST(column2 AS Float64) AS temperature
      -> device TEXT NOT NULL, temperature DOUBLE NOT NULL
    sink_alerts: write fake 'alerts' (alerts) <- chain_alerts_0
      -> device TEXT NOT NULL, temperature DOUBLE NOT NULL
    "#);
}

#[test]
fn no_table() {
    insta::assert_snapshot!(dataflow("SELECT 1 AS one"), @r#"
    values_preview_0_0: 1 row
      -> no columns
    chain_preview_0_0 <- values_preview_0_0
      project 1 AS one
      -> one BIGINT NOT NULL
    preview_0: show <- chain_preview_0_0
      -> one BIGINT NOT NULL
    "#);
}

#[test]
fn unnest_in_from() {
    let plan =
        dataflow("SELECT device, tag FROM readings, unnest(tags) AS tag WHERE temperature > 1");
    insta::assert_snapshot!(plan, @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_preview_0_0 <- source_readings
      keep device, temperature, tags
      filter temperature > 1
      project device, tags AS __unnest_placeholder(outer_ref(readings.tags))
      unnest __unnest_placeholder(outer_ref(readings.tags))
      project device, __unnest_placeholder(outer_ref(readings.tags),depth=1) AS tag
      -> device TEXT NOT NULL, tag TEXT
    preview_0: show <- chain_preview_0_0
      -> device TEXT NOT NULL, tag TEXT
    "#);
}

#[test]
fn same_names() {
    let plan = dataflow(
        "SELECT temperature::INT, temperature::TEXT, upper(device), upper(device) FROM readings",
    );
    insta::assert_snapshot!(plan, @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_preview_0_0 <- source_readings
      keep device, temperature
      project upper(device) AS __common_expr_1, temperature
      project CAST(temperature AS Int32) AS temperature, CAST(temperature AS Utf8) AS temperature:1, __common_expr_1 AS upper(device), __common_expr_1 AS upper(device):1
      -> temperature INT, temperature:1 TEXT, upper(device) TEXT, upper(device):1 TEXT
    preview_0: show <- chain_preview_0_0
      -> temperature INT, temperature:1 TEXT, upper(device) TEXT, upper(device):1 TEXT
    "#);
}

#[test]
fn not_null_is_checked_where_it_must_be() {
    let plan = dataflow(
        "CREATE TABLE s (device TEXT NOT NULL, temperature DOUBLE NOT NULL)
         WITH (connector = 'fake', type = 'sink', topic = 'x');
         INSERT INTO s SELECT device, temperature FROM readings;",
    );
    insta::assert_snapshot!(plan, @r#"
    source_readings: read fake 'readings' (sensors/+)
      -> device TEXT NOT NULL, temperature DOUBLE, tags TEXT[], place STRUCT<building TEXT, floor INT>, data JSON, ts TIMESTAMP
    chain_s_0 <- source_readings
      keep device, temperature
      project device, not_null(temperature) AS temperature
      -> device TEXT NOT NULL, temperature DOUBLE NOT NULL
    sink_s: write fake 's' (x) <- chain_s_0
      -> device TEXT NOT NULL, temperature DOUBLE NOT NULL
    "#);
}
