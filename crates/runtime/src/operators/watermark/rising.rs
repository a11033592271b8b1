//! Which watermarks rise with event time, so that those of a batch need not all be computed: the latest row's is the
//! greatest.
//!
//! It holds for the event time itself and for the event time less a constant, which is what nearly everybody writes. A
//! subtraction of an interval costs more than a window (it may be one of months, so each row becomes a date and back).

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Literal};

/// Whether no row has an earlier watermark than one whose event time is earlier.
pub(super) fn rises(watermark: &Arc<dyn PhysicalExpr>, time: &Arc<dyn PhysicalExpr>) -> bool {
    let (watermark, time) = (uncast(watermark), uncast(time));
    if watermark == time {
        return true;
    }
    watermark
        .downcast_ref::<BinaryExpr>()
        .is_some_and(|binary| {
            matches!(binary.op(), Operator::Minus | Operator::Plus)
                && uncast(binary.left()) == time
                && is_fixed(binary.right())
        })
}

/// What is cast to a timestamp, which keeps the order of times.
fn uncast(expr: &Arc<dyn PhysicalExpr>) -> &Arc<dyn PhysicalExpr> {
    match expr.downcast_ref::<CastExpr>() {
        Some(cast) if matches!(cast.cast_type(), DataType::Timestamp(_, _)) => uncast(cast.expr()),
        _ => expr,
    }
}

/// Whether it is a length of time that is the same at all times. Months are not: the 29th and the 31st of March are a month
/// behind the 28th of February.
fn is_fixed(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let literal = expr.downcast_ref::<Literal>();
    literal.is_some_and(|literal| match literal.value() {
        ScalarValue::IntervalMonthDayNano(Some(interval)) => interval.months == 0,
        ScalarValue::IntervalDayTime(Some(_))
        | ScalarValue::DurationSecond(Some(_))
        | ScalarValue::DurationMillisecond(Some(_))
        | ScalarValue::DurationMicrosecond(Some(_))
        | ScalarValue::DurationNanosecond(Some(_)) => true,
        _ => false,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use arrow::datatypes::{Field, IntervalMonthDayNano, Schema, TimeUnit};
    use datafusion::physical_expr::expressions::{binary, cast, col, lit};

    use super::*;

    #[test]
    fn the_event_time_less_a_fixed_length_rises() {
        let nanos = DataType::Timestamp(TimeUnit::Nanosecond, None);
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        let field = |name| Field::new(name, micros.clone(), false);
        let columns = Schema::new(vec![field("at"), field("other")]);
        let interval = |months, days, nanos| {
            let interval = IntervalMonthDayNano::new(months, days, nanos);
            lit(ScalarValue::IntervalMonthDayNano(Some(interval)))
        };
        let at = || col("at", &columns).unwrap();
        let other = || col("other", &columns).unwrap();
        let as_nanos = |expr| cast(expr, &columns, nanos.clone()).unwrap();
        let less = |left, right| binary(left, Operator::Minus, right, &columns).unwrap();
        let check = |watermark, expected| {
            assert_eq!(rises(&watermark, &as_nanos(at())), expected, "{watermark}");
        };
        check(at(), true);
        check(as_nanos(less(at(), interval(0, 1, 5))), true);
        check(less(as_nanos(at()), interval(0, 0, 5)), true);
        check(as_nanos(less(at(), interval(1, 0, 0))), false);
        check(as_nanos(less(other(), interval(0, 0, 5))), false);
        check(other(), false);
    }
}
