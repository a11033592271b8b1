//! The format `csv` (RFC 4180): one record a row.
//!
//! Without a header the cells of a record are the columns in their order, as many as there are. With `csv.header` each
//! payload begins with a line of names: columns are found by name, others are passed over, missing ones are null. A
//! payload may hold several records, which are decoded all or none; blank lines are no records. With
//! `framing = 'newline'` each line is decoded by itself instead.
//!
//! A cell that is empty, or is `csv.null_string`, is null, or empty text in a `TEXT NOT NULL` column. Cells otherwise
//! mean what the same JSON string would; booleans are `true`, `false`, `1` and `0`, and what is no text may have space
//! around it.

use std::borrow::Cow;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use crate::config::{CsvOptions, Format, TimestampFormat};
use crate::error::{BadPayload, FormatError};
use crate::json::fault::{Fault, Result};
use crate::json::number;
use crate::json::scan::Scanner;
use crate::json::text::{write_float, write_integer};
use crate::json::{is_json, is_text, time};
use crate::payloads::Payloads;
use crate::rows::{Cell, Number, Rows, as_text, check, timestamp_number};
use crate::token::{Source, Token, TokenDecoder};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const NAME: &str = Format::Csv.name();

/// What a column makes of its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// Empty is not null.
    TextNotNull,
    Json,
    Boolean,
    Timestamp,
    Other,
}

/// Reads the records of payloads. See the [module](self).
#[derive(Debug)]
pub(crate) struct CsvDecoder {
    rows: TokenDecoder,
    columns: Vec<(String, Kind)>,
    header: bool,
    null: String,
    record: Record,
    /// For each cell of a record the column it belongs to.
    places: Vec<Option<usize>>,
}

/// One record, taken apart.
#[derive(Debug)]
struct Record {
    reader: Reader,
    cells: Vec<u8>,
    ends: Vec<usize>,
    len: usize,
    /// Where it begins in the payload.
    at: usize,
    /// Where the next one begins.
    next: usize,
}

impl CsvDecoder {
    /// No rows yet.
    ///
    /// # Errors
    /// A type that cells cannot be read into, a delimiter that is none.
    pub(crate) fn new(
        options: &CsvOptions,
        schema: &Schema,
    ) -> std::result::Result<Self, FormatError> {
        flat(schema, "read")?;
        let kind = |field: &Field| match field.data_type() {
            _ if is_json(field) => Kind::Json,
            text if is_text(text) && !field.is_nullable() => Kind::TextNotNull,
            text if is_text(text) => Kind::Text,
            DataType::Boolean => Kind::Boolean,
            DataType::Timestamp(..) => Kind::Timestamp,
            _ => Kind::Other,
        };
        let columns = schema.fields().iter();
        Ok(Self {
            rows: TokenDecoder::new(NAME, options.timestamp_format, schema)?,
            columns: columns.map(|f| (f.name().clone(), kind(f))).collect(),
            header: options.header,
            null: options.null_string.clone(),
            record: Record {
                reader: ReaderBuilder::new().delimiter(delimiter(options)?).build(),
                cells: vec![0; 256],
                ends: vec![0; schema.fields().len() + 1],
                len: 0,
                at: 0,
                next: 0,
            },
            places: Vec::new(),
        })
    }

    /// Appends the rows of one payload, or nothing.
    pub(crate) fn push(&mut self, payload: &[u8]) -> std::result::Result<usize, BadPayload> {
        self.record.begin();
        if let Err(fault) = self.read_header(payload) {
            return Err(fault.into_bad_payload(payload));
        }
        let Self {
            rows,
            columns,
            record,
            places,
            null,
            header,
        } = self;
        let mut count = 0;
        rows.push_each(payload, |rows| {
            if !record.advance(payload) {
                return match count {
                    0 => Err(Fault::new(payload.len(), "expected a record, found none")),
                    _ => Ok(false),
                };
            }
            count += 1;
            if !*header && record.len != columns.len() {
                let reason = format!(
                    "a record of {} cells, but the table has {} columns",
                    record.len,
                    columns.len()
                );
                return Err(Fault::new(record.at, reason));
            }
            rows.append(&mut Cells {
                record,
                columns,
                places,
                null,
                cell: None,
            })?;
            Ok(true)
        })
    }

    /// Finds out which cell belongs to which column.
    fn read_header(&mut self, payload: &[u8]) -> Result<()> {
        self.places.clear();
        if !self.header {
            self.places.extend((0..self.columns.len()).map(Some));
            return Ok(());
        }
        if !self.record.advance(payload) {
            return Err(Fault::new(0, "expected a header, found nothing"));
        }
        for cell in 0..self.record.len {
            let name = self.record.cell(cell);
            let is_named = |(column, _): &(String, Kind)| column.as_bytes() == name;
            self.places.push(self.columns.iter().position(is_named));
        }
        Ok(())
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows.rows()
    }

