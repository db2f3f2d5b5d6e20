//! `keys`: the keys of the server's clients. They are kept in the state store, which a running server follows; `derive` alone needs neither.

mod fits;

use std::io::Read;
use std::time::{Duration, SystemTime};

use llm_router::Error;
use llm_router::books::Day;
use llm_router::limits::grant::{Caveats, LONGEST, derive};
use llm_router::limits::key::{KeyChange, KeyRecord, KeySpec, Role};
use llm_router::limits::{Keyring, Limits};
use llm_router::pricing::{dollars, parse_dollars};
use llm_router::secret::Secret;
use llm_router_app::App;
use serde_json::{Value, json};

use crate::args::{Global, KeyCreate, KeyDerive, KeyLimits, KeyUpdate, Keys};
use crate::output::{self, Failure, Outcome};

/// Under whose name the log has what is done here.
const BY: &str = "command line";
/// Deeds read at a time.
const PAGE: usize = 500;

pub(crate) async fn run(app: &App, global: &Global, args: &Keys) -> Outcome {
    let keyring = app
        .router
        .deps()
        .keyring
        .as_ref()
        .ok_or_else(|| Failure::usage("there is no state folder to keep keys in", "set HOME or XDG_DATA_HOME"))?;
    match args {
        Keys::Create(args) => create(app, keyring, global, args).await,
        Keys::Update(args) => update(app, keyring, global, args).await,
        Keys::Ls => list(keyring, global).await,
        Keys::Revoke { key } => {
            let record = keyring.revoke(key, BY).await?;
            let name = &record.spec.spec.name;
            if global.json {
                return output::print_json(&json!({ "id": record.id, "name": name, "revoked": true }));
            }
            output::status(&format!("revoked {name}; running servers refuse it within two seconds"));
            Ok(())
        }
        Keys::Prune => prune(keyring, global).await,
        Keys::Log => log(keyring, global).await,
        Keys::Derive(args) => derived(global, args),
    }
}

async fn create(app: &App, keyring: &Keyring, global: &Global, args: &KeyCreate) -> Outcome {
    let mut spec = KeySpec::new(&args.name);
    spec.role = if args.role == "admin" { Role::Admin } else { Role::User };
    spec.team.clone_from(&args.team);
    spec.tags.clone_from(&args.tag);
    spec.expires = expires(&args.limits)?;
    spec.limits = limits(&args.limits)?;
    let models = spec.limits.models.clone();
    let (record, key) = keyring.create(spec, BY).await?;
    models.iter().filter_map(|pattern| fits::warning(&app.router, pattern)).for_each(|warning| output::note(&warning));
    if !app.router.settings().server.virtual_keys {
        output::note(
            "hint: no server takes it before `virtual_keys = true` stands under [server] of its configuration",
        );
    }
    if global.json {
        let mut shown = shown(&record);
        if let Some(fields) = shown.as_object_mut() {
            fields.insert("key".to_owned(), key.expose().into());
        }
        return output::print_json(&shown);
    }
    output::status("the key, which is never shown again:");
    output::print(&format!("{}\n", key.expose()))
}

async fn update(app: &App, keyring: &Keyring, global: &Global, args: &KeyUpdate) -> Outcome {
    let change = change(args)?;
    if change == KeyChange::default() {
        return Err(Failure::usage("nothing shall be different", "say what: --rpm 60, --budget 5, --no rpm"));
    }
    let record = keyring.update(&args.key, &change, BY).await?;
    args.limits
        .model
        .iter()
        .filter_map(|name| fits::warning(&app.router, name))
        .for_each(|warning| output::note(&warning));
    if global.json {
        return output::print_json(&shown(&record));
    }
    output::status(&format!("changed {}; running servers go by it within two seconds", record.spec.spec.name));
    Ok(())
}

async fn prune(keyring: &Keyring, global: &Global) -> Outcome {
    let gone = keyring.prune(BY).await?;
    if global.json {
        return output::print_json(&json!({ "forgotten": gone.iter().map(shown).collect::<Vec<_>>() }));
    }
    if gone.is_empty() {
        output::status("nothing to forget: every key holds");
    }
    let lines: Vec<String> = gone.iter().map(|key| format!("forgot {}#{}\n", key.spec.spec.name, key.id)).collect();
    output::print(&lines.concat())
}

