//! `single_file`: a file with one message a line.
//!
//! The source reads the file once and ends; its positions are line numbers, and a job that is started again reads
//! from the beginning. The sink empties the file when the job starts. Only a job that kept its state goes on where it was,
//! in both, the sink without a line that its end has cut off. `flush` answers when everything written before
//! is on the disk (`fdatasync`). So a file that a job writes cannot be another table of that job. Lines end with a line
//! feed, which the last one may lack. Blank lines are no messages of format `json`; with `raw_string`, a carriage
//! return before the line feed is not part of the message.
//!
//! Errors: a file that cannot be opened, read or written fails the job with its path. A line that does not fit the
//! format is bad data and is named by file and line.

mod lookup;

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use headwater_connector::lookup::try_lookup;
use headwater_connector::{
    BadData, ConfigError, Connection, ConnectionType, Connector, ConnectorMetadata, Exclusive,
    Flushed, Metrics, NoMetadata, Operator, OperatorConfig, OperatorError, Options, Place,
    Position, ProbePlace, Progress, RowDecoder, SinkOperator, SourceBatch, SourceOperator,
    SqlOption, TableSchema, TaskContext,
};
use headwater_format::{Format, FormatConfig, FormatError};
use tokio::io::AsyncReadExt;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use crate::lines::LineEncoder;
pub use crate::options::{SingleFileTable, SingleFileType};
use crate::{Parts, refuse_metadata};

const NAME: &str = "single_file";
/// How many links to links are followed, as Linux does.
const LINKS_MAX: usize = 40;
/// The most rows in one batch.
const BATCH_ROWS: usize = 8192;
/// How much is read from the file at once.
const READ_BYTES: usize = 256 * 1024;
/// The longest line, and so the bound of the source's buffer: the most that an MQTT message can hold, too.
const MAX_LINE_BYTES: usize = 256 * 1024 * 1024;

/// Makes files into tables.
#[derive(Debug, Clone, Copy)]
pub struct SingleFileConnector;

impl Connector for SingleFileConnector {
    type ProfileT = ();
    type TableT = SingleFileTable;

    fn metadata(&self) -> ConnectorMetadata {
        ConnectorMetadata {
            id: NAME,
            name: "Single file",
            description: "Reads or writes a file, one message a line, or looks rows up in it",
            source: true,
            sink: true,
            lookup: true,
            testing: true,
            format: true,
            profile_schema: None,
            table_schema: include_str!("../../../schemas/local/single_file/table.json"),
        }
    }

    fn locate(&self, location: &str) -> Result<Options, ConfigError> {
        let path = Some(location).filter(|path| !path.is_empty());
        let path = path.map(|path| SqlOption::new("path", path));
        Ok(Options(path.into_iter().collect()))
    }

    fn table_type(&self, (): &(), table: &SingleFileTable) -> ConnectionType {
        match table.type_ {
            SingleFileType::Source { .. } => ConnectionType::Source,
            SingleFileType::Sink { .. } => ConnectionType::Sink,
            SingleFileType::Lookup { .. } => ConnectionType::Lookup,
        }
    }

    fn from_config(
        &self,
        name: &str,
        (): (),
        table: SingleFileTable,
        schema: TableSchema,
        format: FormatConfig,
    ) -> Result<Connection, ConfigError> {
        refuse_metadata(NAME, &schema)?;
        let connection_type = self.table_type(&(), &table);
        if connection_type == ConnectionType::Lookup && format.bad_data == BadData::DeadLetter {
            let message = "option 'bad_data': lines of a lookup table have no dead letters; use 'fail' or 'drop'";
            return Err(ConfigError::new(Some("bad_data"), message.to_owned()));
        }
        let parts = Parts {
            connector: NAME,
            name,
            connection_type,
            table: &table,
            schema,
            format,
            description: format!("SingleFile{connection_type:?}<{}>", *table.path),
        };
        parts.connection()
    }

