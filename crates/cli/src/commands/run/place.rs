//! The router that an agent asks: the one that serves already where the configuration says, or one in this process for as long as the agent runs.
//!
//! One that serves is taken where it is this user's own and a key for it is at hand that may be no more than the run may; else nothing is lost by one of our own, on a port of the
//! loopback that only the agent is told of, with a key that exists in memory alone.

use std::fs::File;
use std::future::Future;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::AUTHORIZATION;
use llm_router::Error;
use llm_router::config::ServerSettings;
use llm_router::error::ErrorKind;
use llm_router::limits::grant::{Caveats, PREFIX, derive};
use llm_router::limits::key::{KeySpec, Seal};
use llm_router::limits::keyring::Scope;
use llm_router::limits::{Keyring, Limits};
use llm_router::provider::http::{HttpClient, HttpRequest, Limits as HttpLimits};
use llm_router::request::Request;
use llm_router::router::Router;
use llm_router::router::resolve::Door;
use llm_router::secret::Secret;
use llm_router::store::MemoryStore;
use llm_router_app::App;
use llm_router_server::{Bound, Server, ServerOptions, Stop};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::agents::Agent;
use super::fit::Target;
use super::folder::Folder;
use super::key::{BY, Lease};
use super::owner::{self, Owner};
use crate::args::Run;
use crate::commands::explain::key_in;
use crate::commands::keys::{money, until};
use crate::output::{self, Failure, Outcome};

/// The longest that a server may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long somebody may take to answer at a port of this machine.
const KNOCK: Duration = Duration::from_millis(500);
/// The most that a server says of itself or of a plan.
const LARGEST: u64 = 1 << 20;
/// How often, and how far apart, a new key is shown to a server until it knows it: it looks twice a second.
const TRIES: u32 = 50;
const BETWEEN: Duration = Duration::from_millis(100);

/// A router that answers the agent.
pub(super) struct Place {
    /// Where it listens, without a path.
    pub(super) base: String,
    /// The key to show it.
    pub(super) key: Secret,
    /// What it is, in words.
    pub(super) said: String,
    kind: Kind,
}

enum Kind {
    /// It was there before.
    Served { http: HttpClient, address: SocketAddr, lease: Option<Lease> },
    /// It is ours.
    Own { router: Router, bound: Option<Box<Bound>> },
}

impl Place {
    /// Finds it, or makes it ready. A key that is made for it is left in `lease`, from before it is there.
    pub(super) async fn find(
        app: &App,
        agent: &Agent,
        args: &Run,
        folder: &Folder,
        lease: &mut Option<Lease>,
    ) -> Outcome<Self> {
        let wanted = wanted(agent, args)?;
        let settings = &app.router.settings().server;
        let http = app.router.deps().http.clone();
        let running = match address(settings) {
            Some(address) => knock(&http, address).await,
            None => None,
        };
        let Some(Running { base, open, address }) = running else {
            if args.key_file.is_some() {
                return Err(Failure::usage(
                    "--key-file: no router of yours serves where the configuration says",
                    "start one with `llm-router serve`, or leave --key-file out: this run gets a router of its own",
                ));
            }
            return Self::own(app, wanted).await;
        };
        let said = format!("the router at {base}");
        let with = |key: Secret, lease| Self {
            base: base.clone(),
            key,
            said: said.clone(),
            kind: Kind::Served { http: http.clone(), address, lease },
        };
        if let Some(file) = &args.key_file {
            return Ok(with(shown(&http, &base, file, &wanted).await?, None));
        }
        let narrow = wanted.expires.is_some() || !wanted.limits.is_empty();
        if open && !narrow {
            return Ok(with(Secret::new("none-is-wanted"), None));
        }
        if !open && let Some(keyring) = app.router.deps().keyring.as_ref().filter(|_| settings.virtual_keys) {
            let key = Lease::make(lease, keyring, wanted.clone(), folder).await?;
            if knows(&http, &base, &key).await {
                return Ok(with(key, lease.clone()));
            }
            // It has another store.
            if let Some(lease) = lease.take() {
                lease.take_back().await;
            }
        }
        let plain = settings.api_keys.iter().filter(|key| !key.admin && !open && !narrow);
        for key in plain.filter_map(|key| key.key.at_hand()) {
            if accepts(&http, &base, key).await {
                return Ok(with(key.clone(), None));
            }
        }
        if !open {
            output::note(&format!(
                "note: {said} wants a key, and none is at hand for this run; it gets a router of its own (--key-file FILE shows a key)"
            ));
        }
        Self::own(app, wanted).await
    }

