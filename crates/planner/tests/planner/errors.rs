//! Errors as people read them.

use crate::fake::error;

#[test]
fn syntax() {
    let error = error(
        r#"SELECT device
FROM readings
WHERE temperature >"#,
    );
    insta::assert_snapshot!(error, @r#"
    error: expected an expression, found the end of the statement
     --> test.sql:3:20
      |
    3 | WHERE temperature >
      |                    ^
    "#);
}

#[test]
fn syntax_in_the_middle() {
    let error = error(
        r#"SELECT device FROM readings;

SELEC device FROM readings"#,
    );
    insta::assert_snapshot!(error, @r#"
    error: expected an SQL statement, found SELEC
     --> test.sql:3:1
      |
    3 | SELEC device FROM readings
      | ^
      = hint: did you mean SELECT by 'SELEC'?
    "#);
}

#[test]
fn two_statements_without_semicolon() {
    let error = error(r#"SELECT device FROM readings SELECT 1"#);
    insta::assert_snapshot!(error, @r#"
    error: expected end of statement or ';', found SELECT
     --> test.sql:1:29
      |
    1 | SELECT device FROM readings SELECT 1
      |                             ^
    "#);
}

#[test]
fn unterminated_string() {
    let error = error(r#"SELECT 'abc FROM readings"#);
    insta::assert_snapshot!(error, @r#"
    error: unterminated string literal
     --> test.sql:1:8
      |
    1 | SELECT 'abc FROM readings
      |        ^
    "#);
}

#[test]
fn unknown_table() {
    let error = error(r#"SELECT * FROM reading"#);
    insta::assert_snapshot!(error, @r#"
    error: table 'reading' not found
     --> test.sql:1:15
      |
    1 | SELECT * FROM reading
      |               ^
      = hint: did you mean 'readings'?
    "#);
}

#[test]
fn unknown_column() {
    let error = error(
        r#"SELECT device,
  temprature
FROM readings"#,
    );
    insta::assert_snapshot!(error, @r#"
    error: column 'temprature' not found
     --> test.sql:2:3
      |
    2 |   temprature
      |   ^
      = hint: did you mean 'temperature'?
    "#);
}

#[test]
fn unknown_column_with_table() {
    let error = error(r#"SELECT r.temprature FROM readings AS r WHERE r.device = 'x'"#);
    insta::assert_snapshot!(error, @r#"
    error: column 'temprature' not found in 'r'
     --> test.sql:1:8
      |
    1 | SELECT r.temprature FROM readings AS r WHERE r.device = 'x'
      |        ^
      = hint: did you mean 'temperature'?
    "#);
}

#[test]
fn unknown_column_that_differs_in_case() {
    let error = error(
        r#"CREATE TABLE t ("deviceId" TEXT) WITH (connector = 'fake', type = 'source', topic = 'x');
SELECT deviceId FROM t"#,
    );
    insta::assert_snapshot!(error, @r#"
    error: column 'deviceid' not found
     --> test.sql:2:8
      |
    2 | SELECT deviceId FROM t
      |        ^
      = hint: did you mean '"deviceId"'?
    "#);
}

#[test]
fn unknown_function() {
    let error = error(r#"SELECT uper(device) FROM readings"#);
    insta::assert_snapshot!(error, @r#"
    error: unknown function 'uper'
     --> test.sql:1:8
      |
    1 | SELECT uper(device) FROM readings
      |        ^
      = hint: did you mean 'upper'?
    "#);
}

#[test]
fn unknown_column_in_a_function() {
    let error = error(r#"SELECT upper(devise) FROM readings"#);
    insta::assert_snapshot!(error, @r#"
    error: column 'devise' not found
     --> test.sql:1:14
      |
    1 | SELECT upper(devise) FROM readings
      |              ^
      = hint: did you mean 'device'?
    "#);
}

#[test]
fn wrong_types() {
    let error = error(r#"SELECT temperature + device FROM readings"#);
    insta::assert_snapshot!(error, @r#"
    error: '+' cannot be applied to DOUBLE and TEXT
     --> test.sql:1:8
      |
    1 | SELECT temperature + device FROM readings
      |        ^
      = hint: a || b puts texts together; for a number in a text write CAST(… AS DOUBLE) or CAST(… AS BIGINT)
    "#);
}

#[test]
fn wrong_arguments() {
    let error = error(r#"SELECT sqrt('a', 'b', 'c') FROM readings"#);
    insta::assert_snapshot!(error, @r#"
    error: 'sqrt' cannot be applied to TEXT, TEXT, TEXT
     --> test.sql:1:8
      |
    1 | SELECT sqrt('a', 'b', 'c') FROM readings
      |        ^
    "#);
}

#[test]
fn where_is_no_condition() {
    let error = error(r#"SELECT device FROM readings WHERE device"#);
    insta::assert_snapshot!(error, @r#"
    error: a condition is BOOLEAN, not TEXT
     --> test.sql:1:35
      |
    1 | SELECT device FROM readings WHERE device
      |                                   ^
    "#);
}

#[test]
fn reading_a_sink() {
    let error = error(r#"SELECT * FROM alerts"#);
    insta::assert_snapshot!(error, @r#"
    error: table 'alerts' is a sink and cannot be read
     --> test.sql:1:15
      |
    1 | SELECT * FROM alerts
      |               ^
      = hint: to read what is written there, declare a source table for it
    "#);
}

#[test]
fn writing_a_source() {
    let error = error(r#"INSERT INTO readings SELECT * FROM others"#);
    insta::assert_snapshot!(error, @r#"
    error: 'readings' is no sink and cannot be written
     --> test.sql:1:13
      |
    1 | INSERT INTO readings SELECT * FROM others
      |             ^
    "#);
}

#[test]
fn writing_a_table_that_does_not_exist() {
    let error = error(r#"INSERT INTO alert SELECT device, temperature FROM readings"#);
    insta::assert_snapshot!(error, @r#"
    error: table 'alert' not found
     --> test.sql:1:13
      |
    1 | INSERT INTO alert SELECT device, temperature FROM readings
      |             ^
      = hint: did you mean 'alerts'?
    "#);
}

#[test]
fn too_many_columns() {
    let error = error(r#"INSERT INTO alerts SELECT device, temperature, ts FROM readings"#);
    insta::assert_snapshot!(error, @r#"
    error: the query gives 3 columns, but 'alerts' takes 2
     --> test.sql:1:48
      |
    1 | INSERT INTO alerts SELECT device, temperature, ts FROM readings
      |                                                ^
      = hint: the table has device, temperature
    "#);
}

#[test]
fn too_few_columns() {
    let error = error(r#"INSERT INTO alerts SELECT device FROM readings"#);
    insta::assert_snapshot!(error, @r#"
    error: the query gives 1 column, but 'alerts' takes 2
     --> test.sql:1:13
      |
    1 | INSERT INTO alerts SELECT device FROM readings
      |             ^
      = hint: the table has device, temperature
    "#);
}

#[test]
fn a_type_that_cannot_be_cast() {
    let error = error(r#"INSERT INTO alerts SELECT device, tags FROM readings"#);
    insta::assert_snapshot!(error, @r#"
    error: column 'temperature' is DOUBLE, and a value of TEXT[] cannot be made one
     --> test.sql:1:35
      |
    1 | INSERT INTO alerts SELECT device, tags FROM readings
      |                                   ^
      = hint: convert it in the SELECT
    "#);
}

#[test]
fn unknown_column_in_the_list() {
    let error = error(
        r#"INSERT INTO alerts (device, temprature) SELECT device, temperature FROM readings"#,
    );
    insta::assert_snapshot!(error, @r#"
    error: table 'alerts' has no column 'temprature'
     --> test.sql:1:29
      |
    1 | INSERT INTO alerts (device, temprature) SELECT device, temperature FROM readings
      |                             ^
      = hint: did you mean 'temperature'?
    "#);
}

#[test]
fn a_column_twice_in_the_list() {
    let error =
        error(r#"INSERT INTO alerts (device, device) SELECT device, temperature FROM readings"#);
    insta::assert_snapshot!(error, @r#"
    error: column 'device' is named twice
     --> test.sql:1:29
      |
    1 | INSERT INTO alerts (device, device) SELECT device, temperature FROM readings
      |                             ^
    "#);
}

#[test]
fn a_not_null_column_without_a_value() {
    let error = error(
        r#"CREATE TABLE s (a INT NOT NULL, b INT) WITH (connector = 'fake', type = 'sink', topic = 'x');
INSERT INTO s (b) SELECT 1 FROM readings"#,
    );
    insta::assert_snapshot!(error, @r#"
    error: column 'a' of 's' is NOT NULL, but is given no value
     --> test.sql:2:13
      |
    2 | INSERT INTO s (b) SELECT 1 FROM readings
      |             ^
    "#);
}

#[test]
fn duplicate_table() {
    let error = error(
        r#"CREATE TABLE others (x INT) WITH (connector = 'fake', type = 'source', topic = 'x')"#,
    );
    insta::assert_snapshot!(error, @r#"
    error: there is a table 'others' already
     --> test.sql:1:14
      |
    1 | CREATE TABLE others (x INT) WITH (connector = 'fake', type = 'source', topic = 'x')
      |              ^
      = hint: give it another name, or write IF NOT EXISTS to keep the first one
    "#);
}

#[test]
fn duplicate_column() {
    let error = error(
        r#"CREATE TABLE t (x INT, X TEXT) WITH (connector = 'fake', type = 'source', topic = 'x')"#,
    );
    insta::assert_snapshot!(error, @r#"
    error: column 'x' is declared twice
     --> test.sql:1:24
      |
    1 | CREATE TABLE t (x INT, X TEXT) WITH (connector = 'fake', type = 'source', topic = 'x')
      |                        ^
    "#);
}

#[test]
fn no_connector() {
    let error = error(r#"CREATE TABLE t (x INT) WITH (topic = 'x')"#);
    insta::assert_snapshot!(error, @r#"
    error: table 't' has no connector
     --> test.sql:1:14
      |
    1 | CREATE TABLE t (x INT) WITH (topic = 'x')
      |              ^
      = hint: add WITH (connector = '…', …)
    "#);
    let error =
        crate::fake::error(r#"CREATE TABLE t (x INT) WITH (conector = 'fake', topic = 'x')"#);
    insta::assert_snapshot!(error, @r#"
    error: table 't' has no connector
     --> test.sql:1:14
      |
    1 | CREATE TABLE t (x INT) WITH (conector = 'fake', topic = 'x')
      |              ^
      = hint: 'conector' may be meant: write connector = '…'
    "#);
}

#[test]
fn unknown_connector() {
    let error = error(r#"CREATE TABLE t (x INT) WITH (connector = 'fak', type = 'source')"#);
    insta::assert_snapshot!(error, @r#"
    error: unknown connector 'fak'; did you mean 'fake'?
     --> test.sql:1:30
      |
    1 | CREATE TABLE t (x INT) WITH (connector = 'fak', type = 'source')
      |                              ^
    "#);
}

#[test]
fn unknown_and_missing_options() {
    let error = error(
        r#"CREATE TABLE t (x INT) WITH (
  connector = 'fake',
  type = 'source',
  topik = 'x'
)"#,
    );
    insta::assert_snapshot!(error, @r#"
    error: unknown option 'topik'; did you mean 'topic'?
     --> test.sql:4:3
      |
    4 |   topik = 'x'
      |   ^

    error: missing option 'topic': Where
     --> test.sql:1:14
      |
    1 | CREATE TABLE t (x INT) WITH (
      |              ^
    "#);
}

#[test]
fn an_option_with_a_wrong_value() {
    let error =
        error(r#"CREATE TABLE t (x INT) WITH (connector = 'fake', topic = 'x', type = 'sauce')"#);
    insta::assert_snapshot!(error, @r#"
    error: option 'type': 'sauce' is not one of 'source', 'sink'; did you mean 'source'?
     --> test.sql:1:63
      |
    1 | CREATE TABLE t (x INT) WITH (connector = 'fake', topic = 'x', type = 'sauce')
      |                                                               ^
    "#);
}

#[test]
fn an_option_that_is_no_string() {
    let error = error(r#"CREATE TABLE t (x INT) WITH (connector = 'fake', topic = 1 + 2)"#);
    insta::assert_snapshot!(error, @r#"
    error: the value of option 'topic' must be a string
     --> test.sql:1:58
      |
    1 | CREATE TABLE t (x INT) WITH (connector = 'fake', topic = 1 + 2)
      |                                                          ^
    "#);
}

#[test]
fn an_option_twice() {
    let error =
        error(r#"CREATE TABLE t (x INT) WITH (connector = 'fake', topic = 'a', topic = 'b')"#);
    insta::assert_snapshot!(error, @r#"
    error: option 'topic' is given twice
     --> test.sql:1:63
      |
    1 | CREATE TABLE t (x INT) WITH (connector = 'fake', topic = 'a', topic = 'b')
      |                                                               ^
    "#);
}

#[test]
fn unknown_profile() {
    let error = error(
        r#"CREATE TABLE t (x INT) WITH (connector = 'fake', connection_profile = 'plnt', topic = 'a', type = 'source')"#,
    );
    insta::assert_snapshot!(error, @r#"
    error: connection profile 'plnt' not found
     --> test.sql:1:50
      |
    1 | CREATE TABLE t (x INT) WITH (connector = 'fake', connection_profile = 'plnt', topic = 'a', type = 'source')
      |                                                  ^
      = hint: did you mean 'plant'?
    "#);
}

#[test]
fn profile_of_another_connector() {
    let error = error(
        r#"CREATE TABLE t (x INT) WITH (connector = 'fake', connection_profile = 'elsewhere', topic = 'a', type = 'source')"#,
    );
    insta::assert_snapshot!(error, @r#"
    error: connection profile 'elsewhere' is for the connector 'other', not for 'fake'
     --> test.sql:1:50
      |
    1 | CREATE TABLE t (x INT) WITH (connector = 'fake', connection_profile = 'elsewhere', topic = 'a', type = 'source')
      |                                                  ^
    "#);
}

#[test]
fn unsupported_type() {
    let error = error(
        r#"CREATE TABLE t (
  x INT,
  y GEOMETRY
) WITH (connector = 'fake', type = 'source', topic = 'x')"#,
    );
    insta::assert_snapshot!(error, @r#"
    error: column 'y' has the unsupported type GEOMETRY
     --> test.sql:3:5
      |
    3 |   y GEOMETRY
      |     ^
      = hint: there are BOOLEAN, TINYINT, SMALLINT, INT, BIGINT, each also UNSIGNED, FLOAT, DOUBLE, DECIMAL(p, s), TEXT, BYTEA, JSON, DATE, TIME, TIMESTAMP, INTERVAL, STRUCT<…>, MAP<…, …> and T[]
    "#);
}

#[test]
fn unsupported_column_option() {
    let error = error(
        r#"CREATE TABLE t (x INT DEFAULT 3) WITH (connector = 'fake', type = 'source', topic = 'x')"#,
    );
    insta::assert_snapshot!(error, @r#"
    error: column 'x' has the option DEFAULT 3, which is not supported yet
     --> test.sql:1:17
      |
    1 | CREATE TABLE t (x INT DEFAULT 3) WITH (connector = 'fake', type = 'source', topic = 'x')
      |                 ^
      = hint: there are NOT NULL, PRIMARY KEY, METADATA FROM '…' and GENERATED ALWAYS AS (…)
    "#);
}

#[test]
fn unique() {
    let error = error(
        r#"CREATE TABLE t (x INT, UNIQUE (x)) WITH (connector = 'fake', type = 'source', topic = 'x')"#,
    );
    insta::assert_snapshot!(error, @r#"
    error: of table constraints only PRIMARY KEY is supported
     --> test.sql:1:32
      |
    1 | CREATE TABLE t (x INT, UNIQUE (x)) WITH (connector = 'fake', type = 'source', topic = 'x')
      |                                ^
    "#);
}

#[test]
fn metadata_without_quotes() {
    let error = error(
        r#"CREATE TABLE t (x TEXT METADATA FROM topic) WITH (connector = 'fake', type = 'source', topic = 'x')"#,
    );
    insta::assert_snapshot!(error, @r#"
    error: expected the name of a metadata field in single quotes, found topic
     --> test.sql:1:38
      |
    1 | CREATE TABLE t (x TEXT METADATA FROM topic) WITH (connector = 'fake', type = 'source', topic = 'x')
      |                                      ^
    "#);
}

#[test]
fn generated_column_in_a_sink() {
    let error = error(
        r#"CREATE TABLE t (x TEXT, y TEXT GENERATED ALWAYS AS (x) STORED) WITH (connector = 'fake', type = 'sink', topic = 'x')"#,
    );
    insta::assert_snapshot!(error, @r#"
    error: column 'y' of a sink is generated
     --> test.sql:1:25
      |
    1 | CREATE TABLE t (x TEXT, y TEXT GENERATED ALWAYS AS (x) STORED) WITH (connector = 'fake', type = 'sink', topic = 'x')
      |                         ^
      = hint: compute it in the SELECT that writes the table
    "#);
}

#[test]
fn generated_column_over_an_unknown_one() {
    let error = error(
        r#"CREATE TABLE t (x TEXT, y TEXT GENERATED ALWAYS AS (upper(z)) STORED) WITH (connector = 'fake', type = 'source', topic = 'x')"#,
    );
    insta::assert_snapshot!(error, @r#"
    error: column 'z' not found
     --> test.sql:1:59
      |
    1 | CREATE TABLE t (x TEXT, y TEXT GENERATED ALWAYS AS (upper(z)) STORED) WITH (connector = 'fake', type = 'source', topic = 'x')
      |                                                           ^
      = hint: there are x
    "#);
}

#[test]
fn generated_column_of_a_wrong_type() {
    let error = error(
        r#"CREATE TABLE t (x TEXT[], y DOUBLE GENERATED ALWAYS AS (x) STORED) WITH (connector = 'fake', type = 'source', topic = 'x')"#,
    );
    insta::assert_snapshot!(error, @r#"
    error: TEXT[] cannot be cast to DOUBLE
     --> test.sql:1:57
      |
    1 | CREATE TABLE t (x TEXT[], y DOUBLE GENERATED ALWAYS AS (x) STORED) WITH (connector = 'fake', type = 'source', topic = 'x')
      |                                                         ^
    "#);
}

#[test]
fn source_without_columns() {
    let error = error(r#"CREATE TABLE t WITH (connector = 'fake', type = 'source', topic = 'x')"#);
    insta::assert_snapshot!(error, @r#"
    error: source table 't' has no columns
     --> test.sql:1:14
      |
    1 | CREATE TABLE t WITH (connector = 'fake', type = 'source', topic = 'x')
      |              ^
    "#);
}

#[test]
fn over() {
    let error = error(r#"SELECT rank() OVER (PARTITION BY device ORDER BY ts) FROM readings"#);
    insta::assert_snapshot!(error, @r#"
    error: 'rank' looks at all rows of its partition, which on a stream has an end only if a window is part of it
     --> test.sql:1:8
      |
    1 | SELECT rank() OVER (PARTITION BY device ORDER BY ts) FROM readings
      |        ^
      = hint: let it look back from each row, OVER (… ORDER BY ts RANGE BETWEEN INTERVAL '10 minutes' PRECEDING AND CURRENT ROW), or group the rows by a window in a subquery, for example GROUP BY tumble(INTERVAL '1 minute'), and write OVER (PARTITION BY window, …)
    "#);
}

#[test]
fn order_by() {
    let error = error(
        r#"SELECT device FROM readings
ORDER BY device"#,
    );
    insta::assert_snapshot!(error, @r#"
    error: a stream has no end, so that it cannot be sorted by ORDER BY
     --> test.sql:2:1
      |
    2 | ORDER BY device
      | ^
    "#);
}

#[test]
fn limit() {
    let error = error(r#"SELECT device FROM readings LIMIT 10"#);
    insta::assert_snapshot!(error, @r#"
    error: LIMIT ends a stream, which this version cannot run yet
     --> test.sql:1:29
      |
    1 | SELECT device FROM readings LIMIT 10
      |                             ^
    "#);
}

#[test]
fn comma_join() {
    let error = error(r#"SELECT 1 FROM readings, others"#);
    insta::assert_snapshot!(error, @r#"
    error: a join of two streams needs a column that is equal on both sides, or every row would meet every other
     --> test.sql:1:8
      |
    1 | SELECT 1 FROM readings, others
      |        ^
      = hint: write JOIN … ON a.key = b.key
    "#);
}

#[test]
fn except() {
    let error = error(r#"SELECT device FROM readings EXCEPT SELECT device FROM others"#);
    insta::assert_snapshot!(error, @r#"
    error: EXCEPT must remember every row, which a stream cannot
     --> test.sql:1:29
      |
    1 | SELECT device FROM readings EXCEPT SELECT device FROM others
      |                             ^
    "#);
}

#[test]
fn subquery() {
    let error = error(
        r#"SELECT device FROM readings WHERE temperature > (SELECT temperature FROM others)"#,
    );
    insta::assert_snapshot!(error, @r#"
    error: a subquery in an expression is a join, which this version cannot run yet
     --> test.sql:1:50
      |
    1 | SELECT device FROM readings WHERE temperature > (SELECT temperature FROM others)
      |                                                  ^
    "#);
}

#[test]
fn exists() {
    let error = error(
        r#"SELECT device FROM readings r WHERE EXISTS (SELECT 1 FROM others o WHERE o.device = r.device)"#,
    );
    insta::assert_snapshot!(error, @r#"
    error: a subquery in an expression is a join, which this version cannot run yet
     --> test.sql:1:45
      |
    1 | SELECT device FROM readings r WHERE EXISTS (SELECT 1 FROM others o WHERE o.device = r.device)
      |                                             ^
    "#);
}

#[test]
fn table_function() {
    let error = error(r#"SELECT * FROM generate_series(1, 10)"#);
    insta::assert_snapshot!(error, @r#"
    error: FROM takes tables, views and subqueries only
     --> test.sql:1:15
      |
    1 | SELECT * FROM generate_series(1, 10)
      |               ^
    "#);
}

#[test]
fn never_true() {
    let error = error(r#"SELECT device FROM readings WHERE 1 = 2"#);
    insta::assert_snapshot!(error, @r#"
    error: the condition is never true: the query can give no rows
     --> test.sql:1:1
      |
    1 | SELECT device FROM readings WHERE 1 = 2
      | ^
      = hint: look for a contradiction in WHERE
    "#);
}

#[test]
fn update() {
    let error = error(r#"UPDATE readings SET device = 'x'"#);
    insta::assert_snapshot!(error, @r#"
    error: UPDATE is not a statement that is understood
     --> test.sql:1:1
      |
    1 | UPDATE readings SET device = 'x'
      | ^
      = hint: there are CREATE TABLE, CREATE VIEW, INSERT INTO … SELECT, SELECT, SET and EXPLAIN
    "#);
}

#[test]
fn drop() {
    let error = error(r#"DROP TABLE readings"#);
    insta::assert_snapshot!(error, @r#"
    error: DROP TABLE is not a statement that is understood
     --> test.sql:1:1
      |
    1 | DROP TABLE readings
      | ^
      = hint: there are CREATE TABLE, CREATE VIEW, INSERT INTO … SELECT, SELECT, SET and EXPLAIN
    "#);
}

#[test]
fn set() {
    let error = error(r#"SET x = 1"#);
    insta::assert_snapshot!(error, @r#"
    error: there is no setting 'x'
     --> test.sql:1:5
      |
    1 | SET x = 1
      |     ^
      = hint: there is 'updating_ttl'
    "#);
}

#[test]
fn parameter() {
    let error = error(r#"SELECT device FROM readings WHERE device = $1"#);
    insta::assert_snapshot!(error, @r#"
    error: '$1' is a parameter, and there are none
     --> test.sql:1:44
      |
    1 | SELECT device FROM readings WHERE device = $1
      |                                            ^
    "#);
}

#[test]
fn bad_json_path() {
    let error = error(r#"SELECT extract_json(data, '$[') FROM readings"#);
    insta::assert_snapshot!(error, @r#"
    error: '$[' is not a JSONPath that 'extract_json' understands: at position 1, parser error
     --> test.sql:1:8
      |
    1 | SELECT extract_json(data, '$[') FROM readings
      |        ^
    "#);
}

#[test]
fn json_path_from_a_column() {
    let error = error(r#"SELECT extract_json(data, device) FROM readings"#);
    insta::assert_snapshot!(error, @r#"
    error: the path of 'extract_json' must be a constant
     --> test.sql:1:8
      |
    1 | SELECT extract_json(data, device) FROM readings
      |        ^
    "#);
}

#[test]
fn too_deep() {
    let error = error(
        r#"SELECT ((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((1)))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))) FROM readings"#,
    );
    insta::assert_snapshot!(error, @r#"
    error: the statement is nested more than 100 levels deep
     --> test.sql:1:423
      |
    1 | )))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))) FROM readings
      |                                                                                 ^
    "#);
}

#[test]
fn explain_with_options() {
    let error = error(r#"EXPLAIN ANALYZE SELECT device FROM readings"#);
    insta::assert_snapshot!(error, @r#"
    error: EXPLAIN takes an INSERT or a SELECT and no options
     --> test.sql:1:1
      |
    1 | EXPLAIN ANALYZE SELECT device FROM readings
      | ^
    "#);
}

#[test]
fn unnest_with_ordinality() {
    let error = error(r#"SELECT * FROM unnest(ARRAY[1, 2]) WITH ORDINALITY"#);
    insta::assert_snapshot!(error, @r#"
    error: unnest WITH ORDINALITY or OFFSET counts rows, which this version cannot run yet
     --> test.sql:1:15
      |
    1 | SELECT * FROM unnest(ARRAY[1, 2]) WITH ORDINALITY
      |               ^
    "#);
}

#[test]
fn lateral_subquery_that_reads_a_table() {
    let error = error(r#"SELECT * FROM readings, LATERAL (SELECT * FROM others) AS o"#);
    insta::assert_snapshot!(error, @r#"
    error: LATERAL is a join, which this version cannot run yet
     --> test.sql:1:34
      |
    1 | SELECT * FROM readings, LATERAL (SELECT * FROM others) AS o
      |                                  ^
    "#);
}

#[test]
fn left_join_unnest() {
    let error = error(r#"SELECT * FROM readings LEFT JOIN unnest(tags) AS tag ON true"#);
    insta::assert_snapshot!(error, @r#"
    error: an outer join with unnest; write CROSS JOIN
     --> test.sql:1:1
      |
    1 | SELECT * FROM readings LEFT JOIN unnest(tags) AS tag ON true
      | ^
    "#);
}

#[test]
fn same_names_for_a_sink_without_columns() {
    let error = error(
        r#"CREATE TABLE s WITH (connector = 'fake', type = 'sink', topic = 'x');
INSERT INTO s SELECT device, temperature::INT,
  temperature::TEXT FROM readings"#,
    );
    insta::assert_snapshot!(error, @r#"
    error: columns 2 and 3 of the query have the same name 'temperature'
     --> test.sql:3:3
      |
    3 |   temperature::TEXT FROM readings
      |   ^
      = hint: give one of them another with AS; the first stands at line 2, column 30
    "#);
}

#[test]
fn same_names_in_a_view() {
    let error =
        error(r#"CREATE VIEW v AS SELECT temperature + 1, (temperature + 1) FROM readings"#);
    insta::assert_snapshot!(error, @r#"
    error: columns 1 and 2 of the query have the same name 'temperature + 1'
     --> test.sql:1:43
      |
    1 | CREATE VIEW v AS SELECT temperature + 1, (temperature + 1) FROM readings
      |                                           ^
      = hint: give one of them another with AS; the first stands at line 1, column 25
    "#);
}

#[test]
fn null_for_a_not_null_column() {
    let error = error(
        r#"CREATE TABLE s (a TEXT NOT NULL, b INT) WITH (connector = 'fake', type = 'sink', topic = 'x');
INSERT INTO s SELECT CAST(NULL AS TEXT), 1 FROM readings"#,
    );
    insta::assert_snapshot!(error, @r#"
    error: column 'a' of 's' is NOT NULL, but is given NULL
     --> test.sql:2:27
      |
    2 | INSERT INTO s SELECT CAST(NULL AS TEXT), 1 FROM readings
      |                           ^
    "#);
}

#[test]
fn field_of_a_struct() {
    let error = error("SELECT\n  readings.place.flor FROM readings");
    insta::assert_snapshot!(error, @r#"
    error: field 'flor' not found in 'place'
     --> test.sql:2:18
      |
    2 |   readings.place.flor FROM readings
      |                  ^
      = hint: did you mean 'floor'?
    "#);
}

#[test]
fn field_of_a_number() {
    let error = error("SELECT temperature.celsius FROM readings");
    insta::assert_snapshot!(error, @r#"
    error: a value of the type DOUBLE has no fields
     --> test.sql:1:8
      |
    1 | SELECT temperature.celsius FROM readings
      |        ^
      = hint: only structs, maps and JSON have
    "#);
}
