#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use arrow::record_batch::RecordBatch;
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int64Array, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Int32Type};
use timely::bytes::arc::BytesMut;

use super::*;
use crate::operators::stateful::END;

fn batch() -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
    let start = Arc::new(Field::new("start", DataType::Int64, true));
    let window = StructArray::from(vec![(start, Arc::clone(&numbers))]);
    let words = DictionaryArray::<Int32Type>::from_iter(["a", "b", "a"]);
    let columns: [(&str, ArrayRef); 4] = [
        ("n", numbers),
        ("text", Arc::new(StringArray::from(vec!["x", "", "z"]))),
        ("window", Arc::new(window)),
        ("word", Arc::new(words)),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// A parcel as the process at the other end has it.
fn sent(parcel: &Parcel) -> Parcel {
    let mut bytes = Vec::new();
    parcel.into_bytes(&mut bytes);
    assert_eq!(bytes.len(), parcel.length_in_bytes());
    // timely rounds lengths up
    bytes.extend([0; 5]);
    let arrived = Parcel::from_bytes(BytesMut::from(bytes).freeze());
    assert_eq!(arrived.record_count(), parcel.record_count());
    assert_eq!(arrived.wire_size(), parcel.wire_size());
    arrived
}

fn check(rows: Rows) {
    let expect = format!("{rows:?}");
    // over two hops, since what has arrived may be sent on
    let mut parcel = Parcel::new(1, rows);
    assert_eq!(parcel.sender(), None);
    parcel.sign(7);
    let arrived = sent(&sent(&parcel));
    assert_eq!(arrived.sender(), Some(7));
    assert_eq!(format!("{:?}", arrived.open().unwrap()), expect);
}

#[test]
fn all_that_is_sent_arrives() {
    check(Rows::Batch(batch()));
    check(Rows::Batch(batch().slice(1, 2)));
    check(Rows::Rejected(batch()));
    check(Rows::Partial(batch()));
    check(Rows::Control(Control::Tick { now_us: u64::MAX }));
    for mark in [Mark::At(i64::MIN), Mark::At(-5), Mark::At(END), Mark::Idle] {
        let lane = Lane(u32::MAX);
        check(Rows::Control(Control::Watermark { lane, mark }));
    }
}

#[test]
fn bytes_that_are_cut_off_are_an_error() {
    let mut bytes = Vec::new();
    Parcel::new(0, Rows::Batch(batch())).into_bytes(&mut bytes);
    for length in [0, 7, 8, 15, 16, 20, bytes.len() / 2] {
        let cut = bytes[..length].to_vec();
        let parcel = Parcel::from_bytes(BytesMut::from(cut).freeze());
        assert!(parcel.open().is_err(), "{length} bytes");
    }
}
