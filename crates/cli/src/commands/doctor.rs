//! `doctor`: what is missing, and the next step for each. It looks; it asks nobody and starts nothing.

use std::path::Path;

use llm_router::ids::ProviderId;
use llm_router::provider::Availability;
use llm_router::provider::process::Template;
use llm_router_app::App;
use rustix::fs::Access;
use serde_json::json;

use crate::args::{Doctor, Global};
use crate::output::{self, Outcome};

/// One thing looked at.
struct Finding {
    what: String,
    ok: bool,
    detail: String,
    hint: Option<String>,
}

pub(crate) async fn run(app: &App, global: &Global, args: &Doctor) -> Outcome {
    if args.refresh {
        app.forget_refusals().await?;
    }
    let mut findings = machine(app);
    findings.extend(providers(app).await);
    findings.extend(commands(app));
    findings.extend(invited(app).await);
    if global.json {
        let body: Vec<_> = findings
            .iter()
            .map(|finding| json!({ "what": finding.what, "ok": finding.ok, "detail": finding.detail, "hint": finding.hint }))
            .collect();
        return output::print_json(&json!({ "findings": body }));
    }
    let mut text = String::new();
    for finding in &findings {
        let mark = if finding.ok { "ok     " } else { "missing" };
        text.push_str(&format!("{mark}  {}: {}\n", finding.what, finding.detail));
        if let Some(hint) = finding.hint.as_ref().filter(|_| !finding.ok) {
            text.push_str(&format!("         → {hint}\n"));
        }
    }
    output::print(&text)
}

fn machine(app: &App) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |what: &str, ok: bool, detail: String, hint: Option<String>| {
        findings.push(Finding { what: what.to_owned(), ok, detail, hint });
    };
    let file =
        app.loaded.file.as_ref().map_or("none; defaults and environment".to_owned(), |file| file.display().to_string());
    add("configuration", true, file, None);
    for warning in app.warnings() {
        add("configuration", false, warning, Some("`llm-router config show --origin` shows every value".to_owned()));
    }
    for miss in app.environment.near_misses() {
        add(
            &miss.name,
            false,
            "set, but it means nothing here".to_owned(),
            Some(format!("did you mean {}?", miss.meant)),
        );
    }
    for (what, folder) in app.folders() {
        match folder {
            Ok(path) if !writable(&path) => {
                let hint =
                    "make it writable, or name another with XDG_CACHE_HOME, XDG_DATA_HOME or IPFS_KIT_ROUTER_CACHE_DIR";
                add(what, false, format!("{} cannot be written to", path.display()), Some(hint.to_owned()));
            }
            Ok(path) => add(what, true, path.display().to_string(), None),
            Err(error) => add(what, false, error.message().to_owned(), error.hint().map(str::to_owned)),
        }
    }
    match app.check_cpu() {
        Ok(()) => add("processor", true, "has what the embedded engine needs".to_owned(), None),
        Err(error) => add("processor", false, error.message().to_owned(), error.hint().map(str::to_owned)),
    }
    findings
}

/// Whether a folder can be written to, or be made where it is not there yet.
fn writable(folder: &Path) -> bool {
    let nearest = folder.ancestors().find(|folder| folder.symlink_metadata().is_ok());
    let access = Access::WRITE_OK | Access::EXEC_OK;
    nearest.is_some_and(|folder| folder.is_dir() && rustix::fs::access(folder, access).is_ok())
}

/// Command lines that would take a prompt for an option.
fn commands(app: &App) -> Vec<Finding> {
    let providers = app.loaded.settings.providers.iter();
    let lines = providers.filter_map(|(id, settings)| Some((id, Template::parse(settings.command.as_deref()?).ok()?)));
    let exposed = lines.filter(|(_, line)| line.exposes_prompt());
    let finding = |(id, _)| Finding {
        what: format!("command of {id}"),
        ok: false,
        detail:
            "{prompt} follows neither `--` nor an option, so a prompt that begins with `-` is given behind a line end"
                .to_owned(),
        hint: Some("write `-- {prompt}`, or leave {prompt} out: the prompt then goes to standard input".to_owned()),
    };
    exposed.map(finding).collect()
}

async fn providers(app: &App) -> Vec<Finding> {
    let refused = app.refused().await;
    let of = |entry: &llm_router::router::resolve::Entry| {
        let (ok, detail, hint) = match entry.provider.availability() {
            Availability::Ready if refused.contains(&entry.id) => (
                false,
                "its key or login was refused lately, so automatic plans pass it over for ten minutes".to_owned(),
                Some(format!("mend it, then `llm-router doctor --refresh`, or name it: --provider {}", entry.id)),
            ),
            Availability::Ready if entry.provider.describe().guess => {
                (true, "not configured; its default address is tried when its turn comes".to_owned(), None)
            }
            Availability::Ready => (true, "ready".to_owned(), None),
            Availability::Missing { what, hint } => (false, what, Some(hint)),
        };
        Finding { what: entry.id.to_string(), ok, detail, hint }
    };
    app.router.entries().iter().map(of).collect()
}

/// Keys that an agent is to answer and that nobody has.
async fn invited(app: &App) -> Vec<Finding> {
    let settings = app.router.settings();
    let named = settings.providers.iter().flat_map(|(id, own)| own.remote.iter().map(move |key| (id, key)));
    let named: Vec<_> = named.filter(|(_, key)| settings.server.api_keys.iter().all(|own| own.name != **key)).collect();
    let made = match &app.router.deps().keyring {
        // The store is opened for whoever names somebody alone.
        Some(keyring) if !named.is_empty() => keyring.list().await.unwrap_or_default(),
        _ => Vec::new(),
    };
    let holds = |key: &str| made.iter().any(|record| record.id == key && record.spec.revoked.is_none());
    let nobody = |(id, key): (&ProviderId, &String)| Finding {
        what: format!("providers.{id}.remote"),
        ok: false,
        detail: format!("no key that holds has the id {key}"),
        hint: Some("`llm-router keys ls` shows the ids; take out what is not needed any more".to_owned()),
    };
    named.into_iter().filter(|(_, key)| !holds(key)).map(nobody).collect()
}
