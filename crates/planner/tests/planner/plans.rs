//! What SQL becomes.

use crate::fake::{dataflow, plan, planner};
use futures::executor::block_on;

#[test]
fn a_filter_and_a_projection_are_one_chain() {
    let plan = dataflow(
        r#"INSERT INTO alerts SELECT device, temperature * 2 FROM readings WHERE temperature > 70"#,
    );
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn values_are_cast_to_the_types_of_the_sink() {
    let plan = dataflow(r#"INSERT INTO alerts SELECT 1 + length(device), temperature FROM others"#);
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn all_columns_of_a_table() {
    let plan = dataflow(r#"SELECT * FROM others"#);
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn a_table_that_is_read_twice_is_one_source() {
    let plan = dataflow(
        r#"INSERT INTO alerts SELECT device, temperature FROM readings WHERE temperature > 70;
SELECT device FROM readings"#,
    );
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn a_table_that_is_written_twice_is_one_sink() {
    let plan = dataflow(
        r#"INSERT INTO alerts SELECT device, temperature FROM readings;
INSERT INTO alerts SELECT * FROM others"#,
    );
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn union_all() {
    let plan = dataflow(
        r#"INSERT INTO alerts SELECT device, temperature FROM readings UNION ALL SELECT device, temperature FROM others WHERE temperature < 0"#,
    );
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn union_of_three() {
    let plan = dataflow(
        r#"SELECT device FROM readings UNION ALL SELECT device FROM others UNION ALL SELECT 'x' || device FROM others"#,
    );
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn unnest_gives_one_row_for_every_element() {
    let plan = dataflow(r#"SELECT device, unnest(tags) AS tag FROM readings"#);
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn structs_and_lists() {
    let plan = dataflow(
        r#"SELECT place['building'] AS b, place.floor + 1 AS f, tags[1] AS t, {'a': device} AS s FROM readings"#,
    );
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn a_view_stands_for_its_query() {
    let plan = dataflow(
        r#"CREATE VIEW hot AS SELECT device, temperature AS t FROM readings WHERE temperature > 70;
INSERT INTO alerts SELECT device, t + 1 FROM hot WHERE t < 100"#,
    );
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn a_view_with_names() {
    let plan = dataflow(
        r#"CREATE VIEW hot (who, what) AS SELECT device, temperature FROM readings;
SELECT who FROM hot"#,
    );
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn common_table_expressions_and_subqueries() {
    let plan = dataflow(
        r#"WITH hot AS (SELECT * FROM readings WHERE temperature > 70) SELECT device FROM (SELECT device, temperature FROM hot) AS t WHERE temperature < 100"#,
    );
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn case_and_casts() {
    let plan = dataflow(
        r#"SELECT CASE WHEN temperature > 70 THEN 'hot' ELSE 'cold' END AS state, CAST(temperature AS TEXT) AS t, temperature::INT AS i FROM readings"#,
    );
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn a_column_list_leaves_the_rest_null() {
    let plan = dataflow(r#"INSERT INTO alerts (temperature) SELECT temperature FROM others"#);
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn a_column_list_in_another_order() {
    let plan = dataflow(
        r#"INSERT INTO alerts (temperature, device) SELECT temperature, device FROM readings"#,
    );
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn json_operators_read_the_type_of_the_sink() {
    let plan = dataflow(
        r#"INSERT INTO alerts SELECT data ->> 'name', data -> 'value' FROM readings WHERE data ? 'value'"#,
    );
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn json_operators_shown_are_json_text() {
    let plan = dataflow(
        r#"SELECT data -> 'a' -> 'b' AS b, data ->> 'c' AS c, (data -> 'n')::BIGINT AS n FROM readings"#,
    );
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn a_generated_column_is_computed_behind_the_source() {
    let plan = dataflow(
        r#"CREATE TABLE raw (v BIGINT, unit TEXT METADATA FROM 'topic', ts TIMESTAMP GENERATED ALWAYS AS (to_timestamp_millis(v)) STORED, w INT NOT NULL)
WITH (connector = 'fake', type = 'source', topic = 'raw');
SELECT ts, w FROM raw"#,
    );
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn a_sink_without_columns_takes_those_of_the_query() {
    let plan = dataflow(
        r#"CREATE TABLE out WITH (connector = 'fake', type = 'sink', topic = 'out');
INSERT INTO out SELECT device AS who, data -> 'x' AS x FROM readings;
INSERT INTO out SELECT 1, 'null' FROM others"#,
    );
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn options_with_dots_and_a_profile() {
    let plan = dataflow(
        r#"CREATE TABLE t (a TEXT) WITH (connector = 'fake', connection_profile = 'plant', type = 'source', topic = 'x', options.deep = 'y');
SELECT a FROM t"#,
    );
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn types() {
    let plan = dataflow(
        r#"CREATE TABLE t (a BOOLEAN, b SMALLINT, c INT UNSIGNED, d BIGINT, e FLOAT, f DECIMAL(10, 2), g TEXT, h BYTEA, i DATE, j TIME, k TIMESTAMP, l TIMESTAMP(3), m STRUCT<x INT, y ARRAY<TEXT>>, n INT[], o JSON, p VARCHAR(10), q TIMESTAMPTZ, r DOUBLE PRECISION)
WITH (connector = 'fake', type = 'source', topic = 'x');
SELECT * FROM t"#,
    );
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn the_clock_is_read_when_a_batch_is_computed() {
    let plan = dataflow(
        r#"SELECT device, now() AS n, current_timestamp AS c, current_date AS d, ts > now() - INTERVAL '5 minutes' AS fresh, random() AS r FROM readings"#,
    );
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn names_in_quotes_keep_their_case() {
    let plan = dataflow(
        r#"CREATE TABLE t ("deviceId" TEXT, UPPER INT) WITH (connector = 'fake', type = 'source', topic = 'x');
SELECT "deviceId", upper FROM t"#,
    );
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn json_path_functions() {
    let plan = dataflow(
        r#"SELECT extract_json(data, '$.a[*]') AS a, extract_json_string(data, '$.b') AS b, get_first_json_object(data, '$.c') AS c FROM readings"#,
    );
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn constants_are_folded_and_nothing_else() {
    let plan =
        dataflow(r#"SELECT 1 + 2 AS three, upper('x') AS x FROM others WHERE temperature > 3 * 4"#);
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn if_not_exists_keeps_the_first() {
    let plan = dataflow(
        r#"CREATE TABLE IF NOT EXISTS others (x INT) WITH (connector = 'fake', type = 'source', topic = 'x');
CREATE VIEW IF NOT EXISTS others AS SELECT 1;
SELECT temperature FROM others"#,
    );
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn wildcards_with_exceptions() {
    let plan = dataflow(r#"SELECT * EXCEPT (tags, place, data, ts) FROM readings"#);
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn a_branch_that_is_never_true_is_left_out() {
    let plan =
        dataflow(r#"SELECT device FROM readings UNION ALL SELECT device FROM others WHERE 1 = 2"#);
    insta::assert_snapshot!(plan, @"");
}

#[test]
fn explain_gives_the_text_of_the_dataflow_and_runs_nothing() {
    let script = plan("EXPLAIN INSERT INTO alerts SELECT device, 1 FROM others; EXPLAIN SELECT device FROM others").unwrap();
    assert!(script.plan.is_none());
    insta::assert_snapshot!(script.explains.join("\n\n"), @"");
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