/// What a line changes: what it sets, and what it takes away with `--no`.
fn change(args: &KeyUpdate) -> Outcome<KeyChange> {
    let no = |name: &str| args.no.iter().any(|no| no == name);
    if let Some(name) = given(args).into_iter().find_map(|(name, given)| (given && no(name)).then_some(name)) {
        return Err(Failure::usage(format!("--{name} and --no {name}: both are said"), "say one of them"));
    }
    let set = limits(&args.limits)?;
    let mut change = KeyChange::default();
    change.role = args.role.as_ref().map(|role| if role == "admin" { Role::Admin } else { Role::User });
    change.team = one(no("team"), args.team.clone());
    change.tags = (no("tag") || !args.tag.is_empty()).then(|| args.tag.clone());
    change.expires = one(no("ttl"), expires(&args.limits)?);
    let to = &mut change.limits;
    to.requests_per_minute = one(no("rpm"), set.requests_per_minute);
    to.tokens_per_minute = one(no("tpm"), set.tokens_per_minute);
    to.max_tokens = one(no("max-tokens"), set.max_tokens);
    to.concurrency = one(no("concurrency"), set.concurrency);
    to.models = (no("model") || !set.models.is_empty()).then_some(set.models);
    to.budget = one(no("budget"), set.budget);
    to.budget_per_day = one(no("budget-per-day"), set.budget_per_day);
    to.budget_per_month = one(no("budget-per-month"), set.budget_per_month);
    to.unpriced = (no("unpriced") || set.unpriced).then_some(set.unpriced);
    Ok(change)
}

/// What a line can take away, and whether it sets it.
fn given(args: &KeyUpdate) -> [(&'static str, bool); 12] {
    let set = &args.limits;
    [
        ("ttl", set.ttl.is_some()),
        ("model", !set.model.is_empty()),
        ("rpm", set.rpm.is_some()),
        ("tpm", set.tpm.is_some()),
        ("max-tokens", set.max_tokens.is_some()),
        ("concurrency", set.concurrency.is_some()),
        ("budget", set.budget.is_some()),
        ("budget-per-day", set.budget_per_day.is_some()),
        ("budget-per-month", set.budget_per_month.is_some()),
        ("unpriced", set.unpriced),
        ("team", args.team.is_some()),
        ("tag", !args.tag.is_empty()),
    ]
}

/// A new value, none, or what there was.
fn one<T>(none: bool, value: Option<T>) -> Option<Option<T>> {
    value.map(Some).or(none.then_some(None))
}

async fn list(keyring: &Keyring, global: &Global) -> Outcome {
    let records = keyring.list().await?;
    let mut drawn = Vec::new();
    for record in &records {
        drawn.push(keyring.drawn(record).await?);
    }
    if global.json {
        let keys = records.iter().zip(&drawn).map(|(record, drawn)| {
            let mut key = shown(record);
            let spent = drawn.iter().map(|(period, amount, _)| (period.name().to_owned(), Value::from(*amount)));
            if let Some(fields) = key.as_object_mut().filter(|_| !drawn.is_empty()) {
                fields.insert("drawn".to_owned(), Value::Object(spent.collect()));
            }
            key
        });
        return output::print_json(&json!({ "keys": keys.collect::<Vec<_>>() }));
    }
    let now = seconds(SystemTime::now());
    let mut rows = vec![["id", "name", "role", "team", "holds", "drawn", "limits"].map(str::to_owned).to_vec()];
    rows.extend(records.iter().zip(&drawn).map(|(record, drawn)| {
        let about = &record.spec;
        let holds = match (about.revoked, about.spec.expires) {
            (Some(_), _) => "revoked".to_owned(),
            (None, Some(end)) if end <= now => format!("expired {}", day(end)),
            (None, Some(end)) => format!("until {}, {} more hours", day(end), (end - now).div_ceil(3600)),
            (None, None) => "yes".to_owned(),
        };
        let role = if about.spec.role == Role::Admin { "admin" } else { "user" };
        let team = about.spec.team.clone().unwrap_or_else(|| "-".to_owned());
        let money = drawn
            .iter()
            .map(|(period, amount, cap)| format!("{} of {} {}", dollars(*amount), dollars(*cap), period.words()));
        let money: Vec<String> = money.collect();
        let money = if money.is_empty() { "-".to_owned() } else { money.join(", ") };
        let name = about.spec.name.clone();
        vec![record.id.clone(), name, role.to_owned(), team, holds, money, in_words(&about.spec.limits)]
    }));
    output::print(&output::table(&rows))
}

/// The day of UTC that a time in seconds since 1970 is in.
pub(super) fn day(seconds: u64) -> Day {
    Day::of(SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH))
}

