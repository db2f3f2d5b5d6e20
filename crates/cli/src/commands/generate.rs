//! `generate`: a prompt in, text out, as it comes.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use llm_router::Error;
use llm_router::delta::{Delta, FinishReason, Part};
use llm_router::response::{Folder, Response};
use llm_router::router::resolve::Door;
use llm_router::router::{Answer, Op};
use llm_router::trace::{CacheStatus, Trace};
use llm_router_app::App;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::args::{Generate, Global};
use crate::output::{self, Failure, Outcome};
use crate::prompt;

pub(crate) async fn run(app: &App, global: &Global, args: &Generate) -> Outcome {
    // On a thread of its own: a pipe that stays open must not keep Ctrl-C from being heard.
    let typed = args.clone();
    let reading = tokio::task::spawn_blocking(move || prompt::of_generate(&typed));
    let mut request = reading.await.map_err(|error| llm_router::Error::internal(error.to_string()))??;
    request.stream = !(args.no_stream || global.json);
    // Opened first: an answer that cannot be written should not be paid for.
    let file = args.output.as_deref().map(OutputFile::create).transpose()?;
    if let Ok((plan, _)) = app.router.explain(&request, Door::Command).await {
        app.fetch_before(&plan).await;
    }
    let answer = app.router.call(Op::new(request.clone(), Door::Command)).await?;
    if global.debug {
        output::note(&trace_text(&answer.trace()));
    }
    let mut sink = match (file, request.stream) {
        (Some(file), _) => Sink::File(file),
        (None, true) => Sink::Terminal { wrote: false, newline: true },
        (None, false) => Sink::Nothing,
    };
    let (response, trace) = copy(answer, &mut sink).await?;
    match &mut sink {
        Sink::Nothing if !global.json => output::print_answer(&with_newline(response.text()))?,
        Sink::Terminal { newline: false, .. } => output::print("\n")?,
        _ => {}
    }
    if let Sink::File(file) = sink {
        file.land(response.text().ends_with('\n'))?;
    }
    if global.json {
        return output::print_json(&result_json(&response, &trace));
    }
    after_words(&response, &trace);
    Ok(())
}

/// Copies the text of the first choice to the sink as it comes.
async fn copy(mut answer: Answer, sink: &mut Sink) -> Outcome<(Response, Trace)> {
    let mut folder = Folder::default();
    while let Some(event) = answer.next().await {
        let event = event.map_err(|error| sink.cut(error))?;
        for delta in &event.deltas {
            folder.push(delta);
            if let Delta::BlockDelta { choice: 0, part: Part::Text(text), block } = delta
                && folder.is_text(0, *block)
            {
                sink.write(text)?;
            }
        }
    }
    Ok((folder.finish()?, answer.trace()))
}

/// What a person at the terminal should know once the text is there.
fn after_words(response: &Response, trace: &Trace) {
    let Some(choice) = response.choices.first() else { return };
    match choice.finish {
        FinishReason::Length => {
            output::status("hint: the answer was cut at the token limit; allow more with --max-tokens")
        }
        FinishReason::ContentFilter => output::status("hint: the provider's content filter cut the answer"),
        FinishReason::ToolCalls => output::status("hint: the model wants to call a tool; see it with --json"),
        _ => {}
    }
    if let Some(served) = &trace.served
        && let Some(asked) = &served.substituted
    {
        let model = served.model.as_ref().map(|model| format!("/{model}")).unwrap_or_default();
        output::note(&format!("note: {}{model} answered instead of {asked}", served.provider));
    }
    if let Some(peer) = trace.attempts.last().filter(|last| last.error.is_none()).and_then(|last| last.peer.as_ref()) {
        output::note(&format!("note: the peer {peer} answered"));
    }
}

/// The one object of `--json`.
pub(crate) fn result_json(response: &Response, trace: &Trace) -> Value {
    let served = trace.served.as_ref();
    let choice = response.choices.first();
    json!({
        "text": response.text(),
        "provider": served.map(|served| &served.provider),
        "model": served.and_then(|served| served.model.as_ref()).map(ToString::to_string).unwrap_or(response.model.clone()),
        "cached": trace.cache == CacheStatus::Hit,
        "cache": trace.cache,
        "key": trace.key,
        "finish": choice.map(|choice| choice.finish),
        "usage": response.usage,
        "substituted": served.and_then(|served| served.substituted.clone()),
        "attempts": trace.attempts,
        "dropped": trace.dropped,
        "request_id": trace.id,
        "first_content": trace.first_content.map(|took| took.as_secs_f64()),
        "total": trace.total.map(|took| took.as_secs_f64()),
        "response": response,
    })
}

