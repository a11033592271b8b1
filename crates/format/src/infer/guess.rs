//! One guess for each format: what samples are if they are all of it.

use std::borrow::Cow;

use arrow::datatypes::{DataType, Field};

use super::document::Document;
use super::seen::{Members, Seen, json_field};
use super::{InferredColumn, LINES_MIN};
use crate::config::{Format, FormatConfig, Framing, TimestampFormat};
use crate::json::number;
use crate::json::scan::Scanner;
use crate::token::{Source, Token};
use crate::{cbor, msgpack};

/// How payloads are read, and into which columns.
pub(super) type Guess = (FormatConfig, Vec<InferredColumn>);

fn config(format: Format) -> FormatConfig {
    FormatConfig {
        format: Some(format),
        ..FormatConfig::default()
    }
}

/// Where no number counts time, the default stays.
fn set(format: &mut TimestampFormat, seen: Option<TimestampFormat>) {
    *format = seen.unwrap_or(*format);
}

/// The columns of objects, if every sample is one, and in which unit numbers count time.
fn objects<'a, S: Source<'a>>(
    sources: impl Iterator<Item = S>,
) -> Option<(Option<TimestampFormat>, Vec<InferredColumn>)> {
    let mut seen = Seen::default();
    let mut count = 0;
    for mut source in sources {
        count += 1;
        seen.observe(&mut source).ok()?;
        source.end().ok()?;
    }
    let is_object = seen.is_only_maps(count);
    columns(&seen.map, count).filter(|_| is_object)
}

fn columns(
    members: &Members,
    count: usize,
) -> Option<(Option<TimestampFormat>, Vec<InferredColumn>)> {
    let unit = members.unit();
    let columns = members.columns(count, unit);
    (!columns.is_empty()).then_some((unit, columns))
}

/// One object a payload.
pub(super) fn json(samples: &[&[u8]]) -> Option<Guess> {
    let (timestamps, columns) = objects(samples.iter().map(|sample| Document::new(sample)))?;
    let mut config = config(Format::Json);
    set(&mut config.json.timestamp_format, timestamps);
    Some((config, columns))
}

/// One object a line.
pub(super) fn json_lines(samples: &[&[u8]]) -> Option<Guess> {
    let lines = || samples.iter().flat_map(|sample| lines(sample));
    if samples
        .iter()
        .all(|sample| self::lines(sample).count() < LINES_MIN)
    {
        return None;
    }
    let (timestamps, columns) = objects(lines().map(Document::new))?;
    let mut config = config(Format::Json);
    set(&mut config.json.timestamp_format, timestamps);
    config.framing = Some(Framing::Newline);
    Some((config, columns))
}

/// The lines of a payload that are not blank.
fn lines(sample: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = sample.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|line| !line.is_empty())
}

/// One map a payload.
pub(super) fn cbor(samples: &[&[u8]]) -> Option<Guess> {
    let (timestamps, columns) = objects(samples.iter().map(|sample| cbor::Scanner::new(sample)))?;
    let mut config = config(Format::Cbor);
    set(&mut config.cbor.timestamp_format, timestamps);
    Some((config, columns))
}

/// One map a payload.
pub(super) fn msgpack(samples: &[&[u8]]) -> Option<Guess> {
    let (timestamps, columns) =
        objects(samples.iter().map(|sample| msgpack::Scanner::new(sample)))?;
    let mut config = config(Format::Msgpack);
    set(&mut config.msgpack.timestamp_format, timestamps);
    Some((config, columns))
}

/// Any JSON document.
pub(super) fn document(samples: &[&[u8]]) -> Option<Guess> {
    let is_document = |sample: &&[u8]| {
        let mut scanner = Scanner::new(sample);
        scanner.skip_space();
        // A bare number or word may be a document, but says little; text does as well.
        let is_nested = matches!(scanner.peek(), b'{' | b'[');
        is_nested && scanner.skip_value().and_then(|()| scanner.end()).is_ok()
    };
    let mut config = config(Format::Json);
    config.json.unstructured = true;
    let columns = vec![InferredColumn {
        field: json_field("value"),
        nullable: false,
    }];
    samples.iter().all(is_document).then_some((config, columns))
}

