//! The methods of Python's texts, lists and dicts that change nothing: those that `transformers` lets a template call. Those that make much
//! out of little pay before they do.

use super::format;
use super::lexer::blank;
use super::meter::{Meter, Result, Stop};
use super::run::Bound;
use super::text;
use super::value::{Kind, Value, equal};

#[rustfmt::skip]
const OF_TEXT: [&str; 42] = [
    "capitalize", "casefold", "center", "count", "endswith", "find", "format", "index", "isalnum", "isalpha", "isascii", "isdecimal",
    "isdigit", "isidentifier", "islower", "isnumeric", "isspace", "istitle", "isupper", "join", "ljust", "lower", "lstrip", "partition",
    "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rjust", "rpartition", "rsplit", "rstrip", "split", "splitlines",
    "startswith", "strip", "swapcase", "title", "upper", "zfill", "expandtabs",
];
const OF_DICT: [&str; 5] = ["copy", "get", "items", "keys", "values"];
const OF_LIST: [&str; 3] = ["copy", "count", "index"];
const OF_LOOP: [&str; 2] = ["changed", "cycle"];

/// Whether a value has a method of this name.
pub(super) fn knows(value: &Value, name: &str) -> bool {
    match value {
        Value::Text(_) => OF_TEXT.contains(&name),
        Value::Dict(_) => OF_DICT.contains(&name),
        Value::Seq(seq) if matches!(seq.kind, Kind::List | Kind::Tuple) => OF_LIST.contains(&name),
        Value::Loop(_) => OF_LOOP.contains(&name),
        _ => false,
    }
}

/// Calls a method of a text, list or dict.
pub(super) fn call(meter: &Meter, value: &Value, name: &str, args: Bound) -> Result<Value> {
    match value {
        Value::Text(text) => match OF_TEXT_ALONE.iter().find(|(known, _)| *known == name) {
            Some((_, work)) => {
                meter.letters(text.len())?;
                let [] = args.take(name, [])?;
                work(meter, text)
            }
            None => {
                // The others copy it or look through it, which is fast.
                meter.bytes(text.len())?;
                of_text(meter, text, name, args)
            }
        },
        Value::Dict(dict) => match name {
            "get" => {
                let [key, default] = args.take(name, ["key", "default"])?;
                let key = key.ok_or_else(|| Stop::failed("get takes a key"))?;
                Ok(dict.get(meter, &key)?.cloned().or(default).unwrap_or(Value::None))
            }
            "copy" => Ok(value.clone()),
            _ => {
                let [] = args.take(name, [])?;
                view(meter, &dict.entries, name)
            }
        },
        Value::Seq(seq) => {
            if name == "copy" {
                return Ok(value.clone());
            }
            let [wanted] = args.take(name, ["value"])?;
            let wanted = wanted.unwrap_or(Value::None);
            let mut count = 0;
            for (index, item) in seq.items.iter().enumerate() {
                if equal(meter, item, &wanted)? {
                    if name == "index" {
                        return Ok(Value::Int(index as i128));
                    }
                    count += 1;
                }
            }
            if name == "index" { Err(Stop::failed("the value is not in the list")) } else { Ok(Value::Int(count)) }
        }
        other => Err(Stop::failed(format!("'{}' object has no method {name:?}", other.type_name()))),
    }
}

/// `keys()`, `values()` or `items()`.
fn view(meter: &Meter, entries: &[(Value, Value)], name: &str) -> Result<Value> {
    let mut items = Vec::new();
    for (key, value) in entries {
        items.push(match name {
            "keys" => key.clone(),
            "values" => value.clone(),
            _ => Value::seq(meter, Kind::Tuple, vec![key.clone(), value.clone()])?,
        });
    }
    Value::seq(meter, Kind::View, items)
}

type Alone = fn(&Meter, &str) -> Result<Value>;

/// The methods of a text that take nothing.
const OF_TEXT_ALONE: [(&str, Alone); 18] = [
    ("upper", |_, text| Ok(Value::from(text.to_uppercase()))),
    ("lower", |_, text| Ok(Value::from(text.to_lowercase()))),
    ("casefold", |_, text| Ok(Value::from(text.to_lowercase()))),
    ("capitalize", |_, text| Ok(Value::from(capitalized(text)))),
    ("title", |_, text| Ok(Value::from(titled(text)))),
    ("swapcase", |_, text| Ok(Value::from(swapped(text)))),
    ("isalnum", |_, text| all(text, char::is_alphanumeric)),
    ("isalpha", |_, text| all(text, char::is_alphabetic)),
    ("isascii", |_, text| Ok(Value::Bool(text.is_ascii()))),
    ("isdecimal", |_, text| all(text, char::is_numeric)),
    ("isdigit", |_, text| all(text, char::is_numeric)),
    ("isnumeric", |_, text| all(text, char::is_numeric)),
    ("isspace", |_, text| all(text, blank)),
    ("islower", |_, text| {
        Ok(Value::Bool(text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase)))
    }),
    ("isupper", |_, text| {
        Ok(Value::Bool(text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase)))
    }),
    ("istitle", |_, text| Ok(Value::Bool(!text.is_empty() && titled(text) == text))),
    ("isidentifier", |_, text| {
        let first = text.starts_with(|letter: char| letter == '_' || letter.is_alphabetic());
        Ok(Value::Bool(first && text.chars().all(|letter| letter == '_' || letter.is_alphanumeric())))
    }),
    ("expandtabs", |meter, text| {
        meter.product(text.matches('\t').count(), 8)?;
        Ok(Value::from(text.replace('\t', "        ")))
    }),
];

