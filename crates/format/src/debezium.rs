//! The format `debezium_json`: changes of rows, as Debezium tells them.
//!
//! ```text
//! {"before": null, "after": {"id": 1}, "op": "c"}          a new row        ◄─►  {id 1, change 1}
//! {"before": {"id": 1}, "after": {"id": 2}, "op": "u"}     a changed row    ◄─►  {id 1, change -2}, {id 2, change 2}
//! {"before": {"id": 2}, "after": null, "op": "d"}          a deleted row    ◄─►  {id 2, change -3}
//! ```
//!
//! The rows are those of the format `json`, with its options. The column [`CHANGE`] is none of theirs: it says what a row
//! does. Read: the operations `c`, `r` (of a snapshot), `u` and `d`, with or without the envelope of `schema` and `payload`; a
//! tombstone (`null`) is no row. Written: a row and the one in its place, which come one after the other, are one record; so
//! the row that is taken back has none of its own ([`Encoder::has_record`](crate::Encoder::has_record)).

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Int64Type, Schema};
use arrow::error::ArrowError;

use crate::config::{Format, JsonOptions};
use crate::error::{BadPayload, FormatError};
use crate::json::encode::JsonEncoder;
use crate::json::fault::{Fault, Result};
use crate::json::fields::Fields;
use crate::json::scan::Scanner;
use crate::payloads::Payloads;

/// The name of the column that says what a row of changes does, a number that is never 0: a negative one takes back an equal
/// row that was sent before, a positive one is new. A row that takes the place of another comes right behind it, with the
/// same number but for the sign; no others near each other have the same one.
pub const CHANGE: &str = "__headwater_change";

/// The columns of the rows, and where [`CHANGE`] stands among them.
fn split(schema: &Schema) -> std::result::Result<(Schema, Option<usize>), FormatError> {
    let Ok(index) = schema.index_of(CHANGE) else {
        return Ok((schema.clone(), None));
    };
    if *schema.field(index).data_type() != DataType::Int64 {
        return Err(FormatError::Option(format!(
            "column '{CHANGE}' of format 'debezium_json' must be BIGINT NOT NULL"
        )));
    }
    let rows = (0..schema.fields().len()).filter(|other| *other != index);
    let rows = schema.project(&rows.collect::<Vec<_>>())?;
    Ok((rows, Some(index)))
}

/// Reads one record a payload.
#[derive(Debug)]
pub(crate) struct DebeziumDecoder {
    fields: Fields,
    /// What each row does.
    changes: Vec<i64>,
    /// The number of the last record.
    number: i64,
    /// Where that stands among the columns.
    index: usize,
}

/// The members of a record: where the values begin.
#[derive(Default)]
struct Record<'a> {
    before: Option<usize>,
    after: Option<usize>,
    op: Option<&'a [u8]>,
    payload: Option<usize>,
}

impl DebeziumDecoder {
    pub(crate) fn new(
        options: &JsonOptions,
        schema: &Schema,
    ) -> std::result::Result<Self, FormatError> {
        let (rows, index) = split(schema)?;
        let Some(index) = index else {
            return Err(FormatError::Option(format!(
                "format 'debezium_json' is read with a column {CHANGE} BIGINT NOT NULL, which says what a record does"
            )));
        };
        let fields = Fields::new(rows.fields(), options, "");
        Ok(Self {
            fields: fields.map_err(|error| error.of_format(Format::DebeziumJson.name()))?,
            changes: Vec::new(),
            number: 0,
            index,
        })
    }

    /// Appends the rows of one record, or nothing.
    pub(crate) fn push(&mut self, payload: &[u8]) -> std::result::Result<usize, BadPayload> {
        let before = self.changes.len();
        self.number += 1;
        match self.read(payload) {
            Ok(()) => Ok(self.changes.len() - before),
            Err(fault) => {
                self.fields.truncate(before);
                self.changes.truncate(before);
                Err(fault.into_bad_payload(payload))
            }
        }
    }

    fn read(&mut self, payload: &[u8]) -> Result<()> {
        let mut scanner = Scanner::new(payload);
        scanner.skip_space();
        if scanner.peek() == b'n' {
            scanner.literal("null")?;
            return scanner.end();
        }
        let mut start = scanner.position();
        let mut record = Record::read(&mut scanner)?;
        scanner.end()?;
        if let (None, Some(payload_start)) = (record.op, record.payload) {
            start = payload_start;
            record = Record::read(&mut Scanner::at(payload, start))
                .map_err(|fault| fault.in_field("payload"))?;
        }
        let row = |name, at: Option<usize>| match at {
            Some(at) if payload[at] != b'n' => Ok((name, at)),
            _ => Err(missing(start, name, record.op)),
        };
        let (before, after) = (record.before, record.after);
        match record.op {
            Some(b"c" | b"r") => self.row(payload, row("after", after)?, self.number),
            Some(b"d") => self.row(payload, row("before", before)?, -self.number),
            Some(b"u") => {
                self.row(payload, row("before", before)?, -self.number)?;
                self.row(payload, row("after", after)?, self.number)
            }
            Some(op) => {
                let op = String::from_utf8_lossy(op);
                let reason = format!("'{op}' is not one of the operations c, r, u and d");
                Err(Fault::new(start, reason).in_field("op"))
            }
            None => Err(Fault::new(start, "a record has a member 'op'")),
        }
    }

