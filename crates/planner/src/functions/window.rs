//! `tumble`, `hop`, `session` and `cumulate`: the functions that cut time into windows.
//!
//! They stand in `GROUP BY` and are never computed: `stream` reads their arguments and makes a windowed aggregate of them.
//! Here they have names and types, so that DataFusion can bind them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use crate::plan::TIME_TYPE;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// The type of a window: `{start, end}`, half-open.
pub(crate) fn window_type() -> DataType {
    let bound = |name: &str| Field::new(name, TIME_TYPE, false);
    DataType::Struct(Fields::from(vec![bound("start"), bound("end")]))
}

/// A function that cuts time into windows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct WindowFunction {
    name: &'static str,
    /// What it takes, for people.
    usage: &'static str,
    signature: Signature,
}

impl WindowFunction {
    /// All of them.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        [
            ("tumble", "tumble(width) or tumble(width, offset)"),
            ("hop", "hop(slide, width) or hop(slide, width, offset)"),
            ("session", "session(gap)"),
            ("cumulate", "cumulate(step, width)"),
        ]
        .into_iter()
        .map(|(name, usage)| Self {
            name,
            usage,
            // Volatile, so that nothing computes it while planning.
            signature: Signature::variadic_any(Volatility::Volatile),
        })
    }

    /// How it is called.
    pub(crate) fn usage(&self) -> &'static str {
        self.usage
    }
}

impl ScalarUDFImpl for WindowFunction {
    fn name(&self) -> &'static str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// `tumble(60s)`: the name of the column if it is given no other.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let args: Vec<_> = args.iter().map(length).collect();
        Ok(format!("{}({})", self.name, args.join(", ")))
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(window_type())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name, window_type(), false)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        plan_err!(
            "'{}' cuts time into windows and stands in GROUP BY",
            self.name
        )
    }
}

/// An argument as a value; text is an interval, as where DataFusion expects one: `'5 seconds'`.
pub(crate) fn interval(arg: &Expr) -> Option<ScalarValue> {
    match arg {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => {
            let interval = DataType::Interval(IntervalUnit::MonthDayNano);
            ScalarValue::try_from_string(text.clone(), &interval).ok()
        }
        Expr::Literal(value, _) => Some(value.clone()),
        _ => None,
    }
}

/// An argument for people: the length of an interval.
pub(crate) fn length(arg: &Expr) -> String {
    match interval(arg) {
        Some(ScalarValue::IntervalMonthDayNano(Some(value))) => {
            let parts = [
                (i64::from(value.months), " months"),
                (i64::from(value.days), "d"),
                (value.nanoseconds / NANOS_PER_SECOND, "s"),
                (value.nanoseconds % NANOS_PER_SECOND, "ns"),
            ];
            let parts = parts.iter().filter(|(length, _)| *length != 0);
            let parts: Vec<_> = parts
                .map(|(length, unit)| format!("{length}{unit}"))
                .collect();
            parts.join(" ")
        }
        _ => arg.schema_name().to_string(),
    }
}
