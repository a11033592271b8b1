//! Whole numbers with room to be added up.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Decimal128Type, Int64Type, UInt64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Whole numbers of 38 digits: no sum of numbers of 64 bits that anybody could wait for is longer.
const EXACT: DataType = DataType::Decimal128(38, 0);

/// Its argument, a number of 64 bits, as a decimal. DataFusion's cast does the same, and checks what cannot happen. Not
/// callable from SQL.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Exact {
    signature: Signature,
}

/// A number of 64 bits as one with room to be added up.
pub(crate) fn exact(expr: Expr) -> Expr {
    ScalarUDF::from(Exact {
        signature: Signature::any(1, Volatility::Immutable),
    })
    .call(vec![expr])
}

impl ScalarUDFImpl for Exact {
    fn name(&self) -> &'static str {
        "exact"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(EXACT)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let numbers: &[ArrayRef] = &arrays;
        let exact = match numbers {
            [numbers] => match numbers.data_type() {
                DataType::Int64 => widened(numbers.as_primitive::<Int64Type>()),
                DataType::UInt64 => widened(numbers.as_primitive::<UInt64Type>()),
                other => return exec_err!("'{}' takes no {other}", self.name()),
            },
            _ => return exec_err!("'{}' takes one argument", self.name()),
        };
        let exact = exact.with_data_type(EXACT);
        Ok(ColumnarValue::Array(Arc::new(exact)))
    }
}

fn widened<T: ArrowPrimitiveType>(numbers: &PrimitiveArray<T>) -> Decimal128Array
where
    T::Native: Into<i128>,
{
    numbers.unary::<_, Decimal128Type>(Into::into)
}