    fn row(&mut self, payload: &[u8], (name, at): (&str, usize), change: i64) -> Result<()> {
        let read = self
            .fields
            .read(&mut Scanner::at(payload, at), self.changes.len());
        read.map_err(|fault| fault.in_field(name))?;
        self.changes.push(change);
        Ok(())
    }

    pub(crate) fn rows(&self) -> usize {
        self.changes.len()
    }

    pub(crate) fn finish(&mut self) -> std::result::Result<Vec<ArrayRef>, ArrowError> {
        let mut columns = self.fields.finish()?;
        let changes = Int64Array::from(std::mem::take(&mut self.changes));
        columns.insert(self.index, Arc::new(changes));
        Ok(columns)
    }
}

/// The row that an operation needs is not there.
fn missing(at: usize, name: &str, op: Option<&[u8]>) -> Box<Fault> {
    let op = String::from_utf8_lossy(op.unwrap_or_default());
    let remedy = match name {
        "before" => "; have the database log whole rows (REPLICA IDENTITY FULL)",
        _ => "",
    };
    Fault::new(at, format!("the operation '{op}' needs '{name}'{remedy}"))
}

impl<'a> Record<'a> {
    /// Goes over the object that the scanner is at.
    fn read(scanner: &mut Scanner<'a>) -> Result<Self> {
        if scanner.peek() != b'{' {
            return Err(scanner.unexpected("an object"));
        }
        scanner.enter()?;
        scanner.skip_space();
        let mut record = Self::default();
        let mut more = scanner.peek() != b'}';
        if !more {
            scanner.leave();
        }
        while more {
            let name = scanner.string()?.raw;
            scanner.colon()?;
            let start = scanner.position();
            match name {
                b"op" => record.op = Some(scanner.string()?.raw),
                _ => scanner.skip_value()?,
            }
            match name {
                b"before" => record.before = Some(start),
                b"after" => record.after = Some(start),
                b"payload" => record.payload = Some(start),
                _ => {}
            }
            more = scanner.more(b'}')?;
        }
        Ok(record)
    }
}

/// Writes the records of rows.
#[derive(Debug)]
pub(crate) struct DebeziumEncoder {
    rows: JsonEncoder,
    /// Where [`CHANGE`] stands; without it all rows are new.
    change: Option<usize>,
}

impl DebeziumEncoder {
    pub(crate) fn new(
        options: &JsonOptions,
        schema: &Schema,
    ) -> std::result::Result<Self, FormatError> {
        let (rows, change) = split(schema)?;
        let rows = JsonEncoder::new(options, &rows);
        Ok(Self {
            rows: rows.map_err(|error| error.of_format(Format::DebeziumJson.name()))?,
            change,
        })
    }

    /// What the rows of a batch do.
    fn changes<'a>(&self, batch: &'a RecordBatch) -> &'a [i64] {
        let column = self.change.map(|index| batch.column(index));
        let column = column.and_then(|column| column.as_primitive_opt::<Int64Type>());
        column.map_or(&[], |column| column.values())
    }

    /// For each row whether it has a record of its own; `None` if all have.
    pub(crate) fn has_record(&self, batch: &RecordBatch) -> Option<Vec<bool>> {
        let changes = self.changes(batch);
        let replaced = |row| is_replaced(changes, row);
        let any = (0..changes.len()).any(replaced);
        any.then(|| (0..changes.len()).map(|row| !replaced(row)).collect())
    }

    pub(crate) fn encode(&self, batch: &RecordBatch, out: &mut Payloads) {
        let changes = self.changes(batch);
        let columns = batch.columns().iter().enumerate();
        let columns = columns.filter(|(index, _)| Some(*index) != self.change);
        let object = self.rows.object(columns.map(|(_, column)| column.as_ref()));
        let mut replaces = false;
        for row in 0..batch.num_rows() {
            let taken_back = changes.get(row).is_some_and(|change| *change < 0);
            let (open, close): (&[u8], &[u8]) = match (taken_back, replaces) {
                (true, _) => (b"{\"before\":", b",\"after\":null,\"op\":\"d\"}"),
                (false, false) => (b"{\"before\":null,\"after\":", b",\"op\":\"c\"}"),
                (false, true) => (b",\"after\":", b",\"op\":\"u\"}"),
            };
            replaces = is_replaced(changes, row);
            out.buffer.extend_from_slice(open);
            object.write(&mut out.buffer, row);
            if !replaces {
                out.buffer.extend_from_slice(close);
                out.end();
            }
        }
    }
}

/// Whether the next row takes the place of this one.
fn is_replaced(changes: &[i64], row: usize) -> bool {
    match changes.get(row..row + 2) {
        Some([before, after]) => *before < 0 && before.checked_neg() == Some(*after),
        _ => false,
    }
}