    fn test(
        &self,
        (): (),
        table: SingleFileTable,
        config: &OperatorConfig,
        _place: ProbePlace,
        progress: Progress,
    ) -> Option<BoxFuture<'static, bool>> {
        let lookup = lookup::of(&table, config)?;
        Some(
            try_lookup(
                Box::new(lookup),
                progress,
                "see that the file is there and fits its format",
            )
            .boxed(),
        )
    }

    fn exclusive(&self, (): &(), table: &SingleFileTable) -> Option<Exclusive> {
        let file = same_file(Path::new(table.path.as_str()))?;
        Some(Exclusive::Content(file.display().to_string()))
    }

    fn ends(&self, (): &(), _table: &SingleFileTable) -> bool {
        true
    }

    fn make_operator(
        &self,
        (): (),
        table: SingleFileTable,
        config: OperatorConfig,
        context: TaskContext,
    ) -> anyhow::Result<Operator> {
        let path = PathBuf::from(table.path.as_str());
        if let Some(lookup) = lookup::of(&table, &config) {
            return Ok(Operator::Lookup(Box::new(lookup)));
        }
        Ok(match table.type_ {
            SingleFileType::Source { .. } => {
                Operator::Source(Box::new(FileSource::new(path, &config, context.metrics)?))
            }
            _ => Operator::Sink(Box::new(FileSink {
                path,
                resumes: false,
                file: None,
                opening: None,
                lines: LineEncoder::new(&config, context.metrics, context.rejects)?,
            })),
        })
    }
}

/// Reads lines. Between two awaits everything that was read is in `buffer`, so `next` can be dropped at any time.
struct FileSource {
    path: PathBuf,
    file: Option<tokio::fs::File>,
    buffer: BytesMut,
    /// How much of `buffer` is known to hold no line feed.
    searched: usize,
    ended: bool,
    lines: u64,
    /// How many lines an earlier run has read.
    resumed: u64,
    format: Format,
    decoder: RowDecoder<NoMetadata>,
    metrics: Arc<Metrics>,
}

impl FileSource {
    fn new(path: PathBuf, config: &OperatorConfig, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        Ok(Self {
            path,
            file: None,
            buffer: BytesMut::new(),
            searched: 0,
            ended: false,
            lines: 0,
            resumed: 0,
            format: config.format.format.ok_or(FormatError::MissingFormat)?,
            decoder: RowDecoder::new(config, NoMetadata, Arc::clone(&metrics))?,
            metrics,
        })
    }

    /// Reads some more of the file; sets `ended` at its end.
    async fn fill(&mut self) -> Result<(), OperatorError> {
        if self.buffer.len() > MAX_LINE_BYTES {
            return Err(OperatorError::fatal(format!(
                "line {} of '{}' is longer than {} MiB",
                self.lines + 1,
                self.path.display(),
                MAX_LINE_BYTES >> 20
            )));
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let opened = tokio::fs::File::open(&self.path).await;
                none.insert(opened.map_err(|e| failed("opened", &self.path, e))?)
            }
        };
        self.buffer.reserve(READ_BYTES);
        let read = file.read_buf(&mut self.buffer).await;
        self.ended = read.map_err(|e| failed("read", &self.path, e))? == 0;
        Ok(())
    }

    /// Decodes whole lines from the buffer until a batch is full or there are no more.
    fn decode_lines(&mut self) -> Result<(), OperatorError> {
        while self.decoder.rows() < BATCH_ROWS {
            let Some(end) = self.line_end() else {
                return Ok(());
            };
            let mut line = self.buffer.split_to(end.min(self.buffer.len()));
            self.buffer.advance(usize::from(!self.buffer.is_empty()));
            self.searched = 0;
            self.lines += 1;
            if self.lines <= self.resumed {
                continue;
            }
            if self.format == Format::RawString && line.last() == Some(&b'\r') {
                line.truncate(line.len() - 1);
            }
            let is_json = matches!(self.format, Format::Json | Format::DebeziumJson);
            if !is_json || !line.trim_ascii().is_empty() {
                self.decode(&line)?;
            }
        }
        Ok(())
    }

    /// Where the first line in the buffer ends, if it has ended.
    fn line_end(&mut self) -> Option<usize> {
        match memchr::memchr(b'\n', &self.buffer[self.searched..]) {
            Some(at) => Some(self.searched + at),
            None if self.ended && !self.buffer.is_empty() => Some(self.buffer.len()),
            None => {
                self.searched = self.buffer.len();
                None
            }
        }
    }

    fn decode(&mut self, line: &[u8]) -> Result<(), OperatorError> {
        self.metrics.add_messages(1, line.len() as u64);
        let (path, lines) = (&self.path, self.lines);
        self.decoder.push(line, &(), || Place {
            description: format!("line {lines} of '{}'", path.display()),
            topic: Some(path.display().to_string()),
            position: Some(lines),
        })
    }
}

#[async_trait]
impl SourceOperator for FileSource {
    async fn next(&mut self) -> Result<Option<SourceBatch>, OperatorError> {
        // a position before the one behind which it goes on would be kept with state that is further
        let before = self.lines.max(self.resumed);
        loop {
            self.decode_lines()?;
            // Lines that were all dropped still move the position, or a file of bad lines would fill no batch for ever.
            if self.decoder.rows() > 0 || self.lines > before {
                return self.decoder.finish(Position(self.lines)).map(Some);
            }
            if self.ended {
                return Ok(None);
            }
            self.fill().await?;
        }
    }

