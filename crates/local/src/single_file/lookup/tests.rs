use arrow::array::{AsArray, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use headwater_connector::{Progress, StepStatus, TableSchema, lookup::try_lookup};
use headwater_format::{Format, FormatConfig};

use super::*;

fn file(path: &std::path::Path, max_bytes: u64) -> FileLookup {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Utf8, true),
        Field::new("name", DataType::Utf8, true),
    ]);
    FileLookup {
        path: path.to_owned(),
        config: OperatorConfig {
            schema: TableSchema::payload_only(&schema),
            format: FormatConfig {
                format: Some(Format::Json),
                ..FormatConfig::default()
            },
        },
        max_bytes,
        loaded: None,
    }
}

/// The rows of some keys: the number of the key, the other column.
async fn get(
    file: &mut FileLookup,
    column: &str,
    keys: &[&str],
) -> Result<Vec<(u32, String)>, LookupError> {
    let field = Field::new(column, DataType::Utf8, true);
    let keys = Arc::new(StringArray::from(keys.to_vec()));
    let keys = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![keys]).unwrap();
    let found = file.lookup(&keys).await?;
    let other = if column == "id" { "name" } else { "id" };
    let other = found.rows.column_by_name(other).unwrap().as_string::<i32>();
    let other = other.iter().map(|value| value.unwrap().to_owned());
    Ok(found.keys.into_iter().zip(other).collect())
}

fn rows(rows: &[(u32, &str)]) -> Vec<(u32, String)> {
    rows.iter()
        .map(|(key, name)| (*key, (*name).to_owned()))
        .collect()
}

#[tokio::test]
async fn the_file_is_read_again_when_it_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.jsonl");
    let mut file = file(&path, 1 << 20);
    // it may come yet
    assert!(matches!(file.open().await, Err(LookupError::Passing(_))));
    std::fs::write(
        &path,
        "{\"id\":\"1\",\"name\":\"a\"}\n{\"id\":\"2\",\"name\":\"b\"}\n",
    )
    .unwrap();
    assert_eq!(
        get(&mut file, "id", &["2", "3", "1"]).await.unwrap(),
        rows(&[(0, "b"), (2, "a")])
    );
    assert_eq!(
        get(&mut file, "name", &["b"]).await.unwrap(),
        rows(&[(0, "2")])
    );
    // of the same length, but another file
    let other = folder.path().join("other.jsonl");
    std::fs::write(
        &other,
        "{\"id\":\"1\",\"name\":\"c\"}\n{\"id\":\"1\",\"name\":\"d\"}\n",
    )
    .unwrap();
    std::fs::rename(&other, &path).unwrap();
    assert_eq!(
        get(&mut file, "id", &["2", "3", "1"]).await.unwrap(),
        rows(&[(2, "c"), (2, "d")])
    );
    // caught half written
    std::fs::write(&path, "{\"id\":\"1\",\"na").unwrap();
    assert!(matches!(
        get(&mut file, "id", &["1"]).await,
        Err(LookupError::Passing(_))
    ));
    std::fs::write(&path, "").unwrap();
    assert_eq!(get(&mut file, "id", &["1"]).await.unwrap(), rows(&[]));
}

#[tokio::test]
async fn a_file_that_takes_too_much_memory_is_refused_and_a_test_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("names.jsonl");
    std::fs::write(&path, "{\"id\":\"1\",\"name\":\"a\"}\n").unwrap();
    let error = file(&path, 10).open().await.unwrap_err();
    assert!(matches!(error, LookupError::Final(_)), "{error}");
    for (max_bytes, expected) in [(10, StepStatus::Failed), (1 << 20, StepStatus::Ok)] {
        let (progress, mut steps) = Progress::channel();
        let passed = try_lookup(Box::new(file(&path, max_bytes)), progress, "remedy").await;
        let step = steps.recv().await.unwrap();
        assert_eq!((step.step, step.status), ("open", expected));
        assert_eq!(passed, expected == StepStatus::Ok);
    }
}
