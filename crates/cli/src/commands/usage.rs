//! `usage`: what was used and what it cost, as the books in the state store say: of servers, commands and libraries of this user.

use llm_router::books::{By, Query, Report, Tally};
use llm_router::pricing::dollars;
use llm_router_app::App;
use serde_json::to_value;

use crate::args::{Global, Usage};
use crate::output::{self, Failure, Outcome};

pub(crate) async fn run(app: &App, global: &Global, args: &Usage) -> Outcome {
    let none = || Failure::usage("there is no state folder that usage is kept in", "set HOME or XDG_DATA_HOME");
    let books = app.router.deps().books.as_ref().ok_or_else(none)?;
    let query = Query::parse(books.today(), Some(&args.by), args.since.as_deref(), args.until.as_deref());
    let report = books.report(&query.map_err(Failure::Usage)?.of_keys(args.key.as_deref())).await?;
    if global.json {
        let report = to_value(&report).map_err(|error| llm_router::Error::internal(error.to_string()))?;
        return output::print_json(&report);
    }
    output::print(&output::table(&table(&report)))
}

fn table(report: &Report) -> Vec<Vec<String>> {
    let head = ["requests", "failed", "cached", "input", "output", "cost"].map(str::to_owned);
    let names = |by: &By| by.name().to_owned();
    let mut rows = vec![report.by.iter().map(names).chain(head).collect::<Vec<_>>()];
    for row in &report.rows {
        let name = |by: &By| row.name(*by).filter(|name| !name.is_empty()).unwrap_or("-").to_owned();
        rows.push(report.by.iter().map(name).chain(counts(&row.tally)).collect());
    }
    let total = (0..report.by.len()).map(|at| if at == 0 { "total".to_owned() } else { String::new() });
    rows.push(total.chain(counts(&report.total)).collect());
    rows
}

fn counts(tally: &Tally) -> [String; 6] {
    let cost = match (tally.cost_micros, tally.unpriced) {
        (micros, 0) => dollars(micros),
        // A sum of which parts are not known is not the sum.
        (micros, unpriced) => format!("{} and {unpriced} of unknown price", dollars(micros)),
    };
    let cached = (tally.cached + tally.coalesced).to_string();
    let tokens = [tally.input_tokens, tally.output_tokens].map(|count| count.to_string());
    let [input, output] = tokens;
    [tally.requests.to_string(), tally.failed.to_string(), cached, input, output, cost]
}
