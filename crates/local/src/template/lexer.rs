//! Cuts a template into texts and tokens as Jinja2's lexer does with `trim_blocks` and `lstrip_blocks`, the way `transformers` sets it up.
//! Here is all that concerns whitespace; `parser.rs` sees none. Reference: `jinja2/lexer.py`.

/// What is wrong with a template's text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) what: String,
    pub(super) line: u32,
}

pub(super) type Result<T> = std::result::Result<T, SyntaxError>;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// Text outside of all tags.
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// `{%`
    BlockOpen,
    /// `%}`
    BlockClose,
    Name(String),
    String(String),
    Int(i128),
    Float(f64),
    Op(&'static str),
    End,
}

/// Longest first, so that the first that fits is the right one.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".",
    ":", "|", ",", ";",
];

/// The tokens of a template with their lines; the last is [`Token::End`].
pub(super) fn tokens(source: &str) -> Result<Vec<(Token, u32)>> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    // Jinja2 drops one newline at the very end.
    let rest = source.strip_suffix('\n').unwrap_or(&source);
    let mut lexer = Lexer { rest, line: 1, starting: true, out: Vec::new() };
    lexer.root()?;
    lexer.push(Token::End);
    Ok(lexer.out)
}

struct Lexer<'a> {
    rest: &'a str,
    line: u32,
    /// Whether the rest begins a line.
    starting: bool,
    out: Vec<(Token, u32)>,
}

/// What a tag's first two letters open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tag {
    Variable,
    Block,
    Comment,
}

impl<'a> Lexer<'a> {
    fn push(&mut self, token: Token) {
        self.out.push((token, self.line));
    }

    fn error(&self, what: impl Into<String>) -> SyntaxError {
        SyntaxError { what: what.into(), line: self.line }
    }

