#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit, TimestampNanosecondType};
use arrow::record_batch::RecordBatch;
use futures::FutureExt;
use headwater_connector::{
    Column, ColumnOrigin, ConfigError, Connection, ErasedConnector, Metrics, Operator,
    OperatorConfig, OperatorError, Options, Position, Registry, Rejects, SinkOperator,
    SourceOperator, SqlOption, State, TableSchema, TaskContext,
};
use serde_json::json;

use crate::lines::LineEncoder;
use crate::stdout::StdoutSink;

fn connection(
    connector: &str,
    schema: TableSchema,
    options: &[(&str, &str)],
) -> Result<Connection, ConfigError> {
    let option = |(key, value): &(&str, &str)| SqlOption {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        location: None,
    };
    let options = Options(options.iter().map(option).collect());
    let registry = crate::register(Registry::default());
    registry
        .get(connector)?
        .from_options("t", &options, schema, None)
}

struct Task {
    metrics: Arc<Metrics>,
    subtask: usize,
    parallelism: usize,
}

impl Task {
    fn only() -> Self {
        Self::of(0, 1)
    }

    fn of(subtask: usize, parallelism: usize) -> Self {
        Self {
            metrics: Arc::default(),
            subtask,
            parallelism,
        }
    }

    fn operator(&self, connection: &Connection) -> Operator {
        let registry = crate::register(Registry::default());
        let context = TaskContext {
            job_id: "job".to_owned(),
            operator_id: "t".to_owned(),
            subtask: self.subtask,
            parallelism: self.parallelism,
            metrics: Arc::clone(&self.metrics),
            rejects: Rejects::new(connection.config.format.bad_data, Arc::clone(&self.metrics)),
            state: State::default(),
        };
        let connector: &Arc<dyn ErasedConnector> = registry.get(&connection.connector).unwrap();
        connector.make_operator(connection, context).unwrap()
    }

    fn source(&self, connection: &Connection) -> Box<dyn SourceOperator> {
        match self.operator(connection) {
            Operator::Source(source) => source,
            _ => panic!("not a source"),
        }
    }

    fn sink(&self, connection: &Connection) -> Box<dyn SinkOperator> {
        match self.operator(connection) {
            Operator::Sink(sink) => sink,
            _ => panic!("not a sink"),
        }
    }
}

fn numbers() -> TableSchema {
    TableSchema::payload_only(&Schema::new(vec![Field::new("n", DataType::Int64, true)]))
}

fn texts() -> TableSchema {
    TableSchema::payload_only(&Schema::new(vec![Field::new("s", DataType::Utf8, true)]))
}

fn number_rows(values: &[i64]) -> RecordBatch {
    let column = Arc::new(Int64Array::from(values.to_vec()));
    RecordBatch::try_new(numbers().arrow_schema(), vec![column]).unwrap()
}

fn file(path: &Path, kind: &str, format: &str, bad_data: &str, schema: TableSchema) -> Connection {
    let path = path.to_str().unwrap();
    let options = [
        ("path", path),
        ("type", kind),
        ("format", format),
        ("bad_data", bad_data),
    ];
    connection("single_file", schema, &options).unwrap()
}

/// Reads a source to its end; checks that positions grow.
async fn read_all(source: &mut dyn SourceOperator) -> Result<Vec<RecordBatch>, OperatorError> {
    let mut batches = Vec::new();
    let mut last = None;
    source.open().await?;
    while let Some(batch) = source.next().await? {
        assert!(last < Some(batch.position));
        last = Some(batch.position);
        source.commit(batch.position).await?;
        batches.push(batch.rows);
    }
    source.close().await?;
    Ok(batches)
}

fn values(batches: &[RecordBatch]) -> Vec<i64> {
    let column = |batch: &RecordBatch| batch.column(0).as_primitive::<Int64Type>().clone();
    batches
        .iter()
        .flat_map(|batch| column(batch).values().to_vec())
        .collect()
}

#[tokio::test]
async fn a_file_is_read_to_its_end_in_bounded_batches() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.jsonl");
    let lines: Vec<_> = (0..20_000).map(|n| format!("{{\"n\":{n}}}")).collect();
    // A blank line is no message, and the last line has no line feed.
    std::fs::write(&path, format!("\n{}", lines.join("\r\n"))).unwrap();
    let task = Task::only();
    let mut source = task.source(&file(&path, "source", "json", "fail", numbers()));
    let batches = read_all(&mut *source).await.unwrap();
    assert_eq!(values(&batches), (0..20_000).collect::<Vec<_>>());
    assert!(batches.iter().all(|batch| batch.num_rows() <= 8192));
    assert_eq!(task.metrics.snapshot().rows, 20_000);
}

