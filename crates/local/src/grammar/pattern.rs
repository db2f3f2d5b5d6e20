//! Regular expressions as grammar: the part of ECMA 262 that a grammar can say. What it says is the inside of a JSON string, so quotes,
//! backslashes and control characters appear as their escapes. Lookaround, back references and word boundaries are refused.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

/// The highest count in braces, and the most that nested counts may multiply to.
const MAX_COST: u64 = 1_000;
const MAX_DEPTH: usize = 16;

/// A set of characters as ranges.
type Ranges = Vec<(char, char)>;

/// The grammar expression for the strings a pattern matches, or what in it cannot be said. A pattern matches anywhere in a string unless
/// it is anchored; `any` names the rule for one character of a string.
pub(super) fn expression(pattern: &str, any: &str) -> Result<String, String> {
    let (inner, from_start) = pattern.strip_prefix('^').map_or((pattern, false), |rest| (rest, true));
    let (inner, to_end) = match inner.strip_suffix('$') {
        // A dollar behind an odd number of backslashes is a plain one.
        Some(rest) if rest.chars().rev().take_while(|letter| *letter == '\\').count() % 2 == 0 => (rest, true),
        _ => (inner, false),
    };
    let mut parser = Parser { rest: inner.chars().peekable(), any, depth: 0 };
    let (body, cost) = parser.alternatives()?;
    if parser.rest.peek().is_some() {
        return Err("an unmatched )".to_owned());
    }
    if cost > MAX_COST {
        return Err(format!("repetitions that multiply to over {MAX_COST}"));
    }
    if (from_start || to_end) && !(from_start && to_end) && top_level_bar(inner) {
        return Err("an anchor on one side of |".to_owned());
    }
    let open = |anchored: bool| {
        if anchored { String::new() } else { format!("{any}*") }
    };
    Ok(format!("{} ({body}) {}", open(from_start), open(to_end)).trim().to_owned())
}

/// Whether a `|` stands outside all groups, where an anchor binds to one branch only.
fn top_level_bar(pattern: &str) -> bool {
    let (mut depth, mut class, mut escaped) = (0, false, false);
    for letter in pattern.chars() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => class = true,
            ']' => class = false,
            '(' if !class => depth += 1,
            ')' if !class => depth -= 1,
            '|' if !class && depth == 0 => return true,
            _ => {}
        }
    }
    false
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
    any: &'a str,
    depth: usize,
}

/// An expression and its cost: the largest product of nested repetition counts.
type Costed = (String, u64);

