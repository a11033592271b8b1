//! Timestamps, dates and times of day, as text (RFC 3339) and as numbers.
//!
//! Read: `2026-11-21T06:24:48.123456789Z`, with a space or a small `t` for the `T`, with `Z`, `±hh:mm`, `±hhmm`, `±hh`
//! or nothing (UTC) at the end, and a date alone (midnight). Written: UTC, with `Z` or (`iso8601`) without, and as many
//! digits of fraction as are needed: 0, 3, 6 or 9.

use arrow::datatypes::TimeUnit;

use crate::config::TimestampFormat;

const DAY_SECONDS: i64 = 86_400;
pub(crate) const DAY_NANOS: i64 = DAY_SECONDS * 1_000_000_000;

/// How many of a unit make a second, as a power of ten.
pub(crate) fn digits(unit: TimeUnit) -> u32 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

/// The unit in which numbers count, as a power of ten of a second. A bare number counts milliseconds if nothing else
/// is said, as in Arroyo.
pub(crate) fn number_digits(format: TimestampFormat) -> u32 {
    match format {
        TimestampFormat::UnixSeconds => 0,
        TimestampFormat::Rfc3339 | TimestampFormat::Iso8601 | TimestampFormat::UnixMillis => 3,
        TimestampFormat::UnixMicros => 6,
        TimestampFormat::UnixNanos => 9,
    }
}

/// A timestamp as text, in units since 1970 (rounded towards the past). `None` if it is none, or beyond the range of
/// the unit.
pub(crate) fn parse_timestamp(text: &[u8], unit: TimeUnit) -> Option<i64> {
    let (days, rest) = split_date(text)?;
    let (nanos, offset) = match rest {
        [] => (0, &[][..]),
        [b'T' | b't' | b' ', rest @ ..] => split_time(rest)?,
        _ => return None,
    };
    let seconds = i64::from(days) * DAY_SECONDS + nanos / 1_000_000_000 - parse_offset(offset)?;
    let scale = 10i64.pow(digits(unit));
    let fraction = (nanos % 1_000_000_000) / 10i64.pow(9 - digits(unit));
    // In 128 bits, because the last second that nanoseconds can express ends beyond their range.
    let value = i128::from(seconds) * i128::from(scale) + i128::from(fraction);
    i64::try_from(value).ok()
}

/// A date as text, in days since 1970.
pub(crate) fn parse_date(text: &[u8]) -> Option<i32> {
    let (days, rest) = split_date(text)?;
    rest.is_empty().then_some(days)
}

/// A time of day as text, in nanoseconds since midnight.
pub(crate) fn parse_time(text: &[u8]) -> Option<i64> {
    let (nanos, rest) = split_time(text)?;
    (rest.is_empty() && nanos < DAY_NANOS).then_some(nanos)
}

/// `yyyy-mm-dd`, and what follows.
fn split_date(text: &[u8]) -> Option<(i32, &[u8])> {
    let (date, rest) = text.split_first_chunk::<10>()?;
    if date[4] != b'-' || date[7] != b'-' {
        return None;
    }
    let year = pair(date[0], date[1])? * 100 + pair(date[2], date[3])?;
    let month = pair(date[5], date[6])?;
    let day = pair(date[8], date[9])?;
    let valid = (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day);
    valid.then(|| (days_from_civil(year, month, day), rest))
}

/// `hh:mm[:ss[.f…]]` in nanoseconds, and what follows. A leap second is the first second of the next minute; digits
/// beyond nanoseconds are cut.
fn split_time(text: &[u8]) -> Option<(i64, &[u8])> {
    let (&[h1, h2, b':', m1, m2], mut rest) = text.split_first_chunk::<5>()? else {
        return None;
    };
    let (hour, minute) = (pair(h1, h2)?, pair(m1, m2)?);
    let mut second = 0;
    let mut nanos = 0;
    if let [b':', s1, s2, after @ ..] = rest {
        second = pair(*s1, *s2)?;
        rest = after;
        if let [b'.' | b',', after @ ..] = rest {
            (nanos, rest) = split_fraction(after)?;
        }
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = i64::from(hour * 3600 + minute * 60 + second);
    Some((seconds * 1_000_000_000 + nanos, rest))
}

fn split_fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let count = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(count);
    let digit = |index: usize| digits.get(index).map_or(0, |d| i64::from(d - b'0'));
    let nanos = (0..9).fold(0, |value, index| value * 10 + digit(index));
    (count > 0).then_some((nanos, rest))
}

