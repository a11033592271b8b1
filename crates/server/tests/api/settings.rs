//! The schema of the configuration, which editors and `headwater config --schema` know.

#[test]
fn the_schema_of_the_configuration_is_golden() {
    let schema = headwater_server::settings::schema();
    insta::assert_snapshot!(serde_json::to_string_pretty(&schema).unwrap());
}
