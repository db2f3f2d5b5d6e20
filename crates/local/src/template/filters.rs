//! Jinja2's filters, one row each; those over lists are in `filters/lists.rs`. Each pays for what it looks at and makes.

mod lists;

use super::format;
use super::json;
use super::meter::{Meter, Result, Stop};
use super::methods;
use super::run::{Bound, Run};
use super::text;
use super::value::{Kind, Value};

type Filter = fn(&mut Run, &Value, Bound) -> Result<Value>;

#[rustfmt::skip]
const FILTERS: [(&str, Filter); 49] = [
    ("abs", abs), ("attr", attr), ("batch", lists::batch), ("capitalize", capitalize), ("center", center), ("count", length),
    ("d", default), ("default", default), ("dictsort", lists::dictsort), ("e", escape), ("escape", escape), ("first", lists::first),
    ("float", float), ("format", percent), ("groupby", lists::groupby), ("indent", indent), ("int", int), ("items", lists::items),
    ("join", lists::join), ("last", lists::last), ("length", length), ("list", lists::list), ("lower", lower), ("map", lists::map),
    ("max", lists::max), ("min", lists::min), ("reject", lists::reject), ("rejectattr", lists::rejectattr), ("replace", replace),
    ("reverse", lists::reverse), ("round", round), ("safe", string), ("select", lists::select), ("selectattr", lists::selectattr),
    ("slice", lists::slice), ("sort", lists::sort), ("string", string), ("striptags", striptags), ("sum", lists::sum), ("title", title),
    ("tojson", tojson), ("trim", trim), ("truncate", truncate), ("unique", lists::unique), ("upper", upper), ("urlencode", urlencode),
    ("wordcount", wordcount), ("forceescape", escape), ("pprint", pprint),
];

/// Whether there is a filter of this name.
pub(super) fn exists(name: &str) -> bool {
    FILTERS.iter().any(|(known, _)| *known == name)
}

/// What a filter makes of a value.
pub(super) fn apply(run: &mut Run, name: &str, value: &Value, args: Bound) -> Result<Value> {
    match FILTERS.iter().find(|(known, _)| *known == name) {
        Some((_, filter)) => filter(run, value, args),
        None => Err(Stop::failed(format!("there is no filter named {name:?}"))),
    }
}

/// The value as a text of its own, paid for letter by letter.
fn letters(meter: &Meter, value: &Value) -> Result<String> {
    let text = text::string(meter, value)?;
    meter.letters(text.len())?;
    Ok(text)
}

fn whole(value: Option<&Value>, default: i128) -> Result<i128> {
    match value {
        None => Ok(default),
        Some(value) => {
            value.as_int().ok_or_else(|| Stop::failed(format!("a whole number is wanted, not {}", value.type_name())))
        }
    }
}

/// A number of things, none where it is negative.
fn many(value: Option<&Value>, default: usize) -> Result<usize> {
    Ok(usize::try_from(whole(value, default as i128)?.max(0)).unwrap_or(usize::MAX))
}

fn abs(_: &mut Run, value: &Value, _: Bound) -> Result<Value> {
    match (value.as_int(), value) {
        (Some(number), _) => number.checked_abs().map(Value::Int).ok_or_else(|| Stop::failed("a number is too large")),
        (_, Value::Float(number)) => Ok(Value::Float(number.abs())),
        (_, other) => Err(Stop::failed(format!("bad operand type for abs(): '{}'", other.type_name()))),
    }
}

fn attr(run: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    match args.take("attr", ["name"])? {
        // Unlike a dot it looks for no key.
        [Some(Value::Text(name))] if !matches!(value, Value::Dict(_)) => run.attr(value, &name),
        _ => Ok(Value::Undefined(None)),
    }
}

fn capitalize(run: &mut Run, value: &Value, _: Bound) -> Result<Value> {
    Ok(Value::from(methods::capitalized(&letters(run.meter(), value)?)))
}

