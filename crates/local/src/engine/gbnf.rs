//! Judges a GBNF grammar before llama.cpp parses it: llama.cpp recurses as deep as the text nests and prints what it
//! cannot read to standard error.
//!
//! It accepts the language of llama.cpp's `grammars/README.md` without token references (`<…>`), and builds nothing.
//! Next: [`crate::ffi`]'s `Grammar`, which compiles what passed.

use std::collections::HashSet;
use std::iter::Peekable;
use std::str::Chars;

/// The longest grammar, in bytes.
const BYTES: usize = 1 << 20;
/// Rules at most: references nest no deeper.
const RULES: usize = 4096;
/// Brackets in brackets at most.
const DEPTH: usize = 64;
/// The largest repetition.
const REPEATS: u32 = 2000;

/// Whether `text` is a grammar with a rule `root`, all rules it names defined, and within the limits.
///
/// # Errors
/// What is wrong, with the line.
pub(super) fn check(text: &str) -> Result<(), String> {
    if text.len() > BYTES {
        return Err(format!("{} bytes are more than {BYTES}", text.len()));
    }
    if text.contains('\0') {
        return Err("it holds a NUL".to_owned());
    }
    let mut reader = Reader { rest: text.chars().peekable(), line: 1, defined: HashSet::new(), named: Vec::new() };
    reader.grammar().map_err(|what| format!("line {}: {what}", reader.line))?;
    if !reader.defined.contains("root") {
        return Err("it has no rule named root".to_owned());
    }
    match reader.named.iter().find(|(name, _)| !reader.defined.contains(name)) {
        None => Ok(()),
        Some((name, line)) => Err(format!("line {line}: the rule {name} is not defined")),
    }
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
    defined: HashSet<String>,
    named: Vec<(String, usize)>,
}

type Read = Result<(), String>;

