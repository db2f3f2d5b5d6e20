//! How a program fails, in the words of the error table: not started, ended badly, and what it said last.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::SystemTime;

use super::{Folder, Resolved, reset};
use crate::dialect::retry_after;
use crate::error::{Error, ErrorKind};
use crate::secret::{Secret, hide, mask};

/// Bytes kept of what a program writes to standard error.
const TAIL: usize = 8 << 10;

/// Characters of them that an error message shows.
const SHOWN: usize = 1200;

/// Bytes from which on a prompt is taken out of what a program says also where it is but a part of a line.
const TELLING: usize = 12;

/// Words in which command line programs say what is wrong with the account behind them. The first hit decides.
const WORDS: &[(&str, ErrorKind)] = &[
    ("insufficient_quota", ErrorKind::ProviderQuotaExhausted),
    ("usage limit", ErrorKind::ProviderQuotaExhausted),
    ("session limit", ErrorKind::ProviderQuotaExhausted),
    ("weekly limit", ErrorKind::ProviderQuotaExhausted),
    ("5-hour limit", ErrorKind::ProviderQuotaExhausted),
    ("hit your limit", ErrorKind::ProviderQuotaExhausted),
    ("spend limit", ErrorKind::ProviderQuotaExhausted),
    ("quota exceeded", ErrorKind::ProviderQuotaExhausted),
    ("exceeded your current quota", ErrorKind::ProviderQuotaExhausted),
    ("billing", ErrorKind::ProviderBilling),
    ("payment required", ErrorKind::ProviderBilling),
    ("not logged in", ErrorKind::ProviderAuth),
    ("please log in", ErrorKind::ProviderAuth),
    ("please run /login", ErrorKind::ProviderAuth),
    ("invalid api key", ErrorKind::ProviderAuth),
    ("no authentication", ErrorKind::ProviderAuth),
    ("invalid auth method", ErrorKind::ProviderAuth),
    ("unauthorized", ErrorKind::ProviderAuth),
    ("401", ErrorKind::ProviderAuth),
    ("rate limit", ErrorKind::ProviderRateLimited),
    ("too many requests", ErrorKind::ProviderRateLimited),
    ("429", ErrorKind::ProviderRateLimited),
    ("overloaded", ErrorKind::ProviderOverloaded),
    ("529", ErrorKind::ProviderOverloaded),
];

/// The last bytes of a stream of text.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: VecDeque<u8>,
    cut: bool,
}

impl Tail {
    pub(super) fn push(&mut self, more: &[u8]) {
        self.bytes.extend(more);
        let over = self.bytes.len().saturating_sub(TAIL);
        self.bytes.drain(..over);
        self.cut |= over > 0;
    }

    /// The last lines, masked and shortened; from the first on that calls itself an error, where one does. What repeats `prompt` is left out: some programs
    /// print what they were asked, and prompts are not for error messages; so are `hidden` values.
    pub(super) fn text(&self, prompt: &str, hidden: &[Secret]) -> String {
        let (front, back) = self.bytes.as_slices();
        let bytes = [front, back].concat();
        let text = String::from_utf8_lossy(&bytes);
        // What stands before the first line end after a cut may be the rest of a key, or of a prompt, that nothing would recognise.
        let whole = if self.cut { text.split_once('\n').map_or("", |(_, rest)| rest) } else { &text };
        let asked: HashSet<&str> = prompt.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        // A word or two are in every text, and give away nothing.
        let telling = prompt.trim().len() >= TELLING;
        let whole = if telling { whole.replace(prompt.trim(), "\n") } else { whole.to_owned() };
        // Where in its own code it happened says nothing to anybody here, and takes the place of what happened.
        let frame = |line: &str| line.starts_with("    at ");
        let unasked = |line: &&str| !line.trim().is_empty() && !frame(line) && !asked.contains(line.trim());
        let mut kept: Vec<&str> = whole.lines().filter(unasked).collect();
        kept.dedup();
        let calls_itself_error = |line: &&str| line.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("error"));
        let from = kept.iter().position(calls_itself_error).unwrap_or(0);
        shortened(&kept.split_off(from).join("\n"), hidden)
    }
}