#[tokio::test]
async fn a_dropped_next_loses_no_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.jsonl");
    let lines: String = (0..50_000).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    std::fs::write(&path, lines).unwrap();
    let task = Task::only();
    let mut source = task.source(&file(&path, "source", "json", "fail", numbers()));
    let mut batches = Vec::new();
    loop {
        // The future is polled once and dropped if the file has not answered by then.
        let once = std::future::poll_fn(|cx| {
            let mut next = source.next();
            std::task::Poll::Ready(next.as_mut().poll(cx))
        });
        match once.await {
            std::task::Poll::Ready(Ok(Some(batch))) => batches.push(batch.rows),
            std::task::Poll::Ready(Ok(None)) => break,
            std::task::Poll::Ready(Err(error)) => panic!("{error}"),
            std::task::Poll::Pending => tokio::task::yield_now().await,
        }
    }
    assert_eq!(values(&batches), (0..50_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn raw_lines_keep_blanks_and_lose_carriage_returns() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.txt");
    std::fs::write(&path, "a\r\n\n b \n").unwrap();
    let mut source = Task::only().source(&file(&path, "source", "raw_string", "fail", texts()));
    let batches = read_all(&mut *source).await.unwrap();
    let rows: Vec<_> = batches[0].column(0).as_string::<i32>().iter().collect();
    assert_eq!(rows, [Some("a"), Some(""), Some(" b ")]);
}

#[tokio::test]
async fn bad_lines_fail_with_their_place_or_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.jsonl");
    std::fs::write(&path, "{\"n\":1}\n{\"n\":\n{\"n\":3}\n").unwrap();

    let mut source = Task::only().source(&file(&path, "source", "json", "fail", numbers()));
    let error = read_all(&mut *source).await.unwrap_err();
    assert!(matches!(error, OperatorError::BadData(_)));
    let place = format!("line 2 of '{}'", path.display());
    assert!(error.to_string().contains(&place), "{error}");

    let task = Task::only();
    let mut source = task.source(&file(&path, "source", "json", "drop", numbers()));
    assert_eq!(values(&read_all(&mut *source).await.unwrap()), [1, 3]);
    assert_eq!(task.metrics.snapshot().bad_data, 1);
}

#[tokio::test]
async fn a_file_of_bad_lines_alone_still_moves_the_position() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.jsonl");
    std::fs::write(&path, "x\ny\n").unwrap();
    let mut source = Task::only().source(&file(&path, "source", "json", "drop", numbers()));
    let batch = source.next().await.unwrap().unwrap();
    assert_eq!((batch.rows.num_rows(), batch.position.0), (0, 2));
    assert!(source.next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_file_that_is_read_on_gives_no_position_that_was_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long.json");
    // many times what is read at once
    let lines: u64 = 100_000;
    let text: String = (0..lines).map(|n| format!("{{\"n\": {n}}}\n")).collect();
    std::fs::write(&path, text).unwrap();
    let task = Task::only();
    let mut source = task.source(&file(&path, "source", "json", "fail", numbers()));
    let behind = lines - 10;
    source.resume(Position(behind));
    source.open().await.unwrap();
    let first = source.next().await.unwrap().expect("the last rows");
    assert!(first.position.0 > behind, "{:?}", first.position);
    assert_eq!(values(&[first.rows])[0], 99_990);
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nowhere.jsonl");
    let mut source = Task::only().source(&file(&path, "source", "json", "fail", numbers()));
    let error = source.next().await.unwrap_err().to_string();
    assert_eq!(error, format!("'{}' cannot be opened", path.display()));
}

#[tokio::test]
async fn a_written_file_is_emptied_first_and_whole_after_flush() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.jsonl");
    std::fs::write(&path, "what was there before\n").unwrap();
    let task = Task::only();
    let mut sink = task.sink(&file(&path, "sink", "json", "fail", numbers()));
    sink.open().await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    sink.write(number_rows(&[1, 2])).await.unwrap();
    let flushed = sink.flush();
    sink.write(number_rows(&[3])).await.unwrap();
    flushed.await.unwrap();
    sink.flush().await.unwrap();
    sink.close().await.unwrap();
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(written, "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    assert_eq!(task.metrics.snapshot().rows, 3);

    let mut source = Task::only().source(&file(&path, "source", "json", "fail", numbers()));
    assert_eq!(values(&read_all(&mut *source).await.unwrap()), [1, 2, 3]);
}

