//! `tumble(INTERVAL '1 minute')` → a [`Window`].

use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::ScalarFunction;

use crate::error::PlanError;
use crate::functions::{WindowFunction, interval, length};
use crate::plan::Window;

const NANOS_PER_DAY: i128 = 86_400_000_000_000;

/// The call of a function that cuts time, if the expression is one.
pub(crate) fn window_call(expr: &Expr) -> Option<(&WindowFunction, &ScalarFunction)> {
    match expr {
        Expr::Alias(alias) => window_call(&alias.expr),
        Expr::ScalarFunction(call) => Some((call.func.inner().downcast_ref()?, call)),
        _ => None,
    }
}

/// The windows that a call makes.
///
/// # Errors
/// A wrong number of arguments; arguments that are no intervals of a fixed length, not positive, or do not fit together.
pub(crate) fn window(function: &WindowFunction, call: &ScalarFunction) -> Result<Window> {
    let name = call.func.name();
    let lengths = call.args.iter().map(|argument| length_ns(name, argument));
    let lengths = lengths.collect::<Result<Vec<_>>>()?;
    match (name, lengths.as_slice()) {
        ("tumble", [width]) => tumble(*width, 0),
        ("tumble", [width, offset]) => tumble(*width, *offset),
        ("hop", [slide, width]) => hop(name, *slide, *width, 0),
        ("hop", [slide, width, offset]) => hop(name, *slide, *width, *offset),
        ("session", [gap]) => Ok(Window::Session {
            gap_ns: positive(name, "gap", *gap)?,
        }),
        ("cumulate", [step, width]) => cumulate(*step, *width),
        _ => refuse(
            name,
            format!(
                "'{name}' has {} arguments; write {}",
                lengths.len(),
                function.usage()
            ),
        ),
    }
}

fn tumble(width_ns: i64, offset_ns: i64) -> Result<Window> {
    let width_ns = positive("tumble", "width", width_ns)?;
    hop("tumble", width_ns, width_ns, offset_ns)
}

fn hop(name: &str, slide_ns: i64, width_ns: i64, offset_ns: i64) -> Result<Window> {
    let slide_ns = positive(name, "slide", slide_ns)?;
    let width_ns = positive(name, "width", width_ns)?;
    if slide_ns > width_ns {
        return refuse(
            name,
            format!(
                "the slide of '{name}' is longer than its width, so that rows would fall between the windows; the slide comes first"
            ),
        );
    }
    Ok(Window::Hop {
        slide_ns,
        width_ns,
        offset_ns: offset_ns.rem_euclid(slide_ns),
    })
}

fn cumulate(step_ns: i64, width_ns: i64) -> Result<Window> {
    let step_ns = positive("cumulate", "step", step_ns)?;
    let width_ns = positive("cumulate", "width", width_ns)?;
    if width_ns % step_ns != 0 {
        return refuse(
            "cumulate",
            "the step of 'cumulate' does not divide its width; the step comes first",
        );
    }
    Ok(Window::Cumulate { step_ns, width_ns })
}

fn positive(name: &str, what: &str, length_ns: i64) -> Result<i64> {
    if length_ns > 0 {
        return Ok(length_ns);
    }
    refuse(
        name,
        format!("the {what} of '{name}' must be longer than nothing"),
    )
}

/// The length of an interval in nanoseconds.
fn length_ns(function: &str, argument: &Expr) -> Result<i64> {
    if let Expr::Alias(alias) = argument {
        return length_ns(function, &alias.expr);
    }
    let Some(fixed) = interval(argument).and_then(|value| fixed_ns(&value)) else {
        return refuse(
            function,
            format!(
                "'{function}' takes intervals of a fixed length, like INTERVAL '10 seconds' or INTERVAL '1 day', not {}",
                length(argument)
            ),
        );
    };
    i64::try_from(fixed).or_else(|_too_long| {
        refuse(
            function,
            format!("an interval of '{function}' is longer than 292 years"),
        )
    })
}

/// The length of a value that is an interval of a fixed length; months and years have none.
pub(crate) fn fixed_ns(value: &ScalarValue) -> Option<i128> {
    match value {
        ScalarValue::IntervalMonthDayNano(Some(value)) if value.months == 0 => {
            Some(i128::from(value.days) * NANOS_PER_DAY + i128::from(value.nanoseconds))
        }
        ScalarValue::IntervalDayTime(Some(value)) => {
            let millis = i128::from(value.milliseconds);
            Some(i128::from(value.days) * NANOS_PER_DAY + millis * 1_000_000)
        }
        ScalarValue::DurationNanosecond(Some(value)) => Some(i128::from(*value)),
        _ => None,
    }
}

fn refuse<T>(function: &str, message: impl Into<String>) -> Result<T> {
    Err(PlanError::new(message).about(function).into())
}