    pub(crate) fn finish(&mut self) -> std::result::Result<Vec<ArrayRef>, ArrowError> {
        self.rows.finish()
    }
}

impl Record {
    /// Before a payload.
    fn begin(&mut self) {
        self.reader.reset();
        self.next = 0;
    }

    /// Goes over the next record; `false` at the end.
    fn advance(&mut self, payload: &[u8]) -> bool {
        self.at = self.next;
        self.len = 0;
        let mut used = 0;
        loop {
            let input = &payload[self.next..];
            let (cells, ends) = (&mut self.cells[used..], &mut self.ends[self.len..]);
            let (result, read, written, ended) = self.reader.read_record(input, cells, ends);
            self.next += read;
            used += written;
            self.len += ended;
            match result {
                // The reader is told of the end by an empty input.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.cells.resize(self.cells.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record => return true,
                ReadRecordResult::End => return false,
            }
        }
    }

    fn cell(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.cells[start..self.ends[index]]
    }
}

/// One record as a map.
struct Cells<'r> {
    record: &'r Record,
    columns: &'r [(String, Kind)],
    places: &'r [Option<usize>],
    null: &'r str,
    /// The cell that was announced last.
    cell: Option<usize>,
}

impl<'r> Cells<'r> {
    fn column(&self) -> Option<&'r (String, Kind)> {
        let place = self.places.get(self.cell?)?;
        self.columns.get((*place)?)
    }

    fn value(&self, cell: usize, kind: Kind) -> Result<Token<'r>> {
        let bytes = self.record.cell(cell);
        let Ok(text) = simdutf8::compat::from_utf8(bytes) else {
            return Err(Fault::new(self.record.at, "a cell is not UTF-8"));
        };
        if bytes == self.null.as_bytes() || bytes.is_empty() {
            let is_text = bytes.is_empty() && kind == Kind::TextNotNull;
            return Ok(match is_text {
                true => Token::Text(Cow::Borrowed("")),
                false => Token::Null,
            });
        }
        Ok(match kind {
            Kind::Text | Kind::TextNotNull => Token::Text(Cow::Borrowed(text)),
            Kind::Boolean => match text.trim_ascii() {
                "1" => Token::Boolean(true),
                "0" => Token::Boolean(false),
                text if text.eq_ignore_ascii_case("true") => Token::Boolean(true),
                text if text.eq_ignore_ascii_case("false") => Token::Boolean(false),
                text => Token::Text(Cow::Borrowed(text)),
            },
            Kind::Json => self.document(text)?,
            Kind::Timestamp => instant(text.trim_ascii()),
            Kind::Other => Token::Text(Cow::Borrowed(text.trim_ascii())),
        })
    }

    fn document(&self, text: &'r str) -> Result<Token<'r>> {
        let text = text.trim_ascii();
        let mut scanner = Scanner::new(text.as_bytes());
        match scanner.skip_value().and_then(|()| scanner.end()) {
            Ok(()) => Ok(Token::Json(Cow::Borrowed(text))),
            Err(_) => Err(Fault::new(
                self.record.at,
                "a cell of a JSON column is not JSON",
            )),
        }
    }
}

/// What a timestamp is made of: a number counts units, everything else is a text.
fn instant(text: &str) -> Token<'_> {
    let is_number = number::whole(text.as_bytes()).is_some();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = [whole, fraction].concat();
    match (
        is_number,
        digits.parse::<i64>(),
        i32::try_from(fraction.len()),
    ) {
        (true, Ok(value), Ok(0)) => Token::Integer(value.into()),
        (true, Ok(value), Ok(scale)) => Token::Decimal(value.into(), scale),
        _ => Token::Text(Cow::Borrowed(text)),
    }
}

impl<'r> Source<'r> for Cells<'r> {
    fn position(&self) -> usize {
        self.record.at
    }

    fn token(&mut self) -> Result<Token<'r>> {
        match (self.cell, self.column()) {
            (None, _) => Ok(Token::Map),
            (Some(cell), Some((_, kind))) => self.value(cell, *kind),
            (Some(_), None) => Ok(Token::Null),
        }
    }

    fn more(&mut self) -> Result<bool> {
        let next = self.cell.map_or(0, |cell| cell + 1);
        self.cell = Some(next);
        Ok(next < self.record.len)
    }

    fn name(&mut self) -> Result<Cow<'r, str>> {
        // A cell without a column is skipped under the name that no column can be asked for by.
        Ok(Cow::Borrowed(self.column().map_or("", |(name, _)| name)))
    }

    fn end(&mut self) -> Result<()> {
        Ok(())
    }
}

