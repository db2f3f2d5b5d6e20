//! Python's two ways to put values into a text: `'%s' % x`, which is also the filter `format`, and `'{}'.format(x)`. The forms that
//! templates use; others are an error. A width is paid for before it is written.

use super::meter::{Meter, Result, Stop};
use super::run::Bound;
use super::text;
use super::value::{Kind, Value};

/// How a value is to look.
#[derive(Default)]
struct Spec {
    fill: Option<char>,
    align: Option<char>,
    plus: Option<char>,
    alternate: bool,
    comma: bool,
    width: usize,
    precision: Option<usize>,
    kind: Option<char>,
}

/// `text % values`: one value, a tuple of values, or a dict for `%(name)s`.
pub(super) fn percent(meter: &Meter, text: &str, values: &Value) -> Result<Value> {
    let list = match values {
        Value::Seq(seq) if seq.kind == Kind::Tuple => values.items(meter)?,
        single => vec![single.clone()],
    };
    meter.bytes(text.len())?;
    let mut values_left = list.iter();
    let mut missing =
        || values_left.next().cloned().ok_or_else(|| Stop::failed("not enough arguments for format string"));
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let mut letters = after.char_indices().peekable();
        let named = if next_is(&mut letters, "(").is_some() {
            let name: String = letters.by_ref().map(|(_, letter)| letter).take_while(|letter| *letter != ')').collect();
            match values {
                Value::Dict(dict) => dict.get(meter, &Value::from(name.as_str()))?.cloned(),
                _ => None,
            }
            .map(Some)
            .ok_or_else(|| Stop::failed(format!("format: there is no {name:?}")))?
        } else {
            None
        };
        let mut spec = Spec::default();
        while let Some(flag) = next_is(&mut letters, "-+ 0#") {
            match flag {
                '-' => spec.align = Some('<'),
                '0' => spec.fill = Some('0'),
                '#' => spec.alternate = true,
                sign => spec.plus = Some(sign),
            }
        }
        if next_is(&mut letters, "*").is_some() {
            return Err(Stop::failed("format: a width by argument is not known"));
        }
        spec.width = number(&mut letters)?.unwrap_or(0);
        if next_is(&mut letters, ".").is_some() {
            spec.precision = Some(number(&mut letters)?.unwrap_or(0));
        }
        let (at, kind) = letters.next().ok_or_else(|| Stop::failed("incomplete format"))?;
        rest = after.get(at + kind.len_utf8()..).unwrap_or_default();
        if kind == '%' {
            out.push('%');
            continue;
        }
        let value = match named {
            Some(value) => value,
            None => missing()?,
        };
        match kind {
            's' | 'r' | 'a' => {
                let mut made = String::new();
                if kind == 's' { text::write(meter, &value, &mut made) } else { text::repr(meter, &value, &mut made) }?;
                // Left blanks before a text, whatever the zero flag says.
                spec.fill = None;
                spec.align = spec.align.or(Some('>'));
                pad(meter, &spec, "", &truncated(&made, spec.precision), &mut out)?;
            }
            'c' => {
                let letter = match (value.as_text(), value.as_int()) {
                    (Some(text), _) => text.chars().next(),
                    (_, Some(code)) => u32::try_from(code).ok().and_then(char::from_u32),
                    _ => None,
                };
                out.extend(letter);
            }
            'd' | 'i' | 'u' => {
                let whole = value.as_int().or_else(|| value.as_float().map(|number| number.trunc() as i128));
                let whole = whole.ok_or_else(|| wanted_number(kind, &value))?;
                spec.kind = Some('d');
                one(meter, &spec, &Value::Int(whole), &mut out)?;
            }
            'x' | 'X' | 'o' | 'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
                if value.as_float().is_none() {
                    return Err(wanted_number(kind, &value));
                }
                spec.kind = Some(kind);
                one(meter, &spec, &value, &mut out)?;
            }
            other => return Err(Stop::failed(format!("unsupported format character {other:?}"))),
        }
    }
    out.push_str(rest);
    meter.bytes(out.len())?;
    Ok(Value::from(out))
}

