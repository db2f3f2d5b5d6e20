//! The settings of a route, a model name that clients may use, and how its targets share the load. Plain values; what a router makes of them is `router/resolve.rs` and
//! `router/balance.rs`.

use std::time::Duration;

use indexmap::IndexMap;

use crate::dialect::Framing;
use crate::request::{Hold, Privacy, Resume, Timeouts};

/// A model name that clients may use.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteSettings {
    /// `provider/model` or `provider`: balanced within a group, in order between groups.
    pub groups: Vec<Vec<String>>,
    /// How a group is balanced.
    pub balance: Option<Balance>,
    /// Shares of the load by target, as `groups` names it; 1 where nothing is said.
    pub weights: IndexMap<String, u64>,
    /// The targets that are asked after a prompt was too long.
    pub context: Vec<String>,
    /// The targets that are asked after a content filter refused the request.
    pub content_filter: Vec<String>,
    /// Who may see its requests.
    pub privacy: Option<Privacy>,
    /// What a million tokens may cost at most, in micro-dollars.
    pub max_price: Option<u64>,
    /// Whether the next target is asked beside one that is late.
    pub hedge: bool,
    /// When a target is late whose times are not known well enough.
    pub hedge_after: Duration,
    /// How many of a hundred requests may be asked twice.
    pub hedge_percent: u32,
    /// Ask upstream for this framing whatever the caller asked for.
    pub upstream: Option<Framing>,
    /// Its deadlines.
    pub timeouts: Timeouts,
    /// When its answers are given out.
    pub hold: Option<Hold>,
    /// Whether somebody else goes on with an answer of it that broke off.
    pub resume: Option<Resume>,
}

impl Default for RouteSettings {
    fn default() -> Self {
        Self {
            groups: Vec::new(),
            balance: None,
            weights: IndexMap::new(),
            context: Vec::new(),
            content_filter: Vec::new(),
            privacy: None,
            max_price: None,
            hedge: false,
            hedge_after: Duration::from_secs(3),
            hedge_percent: 10,
            hold: None,
            resume: None,
            upstream: None,
            timeouts: Timeouts::default(),
        }
    }
}

impl RouteSettings {
    /// Every target that it names, those for certain errors last.
    pub fn targets(&self) -> impl Iterator<Item = &String> {
        self.groups.iter().flatten().chain(&self.context).chain(&self.content_filter)
    }

    /// How the members of its groups share the load: as it says, by weight where it only has weights, else in order.
    pub fn strategy(&self) -> Balance {
        self.balance.unwrap_or(if self.weights.is_empty() { Balance::Order } else { Balance::Weighted })
    }
}

/// How the members of a group share the load: which of them is asked first. The others follow in the order of the same measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Balance {
    /// The first one written.
    #[default]
    Order,
    /// Anyone.
    Random,
    /// Each in turn.
    RoundRobin,
    /// Each in turn, as often as its weight says.
    Weighted,
    /// The one with the fewest calls under way.
    LeastBusy,
    /// The quicker of two, by the time to the first content lately and the calls under way.
    Latency,
    /// The cheapest; those of unknown price last.
    Cost,
    /// Always the same for a session, a user or a conversation.
    Sticky,
    /// The one that had the prompt's beginning before, unless it has much more to do than the others.
    Prefix,
}

impl Balance {
    /// Every name, as the configuration has it.
    pub const NAMES: &'static [&'static str] =
        &["order", "random", "round_robin", "weighted", "least_busy", "latency", "cost", "sticky", "prefix"];
}
