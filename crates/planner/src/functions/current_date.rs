//! `current_date()`: the date at which a batch is computed, in UTC.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use chrono::Utc;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// Without leap seconds, as Unix time counts.
const SECONDS_PER_DAY: i64 = 86_400;

/// `current_date()`, with the alias `today`.
///
/// DataFusion's own is replaced by a constant when a query is planned; a query that runs for ever needs the date of
/// each batch. Volatile, so that nothing folds it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct CurrentDate {
    signature: Signature,
    aliases: [String; 1],
}

impl Default for CurrentDate {
    fn default() -> Self {
        Self {
            signature: Signature::nullary(Volatility::Volatile),
            aliases: ["today".to_owned()],
        }
    }
}

impl ScalarUDFImpl for CurrentDate {
    fn name(&self) -> &'static str {
        "current_date"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Date32)
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name(), DataType::Date32, false)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let days = Utc::now().timestamp().div_euclid(SECONDS_PER_DAY);
        let days = i32::try_from(days).ok();
        Ok(ColumnarValue::Scalar(ScalarValue::Date32(days)))
    }
}
