//! Command templates: one line of text, split into words like a shell would, with `{prompt}` and `{model}` to be filled in.
//!
//! It is no shell: nothing is expanded, `$`, `*`, `~`, `|` and `>` are plain characters. The line is split *before* anything is filled in, so that a prompt
//! is always part of exactly one word and can never become a second one, an option or the program.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::ids::shorten;

/// The longest word that Linux takes as an argument, without its final NUL.
const LONGEST_WORD: usize = (128 << 10) - 1;

const PROMPT: &str = "{prompt}";
const MODEL: &str = "{model}";

/// A command line with places for a prompt and a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    words: Vec<String>,
}

/// A template filled in.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The arguments after the program.
    pub args: Vec<String>,
    /// What goes to standard input; empty where the prompt is an argument.
    pub stdin: String,
}

impl fmt::Debug for Rendered {
    /// Prompts are not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rendered").field("args", &self.args.len()).field("stdin", &self.stdin.len()).finish()
    }
}

impl Template {
    /// Splits a line into words by the quoting rules of POSIX shells, without expansion: blanks and line ends separate words; `'…'` is literal; in `"…"`
    /// a backslash escapes `"`, `\`, `$` and `` ` ``; elsewhere it escapes any character; before a line end it joins two lines.
    ///
    /// # Errors
    /// `caller_invalid_request` naming the character at which a quote opens that never closes, or what keeps the line from being a command.
    pub fn parse(line: &str) -> Result<Self> {
        let words = split(line).map_err(|fault| {
            Error::invalid(format!("the command {:?} cannot be read: {fault}", shorten(line)))
                .with_hint("quote as in a shell: '…' keeps everything, \\ keeps the next character")
        })?;
        Self::checked(words, line)
    }

    fn checked(words: Vec<String>, line: &str) -> Result<Self> {
        let fault = match words.first() {
            None => "it names no program",
            Some(program) if program.is_empty() => "its program has an empty name",
            Some(program) if program.contains(PROMPT) || program.contains(MODEL) => {
                "its program would come from the request"
            }
            Some(_) if words.iter().any(|word| word.contains('\0')) => "it holds a NUL",
            Some(_) => return Ok(Self { words }),
        };
        Err(Error::invalid(format!("the command {:?} cannot be used: {fault}", shorten(line)))
            .with_hint("write it as: program --option {prompt}"))
    }

