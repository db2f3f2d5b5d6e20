//! `explain`: the plan of a request, and why; nothing is sent. With a request's id, what happened to it, as the server tells that answered it.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use llm_router::Error;
use llm_router::config::ServerSettings;
use llm_router::ids::RequestId;
use llm_router::pricing::dollars;
use llm_router::provider::http::{HttpRequest, Limits};
use llm_router::request::{Request, Resume};
use llm_router::router::explain::Explained;
use llm_router::router::resolve::Door;
use llm_router::secret::Secret;
use llm_router::trace::{Attempt, Trace};
use llm_router_app::App;
use serde_json::{Value, json};

use crate::args::{Explain, Global};
use crate::output::{self, Failure, Outcome};
use crate::prompt;

/// The longest that a server may take to say what it knows.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest record.
const LARGEST: u64 = 4 << 20;
/// The longest key, narrower ones included.
const LONGEST_KEY: u64 = 8 << 10;

pub(crate) async fn run(app: &App, global: &Global, args: &Explain) -> Outcome {
    if let Some(id) = args.text.as_deref().and_then(id_in) {
        return happened(app, global, &id?, args).await;
    }
    let of_a_record = [("--server", args.server.is_some()), ("--key-file", args.key_file.is_some())];
    if let Some((option, _)) = of_a_record.into_iter().find(|(_, given)| *given) {
        let hint =
            "give the id of a request that the server answered, req_…; a plan is made here, and no server is asked";
        return Err(Failure::usage(format!("{option}: no id of a request is given"), hint));
    }
    let mut request = Request::new(args.text.as_ref().or(args.prompt.as_ref()).cloned().unwrap_or_default());
    prompt::apply(&args.request, &mut request)?;
    let targets = app.router.explained(&request, Door::Command).await?;
    if global.json {
        return output::print_json(&json!({ "targets": targets }));
    }
    let mut place = 0;
    let rows: Vec<Vec<String>> = targets
        .iter()
        .map(|target| {
            let number = if target.planned {
                place += 1;
                place.to_string()
            } else {
                "-".to_owned()
            };
            let model = target.model.clone().unwrap_or_else(|| "-".to_owned());
            vec![number, target.provider.clone(), model, why(target)]
        })
        .collect();
    output::print(&output::table(&rows))
}

/// Everything that is said of a target in one line.
fn why(target: &Explained) -> String {
    let free = |price: &&llm_router::router::explain::Dollars| price.input == "$0.00" && price.output == "$0.00";
    let price = target.price.as_ref().filter(|price| !free(price));
    let price = price.map(|price| format!("{} and {} for a million tokens", price.input, price.output));
    let said = [Some(target.reason.clone()), target.score.clone(), price.filter(|_| target.planned)];
    said.into_iter().flatten().chain(target.breakers.iter().cloned()).collect::<Vec<_>>().join("; ")
}

/// The id that a text is, or is meant to be: those that the router makes begin alike, and no prompt of one word does.
fn id_in(text: &str) -> Option<Outcome<RequestId>> {
    let text = text.trim();
    let made = text.strip_prefix("req_").filter(|made| !made.contains(char::is_whitespace))?;
    let made = made.len() == 26 && made.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let id = RequestId::parse(text).ok().filter(|_| made);
    let short: String = text.chars().take(64).collect();
    Some(id.ok_or_else(|| {
        let hint = "an id is req_ and 26 letters and digits, as in the header x-request-id; for a prompt of this one word say --prompt";
        Failure::usage(format!("{short:?} is no id of a request"), hint)
    }))
}

async fn happened(app: &App, global: &Global, id: &RequestId, args: &Explain) -> Outcome {
    let settings = &app.router.settings().server;
    let at = args.server.as_deref().map_or_else(|| address(settings), |url| url.trim_end_matches('/').to_owned());
    let limits = Limits { connect: PATIENCE, head: Some(PATIENCE), idle: Some(PATIENCE), body: LARGEST };
    let mut request = HttpRequest::get(&format!("{at}/api/v0/ai/llm/requests/{id}"))?.with_limits(limits);
    let own = settings.api_keys.iter().filter(|key| key.admin).find_map(|key| key.key.at_hand());
    let shown = args.key_file.as_deref().map(key_in).transpose()?;
    if let Some(key) = shown.as_ref().or(own) {
        request = request.with_secret(http::header::AUTHORIZATION, &format!("Bearer {}", key.expose()))?;
    }
    let answer = app.router.deps().http.send(&request).await.map_err(|error| {
        Error::unavailable(format!("no server answers at {at}: {error}"))
            .with_hint("start one with `llm-router serve`, or say where it is: --server URL")
    })?;
    let good = answer.status.is_success();
    let body: Value = serde_json::from_slice(&answer.body.bytes().await?).unwrap_or_default();
    if !good {
        let said = body["detail"].as_str().unwrap_or("it is no router that knows requests");
        let hint = "a server keeps the records of its last few hundred requests: of its own for each key, of all for an admin key (`--key-file`)";
        return Err(Failure::Failed(Error::invalid(format!("{at}: {said}")).with_hint(hint)));
    }
    if global.json {
        return output::print_json(&body);
    }
    let trace: Trace =
        serde_json::from_value(body).map_err(|error| Error::invalid(format!("{at}: this is no record: {error}")))?;
    output::print(&output::table(&told(&trace)))
}