fn wanted_number(kind: char, value: &Value) -> Stop {
    Stop::failed(format!("%{kind} format: a number is required, not {}", value.type_name()))
}

type Letters<'a> = std::iter::Peekable<std::str::CharIndices<'a>>;

/// The next letter, if it is one of these.
fn next_is(letters: &mut Letters<'_>, these: &str) -> Option<char> {
    letters.next_if(|(_, letter)| these.contains(*letter)).map(|(_, letter)| letter)
}

fn number(letters: &mut Letters<'_>) -> Result<Option<usize>> {
    let mut number: Option<usize> = None;
    while let Some(digit) = letters.peek().and_then(|(_, letter)| letter.to_digit(10)) {
        letters.next();
        let next = number.unwrap_or(0).checked_mul(10).and_then(|number| number.checked_add(digit as usize));
        number = Some(next.ok_or_else(|| Stop::failed("too many decimal digits in format string"))?);
    }
    Ok(number)
}

/// `text.format(…)`
pub(super) fn braces(meter: &Meter, text: &str, args: &Bound) -> Result<Value> {
    meter.bytes(text.len())?;
    let mut out = String::new();
    let mut automatic = 0;
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let brace = after.get(..1).unwrap_or_default();
        let after = after.get(1..).unwrap_or_default();
        if let Some(after) = after.strip_prefix(brace) {
            out.push_str(brace);
            rest = after;
            continue;
        }
        let (field, after) = after
            .split_once('}')
            .filter(|(field, _)| brace == "{" && !field.contains('{'))
            .ok_or_else(|| Stop::failed("a single brace in a format string"))?;
        rest = after;
        let (name, spec) = field.split_once(':').unwrap_or((field, ""));
        let (name, conversion) = name.split_once('!').unwrap_or((name, ""));
        let value = match name {
            "" => {
                automatic += 1;
                args.positional.get(automatic - 1)
            }
            name => match name.parse::<usize>() {
                Ok(index) => args.positional.get(index),
                Err(_) => args.named.iter().find(|(have, _)| **have == *name).map(|(_, value)| value),
            },
        };
        let value = value.ok_or_else(|| Stop::failed(format!("format: there is no value for {{{name}}}")))?;
        let plain = spec.is_empty();
        let spec = spec_of(spec)?;
        match conversion {
            "" if spec.kind.is_some() || (value.as_float().is_some() && !plain) => one(meter, &spec, value, &mut out)?,
            "" | "s" | "r" => {
                let mut made = String::new();
                if conversion == "r" {
                    text::repr(meter, value, &mut made)
                } else {
                    text::write(meter, value, &mut made)
                }?;
                pad(meter, &spec, "", &truncated(&made, spec.precision), &mut out)?;
            }
            other => return Err(Stop::failed(format!("format: the conversion !{other} is not known"))),
        }
    }
    out.push_str(rest);
    meter.bytes(out.len())?;
    Ok(Value::from(out))
}

/// `[[fill]align][sign][#][0][width][,][.precision][type]`
fn spec_of(text: &str) -> Result<Spec> {
    let mut spec = Spec::default();
    let mut letters = text.char_indices().peekable();
    let is_align = |letter: Option<char>| letter.filter(|letter| matches!(letter, '<' | '>' | '^' | '='));
    if let Some(align) = is_align(text.chars().nth(1)) {
        spec.fill = letters.next().map(|(_, letter)| letter);
        spec.align = Some(align);
        letters.next();
    } else if let Some(align) = is_align(text.chars().next()) {
        spec.align = Some(align);
        letters.next();
    }
    spec.plus = next_is(&mut letters, "+- ");
    spec.alternate = next_is(&mut letters, "#").is_some();
    if next_is(&mut letters, "0").is_some() {
        spec.fill = spec.fill.or(Some('0'));
        spec.align = spec.align.or(Some('='));
    }
    spec.width = number(&mut letters)?.unwrap_or(0);
    spec.comma = next_is(&mut letters, ",").is_some();
    if next_is(&mut letters, ".").is_some() {
        spec.precision = number(&mut letters)?;
    }
    spec.kind = letters.next().map(|(_, letter)| letter);
    if letters.next().is_some() {
        return Err(Stop::failed(format!("invalid format specifier {text:?}")));
    }
    Ok(spec)
}