    /// The program, as written.
    pub fn program(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Whether the model that a request names can be said.
    pub fn takes_model(&self) -> bool {
        self.needs_model()
    }

    /// Whether a model must be named.
    pub fn needs_model(&self) -> bool {
        self.words.iter().any(|word| word.contains(MODEL))
    }

    /// Whether a prompt that begins with `-` would be an option of the program, were it given as it is: `{prompt}` begins a word, and neither `--` nor an
    /// option stands before that.
    pub fn exposes_prompt(&self) -> bool {
        let mut before = "";
        for word in self.words.iter().skip(1) {
            if word.starts_with(PROMPT) {
                return !before.starts_with('-');
            }
            if word == "--" {
                return false;
            }
            before = word;
        }
        false
    }

    /// Fills in a prompt and a model. Without `{prompt}` the prompt goes to standard input; where a word begins with `{prompt}` and no `--` stands before it,
    /// a prompt that begins with `-` is given behind a line end, so that it is no option.
    ///
    /// # Errors
    /// `caller_invalid_request` for a NUL in the prompt and where the template needs a model and none is named; `caller_too_large` for a word over the
    /// system's limit.
    pub fn render(&self, prompt: &str, model: Option<&str>) -> Result<Rendered> {
        if let Some(at) = prompt.find('\0') {
            return Err(Error::invalid(format!("the prompt holds a NUL at byte {at}"))
                .with_hint("text has none: check where the prompt comes from"));
        }
        if model.is_none() && self.needs_model() {
            return Err(Error::invalid(format!("the command of {} needs a model and none is named", self.program()))
                .with_hint("name a model, or give the provider a default_model"));
        }
        let model = model.unwrap_or_default();
        let (mut args, mut protected, mut placed) = (Vec::with_capacity(self.words.len()), false, false);
        for word in self.words.iter().skip(1) {
            let holds_prompt = word.contains(PROMPT);
            placed |= holds_prompt;
            let exposed = word.starts_with(PROMPT) && !protected && prompt.starts_with('-');
            let filled = format!("{}{}", if exposed { "\n" } else { "" }, fill(word, prompt, model));
            if filled.len() > LONGEST_WORD {
                return Err(too_long(self.program(), filled.len()));
            }
            protected |= word == "--";
            args.push(filled);
        }
        Ok(Rendered { args, stdin: if placed { String::new() } else { prompt.to_owned() } })
    }
}

fn too_long(program: &str, length: usize) -> Error {
    Error::new(
        ErrorKind::CallerTooLarge,
        format!("the prompt makes an argument of {length} bytes for {program}; the system allows {LONGEST_WORD}"),
    )
    .with_hint("leave {prompt} out of the command: the prompt then goes to standard input")
}

/// Fills a word in one pass: what is filled in is never searched for placeholders.
fn fill(word: &str, prompt: &str, model: &str) -> String {
    let mut out = String::with_capacity(word.len() + prompt.len());
    let mut rest = word;
    while let Some(at) = rest.find('{') {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        if let Some(after) = tail.strip_prefix(PROMPT) {
            out.push_str(prompt);
            rest = after;
        } else if let Some(after) = tail.strip_prefix(MODEL) {
            out.push_str(model);
            rest = after;
        } else {
            out.push('{');
            rest = &tail[1..];
        }
    }
    out.push_str(rest);
    out
}

fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars().enumerate().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some((_, '\'')) => break,
                        Some((_, c)) => word.push(c),
                        None => return Err(unclosed('\'', at)),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some((_, '"')) => break,
                        Some((_, '\\')) => match chars.next() {
                            Some((_, c @ ('"' | '\\' | '$' | '`'))) => word.push(c),
                            Some((_, '\n')) => {}
                            Some((_, c)) => word.extend(['\\', c]),
                            None => return Err(unclosed('"', at)),
                        },
                        Some((_, c)) => word.push(c),
                        None => return Err(unclosed('"', at)),
                    }
                }
            }
            '\\' => match chars.next() {
                Some((_, '\n')) => {}
                Some((_, c)) => word.get_or_insert_default().push(c),
                None => return Err(format!("it ends in the backslash at character {}, which escapes nothing", at + 1)),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn unclosed(quote: char, at: usize) -> String {
    format!("the {quote} at character {} is never closed", at + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn quotes_as_a_posix_shell_and_expands_nothing() {
        for (line, words) in [
            ("a b", &["a", "b"][..]),
            ("  a\t\tb \n c  ", &["a", "b", "c"]),
            ("a 'b c' \"d e\"", &["a", "b c", "d e"]),
            ("a b'c'd\"e\"f", &["a", "bcdef"]),
            ("a '' \"\"", &["a", "", ""]),
            (r#"a "x\"y\\z\$w\`v\nq" "#, &["a", r#"x"y\z$w`v\nq"#]),
            (r"a 'x\y'", &["a", r"x\y"]),
            (r"a x\ y \'z \\", &["a", "x y", "'z", r"\"]),
            ("a b\\\nc \"d\\\ne\"", &["a", "bc", "de"]),
            (
                "a $HOME ~ * `id` $(id) | > x ; & #c",
                &["a", "$HOME", "~", "*", "`id`", "$(id)", "|", ">", "x", ";", "&", "#c"],
            ),
            ("naïve 'é 日本'", &["naïve", "é 日本"]),
        ] {
            assert_eq!(Template::parse(line).unwrap().words, words, "{line}");
        }
    }

    #[test]
    fn says_where_a_line_is_broken() {
        for (line, said) in [
            ("a 'b", "the ' at character 3 is never closed"),
            ("é \"b\\\"", "the \" at character 3 is never closed"),
            ("a b\\", "the backslash at character 4"),
            ("  ", "names no program"),
            ("'' a", "empty name"),
            ("{prompt} a", "would come from the request"),
            ("/bin/{model} a", "would come from the request"),
            ("a b\0c", "NUL"),
        ] {
            let error = Template::parse(line).unwrap_err();
            assert!(error.message().contains(said), "{line}: {error}");
            assert_eq!(error.kind(), ErrorKind::CallerInvalidRequest);
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_quoted_comes_out_as_it_went_in(words in proptest::collection::vec("[^\0]{0,20}", 1..5)) {
            let quoted: Vec<_> = words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
            proptest::prop_assert_eq!(split(&quoted.join(" ")).unwrap(), words);
        }

        #[test]
        fn any_line_is_read_or_refused(line in ".{0,60}") {
            let _ = Template::parse(&line);
        }
    }

    fn args(line: &str, prompt: &str, model: Option<&str>) -> Vec<String> {
        Template::parse(line).unwrap().render(prompt, model).unwrap().args
    }

    #[test]
    fn a_prompt_is_one_word_and_never_an_option() {
        assert_eq!(args("a -p {prompt}", "x 'y\" $z\nw", None), ["-p", "x 'y\" $z\nw"]);
        assert_eq!(args("a {prompt}", "--help", None), ["\n--help"]);
        assert_eq!(args("a {prompt}!", "-x", None), ["\n-x!"]);
        assert_eq!(args("a -- {prompt}", "--help", None), ["--", "--help"]);
        assert_eq!(args("a {prompt} -- {prompt}", "-x", None), ["\n-x", "--", "-x"]);
        assert_eq!(args("a --ask={prompt}", "-x", None), ["--ask=-x"]);
        assert_eq!(args("a '-m {model}' {prompt}", "{model}{prompt}", Some("m")), ["-m m", "{model}{prompt}"]);
        assert_eq!(args("a {} {x} {prompt {prompt}}", "p", None), ["{}", "{x}", "{prompt", "p}"]);
    }

    #[test]
    fn a_prompt_that_could_be_an_option_is_known() {
        let exposes = |line: &str| Template::parse(line).unwrap().exposes_prompt();
        assert!(
            exposes("npx @google/gemini-cli {prompt}") && exposes("claude {prompt}") && exposes("a -p x {prompt}!")
        );
        for safe in ["a -p {prompt}", "a -- {prompt}", "a -- b {prompt}", "a --ask={prompt}", "a", "a \"say {prompt}\""]
        {
            assert!(!exposes(safe), "{safe}");
        }
    }

    #[test]
    fn without_a_place_the_prompt_goes_to_standard_input() {
        let template = Template::parse("a -m {model}").unwrap();
        let rendered = template.render("-p", Some("m")).unwrap();
        assert_eq!((rendered.args.as_slice(), rendered.stdin.as_str()), (&["-m".to_owned(), "m".to_owned()][..], "-p"));
        assert_eq!(template.render("p", None).unwrap_err().kind(), ErrorKind::CallerInvalidRequest);
    }

    #[test]
    fn what_no_argument_can_hold_is_refused() {
        let template = Template::parse("a {prompt}").unwrap();
        assert_eq!(template.render("a\0b", None).unwrap_err().kind(), ErrorKind::CallerInvalidRequest);
        assert!(template.render(&"x".repeat(LONGEST_WORD), None).is_ok());
        let error = template.render(&"x".repeat(LONGEST_WORD + 1), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CallerTooLarge);
        assert!(error.hint().unwrap().contains("standard input"));
    }
}
