//! Reading single values: durations, sizes, addresses, words, command lines. Text in, value or refusal out.
//!
//! Which key takes what is in `keys.rs`, the kinds and their words in `value.rs`. A text that may be a secret is never repeated in a refusal.

use std::path::PathBuf;
use std::time::Duration;

use super::names::nearest;
use super::value::{Base, Kind, Raw, Read, Refusal};
use crate::ids::shorten;
use crate::secret::{Secret, mask};

pub(super) fn describe_error(error: crate::error::Error) -> String {
    match error.hint() {
        Some(hint) => format!("{}; {hint}", error.message()),
        None => error.message().to_owned(),
    }
}

/// A text of the config in a message: cut, and masked where it looks like a key.
fn show(text: &str) -> String {
    format!("{:?}", mask(&shorten(text)))
}

pub(super) fn flag(raw: &Raw) -> Read<bool> {
    match raw {
        Raw::Flag(flag) => Ok(*flag),
        Raw::Untyped(text) => {
            Ok(!["0", "false", "no", "off"].iter().any(|word| text.trim().eq_ignore_ascii_case(word)))
        }
        other => Err(other.wrong(Kind::Flag)),
    }
}

pub(super) fn integer(raw: &Raw, kind: Kind, min: u64, max: u64) -> Read<u64> {
    let number = match raw {
        Raw::Integer(number) => *number,
        Raw::Untyped(text) => text.trim().parse().map_err(|_| format!("{} is not {}", show(text), kind.describe()))?,
        other => return Err(other.wrong(kind)),
    };
    let fits = u64::try_from(number).ok().filter(|number| (min..=max).contains(number));
    fits.ok_or_else(|| format!("{number} is out of range: write {}", kind.describe()).into())
}

/// Money in micro-dollars.
pub(super) fn dollars(raw: &Raw) -> Read<u64> {
    let text = match raw {
        Raw::Integer(number) => number.to_string(),
        other => other.text(Kind::Dollars)?.to_owned(),
    };
    let wrong = || format!("{} is not {}, with six decimals at most", show(&text), Kind::Dollars.describe());
    Ok(crate::pricing::parse_dollars(&text).ok_or_else(wrong)?)
}

/// Splits `"1.5h"` into its number and its unit.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}