fn truncated(text: &str, precision: Option<usize>) -> String {
    match precision {
        Some(most) => text.chars().take(most).collect(),
        None => text.to_owned(),
    }
}

/// Writes one value by its specification.
fn one(meter: &Meter, spec: &Spec, value: &Value, out: &mut String) -> Result<()> {
    let precision = spec.precision.unwrap_or(6);
    // No float has more digits than this before and behind its point; more is more blanks than anybody reads.
    if precision > 1000 {
        return Err(Stop::failed("format: a precision over 1000"));
    }
    meter.letters(precision + 400)?;
    let whole = value.as_int();
    let broken = value.as_float();
    let magnitude = match (spec.kind, whole, broken) {
        (None | Some('d'), Some(number), _) => number.unsigned_abs().to_string(),
        (Some('x'), Some(number), _) => {
            format!("{}{:x}", if spec.alternate { "0x" } else { "" }, number.unsigned_abs())
        }
        (Some('X'), Some(number), _) => {
            format!("{}{:X}", if spec.alternate { "0X" } else { "" }, number.unsigned_abs())
        }
        (Some('o'), Some(number), _) => {
            format!("{}{:o}", if spec.alternate { "0o" } else { "" }, number.unsigned_abs())
        }
        (Some('b'), Some(number), _) => {
            format!("{}{:b}", if spec.alternate { "0b" } else { "" }, number.unsigned_abs())
        }
        (Some('f' | 'F'), _, Some(number)) => format!("{:.precision$}", number.abs()),
        (Some('%'), _, Some(number)) => format!("{:.precision$}%", number.abs() * 100.0),
        (Some('e' | 'E'), _, Some(number)) => exponent(number.abs(), precision, spec.kind == Some('E')),
        (Some('g' | 'G'), _, Some(number)) => general(number.abs(), precision),
        (None, _, Some(number)) => text::float(number.abs()),
        (Some('s'), ..) => {
            let made = text::string(meter, value)?;
            return pad(meter, spec, "", &truncated(&made, spec.precision), out);
        }
        (kind, ..) => {
            return Err(Stop::failed(format!(
                "unknown format code {:?} for object of type '{}'",
                kind.unwrap_or(' '),
                value.type_name()
            )));
        }
    };
    let magnitude = if spec.comma { grouped(&magnitude) } else { magnitude };
    let sign = match (broken.is_some_and(|number| number < 0.0), spec.plus) {
        (true, _) => "-",
        (false, Some('+')) => "+",
        (false, Some(' ')) => " ",
        _ => "",
    };
    let spec = Spec {
        align: spec.align.or(if spec.fill == Some('0') { Some('=') } else { Some('>') }),
        fill: spec.fill,
        width: spec.width,
        ..Spec::default()
    };
    pad(meter, &spec, sign, &magnitude, out)
}

