//! CSV: cells, headers, several records, what does not fit.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use headwater_format::{
    CsvOptions, Decoder, Encoder, Format, FormatConfig, Framing, Payloads, TimestampFormat,
};
use proptest::collection::vec;
use proptest::prelude::*;

mod tables;

const NANOS: DataType = DataType::Timestamp(TimeUnit::Nanosecond, None);

fn config(csv: CsvOptions) -> FormatConfig {
    FormatConfig {
        format: Some(Format::Csv),
        csv,
        ..FormatConfig::default()
    }
}

fn with_header() -> CsvOptions {
    CsvOptions {
        header: true,
        ..CsvOptions::default()
    }
}

fn schema(columns: &[(&str, DataType, bool)]) -> SchemaRef {
    let field = |(name, data_type, nullable): &(&str, DataType, bool)| {
        Field::new(*name, data_type.clone(), *nullable)
    };
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

fn readings() -> SchemaRef {
    schema(&[
        ("device", DataType::Utf8, false),
        ("t", DataType::Float64, true),
        ("ok", DataType::Boolean, true),
    ])
}

fn show(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("null");
    let row = |row| {
        let cell = |column| {
            let formatter = ArrayFormatter::try_new(column, &options).unwrap();
            formatter.value(row).to_string()
        };
        let cells: Vec<_> = batch.columns().iter().map(|c| cell(c.as_ref())).collect();
        cells.join(" | ")
    };
    (0..batch.num_rows()).map(row).collect()
}

/// The rows of one payload, and what is wrong with it.
fn read(config: &FormatConfig, schema: &SchemaRef, payload: &str) -> Vec<String> {
    let mut decoder = Decoder::new(config, Arc::clone(schema)).unwrap();
    let pushed = decoder.push(payload.as_bytes());
    let batch = RecordBatch::try_new(Arc::clone(schema), decoder.finish().unwrap()).unwrap();
    let mut shown = show(&batch);
    if let Err(rejected) = pushed {
        assert_eq!(rejected.rows, batch.num_rows());
        shown.extend(rejected.bad.iter().map(|bad| format!("! {}", bad.reason())));
    }
    shown
}

#[test]
fn cells_are_the_columns_in_their_order() {
    let config = config(CsvOptions::default());
    for (payload, expect) in [
        ("a,21.5,true", &["a | 21.5 | true"][..]),
        (
            "a, 21.5 ,0\r\n\r\nb,1e3,TRUE\r\n",
            &["a | 21.5 | false", "b | 1000.0 | true"],
        ),
        ("\"a,\"\"b\"\"\nc\",,", &["a,\"b\"\nc | null | null"]),
        (",,", &[" | null | null"]),
        (
            "a,1",
            &["! a record of 2 cells, but the table has 3 columns (byte 0)"],
        ),
        (
            "a,1,true\nb,1,true,2",
            &["! a record of 4 cells, but the table has 3 columns (byte 9)"],
        ),
        (
            "a,warm,true",
            &["! field 't': expected a number, found \"warm\" (byte 0)"],
        ),
        (
            "a,1,yes",
            &["! field 'ok': expected true or false, found \"yes\" (byte 0)"],
        ),
        (
            "a,1,1\nb,x,1\nc,1,1",
            &["! field 't': expected a number, found \"x\" (byte 6)"],
        ),
        ("", &["! expected a record, found none (byte 0)"]),
        ("\n\n", &["! expected a record, found none (byte 2)"]),
    ] {
        assert_eq!(read(&config, &readings(), payload), expect, "{payload:?}");
    }
}

#[test]
fn a_header_names_the_cells() {
    let config = config(with_header());
    for (payload, expect) in [
        (
            "t,extra,device\n1,x,a\n2,,b",
            &["a | 1.0 | null", "b | 2.0 | null"][..],
        ),
        (
            "t\n1",
            &["! field 'device': missing, but the column is NOT NULL (byte 2)"],
        ),
        (
            "device,t,ok",
            &["! expected a record, found none (byte 11)"],
        ),
        ("", &["! expected a header, found nothing (byte 0)"]),
        ("device,t\na,1,2", &["a | 1.0 | null"]),
    ] {
        assert_eq!(read(&config, &readings(), payload), expect, "{payload:?}");
    }
}

#[test]
fn with_framing_each_line_is_on_its_own() {
    let config = FormatConfig {
        framing: Some(Framing::Newline),
        ..config(CsvOptions::default())
    };
    let found = read(&config, &readings(), "a,1,1\r\nb,x,1\n\nc,3,0\n");
    assert_eq!(
        found,
        [
            "a | 1.0 | true",
            "c | 3.0 | false",
            "! line 2: field 't': expected a number, found \"x\" (byte 0)"
        ]
    );
}

#[test]
fn values_are_those_of_json_strings() {
    let options = CsvOptions {
        delimiter: ";".to_owned(),
        null_string: "NA".to_owned(),
        timestamp_format: TimestampFormat::UnixSeconds,
        ..CsvOptions::default()
    };
    let metadata = HashMap::from([("headwater.type".to_owned(), "json".to_owned())]);
    let schema = Arc::new(Schema::new(vec![
        Field::new("ts", NANOS, true),
        Field::new("d", DataType::Decimal128(6, 2), true),
        Field::new("n", DataType::UInt8, true),
        Field::new("b", DataType::Binary, true),
        Field::new("j", DataType::Utf8, true).with_metadata(metadata),
    ]));
    for (payload, expect) in [
        (
            "1795242288;1.005;255;AP8=;\"{\"\"a\"\":1}\"",
            "2026-11-21T06:24:48 | 1.01 | 255 | 00ff | {\"a\":1}",
        ),
        (
            "1795242288.5;NA;NA;NA;NA",
            "2026-11-21T06:24:48.500 | null | null | null | null",
        ),
        (
            "2026-11-21T06:24:48.25Z;;;;[]",
            "2026-11-21T06:24:48.250 | null | null | null | []",
        ),
        (
            ";;256;;",
            "! field 'n': \"256\" is not an integer of the column's range (byte 0)",
        ),
        (
            ";;;;{",
            "! field 'j': a cell of a JSON column is not JSON (byte 0)",
        ),
        (
            "soon;;;;",
            "! field 'ts': expected a timestamp (RFC 3339) that the column can hold, found \"soon\" (byte 0)",
        ),
    ] {
        assert_eq!(
            read(&config(options.clone()), &schema, payload),
            [expect],
            "{payload:?}"
        );
    }
}

#[test]
fn what_csv_cannot_hold_is_refused() {
    let nested = schema(&[("l", DataType::new_list(DataType::Int64, true), true)]);
    let error = Decoder::new(&config(CsvOptions::default()), nested).unwrap_err();
    insta::assert_snapshot!(error, @"column 'l' has the type List(Int64), which format 'csv' cannot read; declare or cast it as TEXT or JSON");
    let options = CsvOptions {
        delimiter: "||".to_owned(),
        ..CsvOptions::default()
    };
    let error = Decoder::new(&config(options), readings()).unwrap_err();
    insta::assert_snapshot!(error, @r"option 'csv.delimiter': '||' is not one ASCII character such as ',', ';' or '\t'");
}

#[test]
fn rows_are_written_with_and_without_header() {
    let source = config(CsvOptions::default());
    let mut decoder = Decoder::new(&source, readings()).unwrap();
    for payload in ["a,21.5,true", "\"b \"\"x\"\",\",,"] {
        decoder.push(payload.as_bytes()).unwrap();
    }
    let batch = RecordBatch::try_new(readings(), decoder.finish().unwrap()).unwrap();
    let written = |options| {
        let mut payloads = Payloads::new();
        let mut encoder = Encoder::new(&config(options), readings()).unwrap();
        encoder.encode(&batch, &mut payloads).unwrap();
        let text = |payload: &[u8]| String::from_utf8(payload.to_vec()).unwrap();
        payloads.iter().map(text).collect::<Vec<_>>()
    };
    assert_eq!(
        written(CsvOptions::default()),
        ["a,21.5,true", "\"b \"\"x\"\",\",,"]
    );
    let tabs = CsvOptions {
        delimiter: "\\t".to_owned(),
        null_string: "-".to_owned(),
        ..with_header()
    };
    assert_eq!(
        written(tabs),
        [
            "device\tt\tok\na\t21.5\ttrue",
            "device\tt\tok\n\"b \"\"x\"\",\"\t-\t-"
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_do_harm(payload in vec(prop_oneof![any::<u8>(), prop::sample::select(b"\",\n\r1a ".to_vec())], 0..60), header in any::<bool>()) {
        let options = CsvOptions { header, ..CsvOptions::default() };
        let good: &[u8] = if header { b"device,t,ok\na,1.5,1\nb,,0" } else { b"a,1.5,1\nb,,0" };
        let mut decoder = Decoder::new(&config(options), readings()).unwrap();
        prop_assert_eq!(decoder.push(good), Ok(2));
        let rows = decoder.push(&payload).unwrap_or(0);
        prop_assert_eq!(decoder.push(good), Ok(2));
        prop_assert_eq!(decoder.rows(), 4 + rows);
        let batch = RecordBatch::try_new(readings(), decoder.finish().unwrap()).unwrap();
        let shown = show(&batch);
        prop_assert_eq!(&shown[..2], ["a | 1.5 | true", "b | null | false"]);
        prop_assert_eq!(&shown[2 + rows..], ["a | 1.5 | true", "b | null | false"]);
    }

    #[test]
    fn what_was_written_is_read_again(texts in vec((any::<String>(), prop::option::of(any::<f64>()), prop::option::of(any::<i64>())), 1..6), header in any::<bool>()) {
        let columns = [
            ("device", DataType::Utf8, false),
            ("t", DataType::Float64, true),
            ("ts", NANOS, true),
        ];
        let schema = schema(&columns);
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![
            Arc::new(arrow::array::StringArray::from_iter_values(texts.iter().map(|(text, ..)| text))),
            Arc::new(arrow::array::Float64Array::from_iter(texts.iter().map(|(_, t, _)| *t))),
            Arc::new(arrow::array::TimestampNanosecondArray::from_iter(texts.iter().map(|(.., ts)| *ts))),
        ]).unwrap();
        for timestamp_format in [TimestampFormat::Rfc3339, TimestampFormat::UnixNanos] {
            let config = config(CsvOptions { header, timestamp_format, ..CsvOptions::default() });
            let mut payloads = Payloads::new();
            Encoder::new(&config, Arc::clone(&schema)).unwrap().encode(&batch, &mut payloads).unwrap();
            let mut decoder = Decoder::new(&config, Arc::clone(&schema)).unwrap();
            for payload in payloads.iter() {
                prop_assert_eq!(decoder.push(payload).map_err(|e| e.to_string()), Ok(1));
            }
            prop_assert_eq!(decoder.finish().unwrap(), batch.columns());
        }
    }
}
