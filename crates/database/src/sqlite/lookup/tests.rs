use std::sync::Arc;

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use headwater_connector::TableSchema;

use super::*;

fn make(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

fn lookup(path: &Path) -> SqliteLookup {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("v", DataType::Int64, true),
    ]);
    SqliteLookup {
        place: Place {
            path: path.to_owned(),
            table: "t".to_owned(),
            config: OperatorConfig {
                schema: TableSchema::payload_only(&schema),
                ..OperatorConfig::default()
            },
        },
        cache: CacheOptions::default(),
        open: None,
    }
}

/// The values of some keys, each with the number of its key.
async fn get(lookup: &mut SqliteLookup, ids: &[i64]) -> Result<Vec<(u32, i64)>, LookupError> {
    let field = Field::new("id", DataType::Int64, true);
    let ids = Arc::new(Int64Array::from(ids.to_vec()));
    let keys = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![ids]).unwrap();
    let found = lookup.lookup(&keys).await?;
    let values = found
        .rows
        .column(1)
        .as_primitive::<Int64Type>()
        .values()
        .to_vec();
    Ok(found.keys.into_iter().zip(values).collect())
}

#[tokio::test]
async fn what_is_written_meanwhile_is_found_and_so_is_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    make(
        &path,
        "CREATE TABLE t (id INT, v INT); INSERT INTO t VALUES (1, 10), (1, 11), (2, 20)",
    );
    let mut lookup = lookup(&path);
    lookup.open().await.unwrap();
    assert_eq!(
        get(&mut lookup, &[2, 5, 1]).await.unwrap(),
        [(0, 20), (2, 10), (2, 11)]
    );
    make(&path, "INSERT INTO t VALUES (5, 50)");
    assert_eq!(get(&mut lookup, &[5]).await.unwrap(), [(0, 50)]);
    let other = folder.path().join("b.db");
    make(
        &other,
        "CREATE TABLE t (id INT, v INT); INSERT INTO t VALUES (5, 51)",
    );
    std::fs::rename(&other, &path).unwrap();
    assert_eq!(get(&mut lookup, &[2, 5]).await.unwrap(), [(1, 51)]);
}

#[tokio::test]
async fn a_database_that_is_away_may_come_and_one_without_the_table_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let mut lookup = lookup(&path);
    assert!(matches!(lookup.open().await, Err(LookupError::Passing(_))));
    make(&path, "CREATE TABLE other (id INT)");
    let error = lookup.open().await.unwrap_err();
    assert!(matches!(error, LookupError::Final(_)), "{error}");
    make(&path, "CREATE TABLE t (id INT, v INT)");
    lookup.open().await.unwrap();
    assert_eq!(get(&mut lookup, &[1]).await.unwrap(), []);
}
