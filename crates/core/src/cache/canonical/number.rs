//! Numbers as Python prints them: integers of any size digit for digit, floats as `repr` (`1e-05`, `1e+16`, `-0.0`).
//!
//! Not a number type: it goes from source text to canonical text. The grammar around numbers is in `canonical.rs`.

use super::Reason;

/// Python refuses to read or print a longer integer (`sys.int_info.default_max_str_digits`).
pub(super) const MAX_DIGITS: usize = 4300;

/// Appends the number that `text` begins with and says how many bytes it took; an error comes with its offset.
pub(super) fn append(out: &mut Vec<u8>, text: &[u8]) -> Result<usize, (usize, Reason)> {
    let sign = usize::from(text.first() == Some(&b'-'));
    let integer = match text.get(sign) {
        Some(b'0') => 1,
        _ => digits(text, sign),
    };
    if integer == 0 {
        return Err((sign, Reason::Expected("a digit")));
    }
    let end = sign + integer;
    let fraction = match text.get(end) {
        Some(b'.') => 1 + required_digits(text, end + 1)?,
        _ => 0,
    };
    let exponent = match text.get(end + fraction) {
        Some(b'e' | b'E') => {
            let signed = usize::from(matches!(text.get(end + fraction + 1), Some(b'+' | b'-')));
            1 + signed + required_digits(text, end + fraction + 1 + signed)?
        }
        _ => 0,
    };
    let length = end + fraction + exponent;
    let written = text.get(..length).unwrap_or_default();
    if fraction + exponent == 0 {
        append_integer(out, written, integer)?;
        return Ok(length);
    }
    match std::str::from_utf8(written).ok().and_then(|text| text.parse::<f64>().ok()) {
        Some(value) if value.is_finite() => append_float(out, value),
        _ => return Err((0, Reason::TooLarge)),
    }
    Ok(length)
}

fn append_integer(out: &mut Vec<u8>, written: &[u8], digits: usize) -> Result<(), (usize, Reason)> {
    if digits > MAX_DIGITS {
        return Err((0, Reason::TooManyDigits));
    }
    out.extend_from_slice(if written == b"-0" { b"0" } else { written });
    Ok(())
}

fn digits(text: &[u8], from: usize) -> usize {
    text.get(from..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn required_digits(text: &[u8], from: usize) -> Result<usize, (usize, Reason)> {
    match digits(text, from) {
        0 => Err((from, Reason::Expected("a digit"))),
        count => Ok(count),
    }
}

/// Appends a float as Python's `repr` does: the shortest digits that read back as the same value, with an exponent
/// from `1e+16` up and below `0.0001`. A value JSON has no word for becomes `null`.
pub fn append_float(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        out.extend_from_slice(b"null");
        return;
    }
    let shortest = format!("{:e}", value.abs());
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    if value.is_sign_negative() {
        out.push(b'-');
    }
    match exponent {
        0..16 => {
            let whole = exponent as usize + 1;
            for place in 0..digits.len().max(whole + 1) {
                if place == whole {
                    out.push(b'.');
                }
                out.push(digits.get(place).copied().unwrap_or(b'0'));
            }
        }
        -4..0 => {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', exponent.unsigned_abs() as usize - 1));
            out.extend_from_slice(&digits);
        }
        _ => {
            let (first, rest) = digits.split_at(1.min(digits.len()));
            out.extend_from_slice(first);
            if !rest.is_empty() {
                out.push(b'.');
                out.extend_from_slice(rest);
            }
            let sign = if exponent < 0 { '-' } else { '+' };
            out.extend_from_slice(format!("e{sign}{:02}", exponent.unsigned_abs()).as_bytes());
        }
    }
}