fn exponent(number: f64, precision: usize, upper: bool) -> String {
    let text = format!("{number:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mark = if upper { 'E' } else { 'e' };
    format!("{digits}{mark}{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// `precision` significant digits without trailing zeros, with an exponent where the number is very large or small.
fn general(number: f64, precision: usize) -> String {
    let precision = precision.max(1);
    let scientific = format!("{:.*e}", precision - 1, number);
    let power: i32 = scientific.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if power < -4 || power >= i32::try_from(precision).unwrap_or(i32::MAX) {
        let text = exponent(number, precision - 1, false);
        let (digits, tail) = text.split_once('e').unwrap_or((&text, "+00"));
        return format!("{}e{tail}", trim(digits));
    }
    let decimals = usize::try_from(i32::try_from(precision).unwrap_or(i32::MAX) - 1 - power).unwrap_or(0);
    trim(&format!("{number:.decimals$}"))
}

fn grouped(text: &str) -> String {
    let (whole, rest) = text.find('.').map_or((text, ""), |at| text.split_at(at));
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

fn pad(meter: &Meter, spec: &Spec, sign: &str, text: &str, out: &mut String) -> Result<()> {
    let length = text.chars().count() + sign.len();
    let missing = spec.width.saturating_sub(length);
    let fill = spec.fill.unwrap_or(' ');
    meter.product(missing, fill.len_utf8())?;
    meter.bytes(text.len())?;
    let blanks = |count: usize| std::iter::repeat_n(fill, count);
    let (before, inner, after) = match spec.align {
        Some('>') => (missing, 0, 0),
        Some('=') => (0, missing, 0),
        Some('^') => (missing / 2, 0, missing - missing / 2),
        _ => (0, 0, missing),
    };
    out.extend(blanks(before));
    out.push_str(sign);
    out.extend(blanks(inner));
    out.push_str(text);
    out.extend(blanks(after));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The right column is what Python 3.11 printed.
    #[test]
    fn percent_is_pythons() {
        let meter = Meter::new(10_000);
        let tuple = |items: Vec<Value>| Value::seq(&meter, Kind::Tuple, items).unwrap_or(Value::None);
        let half = || Value::Float(1234.5);
        for (form, values, wanted) in [
            ("%s|%5s|%-5s|", tuple(vec!["a".into(), "b".into(), "c".into()]), "a|    b|c    |"),
            ("%d %05d %+d %x %o", tuple([7, 7, 7, 255, 8].map(Value::Int).to_vec()), "7 00007 +7 ff 10"),
            ("%.2f %e %g", tuple(vec![half(), half(), half()]), "1234.50 1.234500e+03 1234.5"),
            ("%r 100%%", "x".into(), "'x' 100%"),
            ("%.2s", "xyz".into(), "xy"),
            ("%-6.1f|", Value::Float(-2.25), "-2.2  |"),
        ] {
            let made = percent(&meter, form, &values);
            assert_eq!(made.as_ref().ok().and_then(Value::as_text), Some(wanted), "{form}: {made:?}");
        }
        for bad in ["%d", "%s %s", "%", "%q", "%(a)s"] {
            assert!(percent(&meter, bad, &Value::from("x")).is_err(), "{bad}");
        }
    }

    #[test]
    fn braces_are_pythons() {
        let meter = Meter::new(10_000);
        let args = Bound {
            positional: vec![Value::Int(1_234_567), Value::Float(0.5), Value::from("é")],
            named: vec![("name".into(), Value::from("n"))],
        };
        for (form, wanted) in [
            ("{} {} {}", "1234567 0.5 é"),
            ("{0:,} {1:.2f} {2:>3}|{2:^3}|{2:*<3}", "1,234,567 0.50   é| é |é**"),
            ("{name!r} {{}} {0:010d} {0:x}", "'n' {} 0001234567 12d687"),
            ("{1:%} {0:+}", "50.000000% +1234567"),
        ] {
            let made = braces(&meter, form, &args);
            assert_eq!(made.as_ref().ok().and_then(Value::as_text), Some(wanted), "{form}: {made:?}");
        }
        for bad in ["{", "}", "{9}", "{other}", "{0!z}", "{0:{1}}", "{0.real}"] {
            assert!(braces(&meter, bad, &args).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_width_is_paid_for_before_it_is_written() {
        let meter = Meter::new(1000);
        assert!(percent(&meter, "%999999999999d", &Value::Int(1)).is_err());
        let args = Bound { positional: vec![Value::Int(1)], named: Vec::new() };
        assert!(braces(&Meter::new(1000), "{:>999999999}", &args).is_err());
    }
}