/// What to subtract to come to UTC, in seconds.
fn parse_offset(text: &[u8]) -> Option<i64> {
    let (sign, hour, minute) = match *text {
        [] | [b'Z' | b'z'] => return Some(0),
        [sign, h1, h2] => (sign, pair(h1, h2)?, 0),
        [sign, h1, h2, m1, m2] | [sign, h1, h2, b':', m1, m2] => {
            (sign, pair(h1, h2)?, pair(m1, m2)?)
        }
        _ => return None,
    };
    if hour > 23 || minute > 59 {
        return None;
    }
    let seconds = i64::from(hour * 3600 + minute * 60);
    match sign {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

#[inline]
fn pair(tens: u8, ones: u8) -> Option<i32> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| i32::from(tens * 10 + ones))
}

fn days_in_month(year: i32, month: i32) -> i32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970 of a date of the proleptic Gregorian calendar, counted in eras of 400 years that begin in March.
fn days_from_civil(year: i32, month: i32, day: i32) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse: year, month, day.
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097) as u32;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + i64::from(year_of_era) + i64::from(month <= 2);
    (year, month, day)
}

/// Writes a timestamp (without quotes), with `Z`.
pub(crate) fn write_timestamp(out: &mut Vec<u8>, value: i64, unit: TimeUnit) {
    write_timestamp_text(out, value, unit, TimestampFormat::Rfc3339);
}

/// Writes a timestamp (without quotes), with `Z` unless the format is one without a zone.
pub(crate) fn write_timestamp_text(
    out: &mut Vec<u8>,
    value: i64,
    unit: TimeUnit,
    format: TimestampFormat,
) {
    let scale = 10i64.pow(digits(unit));
    let seconds = value.div_euclid(scale);
    let nanos = value.rem_euclid(scale) * 10i64.pow(9 - digits(unit));
    write_date(out, seconds.div_euclid(DAY_SECONDS));
    out.push(b'T');
    write_time(out, seconds.rem_euclid(DAY_SECONDS) * 1_000_000_000 + nanos);
    if format != TimestampFormat::Iso8601 {
        out.push(b'Z');
    }
}

/// Writes a date, given in days since 1970.
pub(crate) fn write_date(out: &mut Vec<u8>, days: i64) {
    let (year, month, day) = civil_from_days(days);
    let mut text = *b"0000-00-00";
    if let Ok(year @ 0..=9999) = u32::try_from(year) {
        two(&mut text, 0, year / 100);
        two(&mut text, 2, year % 100);
        two(&mut text, 5, month);
        two(&mut text, 8, day);
        out.extend_from_slice(&text);
    } else {
        // ISO 8601 demands a sign before years that need more than four digits.
        let text = format!("{year:+05}-{month:02}-{day:02}");
        out.extend_from_slice(text.as_bytes());
    }
}

/// Writes a time of day, given in nanoseconds.
pub(crate) fn write_time(out: &mut Vec<u8>, nanos: i64) {
    let seconds = (nanos / 1_000_000_000) as u32;
    let mut fraction = (nanos % 1_000_000_000) as u32;
    let mut text = *b"00:00:00.000000000";
    two(&mut text, 0, seconds / 3600);
    two(&mut text, 3, seconds / 60 % 60);
    two(&mut text, 6, seconds % 60);
    let len = match fraction {
        0 => 8,
        f if f % 1_000_000 == 0 => 12,
        f if f % 1_000 == 0 => 15,
        _ => 18,
    };
    if fraction != 0 {
        for digit in text[9..].iter_mut().rev() {
            *digit = b'0' + (fraction % 10) as u8;
            fraction /= 10;
        }
    }
    out.extend_from_slice(&text[..len]);
}

#[inline]
fn two(text: &mut [u8], at: usize, value: u32) {
    text[at] = b'0' + (value / 10) as u8;
    text[at + 1] = b'0' + (value % 10) as u8;
}