fn center(run: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    let [width] = args.take("center", ["width"])?;
    let args = Bound { positional: vec![width.unwrap_or(Value::Int(80))], named: Vec::new() };
    let text = Value::from(letters(run.meter(), value)?);
    methods::call(run.meter(), &text, "center", args)
}

fn length(run: &mut Run, value: &Value, _: Bound) -> Result<Value> {
    value.len(run.meter()).map(|length| Value::Int(length as i128))
}

fn default(_: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    let [other, boolean] = args.take("default", ["default_value", "boolean"])?;
    let unwanted = value.is_undefined() || (boolean.is_some_and(|flag| flag.is_true()) && !value.is_true());
    Ok(if unwanted { other.unwrap_or_else(|| Value::from("")) } else { value.clone() })
}

fn escape(run: &mut Run, value: &Value, _: Bound) -> Result<Value> {
    let text = letters(run.meter(), value)?;
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            letter => out.push(letter),
        }
    }
    Value::text(run.meter(), &out)
}

fn float(_: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    let [default] = args.take("float", ["default"])?;
    let number = value.as_float().or_else(|| value.as_text()?.trim().parse().ok());
    Ok(number.map(Value::Float).or(default).unwrap_or(Value::Float(0.0)))
}

fn int(_: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    let [default, base] = args.take("int", ["default", "base"])?;
    let base = u32::try_from(whole(base.as_ref(), 10)?).ok().filter(|base| (2..=36).contains(base)).unwrap_or(10);
    let read = |text: &str| {
        let text = text.trim().replace('_', "");
        let bare = text.to_ascii_lowercase();
        let digits = match base {
            16 => bare.trim_start_matches("0x"),
            8 => bare.trim_start_matches("0o"),
            2 => bare.trim_start_matches("0b"),
            _ => &bare,
        };
        i128::from_str_radix(digits, base)
            .ok()
            .or_else(|| Some(text.parse::<f64>().ok().filter(|n| n.is_finite())? as i128))
    };
    let number = match value {
        Value::Text(text) => text.get(..text.len().min(4096)).and_then(read),
        Value::Float(number) => number.is_finite().then_some(*number as i128),
        other => other.as_int(),
    };
    Ok(number.map(Value::Int).or(default).unwrap_or(Value::Int(0)))
}

fn percent(run: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    let form = letters(run.meter(), value)?;
    let values = if args.named.is_empty() {
        Value::seq(run.meter(), Kind::Tuple, args.positional)?
    } else {
        let named = args.named.into_iter().map(|(name, value)| (Value::Text(name), value));
        Value::dict(run.meter(), named.collect())?
    };
    format::percent(run.meter(), &form, &values)
}

fn indent(run: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    let [width, first, blank] = args.take("indent", ["width", "first", "blank"])?;
    let text = letters(run.meter(), value)?;
    let step = match &width {
        Some(Value::Text(step)) => step.to_string(),
        width => {
            let width = many(width.as_ref(), 4)?;
            run.meter().bytes(width)?;
            " ".repeat(width)
        }
    };
    let is_true = |flag: Option<Value>| flag.is_some_and(|flag| flag.is_true());
    let (first, blank) = (is_true(first), is_true(blank));
    run.meter().product(text.matches('\n').count() + 1, step.len())?;
    let mut out = String::new();
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            out.push('\n');
        }
        if if index == 0 { first } else { blank || !line.is_empty() } {
            out.push_str(&step);
        }
        out.push_str(line);
    }
    Ok(Value::from(out))
}

fn lower(run: &mut Run, value: &Value, _: Bound) -> Result<Value> {
    Ok(Value::from(letters(run.meter(), value)?.to_lowercase()))
}

fn upper(run: &mut Run, value: &Value, _: Bound) -> Result<Value> {
    Ok(Value::from(letters(run.meter(), value)?.to_uppercase()))
}

fn replace(run: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    let [old, new, count] = args.take("replace", ["old", "new", "count"])?;
    let (Some(old), Some(new)) = (old, new) else { return Err(Stop::failed("replace takes two texts")) };
    let text = letters(run.meter(), value)?;
    let (old, new) = (text::string(run.meter(), &old)?, text::string(run.meter(), &new)?);
    let count = count.as_ref().and_then(Value::as_int).and_then(|count| usize::try_from(count).ok());
    methods::replaced(run.meter(), &text, &old, &new, count)
}