/// The trace as lines for `--debug`.
fn trace_text(trace: &Trace) -> String {
    let mut lines = vec![format!("request {}", trace.id)];
    for candidate in &trace.candidates {
        let mark = if candidate.planned { "+" } else { "-" };
        let model = candidate.model.as_ref().map(|model| format!("/{model}")).unwrap_or_default();
        lines.push(format!("  {mark} {}{model}: {}", candidate.provider, candidate.reason));
    }
    for attempt in &trace.attempts {
        let took = attempt.took.map(|took| took.as_millis()).unwrap_or_default();
        let outcome = attempt.error.as_ref().map_or("answered".to_owned(), |error| format!("failed: {error}"));
        let peer = attempt.peer.as_ref().map(|peer| format!(" by the peer {peer}")).unwrap_or_default();
        lines.push(format!("  tried {}{peer} for {took} ms: {outcome}", attempt.provider));
    }
    lines.push(format!(
        "  cache {}{}",
        trace.cache.as_str(),
        trace.key.as_ref().map(|key| format!(" {key}")).unwrap_or_default()
    ));
    lines.join("\n")
}

fn with_newline(mut text: String) -> String {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Where the text goes.
enum Sink {
    Terminal { wrote: bool, newline: bool },
    File(OutputFile),
    Nothing,
}

impl Sink {
    fn write(&mut self, text: &str) -> Outcome {
        match self {
            Self::Terminal { wrote, newline } => {
                *wrote = true;
                *newline = text.ends_with('\n');
                output::print_answer(text)
            }
            Self::File(file) => file.write(text),
            Self::Nothing => Ok(()),
        }
    }

    /// The answer broke: what stands on the terminal ends with its line, and nobody takes it for a whole answer.
    fn cut(&mut self, error: Error) -> Error {
        let hint = match self {
            Self::Terminal { wrote: true, newline } => {
                if !*newline {
                    output::status("");
                }
                "the answer is cut: what stands on standard output is its beginning"
            }
            Self::File(_) => "the answer was cut, so nothing was written to the file",
            _ => return error,
        };
        if error.hint().is_some() { error } else { error.with_hint(hint) }
    }
}

/// A file that is there whole or not at all; a device or a pipe, which cannot be renamed over, is written as the text comes.
enum OutputFile {
    Atomic { temporary: NamedTempFile, path: PathBuf },
    Direct { file: fs::File, path: PathBuf },
}

impl OutputFile {
    fn create(path: &Path) -> Outcome<Self> {
        let cannot = |error: &io::Error| Failure::io(&format!("cannot write {}", path.display()), error);
        match fs::metadata(path) {
            Ok(there) if there.is_dir() => {
                return Err(Failure::usage(format!("{} is a folder", path.display()), "name a file"));
            }
            Ok(there) if !there.is_file() => {
                let file = fs::OpenOptions::new().write(true).open(path).map_err(|error| cannot(&error))?;
                return Ok(Self::Direct { file, path: path.to_owned() });
            }
            _ => {}
        }
        // Renaming over a symbolic link would cut it off from what it names.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // Asked of the folder itself: the temporary file's name would only puzzle.
        rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).map_err(|error| cannot(&error.into()))?;
        let temporary =
            tempfile::Builder::new().prefix(".llm-router-").tempfile_in(folder).map_err(|error| cannot(&error))?;
        Ok(Self::Atomic { temporary, path })
    }

    fn failed(&self, error: &io::Error) -> Failure {
        let (Self::Atomic { path, .. } | Self::Direct { path, .. }) = self;
        Failure::io(&format!("cannot write {}", path.display()), error)
    }

    fn write(&mut self, text: &str) -> Outcome {
        let written = match self {
            Self::Atomic { temporary, .. } => temporary.write_all(text.as_bytes()),
            Self::Direct { file, .. } => file.write_all(text.as_bytes()),
        };
        written.map_err(|error| self.failed(&error))
    }

    fn land(mut self, ends_line: bool) -> Outcome {
        if !ends_line {
            self.write("\n")?;
        }
        let Self::Atomic { temporary, path } = self else { return Ok(()) };
        let failed = |error: io::Error| Failure::io(&format!("cannot write {}", path.display()), &error);
        temporary.as_file().sync_all().map_err(failed)?;
        if let Ok(metadata) = fs::metadata(&path) {
            // An existing file keeps its permissions; a new one gets what the shell would give it.
            fs::set_permissions(temporary.path(), metadata.permissions()).map_err(failed)?;
        } else {
            set_default_mode(temporary.path()).map_err(failed)?;
        }
        temporary.persist(&path).map(drop).map_err(|error| failed(error.error))
    }
}

/// Temporary files are born private; an answer is an ordinary file.
fn set_default_mode(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mask);
    fs::set_permissions(path, fs::Permissions::from_mode(0o666 & !mask.bits()))
}
