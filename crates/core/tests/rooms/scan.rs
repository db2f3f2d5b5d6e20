//! Which paths a Rust source names: enough of the language for `rooms.rs`, not a parser.
//!
//! Comments, string literals and `#[cfg(test)]` modules are left out; `use` trees are written out, one path each.

/// A source and the paths in it.
pub(crate) struct Source {
    /// Where it is, below `crates/`.
    pub(crate) path: String,
    /// The module it is, below its crate: empty for `lib.rs` and `main.rs`.
    pub(crate) module: Vec<String>,
    /// Each path in it with its line. `self`, `super` and `crate` stand as written.
    pub(crate) paths: Vec<(usize, String)>,
}

impl Source {
    /// Reads a source at a path below `crates/`.
    pub(crate) fn parse(path: &str, text: &str) -> Self {
        let inside = path.split_once("/src/").map_or(path, |(_, inside)| inside).trim_end_matches(".rs");
        let mut module: Vec<String> = inside.split('/').map(str::to_owned).collect();
        if module.last().is_some_and(|last| matches!(last.as_str(), "lib" | "main" | "mod")) {
            module.pop();
        }
        Self { path: path.to_owned(), module, paths: paths(&without_tests(&blanked(text))) }
    }

    /// The paths that lead to this crate's own modules, from its root: `crate::…` and `super::…`, without that beginning.
    pub(crate) fn crate_paths(&self) -> impl Iterator<Item = (usize, String)> + '_ {
        self.paths.iter().filter_map(|(line, path)| {
            let mut words: Vec<&str> = path.split("::").collect();
            if words.first() == Some(&"crate") {
                words.remove(0);
                return (!words.is_empty()).then(|| (*line, words.join("::")));
            }
            let up = words.iter().take_while(|word| **word == "super").count();
            if up == 0 || up > self.module.len() {
                return None;
            }
            let base = self.module[..self.module.len() - up].iter().map(String::as_str);
            let whole: Vec<&str> = base.chain(words[up..].iter().copied()).collect();
            (!whole.is_empty()).then(|| (*line, whole.join("::")))
        })
    }
}

/// Whether `path` holds `reserved` as whole words: at its beginning, or anywhere where `reserved` is not a crate's name alone.
pub(crate) fn names(path: &str, reserved: &str) -> bool {
    let words: Vec<&str> = path.split("::").collect();
    let wanted: Vec<&str> = reserved.split("::").collect();
    let crate_name = wanted.len() == 1 && !reserved.starts_with(char::is_uppercase);
    if crate_name {
        return words.len() > 1 && words[0] == wanted[0];
    }
    words.windows(wanted.len()).any(|window| window == wanted)
}

/// The text with comments, strings and character literals as blanks; lines stay where they are.
fn blanked(text: &str) -> Vec<char> {
    let mut chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < chars.len() {
        let next = chars.get(at + 1).copied();
        let end = match (chars[at], next) {
            ('/', Some('/')) => find(&chars, at, &['\n']),
            ('/', Some('*')) => find(&chars, at + 2, &['*', '/']) + 2,
            ('r', Some('"' | '#')) if !word_before(&chars, at) => match raw_string_end(&chars, at) {
                Some(end) => end,
                None => at,
            },
            ('"', _) => string_end(&chars, at),
            // A lifetime has no closing quote two places on; an escape has.
            ('\'', Some('\\')) => find(&chars, at + 3, &['\'']) + 1,
            ('\'', Some(_)) if chars.get(at + 2) == Some(&'\'') => at + 3,
            _ => at,
        };
        let end = end.min(chars.len());
        for c in &mut chars[at..end] {
            if *c != '\n' {
                *c = ' ';
            }
        }
        at = end.max(at + 1);
    }
    chars
}

fn find(chars: &[char], from: usize, what: &[char]) -> usize {
    (from..chars.len()).find(|at| chars[*at..].starts_with(what)).unwrap_or(chars.len())
}

fn word_before(chars: &[char], at: usize) -> bool {
    at > 0 && is_word(chars[at - 1]) && chars[at - 1] != 'b'
}

fn string_end(chars: &[char], open: usize) -> usize {
    let mut at = open + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_string_end(chars: &[char], r: usize) -> Option<usize> {
    let hashes = chars[r + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(r + 1 + hashes) != Some(&'"') {
        return None;
    }
    let close: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    Some(find(chars, r + 2 + hashes, &close) + close.len())
}

/// The text without what is compiled for tests only: the item that follows `#[cfg(test)]`, to its closing brace or semicolon.
fn without_tests(chars: &[char]) -> Vec<char> {
    let mut chars = chars.to_vec();
    let attribute: Vec<char> = "#[cfg(test)]".chars().collect();
    let mut at = 0;
    while at < chars.len() {
        let start = find(&chars, at, &attribute);
        let mut depth = 0usize;
        let mut end = start;
        while end < chars.len() {
            match chars[end] {
                '{' => depth += 1,
                '}' if depth <= 1 => break,
                '}' => depth -= 1,
                ';' if depth == 0 => break,
                _ => {}
            }
            end += 1;
        }
        let end = (end + 1).min(chars.len());
        for c in &mut chars[start.min(end)..end] {
            if *c != '\n' {
                *c = ' ';
            }
        }
        at = end.max(at + 1);
    }
    chars
}

/// Every path, with `{…}` written out.
fn paths(chars: &[char]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        if is_word(chars[at]) && (at == 0 || !is_word(chars[at - 1])) {
            at = path(chars, at, "", &mut found);
        } else {
            at += 1;
        }
    }
    // Places become lines in one walk: they are in order.
    let (mut line, mut walked) = (1, 0);
    for (place, _) in &mut found {
        line += chars[walked..*place].iter().filter(|c| **c == '\n').count();
        walked = *place;
        *place = line;
    }
    found
}

/// Reads one path at `at` below `prefix`; notes its place and returns the place after it.
fn path(chars: &[char], mut at: usize, prefix: &str, found: &mut Vec<(usize, String)>) -> usize {
    let mut whole = prefix.to_owned();
    let start_of_path = at;
    loop {
        let start = at;
        while at < chars.len() && is_word(chars[at]) {
            at += 1;
        }
        let word: String = chars[start..at].iter().collect();
        // `{self}` names what stands before the brace.
        if word != "self" || whole.is_empty() {
            if !whole.is_empty() {
                whole.push_str("::");
            }
            whole.push_str(&word);
        }
        if !chars[at..].starts_with(&[':', ':']) {
            break;
        }
        match chars.get(at + 2) {
            Some(c) if is_word(*c) => at += 2,
            Some('{') => return tree(chars, at + 3, &whole, found),
            _ => break,
        }
    }
    found.push((start_of_path, whole));
    at
}

/// Reads the paths of a `use` tree up to its closing brace; returns the place after it.
fn tree(chars: &[char], mut at: usize, prefix: &str, found: &mut Vec<(usize, String)>) -> usize {
    while at < chars.len() {
        match chars[at] {
            '}' => return at + 1,
            '*' => {
                found.push((at, format!("{prefix}::*")));
                at += 1;
            }
            c if is_word(c) => {
                at = path(chars, at, prefix, found);
                // `as name` gives a name and uses none.
                let rest: String = chars[at..].iter().take(64).collect();
                if let Some(alias) = rest.strip_prefix(" as ") {
                    at += 4 + alias.chars().take_while(|c| is_word(*c)).count();
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
