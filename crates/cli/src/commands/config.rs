//! `config`: what is set, where it comes from, and everything that is wrong with it.

use llm_router::Error;
use llm_router::config::{Environment, Flags, Settings};
use serde_json::json;

use crate::args::{Config, Global};
use crate::output::{self, Failure, Outcome};

pub(crate) fn run(environment: &Environment, global: &Global, args: &Config) -> Outcome {
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