    /// One of our own: what the configuration says, on the loopback alone, for who has the run's key alone.
    async fn own(app: &App, wanted: KeySpec) -> Outcome<Self> {
        let mut deps = app.router.deps().clone();
        let (store, clock) = (Arc::new(MemoryStore::new(Arc::clone(&deps.clock))), Arc::clone(&deps.clock));
        // Whoever starts the agent is who stored the answers that there are.
        let keyring = Keyring::new(store, Seal::new(chance), clock, Scope::Global, []);
        let (_, key) = keyring.create(wanted, BY).await?;
        deps.keyring = Some(keyring);
        let mut settings = app.router.settings().clone();
        let server = &mut settings.server;
        server.virtual_keys = true;
        server.api_keys.clear();
        server.passthrough.clear();
        (server.admin, server.tls_cert, server.tls_key, server.fetch_urls) = (None, None, None, false);
        // The terminal is the agent's.
        server.access_log = server.access_log.take().filter(|place| Path::new(place).is_absolute());
        let router = Router::new(deps, Arc::new(settings), app.router.entries().to_vec());
        let mut options = ServerOptions::of(router.settings());
        options.own = true;
        let bound = Server::new(router.clone(), options)?.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        app.follow(&router);
        let base = format!("http://{}", bound.address()?);
        let said = format!("a router of this run at {base}");
        Ok(Self { base, key, said, kind: Kind::Own { router, bound: Some(Box::new(bound)) } })
    }

    /// Who answers a model's name, or nobody's.
    pub(super) async fn target(&self, model: Option<&str>) -> Outcome<Target> {
        let mut request = Request::new("");
        request.model = model.map(str::to_owned);
        let targets = match &self.kind {
            Kind::Own { router, .. } => {
                serde_json::to_value(router.explained(&request, Door::CompatibleApi).await?).unwrap_or_default()
            }
            Kind::Served { http, .. } => explained(http, &self.base, &self.key, model).await?,
        };
        let targets: Vec<Value> = serde_json::from_value(targets).unwrap_or_default();
        target(model, &targets).ok_or_else(|| {
            Failure::usage("no provider can answer", "`llm-router doctor` says what each provider needs")
        })
    }

    /// Serves while the work goes on, where the router is ours.
    pub(super) async fn serving(&mut self, work: impl Future<Output = Outcome>) -> Outcome {
        let bound = match &mut self.kind {
            Kind::Own { bound, .. } => bound.take(),
            Kind::Served { .. } => None,
        };
        let Some(bound) = bound else { return work.await };
        let (stop, stopped) = oneshot::channel::<()>();
        let mut serving = std::pin::pin!(bound.serve(async {
            let _ = stopped.await;
            Stop { drain: Duration::ZERO, grace: Duration::ZERO }
        }));
        let outcome = tokio::select! {
            served = &mut serving => {
                served?;
                return Err(Failure::Failed(Error::internal("the router of this run ended before the agent")));
            }
            outcome = work => outcome,
        };
        drop(stop);
        serving.await?;
        outcome
    }

