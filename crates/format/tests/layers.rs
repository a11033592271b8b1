//! What lies around a format: compression and framing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::{Read, Write};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use headwater_format::{Compression, Decoder, Encoder, Format, FormatConfig, Framing, Payloads};
use proptest::prelude::*;

const BOTH: [Compression; 2] = [Compression::Gzip, Compression::Zstd];

fn schema(data_type: DataType) -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("v", data_type, true)]))
}

fn config(format: Format, compression: Option<Compression>) -> FormatConfig {
    FormatConfig {
        format: Some(format),
        compression,
        ..FormatConfig::default()
    }
}

fn compressed(compression: Compression, plain: &[u8]) -> Vec<u8> {
    match compression {
        Compression::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => zstd::encode_all(plain, 3).unwrap(),
    }
}

fn numbers(decoder: &mut Decoder) -> Vec<i64> {
    let columns = decoder.finish().unwrap();
    columns[0].as_primitive::<Int64Type>().values().to_vec()
}

fn reason(decoder: &mut Decoder, payload: &[u8]) -> String {
    let rejected = decoder.push(payload).unwrap_err();
    assert_eq!((rejected.rows, rejected.bad.len()), (0, 1));
    rejected.bad[0].reason().to_owned()
}

#[test]
fn streams_of_other_implementations_are_read() {
    // zlib (Python's gzip.compress) and the zstd command
    let gzip = hex("1f8b0800000000000203ab562a53b232ac05003de7db8407000000");
    let zstd = hex("28b52ffd04583900007b2276223a317d2b08cbea");
    for (compression, payload) in [(Compression::Gzip, gzip), (Compression::Zstd, zstd)] {
        let config = config(Format::Json, Some(compression));
        let mut decoder = Decoder::new(&config, schema(DataType::Int64)).unwrap();
        assert_eq!(decoder.push(&payload), Ok(1), "{compression:?}");
        assert_eq!(decoder.bytes(), 7);
        assert_eq!(numbers(&mut decoder), [1]);
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn several_streams_are_one_payload() {
    for compression in BOTH {
        let mut payload = compressed(compression, b"{\"v\"");
        payload.extend(compressed(compression, b""));
        payload.extend(compressed(compression, b":7}"));
        let config = config(Format::Json, Some(compression));
        let mut decoder = Decoder::new(&config, schema(DataType::Int64)).unwrap();
        assert_eq!(decoder.push(&payload), Ok(1));
        assert_eq!(numbers(&mut decoder), [7]);
    }
}

#[test]
fn a_bomb_is_bad_data_and_does_not_fill_the_memory() {
    for compression in BOTH {
        let mut config = config(Format::RawBytes, Some(compression));
        config.compression_max_size = 1 << 20;
        let mut decoder = Decoder::new(&config, schema(DataType::Binary)).unwrap();
        let whole = compressed(compression, &vec![0; 1 << 20]);
        let bomb = compressed(compression, &vec![0; (1 << 20) + 1]);
        assert_eq!(decoder.push(&whole), Ok(1));
        assert_eq!(
            reason(&mut decoder, &bomb),
            "decompressed, the payload has more than the 1048576 bytes that compression.max_size allows"
        );
        let huge = compressed(compression, &vec![0; 200 << 20]);
        assert!(huge.len() < 300_000);
        reason(&mut decoder, &huge);
        assert_eq!(decoder.rows(), 1);
        assert!(decoder.bytes() < 4 << 20);
    }
}

#[test]
fn what_is_no_stream_is_bad_data() {
    for compression in BOTH {
        let config = config(Format::Json, Some(compression));
        let mut decoder = Decoder::new(&config, schema(DataType::Int64)).unwrap();
        let whole = compressed(compression, b"{\"v\":12345678}");
        let mut damaged = whole.clone();
        let last = damaged.len() - 1;
        damaged[1] ^= 0x55;
        for bad in [&b""[..], b"{\"v\":1}", &whole[..last], &damaged] {
            let reason = reason(&mut decoder, bad);
            assert!(reason.contains("is not compressed with"), "{reason}");
        }
        assert_eq!(decoder.push(&whole), Ok(1));
        assert_eq!(numbers(&mut decoder), [12_345_678]);
    }
}

#[test]
fn a_bad_line_leaves_its_neighbours_compressed_or_not() {
    let lines = b"{\"v\":1}\r\n{\"v\":\"x\"}\n\n{\"v\":3}";
    for compression in [None, Some(Compression::Gzip), Some(Compression::Zstd)] {
        let config = FormatConfig {
            framing: Some(Framing::Newline),
            ..config(Format::Json, compression)
        };
        let mut decoder = Decoder::new(&config, schema(DataType::Int64)).unwrap();
        let payload = match compression {
            Some(compression) => compressed(compression, lines),
            None => lines.to_vec(),
        };
        let rejected = decoder.push(&payload).unwrap_err();
        assert_eq!(rejected.rows, 2);
        assert_eq!(
            rejected.to_string(),
            r#"line 2: field 'v': expected an integer, found "x" (byte 5) in {"v":"x"}"#
        );
        assert_eq!(rejected.bad[0].part(), Some(&b"{\"v\":\"x\"}"[..]));
        assert_eq!((decoder.rows(), decoder.bytes()), (2, lines.len()));
        assert_eq!(numbers(&mut decoder), [1, 3]);
    }
}

#[test]
fn what_is_written_is_read_by_others() {
    let texts: ArrayRef = Arc::new(StringArray::from(vec![
        Some("one"),
        None,
        Some(&*"long ".repeat(50_000)),
    ]));
    let batch = RecordBatch::try_new(schema(DataType::Utf8), vec![Arc::clone(&texts)]).unwrap();
    for compression in BOTH {
        let config = config(Format::RawString, Some(compression));
        let mut encoder = Encoder::new(&config, batch.schema()).unwrap();
        let mut payloads = Payloads::new();
        // Twice, because the state is used again.
        encoder.encode(&batch, &mut payloads).unwrap();
        encoder.encode(&batch, &mut payloads).unwrap();
        assert_eq!(payloads.len(), 6);
        for (index, payload) in payloads.iter().enumerate() {
            let mut plain = String::new();
            match compression {
                Compression::Gzip => flate2::read::GzDecoder::new(payload)
                    .read_to_string(&mut plain)
                    .map(drop)
                    .unwrap(),
                Compression::Zstd => {
                    plain = String::from_utf8(zstd::decode_all(payload).unwrap()).unwrap();
                }
            }
            let expect = ["one", "", &"long ".repeat(50_000)][index % 3].to_owned();
            assert!(plain == expect, "{compression:?} {index}");
        }
    }
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let with = |framing, max_length| FormatConfig {
        framing,
        framing_max_length: max_length,
        ..config(Format::Json, None)
    };
    let decoder = |config: &FormatConfig| Decoder::new(config, schema(DataType::Int64));
    let error = decoder(&with(None, Some(5))).unwrap_err().to_string();
    assert_eq!(
        error,
        "option 'framing.newline.max_length' needs framing = 'newline'"
    );
    let framed = with(Some(Framing::Newline), None);
    let error = Encoder::new(&framed, schema(DataType::Int64)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "option 'framing' is for sources: a sink writes one message a row; leave it out"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn round_trip(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..5)) {
        let column: ArrayRef = Arc::new(arrow::array::BinaryArray::from_iter_values(&values));
        let batch = RecordBatch::try_new(schema(DataType::Binary), vec![column]).unwrap();
        for compression in BOTH {
            let config = config(Format::RawBytes, Some(compression));
            let mut payloads = Payloads::new();
            Encoder::new(&config, batch.schema()).unwrap().encode(&batch, &mut payloads).unwrap();
            let mut decoder = Decoder::new(&config, batch.schema()).unwrap();
            for payload in payloads.iter() {
                prop_assert_eq!(decoder.push(payload), Ok(1));
            }
            prop_assert_eq!(decoder.finish().unwrap(), batch.columns());
        }
    }

    #[test]
    fn no_bytes_do_harm(mut payload in prop::collection::vec(any::<u8>(), 0..200), cut in any::<prop::sample::Index>(), with in any::<u8>()) {
        for compression in BOTH {
            let config = config(Format::RawBytes, Some(compression));
            let mut decoder = Decoder::new(&config, schema(DataType::Binary)).unwrap();
            let rows = decoder.push(&payload).unwrap_or(0);
            let mut whole = compressed(compression, &payload);
            let at = cut.index(whole.len());
            whole[at] = with;
            let rows = rows + decoder.push(&whole).unwrap_or(0);
            prop_assert_eq!(decoder.rows(), rows);
        }
        payload.insert(0, b'\n');
        let config = FormatConfig { framing: Some(Framing::Newline), ..config(Format::Json, None) };
        let mut decoder = Decoder::new(&config, schema(DataType::Int64)).unwrap();
        let rows = decoder.push(&payload).unwrap_or_else(|rejected| rejected.rows);
        prop_assert_eq!(decoder.rows(), rows);
        prop_assert_eq!(Int64Array::from(numbers(&mut decoder)).len(), rows);
    }
}
