//! Datums to tokens.

use std::borrow::Cow;

use arrow::array::ArrayRef;
use arrow::datatypes;
use arrow::error::ArrowError;

use super::schema::{Node, NodeId, Schema};
use super::{MARKER, schema_of};
use crate::config::{AvroOptions, Format};
use crate::error::{BadPayload, FormatError};
use crate::json::fault::{Fault, Result};
use crate::token::{DEPTH_MAX, Source, Token, TokenDecoder, check_columns};

/// How many items that take no bytes (nulls, empty records) one payload may have.
const EMPTY_ITEMS_MAX: u32 = 100_000;

/// Reads one record a payload. See the [module](super).
#[derive(Debug)]
pub(crate) struct AvroDecoder {
    schema: Schema,
    raw: bool,
    rows: TokenDecoder,
}

impl AvroDecoder {
    /// No rows yet.
    ///
    /// # Errors
    /// A schema that cannot be used, columns that are not in it, or of types that cannot be read.
    pub(crate) fn new(
        options: &AvroOptions,
        schema: &datatypes::Schema,
    ) -> std::result::Result<Self, FormatError> {
        let avro = schema_of(options)?;
        let fields: Vec<_> = avro.fields().iter().map(|f| f.name.as_str()).collect();
        check_columns("Avro schema", schema, &fields)?;
        Ok(Self {
            schema: avro,
            raw: options.raw_datums,
            rows: TokenDecoder::new(Format::Avro.name(), options.timestamp_format, schema)?,
        })
    }

    /// Appends the row of one payload, or nothing.
    pub(crate) fn push(&mut self, payload: &[u8]) -> std::result::Result<usize, BadPayload> {
        let mut scanner = Scanner::new(&self.schema, payload);
        if !self.raw
            && let Err(fault) = scanner.header()
        {
            return Err(fault.into_bad_payload(payload));
        }
        self.rows.push(payload, &mut scanner)
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows.rows()
    }

    pub(crate) fn finish(&mut self) -> std::result::Result<Vec<ArrayRef>, ArrowError> {
        self.rows.finish()
    }
}

/// Takes one datum apart.
struct Scanner<'a> {
    schema: &'a Schema,
    bytes: &'a [u8],
    at: usize,
    /// The type of the value that comes next.
    next: NodeId,
    open: Vec<Open<'a>>,
    empty_items: u32,
    /// Where the last item began.
    item_at: usize,
}

/// A record, array or map around what is read.
enum Open<'a> {
    Record(&'a [super::schema::Field], usize),
    /// The items' type, and how many are left in the block.
    Blocks(NodeId, u64),
}

impl<'a> Scanner<'a> {
    fn new(schema: &'a Schema, bytes: &'a [u8]) -> Self {
        Self {
            schema,
            bytes,
            at: 0,
            next: schema.root,
            open: Vec::new(),
            empty_items: 0,
            item_at: 0,
        }
    }

    /// Goes over the marker and the fingerprint of a single object.
    fn header(&mut self) -> Result<()> {
        if !self.bytes.starts_with(&MARKER) {
            let reason = "this is no single-object encoding (c301…); avro.raw_datums = 'true' reads datums without it";
            return Err(Fault::new(0, reason));
        }
        self.at = MARKER.len();
        let written = u64::from_le_bytes(self.array()?);
        let known = self.schema.fingerprint;
        if written != known {
            let reason = format!(
                "written with another schema: its fingerprint is {written:016x}, the table's is {known:016x}"
            );
            return Err(Fault::new(MARKER.len(), reason));
        }
        Ok(())
    }

    #[cold]
    fn ends_early(&self) -> Box<Fault> {
        Fault::new(self.bytes.len(), "the payload ends inside a value")
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        match self.bytes[self.at..].get(..len) {
            Some(taken) => {
                self.at += len;
                Ok(taken)
            }
            None => Err(self.ends_early()),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.bytes[self.at..].first_chunk::<N>() {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => Err(self.ends_early()),
        }
    }

    /// A zigzag number of varying length.
    fn long(&mut self) -> Result<i64> {
        let start = self.at;
        let mut value = 0u64;
        for shift in (0..).step_by(7).take(10) {
            let [byte] = self.array::<1>()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(Fault::new(start, "a number of more than 64 bits"))
    }

    fn int(&mut self) -> Result<i32> {
        let start = self.at;
        let value = self.long()?;
        i32::try_from(value).map_err(|_beyond| Fault::new(start, "an int of more than 32 bits"))
    }

    /// Bytes with their length before them.
    fn body(&mut self) -> Result<&'a [u8]> {
        let start = self.at;
        match usize::try_from(self.long()?) {
            Ok(len) => self.take(len),
            Err(_) => Err(Fault::new(start, "a negative length")),
        }
    }

    fn text(&mut self) -> Result<Cow<'a, str>> {
        let body = self.body()?;
        let start = self.at - body.len();
        match simdutf8::compat::from_utf8(body) {
            Ok(text) => Ok(Cow::Borrowed(text)),
            Err(e) => Err(Fault::new(start + e.valid_up_to(), "a string is not UTF-8")),
        }
    }