/// Limits as they are in JSON, without its marks.
fn in_words(limits: &Limits) -> String {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(limits) else { return String::new() };
    // Money has a column of its own.
    fields.retain(|name, _| !name.starts_with("budget"));
    let words: Vec<String> = fields
        .iter()
        .map(|(name, value)| match value {
            Value::Array(all) => {
                format!("{name}={}", all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","))
            }
            value => format!("{name}={value}"),
        })
        .collect();
    if words.is_empty() { "-".to_owned() } else { words.join(" ") }
}

fn shown(record: &KeyRecord) -> Value {
    let about = &record.spec;
    json!({ "id": record.id, "about": about.spec, "created": about.created, "by": about.by, "revoked": about.revoked })
}

async fn log(keyring: &Keyring, global: &Global) -> Outcome {
    let (mut deeds, mut after) = (Vec::new(), None);
    loop {
        let page = keyring.deeds(after.as_deref(), PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        deeds.extend(page.into_iter().map(|(_, deed)| deed));
    }
    if global.json {
        return output::print_json(&json!({ "log": deeds }));
    }
    let rows: Vec<Vec<String>> = deeds
        .into_iter()
        .map(|deed| vec![deed.at.to_string(), deed.did, deed.name, deed.id, format!("by {}", deed.by)])
        .collect();
    output::print(&output::table(&rows))
}

/// Makes a narrower key. The one it comes from is read from standard input: on a command line others would see it.
pub(crate) fn derived(global: &Global, args: &KeyDerive) -> Outcome {
    let mut text = String::new();
    let read = std::io::stdin().take(LONGEST as u64 + 2).read_to_string(&mut text);
    read.map_err(|error| Failure::io("standard input", &error))?;
    let key = Secret::new(text);
    if key.is_empty() {
        return Err(Failure::usage(
            "no key on standard input",
            "pipe it in: llm-router keys derive --ttl 1h < key.txt",
        ));
    }
    let mut caveats = Caveats::default();
    caveats.expires = expires(&args.limits)?;
    caveats.limits = limits(&args.limits)?;
    let narrower = derive(&key, &caveats).map_err(Failure::Usage)?;
    if global.json {
        return output::print_json(&json!({ "key": narrower.expose(), "caveats": caveats }));
    }
    output::print(&format!("{}\n", narrower.expose()))
}

pub(super) fn limits(args: &KeyLimits) -> Outcome<Limits> {
    let mut limits = Limits::default();
    limits.requests_per_minute = args.rpm;
    limits.tokens_per_minute = args.tpm;
    limits.max_tokens = args.max_tokens;
    limits.concurrency = args.concurrency;
    limits.models.clone_from(&args.model);
    limits.budget = money("--budget", args.budget.as_deref())?;
    limits.budget_per_day = money("--budget-per-day", args.budget_per_day.as_deref())?;
    limits.budget_per_month = money("--budget-per-month", args.budget_per_month.as_deref())?;
    limits.unpriced = args.unpriced;
    Ok(limits)
}

pub(super) fn money(option: &str, text: Option<&str>) -> Outcome<Option<u64>> {
    let Some(text) = text else { return Ok(None) };
    let wrong = || Failure::usage(format!("{option}: {text:?} is no amount of dollars"), "write 1, 0.50 or 12.000001");
    parse_dollars(text).map(Some).ok_or_else(wrong)
}

/// When a key that is made now holds no more, in seconds since 1970.
fn expires(args: &KeyLimits) -> Outcome<Option<u64>> {
    args.ttl.as_deref().map(until).transpose()
}

/// The second since 1970 that is so long from now: `30m`, `12h`, `90d`.
pub(super) fn until(text: &str) -> Outcome<u64> {
    let wrong =
        || Failure::Usage(Error::invalid(format!("--ttl: {text:?} is no time")).with_hint("write 30m, 12h or 90d"));
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (count, unit) = text.split_at(at);
    let unit = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)].into_iter().find(|(name, _)| *name == unit);
    let count: u64 = count.parse().map_err(|_| wrong())?;
    let length =
        unit.and_then(|(_, length)| count.checked_mul(length)).filter(|length| (1..=LONGEST_TTL).contains(length));
    Ok(seconds(SystemTime::now()) + length.ok_or_else(wrong)?)
}

/// The second since 1970 that is so long from now.
pub(super) fn seconds_from_now(length: Duration) -> u64 {
    seconds(SystemTime::now()) + length.as_secs()
}

/// A hundred years: more is a slip.
const LONGEST_TTL: u64 = 100 * 366 * 86_400;

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
