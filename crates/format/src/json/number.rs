//! Numbers: JSON's grammar, and exact values out of it.
//!
//! A number is scanned once into mantissa and exponent. What fits 64 bits and the well-known exact range of doubles is
//! then a multiplication away; everything else goes through the text again, slowly and exactly. No value is ever
//! rounded on its way to an integer: `1.0` and `1e3` are integers, `1.5` and `1e-3` are not.

/// A number that was scanned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number<'a> {
    /// As it was written.
    pub(crate) text: &'a [u8],
    negative: bool,
    /// All digits, if `exact`.
    mantissa: u64,
    /// The power of ten to multiply `mantissa` with.
    exponent: i32,
    /// Whether `mantissa` holds all digits (at most 19).
    exact: bool,
}

/// Exact powers of ten, as doubles.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// The number that a text is as a whole; `None` if it is none by JSON's grammar.
pub(crate) fn whole(text: &[u8]) -> Option<Number<'_>> {
    scan(text, |number| number).filter(|number| number.text.len() == text.len())
}

/// Takes the number at the beginning of some bytes; `None` if there is none by JSON's grammar.
///
/// A number is given away, not returned: on its way through an `Option` it is written to memory in pieces and read back in others, for
/// which the processor waits until all writes before are through, those into cold columns, too.
#[inline(always)]
pub(crate) fn scan<'a, T>(bytes: &'a [u8], take: impl FnOnce(Number<'a>) -> T) -> Option<T> {
    let negative = bytes.first() == Some(&b'-');
    let start = usize::from(negative);
    let mut mantissa = 0;
    let mut at = digits(bytes, start, &mut mantissa);
    let mut count = at - start;
    if count == 0 || (count > 1 && bytes.get(start) == Some(&b'0')) {
        return None;
    }
    let mut exponent = 0;
    if bytes.get(at) == Some(&b'.') {
        let point = at + 1;
        at = digits(bytes, point, &mut mantissa);
        if at == point {
            return None;
        }
        count += at - point;
        exponent = i32::try_from(at - point).ok()?.checked_neg()?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let (end, power) = scan_exponent(bytes, at + 1)?;
        at = end;
        exponent = exponent.saturating_add(power);
    }
    Some(take(Number {
        text: &bytes[..at],
        negative,
        mantissa,
        exponent,
        exact: count <= 19,
    }))
}

/// Adds the digits from `at` on to the mantissa (which may overflow); answers the index behind them.
#[inline]
fn digits(bytes: &[u8], mut at: usize, mantissa: &mut u64) -> usize {
    while let Some(eight) = bytes.get(at..).and_then(eight_digits) {
        *mantissa = mantissa.wrapping_mul(100_000_000).wrapping_add(eight);
        at += 8;
    }
    while let Some(&byte) = bytes.get(at) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    at
}

/// The value of the next eight bytes, if all of them are digits: pairs, then fours, then eight are put together in
/// one word.
#[inline]
fn eight_digits(bytes: &[u8]) -> Option<u64> {
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    let word = u64::from_le_bytes(*bytes.first_chunk::<8>()?);
    let beyond_nine = word.wrapping_add(0x4646_4646_4646_4646);
    let below_zero = word.wrapping_sub(ZEROS);
    if (beyond_nine | below_zero) & 0x8080_8080_8080_8080 != 0 {
        return None;
    }
    let digits = word ^ ZEROS;
    let pairs = (digits & 0x000F_000F_000F_000F) * 10 + ((digits >> 8) & 0x000F_000F_000F_000F);
    let fours = (pairs & 0x0000_00FF_0000_00FF) * 100 + ((pairs >> 16) & 0x0000_00FF_0000_00FF);
    Some((fours & 0xFFFF) * 10_000 + (fours >> 32))
}

/// The exponent behind an `e`, and the index behind it.
#[cold]
fn scan_exponent(bytes: &[u8], at: usize) -> Option<(usize, i32)> {
    let negative = bytes.get(at) == Some(&b'-');
    let start = at + usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
    let mut power: i32 = 0;
    let mut end = start;
    while let Some(digit @ b'0'..=b'9') = bytes.get(end) {
        power = power
            .saturating_mul(10)
            .saturating_add(i32::from(digit - b'0'));
        end += 1;
    }
    (end > start).then_some((end, if negative { -power } else { power }))
}

