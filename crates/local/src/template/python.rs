//! Makes minijinja behave as the Jinja2 sandbox of `transformers`: its globals and filters, Python's methods, Python's way of writing
//! values. It knows nothing of chats; `template.rs` does. References: `transformers/utils/chat_template_utils.py`, Python's `json` and
//! `strftime`.

use std::fmt::Write as _;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

/// The variable that carries the time into `strftime_now`; a space keeps templates from reading it by name.
pub(super) const NOW: &str = " now";

/// Marks an error as the template's own.
#[derive(Debug)]
struct Raised(String);

impl std::fmt::Display for Raised {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// What the template said through `raise_exception`, if it did.
pub(super) fn raised(error: &Error) -> Option<String> {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(raised) = inner.downcast_ref::<Raised>() {
            return Some(raised.0.clone());
        }
        source = inner.source();
    }
    None
}

/// An engine error in one line, with its line number.
pub(super) fn describe(error: &Error) -> String {
    let detail =
        error.detail().map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    match error.line() {
        Some(line) => format!("{detail} (line {line})"),
        None => detail,
    }
}

pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
        environment.set_syntax(syntax);
    }
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_recursion_limit(128);
    environment.set_unknown_method_callback(method);
    environment.add_filter("tojson", tojson);
    environment.add_function("raise_exception", |words: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, words.clone()).with_source(Raised(words)))
    });
    environment.add_function("strftime_now", |state: &State<'_, '_>, format: &str| -> Result<String, Error> {
        strftime(state.lookup(NOW).and_then(|now| now.as_i64()).unwrap_or(0), format)
    });
    // Python's strings are iterable sequences, and templates tell texts from lists by that.
    environment.add_test("iterable", |value: &Value| {
        matches!(
            value.kind(),
            ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable | ValueKind::Undefined
        )
    });
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map)
    });
    environment
}

/// Takes out `{% generation %}` and `{% endgeneration %}`: `transformers` marks the assistant's part with them for training and writes
/// nothing. The marks become comments with the same whitespace control, so that line numbers and blanks stay.
pub(super) fn without_generation_marks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, tail)) = rest.split_once("{%") {
        out.push_str(before);
        let mark = tail.split_once("%}").and_then(|(inside, after)| {
            let open = inside.starts_with(['-', '+']).then(|| inside.get(..1)).flatten().unwrap_or("");
            let close = inside.ends_with(['-', '+']).then(|| inside.get(inside.len() - 1..)).flatten().unwrap_or("");
            let word = inside.trim_matches(|letter: char| letter.is_whitespace() || matches!(letter, '-' | '+'));
            matches!(word, "generation" | "endgeneration").then_some((open, close, after))
        });
        match mark {
            Some((open, close, after)) => {
                let _ = write!(out, "{{%{open} if true {close}%}}{{%{open} endif {close}%}}");
                rest = after;
            }
            None => {
                out.push_str("{%");
                rest = tail;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Python's methods of strings, lists and dicts. Those that can make much out of little are paid for before they run.
fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        let pay = |bytes: usize| state.consume_fuel(bytes as u64 / 64 + 1);
        let (first, second) = (args.first().and_then(Value::as_str), args.get(1).and_then(Value::as_str));
        pay(text.len())?;
        match (name, first) {
            ("replace", Some(old)) => {
                let found = if old.is_empty() { text.chars().count() + 1 } else { text.matches(old).count() };
                pay(found.saturating_mul(second.map_or(0, str::len)))?;
            }
            ("join", _) => {
                let items = args.first().map(|items| items.try_iter().map(Iterator::count)).transpose()?.unwrap_or(0);
                pay(items.saturating_mul(text.len()))?;
            }
            // A width in a format string asks for that many blanks.
            ("format", _) if text.split(|letter: char| !letter.is_ascii_digit()).any(|digits| digits.len() > 4) => {
                return Err(Error::new(ErrorKind::InvalidOperation, "a format width over 9999"));
            }
            ("removeprefix", Some(prefix)) => {
                return Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)));
            }
            ("removesuffix", Some(suffix)) => {
                return Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)));
            }
            ("partition", Some(mark)) if !mark.is_empty() => {
                let (before, after) = text.split_once(mark).unwrap_or((text, ""));
                let mark = if text.contains(mark) { mark } else { "" };
                return Ok([before, mark, after].into_iter().map(Value::from).collect());
            }
            ("rpartition", Some(mark)) if !mark.is_empty() => {
                let (before, after) = text.rsplit_once(mark).unwrap_or(("", text));
                let mark = if text.contains(mark) { mark } else { "" };
                return Ok([before, mark, after].into_iter().map(Value::from).collect());
            }
            ("rsplit", Some(mark)) if !mark.is_empty() => {
                let most =
                    args.get(1).and_then(|most| most.as_usize()).map_or(usize::MAX, |most| most.saturating_add(1));
                let mut parts: Vec<&str> = text.rsplitn(most, mark).collect();
                parts.reverse();
                return Ok(parts.into_iter().map(Value::from).collect());
            }
            _ => {}
        }
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

