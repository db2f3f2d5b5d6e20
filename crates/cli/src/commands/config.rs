//! `config`: what is set, where it comes from, and everything that is wrong with it; and other routers' configurations as one of ours (`../litellm.rs`).

use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use llm_router::Error;
use llm_router::config::{Environment, Flags, Settings};
use serde_json::json;

use crate::args::{Config, Global};
use crate::litellm::{self, Note};
use crate::output::{self, Failure, Outcome};
use crate::prompt;

pub(crate) fn run(environment: &Environment, global: &Global, args: &Config) -> Outcome {
    if let Config::Import { file, output, .. } = args {
        return import(global, file, output.as_deref());
    }
    let file = match args {
        Config::Check { file: Some(file) } => Some(file),
        _ => global.config.as_ref(),
    };
    let flags = file.map_or_else(Flags::new, |file| Flags::new().config(file));
    let loaded = match Settings::load(environment, &flags) {
        Ok(loaded) => loaded,
        Err(problems) if global.json => {
            let error = Error::from(problems.clone());
            let mut body = output::error_json(&error);
            body["problems"] = serde_json::to_value(&problems).unwrap_or_default();
            output::print_json(&body)?;
            return Err(Failure::Said(2));
        }
        // All of them, whatever their number: this is the command that people are sent to.
        Err(problems) => {
            problems.0.iter().for_each(|problem| output::note(&format!("error: {problem}")));
            return Err(Failure::Said(2));
        }
    };
    match args {
        Config::Show { .. } if global.json => output::print_json(&loaded.to_json()),
        Config::Show { origin } => output::print(&loaded.show(*origin)),
        Config::Import { .. } => Ok(()),
        Config::Check { .. } => {
            if global.json {
                return output::print_json(&json!({ "ok": true, "file": loaded.file, "warnings": loaded.warnings }));
            }
            loaded.warnings.iter().for_each(|warning| output::note(&format!("warning: {warning}")));
            let file =
                loaded.file.as_ref().map_or("no file; environment".to_owned(), |file| file.display().to_string());
            output::print(&format!("ok: {file}\n"))
        }
    }
}

/// Converts a file. The configuration goes to standard output or to a file that only its owner may read: it may hold keys.
fn import(global: &Global, file: &Path, output: Option<&Path>) -> Outcome {
    let text = prompt::read_text(file)?;
    let shown = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
    if text.len() as u64 > litellm::LARGEST {
        let why = format!("{shown} is larger than {} bytes", litellm::LARGEST);
        return Err(Failure::usage(why, "give the router's own configuration"));
    }
    let converted = litellm::convert(&text).map_err(|why| {
        Failure::usage(
            format!("{shown} is no configuration of LiteLLM's: {why}"),
            "give the file of `litellm --config`",
        )
    })?;
    let from = if file == Path::new("-") { shown.clone() } else { format!("{:?}", file_name(file)) };
    let heading = format!("# Made from LiteLLM's {from} by `llm-router config import litellm`.\n\n");
    if let Some(output) = output {
        write_new(output, &format!("{heading}{}", converted.toml))?;
    }
    if global.json {
        return output::print_json(&json!({ "file": output, "toml": converted.toml, "notes": converted.notes }));
    }
    for Note { line, key, why } in &converted.notes {
        output::note(&format!("{shown}:{line}: {key}: {why}"));
    }
    match output {
        Some(output) => {
            output::note(&format!("look at it with `llm-router config check {}`", output.display()));
            Ok(())
        }
        None => output::print(&format!("{heading}{}", converted.toml)),
    }
}

fn file_name(file: &Path) -> String {
    file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Writes a file that was not there. A configuration that somebody wrote is not replaced.
fn write_new(file: &Path, text: &str) -> Outcome {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let what = format!("cannot write {}", file.display());
    let mut out = options.open(file).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::Failed(
            Error::invalid(format!("{what}: there is such a file"))
                .with_hint("name another one with -o, or move that one away: a configuration is never written over"),
        ),
        _ => Failure::io(&what, &error),
    })?;
    out.write_all(text.as_bytes()).map_err(|error| Failure::io(&what, &error))
}