#[tokio::test]
async fn a_line_that_was_cut_off_is_removed_when_the_file_is_continued() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.jsonl");
    let long = format!("{{\"n\":{}", "1".repeat(600_000));
    for (left, kept) in [
        ("{\"n\":1}\n{\"n\":2}\n", "{\"n\":1}\n{\"n\":2}\n"),
        ("{\"n\":1}\n{\"n\":", "{\"n\":1}\n"),
        ("{\"n\"", ""),
        ("", ""),
        (&long, ""),
        (&format!("{{\"n\":1}}\n{long}"), "{\"n\":1}\n"),
    ] {
        std::fs::write(&path, left).unwrap();
        let mut sink = Task::only().sink(&file(&path, "sink", "json", "fail", numbers()));
        sink.resume();
        sink.write(number_rows(&[3])).await.unwrap();
        let written = std::fs::read_to_string(&path).unwrap();
        let is_right = written == format!("{kept}{{\"n\":3}}\n");
        assert!(is_right, "{} bytes", written.len());
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut sink = Task::only().sink(&file(dir.path(), "sink", "json", "fail", numbers()));
    let error = sink.open().await.unwrap_err().to_string();
    assert_eq!(
        error,
        format!("'{}' cannot be created", dir.path().display())
    );
}

#[tokio::test]
async fn a_line_feed_within_a_line_is_bad_data() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.txt");
    let column = Arc::new(StringArray::from(vec!["one", "t\nwo", "three"]));
    let rows = RecordBatch::try_new(texts().arrow_schema(), vec![column]).unwrap();

    let mut sink = Task::only().sink(&file(&path, "sink", "raw_string", "fail", texts()));
    let error = sink.write(rows.clone()).await.unwrap_err();
    assert!(error.to_string().contains("t\\nwo"), "{error}");

    let task = Task::only();
    let mut sink = task.sink(&file(&path, "sink", "raw_string", "drop", texts()));
    sink.write(rows).await.unwrap();
    sink.flush().await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\nthree\n");
    assert_eq!(task.metrics.snapshot().bad_data, 1);
}

#[test]
fn files_ask_for_what_they_need() {
    let error = connection("single_file", numbers(), &[("type", "sink")]).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("'path'") && text.contains("'format'"),
        "{text}"
    );
    let mut schema = numbers();
    schema.columns[0].origin = ColumnOrigin::Metadata("topic".to_owned());
    let options = [("path", "x"), ("type", "source"), ("format", "json")];
    let error = connection("single_file", schema, &options).unwrap_err();
    assert!(error.to_string().contains("has no metadata"), "{error}");
}

/// What was printed; fails from the second write on, like a pipe whose reader has gone.
#[derive(Clone, Default)]
struct Pipe {
    printed: Arc<Mutex<Vec<u8>>>,
    closed: bool,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.printed.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.closed = true;
        Ok(())
    }
}

#[tokio::test]
async fn printing_flushes_every_batch_and_notices_a_closed_pipe() {
    let format = serde_json::from_value(json!({"format": "json"})).unwrap();
    let schema = numbers();
    let config = OperatorConfig { schema, format };
    let pipe = Pipe::default();
    let lines = LineEncoder::new(&config, Arc::default(), Rejects::default()).unwrap();
    let mut sink = StdoutSink::new(lines, pipe.clone());
    sink.write(number_rows(&[1, 2])).await.unwrap();
    let printed = String::from_utf8(pipe.printed.lock().unwrap().clone()).unwrap();
    assert_eq!(printed, "{\"n\":1}\n{\"n\":2}\n");
    sink.flush().await.unwrap();
    let error = sink.write(number_rows(&[3])).await.unwrap_err().to_string();
    assert_eq!(error, "the reader of the standard output has gone away");
}

#[tokio::test]
async fn a_black_hole_counts() {
    let connection = connection("blackhole", numbers(), &[("type", "sink")]).unwrap();
    let task = Task::only();
    let mut sink = task.sink(&connection);
    sink.write(number_rows(&[1, 2, 3])).await.unwrap();
    sink.flush().await.unwrap();
    assert_eq!(task.metrics.snapshot().rows, 3);
}

