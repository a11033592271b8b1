//! The format `debezium_json`: changes of rows, as Debezium tells them.
//!
//! ```text
//! {"before": null, "after": {"id": 1}, "op": "c"}          a new row        ──►  {id 1, _retract false}
//! {"before": {"id": 1}, "after": {"id": 2}, "op": "u"}     a changed row    ──►  {id 1, _retract true}, {id 2, _retract false}
//! {"before": {"id": 2}, "after": null, "op": "d"}          a deleted row    ──►  {id 2, _retract true}
//! ```
//!
//! The rows are those of the format `json`, with its options. The column [`RETRACT`] is none of theirs: it says whether a
//! row is taken back. Read: the operations `c`, `r` (of a snapshot), `u` and `d`, with or without the envelope of `schema`
//! and `payload`; a tombstone (`null`) is no row. Written: `c` and `d`, one record a row.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;

use crate::config::{Format, JsonOptions};
use crate::error::{BadPayload, FormatError};
use crate::json::encode::JsonEncoder;
use crate::json::fault::{Fault, Result};
use crate::json::fields::Fields;
use crate::json::scan::Scanner;
use crate::payloads::Payloads;

/// The name of the column that says what a row does: true takes back an equal row that was sent before, false is a new one.
pub const RETRACT: &str = "_retract";

/// The columns of the rows, and where [`RETRACT`] stands among them.
fn split(schema: &Schema) -> std::result::Result<(Schema, Option<usize>), FormatError> {
    let Ok(index) = schema.index_of(RETRACT) else {
        return Ok((schema.clone(), None));
    };
    if *schema.field(index).data_type() != DataType::Boolean {
        return Err(FormatError::Option(format!(
            "column '{RETRACT}' of format 'debezium_json' must be BOOLEAN"
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
    /// Whether each row is taken back.
    retracts: Vec<bool>,
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
                "format 'debezium_json' is read with a column {RETRACT} BOOLEAN, which says what is taken back"
            )));
        };
        let fields = Fields::new(rows.fields(), options, "");
        Ok(Self {
            fields: fields.map_err(|error| error.of_format(Format::DebeziumJson.name()))?,
            retracts: Vec::new(),
            index,
        })
    }

    /// Appends the rows of one record, or nothing.
    pub(crate) fn push(&mut self, payload: &[u8]) -> std::result::Result<usize, BadPayload> {
        let before = self.retracts.len();
        match self.read(payload) {
            Ok(()) => Ok(self.retracts.len() - before),
            Err(fault) => {
                self.fields.truncate(before);
                self.retracts.truncate(before);
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
            Some(b"c" | b"r") => self.row(payload, row("after", after)?, false),
            Some(b"d") => self.row(payload, row("before", before)?, true),
            Some(b"u") => {
                self.row(payload, row("before", before)?, true)?;
                self.row(payload, row("after", after)?, false)
            }
            Some(op) => {
                let op = String::from_utf8_lossy(op);
                let reason = format!("'{op}' is not one of the operations c, r, u and d");
                Err(Fault::new(start, reason).in_field("op"))
            }
            None => Err(Fault::new(start, "a record has a member 'op'")),
        }
    }

    fn row(&mut self, payload: &[u8], (name, at): (&str, usize), retract: bool) -> Result<()> {
        let read = self
            .fields
            .read(&mut Scanner::at(payload, at), self.retracts.len());
        read.map_err(|fault| fault.in_field(name))?;
        self.retracts.push(retract);
        Ok(())
    }

    pub(crate) fn rows(&self) -> usize {
        self.retracts.len()
    }

    pub(crate) fn finish(&mut self) -> std::result::Result<Vec<ArrayRef>, ArrowError> {
        let mut columns = self.fields.finish()?;
        let retracts = BooleanArray::from(std::mem::take(&mut self.retracts));
        columns.insert(self.index, Arc::new(retracts));
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

/// Writes one record a row.
#[derive(Debug)]
pub(crate) struct DebeziumEncoder {
    rows: JsonEncoder,
    /// Where [`RETRACT`] stands; without it all rows are new.
    retract: Option<usize>,
}

impl DebeziumEncoder {
    pub(crate) fn new(
        options: &JsonOptions,
        schema: &Schema,
    ) -> std::result::Result<Self, FormatError> {
        let (rows, retract) = split(schema)?;
        let rows = JsonEncoder::new(options, &rows);
        Ok(Self {
            rows: rows.map_err(|error| error.of_format(Format::DebeziumJson.name()))?,
            retract,
        })
    }

    pub(crate) fn encode(&self, batch: &RecordBatch, out: &mut Payloads) {
        let retracts = self.retract.map(|index| batch.column(index));
        let retracts = retracts.and_then(|column| column.as_boolean_opt());
        let columns = batch.columns().iter().enumerate();
        let columns = columns.filter(|(index, _)| Some(*index) != self.retract);
        let object = self.rows.object(columns.map(|(_, column)| column.as_ref()));
        for row in 0..batch.num_rows() {
            let retract = retracts.is_some_and(|retracts| retracts.value(row));
            let (open, close): (&[u8], &[u8]) = match retract {
                true => (b"{\"before\":", b",\"after\":null,\"op\":\"d\"}"),
                false => (b"{\"before\":null,\"after\":", b",\"op\":\"c\"}"),
            };
            out.buffer.extend_from_slice(open);
            object.write(&mut out.buffer, row);
            out.buffer.extend_from_slice(close);
            out.end();
        }
    }
}
