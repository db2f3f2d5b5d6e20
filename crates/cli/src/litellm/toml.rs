//! The configuration as text: sections in the order in which they were begun, values quoted as TOML wants them.

use std::fmt::Write;

/// Sections, each a heading and its lines.
#[derive(Debug, Default)]
pub(super) struct Toml(Vec<(String, Vec<String>)>);

impl Toml {
    /// Sets a key of a section, whose path has its names quoted already.
    pub(super) fn set(&mut self, section: &str, key: &str, value: impl AsRef<str>) {
        let line = format!("{key} = {}", value.as_ref());
        match self.0.iter_mut().find(|(name, _)| name == section) {
            Some((_, lines)) => lines.push(line),
            None => self.0.push((section.to_owned(), vec![line])),
        }
    }

    /// A section of its own each time: a table of a list.
    pub(super) fn item(&mut self, list: &str, lines: Vec<String>) {
        self.0.push((format!("[{list}]"), lines));
    }

    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for (at, (section, lines)) in self.0.iter().enumerate() {
            let gap = if at == 0 { "" } else { "\n" };
            let _ = writeln!(out, "{gap}[{section}]");
            lines.iter().for_each(|line| {
                let _ = writeln!(out, "{line}");
            });
        }
        out
    }
}

/// A text as TOML has it: its basic strings are JSON's, but for one control character.
pub(super) fn text(value: &str) -> String {
    serde_json::Value::from(value).to_string().replace('\u{7f}', "\\u007f")
}

/// A name in a path.
pub(super) fn name(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare { name.to_owned() } else { text(name) }
}

pub(super) fn list<'a>(values: impl IntoIterator<Item = &'a str>) -> String {
    format!("[{}]", values.into_iter().map(text).collect::<Vec<_>>().join(", "))
}

/// Seconds as a duration.
pub(super) fn duration(seconds: f64) -> Option<String> {
    let millis = (seconds * 1000.0).ceil();
    let within = (1.0..=31_536_000_000.0).contains(&millis);
    let (whole, exact) = (format!("{:.0}", millis / 1000.0), millis % 1000.0 == 0.0);
    within.then(|| if exact { format!("\"{whole}s\"") } else { format!("\"{millis:.0}ms\"") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_the_reader_wants_them() {
        assert_eq!(text("a\"b\\c\u{7f}\n"), "\"a\\\"b\\\\c\\u007f\\n\"");
        assert_eq!((name("gpt-4").as_str(), name("gpt-4.1").as_str()), ("gpt-4", "\"gpt-4.1\""));
        assert_eq!(duration(600.0).as_deref(), Some("\"600s\""));
        assert_eq!(duration(0.001).as_deref(), Some("\"1ms\""));
        assert_eq!((duration(0.0), duration(-1.0), duration(1e12)), (None, None, None));
    }
}