impl Parser<'_> {
    fn alternatives(&mut self) -> Result<Costed, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("groups over {MAX_DEPTH} deep"));
        }
        let (mut text, mut cost) = self.sequence()?;
        while self.rest.next_if_eq(&'|').is_some() {
            let (branch, branch_cost) = self.sequence()?;
            let _ = write!(text, " | {branch}");
            cost = cost.max(branch_cost);
        }
        self.depth -= 1;
        Ok((text, cost))
    }

    fn sequence(&mut self) -> Result<Costed, String> {
        let (mut parts, mut cost) = (Vec::new(), 1);
        while let Some(letter) = self.rest.peek() {
            if matches!(letter, '|' | ')') {
                break;
            }
            let (part, part_cost) = self.repeated()?;
            parts.push(part);
            cost = cost.max(part_cost);
        }
        Ok(if parts.is_empty() { ("\"\"".to_owned(), 1) } else { (parts.join(" "), cost) })
    }

    fn repeated(&mut self) -> Result<Costed, String> {
        let (atom, cost) = self.atom()?;
        let (suffix, count) = match self.rest.peek() {
            Some('*') => ("*".to_owned(), 1),
            Some('+') => ("+".to_owned(), 1),
            Some('?') => ("?".to_owned(), 1),
            Some('{') => self.counts()?,
            _ => return Ok((atom, cost)),
        };
        if !suffix.starts_with('{') {
            self.rest.next();
        }
        // A lazy mark changes which match is found, not which strings match.
        self.rest.next_if_eq(&'?');
        if matches!(self.rest.peek(), Some('*' | '+' | '{')) {
            return Err("a repetition of a repetition".to_owned());
        }
        let cost = cost.saturating_mul(count.max(1));
        if cost > MAX_COST {
            return Err(format!("repetitions that multiply to over {MAX_COST}"));
        }
        Ok((format!("{atom}{suffix}"), cost))
    }

    /// `{m}`, `{m,}`, `{m,n}`.
    fn counts(&mut self) -> Result<(String, u64), String> {
        let mut inside = String::new();
        self.rest.next();
        loop {
            match self.rest.next() {
                Some('}') => break,
                Some(letter) if (letter.is_ascii_digit() || letter == ',') && inside.len() < 16 => inside.push(letter),
                _ => return Err("a brace that holds no count".to_owned()),
            }
        }
        let (low, high) = inside.split_once(',').map_or((inside.as_str(), None), |(low, high)| (low, Some(high)));
        let number = |text: &str| text.parse::<u64>().map_err(|_| "a brace that holds no count".to_owned());
        let low = number(low)?;
        let high = high.filter(|high| !high.is_empty()).map(number).transpose()?;
        if high.is_some_and(|high| high < low) {
            return Err("a count that ends before it begins".to_owned());
        }
        Ok((format!("{{{inside}}}"), high.unwrap_or(low)))
    }

    fn atom(&mut self) -> Result<Costed, String> {
        let plain = |text: String| Ok((text, 1));
        match self.rest.next().unwrap_or_default() {
            '(' => self.group(),
            '[' => {
                let class = self.class()?;
                plain(class)
            }
            '.' => plain(self.any.to_owned()),
            '\\' => {
                let letter = self.rest.next().ok_or("a backslash at the end")?;
                match named_class(letter) {
                    Some((ranges, negated)) => plain(class_text(&ranges, negated)?),
                    None => plain(literal(self.escape(letter)?)),
                }
            }
            '^' | '$' => Err("an anchor inside".to_owned()),
            '*' | '+' | '?' => Err("a repetition of nothing".to_owned()),
            letter => plain(literal(letter)),
        }
    }

    fn group(&mut self) -> Result<Costed, String> {
        if self.rest.next_if_eq(&'?').is_some() {
            match self.rest.next() {
                Some(':') => {}
                Some('<') if !matches!(self.rest.peek(), Some('=' | '!')) => {
                    while !matches!(self.rest.next(), Some('>') | None) {}
                }
                _ => return Err("lookaround".to_owned()),
            }
        }
        let (inside, cost) = self.alternatives()?;
        if self.rest.next() != Some(')') {
            return Err("an unmatched (".to_owned());
        }
        Ok((format!("({inside})"), cost))
    }

    /// The character an escape stands for.
    fn escape(&mut self, letter: char) -> Result<char, String> {
        Ok(match letter {
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'f' => '\u{c}',
            'v' => '\u{b}',
            'x' => self.hex(2)?,
            'u' => self.hex(4)?,
            'b' | 'B' => return Err("a word boundary".to_owned()),
            'p' | 'P' => return Err("a Unicode property".to_owned()),
            'k' | '1'..='9' => return Err("a back reference".to_owned()),
            letter if letter.is_ascii_alphanumeric() => {
                return Err(format!("the escape \\{letter}"));
            }
            letter => letter,
        })
    }

    fn hex(&mut self, count: usize) -> Result<char, String> {
        let mut code = 0;
        for _ in 0..count {
            let digit =
                self.rest.next().and_then(|letter| letter.to_digit(16)).ok_or("an escape without its digits")?;
            code = code * 16 + digit;
        }
        char::from_u32(code).ok_or_else(|| "half of a surrogate pair".to_owned())
    }

    fn class(&mut self) -> Result<String, String> {
        let negated = self.rest.next_if_eq(&'^').is_some();
        let mut ranges = Ranges::new();
        loop {
            let letter = match self.rest.next() {
                None => return Err("an unmatched [".to_owned()),
                Some(']') => break,
                Some('\\') => {
                    let letter = self.rest.next().ok_or("a backslash at the end")?;
                    match named_class(letter) {
                        Some((more, false)) => {
                            ranges.extend(more);
                            continue;
                        }
                        Some((_, true)) => return Err(format!("\\{letter} inside a class")),
                        None if letter == 'b' => '\u{8}',
                        None => self.escape(letter)?,
                    }
                }
                Some(letter) => letter,
            };
            let mut ahead = self.rest.clone();
            if ahead.next() == Some('-') && !matches!(ahead.peek(), Some(']') | None) {
                self.rest.next();
                let end = match self.rest.next() {
                    Some('\\') => {
                        let letter = self.rest.next().ok_or("a backslash at the end")?;
                        self.escape(letter)?
                    }
                    Some(end) => end,
                    None => return Err("an unmatched [".to_owned()),
                };
                if end < letter {
                    return Err("a range that ends before it begins".to_owned());
                }
                ranges.push((letter, end));
            } else {
                ranges.push((letter, letter));
            }
        }
        if ranges.is_empty() || ranges.len() > 256 {
            return Err("an empty or very long class".to_owned());
        }
        class_text(&ranges, negated)
    }
}