fn all(text: &str, wanted: impl Fn(char) -> bool) -> Result<Value> {
    Ok(Value::Bool(!text.is_empty() && text.chars().all(wanted)))
}

pub(super) fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters.as_str().to_lowercase().chars()).collect()
}

fn titled(text: &str) -> String {
    let mut inside = false;
    let mut out = String::new();
    for letter in text.chars() {
        if inside {
            out.extend(letter.to_lowercase())
        } else {
            out.extend(letter.to_uppercase())
        }
        inside = letter.is_alphabetic();
    }
    out
}

fn swapped(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        if letter.is_uppercase() { out.extend(letter.to_lowercase()) } else { out.extend(letter.to_uppercase()) }
    }
    out
}

fn of_text(meter: &Meter, text: &str, name: &str, args: Bound) -> Result<Value> {
    let wants = |what: &str| Stop::failed(format!("str.{name} takes {what}"));
    let given = |value: &Option<Value>| value.clone().filter(|value| !matches!(value, Value::None));
    let texts = |parts: Vec<&str>| -> Result<Value> {
        meter.product(parts.len(), 64)?;
        Value::list(meter, parts.into_iter().map(Value::from).collect())
    };
    match name {
        "format" => return format::braces(meter, text, &args),
        "strip" | "lstrip" | "rstrip" => {
            let [set] = args.take(name, ["chars"])?;
            let set = given(&set).map(|set| text::string(meter, &set)).transpose()?;
            let ends = (name != "rstrip", name != "lstrip");
            return Ok(Value::from(stripped(meter, text, set.as_deref(), ends)?));
        }
        "split" | "rsplit" => {
            let [mark, most] = args.take(name, ["sep", "maxsplit"])?;
            let most = most.as_ref().and_then(Value::as_int).and_then(|most| usize::try_from(most).ok());
            return texts(match given(&mark) {
                None => words(text, most, name == "rsplit"),
                Some(Value::Text(mark)) if !mark.is_empty() => pieces(text, &mark, most, name == "rsplit"),
                Some(_) => return Err(wants("a separator that is a text and not empty")),
            });
        }
        "splitlines" => {
            let [keep] = args.take(name, ["keepends"])?;
            let keep = keep.is_some_and(|keep| keep.is_true());
            let lines = text.split_inclusive('\n');
            let bare = |line: &'_ str| -> usize {
                line.strip_suffix('\n').map_or(line.len(), |line| line.strip_suffix('\r').unwrap_or(line).len())
            };
            return texts(lines.map(|line| if keep { line } else { line.get(..bare(line)).unwrap_or(line) }).collect());
        }
        "join" => {
            let [items] = args.take(name, ["iterable"])?;
            let items = items.ok_or_else(|| wants("a list"))?.items(meter)?;
            let mut out = String::new();
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    meter.bytes(text.len())?;
                    out.push_str(text);
                }
                let item = item.as_text().ok_or_else(|| wants("a list of texts"))?;
                meter.bytes(item.len())?;
                out.push_str(item);
            }
            return Ok(Value::from(out));
        }
        "replace" => {
            let [old, new, count] = args.take(name, ["old", "new", "count"])?;
            let (Some(Value::Text(old)), Some(Value::Text(new))) = (old, new) else { return Err(wants("two texts")) };
            let count = count.as_ref().and_then(Value::as_int).and_then(|count| usize::try_from(count).ok());
            return replaced(meter, text, &old, &new, count);
        }
        "startswith" | "endswith" => {
            let [what] = args.take(name, ["prefix"])?;
            let ends = |part: &str| if name == "startswith" { text.starts_with(part) } else { text.ends_with(part) };
            let found = match &what {
                Some(Value::Text(part)) => ends(part),
                Some(Value::Seq(parts)) => {
                    meter.places(parts.items.len())?;
                    parts.items.iter().filter_map(Value::as_text).any(ends)
                }
                _ => return Err(wants("a text or a tuple of texts")),
            };
            return Ok(Value::Bool(found));
        }
        "center" | "ljust" | "rjust" | "zfill" => return padded(meter, text, name, args),
        _ => {}
    }
    let [part] = args.take(name, ["part"])?;
    let Some(Value::Text(part)) = part else { return Err(wants("a text")) };
    // How many letters stand before a byte.
    let letters = |at: usize| Value::Int(text.get(..at).map_or(0, |before| before.chars().count()) as i128);
    Ok(match name {
        "count" => Value::Int(text.matches(&*part).count() as i128),
        "find" => text.find(&*part).map_or(Value::Int(-1), letters),
        "rfind" => text.rfind(&*part).map_or(Value::Int(-1), letters),
        "index" => text.find(&*part).map(letters).ok_or_else(|| Stop::failed("substring not found"))?,
        "rindex" => text.rfind(&*part).map(letters).ok_or_else(|| Stop::failed("substring not found"))?,
        "removeprefix" => Value::from(text.strip_prefix(&*part).unwrap_or(text)),
        "removesuffix" => Value::from(text.strip_suffix(&*part).unwrap_or(text)),
        "partition" | "rpartition" if !part.is_empty() => {
            let first = name == "partition";
            let split = if first { text.split_once(&*part) } else { text.rsplit_once(&*part) };
            let parts = match split {
                Some((before, after)) => [before, &part, after],
                None if first => [text, "", ""],
                None => ["", "", text],
            };
            return Value::seq(meter, Kind::Tuple, parts.into_iter().map(Value::from).collect());
        }
        _ => return Err(Stop::failed(format!("'str' object has no method {name:?}"))),
    })
}