    /// Watches while the agent runs, and ends with the reason why it must not go on: whoever listens where it asks is another user's now, who would be shown its key. Its own key lasts
    /// meanwhile.
    pub(super) fn watch(&self) -> impl Future<Output = Failure> + use<> {
        let served = match &self.kind {
            Kind::Served { address, lease, .. } => Some((*address, lease.clone())),
            Kind::Own { .. } => None,
        };
        let base = self.base.clone();
        async move {
            let Some((address, lease)) = served else { return std::future::pending().await };
            let lasting = async {
                match lease {
                    Some(lease) => lease.last().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = owner::taken(|| owner::of(address), owner::LOOK) => {}
                () = lasting => {}
            }
            let message = format!(
                "what listens at {base} is another user's now: the agent was ended, so that it shows nothing more there"
            );
            Failure::Failed(Error::new(ErrorKind::RouterUnavailable, message).with_hint(
                "a key that it showed there may be known: revoke it if it was not made for the run; then start the router on a port that is free",
            ))
        }
    }
}

/// What the run's key may do.
fn wanted(agent: &Agent, args: &Run) -> Outcome<KeySpec> {
    let mut limits = Limits::default();
    limits.budget = money("--budget", args.budget.as_deref())?;
    limits.unpriced = args.unpriced;
    limits.max_tokens = args.max_tokens;
    if args.unpriced && limits.budget.is_none() {
        return Err(Failure::usage("--unpriced: there is no budget", "say one with --budget, or leave --unpriced out"));
    }
    let mut spec = KeySpec::new(format!("run-{}", agent.name));
    spec.limits = limits;
    spec.expires = args.ttl.as_deref().map(until).transpose()?;
    Ok(spec)
}

/// The second choice of a plan is no use to an agent without tools where the first has them; whoever is named is taken.
fn target(model: Option<&str>, targets: &[Value]) -> Option<Target> {
    let planned: Vec<&Value> = targets.iter().filter(|target| target["planned"] == true).collect();
    let tools = |target: &&&Value| target["tools"] == true;
    let there = |target: &&&Value| target["available"] == true;
    let chosen = match model {
        Some(_) => planned.first(),
        None => planned.iter().find(|target| there(target) && tools(target)).or_else(|| planned.iter().find(there)),
    };
    let chosen = *chosen.or(planned.first())?;
    let name = model.map(str::to_owned).or_else(|| {
        let provider = chosen["provider"].as_str()?;
        let model = chosen["model"]
            .as_str()
            .map(|model| model.rsplit_once('@').filter(|_| provider == "local").map_or(model, |(name, _)| name));
        Some(model.map_or_else(|| provider.to_owned(), |model| format!("{provider}/{model}")))
    })?;
    // Of several that may answer, the router leaves out those that are too small.
    let windows = planned.iter().map(|target| target["window"].as_u64());
    let window = match model {
        Some(_) => windows.collect::<Option<Vec<u64>>>().and_then(|all| all.into_iter().max()),
        None => chosen["window"].as_u64(),
    };
    let tools = match model {
        Some(_) => planned.iter().any(|target| target["tools"] == true),
        None => chosen["tools"] == true,
    };
    Some(Target { name, window, tools })
}

/// A router that serves.
struct Running {
    base: String,
    /// Whether it wants no key.
    open: bool,
    address: SocketAddr,
}

/// Where this machine reaches the server of a configuration; nowhere where it speaks TLS, which the agents would have to be told to believe.
fn address(settings: &ServerSettings) -> Option<SocketAddr> {
    let host = settings.host.trim_matches(['[', ']']);
    let ip: IpAddr =
        if host.eq_ignore_ascii_case("localhost") { Ipv4Addr::LOCALHOST.into() } else { host.parse().ok()? };
    let ip = match ip {
        ip if ip.is_loopback() => ip,
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        _ => return None,
    };
    (settings.port != 0 && settings.tls_cert.is_none()).then_some(SocketAddr::new(ip, settings.port))
}

/// Looks who listens there: a router of this user's, or nobody that matters.
async fn knock(http: &HttpClient, address: SocketAddr) -> Option<Running> {
    timeout(KNOCK, TcpStream::connect(address)).await.ok()?.ok()?;
    let base = format!("http://{address}");
    if owner::of(address) != Owner::Ours {
        output::note(&format!("note: what listens at {base} is another user's; this run gets a router of its own"));
        return None;
    }
    let (status, said) = asked(http, HttpRequest::get(&format!("{base}{INFO}")).ok()?, None).await.ok()?;
    match status {
        StatusCode::OK if said["name"] == "LLM Router" => Some(Running { base, open: true, address }),
        StatusCode::UNAUTHORIZED if said["kind"] == "policy_unauthenticated" => {
            Some(Running { base, open: false, address })
        }
        _ => None,
    }
}

/// Where a router says what it is.
const INFO: &str = "/api/v0/ai/llm";

async fn asked(http: &HttpClient, request: HttpRequest, key: Option<&Secret>) -> Result<(StatusCode, Value), Error> {
    let limits = HttpLimits { connect: PATIENCE, head: Some(PATIENCE), idle: Some(PATIENCE), body: LARGEST };
    let mut request = request.with_limits(limits);
    if let Some(key) = key {
        request = request.with_secret(AUTHORIZATION, &format!("Bearer {}", key.expose()))?;
    }
    let answer = http.send(&request).await?;
    let status = answer.status;
    Ok((status, serde_json::from_slice(&answer.body.bytes().await?).unwrap_or_default()))
}

/// Whether a server takes a key.
async fn accepts(http: &HttpClient, base: &str, key: &Secret) -> bool {
    let Ok(request) = HttpRequest::get(&format!("{base}{INFO}")) else { return false };
    matches!(asked(http, request, Some(key)).await, Ok((StatusCode::OK, _)))
}

/// Whether a server comes to know a key that was made just now.
async fn knows(http: &HttpClient, base: &str, key: &Secret) -> bool {
    for _ in 0..TRIES {
        if accepts(http, base, key).await {
            return true;
        }
        tokio::time::sleep(BETWEEN).await;
    }
    false
}

async fn explained(http: &HttpClient, base: &str, key: &Secret, model: Option<&str>) -> Outcome<Value> {
    let body = json!({ "prompt": "", "model": model }).to_string();
    let request = HttpRequest::post_json(&format!("{base}{INFO}/explain"), body)?;
    let (status, mut said) = asked(http, request, Some(key)).await?;
    if status.is_success() {
        return Ok(said["targets"].take());
    }
    let why = said["detail"].as_str().unwrap_or("it does not say who would answer").to_owned();
    Err(Failure::usage(
        format!("{base}: {why}"),
        said["hint"].as_str().unwrap_or("`llm-router models` lists the models"),
    ))
}

/// The key in a file, narrowed to what the run may do.
async fn shown(http: &HttpClient, base: &str, file: &Path, wanted: &KeySpec) -> Outcome<Secret> {
    if file == Path::new("-") {
        return Err(Failure::usage("--key-file -: standard input is the agent's", "give the name of a file"));
    }
    let key = key_in(file)?;
    let mut caveats = Caveats::default();
    (caveats.expires, caveats.limits) = (wanted.expires, wanted.limits.clone());
    let key = match caveats == Caveats::default() {
        true => key,
        false if key.expose().starts_with(PREFIX) => derive(&key, &caveats).map_err(Failure::Usage)?,
        false => {
            return Err(Failure::usage(
                format!("--key-file {}: this key cannot be narrowed to a budget or a time", file.display()),
                "use one that `llm-router keys create` made, or leave --key-file out: this run gets a router of its own",
            ));
        }
    };
    if accepts(http, base, &key).await {
        return Ok(key);
    }
    Err(Failure::usage(
        format!("--key-file {}: the router at {base} does not take this key", file.display()),
        "`llm-router keys ls` lists those that hold",
    ))
}

/// Chance that nobody can guess.
pub(super) fn chance() -> Result<[u8; 32], Error> {
    let mut bytes = [0; 32];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.map(|()| bytes).map_err(|error| Error::internal(format!("/dev/urandom: {error}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_server_is_looked_for_on_this_machine_alone() {
        let mut settings = ServerSettings::default();
        let mut at = |host: &str| {
            settings.host = host.to_owned();
            address(&settings).map(|address| address.to_string())
        };
        assert_eq!(at("127.0.0.1").unwrap(), "127.0.0.1:8000");
        assert_eq!(at("localhost").unwrap(), "127.0.0.1:8000");
        assert_eq!(at("0.0.0.0").unwrap(), "127.0.0.1:8000");
        assert_eq!(at("[::]").unwrap(), "[::1]:8000");
        assert_eq!((at("192.168.1.9"), at("router.lan")), (None, None));
        settings.host = "127.0.0.1".to_owned();
        settings.tls_cert = Some("/cert.pem".into());
        assert_eq!(address(&settings), None);
    }

    #[test]
    fn the_first_that_takes_tools_answers_who_names_nobody() {
        let one = |provider: &str, model: &str, available: Value, tools: bool, window: Value| json!({"provider": provider, "model": model, "planned": true, "available": available, "tools": tools, "window": window});
        let text = one("agent", "t", json!(true), false, json!(null));
        let guess = one("ollama", "g", json!(null), true, json!(null));
        let lab = one("lab", "org/m", json!(true), true, json!(32_000));
        let local = one("local", "small@0123456789abcdef", json!(true), false, json!(8192));
        let all = [text.clone(), guess.clone(), lab.clone(), local.clone()];
        let target = |model, all: &[Value]| super::target(model, all).map(|t| (t.name, t.window, t.tools));
        assert_eq!(target(None, &all), Some(("lab/org/m".to_owned(), Some(32_000), true)));
        assert_eq!(target(None, &[guess.clone(), local.clone()]), Some(("local/small".to_owned(), Some(8192), false)));
        // Of a route with several targets the largest window counts, and an unknown one is no limit.
        assert_eq!(target(Some("fast"), &[lab.clone(), local]), Some(("fast".to_owned(), Some(32_000), true)));
        assert_eq!(target(Some("fast"), &[lab, guess]), Some(("fast".to_owned(), None, true)));
        assert_eq!(target(None, &[]), None);
    }
}