/// Text, as it is.
pub(super) fn text(samples: &[&[u8]]) -> Option<Guess> {
    let is_text = samples
        .iter()
        .all(|sample| simdutf8::basic::from_utf8(sample).is_ok());
    is_text.then(|| (config(Format::RawString), vec![value(DataType::Utf8)]))
}

/// Anything.
pub(super) fn bytes() -> Guess {
    (config(Format::RawBytes), vec![value(DataType::Binary)])
}

fn value(data_type: DataType) -> InferredColumn {
    InferredColumn {
        field: Field::new("value", data_type, true),
        nullable: false,
    }
}

/// Records of cells: as many in every line, at least two, between the same delimiters.
pub(super) fn csv(samples: &[&[u8]]) -> Option<Guess> {
    [",", ";", "\\t", "|"].into_iter().find_map(|delimiter| {
        let byte = if delimiter == "\\t" {
            b'\t'
        } else {
            delimiter.as_bytes()[0]
        };
        let tables: Option<Vec<_>> = samples.iter().map(|sample| records(sample, byte)).collect();
        let tables = tables?;
        let width = tables.first()?.first()?.len();
        let same = tables.iter().flatten().all(|record| record.len() == width);
        if width < 2 || !same {
            return None;
        }
        let mut config = config(Format::Csv);
        delimiter.clone_into(&mut config.csv.delimiter);
        config.csv.header = has_header(&tables);
        let skipped = usize::from(config.csv.header);
        let mut members = Members::default();
        let mut count = 0;
        for record in tables.iter().flat_map(|table| &table[skipped..]) {
            count += 1;
            for (index, cell) in record.iter().enumerate() {
                let name = match config.csv.header {
                    true => Cow::Borrowed(tables[0][0][index].as_str()),
                    false => Cow::Owned(format!("c{}", index + 1)),
                };
                members.member(&name).scalar(&cell_token(cell));
            }
        }
        let (timestamps, columns) = columns(&members, count)?;
        set(&mut config.csv.timestamp_format, timestamps);
        Some((config, columns))
    })
}

type Records = Vec<Vec<String>>;

fn records(sample: &[u8], delimiter: u8) -> Option<Records> {
    let text = std::str::from_utf8(sample).ok()?;
    // Quoted cells are left to the one who knows that this is CSV.
    if text.contains('"') || text.contains('{') {
        return None;
    }
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let cells = |line: &str| {
        line.split(char::from(delimiter))
            .map(str::to_owned)
            .collect()
    };
    let records: Records = lines.map(cells).collect();
    (!records.is_empty()).then_some(records)
}

/// Whether every payload begins with the same names, none of them twice, and goes on with something else.
fn has_header(tables: &[Records]) -> bool {
    let Some(first) = tables.first().and_then(|table| table.first()) else {
        return false;
    };
    let is_name = |cell: &String| {
        let letter = |b: u8| b.is_ascii_alphabetic() || b == b'_';
        cell.bytes().next().is_some_and(letter)
            && matches!(cell_token(cell), Token::Text(_))
            && first.iter().filter(|other| *other == cell).count() == 1
    };
    first.iter().all(is_name)
        && tables
            .iter()
            .all(|table| table.len() >= LINES_MIN && table[0] == *first && table[1] != *first)
}

/// What a cell would be if it were written in a format with types.
fn cell_token(cell: &str) -> Token<'_> {
    let text = cell.trim_ascii();
    let number = number::whole(text.as_bytes());
    match (text, number) {
        ("", _) => Token::Null,
        ("true" | "false", _) => Token::Boolean(text == "true"),
        (_, Some(number)) => match number.to_i64() {
            Some(value) => Token::Integer(value.into()),
            None => Token::Double(number.to_f64().unwrap_or(f64::INFINITY)),
        },
        _ => Token::Text(Cow::Borrowed(cell)),
    }
}