/// Without the letters of a set, or blanks, at its ends: at the beginning, at the end.
pub(super) fn stripped<'a>(meter: &Meter, text: &'a str, set: Option<&str>, ends: (bool, bool)) -> Result<&'a str> {
    // The set is looked through for every letter.
    meter.product(text.len(), set.map_or(1, |set| set.len() / 8 + 1))?;
    let inside = |letter: char| set.map_or_else(|| blank(letter), |set| set.contains(letter));
    let text = if ends.0 { text.trim_start_matches(inside) } else { text };
    Ok(if ends.1 { text.trim_end_matches(inside) } else { text })
}

/// `replace`, paid for as far as the result is longer.
pub(super) fn replaced(meter: &Meter, text: &str, old: &str, new: &str, count: Option<usize>) -> Result<Value> {
    let found = if old.is_empty() { text.chars().count() + 1 } else { text.matches(old).count() };
    meter.product(found.min(count.unwrap_or(usize::MAX)), new.len())?;
    meter.bytes(text.len())?;
    Ok(Value::from(match count {
        Some(count) => text.replacen(old, new, count),
        None => text.replace(old, new),
    }))
}

fn pieces<'a>(text: &'a str, mark: &str, most: Option<usize>, from_end: bool) -> Vec<&'a str> {
    let most = most.map_or(usize::MAX, |most| most.saturating_add(1));
    if !from_end {
        return text.splitn(most, mark).collect();
    }
    let mut parts: Vec<&str> = text.rsplitn(most, mark).collect();
    parts.reverse();
    parts
}

/// Split at runs of blanks, of which those at the ends count for nothing.
fn words(text: &str, most: Option<usize>, from_end: bool) -> Vec<&str> {
    let most = most.unwrap_or(usize::MAX);
    let mut parts = Vec::new();
    let mut rest = text.trim_matches(blank);
    while !rest.is_empty() {
        let cut = if from_end { rest.rfind(blank) } else { rest.find(blank) };
        let Some(at) = cut.filter(|_| parts.len() < most) else {
            parts.push(rest);
            break;
        };
        let (before, after) = rest.split_at(at);
        let (part, left) = if from_end {
            (after.trim_start_matches(blank), before.trim_end_matches(blank))
        } else {
            (before, after.trim_start_matches(blank))
        };
        parts.push(part);
        rest = left;
    }
    if from_end {
        parts.reverse();
    }
    parts
}

fn padded(meter: &Meter, text: &str, name: &str, args: Bound) -> Result<Value> {
    let [width, fill] = args.take(name, ["width", "fillchar"])?;
    let width = width.as_ref().and_then(Value::as_int).ok_or_else(|| Stop::failed(format!("{name} takes a width")))?;
    let fill = match (name, &fill) {
        ("zfill", _) => '0',
        (_, Some(Value::Text(fill))) => fill.chars().next().unwrap_or(' '),
        _ => ' ',
    };
    let length = text.chars().count();
    let missing = usize::try_from(width.max(0)).unwrap_or(usize::MAX).saturating_sub(length);
    meter.product(missing, fill.len_utf8())?;
    meter.bytes(text.len())?;
    let blanks = |count: usize| fill.to_string().repeat(count);
    let left = match name {
        "center" => missing / 2 + (missing & usize::try_from(width).unwrap_or(0) & 1),
        "rjust" | "zfill" => missing,
        _ => 0,
    };
    if name == "zfill"
        && let Some(digits) = text.strip_prefix(['-', '+'])
    {
        let sign = text.get(..1).unwrap_or_default();
        return Ok(Value::from(format!("{sign}{}{digits}", blanks(missing))));
    }
    Ok(Value::from(format!("{}{text}{}", blanks(left), blanks(missing - left))))
}
