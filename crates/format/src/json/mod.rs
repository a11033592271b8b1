//! The format `json`: one object a payload, one member a column.
//!
//! Reading, in the order of the way: [`scan`] takes tokens off the bytes, [`number`] and [`time`] give them their
//! values, [`value`] fits them to a type, [`column`] gathers them, [`fields`] finds the column of a member, [`decode`] does a payload and takes
//! it back if it is bad. Writing: [`text`] escapes, [`encode`] walks the columns of a batch row by row.
//!
//! RFC 8259 is kept to the letter: a payload is one value with nothing after it, in UTF-8, nested at most
//! [`scan::DEPTH_MAX`] deep. Members that are no columns are checked and skipped. Of members with the same name the
//! last one wins, but each must fit.

pub(crate) mod column;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod fault;
pub(crate) mod fields;
pub(crate) mod number;
pub(crate) mod scan;
pub(crate) mod text;
pub(crate) mod time;
pub(crate) mod value;

use arrow::datatypes::{DataType, Field};

/// The metadata key by which a column says that it is more than its Arrow type.
pub(crate) const TYPE_KEY: &str = "headwater.type";

/// Whether a column was declared `JSON`: text that holds any JSON value as it was written.
pub fn is_json(field: &Field) -> bool {
    let declared = field.metadata().get(TYPE_KEY).map(String::as_str) == Some("json");
    declared && is_text(field.data_type())
}

/// Whether a type holds text.
pub(crate) fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

/// Whether a type holds byte strings.
pub(crate) fn is_binary(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView
    )
}
