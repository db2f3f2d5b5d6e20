//! `peers`: who this router is among peers, whom it trusts, and what they serve. `id`, `invite`, `forget` and `verify` need no network; `join` and `ls` are a peer for as long as they run.

use llm_router::deps::PeerStatus;
use llm_router_app::{App, Desk, Peering, Role, TICKET, verify_receipt};
use serde_json::json;

use super::keys::{day, limits, seconds_from_now, until};
use crate::args::{Global, PeerInvite, Peers};
use crate::output::{self, Failure, Outcome};

/// As what the program is opened for these commands.
pub(super) fn role(args: &Peers) -> Role {
    match args {
        Peers::Join { .. } | Peers::Ls => Role::Asking,
        Peers::Id | Peers::Invite(_) | Peers::Forget { .. } | Peers::Verify { .. } => Role::None,
    }
}

pub(crate) async fn run(app: &App, global: &Global, args: &Peers) -> Outcome {
    match args {
        Peers::Id => {
            let id = Desk::of(&app.loaded)?.id()?;
            if global.json { output::print_json(&json!({ "id": id })) } else { output::print(&format!("{id}\n")) }
        }
        Peers::Invite(args) => invite(app, global, args),
        Peers::Join { ticket } => join(app, global, ticket).await,
        Peers::Ls => list(app, global).await,
        Peers::Forget { peer } => {
            let id = Desk::of(&app.loaded)?.forget(peer)?;
            if global.json {
                return output::print_json(&json!({ "id": id, "forgotten": true }));
            }
            output::status(&format!("forgot {id}"));
            Ok(())
        }
        Peers::Verify { receipt } => verified(global, receipt),
    }
}

fn invite(app: &App, global: &Global, args: &PeerInvite) -> Outcome {
    let expires = match args.limits.ttl.as_deref() {
        Some(ttl) => until(ttl)?,
        None => seconds_from_now(TICKET),
    };
    let invited = Desk::of(&app.loaded)?.invite(args.to.as_deref(), limits(&args.limits)?, expires)?;
    if global.json {
        return output::print_json(&serde_json::to_value(&invited).unwrap_or_default());
    }
    output::status("on the other machine: llm-router peers join TICKET");
    output::print(&format!("{}\n", invited.ticket))
}

async fn join(app: &App, global: &Global, ticket: &str) -> Outcome {
    Desk::of(&app.loaded)?.check_ticket(ticket).map_err(Failure::Failed)?;
    let joined = node(app)?.join(ticket).await.map_err(Failure::Failed)?;
    if global.json {
        return output::print_json(&serde_json::to_value(&joined).unwrap_or_default());
    }
    let models = if joined.models.is_empty() { "nothing now".to_owned() } else { joined.models.join(", ") };
    output::print(&format!("joined {} until {}; it serves {models}\n", joined.peer, day(joined.expires)))
}

async fn list(app: &App, global: &Global) -> Outcome {
    let all = node(app)?.list().await;
    if global.json {
        return output::print_json(&json!({ "peers": all }));
    }
    if all.is_empty() {
        output::status("no peer is known: take a ticket with `llm-router peers join`");
        return Ok(());
    }
    let head = ["PEER", "TRUST", "STATE", "PATH", "ROUND TRIP", "MODEL", "FIRST TOKEN", "WHY"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for peer in &all {
        rows.extend(lines(peer));
    }
    output::print(&output::table(&rows))
}

/// A line for each of its models; one for a peer without any.
fn lines(peer: &PeerStatus) -> Vec<Vec<String>> {
    let dash = || "-".to_owned();
    let name = peer.name.as_ref().map_or_else(|| peer.id.clone(), |name| format!("{name} {}", peer.id));
    let path = peer.transport.as_ref().map_or_else(|| peer.path.clone(), |over| format!("{} {over}", peer.path));
    let trip = peer.round_trip.map_or_else(dash, milliseconds);
    let own = |state: &str| vec![name.clone(), peer.trust.clone(), state.to_owned(), path.clone(), trip.clone()];
    if peer.models.is_empty() {
        return vec![[own(&peer.state), vec![dash(), dash(), dash()]].concat()];
    }
    let line = |model: &llm_router::deps::PeerModel| {
        let state = if peer.state == "ready" { &model.state } else { &peer.state };
        [own(state), vec![model.model.clone(), milliseconds(model.first_token), model.why.clone()]].concat()
    };
    peer.models.iter().map(line).collect()
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.1} ms", seconds * 1000.0)
}

/// Checks a receipt.
pub(crate) fn verified(global: &Global, receipt: &str) -> Outcome {
    let (words, fields) = verify_receipt(receipt).map_err(Failure::Failed)?;
    if global.json { output::print_json(&fields) } else { output::print(&format!("{words}\n")) }
}

fn node(app: &App) -> Outcome<&Peering> {
    app.peering().ok_or_else(|| Failure::Failed(llm_router::Error::internal("no node was started for this command")))
}