/// The key in a file: on a command line others would see it.
pub(super) fn key_in(file: &Path) -> Outcome<Secret> {
    let (input, what): (Box<dyn Read>, _) = if file == Path::new("-") {
        (Box::new(std::io::stdin()), "standard input".to_owned())
    } else {
        let what = format!("--key-file {}", file.display());
        let open = File::open(file).map_err(|error| {
            Failure::usage(format!("{what}: {error}"), "name a file that holds the key, or - for standard input")
        });
        (Box::new(open?), what)
    };
    let mut text = String::new();
    input.take(LONGEST_KEY + 1).read_to_string(&mut text).map_err(|error| Failure::io(&what, &error))?;
    let key = text.trim();
    if key.is_empty() || text.len() as u64 > LONGEST_KEY {
        return Err(Failure::usage(format!("no key in {what}"), "it holds the key and nothing else"));
    }
    Ok(Secret::new(key))
}

/// Where the server of this configuration listens: at administration's address, where it has one.
fn address(settings: &ServerSettings) -> String {
    if let Some(admin) = &settings.admin {
        return format!("http://{admin}");
    }
    let scheme = if settings.tls_cert.is_some() { "https" } else { "http" };
    let host = match settings.host.as_str() {
        "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        host if host.contains(':') && !host.starts_with('[') => format!("[{host}]"),
        host => host.to_owned(),
    };
    format!("{scheme}://{host}:{}", settings.port)
}

/// A record as rows: who was considered, what was tried, how it ended.
fn told(trace: &Trace) -> Vec<Vec<String>> {
    let name = |provider: &str, model: Option<String>, key: Option<u32>| {
        let model = model.map(|model| format!("/{model}")).unwrap_or_default();
        let key = key.map(|key| format!(" (key {key})")).unwrap_or_default();
        format!("{provider}{model}{key}")
    };
    let took = |took: Option<Duration>| took.map(|took| format!("{:.3} s", took.as_secs_f64())).unwrap_or_default();
    let mut rows = Vec::new();
    for candidate in &trace.candidates {
        let word = if candidate.planned { "planned" } else { "left out" };
        let who = name(candidate.provider.as_str(), candidate.model.as_ref().map(ToString::to_string), candidate.key);
        rows.push(vec![word.to_owned(), who, String::new(), candidate.reason.clone()]);
    }
    let tried = |word: &str, attempt: &Attempt| {
        let who = name(attempt.provider.as_str(), attempt.model.as_ref().map(ToString::to_string), attempt.key);
        let how = attempt.error.as_ref().map(|error| format!("{}: {}", error.kind(), error.message()));
        vec![word.to_owned(), who, took(attempt.took), how.unwrap_or_else(|| "answered".to_owned())]
    };
    rows.extend(trace.held.iter().map(|held| tried("held", held)));
    rows.extend(trace.attempts.iter().map(|attempt| tried("asked", attempt)));
    for attempt in &trace.given_up {
        let who = name(attempt.provider.as_str(), attempt.model.as_ref().map(ToString::to_string), attempt.key);
        rows.push(vec!["given up".to_owned(), who, took(attempt.took), "before its first content".to_owned()]);
    }
    for hedge in &trace.hedges {
        let who = name(hedge.provider.as_str(), hedge.model.as_ref().map(ToString::to_string), hedge.key);
        rows.push(vec![
            "beside".to_owned(),
            who,
            took(hedge.after),
            format!("{} was late: {}", hedge.beside, hedge.outcome),
        ]);
    }
    if let Some(served) = &trace.served {
        let who = name(served.provider.as_str(), served.model.as_ref().map(ToString::to_string), None);
        let instead = served.substituted.as_ref().map(|meant| format!("in place of {meant}")).unwrap_or_default();
        rows.push(vec!["served".to_owned(), who, took(trace.first_content), instead]);
    }
    for by in &trace.resumed {
        let how = if by.how == Resume::Restart { "from the beginning" } else { "with its beginning" };
        let after = format!("{how}, after {} bytes", by.after);
        rows.push(vec!["resumed".to_owned(), by.target(), String::new(), after]);
    }
    if let Some(error) = &trace.error {
        rows.push(vec!["error".to_owned(), String::new(), took(trace.total), format!("{}: {error}", error.kind())]);
    }
    let mut said = |what: &str, value: String| rows.push(vec![what.to_owned(), value, String::new(), String::new()]);
    trace.client.iter().for_each(|name| said("asked by", format!("the key {name}")));
    said("cache", trace.cache.as_str().to_owned());
    trace.key.iter().for_each(|key| said("key", key.clone()));
    trace.dropped.iter().for_each(|field| said("dropped", field.0.clone()));
    if let Some(usage) = &trace.usage {
        said("tokens", format!("{} in, {} out", usage.input, usage.output));
    }
    if let Some(micros) = trace.cost() {
        said("cost", dollars(micros));
    }
    said("total", took(trace.total));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_told_from_a_prompt() {
        assert!(matches!(id_in("req_01m843hshfnj0fnadm16tgw3ef"), Some(Ok(_))));
        for slip in ["req_", "req_01m843", "req_01m843hshfnj0fnadm16tgw3ef?", "req_01m843hshfnj0fnadm16tgw3ef0"] {
            assert!(matches!(id_in(slip), Some(Err(Failure::Usage(_)))), "{slip}");
        }
        for prompt in ["what is req_01m843hshfnj0fnadm16tgw3ef", "req_1 and req_2", "hi", ""] {
            assert!(id_in(prompt).is_none(), "{prompt}");
        }
    }

    #[test]
    fn the_server_of_a_configuration_is_asked_where_it_listens() {
        let mut settings = ServerSettings::default();
        assert_eq!(address(&settings), "http://127.0.0.1:8000");
        (settings.host, settings.port) = ("::".into(), 9000);
        assert_eq!(address(&settings), "http://[::1]:9000");
        settings.admin = Some("127.0.0.1:8001".into());
        assert_eq!(address(&settings), "http://127.0.0.1:8001");
    }
}