/// The last lines of a text without what is secret in it, trimmed, fit for an error message.
pub(super) fn shortened(text: &str, hidden: &[Secret]) -> String {
    // Before anything is cut: of half a secret nobody would know what it is.
    let known = hide(text.trim(), hidden.iter().map(Secret::expose));
    let masked = mask(&known);
    let skip = masked.chars().count().saturating_sub(SHOWN);
    if skip == 0 {
        return masked.into_owned();
    }
    std::iter::once('…').chain(masked.chars().skip(skip)).collect()
}

/// The error of a program that ended badly, now.
pub(super) fn of_exit(name: &str, status: Option<ExitStatus>, said: &str, now: SystemTime) -> Error {
    let how = match status {
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("{name} ended with exit status {code}"),
            (None, Some(signal)) => format!("{name} was ended by signal {signal}{}", signal_name(signal)),
            (None, None) => format!("{name} ended in an unknown way"),
        },
        None => format!("{name} ended, and the system does not say how"),
    };
    let message = if said.is_empty() { format!("{how} and said nothing") } else { format!("{how}: {said}") };
    of_words(name, said, ErrorKind::ProviderServerError, &message, now)
}

/// The error of a program that says in words of its own why it failed: of the kind that the words tell, else of `otherwise`, with the wait that they name.
pub(super) fn of_words(name: &str, said: &str, otherwise: ErrorKind, message: &str, now: SystemTime) -> Error {
    let lower = said.to_lowercase();
    let kind = WORDS.iter().find(|(word, _)| has_word(&lower, word)).map_or(otherwise, |(_, kind)| *kind);
    let error = Error::new(kind, message);
    let limited = matches!(kind, ErrorKind::ProviderQuotaExhausted | ErrorKind::ProviderRateLimited);
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    if let Some(wait) = limited.then(|| retry_after::told(said, now).or_else(|| reset::told(said, now))).flatten() {
        return error.with_retry_after(wait);
    }
    match kind {
        ErrorKind::ProviderAuth => error.with_hint(format!("run {name} by hand once and log in, or set its key")),
        _ => error,
    }
}

/// Whether a text alone would be taken for the complaint of a program about its account.
pub(super) fn tells(text: &str) -> bool {
    let lower = text.to_lowercase();
    let more = ["oauth token", "authentication", "credit balance"];
    WORDS.iter().map(|(word, _)| *word).chain(more).any(|word| has_word(&lower, word))
}

/// Whether a text holds words as words: `401` is not in `14012`.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        ![before, after].into_iter().flatten().any(char::is_alphanumeric)
    })
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        13 => " (SIGPIPE)",
        15 => " (SIGTERM)",
        _ => "",
    }
}

/// The error of a program that could not be started.
pub(super) fn not_started(program: &Path, folder: &Folder, error: io::Error) -> Error {
    let name = program.display();
    let (kind, what, hint) = match error.kind() {
        io::ErrorKind::NotFound if matches!(folder, Folder::At(path) if !path.is_dir()) => (
            ErrorKind::ProviderUnavailable,
            format!("the folder that {name} is to work in is not there"),
            "make it, or name another",
        ),
        io::ErrorKind::NotFound if program.exists() => (
            ErrorKind::ProviderUnavailable,
            format!("{name} could not be started: the interpreter that its first line names is not there"),
            "install that interpreter",
        ),
        io::ErrorKind::NotFound => {
            (ErrorKind::ProviderUnavailable, format!("{name} is not there"), "install it, or name another program")
        }
        io::ErrorKind::PermissionDenied => {
            (ErrorKind::ProviderUnavailable, format!("{name} may not be executed"), "make it executable: chmod +x")
        }
        io::ErrorKind::ArgumentListTooLong => (
            ErrorKind::CallerTooLarge,
            format!("the arguments of {name} are longer than the system allows"),
            "leave {prompt} out of the command: the prompt then goes to standard input",
        ),
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => (
            ErrorKind::ProviderUnavailable,
            format!("{name} is not a program for this machine"),
            "a script needs a first line such as #!/bin/sh",
        ),
        _ => (
            ErrorKind::ProviderUnavailable,
            format!("{name} could not be started: {error}"),
            "see the limits of this user (ulimit)",
        ),
    };
    Error::new(kind, what).with_hint(hint).with_source(error)
}