fn delimiter(options: &CsvOptions) -> std::result::Result<u8, FormatError> {
    match options.delimiter.as_bytes() {
        b"\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n') => Ok(*byte),
        _ => Err(FormatError::Option(format!(
            "option 'csv.delimiter': '{}' is not one ASCII character such as ',', ';' or '\\t'",
            options.delimiter
        ))),
    }
}

/// Cells are flat.
fn flat(schema: &Schema, direction: &'static str) -> std::result::Result<(), FormatError> {
    match schema.fields().iter().find(|f| f.data_type().is_nested()) {
        None => Ok(()),
        Some(field) => Err(FormatError::UnsupportedType {
            column: field.name().clone(),
            data_type: field.data_type().to_string(),
            format: NAME,
            direction,
            remedy: "declare or cast it as TEXT or JSON",
        }),
    }
}

/// Writes one record a payload, with a header before it if asked for.
#[derive(Debug)]
pub(crate) struct CsvEncoder {
    header: Vec<u8>,
    delimiter: u8,
    null: String,
    timestamps: TimestampFormat,
}

impl CsvEncoder {
    pub(crate) fn new(
        options: &CsvOptions,
        schema: &Schema,
    ) -> std::result::Result<Self, FormatError> {
        flat(schema, "write")?;
        check(NAME, schema)?;
        let delimiter = delimiter(options)?;
        let mut header = Vec::new();
        for (index, field) in schema
            .fields()
            .iter()
            .enumerate()
            .filter(|_| options.header)
        {
            header.extend((index > 0).then_some(delimiter));
            write_cell(&mut header, field.name().as_bytes(), delimiter);
        }
        header.extend(options.header.then_some(b'\n'));
        Ok(Self {
            header,
            delimiter,
            null: options.null_string.clone(),
            timestamps: options.timestamp_format,
        })
    }

    /// Appends the rows of a batch, whose columns have the types of the schema.
    pub(crate) fn encode(&self, schema: &Schema, batch: &RecordBatch, out: &mut Payloads) {
        let rows = Rows::new(schema, batch);
        let mut plain = Vec::new();
        for row in 0..batch.num_rows() {
            out.buffer.extend_from_slice(&self.header);
            let start = out.buffer.len();
            for (index, (_, cells)) in rows.0.iter().enumerate() {
                out.buffer.extend((index > 0).then_some(self.delimiter));
                self.write(&mut out.buffer, &cells.get(row), &mut plain);
            }
            if out.buffer.len() == start {
                // A record of nothing would be a blank line.
                out.buffer.extend_from_slice(b"\"\"");
            }
            out.end();
        }
    }

    fn write(&self, out: &mut Vec<u8>, cell: &Cell<'_>, plain: &mut Vec<u8>) {
        plain.clear();
        match *cell {
            Cell::Null => return out.extend_from_slice(self.null.as_bytes()),
            Cell::Text(text) | Cell::Json(text) => {
                return write_cell(out, text.as_bytes(), self.delimiter);
            }
            Cell::Boolean(value) => plain.extend_from_slice(if value { b"true" } else { b"false" }),
            Cell::Integer(value) => write_integer(plain, value),
            Cell::Unsigned(value) => write_integer(plain, value),
            Cell::Single(value) if value.is_finite() => write_float(plain, value),
            Cell::Double(value) if value.is_finite() => write_float(plain, value),
            Cell::Single(_) | Cell::Double(_) => plain.extend_from_slice(self.null.as_bytes()),
            Cell::Binary(bytes) => plain.extend_from_slice(STANDARD.encode(bytes).as_bytes()),
            Cell::Timestamp(value, unit) => match timestamp_number(value, unit, self.timestamps) {
                Some(Number::Whole(number)) => write_integer(plain, number),
                Some(Number::Fraction(number)) => write_float(plain, number),
                None => time::write_timestamp_text(plain, value, unit, self.timestamps),
            },
            _ => drop(as_text(cell, plain)),
        }
        write_cell(out, plain, self.delimiter);
    }
}

/// Writes a cell, in quotes if it needs them.
fn write_cell(out: &mut Vec<u8>, cell: &[u8], delimiter: u8) {
    let special = |&byte: &u8| byte == delimiter || matches!(byte, b'"' | b'\r' | b'\n');
    let is_plain = !cell.is_empty() && !cell.iter().any(special);
    if is_plain {
        return out.extend_from_slice(cell);
    }
    out.push(b'"');
    for &byte in cell {
        out.extend((byte == b'"').then_some(b'"'));
        out.push(byte);
    }
    out.push(b'"');
}