impl Number<'_> {
    /// As a double, rounded to nearest; `None` beyond its range.
    #[inline]
    pub(crate) fn to_f64(self) -> Option<f64> {
        // Clinger's fast path: both factors are exact, so that the one rounding is the right one.
        if self.exact && self.mantissa <= 1 << 53 && (-22..=0).contains(&self.exponent) {
            let power = POWERS.get(self.exponent.unsigned_abs() as usize)?;
            let magnitude = self.mantissa as f64 / power;
            return Some(if self.negative { -magnitude } else { magnitude });
        }
        self.parse::<f64>().filter(|value| value.is_finite())
    }

    /// As a single-precision float, rounded once; `None` beyond its range.
    #[inline]
    pub(crate) fn to_f32(self) -> Option<f32> {
        if self.exact && self.mantissa <= 1 << 24 && (-10..=0).contains(&self.exponent) {
            let power = *POWERS.get(self.exponent.unsigned_abs() as usize)? as f32;
            let magnitude = self.mantissa as f32 / power;
            return Some(if self.negative { -magnitude } else { magnitude });
        }
        self.parse::<f32>().filter(|value| value.is_finite())
    }

    #[cold]
    fn parse<T: std::str::FromStr>(&self) -> Option<T> {
        std::str::from_utf8(self.text).ok()?.parse().ok()
    }

    /// As an integer; `None` if it is not integral or beyond 64 bits.
    #[inline]
    pub(crate) fn to_i64(self) -> Option<i64> {
        if self.exact && self.exponent == 0 {
            if self.negative {
                return 0i64.checked_sub_unsigned(self.mantissa);
            }
            return i64::try_from(self.mantissa).ok();
        }
        i64::try_from(self.integral()?).ok()
    }

    /// As an unsigned integer; `None` if it is not integral, negative, or beyond 64 bits.
    #[inline]
    pub(crate) fn to_u64(self) -> Option<u64> {
        if self.exact && self.exponent == 0 && (!self.negative || self.mantissa == 0) {
            return Some(self.mantissa);
        }
        u64::try_from(self.integral()?).ok()
    }

    /// As an integer, if it is written as one of at most 19 digits.
    #[inline]
    pub(crate) fn to_small_integer(self) -> Option<i64> {
        if self.exact && self.exponent == 0 {
            self.to_i64()
        } else {
            None
        }
    }

    #[cold]
    fn integral(&self) -> Option<i128> {
        let scaled = self.scaled(0)?;
        (scaled.rest == Rest::None).then_some(scaled.value)
    }

    /// Multiplied by `10^scale`, rounded towards negative infinity, as timestamps are.
    pub(crate) fn floor_scaled(&self, scale: i32) -> Option<i128> {
        let scaled = self.scaled(scale)?;
        let below = self.negative && scaled.rest != Rest::None;
        Some(scaled.value - i128::from(below))
    }

    /// Multiplied by `10^scale`, rounded to nearest, halves away from zero, as SQL does.
    pub(crate) fn round_scaled(&self, scale: i32) -> Option<i128> {
        let scaled = self.scaled(scale)?;
        let up = i128::from(scaled.rest == Rest::HalfOrMore);
        Some(if self.negative {
            scaled.value - up
        } else {
            scaled.value + up
        })
    }

    /// Multiplied by `10^scale`, cut towards zero; `None` beyond 38 digits.
    fn scaled(&self, scale: i32) -> Option<Scaled> {
        let (digits, exponent) = self.significant();
        let power = exponent + i64::from(scale);
        let whole = digits.len() as i64 + power;
        if digits.is_empty() || whole < 0 {
            return Some(Scaled {
                value: 0,
                rest: if digits.is_empty() {
                    Rest::None
                } else {
                    Rest::BelowHalf
                },
            });
        }
        if whole > 38 {
            return None;
        }
        let kept = usize::try_from(whole).ok()?;
        let digit = |index: usize| i128::from(digits.get(index).map_or(0, |d| d - b'0'));
        let magnitude = (0..kept).fold(0, |value, index| value * 10 + digit(index));
        let rest = match digits.get(kept) {
            None => Rest::None,
            Some(b'0'..=b'4') => Rest::BelowHalf,
            Some(_) => Rest::HalfOrMore,
        };
        let value = if self.negative { -magnitude } else { magnitude };
        Some(Scaled { value, rest })
    }

    /// The digits without zeros at either end, and the power of ten behind the last one.
    fn significant(&self) -> (Vec<u8>, i64) {
        let is_exponent = |b: &u8| matches!(b, b'e' | b'E');
        let end = self
            .text
            .iter()
            .position(is_exponent)
            .unwrap_or(self.text.len());
        let all = || self.text[..end].iter().copied().filter(u8::is_ascii_digit);
        let trailing = all().rev().take_while(|&b| b == b'0').count();
        let count = all().count();
        let digits: Vec<u8> = all()
            .take(count - trailing)
            .skip_while(|&b| b == b'0')
            .collect();
        (digits, i64::from(self.exponent) + trailing as i64)
    }
}

/// A number cut to an integer.
struct Scaled {
    value: i128,
    rest: Rest,
}

/// What was cut off.
#[derive(PartialEq)]
enum Rest {
    None,
    BelowHalf,
    HalfOrMore,
}