impl Reader<'_> {
    fn grammar(&mut self) -> Read {
        self.space(true);
        while self.rest.peek().is_some() {
            let name = self.name().ok_or("a rule's name is missing")?;
            self.space(false);
            for sign in "::=".chars() {
                self.expect(sign)?;
            }
            self.space(true);
            self.alternates(0)?;
            match self.rest.peek() {
                None | Some('\n' | '\r') => {}
                Some(other) => return Err(format!("{other:?} is not expected here")),
            }
            self.defined.insert(name);
            if self.defined.len() > RULES {
                return Err(format!("there are more than {RULES} rules"));
            }
            self.space(true);
        }
        Ok(())
    }

    /// Sequences with `|` between them. Inside brackets, and after a `|`, a line may end anywhere.
    fn alternates(&mut self, depth: usize) -> Read {
        if depth > DEPTH {
            return Err(format!("brackets nest deeper than {DEPTH}"));
        }
        loop {
            self.sequence(depth)?;
            if self.rest.peek() != Some(&'|') {
                return Ok(());
            }
            self.next();
            self.space(true);
        }
    }

    fn sequence(&mut self, depth: usize) -> Read {
        let nested = depth > 0;
        let mut before = false;
        while let Some(&next) = self.rest.peek() {
            match next {
                '"' => self.quoted('"')?,
                '[' => self.quoted(']')?,
                '.' => {
                    self.next();
                }
                '(' => {
                    self.next();
                    self.space(true);
                    self.alternates(depth + 1)?;
                    self.expect(')')?;
                }
                '*' | '+' | '?' if before => {
                    self.next();
                }
                '{' if before => self.repeats()?,
                '*' | '+' | '?' | '{' => return Err(format!("nothing stands before {next:?}")),
                '<' | '!' => return Err("references to tokens are not taken".to_owned()),
                _ => match self.name() {
                    Some(name) => self.named.push((name, self.line)),
                    None => return Ok(()),
                },
            }
            before = true;
            self.space(nested);
        }
        Ok(())
    }

    /// `{3}`, `{3,}`, `{3,5}`, `{,5}`.
    fn repeats(&mut self) -> Read {
        self.next();
        let mut bounds = String::new();
        while let Some(&next) = self.rest.peek() {
            if next == '}' {
                break;
            }
            bounds.push(next);
            self.next();
        }
        self.expect('}')?;
        let (least, most) = bounds.split_once(',').unwrap_or((&bounds, &bounds));
        let mut any = false;
        for bound in [least.trim(), most.trim()] {
            if !bound.is_empty() {
                any = true;
                match bound.parse::<u32>() {
                    Ok(count) if count <= REPEATS => {}
                    Ok(count) => return Err(format!("{count} repetitions are more than {REPEATS}")),
                    Err(_) => return Err(format!("{bound:?} is no number of repetitions")),
                }
            }
        }
        if any { Ok(()) } else { Err("a number of repetitions is missing".to_owned()) }
    }

    /// From an opening sign to `end`, with escapes checked.
    fn quoted(&mut self, end: char) -> Read {
        self.next();
        loop {
            match self.next() {
                Some(sign) if sign == end => return Ok(()),
                Some('\\') => self.escape()?,
                Some('\n') | None => return Err(format!("a closing {end} is missing")),
                Some(_) => {}
            }
        }
    }

    fn escape(&mut self) -> Read {
        let digits = match self.next() {
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            Some('t' | 'r' | 'n' | '\\' | '"' | '[' | ']' | '-' | '^' | '/') => 0,
            _ => return Err("there is no such escape".to_owned()),
        };
        for _ in 0..digits {
            if !self.next().is_some_and(|digit| digit.is_ascii_hexdigit()) {
                return Err(format!("an escape wants {digits} hex digits"));
            }
        }
        Ok(())
    }

    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        while let Some(&next) = self.rest.peek() {
            if !(next.is_ascii_alphanumeric() || next == '-' || next == '_') {
                break;
            }
            name.push(next);
            self.next();
        }
        (!name.is_empty()).then_some(name)
    }

    fn space(&mut self, lines: bool) {
        while let Some(&next) = self.rest.peek() {
            match next {
                ' ' | '\t' => {}
                '\n' | '\r' if lines => {}
                '#' => {
                    while self.rest.peek().is_some_and(|&next| next != '\n' && next != '\r') {
                        self.next();
                    }
                    continue;
                }
                _ => return,
            }
            self.next();
        }
    }

    fn expect(&mut self, sign: char) -> Read {
        if self.rest.peek() == Some(&sign) {
            self.next();
            return Ok(());
        }
        Err(format!("{sign:?} is missing"))
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.next();
        self.line += usize::from(next == Some('\n'));
        next
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn grammars_in_use_pass() {
        for text in [
            r#"root ::= "a""#,
            "root ::= (expr \"=\" term \"\\n\")+\nexpr ::= term ([-+*/] term)* # sums\nterm ::= [0-9]{1,3} | \"(\" expr \")\"\n",
            "root ::= (\n  \"a\" |\n  \"b\"\n)\n\n# the end\n",
            "root ::= ws \"x\" |\n  ws \"y\"\nws ::= [ \\t\\n]{0,2} | | .{3} .{,4} .{2,}",
            r#"root ::= [^"\\\x7F\x00-\x1F] "é\u00e9""#,
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, what) in [
            ("", "no rule named root"),
            ("main ::= \"a\"", "no rule named root"),
            ("root ::= a\n", "line 1: the rule a is not defined"),
            ("root ::= \"a\"\nb := \"c\"", "line 2: ':' is missing"),
            ("root ::= <<<", "tokens"),
            ("root ::= \"a", "closing \" is missing"),
            ("root ::= [a", "closing ] is missing"),
            ("root ::= (\"a\"", "')' is missing"),
            ("root ::= \"a\")", "')' is not expected"),
            ("root ::= *", "nothing stands before '*'"),
            ("root ::= \"a\"{9999}", "9999 repetitions"),
            ("root ::= \"a\"{x}", "\"x\" is no number"),
            ("root ::= \"\\q\"", "no such escape"),
            ("root ::= \"\\x1g\"", "2 hex digits"),
            ("root ::= \"\0\"", "NUL"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.contains(what), "{text:?}: {error}");
        }
        let deep = format!("root ::= {}\"a\"{}", "(".repeat(100_000), ")".repeat(100_000));
        assert!(check(&deep).unwrap_err().contains("nest deeper"));
        let long = "a ::= \"b\"\n".repeat(200_000);
        assert!(check(&long).unwrap_err().contains("bytes"));
    }
}
