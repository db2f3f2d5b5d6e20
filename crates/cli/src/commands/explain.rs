//! `explain`: the plan of a request, and why. Nothing is sent.

use llm_router::pricing::dollars;
use llm_router::provider::Availability;
use llm_router::request::Request;
use llm_router::router::breaker::State;
use llm_router::router::resolve::Door;
use llm_router::trace::Candidate;
use llm_router_app::App;
use serde_json::json;

use crate::args::{Explain, Global};
use crate::output::{self, Outcome};
use crate::prompt;

pub(crate) async fn run(app: &App, global: &Global, args: &Explain) -> Outcome {
    let mut request = Request::new(args.text.as_ref().or(args.prompt.as_ref()).cloned().unwrap_or_default());
    prompt::apply(&args.request, &mut request)?;
    let (plan, keys) = app.router.explain(&request, Door::Command).await?;
    let key_of = |provider: &str, model: Option<&str>| {
        let same = |target: &llm_router::provider::Target| {
            target.provider == provider && target.model.as_ref().map(|model| model.as_str()) == model
        };
        let at = plan.targets.iter().position(|planned| same(&planned.target))?;
        keys.get(at)?.as_ref().map(|key| key.printed().to_owned())
    };
    // Of a server that is only guessed, nothing is known before it is asked.
    let available = |id: &str| {
        let entry = app.router.entries().iter().find(|entry| entry.id == *id)?;
        match entry.provider.availability() {
            Availability::Ready if entry.provider.describe().guess => None,
            availability => Some(availability.is_ready()),
        }
    };
    let breakers = app.router.breakers();
    let open = |candidate: &Candidate| -> Vec<String> {
        let of = |state: &&State| state.provider == candidate.provider && state.covers(candidate.model.as_ref());
        breakers.iter().filter(of).map(ToString::to_string).collect()
    };
    let prices = &app.router.deps().prices;
    let price = |candidate: &Candidate| {
        prices.of(candidate.provider.as_str(), candidate.model.as_ref().map(|model| model.as_str()))
    };
    if global.json {
        let targets: Vec<_> = plan
            .candidates
            .iter()
            .map(|candidate| {
                let model = candidate.model.as_ref().map(|model| model.as_str());
                json!({
                    "provider": candidate.provider,
                    "model": candidate.model,
                    "planned": candidate.planned,
                    "available": available(candidate.provider.as_str()),
                    "reason": candidate.reason,
                    "breakers": open(candidate),
                    "price": price(candidate),
                    "key": key_of(candidate.provider.as_str(), model),
                })
            })
            .collect();
        return output::print_json(&json!({ "targets": targets }));
    }
    let mut place = 0;
    let rows: Vec<Vec<String>> = plan
        .candidates
        .iter()
        .map(|candidate| {
            let number = if candidate.planned {
                place += 1;
                place.to_string()
            } else {
                "-".to_owned()
            };
            let model = candidate.model.as_ref().map_or("-".to_owned(), ToString::to_string);
            let reason =
                std::iter::once(candidate.reason.clone()).chain(open(candidate)).collect::<Vec<_>>().join("; ");
            let price = price(candidate).map_or("price unknown".to_owned(), |price| {
                format!("{} in, {} out", dollars(price.input), dollars(price.output))
            });
            vec![number, candidate.provider.to_string(), model, price, reason]
        })
        .collect();
    output::print(&output::table(&rows))
}