fn named_class(letter: char) -> Option<(Ranges, bool)> {
    let ranges = match letter.to_ascii_lowercase() {
        'd' => vec![('0', '9')],
        'w' => vec![('a', 'z'), ('A', 'Z'), ('0', '9'), ('_', '_')],
        's' => vec![(' ', ' '), ('\t', '\r')],
        _ => return None,
    };
    Some((ranges, letter.is_ascii_uppercase()))
}

/// Characters that a JSON string holds only as an escape, with that escape.
const ESCAPED: [(char, &str); 7] =
    [('"', "\\\""), ('\\', "\\\\"), ('\n', "\\n"), ('\r', "\\r"), ('\t', "\\t"), ('\u{8}', "\\b"), ('\u{c}', "\\f")];

fn is_plain(letter: char) -> bool {
    letter >= ' ' && letter != '"' && letter != '\\' && letter != '\u{7f}'
}

/// One character as a grammar literal.
fn literal(letter: char) -> String {
    match ESCAPED.iter().find(|(escaped, _)| *escaped == letter) {
        Some((_, escape)) => super::schema::literal(escape),
        None if is_plain(letter) => super::schema::literal(letter.encode_utf8(&mut [0; 4])),
        None => super::schema::literal(&format!("\\u{:04x}", letter as u32)),
    }
}

/// A class as a grammar expression: the plain characters as a class, those that need an escape as alternatives beside it.
fn class_text(ranges: &[(char, char)], negated: bool) -> Result<String, String> {
    let holds = |letter: char| ranges.iter().any(|(from, to)| (*from..=*to).contains(&letter));
    let mut inside = String::new();
    for (from, to) in ranges {
        if *from == *to && !is_plain(*from) {
            continue;
        }
        // A range is cut at the characters that a string cannot hold as they are.
        let mut start = *from;
        for stop in ['"', '\\', '\u{7f}'] {
            if !negated && (start..=*to).contains(&stop) {
                if start < stop {
                    push_range(&mut inside, start.max(' '), before(stop));
                }
                start = after(stop);
            }
        }
        if start <= *to && (negated || *to >= ' ') {
            push_range(&mut inside, if negated { start } else { start.max(' ') }, *to);
        }
    }
    let mut parts = Vec::new();
    if negated {
        parts.push(format!("[^\\\"\\\\\\x7F\\x00-\\x1F{inside}]"));
    } else if !inside.is_empty() {
        parts.push(format!("[{inside}]"));
    }
    for (letter, _) in ESCAPED {
        if holds(letter) != negated {
            parts.push(literal(letter));
        }
    }
    if parts.is_empty() {
        return Err("a class of control characters".to_owned());
    }
    Ok(if parts.len() == 1 { parts.concat() } else { format!("({})", parts.join(" | ")) })
}

fn before(letter: char) -> char {
    char::from_u32(letter as u32 - 1).unwrap_or(letter)
}

fn after(letter: char) -> char {
    char::from_u32(letter as u32 + 1).unwrap_or(letter)
}

fn push_range(inside: &mut String, from: char, to: char) {
    if from > to {
        return;
    }
    inside.push_str(&class_letter(from));
    if from != to {
        inside.push('-');
        inside.push_str(&class_letter(to));
    }
}

/// One character inside a grammar's class.
pub(super) fn class_letter(letter: char) -> String {
    match letter {
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '"' | '\\' | ']' | '[' => format!("\\{letter}"),
        '-' | '^' => format!("\\x{:02X}", letter as u32),
        letter if letter < ' ' || letter == '\u{7f}' => format!("\\x{:02X}", letter as u32),
        letter => letter.to_string(),
    }
}
