//! A route as choices: its groups and those of the routes that it names, which of them share the load, and whom it names for certain errors.

use super::admit;
use super::names::{Choice, default_model, find};
use super::{Planned, Scope, route_of};
use crate::config::{Balance, RouteSettings, Timeouts};
use crate::error::{Error, Result};
use crate::ids::{ModelName, ProviderId};
use crate::request::{Request, Substitute};

/// The most targets of one route, nested ones included.
const MOST_TARGETS: usize = 256;

/// A group whose members share the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::router) enum Group {
    /// This one of a route's groups.
    Route {
        /// The route.
        name: String,
        /// The group's place in it.
        at: usize,
    },
    /// The keys of a provider.
    Keys(ProviderId),
}

/// A target's place in a group: which member of it, or of which member, it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::router) struct Seat {
    /// The group's place in [`Plan::groups`](super::Plan::groups).
    pub(in crate::router) group: usize,
    pub(in crate::router) member: usize,
}

/// For which error a route names targets of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::router) enum Chain {
    /// The prompt is too long.
    Context,
    /// A content filter refused it.
    ContentFilter,
}

/// What is left to read.
struct Left<'a> {
    target: &'a str,
    timeouts: Timeouts,
    seats: Vec<Seat>,
}

/// A route's targets in order, those of the routes it names among them.
pub(super) fn choices<'a>(
    name: &str,
    route: &'a RouteSettings,
    groups: &mut Vec<Group>,
    scope: Scope<'a>,
) -> Result<Vec<Choice<'a>>> {
    let mut left = Vec::new();
    unfold(name, route, &[], groups, &mut left);
    read(name, left, groups, scope)
}

/// The targets that the route of a request names for an error, as far as they can answer it. They are asked in the order written; a route among them is its own plan.
pub(in crate::router) fn chain(chain: Chain, request: &Request, scope: Scope<'_>) -> Vec<Planned> {
    let route = route_of(request, scope.settings).filter(|_| request.riders.substitute != Substitute::Never);
    let Some((name, route)) = route.and_then(|name| scope.settings.routes.get_key_value(name)) else {
        return Vec::new();
    };
    let targets = match chain {
        Chain::Context => &route.context,
        Chain::ContentFilter => &route.content_filter,
    };
    if targets.is_empty() {
        return Vec::new();
    }
    let left =
        targets.iter().rev().map(|target| Left { target, timeouts: route.timeouts, seats: Vec::new() }).collect();
    let mut groups = Vec::new();
    let plan = read(name, left, &mut groups, scope).and_then(|found| admit::admit(found, groups, request, scope));
    // What is wrong with a chain is told by the check of the configuration; the request keeps the error that it has.
    plan.map(|plan| plan.targets).unwrap_or_default()
}

/// Reads what is left, the last one first: routes may nest, and the stack must not be the program's.
fn read<'a>(name: &str, mut left: Vec<Left<'a>>, groups: &mut Vec<Group>, scope: Scope<'a>) -> Result<Vec<Choice<'a>>> {
    let mut choices = Vec::new();
    let mut seen = 0;
    while let Some(Left { target, timeouts, seats }) = left.pop() {
        seen += 1;
        if seen > MOST_TARGETS {
            return Err(Error::invalid(format!("route {name} leads to more than {MOST_TARGETS} targets"))
                .with_hint("`llm-router config check` shows routes that name each other"));
        }
        if let Some(inner) = scope.settings.routes.get(target) {
            unfold(target, inner, &seats, groups, &mut left);
            continue;
        }
        let (id, model) = target.split_once('/').map_or((target, None), |(id, rest)| (id, Some(rest)));
        let entry = find(&id.to_ascii_lowercase(), scope)?;
        let model = model.map(ModelName::new).transpose()?.or_else(|| default_model(entry, scope));
        choices.push(Choice { timeouts, seats, ..Choice::new(entry, model, format!("route {name}")) });
    }
    Ok(choices)
}

/// Puts a route's targets before what is left, the first one last.
fn unfold<'a>(name: &str, route: &'a RouteSettings, seats: &[Seat], groups: &mut Vec<Group>, left: &mut Vec<Left<'a>>) {
    for (at, targets) in route.groups.iter().enumerate().rev() {
        let shared = targets.len() > 1 && route.strategy() != Balance::Order;
        let group = groups.len();
        if shared {
            groups.push(Group::Route { name: name.to_owned(), at });
        }
        for (member, target) in targets.iter().enumerate().rev() {
            let own = shared.then_some(Seat { group, member });
            let seats = seats.iter().copied().chain(own).collect();
            left.push(Left { target, timeouts: route.timeouts, seats });
        }
    }
}