fn round(_: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    let [precision, method] = args.take("round", ["precision", "method"])?;
    let number = value.as_float().ok_or_else(|| Stop::failed("round takes a number"))?;
    let precision = whole(precision.as_ref(), 0)?.clamp(-300, 300);
    let power = 10_f64.powi(i32::try_from(precision).unwrap_or(0));
    let scaled = number * power;
    let rounded = match method.as_ref().and_then(Value::as_text) {
        Some("ceil") => scaled.ceil(),
        Some("floor") => scaled.floor(),
        _ => scaled.round_ties_even(),
    } / power;
    Ok(Value::Float(if rounded.is_finite() { rounded } else { number }))
}

fn string(run: &mut Run, value: &Value, _: Bound) -> Result<Value> {
    match value {
        Value::Text(_) => Ok(value.clone()),
        other => text::string(run.meter(), other).map(Value::from),
    }
}

fn pprint(run: &mut Run, value: &Value, _: Bound) -> Result<Value> {
    let mut out = String::new();
    text::repr(run.meter(), value, &mut out)?;
    Ok(Value::from(out))
}

fn striptags(run: &mut Run, value: &Value, _: Bound) -> Result<Value> {
    let text = letters(run.meter(), value)?;
    let mut inside = false;
    let kept = text.chars().filter(|letter| {
        let tag = inside || *letter == '<';
        inside = tag && *letter != '>';
        !tag
    });
    let kept: String = kept.collect();
    Ok(Value::from(kept.split_whitespace().collect::<Vec<_>>().join(" ")))
}

/// Words begin behind blanks, hyphens and opening brackets.
fn title(run: &mut Run, value: &Value, _: Bound) -> Result<Value> {
    let text = letters(run.meter(), value)?;
    let mut begins = true;
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if begins {
            out.extend(letter.to_uppercase())
        } else {
            out.extend(letter.to_lowercase())
        }
        begins = letter.is_whitespace() || matches!(letter, '-' | '(' | '{' | '[' | '<');
    }
    Ok(Value::from(out))
}

fn tojson(run: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    json::tojson(run.meter(), value, args)
}

fn trim(run: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    let [set] = args.take("trim", ["chars"])?;
    let text = text::string(run.meter(), value)?;
    let set = set.filter(|set| !matches!(set, Value::None)).map(|set| text::string(run.meter(), &set)).transpose()?;
    Ok(Value::from(methods::stripped(run.meter(), &text, set.as_deref(), (true, true))?))
}

fn truncate(run: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    let [length, kill, end, leeway] = args.take("truncate", ["length", "killwords", "end", "leeway"])?;
    let text = letters(run.meter(), value)?;
    let (length, leeway) = (many(length.as_ref(), 255)?, many(leeway.as_ref(), 5)?);
    let end = end.map_or(Ok("...".to_owned()), |end| text::string(run.meter(), &end))?;
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(Value::from(text));
    }
    let kept: String = text.chars().take(length.saturating_sub(end.chars().count())).collect();
    let kept = match kept.rsplit_once(' ') {
        Some((words, _)) if !kill.is_some_and(|kill| kill.is_true()) => words,
        _ => &kept,
    };
    Ok(Value::from(format!("{kept}{end}")))
}

fn urlencode(run: &mut Run, value: &Value, _: Bound) -> Result<Value> {
    use std::fmt::Write as _;
    let text = letters(run.meter(), value)?;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'~' | b'/') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    Value::text(run.meter(), &out)
}

fn wordcount(run: &mut Run, value: &Value, _: Bound) -> Result<Value> {
    let text = letters(run.meter(), value)?;
    let words = text.split(|letter: char| letter != '_' && !letter.is_alphanumeric());
    Ok(Value::Int(words.filter(|word| !word.is_empty()).count() as i128))
}
