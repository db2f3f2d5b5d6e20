//! What the program says of its own work, on standard error: a line for each event of the libraries, without colours and without secrets.
//!
//! Warnings are always said; `--debug` adds what the crates of this project do; `IPFS_LLM_ROUTER_LOG` says it exactly. Answers and errors are no events: they are
//! `output.rs`'s business.
#![allow(clippy::print_stderr)]

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use llm_router::Error;
use llm_router::config::Environment;
use llm_router::secret::mask;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

use crate::output::{Failure, Outcome};

/// The crates whose work `--debug` shows, by the beginnings of their names.
const OURS: [&str; 2] = ["llm_router", "llama_cpp"];

/// The MCP SDK tells what is said through it in events of every level but the last. Nobody's prompt goes into a log, whatever the log is asked for.
const TELLS_CONTENT: &str = "rmcp";

/// The longest line: an event may repeat what an upstream said.
const LONGEST: usize = 4000;

/// Has events written from here on.
pub(crate) fn install(debug: bool, environment: &Environment) -> Outcome {
    let filter = match environment.log() {
        Some(text) => text.parse::<Targets>().map_err(|error| {
            let what = Error::invalid(format!("IPFS_LLM_ROUTER_LOG is {text:?}: {error}"));
            Failure::Usage(
                what.with_hint("write off, error, warn, info, debug, trace, or TARGET=LEVEL with commas between"),
            )
        })?,
        None => {
            let level = if debug { Level::DEBUG } else { Level::WARN };
            let others = Targets::new().with_default(Level::WARN);
            OURS.into_iter().fold(others, |filter, name| filter.with_target(name, level))
        }
    };
    // Set already only where two programs share a process, and then the first one's word holds.
    let _ = tracing::subscriber::set_global_default(Registry::default().with(Lines.with_filter(filter)));
    Ok(())
}

/// The most lines that are kept for later.
const HELD: usize = 200;

/// The lines of a time in which the terminal is somebody else's.
static LATER: Mutex<Option<Vec<String>>> = Mutex::new(None);

fn held() -> MutexGuard<'static, Option<Vec<String>>> {
    LATER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While it lives nothing is written to a terminal; what was to be said is said at its end.
pub(crate) struct Held(());

/// Has a program that draws on the terminal have it for itself.
pub(crate) fn hold() -> Held {
    if io::stderr().is_terminal() {
        *held() = Some(Vec::new());
    }
    Held(())
}

impl Drop for Held {
    fn drop(&mut self) {
        let lines = held().take().unwrap_or_default();
        let _ = io::stderr().lock().write_all(lines.concat().as_bytes());
    }
}

/// Writes each event as a line.
struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if tells_content(*event.metadata().level(), event.metadata().target()) {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let line = line(*event.metadata().level(), event.metadata().target(), &text);
        if let Some(lines) = &mut *held() {
            lines.truncate(HELD - 1);
            return lines.push(line);
        }
        // Where nobody can read it there is nobody to tell.
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }
}

fn tells_content(level: Level, target: &str) -> bool {
    let inside = target.strip_prefix(TELLS_CONTENT).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    inside && level > Level::ERROR
}

/// An event's message and its fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a text does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

fn line(level: Level, target: &str, text: &Text) -> String {
    let level = match level {
        Level::ERROR => "error: ".to_owned(),
        Level::WARN => "warning: ".to_owned(),
        level => format!("{} {target}: ", level.as_str().to_ascii_lowercase()),
    };
    let whole = format!("{level}{}{}", text.message, text.fields);
    let plain = whole.replace(|c: char| c.is_control(), " ");
    let mut shown: String = mask(&plain).chars().take(LONGEST).collect();
    shown.push('\n');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_that_tells_what_is_said_is_heard_only_when_it_breaks() {
        for level in [Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE] {
            assert!(tells_content(level, "rmcp::service") && tells_content(level, "rmcp"));
            assert!(!tells_content(level, "llm_router_server::mcp") && !tells_content(level, "rmcp_like"));
        }
        assert!(!tells_content(Level::ERROR, "rmcp::service"));
    }

    #[test]
    fn an_event_is_one_plain_line_without_keys() {
        let text = Text { message: "no\u{1b}[31m\nluck".to_owned(), fields: " key=sk-0123456789abcdef".to_owned() };
        assert_eq!(line(Level::WARN, "llm_router::x", &text), "warning: no [31m luck key=sk-…\n");
        assert!(line(Level::DEBUG, "llm_router::x", &text).starts_with("debug llm_router::x: no"));
        let long = Text { message: "x".repeat(2 * LONGEST), fields: String::new() };
        assert_eq!(line(Level::ERROR, "t", &long).len(), LONGEST + 1);
    }
}
