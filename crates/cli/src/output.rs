//! What is written where: answers to standard output and nothing else there; hints, status and errors to standard error.
//!
//! Exit status: 0 answered or help, 1 failed, 2 bad usage or configuration, 130 interrupted.
#![allow(clippy::print_stderr, clippy::print_stdout)]

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use llm_router::{Error, ErrorKind};
use llm_router_app::App;
use serde_json::json;

use crate::signals::INTERRUPTED;

/// How a command ends when it does not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The request failed.
    Failed(Error),
    /// What was typed, or the configuration, cannot be used.
    Usage(Error),
    /// The person pressed Ctrl-C.
    Interrupted,
    /// Whoever read our output has left: the shell's word for it, and nothing to say.
    PipeClosed,
    /// Everything was already said, in JSON or in lines.
    Said(u8),
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl From<Error> for Failure {
    /// What the router refuses before anybody is asked is wrong on the command line: a provider that does not exist, for example.
    fn from(error: Error) -> Self {
        let typed = error.kind() == ErrorKind::CallerInvalidRequest && error.provider().is_none();
        if typed && error.status().is_none() { Self::Usage(error) } else { Self::Failed(error) }
    }
}

impl Failure {
    /// A failed read or write, named by what it was for.
    pub(crate) fn io(what: &str, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::PipeClosed,
            io::ErrorKind::StorageFull => Self::Failed(
                Error::internal(format!("{what}: the disk is full")).with_hint("make room, or name another place"),
            ),
            _ => Self::Failed(Error::invalid(format!("{what}: {error}"))),
        }
    }

    /// Bad usage.
    pub(crate) fn usage(message: impl AsRef<str>, hint: &str) -> Self {
        Self::Usage(Error::invalid(message).with_hint(hint))
    }
}

/// Says why a command failed, and the status that says it to a program.
pub(crate) fn fail(failure: &Failure, json: bool) -> ExitCode {
    let (error, status) = match failure {
        Failure::Failed(error) => (error, 1),
        Failure::Usage(error) => (error, 2),
        Failure::Interrupted => return ExitCode::from(INTERRUPTED),
        Failure::PipeClosed => return ExitCode::SUCCESS,
        Failure::Said(status) => return ExitCode::from(*status),
    };
    // Where standard output takes nothing, that is said on the other one.
    if !json || print_json(&error_json(error)).is_err() {
        eprintln!("error: {error}");
        if let Some(hint) = error.hint() {
            eprintln!("hint: {hint}");
        }
    }
    ExitCode::from(status)
}

/// An error as the object that `--json` prints.
pub(crate) fn error_json(error: &Error) -> serde_json::Value {
    let mut body = json!({ "kind": error.kind().name(), "message": error.message() });
    if let Some(object) = body.as_object_mut() {
        let mut set = |name: &str, value: Option<serde_json::Value>| {
            if let Some(value) = value {
                object.insert(name.to_owned(), value);
            }
        };
        set("hint", error.hint().map(Into::into));
        set("provider", error.provider().map(|id| id.as_str().into()));
        set("retry_after", error.retry_after().map(|after| after.as_secs_f64().into()));
    }
    json!({ "error": body })
}

/// A line that cannot be understood: clap's words, or their JSON where `--json` was asked for.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind as Clap;
    let asked = matches!(error.kind(), Clap::DisplayHelp | Clap::DisplayVersion);
    let json = std::env::args_os().any(|word| word == "--json");
    if json && !asked {
        return fail(&Failure::Usage(Error::invalid(in_a_line(error)).with_hint("see `llm-router --help`")), true);
    }
    match error.print().map_err(|error| Failure::io("standard output", &error)) {
        Err(failure) if asked => fail(&failure, json),
        _ => ExitCode::from(if asked { 0 } else { 2 }),
    }
}

/// What clap says, without the usage line and the advice below it.
fn in_a_line(error: &clap::Error) -> String {
    use clap::error::ErrorKind as Clap;
    if matches!(error.kind(), Clap::MissingSubcommand | Clap::DisplayHelpOnMissingArgumentOrSubcommand) {
        return "no command was given".to_owned();
    }
    let text = error.render().to_string();
    let lines: Vec<&str> = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
    lines.join(" ").trim_start_matches("error: ").to_owned()
}

/// One JSON value and a newline on standard output.
pub(crate) fn print_json(value: &serde_json::Value) -> Outcome {
    let mut text = if io::stdout().is_terminal() {
        serde_json::to_string_pretty(value).unwrap_or_default()
    } else {
        value.to_string()
    };
    text.push('\n');
    print(&text)
}

/// One JSON value on a line of its own, for whoever reads many.
pub(crate) fn print_json_line(value: &serde_json::Value) -> Outcome {
    print(&format!("{value}\n"))
}

/// Text on standard output, at once.
pub(crate) fn print(text: &str) -> Outcome {
    Stdout.write_all(text.as_bytes()).map_err(|error| Failure::io("standard output", &error))
}

/// Text of a model on standard output. A terminal gets it without control characters: what a stranger wrote must not move the cursor, set the
/// clipboard or hide a line. A file or a pipe gets every byte.
pub(crate) fn print_answer(text: &str) -> Outcome {
    let shown = if io::stdout().is_terminal() { without_controls(text) } else { Cow::Borrowed(text) };
    print(&shown)
}

/// Standard output without a buffer: what the library's own one holds is written as the program exits, and where nobody reads, it would never exit.
pub(crate) struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stdout(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn without_controls(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(steers) { text.replace(steers, "").into() } else { Cow::Borrowed(text) }
}

/// A line for the person at the terminal; nothing where nobody reads it.
pub(crate) fn status(text: &str) {
    if io::stderr().is_terminal() {
        eprintln!("{text}");
    }
}

/// A line on standard error whoever reads it: warnings, and what `--debug` asks for.
pub(crate) fn note(text: &str) {
    eprintln!("{text}");
}

/// Shows a model file coming in, at a terminal: announced with its size, then a bar.
pub(crate) fn show_downloads(app: &App) {
    if !io::stderr().is_terminal() {
        return;
    }
    let bar = OnceLock::<ProgressBar>::new();
    app.on_download(move |progress| {
        let bar = bar.get_or_init(|| {
            let size = progress.total.map(|total| format!(", {}", HumanBytes(total))).unwrap_or_default();
            eprintln!("fetching the model {}{size}", progress.name);
            let bar = ProgressBar::no_length();
            let style = ProgressStyle::with_template("{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        if let Some(total) = progress.total {
            bar.set_length(total);
        }
        bar.set_position(progress.done);
        if Some(progress.done) == progress.total {
            bar.finish_and_clear();
        }
    });
}

/// Rows as columns, aligned, without a frame.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let pad = width.saturating_sub(cell.chars().count()) + 2;
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', pad));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_steered_by_an_answer() {
        assert_eq!(without_controls("a\u{1b}]52;c;eA==\u{7}b\r\u{8}\u{9b}2Jc\n\td é"), "a]52;c;eA==b2Jc\n\td é");
        assert!(matches!(without_controls("plain\n"), Cow::Borrowed(_)));
    }
}