    fn enter(&mut self, open: Open<'a>, token: Token<'a>) -> Result<Token<'a>> {
        if self.open.len() == DEPTH_MAX {
            let reason = format!("nested more than {DEPTH_MAX} levels deep");
            return Err(Fault::new(self.at, reason));
        }
        self.open.push(open);
        Ok(token)
    }

    /// The branch of a union, as long as there is one.
    fn resolved(&mut self) -> Result<&'a Node> {
        let schema = self.schema;
        for _ in 0..DEPTH_MAX {
            let node = &schema.nodes[self.next];
            let Node::Union(branches) = node else {
                return Ok(node);
            };
            let start = self.at;
            let branch = usize::try_from(self.long()?).ok();
            match branch.and_then(|branch| branches.get(branch)) {
                Some(branch) => self.next = *branch,
                None => return Err(Fault::new(start, "a branch that the union does not have")),
            }
        }
        Err(Fault::new(self.at, "a union within unions"))
    }

    /// The number of items of the next block, 0 after the last one.
    fn block(&mut self) -> Result<u64> {
        let count = self.long()?;
        if count < 0 {
            // The block's size in bytes, for those who skip it.
            self.long()?;
        }
        Ok(count.unsigned_abs())
    }

    /// Guards against blocks of countless items that take no bytes.
    fn count_item(&mut self) -> Result<()> {
        if self.at == self.item_at {
            self.empty_items += 1;
            if self.empty_items > EMPTY_ITEMS_MAX {
                let reason = format!("more than {EMPTY_ITEMS_MAX} items without bytes");
                return Err(Fault::new(self.at, reason));
            }
        }
        self.item_at = self.at;
        Ok(())
    }
}

/// A decimal's digits; at most 16 bytes, and leading bytes that only carry the sign.
fn unscaled(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let sign: u8 = if negative { 0xFF } else { 0 };
    let extra = bytes.len().saturating_sub(16);
    let (carried, digits) = bytes.split_at(extra);
    let fits = carried.iter().all(|&byte| byte == sign)
        && (extra == 0
            || digits
                .first()
                .is_some_and(|first| (first & 0x80 != 0) == negative));
    let start = if negative { -1 } else { 0 };
    fits.then(|| {
        digits
            .iter()
            .fold(start, |value, &byte| value << 8 | i128::from(byte))
    })
}

impl<'a> Source<'a> for Scanner<'a> {
    fn position(&self) -> usize {
        self.at
    }

    fn token(&mut self) -> Result<Token<'a>> {
        let start = self.at;
        Ok(match self.resolved()? {
            Node::Null | Node::Union(_) => Token::Null,
            Node::Boolean => match self.array::<1>()? {
                [0] => Token::Boolean(false),
                [1] => Token::Boolean(true),
                [byte] => return Err(Fault::new(start, format!("{byte} is no boolean"))),
            },
            Node::Int => Token::Integer(self.int()?.into()),
            Node::Long => Token::Integer(self.long()?.into()),
            Node::Float => Token::Single(f32::from_le_bytes(self.array()?)),
            Node::Double => Token::Double(f64::from_le_bytes(self.array()?)),
            Node::Bytes => Token::Binary(Cow::Borrowed(self.body()?)),
            Node::String => Token::Text(self.text()?),
            Node::Date => Token::Date(self.int()?),
            Node::Time { long, nanos } => {
                let value = if *long {
                    self.long()?
                } else {
                    self.int()?.into()
                };
                let nanos = value.checked_mul(*nanos);
                Token::Time(nanos.ok_or_else(|| Fault::new(start, "a time beyond a day"))?)
            }
            Node::Timestamp(nanos) => {
                Token::Timestamp(i128::from(self.long()?) * i128::from(*nanos))
            }
            Node::Decimal { size, scale } => {
                let digits = match size {
                    Some(size) => self.take(*size)?,
                    None => self.body()?,
                };
                let value = unscaled(digits);
                let value = value.ok_or_else(|| Fault::new(start, "a decimal beyond 128 bits"))?;
                Token::Decimal(value, *scale)
            }
            Node::Fixed(size) => Token::Binary(Cow::Borrowed(self.take(*size)?)),
            Node::Enum(symbols) => {
                let symbol = usize::try_from(self.int()?).ok();
                match symbol.and_then(|symbol| symbols.get(symbol)) {
                    Some(symbol) => Token::Text(Cow::Borrowed(symbol)),
                    None => return Err(Fault::new(start, "a symbol that the enum does not have")),
                }
            }
            Node::Array(items) => self.enter(Open::Blocks(*items, 0), Token::List)?,
            Node::Map(values) => self.enter(Open::Blocks(*values, 0), Token::Map)?,
            Node::Record(fields) => self.enter(Open::Record(fields, 0), Token::Map)?,
        })
    }

    fn more(&mut self) -> Result<bool> {
        match self.open.last_mut() {
            Some(Open::Record(fields, at)) => {
                if let Some(field) = fields.get(*at) {
                    *at += 1;
                    self.next = field.node;
                    return Ok(true);
                }
            }
            Some(Open::Blocks(items, left)) => {
                let (items, mut count) = (*items, *left);
                if count == 0 {
                    count = self.block()?;
                }
                if count > 0 {
                    if let Some(Open::Blocks(_, left)) = self.open.last_mut() {
                        *left = count - 1;
                    }
                    self.next = items;
                    self.count_item()?;
                    return Ok(true);
                }
            }
            None => {}
        }
        self.open.pop();
        Ok(false)
    }

    fn name(&mut self) -> Result<Cow<'a, str>> {
        match self.open.last() {
            Some(Open::Record(fields, at)) => {
                let field = at.checked_sub(1).and_then(|at| fields.get(at));
                Ok(Cow::Borrowed(field.map_or("", |field| &field.name)))
            }
            _ => self.text(),
        }
    }

    fn end(&mut self) -> Result<()> {
        if self.at == self.bytes.len() {
            return Ok(());
        }
        Err(Fault::new(
            self.at,
            "expected the end of the payload, found more bytes; is this the schema it was written with?",
        ))
    }
}
