//! What may be typed behind `keys`, for the clients of the server. What these commands do is in `commands/keys.rs`; the other commands' words are in `../args.rs`.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key and print it; it is never shown again
    Create(KeyCreate),
    /// List the keys
    Ls,
    /// Change what a key may do; what is not named stays, and what it spent does too
    Update(KeyUpdate),
    /// Revoke a key, and all that were derived from it, for good
    Revoke {
        /// Its name or id
        key: String,
    },
    /// Make a narrower key from one on standard input; nobody is asked, and it is never stronger
    Derive(KeyDerive),
    /// Forget the keys that hold no more, which are forgotten a month after their end otherwise
    Prune,
    /// Show who made and revoked which key
    Log,
}

#[derive(Debug, Args)]
pub(crate) struct KeyCreate {
    /// Whose key it is
    pub name: String,

    /// What it may do besides asking: user, or admin, which makes keys and clears caches
    #[arg(long, value_name = "ROLE", default_value = "user", value_parser = ["user", "admin"])]
    pub role: String,

    /// Team of the configuration, whose limits hold too
    #[arg(long, value_name = "NAME")]
    pub team: Option<String>,

    /// Label; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub tag: Vec<String>,

    #[command(flatten)]
    pub limits: KeyLimits,
}

#[derive(Debug, Args)]
pub(crate) struct KeyUpdate {
    /// Its name or id
    pub key: String,

    /// What it may do besides asking: user, or admin, which makes keys and clears caches
    #[arg(long, value_name = "ROLE", value_parser = ["user", "admin"])]
    pub role: Option<String>,

    /// Team of the configuration, whose limits hold too
    #[arg(long, value_name = "NAME")]
    pub team: Option<String>,

    /// Label, in place of all there were; may be repeated
    #[arg(long, value_name = "TEXT")]
    pub tag: Vec<String>,

    /// Limit to take away: ttl, model, rpm, tpm, max-tokens, concurrency, budget, budget-per-day, budget-per-month, unpriced, team or tag; may be repeated
    #[arg(long, value_name = "LIMIT", value_parser = ["ttl", "model", "rpm", "tpm", "max-tokens", "concurrency", "budget", "budget-per-day", "budget-per-month", "unpriced", "team", "tag"])]
    pub no: Vec<String>,

    #[command(flatten)]
    pub limits: KeyLimits,
}

#[derive(Debug, Args)]
pub(crate) struct KeyDerive {
    #[command(flatten)]
    pub limits: KeyLimits,
}

/// What a key may do.
#[derive(Debug, Args)]
pub(crate) struct KeyLimits {
    /// How long it holds: 30m, 12h, 90d
    #[arg(long, value_name = "TIME")]
    pub ttl: Option<String>,

    /// Model that may be asked: PROVIDER/MODEL, a model or a route, `*` for anything; may be repeated [default: all]
    #[arg(short, long, value_name = "NAME")]
    pub model: Vec<String>,

    /// Most requests in any minute
    #[arg(long, value_name = "N")]
    pub rpm: Option<u64>,

    /// Most tokens in any minute
    #[arg(long, value_name = "N")]
    pub tpm: Option<u64>,

    /// Most tokens of one answer: a request that asks for more, or names none, gets these
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_tokens: Option<u32>,

    /// Most requests at once
    #[arg(long, value_name = "N")]
    pub concurrency: Option<u32>,

    /// Most dollars in all: 1 or 0.50
    #[arg(long, value_name = "DOLLARS")]
    pub budget: Option<String>,

    /// Most dollars in a day of UTC
    #[arg(long, value_name = "DOLLARS")]
    pub budget_per_day: Option<String>,

    /// Most dollars in a month of UTC
    #[arg(long, value_name = "DOLLARS")]
    pub budget_per_month: Option<String>,

    /// With a budget: models of unknown price too, which count as free
    #[arg(long)]
    pub unpriced: bool,
}
