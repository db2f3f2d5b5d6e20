//! Values as text: Python's `str` and `repr`. A value that holds another many times over is written many times over, so each piece is paid
//! for before it is written. JSON is `json.rs`.

use std::fmt::Write as _;

use super::meter::{Meter, Result};
use super::value::{Kind, Value};

/// Appends what Python's `str` makes of a value.
pub(super) fn write(meter: &Meter, value: &Value, out: &mut String) -> Result<()> {
    match value {
        Value::Text(text) => push(meter, text, out),
        Value::Undefined(_) => Ok(()),
        other => repr(meter, other, out),
    }
}

/// What Python's `str` makes of a value.
pub(super) fn string(meter: &Meter, value: &Value) -> Result<String> {
    let mut out = String::new();
    write(meter, value, &mut out)?;
    Ok(out)
}

fn push(meter: &Meter, text: &str, out: &mut String) -> Result<()> {
    meter.bytes(text.len())?;
    out.push_str(text);
    Ok(())
}

/// Appends what Python's `repr` makes of a value.
pub(super) fn repr(meter: &Meter, value: &Value, out: &mut String) -> Result<()> {
    // A number, a name and the punctuation around a value, roughly.
    meter.bytes(16)?;
    match value {
        Value::Undefined(_) => out.push_str("Undefined"),
        Value::None => out.push_str("None"),
        Value::Bool(flag) => out.push_str(if *flag { "True" } else { "False" }),
        Value::Int(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Float(number) => out.push_str(&float(*number)),
        Value::Text(text) => quoted(meter, text, out)?,
        Value::Seq(seq) => {
            let (open, close) = match seq.kind {
                Kind::List => ("[", "]"),
                Kind::Tuple => ("(", if seq.items.len() == 1 { ",)" } else { ")" }),
                Kind::View => ("dict_view([", "])"),
                Kind::Stream => {
                    out.push_str("<generator>");
                    return Ok(());
                }
            };
            out.push_str(open);
            for (index, item) in seq.items.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                repr(meter, item, out)?;
            }
            out.push_str(close);
        }
        Value::Dict(dict) => {
            out.push('{');
            for (index, (key, value)) in dict.entries.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                repr(meter, key, out)?;
                out.push_str(": ");
                repr(meter, value, out)?;
            }
            out.push('}');
        }
        other => {
            let _ = write!(out, "<{}>", other.type_name());
        }
    }
    Ok(())
}

fn quoted(meter: &Meter, text: &str, out: &mut String) -> Result<()> {
    meter.letters(text.len())?;
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for letter in text.chars() {
        match letter {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            letter if letter == quote => out.extend(['\\', letter]),
            letter if letter < ' ' || matches!(letter, '\u{7f}'..='\u{a0}' | '\u{ad}') => {
                let _ = write!(out, "\\x{:02x}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push(quote);
    Ok(())
}

/// A float as Python's `repr` writes it.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        format!("{number:?}").replace("e0", "")
    } else {
        format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_read_as_pythons() {
        for (number, text) in [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (-0.5, "-0.5"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e300, "1.5e+300"),
            (123456.789, "123456.789"),
        ] {
            assert_eq!(float(number), text);
        }
    }

    #[test]
    fn texts_are_quoted_as_pythons() {
        let meter = Meter::new(1000);
        for (text, quoted_text) in
            [("a'b", "\"a'b\""), ("a'b\"", "'a\\'b\"'"), ("\n\t\\\u{1}\u{7f}é😀", "'\\n\\t\\\\\\x01\\x7fé😀'")]
        {
            let mut out = String::new();
            assert!(quoted(&meter, text, &mut out).is_ok());
            assert_eq!(out, quoted_text);
        }
    }
}