fn counter() -> TableSchema {
    let field = Field::new("counter", DataType::Int64, false);
    TableSchema::payload_only(&Schema::new(vec![field]))
}

#[tokio::test]
async fn subtasks_share_the_counters() {
    let options = [("message_count", "20001")];
    let connection = connection("impulse", counter(), &options).unwrap();
    let mut all = Vec::new();
    for subtask in 0..3 {
        let mut source = Task::of(subtask, 3).source(&connection);
        all.extend(values(&read_all(&mut *source).await.unwrap()));
    }
    all.sort_unstable();
    assert_eq!(all, (0..20_001).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn rows_come_at_their_rate() {
    let options = [("event_rate", "100"), ("message_count", "50")];
    let connection = connection("impulse", counter(), &options).unwrap();
    let mut source = Task::only().source(&connection);
    let started = tokio::time::Instant::now();
    let first = source.next().await.unwrap().unwrap();
    assert_eq!(
        (first.rows.num_rows(), started.elapsed()),
        (1, Duration::ZERO)
    );
    let rest = read_all(&mut *source).await.unwrap();
    assert_eq!(values(&rest), (1..50).collect::<Vec<_>>());
    let elapsed = started.elapsed().as_millis();
    assert!((485..=500).contains(&elapsed), "{elapsed} ms");
}

#[tokio::test(start_paused = true)]
async fn a_generator_that_was_held_up_catches_up() {
    let connection = connection("impulse", counter(), &[("event_rate", "1000")]).unwrap();
    let mut source = Task::only().source(&connection);
    source.next().await.unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    let batch = source.next().await.unwrap().unwrap();
    assert!((1_999..=2_001).contains(&batch.rows.num_rows()));
}

#[tokio::test]
async fn event_time_is_regular_when_asked_for() {
    let mut schema = TableSchema::default();
    schema.columns.push(Column {
        field: Arc::new(Field::new(
            "at",
            DataType::Timestamp(TimeUnit::Nanosecond, None),
            false,
        )),
        origin: ColumnOrigin::Metadata("event_time".to_owned()),
    });
    let options = [
        ("message_count", "3"),
        ("event_time_interval", "1000"),
        ("start_time", "1970-01-01T00:00:01Z"),
    ];
    let connection = connection("impulse", schema, &options).unwrap();
    let batches = read_all(&mut *Task::only().source(&connection))
        .await
        .unwrap();
    let times = batches[0]
        .column(0)
        .as_primitive::<TimestampNanosecondType>();
    assert_eq!(
        times.values(),
        &[1_000_000_000, 1_000_001_000, 1_000_002_000]
    );
}

#[test]
fn generators_have_two_columns_and_no_others() {
    let connection = connection("impulse", TableSchema::default(), &[]).unwrap();
    let fields = connection.config.schema.arrow_schema();
    let names: Vec<_> = fields.fields().iter().map(|field| field.name()).collect();
    assert_eq!(names, ["counter", "subtask_index"]);

    let refused = |schema: TableSchema, options: &[(&str, &str)], why: &str| {
        let error = self::connection("impulse", schema, options).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    };
    refused(numbers(), &[], "has no column 'n'");
    let text = Schema::new(vec![Field::new("counter", DataType::Utf8, true)]);
    refused(TableSchema::payload_only(&text), &[], "must be BIGINT");
    refused(counter(), &[("event_rate", "0")], "event_rate");
    refused(counter(), &[("start_time", "soon")], "event_time_interval");
    let soon = [("start_time", "soon"), ("event_time_interval", "1")];
    refused(counter(), &soon, "no timestamp");
}

/// Whoever waits for the sink may go and come again; what was written in between would be lost if the file were emptied twice.
#[test]
fn a_file_that_is_being_made_is_not_made_again() {
    // of one thread, so that what blocks is done in the order in which it is asked for
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let connection = file(&path, "sink", "json", "fail", numbers());
    runtime.block_on(async {
        let mut sink = Task::only().sink(&connection);
        let (go, blocked) = std::sync::mpsc::channel();
        let blocker = tokio::task::spawn_blocking(move || blocked.recv());
        assert!(sink.open().now_or_never().is_none());
        let written = path.clone();
        let write = tokio::task::spawn_blocking(move || std::fs::write(written, "rows"));
        go.send(()).unwrap();
        sink.open().await.unwrap();
        write.await.unwrap().unwrap();
        blocker.await.unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "rows");
    });
}