    fn rereads(&self) -> bool {
        // a pipe does not
        same_file(&self.path).is_some()
    }

    fn resume(&mut self, position: Position) {
        self.resumed = position.0;
    }

    async fn commit(&mut self, _position: Position) -> Result<(), OperatorError> {
        // A file keeps its lines; there is nobody to tell.
        Ok(())
    }

    async fn close(&mut self) -> Result<(), OperatorError> {
        self.file = None;
        Ok(())
    }
}

struct FileSink {
    path: PathBuf,
    /// Whether what is in the file stays there.
    resumes: bool,
    file: Option<Arc<File>>,
    /// The file that is being made. Whoever asked for it may have gone, and it is made only once: the second time would
    /// empty it again, perhaps after lines were written.
    opening: Option<JoinHandle<std::io::Result<File>>>,
    lines: LineEncoder,
}

impl FileSink {
    async fn file(&mut self) -> Result<Arc<File>, OperatorError> {
        if let Some(file) = &self.file {
            return Ok(Arc::clone(file));
        }
        let (path, resumes) = (self.path.clone(), self.resumes);
        let opening = || spawn_blocking(move || create(&path, resumes));
        let opened = self.opening.get_or_insert_with(opening).await;
        self.opening = None;
        let file = outcome("created", &self.path, opened)?;
        Ok(Arc::clone(self.file.insert(Arc::new(file))))
    }
}

#[async_trait]
impl SinkOperator for FileSink {
    fn resume(&mut self) {
        self.resumes = true;
    }

    async fn open(&mut self) -> Result<(), OperatorError> {
        self.file().await.map(drop)
    }

    async fn write(&mut self, rows: RecordBatch) -> Result<(), OperatorError> {
        let file = self.file().await?;
        let lines = self.lines.encode(&rows)?;
        blocking("written", &self.path, move || (&*file).write_all(&lines)).await
    }

    fn flush(&mut self) -> Flushed {
        let Some(file) = self.file.clone() else {
            return futures::future::ready(Ok(())).boxed();
        };
        let path = self.path.clone();
        async move { blocking("synchronised", &path, move || sync(&file)).await }.boxed()
    }

    async fn close(&mut self) -> Result<(), OperatorError> {
        self.file = None;
        Ok(())
    }
}

/// The one path of a file that may have several: links are followed, also those to files that are yet to be made. `None`
/// for pipes and devices, which have nothing to lose.
fn same_file(path: &Path) -> Option<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        if let Ok(file) = path.canonicalize() {
            return file
                .metadata()
                .is_ok_and(|meta| meta.is_file())
                .then_some(file);
        }
        match path.read_link() {
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            Err(_) => break,
        }
    }
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    match (folder.canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => Some(folder.join(name)),
        _ => Some(path),
    }
}

/// Opens an empty file to append to: whoever writes the same file from another process then does not overwrite these
/// lines in their middle.
fn create(path: &Path, resumes: bool) -> std::io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    if file.metadata()?.is_file() {
        let kept = if resumes { whole_lines(path)? } else { 0 };
        file.set_len(kept)?;
    }
    Ok(file)
}

/// How long the whole lines of a file are. A process that was killed may have left a part of another, behind which the next line
/// could not be told from it; its row was never flushed, and comes again.
fn whole_lines(path: &Path) -> std::io::Result<u64> {
    let mut file = File::open(path)?;
    let mut end = file.metadata()?.len();
    let mut block = vec![0; READ_BYTES];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let read = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(read)?;
        if let Some(last) = read.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Pipes and devices have no disk to wait for.
fn sync(file: &File) -> std::io::Result<()> {
    match file.metadata()?.is_file() {
        true => file.sync_data(),
        false => Ok(()),
    }
}

async fn blocking<T: Send + 'static>(
    verb: &str,
    path: &Path,
    action: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, OperatorError> {
    outcome(verb, path, spawn_blocking(action).await)
}

fn outcome<T>(
    verb: &str,
    path: &Path,
    outcome: Result<std::io::Result<T>, JoinError>,
) -> Result<T, OperatorError> {
    match outcome {
        Ok(result) => result.map_err(|error| failed(verb, path, error)),
        Err(error) => Err(OperatorError::caused_by(
            format!("work on '{}' was interrupted", path.display()),
            error,
        )),
    }
}

fn failed(verb: &str, path: &Path, error: std::io::Error) -> OperatorError {
    OperatorError::caused_by(format!("'{}' cannot be {verb}", path.display()), error)
}
