//! Holds a sink's `NOT NULL` column to its word.

use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

/// Its argument, unless that is null: then the row is bad data. Not callable from SQL.
#[derive(Debug, PartialEq, Eq, Hash)]
struct NotNull {
    signature: Signature,
    /// The sink and its column.
    table: String,
    column: String,
}

/// An expression that fails on rows for which it would be null, as the values of a sink's column.
pub(crate) fn not_null(expr: Expr, table: &str, column: &str) -> Expr {
    ScalarUDF::from(NotNull {
        signature: Signature::any(1, Volatility::Immutable),
        table: table.to_owned(),
        column: column.to_owned(),
    })
    .call(vec![expr])
}

impl ScalarUDFImpl for NotNull {
    fn name(&self) -> &'static str {
        "not_null"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        Ok(args.first().cloned().unwrap_or(DataType::Null))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        match args.arg_fields {
            [field] => Ok(Arc::new(field.as_ref().clone().with_nullable(false))),
            _ => {
                let none = Field::new(self.name(), DataType::Null, true);
                Ok(Arc::new(none))
            }
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = args.args.as_slice() else {
            return exec_err!("'{}' takes one argument", self.name());
        };
        let nulls = match value {
            ColumnarValue::Array(array) => array.null_count() > 0,
            ColumnarValue::Scalar(scalar) => scalar.is_null(),
        };
        if nulls {
            return exec_err!(
                "column '{}' of '{}' is NOT NULL, but the query gives null for it",
                self.column,
                self.table
            );
        }
        Ok(value.clone())
    }
}