/// `tojson` as `transformers` has it: Python's `json.dumps` with `ensure_ascii=False` and without HTML escapes.
fn tojson(state: &State<'_, '_>, value: &Value, ensure_ascii: Option<bool>, options: Kwargs) -> Result<Value, Error> {
    let ascii = options.get::<Option<bool>>("ensure_ascii")?.or(ensure_ascii).unwrap_or(false);
    let indent = options.get::<Option<Value>>("indent")?.filter(|indent| !indent.is_none());
    let separators = options.get::<Option<Vec<String>>>("separators")?;
    let sort = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let step = match &indent {
        None => None,
        Some(step) => Some(match (step.as_str(), step.as_usize()) {
            (Some(text), _) => text.to_owned(),
            (None, Some(width)) if width <= 64 => " ".repeat(width),
            _ => {
                return Err(Error::new(ErrorKind::InvalidOperation, "tojson: an indent is a text or up to 64"));
            }
        }),
    };
    let (comma, colon) = match separators.as_deref() {
        Some([comma, colon]) => (comma.clone(), colon.clone()),
        Some(_) => {
            return Err(Error::new(ErrorKind::InvalidOperation, "tojson: separators are two texts"));
        }
        None => ((if step.is_some() { "," } else { ", " }).to_owned(), ": ".to_owned()),
    };
    let mut writer = Json { out: String::new(), ascii, step, comma, colon, sort };
    writer.value(state, value, 0)?;
    Ok(Value::from(writer.out))
}

struct Json {
    out: String,
    ascii: bool,
    step: Option<String>,
    comma: String,
    colon: String,
    sort: bool,
}