/// What to say of a program that does not resolve: what is missing, and the next step.
pub(super) fn missing(program: &str, resolved: &Resolved, hint: &str) -> (String, String) {
    match resolved {
        Resolved::NotExecutable(file) => (
            format!("{} may not be executed", file.display()),
            format!("make it executable: chmod +x {}", file.display()),
        ),
        _ if program.contains('/') => (format!("the program {program} is not there"), hint.to_owned()),
        _ => (format!("the program {program} is in no folder of PATH"), hint.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_bounded_masked_and_says_nothing_of_the_prompt() {
        let mut tail = Tail::default();
        (0..4000).for_each(|_| tail.push(b"sk-proj-0123456789abcdefABCDEF "));
        tail.push("\nuser\n  my secret plan\nthe end: \u{e9}\n".as_bytes());
        let text = tail.text("first\nmy secret plan\n", &[Secret::new("session-1")]);
        assert!(tail.bytes.len() <= TAIL);
        assert_eq!(text, "user\nthe end: \u{e9}");
        let mut banner = Tail::default();
        banner.push(b"Agent 1.0\nsession: 1\nERROR: no\nERROR: no\n  at once\n");
        assert_eq!(banner.text("", &[Secret::new("at once")]), "ERROR: no\n  …");
        let mut trace = Tail::default();
        trace.push(b"SomeError: no\n    at main (file:///a.js:1:2)\n    at async b:3:4 {\n  code: 7\n}\n");
        assert_eq!(trace.text("", &[]), "SomeError: no\n  code: 7\n}");
        let mut long = Tail::default();
        (0..400).for_each(|n| long.push(format!("{n} hf_abcDEF0123456789 and words\n").as_bytes()));
        let text = long.text("", &[]);
        assert!(
            text.chars().count() <= SHOWN + 1 && text.starts_with('\u{2026}') && !text.contains("DEF0123"),
            "{text}"
        );
    }

    #[test]
    fn words_of_the_account_decide_the_kind() {
        let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_762_950_000);
        let said = |said: &str| of_exit("agent", Some(ExitStatus::from_raw(1 << 8)), said, now);
        let kind = |text: &str| said(text).kind();
        assert_eq!(kind("Error: Not logged in. Please run /login"), ErrorKind::ProviderAuth);
        assert_eq!(kind("API Error: 401 {}"), ErrorKind::ProviderAuth);
        assert_eq!(kind("exceeded retry limit, last status: 429"), ErrorKind::ProviderRateLimited);
        for (text, seconds) in [
            ("You've hit your usage limit. Upgrade to Pro, or try again in 2 hours 5 minutes.", Some(7500)),
            (
                "\u{25a0} You've hit your usage limit. Upgrade to Pro or try again in 3 days 4 hours 12 minutes.",
                Some(274_320),
            ),
            ("Claude AI usage limit reached|1762952400", Some(2400)),
            // It is 12:20 there.
            ("You've hit your session limit \u{b7} resets 12:50pm (UTC)", Some(1800)),
            ("You've hit your limit \u{b7} resets 4:50am (Nowhere/Such)", None),
            ("API Error: 429 enforced spend limit reached", None),
        ] {
            let limit = said(text);
            assert_eq!(limit.kind(), ErrorKind::ProviderQuotaExhausted, "{text}");
            assert_eq!(limit.retry_after().map(|wait| wait.as_secs()), seconds, "{text}");
        }
        assert_eq!(kind("line 14012 of 4290"), ErrorKind::ProviderServerError);
        assert_eq!(
            of_exit("a", Some(ExitStatus::from_raw(9)), "", now).message(),
            "a was ended by signal 9 (SIGKILL) and said nothing"
        );
    }
}