    /// Steps over `length` bytes and returns them.
    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.rest = rest;
        self.line += taken.bytes().filter(|byte| *byte == b'\n').count() as u32;
        taken
    }

    fn skip_blanks(&mut self) {
        let blanks = self.rest.len() - self.rest.trim_start_matches(blank).len();
        self.take(blanks);
    }

    fn root(&mut self) -> Result<()> {
        while !self.rest.is_empty() {
            let Some((at, tag)) = next_tag(self.rest) else {
                let text = self.take(self.rest.len());
                self.push(Token::Text(text.to_owned()));
                break;
            };
            let text = self.rest.get(..at).unwrap_or_default();
            let sign = self.rest.get(at + 2..).and_then(|after| after.chars().next());
            let kept = match sign {
                Some('-') => text.trim_end_matches(blank),
                Some('+') => text,
                _ if tag == Tag::Variable => text,
                _ => self.without_indent(text),
            };
            if !kept.is_empty() {
                self.push(Token::Text(kept.to_owned()));
            }
            self.take(at + 2);
            if matches!(sign, Some('-' | '+')) {
                self.take(1);
            }
            self.starting = false;
            match tag {
                Tag::Comment => self.comment()?,
                Tag::Variable => self.inside(Tag::Variable)?,
                Tag::Block => match raw_begin(self.rest) {
                    Some(length) => self.raw(length)?,
                    None => self.inside(Tag::Block)?,
                },
            }
        }
        Ok(())
    }

    /// `lstrip_blocks`: without the blanks between the line's beginning and a tag.
    fn without_indent(&self, text: &'a str) -> &'a str {
        let (before, indent) = match text.rfind('\n') {
            Some(at) => text.split_at(at + 1),
            None if self.starting => ("", text),
            None => return text,
        };
        if indent.chars().all(blank) { before } else { text }
    }

    /// What follows a tag's end: `-` eats all blanks, `trim_blocks` one newline.
    fn after_tag(&mut self, sign: Option<char>, trim: bool) {
        let before = self.rest;
        match sign {
            Some('-') => self.skip_blanks(),
            Some('+') => {}
            _ if trim && self.rest.starts_with('\n') => {
                self.take(1);
            }
            _ => {}
        }
        let eaten = before.len() - self.rest.len();
        self.starting = before.get(..eaten).is_some_and(|eaten| eaten.ends_with('\n'));
    }

    fn comment(&mut self) -> Result<()> {
        let Some(end) = self.rest.find("#}") else {
            return Err(self.error("missing end of comment tag"));
        };
        let inside = self.take(end);
        self.take(2);
        self.after_tag(inside.chars().next_back().filter(|sign| matches!(sign, '-' | '+')), true);
        Ok(())
    }

    /// `{% raw %}…{% endraw %}`, from the end of whose first tag's sign on.
    fn raw(&mut self, begin: usize) -> Result<()> {
        let tag = self.take(begin);
        if tag.ends_with("-%}") {
            self.skip_blanks();
        }
        let mut from = 0;
        while let Some(found) = self.rest.get(from..).and_then(|rest| rest.find("{%")) {
            let at = from + found;
            from = at + 2;
            let after = self.rest.get(from..).unwrap_or_default();
            let (sign, after) = match after.chars().next() {
                Some(sign @ ('-' | '+')) => (Some(sign), after.get(1..).unwrap_or_default()),
                _ => (None, after),
            };
            let Some(tail) = after.trim_start_matches(blank).strip_prefix("endraw") else { continue };
            let tail = tail.trim_start_matches(blank);
            let (close, tail) = match tail.chars().next() {
                Some(sign @ ('-' | '+')) => (Some(sign), tail.get(1..).unwrap_or_default()),
                _ => (None, tail),
            };
            let Some(tail) = tail.strip_prefix("%}") else { continue };
            let text = self.rest.get(..at).unwrap_or_default();
            let kept = match sign {
                Some('-') => text.trim_end_matches(blank),
                Some(_) => text,
                None => self.without_indent(text),
            };
            self.push(Token::Text(kept.to_owned()));
            self.take(self.rest.len() - tail.len());
            self.after_tag(close, true);
            return Ok(());
        }
        Err(self.error("missing end of raw directive"))
    }

    /// The tokens up to the end of a tag.
    fn inside(&mut self, tag: Tag) -> Result<()> {
        let (open, close, end) = match tag {
            Tag::Variable => (Token::Open, Token::Close, "}}"),
            _ => (Token::BlockOpen, Token::BlockClose, "%}"),
        };
        self.push(open);
        let mut brackets: Vec<char> = Vec::new();
        loop {
            self.skip_blanks();
            let sign = self.rest.chars().next().filter(|sign| *sign == '-' || (*sign == '+' && tag == Tag::Block));
            let bare = self.rest.get(usize::from(sign.is_some())..).unwrap_or_default();
            if brackets.is_empty() && bare.starts_with(end) {
                self.push(close);
                self.take(end.len() + usize::from(sign.is_some()));
                self.after_tag(sign, tag == Tag::Block);
                return Ok(());
            }
            let Some(letter) = self.rest.chars().next() else {
                return Err(self.error("unexpected end of template"));
            };
            match letter {
                '\'' | '"' => self.string(letter)?,
                '0'..='9' => self.number()?,
                letter if letter == '_' || letter.is_alphabetic() => {
                    let length = self.rest.find(|letter: char| letter != '_' && !letter.is_alphanumeric());
                    let line = self.line;
                    let name = self.take(length.unwrap_or(self.rest.len())).to_owned();
                    self.out.push((Token::Name(name), line));
                }
                _ => self.operator(&mut brackets)?,
            }
        }
    }

    fn operator(&mut self, brackets: &mut Vec<char>) -> Result<()> {
        let Some(found) = OPERATORS.iter().find(|operator| self.rest.starts_with(**operator)) else {
            let letter = self.rest.chars().next().unwrap_or_default();
            return Err(self.error(format!("unexpected char {letter:?}")));
        };
        match *found {
            "(" => brackets.push(')'),
            "[" => brackets.push(']'),
            "{" => brackets.push('}'),
            ")" | "]" | "}" if brackets.pop().is_none_or(|wanted| !found.starts_with(wanted)) => {
                return Err(self.error(format!("unexpected '{found}'")));
            }
            _ => {}
        }
        self.push(Token::Op(found));
        self.take(found.len());
        Ok(())
    }

    fn number(&mut self) -> Result<()> {
        let digits = |text: &str, radix: u32| -> usize {
            text.find(|letter: char| !letter.is_digit(radix) && letter != '_').unwrap_or(text.len())
        };
        let lower: String = self.rest.chars().take(2).flat_map(char::to_lowercase).collect();
        let radix = match lower.as_str() {
            "0x" => 16,
            "0o" => 8,
            "0b" => 2,
            _ => 10,
        };
        if radix != 10 {
            let length = digits(self.rest.get(2..).unwrap_or_default(), radix);
            let text = self.take(2 + length).replace('_', "");
            let number = i128::from_str_radix(text.get(2..).unwrap_or_default(), radix);
            let number = number.map_err(|_| self.error("not a number"))?;
            self.push(Token::Int(number));
            return Ok(());
        }
        let mut length = digits(self.rest, 10);
        let part = |from: usize| self.rest.get(from..).unwrap_or_default();
        let begins_digit = |text: &str| text.starts_with(|letter: char| letter.is_ascii_digit());
        let mut broken = false;
        if let Some(after) = part(length).strip_prefix('.')
            && begins_digit(after)
        {
            broken = true;
            length += 1 + digits(after, 10);
        }
        if let Some(after) = part(length).strip_prefix(['e', 'E']) {
            let unsigned = after.strip_prefix(['+', '-']).unwrap_or(after);
            if begins_digit(unsigned) {
                broken = true;
                length += 1 + (after.len() - unsigned.len()) + digits(unsigned, 10);
            }
        }
        let text = self.take(length).replace('_', "");
        let token = if broken { text.parse().ok().map(Token::Float) } else { text.parse().ok().map(Token::Int) };
        let token = token.ok_or_else(|| self.error("a number that is too large"))?;
        self.push(token);
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<()> {
        let mut end = None;
        let mut escaped = false;
        for (at, letter) in self.rest.char_indices().skip(1) {
            match letter {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                letter if letter == quote => {
                    end = Some(at);
                    break;
                }
                _ => {}
            }
        }
        let Some(end) = end else {
            return Err(self.error("a text without its closing quote"));
        };
        let line = self.line;
        let quoted = self.take(end + 1);
        let text = unescaped(quoted.get(1..end).unwrap_or_default()).map_err(|what| self.error(what))?;
        self.out.push((Token::String(text), line));
        Ok(())
    }
}

/// What Python calls whitespace.
pub(super) fn blank(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '\u{1c}'..='\u{1f}')
}