const UNITS_OF_TIME: &[(&str, f64)] =
    &[("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0), ("w", 604_800.0)];

/// Ten years: past this a "duration" is a slip, and sums of instants stay far from overflow.
const LONGEST: f64 = 10.0 * 365.0 * 86_400.0;

pub(super) fn duration(text: &str) -> Read<Duration> {
    let wrong =
        || Refusal::from(format!("{} is not a duration: write \"500ms\", \"5s\", \"10m\" or \"24h\"", show(text)));
    let (number, unit) = number_and_unit(text).ok_or_else(wrong)?;
    let (_, factor) = UNITS_OF_TIME.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let seconds = number * factor;
    if !(0.001..=LONGEST).contains(&seconds) {
        return Err(format!("{} is out of range: 1ms to 10 years", show(text)).into());
    }
    // Through whole microseconds, so that 0.1 + 0.2 never shows up as a tail of digits.
    Ok(Duration::from_micros((seconds * 1e6).round() as u64))
}

const UNITS_OF_SIZE: &[(&str, u64)] = &[
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

pub(super) fn size(raw: &Raw) -> Read<u64> {
    let text = match raw {
        Raw::Integer(number) => {
            return u64::try_from(*number).map_err(|_| format!("{number} is not a size in bytes").into());
        }
        other => other.text(Kind::Size)?,
    };
    let read = || {
        let (number, unit) = number_and_unit(text)?;
        let (_, factor) = UNITS_OF_SIZE.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
        let bytes = number * *factor as f64;
        (bytes < 9e15).then_some(bytes as u64)
    };
    read().ok_or_else(|| format!("{} is not a size: write \"64MiB\" or \"1GiB\"", show(text)).into())
}

/// Checks an address and gives it without a slash at its end.
pub(super) fn url(text: &str) -> Read<String> {
    let text = text.trim();
    // Nothing of an address that may hold a password or a key is repeated.
    if text.contains('@') {
        return Err("the address holds a user name or password: use api_key_env or headers".into());
    }
    if text.contains(['?', '#']) {
        return Err("the address has a query or fragment: paths are appended to it, so leave both out".into());
    }
    let wrong = || {
        Refusal::from(format!("{} is not an http or https address such as \"http://127.0.0.1:8000/v1\"", show(text)))
    };
    let uri: http::Uri = text.parse().map_err(|_| wrong())?;
    let host = uri.host().filter(|host| !host.is_empty());
    let port_ok = uri.authority().is_some_and(|authority| {
        let rest = authority.as_str().strip_prefix(host.unwrap_or_default()).unwrap_or_default();
        rest.is_empty() || authority.port_u16().is_some()
    });
    match uri.scheme_str() {
        Some("http" | "https") if host.is_some() && port_ok => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err(wrong()),
    }
}

pub(super) fn path(text: &str, base: Base<'_>) -> Read<String> {
    let text = plain(text)?.trim();
    if text.is_empty() {
        return Err("the path is empty".into());
    }
    let path = match text.strip_prefix("~/") {
        Some(rest) => base.home.ok_or("`~` stands for $HOME, which is not set: write the whole path")?.join(rest),
        None => match base.folder {
            Some(folder) => folder.join(text),
            None => PathBuf::from(text),
        },
    };
    Ok(path.to_string_lossy().into_owned())
}

/// Any text without control characters: one that holds a NUL or an escape sequence would break a header, an argument or the terminal.
pub(super) fn plain(text: &str) -> Read<&str> {
    match text.chars().find(|c| c.is_control() && *c != '\t') {
        Some(c) => Err(format!("the text holds the control character U+{:04X}", u32::from(c)).into()),
        None => Ok(text),
    }
}

pub(super) fn word(text: &str, words: &[&str]) -> Read<String> {
    let lower = text.trim().to_ascii_lowercase();
    if words.contains(&lower.as_str()) {
        return Ok(lower);
    }
    let nearest = nearest(&lower, words.iter().copied()).map(str::to_owned);
    Err(Refusal { why: format!("{} is not one of {}", show(text), words.join(", ")), nearest })
}

pub(super) fn texts(raw: &Raw, kind: Kind) -> Read<Vec<String>> {
    match raw {
        Raw::Text(text) => Ok(vec![text.clone()]),
        Raw::Untyped(text) => {
            Ok(text.split(',').map(|part| part.trim().to_owned()).filter(|s| !s.is_empty()).collect())
        }
        Raw::List(items) => items.iter().map(|item| item.text(kind).map(str::to_owned)).collect(),
        other => Err(other.wrong(kind)),
    }
}

pub(super) fn argv(raw: &Raw) -> Read<Vec<String>> {
    let Raw::List(words) = raw else { return Err(raw.wrong(Kind::Argv)) };
    let words: Vec<_> =
        words.iter().map(|word| plain(word.text(Kind::Argv)?).map(str::to_owned)).collect::<Read<_>>()?;
    match words.first() {
        Some(program) if !program.trim().is_empty() => Ok(words),
        _ => Err("the program is missing: write [\"program\", \"argument\"]".into()),
    }
}

pub(super) fn secret(raw: &Raw, kind: Kind) -> Read<Secret> {
    let secret = Secret::new(raw.text(kind)?);
    if secret.is_empty() {
        return Err("the value is empty".into());
    }
    if !secret.expose().bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return Err("the value holds a character that no header can carry".into());
    }
    Ok(secret)
}

pub(super) fn variable_name(text: &str) -> Read<&str> {
    let name = text.trim();
    let fits = !name.is_empty()
        && !name.as_bytes().first().is_some_and(u8::is_ascii_digit)
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    // Not repeated: a key pasted here is the likeliest slip.
    fits.then_some(name)
        .ok_or_else(|| "not the name of a variable (letters, digits, `_`): the key itself goes in api_key".into())
}

/// Checks that a command line can be split into words: the splitter itself is above this room, in `provider/process/template.rs`, and a test holds the two
/// against each other.
pub(super) fn command(text: &str) -> Read<&str> {
    let text = text.trim();
    let mut open = None;
    let mut escaped = false;
    for c in text.chars() {
        match (open, c) {
            _ if escaped => escaped = false,
            (None | Some('"'), '\\') => escaped = true,
            (Some(quote), c) if quote == c => open = None,
            (None, '\'' | '"') => open = Some(c),
            _ => {}
        }
    }
    let program = text.split_whitespace().next().unwrap_or_default();
    match open {
        _ if program.is_empty() => Err("the command is empty".into()),
        _ if text.contains('\0') => Err("the command holds a NUL".into()),
        Some(quote) => Err(format!("a {quote} of the command is never closed").into()),
        None if escaped => Err("the command ends with a lone `\\`".into()),
        None if matches!(program, "''" | "\"\"") => Err("the command's program has an empty name".into()),
        None if ["{prompt}", "{model}"].iter().any(|place| program.contains(place)) => {
            Err("the command's program would come from the request".into())
        }
        None => Ok(text),
    }
}

pub(super) fn groups(raw: &Raw) -> Read<Vec<Vec<String>>> {
    let Raw::List(outer) = raw else { return Err(raw.wrong(Kind::Groups)) };
    if outer.is_empty() {
        return Err("a route needs at least one group of targets".into());
    }
    outer
        .iter()
        .map(|group| match group {
            Raw::List(targets) if targets.is_empty() => Err("a group is empty".into()),
            Raw::List(targets) => targets.iter().map(|target| target.text(Kind::Groups).map(str::to_owned)).collect(),
            other => Err(format!(
                "{}: each group is a list, [[\"a\", \"b\"], [\"c\"]] for example",
                other.wrong(Kind::Groups).why
            )
            .into()),
        })
        .collect()
}

pub(super) fn address(text: &str) -> Read<&str> {
    let text = text.trim();
    let valid = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok() && !host.contains(|c: char| c.is_whitespace() || c == '/')
    });
    valid.then_some(text).ok_or_else(|| format!("{} is not host:port, 127.0.0.1:9090 for example", show(text)).into())
}

