//! Errors as people read them.

use crate::fake::error;

#[test]
fn syntax() {
    let error = error(
        r#"SELECT device
FROM readings
WHERE temperature >"#,
    );
    insta::assert_snapshot!(error, @"");
}

#[test]
fn syntax_in_the_middle() {
    let error = error(
        r#"SELECT device FROM readings;

SELEC device FROM readings"#,
    );
    insta::assert_snapshot!(error, @"");
}

#[test]
fn two_statements_without_semicolon() {
    let error = error(r#"SELECT device FROM readings SELECT 1"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn unterminated_string() {
    let error = error(r#"SELECT 'abc FROM readings"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn unknown_table() {
    let error = error(r#"SELECT * FROM reading"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn unknown_column() {
    let error = error(
        r#"SELECT device,
  temprature
FROM readings"#,
    );
    insta::assert_snapshot!(error, @"");
}

#[test]
fn unknown_column_with_table() {
    let error = error(r#"SELECT r.temprature FROM readings AS r WHERE r.device = 'x'"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn unknown_column_that_differs_in_case() {
    let error = error(
        r#"CREATE TABLE t ("deviceId" TEXT) WITH (connector = 'fake', type = 'source', topic = 'x');
SELECT deviceId FROM t"#,
    );
    insta::assert_snapshot!(error, @"");
}

#[test]
fn unknown_function() {
    let error = error(r#"SELECT uper(device) FROM readings"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn unknown_column_in_a_function() {
    let error = error(r#"SELECT upper(devise) FROM readings"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn wrong_types() {
    let error = error(r#"SELECT temperature + device FROM readings"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn wrong_arguments() {
    let error = error(r#"SELECT sqrt('a', 'b', 'c') FROM readings"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn where_is_no_condition() {
    let error = error(r#"SELECT device FROM readings WHERE device"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn reading_a_sink() {
    let error = error(r#"SELECT * FROM alerts"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn writing_a_source() {
    let error = error(r#"INSERT INTO readings SELECT * FROM others"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn writing_a_table_that_does_not_exist() {
    let error = error(r#"INSERT INTO alert SELECT device, temperature FROM readings"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn too_many_columns() {
    let error = error(r#"INSERT INTO alerts SELECT device, temperature, ts FROM readings"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn too_few_columns() {
    let error = error(r#"INSERT INTO alerts SELECT device FROM readings"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn a_type_that_cannot_be_cast() {
    let error = error(r#"INSERT INTO alerts SELECT device, tags FROM readings"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn unknown_column_in_the_list() {
    let error = error(
        r#"INSERT INTO alerts (device, temprature) SELECT device, temperature FROM readings"#,
    );
    insta::assert_snapshot!(error, @"");
}

#[test]
fn a_column_twice_in_the_list() {
    let error =
        error(r#"INSERT INTO alerts (device, device) SELECT device, temperature FROM readings"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn a_not_null_column_without_a_value() {
    let error = error(
        r#"CREATE TABLE s (a INT NOT NULL, b INT) WITH (connector = 'fake', type = 'sink', topic = 'x');
INSERT INTO s (b) SELECT 1 FROM readings"#,
    );
    insta::assert_snapshot!(error, @"");
}

#[test]
fn duplicate_table() {
    let error = error(
        r#"CREATE TABLE others (x INT) WITH (connector = 'fake', type = 'source', topic = 'x')"#,
    );
    insta::assert_snapshot!(error, @"");
}

#[test]
fn duplicate_column() {
    let error = error(
        r#"CREATE TABLE t (x INT, X TEXT) WITH (connector = 'fake', type = 'source', topic = 'x')"#,
    );
    insta::assert_snapshot!(error, @"");
}

#[test]
fn duplicate_names_in_a_query() {
    let error = error(r#"SELECT device, temperature AS device FROM readings"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn no_connector() {
    let error = error(r#"CREATE TABLE t (x INT)"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn unknown_connector() {
    let error = error(r#"CREATE TABLE t (x INT) WITH (connector = 'fak', type = 'source')"#);
    insta::assert_snapshot!(error, @"");
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
    insta::assert_snapshot!(error, @"");
}

#[test]
fn an_option_with_a_wrong_value() {
    let error =
        error(r#"CREATE TABLE t (x INT) WITH (connector = 'fake', topic = 'x', type = 'sauce')"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn an_option_that_is_no_string() {
    let error = error(r#"CREATE TABLE t (x INT) WITH (connector = 'fake', topic = 1 + 2)"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn an_option_twice() {
    let error =
        error(r#"CREATE TABLE t (x INT) WITH (connector = 'fake', topic = 'a', topic = 'b')"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn unknown_profile() {
    let error = error(
        r#"CREATE TABLE t (x INT) WITH (connector = 'fake', connection_profile = 'plnt', topic = 'a', type = 'source')"#,
    );
    insta::assert_snapshot!(error, @"");
}

#[test]
fn profile_of_another_connector() {
    let error = error(
        r#"CREATE TABLE t (x INT) WITH (connector = 'fake', connection_profile = 'elsewhere', topic = 'a', type = 'source')"#,
    );
    insta::assert_snapshot!(error, @"");
}

#[test]
fn unsupported_type() {
    let error = error(
        r#"CREATE TABLE t (
  x INT,
  y GEOMETRY
) WITH (connector = 'fake', type = 'source', topic = 'x')"#,
    );
    insta::assert_snapshot!(error, @"");
}

#[test]
fn unsupported_column_option() {
    let error = error(
        r#"CREATE TABLE t (x INT DEFAULT 3) WITH (connector = 'fake', type = 'source', topic = 'x')"#,
    );
    insta::assert_snapshot!(error, @"");
}

#[test]
fn primary_key() {
    let error = error(
        r#"CREATE TABLE t (x INT, PRIMARY KEY (x)) WITH (connector = 'fake', type = 'source', topic = 'x')"#,
    );
    insta::assert_snapshot!(error, @"");
}

#[test]
fn metadata_without_quotes() {
    let error = error(
        r#"CREATE TABLE t (x TEXT METADATA FROM topic) WITH (connector = 'fake', type = 'source', topic = 'x')"#,
    );
    insta::assert_snapshot!(error, @"");
}

#[test]
fn generated_column_in_a_sink() {
    let error = error(
        r#"CREATE TABLE t (x TEXT, y TEXT GENERATED ALWAYS AS (x) STORED) WITH (connector = 'fake', type = 'sink', topic = 'x')"#,
    );
    insta::assert_snapshot!(error, @"");
}

#[test]
fn generated_column_over_an_unknown_one() {
    let error = error(
        r#"CREATE TABLE t (x TEXT, y TEXT GENERATED ALWAYS AS (upper(z)) STORED) WITH (connector = 'fake', type = 'source', topic = 'x')"#,
    );
    insta::assert_snapshot!(error, @"");
}

#[test]
fn generated_column_of_a_wrong_type() {
    let error = error(
        r#"CREATE TABLE t (x TEXT[], y DOUBLE GENERATED ALWAYS AS (x) STORED) WITH (connector = 'fake', type = 'source', topic = 'x')"#,
    );
    insta::assert_snapshot!(error, @"");
}

#[test]
fn source_without_columns() {
    let error = error(r#"CREATE TABLE t WITH (connector = 'fake', type = 'source', topic = 'x')"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn watermark() {
    let error = error(
        r#"CREATE TABLE t (
  ts TIMESTAMP,
  WATERMARK FOR ts AS (ts - INTERVAL '5 seconds')
) WITH (connector = 'fake', type = 'source', topic = 'x')"#,
    );
    insta::assert_snapshot!(error, @"");
}

#[test]
fn group_by() {
    let error = error(
        r#"SELECT device, avg(temperature)
FROM readings
GROUP BY device"#,
    );
    insta::assert_snapshot!(error, @"");
}

#[test]
fn aggregate() {
    let error = error(r#"SELECT count(*) FROM readings"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn tumble() {
    let error = error(r#"SELECT tumble(INTERVAL '1 minute') AS w FROM readings"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn over() {
    let error = error(r#"SELECT row_number() OVER (PARTITION BY device) FROM readings"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn distinct() {
    let error = error(r#"SELECT DISTINCT device FROM readings"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn order_by() {
    let error = error(
        r#"SELECT device FROM readings
ORDER BY device"#,
    );
    insta::assert_snapshot!(error, @"");
}

#[test]
fn limit() {
    let error = error(r#"SELECT device FROM readings LIMIT 10"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn join() {
    let error = error(r#"SELECT r.device FROM readings r JOIN others o ON r.device = o.device"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn comma_join() {
    let error = error(r#"SELECT 1 FROM readings, others"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn union_distinct() {
    let error = error(r#"SELECT device FROM readings UNION SELECT device FROM others"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn except() {
    let error = error(r#"SELECT device FROM readings EXCEPT SELECT device FROM others"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn subquery() {
    let error = error(
        r#"SELECT device FROM readings WHERE temperature > (SELECT temperature FROM others)"#,
    );
    insta::assert_snapshot!(error, @"");
}

#[test]
fn exists() {
    let error = error(
        r#"SELECT device FROM readings r WHERE EXISTS (SELECT 1 FROM others o WHERE o.device = r.device)"#,
    );
    insta::assert_snapshot!(error, @"");
}

#[test]
fn unnest_in_from() {
    let error = error(r#"SELECT * FROM unnest(ARRAY[1, 2])"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn table_function() {
    let error = error(r#"SELECT * FROM generate_series(1, 10)"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn values_list() {
    let error = error(r#"INSERT INTO alerts VALUES ('a', 1)"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn select_without_table() {
    let error = error(r#"SELECT 1"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn never_true() {
    let error = error(r#"SELECT device FROM readings WHERE 1 = 2"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn update() {
    let error = error(r#"UPDATE readings SET device = 'x'"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn drop() {
    let error = error(r#"DROP TABLE readings"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn set() {
    let error = error(r#"SET x = 1"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn parameter() {
    let error = error(r#"SELECT device FROM readings WHERE device = $1"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn create_table_as() {
    let error = error(r#"CREATE TABLE t AS SELECT device FROM readings"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn bad_json_path() {
    let error = error(r#"SELECT extract_json(data, '$[') FROM readings"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn json_path_from_a_column() {
    let error = error(r#"SELECT extract_json(data, device) FROM readings"#);
    insta::assert_snapshot!(error, @"");
}

#[test]
fn too_deep() {
    let error = error(
        r#"SELECT ((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((1)))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))))) FROM readings"#,
    );
    insta::assert_snapshot!(error, @"");
}

#[test]
fn explain_with_options() {
    let error = error(r#"EXPLAIN ANALYZE SELECT device FROM readings"#);
    insta::assert_snapshot!(error, @"");
}
