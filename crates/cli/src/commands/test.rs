//! `test`: asks providers for a word.

use std::time::{Duration, Instant};

use llm_router::ids::ProviderId;
use llm_router::request::Request;
use llm_router::router::Op;
use llm_router::router::resolve::Door;
use llm_router::{Error, ErrorKind};
use llm_router_app::App;
use serde_json::json;

use crate::args::{Global, Test};
use crate::output::{self, Failure, Outcome};

pub(crate) async fn run(app: &App, global: &Global, args: &Test) -> Outcome {
    let ids = match &args.provider {
        Some(id) => vec![ProviderId::new(id).map_err(Failure::Usage)?],
        None => {
            let ready = app.router.entries().iter().filter(|entry| entry.provider.availability().is_ready());
            ready.map(|entry| entry.id.clone()).collect()
        }
    };
    let timeout = Duration::try_from_secs_f64(args.timeout)
        .map_err(|_| Failure::usage("--timeout is not a time", "give seconds, more than 0"))?;
    let mut results = Vec::new();
    for id in &ids {
        output::status(&format!("{id} …"));
        let mut request = Request::new("Reply with the single word: pong");
        request.provider = Some(id.clone());
        request.sampling.max_tokens = Some(16);
        request.cache.enabled = Some(false);
        request.timeout = Some(timeout);
        let began = Instant::now();
        let outcome = match app.router.call(Op::new(request, Door::Command)).await {
            Ok(answer) => answer.collect().await,
            Err(error) => Err(error),
        };
        // A server that was only guessed and is not there is nobody's failure.
        if args.provider.is_none() && guessed(app, id) && outcome.as_ref().is_err_and(is_absent) {
            continue;
        }
        results.push((id, began.elapsed(), outcome));
    }
    let failed = results.iter().filter(|(_, _, outcome)| outcome.is_err()).count();
    if global.json {
        let results: Vec<_> = results
            .iter()
            .map(|(id, took, outcome)| {
                json!({
                    "provider": id,
                    "ok": outcome.is_ok(),
                    "seconds": took.as_secs_f64(),
                    "text": outcome.as_ref().ok().map(|response| response.text()),
                    "error": outcome.as_ref().err().map(|error| output::error_json(error)["error"].clone()),
                })
            })
            .collect();
        output::print_json(&json!({ "results": results }))?;
    } else {
        let rows: Vec<Vec<String>> = results
            .iter()
            .map(|(id, took, outcome)| {
                let (word, text) = match outcome {
                    Ok(response) => ("ok", first_line(&response.text())),
                    Err(error) => ("failed", error.message().to_owned()),
                };
                vec![id.to_string(), word.to_owned(), format!("{:.2} s", took.as_secs_f64()), text]
            })
            .collect();
        output::print(&output::table(&rows))?;
    }
    if failed > 0 || results.is_empty() { Err(Failure::Said(1)) } else { Ok(()) }
}

fn guessed(app: &App, id: &ProviderId) -> bool {
    app.router.entries().iter().any(|entry| entry.id == *id && entry.provider.describe().guess)
}

fn is_absent(error: &Error) -> bool {
    error.kind() == ErrorKind::ProviderUnavailable
}

fn first_line(text: &str) -> String {
    text.trim().lines().next().unwrap_or_default().chars().take(60).collect()
}