fn next_tag(text: &str) -> Option<(usize, Tag)> {
    text.match_indices('{').find_map(|(at, _)| {
        Some((
            at,
            match text.as_bytes().get(at + 1)? {
                b'{' => Tag::Variable,
                b'%' => Tag::Block,
                b'#' => Tag::Comment,
                _ => return None,
            },
        ))
    })
}

/// How long `raw %}` is, if that is what a block tag says.
fn raw_begin(rest: &str) -> Option<usize> {
    let tail = rest.trim_start_matches(blank).strip_prefix("raw")?.trim_start_matches(blank);
    let tail = tail.strip_prefix("-%}").or_else(|| tail.strip_prefix("%}"))?;
    Some(rest.len() - tail.len())
}

/// Python's escapes.
fn unescaped(text: &str) -> std::result::Result<String, String> {
    if !text.contains('\\') {
        return Ok(text.to_owned());
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let Some(letter) = after.chars().next() else {
            return Err("a text that ends with a backslash".to_owned());
        };
        rest = after.get(letter.len_utf8()..).unwrap_or_default();
        let code = |length: usize, from: &str| -> std::result::Result<char, String> {
            let digits = from.get(..length).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
            // Half of a surrogate pair is no character here, as it is none in any text that can be tokenized.
            number.and_then(char::from_u32).ok_or_else(|| format!("a bad escape \\{letter}"))
        };
        match letter {
            '\n' => {}
            '\\' | '\'' | '"' => out.push(letter),
            'a' => out.push('\u{7}'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'v' => out.push('\u{b}'),
            'x' | 'u' | 'U' => {
                let length = match letter {
                    'x' => 2,
                    'u' => 4,
                    _ => 8,
                };
                out.push(code(length, rest)?);
                rest = rest.get(length..).unwrap_or_default();
            }
            '0'..='7' => {
                let length = after.bytes().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
                let number = after.get(..length).and_then(|digits| u32::from_str_radix(digits, 8).ok());
                out.extend(number.and_then(char::from_u32));
                rest = after.get(length..).unwrap_or_default();
            }
            'N' => return Err("escapes by name are not known".to_owned()),
            other => out.extend(['\\', other]),
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests;
