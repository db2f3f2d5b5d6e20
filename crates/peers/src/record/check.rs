//! What a record may say: bounds on every field, its signer, its times.

use std::time::Duration;

use libp2p_core::multiaddr::Protocol;
use libp2p_identity::PeerId;
use llm_router::ids::ModelName;

use super::{LONGEST_TTL, MOST_ADDRESSES, MOST_MODELS, Model, Record, Refused, SKEW, VERSION};

/// The keys of a record that this version obeys.
const KNOWN: &[&str] =
    &["v", "peer", "inc", "seq", "iat", "ttl", "addrs", "models", "load", "region", "relay", "policy", "sw", "crit"];

/// The longest name of a model, in bytes.
const LONGEST_MODEL: usize = 128;
/// The longest other text, in bytes.
const LONGEST_TEXT: usize = 64;
const LONGEST_ADDRESS: usize = 256;
const MOST_CRITICAL: usize = 16;
/// Requests at once, and waiting.
const MOST_REQUESTS: u32 = 65_535;
/// No window is so large.
const MOST_CONTEXT: u32 = 1 << 27;
const MOST_TOKENS_PER_SECOND: u32 = 1_000_000;
const LONGEST_FIRST_TOKEN_MS: u32 = 600_000;
/// A million dollars for a million tokens is a slip.
const MOST_PRICE: u64 = 1_000_000_000_000;

impl Record {
    /// Whether `signer` may say this, at this time in seconds since 1970.
    pub(super) fn check(&self, signer: PeerId, now: u64) -> Result<(), Refused> {
        if self.version != VERSION {
            return Err(Refused::Version(self.version));
        }
        // Before all other fields: what is critical may change what they mean.
        if let Some(key) = self.critical.iter().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(Refused::Critical(key.chars().take(LONGEST_TEXT).collect()));
        }
        if self.peer != signer {
            return Err(Refused::Stolen { signer });
        }
        self.check_times(now)?;
        self.check_fields()
    }

    fn check_times(&self, now: u64) -> Result<(), Refused> {
        if self.ttl == 0 || Duration::from_secs(self.ttl.into()) > LONGEST_TTL {
            return Err(Refused::Field("ttl"));
        }
        // A time past all calendars would overflow what is added to it.
        let Some(end) = self.issued.checked_add(self.ttl.into()) else { return Err(Refused::Field("iat")) };
        let ahead = self.issued.saturating_sub(now.saturating_add(SKEW.as_secs()));
        if ahead > 0 {
            return Err(Refused::Early(Duration::from_secs(ahead)));
        }
        if end <= now {
            return Err(Refused::Expired(Duration::from_secs(now - end)));
        }
        Ok(())
    }

    fn check_fields(&self) -> Result<(), Refused> {
        let rules = [
            ("crit", self.critical.len() <= MOST_CRITICAL),
            ("addrs", self.addresses.len() <= MOST_ADDRESSES && self.addresses.iter().all(|one| self.is_own(one))),
            ("models", self.models.len() <= MOST_MODELS && self.models.iter().all(is_sound) && self.names_differ()),
            ("load", self.load.in_flight <= MOST_REQUESTS && self.load.queue <= MOST_REQUESTS),
            ("load", self.load.free.is_none_or(|free| free <= 100)),
            ("region", self.region.as_deref().is_none_or(is_plain)),
            ("sw", self.software.is_empty() || is_plain(&self.software)),
        ];
        rules.into_iter().find(|(_, holds)| !holds).map_or(Ok(()), |(field, _)| Err(Refused::Field(field)))
    }

    /// Whether an address is short enough and leads to nobody else.
    fn is_own(&self, address: &libp2p_core::Multiaddr) -> bool {
        let last = address.iter().last();
        let own = !matches!(last, Some(Protocol::P2p(peer)) if peer != self.peer);
        own && last.is_some() && address.len() <= LONGEST_ADDRESS
    }

    fn names_differ(&self) -> bool {
        let mut names: Vec<&str> = self.models.iter().map(|model| model.id.as_str()).collect();
        names.sort_unstable();
        names.windows(2).all(|two| two.first() != two.last())
    }
}

fn is_sound(model: &Model) -> bool {
    // What is trimmed away would make two names one.
    let named = model.id.len() <= LONGEST_MODEL && ModelName::new(&model.id).is_ok_and(|name| name == *model.id);
    named
        && model.digest.as_ref().is_none_or(|digest| (8..=32).contains(&digest.len()))
        && model.quant.as_deref().is_none_or(is_plain)
        && (1..=MOST_CONTEXT).contains(&model.context)
        && model.slots > 0
        && [model.price_in, model.price_out].into_iter().flatten().all(|price| price <= MOST_PRICE)
        && model.tokens_per_second.is_none_or(|speed| (1..=MOST_TOKENS_PER_SECOND).contains(&speed))
        && model.first_token_ms.is_none_or(|time| time <= LONGEST_FIRST_TOKEN_MS)
}

/// A short text that a terminal can show.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST_TEXT && !text.chars().any(char::is_control)
}