/// `OLLAMA_HOST` in any form that Ollama takes (`host`, `:port`, `host:port`, a URL) as the base of its OpenAI-compatible API.
pub(super) fn ollama_host(text: &str) -> Read<String> {
    let text = text.trim().trim_end_matches('/');
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let default_port = match (text.contains("://"), scheme) {
        (true, "http") => "80",
        (true, "https") => "443",
        _ => "11434",
    };
    let (authority, path) = rest.split_once('/').map_or((rest, ""), |(authority, path)| (authority, path));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, default_port),
    };
    // 0.0.0.0 is where a server listens; a client goes to the loopback.
    let host = match host {
        "" | "0.0.0.0" => "127.0.0.1",
        "[::]" => "[::1]",
        host => host,
    };
    let path = if path.is_empty() { "v1" } else { path };
    url(&format!("{scheme}://{host}:{port}/{path}"))
}

pub(super) fn show_duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    let unit = UNITS_OF_TIME.iter().rev().find(|(_, seconds)| micros.is_multiple_of((seconds * 1e6) as u128));
    match unit {
        Some((name, seconds)) => format!("{}{name}", micros / ((seconds * 1e6) as u128)),
        None => format!("{}ms", micros as f64 / 1000.0),
    }
}

pub(super) fn show_size(bytes: u64) -> String {
    let unit = UNITS_OF_SIZE
        .iter()
        .take(6)
        .rev()
        .filter(|(name, _)| *name != "B")
        .find(|(_, size)| bytes != 0 && bytes.is_multiple_of(*size));
    unit.map_or_else(|| bytes.to_string(), |(name, size)| format!("{}{name}", bytes / size))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in
            [("500ms", 500), ("5s", 5_000), ("1.5 m", 90_000), ("24h", 86_400_000), ("7d", 604_800_000)]
        {
            assert_eq!(duration(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
        for text in ["", "5", "s", "5 parsecs", "-5s", "0s", "1e9h", "99999999999999999999d", "5s5s", "..s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for (millis, shown) in [(500, "500ms"), (90_000, "90s"), (86_400_000, "1d"), (1_500, "1500ms")] {
            assert_eq!(show_duration(Duration::from_millis(millis)), shown);
        }
        assert_eq!(show_duration(Duration::from_micros(1_500)), "1.5ms");
    }

    #[test]
    fn sizes() {
        let read = |text: &str| size(&Raw::Text(text.into()));
        for (text, bytes) in [("64MiB", 64 << 20), ("1.5 gib", 3 << 29), ("10", 10), ("2kb", 2_000)] {
            assert_eq!(read(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "MiB", "-1", "1PB", "99999999TiB"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert_eq!((show_size(64 << 20), show_size(1000), show_size(0)), ("64MiB".into(), "1000".into(), "0".into()));
    }

    #[test]
    fn addresses() {
        assert_eq!(url(" https://h/v1/ ").unwrap(), "https://h/v1");
        for good in ["http://127.0.0.1:8000", "http://[::1]:80/v1", "https://api.example.org/a/b"] {
            assert_eq!(url(good).unwrap(), good);
        }
        for bad in [
            "",
            "h",
            "http://",
            "http:///v1",
            "ftp://h",
            "http://h:99999",
            "http://h/?k=v",
            "http://u:p@h",
            "http://a b",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
        assert_eq!(address("[::1]:80").unwrap(), "[::1]:80");
        assert!(address("localhost").is_err() && address(":80").is_err() && address("h:x").is_err());
    }

    #[test]
    fn command_lines() {
        for good in ["a", "a 'b c' {prompt}", r#"a "it's" \" "#, r"a 'b\'", r#"a "\"" "#] {
            assert!(command(good).is_ok(), "{good}");
        }
        for bad in ["", "  ", "a '", r#"a ""#, r"a \", r#"a "\""#, "a\0"] {
            assert!(command(bad).is_err(), "{bad}");
        }
    }
}
