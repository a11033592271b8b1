//! Text and binary columns of any layout, seen as one.

use arrow::array::{
    Array, AsArray, BinaryArray, BinaryViewArray, LargeBinaryArray, LargeStringArray, StringArray,
    StringViewArray,
};
use arrow::datatypes::DataType;

/// A column of texts.
pub(crate) enum Strings<'a> {
    Small(&'a StringArray),
    Large(&'a LargeStringArray),
    View(&'a StringViewArray),
}

/// A column of byte strings.
pub(crate) enum Blobs<'a> {
    Small(&'a BinaryArray),
    Large(&'a LargeBinaryArray),
    View(&'a BinaryViewArray),
}

impl<'a> Strings<'a> {
    /// The column, if it is one of texts.
    pub(crate) fn of(array: &'a dyn Array) -> Option<Self> {
        Some(match array.data_type() {
            DataType::Utf8 => Self::Small(array.as_string_opt()?),
            DataType::LargeUtf8 => Self::Large(array.as_string_opt()?),
            DataType::Utf8View => Self::View(array.as_string_view_opt()?),
            _ => return None,
        })
    }

    /// The text of a row; something arbitrary if that is null.
    #[inline]
    pub(crate) fn get(&self, row: usize) -> &'a str {
        match self {
            Self::Small(array) => array.value(row),
            Self::Large(array) => array.value(row),
            Self::View(array) => array.value(row),
        }
    }
}

impl<'a> Blobs<'a> {
    /// The column, if it is one of byte strings.
    pub(crate) fn of(array: &'a dyn Array) -> Option<Self> {
        Some(match array.data_type() {
            DataType::Binary => Self::Small(array.as_binary_opt()?),
            DataType::LargeBinary => Self::Large(array.as_binary_opt()?),
            DataType::BinaryView => Self::View(array.as_binary_view_opt()?),
            _ => return None,
        })
    }

    /// The bytes of a row; something arbitrary if that is null.
    #[inline]
    pub(crate) fn get(&self, row: usize) -> &'a [u8] {
        match self {
            Self::Small(array) => array.value(row),
            Self::Large(array) => array.value(row),
            Self::View(array) => array.value(row),
        }
    }
}