impl Json {
    fn value(&mut self, state: &State<'_, '_>, value: &Value, depth: usize) -> Result<(), Error> {
        let before = self.out.len();
        if depth > 100 {
            return Err(Error::new(ErrorKind::InvalidOperation, "tojson: nested over 100 deep"));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number if value.is_integer() => {
                let _ = write!(self.out, "{value}");
            }
            ValueKind::Number => self.out.push_str(&float(f64::try_from(value.clone()).unwrap_or(f64::NAN))),
            ValueKind::String => self.text(value.as_str().unwrap_or_default()),
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort {
                    keys.sort();
                }
                self.list(state, ["{", "}"], depth, keys, |json, state, key| {
                    json.text(&key.to_string());
                    json.out.push_str(&json.colon.clone());
                    json.value(state, &value.get_item(&key)?, depth + 1)
                })?;
            }
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.list(state, ["[", "]"], depth, items, |json, state, item| json.value(state, &item, depth + 1))?;
            }
            kind => {
                return Err(Error::new(
                    ErrorKind::BadSerialization,
                    format!("a value of type {kind} is not JSON serializable"),
                ));
            }
        }
        state.consume_fuel((self.out.len() - before) as u64 / 64 + 1)
    }

    fn list(
        &mut self,
        state: &State<'_, '_>,
        [open, close]: [&str; 2],
        depth: usize,
        items: Vec<Value>,
        mut write: impl FnMut(&mut Self, &State<'_, '_>, Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push_str(open);
        let empty = items.is_empty();
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.out.push_str(&self.comma.clone());
            }
            self.line(depth + 1);
            write(self, state, item)?;
        }
        if !empty {
            self.line(depth);
        }
        self.out.push_str(close);
        Ok(())
    }

    fn line(&mut self, depth: usize) {
        if let Some(step) = &self.step {
            self.out.push('\n');
            self.out.push_str(&step.repeat(depth));
        }
    }

    fn text(&mut self, text: &str) {
        self.out.push('"');
        for letter in text.chars() {
            match letter {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                letter if letter < ' ' || (self.ascii && !matches!(letter, ' '..='~')) => {
                    for unit in letter.encode_utf16(&mut [0; 2]) {
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                letter => self.out.push(letter),
            }
        }
        self.out.push('"');
    }
}

/// A float as Python's `repr` writes it.
fn float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
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

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// The date as `strftime` writes it in the C locale, in UTC.
fn strftime(now: i64, format: &str) -> Result<String, Error> {
    let (days, seconds) = (now.div_euclid(86_400), now.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let weekday = DAYS.get(days.rem_euclid(7) as usize).copied().unwrap_or_default();
    let month_name = MONTHS.get(month as usize - 1).copied().unwrap_or_default();
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let twelve = if hour % 12 == 0 { 12 } else { hour % 12 };
    let mut out = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut code = letters.next().unwrap_or('%');
        let bare = code == '-';
        if bare {
            code = letters.next().unwrap_or('-');
        }
        let mut number = |number: i64, width: usize| {
            let _ = if bare { write!(out, "{number}") } else { write!(out, "{number:0width$}") };
        };
        match code {
            'Y' => number(year, 4),
            'y' => number(year.rem_euclid(100), 2),
            'm' => number(month, 2),
            'd' => number(day, 2),
            'H' => number(hour, 2),
            'I' => number(twelve, 2),
            'M' => number(minute, 2),
            'S' => number(second, 2),
            'j' => number(days - days_from_civil(year) + 1, 3),
            'B' => out.push_str(month_name),
            'b' | 'h' => out.push_str(month_name.get(..3).unwrap_or_default()),
            'A' => out.push_str(weekday),
            'a' => out.push_str(weekday.get(..3).unwrap_or_default()),
            'p' => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            'F' => out.push_str(&format!("{year:04}-{month:02}-{day:02}")),
            'T' => out.push_str(&format!("{hour:02}:{minute:02}:{second:02}")),
            'Z' => out.push_str("UTC"),
            'z' => out.push_str("+0000"),
            '%' => out.push('%'),
            other => {
                return Err(Error::new(ErrorKind::InvalidOperation, format!("strftime_now: %{other} is not known")));
            }
        }
    }
    Ok(out)
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar: years of 400 repeat, and begin in March so
/// that the leap day comes last.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day number of a year's first of January.
fn days_from_civil(year: i64) -> i64 {
    let before = year - 1;
    before * 365 + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400) - 719_162
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
    fn dates_are_written_as_asked() {
        let noon = 1_772_366_400 + 13 * 3600 + 5 * 60 + 9;
        assert_eq!(
            strftime(noon, "%d %b %Y|%A %-d. %B|%I:%M %p|%j|%F %T|%%").ok().as_deref(),
            Some("02 Mar 2026|Monday 2. March|01:05 AM|061|2026-03-02 01:05:09|%")
        );
        assert_eq!(strftime(0, "%Y-%m-%d %a").ok().as_deref(), Some("1970-01-01 Thu"));
        assert_eq!(strftime(951_782_400, "%F").ok().as_deref(), Some("2000-02-29"));
        assert!(strftime(0, "%Q").is_err());
    }

    #[test]
    fn generation_marks_leave_nothing_behind() {
        let source = "a {%- generation -%} b {% endgeneration %}c {% if x %}d{% endif %}";
        let mut environment = environment();
        assert!(environment.add_template_owned("x", without_generation_marks(source)).is_ok());
        let text = environment.get_template("x").and_then(|template| template.render(minijinja::context!(x => 1)));
        assert_eq!(text.ok().as_deref(), Some("ab c d"));
    }
}
