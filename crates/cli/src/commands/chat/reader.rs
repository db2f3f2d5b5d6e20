//! Lines from a person at a terminal, with history and editing, or from a pipe, plainly.
//!
//! A line that ends with `\`, or a text between lines of `"""`, goes on over several lines.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use tokio::sync::oneshot;

use crate::output::{Failure, Outcome};

/// The most lines of history kept.
const HISTORY: usize = 1000;

/// What a person did.
pub(super) enum Line {
    Text(String),
    Interrupted,
    End,
}

/// Asks for lines on a thread of its own: waiting for a person must not stop the runtime.
pub(super) struct Reader {
    ask: mpsc::Sender<oneshot::Sender<io::Result<Line>>>,
}

impl Reader {
    /// A reader with editing at a terminal; `plain` is without, as a program wants it.
    pub(super) fn new(history: Option<PathBuf>, plain: bool) -> Self {
        let (ask, asked) = mpsc::channel::<oneshot::Sender<io::Result<Line>>>();
        let mut source = if plain { Source::Pipe } else { Source::open(history) };
        std::thread::spawn(move || {
            for reply in asked {
                // Nobody waits any more: the conversation is over.
                if reply.send(source.next()).is_err() {
                    return;
                }
            }
        });
        Self { ask }
    }

    pub(super) async fn next(&mut self) -> Outcome<Line> {
        let (reply, line) = oneshot::channel();
        if self.ask.send(reply).is_err() {
            return Ok(Line::End);
        }
        match line.await {
            Ok(line) => line.map_err(|error| Failure::io("standard input", &error)),
            Err(_) => Ok(Line::End),
        }
    }
}

enum Source {
    Terminal { editor: Box<DefaultEditor>, history: Option<PathBuf> },
    Pipe,
}

impl Source {
    fn open(history: Option<PathBuf>) -> Self {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Self::Pipe;
        }
        let config =
            rustyline::Config::builder().max_history_size(HISTORY).map(|builder| builder.auto_add_history(true));
        let editor = config.and_then(|builder| DefaultEditor::with_config(builder.build()));
        let Ok(mut editor) = editor else { return Self::Pipe };
        if let Some(path) = &history {
            for line in past(path) {
                // At worst a line cannot be called back.
                let _ = editor.add_history_entry(line);
            }
        }
        Self::Terminal { editor: Box::new(editor), history }
    }

    /// One logical line.
    fn next(&mut self) -> io::Result<Line> {
        let mut text = String::new();
        let mut quoted = false;
        loop {
            let mark = if text.is_empty() && !quoted { "> " } else { "… " };
            let line = match self.line(mark)? {
                Line::Text(line) => line,
                Line::End if text.is_empty() => return Ok(Line::End),
                Line::End => return Ok(Line::Text(text)),
                Line::Interrupted => return Ok(Line::Interrupted),
            };
            let fence = line.trim() == "\"\"\"";
            if fence && quoted {
                return Ok(Line::Text(text));
            }
            if fence {
                quoted = true;
                continue;
            }
            if !text.is_empty() {
                text.push('\n');
            }
            match line.strip_suffix('\\') {
                Some(start) if !quoted => text.push_str(start),
                _ => {
                    text.push_str(&line);
                    if !quoted {
                        return Ok(Line::Text(text));
                    }
                }
            }
        }
    }

    fn line(&mut self, mark: &str) -> io::Result<Line> {
        match self {
            Self::Pipe => {
                let mut line = String::new();
                if io::stdin().lock().read_line(&mut line)? == 0 {
                    return Ok(Line::End);
                }
                let end = line.trim_end_matches(['\r', '\n']).len();
                line.truncate(end);
                Ok(Line::Text(line))
            }
            Self::Terminal { editor, history } => match editor.readline(mark) {
                Ok(line) => {
                    if let Some(path) = history.as_ref().filter(|_| !line.trim().is_empty()) {
                        // A history that cannot be kept is no reason to end a conversation.
                        let _ = remember(path, &line);
                    }
                    Ok(Line::Text(line))
                }
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(ReadlineError::Io(error)) => Err(error),
                Err(other) => Err(io::Error::other(other)),
            },
        }
    }
}

/// The last lines of the history file; a first conversation has none. A file that grew long is cut to what is used of it.
fn past(path: &Path) -> Vec<String> {
    let Ok(text) = std::fs::read_to_string(path) else { return Vec::new() };
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.get(lines.len().saturating_sub(HISTORY)..).unwrap_or_default();
    if lines.len() > 2 * HISTORY {
        let _ = std::fs::write(path, last.join("\n") + "\n");
    }
    last.iter().map(|line| (*line).to_owned()).collect()
}

/// Adds a line to the history file: the person's own, so only they can read it.
fn remember(path: &Path, line: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())
}
