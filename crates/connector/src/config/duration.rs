//! Spans of time in options: seconds, or an interval as SQL writes it.

use std::time::Duration;

use arrow::compute::kernels::cast_utils::parse_interval_month_day_nano;

use super::ConfigError;

const NANOS_PER_DAY: i128 = 24 * 60 * 60 * 1_000_000_000;

/// The time that the text of this option stands for: `90`, `1.5` (seconds), `'90 seconds'`, `'1 hour 30 minutes'`,
/// `'2 days'`.
///
/// # Errors
/// Text that is neither, negative times, and months and years, which are not of one length.
pub fn duration(option: &str, text: &str) -> Result<Duration, ConfigError> {
    let wrong = |reason: &str| {
        let message = format!("option '{option}': '{text}' {reason}");
        ConfigError::new(Some(option), message)
    };
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds)
            .map_err(|_out_of_range| wrong("is no number of seconds from 0 on"));
    }
    let Ok(interval) = parse_interval_month_day_nano(text) else {
        return Err(wrong(
            "is neither a number of seconds nor an interval like '1 hour'",
        ));
    };
    if interval.months != 0 {
        return Err(wrong(
            "counts months, which are not of one length; write days",
        ));
    }
    let nanos = i128::from(interval.days) * NANOS_PER_DAY + i128::from(interval.nanoseconds);
    match u128::try_from(nanos) {
        Ok(nanos) => Ok(Duration::from_nanos_u128(nanos)),
        Err(_negative) => Err(wrong("is negative")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_intervals() {
        let tell = |text: &str| match duration("expiry", text) {
            Ok(duration) => format!("{text} → {duration:?}"),
            Err(e) => e.message,
        };
        let all = [
            "0",
            "90",
            "1.5",
            "1 hour",
            "90 seconds",
            "1 day 2 hours",
            "250 ms",
            "250 milliseconds",
            "01:30:00",
            "-1",
            "-1 hour",
            "2 months",
            "soon",
            "",
            "NaN",
            "1e300",
        ];
        let lines: Vec<_> = all.iter().map(|text| tell(text)).collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        0 → 0ns
        90 → 90s
        1.5 → 1.5s
        1 hour → 3600s
        90 seconds → 90s
        1 day 2 hours → 93600s
        250 ms → 250ms
        250 milliseconds → 250ms
        option 'expiry': '01:30:00' is neither a number of seconds nor an interval like '1 hour'
        option 'expiry': '-1' is no number of seconds from 0 on
        option 'expiry': '-1 hour' is negative
        option 'expiry': '2 months' counts months, which are not of one length; write days
        option 'expiry': 'soon' is neither a number of seconds nor an interval like '1 hour'
        option 'expiry': '' is neither a number of seconds nor an interval like '1 hour'
        option 'expiry': 'NaN' is no number of seconds from 0 on
        option 'expiry': '1e300' is no number of seconds from 0 on
        ");
    }
}
