//! What we say of ourselves: the models that peers may ask, as far as they could answer now.
//!
//! A name is offered that leads to just that model here: the model's own where it does, else `provider/model`. It is by these names alone that a request may ask (`serve/admit.rs`).

use std::time::SystemTime;

use bytes::Bytes;
use libp2p::Multiaddr;
use llm_router::ids::ModelName;
use llm_router::provider::registry::Entry;
use llm_router::request::Request;
use llm_router::router::Router;
use llm_router::router::resolve::Door;
use llm_router::{Error, Result};

use crate::record::{Access, Load, Logs, MOST_ADDRESSES, MOST_MODELS, Modalities, Model, Policy, Record};
use crate::serve::admit::Asker;
use crate::serve::{EMBEDDED, Served};
use crate::service::Profile;
use crate::service::shared::Shared;
use crate::share::Share;

/// The window of a model of which none is known: what most have at least.
const UNKNOWN_WINDOW: u32 = 32_768;
/// The longest name that a record has room for.
const LONGEST: usize = 128;

/// A model that peers may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// By which name.
    pub(crate) id: String,
    /// Whose it is here.
    pub(crate) provider: String,
    /// As its provider calls it.
    pub(crate) model: ModelName,
}

/// All that peers may ask, whether or not it could answer now: the default model of the first provider first.
pub(crate) fn all(router: &Router, share: &Share) -> Vec<Offer> {
    let mut all: Vec<Offer> = Vec::new();
    for entry in router.entries() {
        let default = entry.provider.describe().default_model.clone();
        for model in default.into_iter().chain(entry.provider.models()) {
            let provider = entry.id.as_str();
            if !share.has(provider, model.as_str()) {
                continue;
            }
            let id = if is_plain(router, entry, &model) { model.to_string() } else { format!("{provider}/{model}") };
            if id.len() <= LONGEST && !all.iter().any(|other| other.id == id) {
                all.push(Offer { id, provider: provider.to_owned(), model });
            }
        }
    }
    all
}

/// Whether the model's name alone leads to it: it is no route's, does not begin with a provider's, and is in the list of this one.
fn is_plain(router: &Router, entry: &Entry, model: &ModelName) -> bool {
    let name = model.as_str();
    let headed = name.split_once('/').map(|(first, _)| first.to_ascii_lowercase());
    let headed = headed.is_some_and(|first| router.entries().iter().any(|entry| entry.is(&first)));
    !headed && !router.settings().routes.contains_key(name) && entry.provider.has_model(model)
}

/// Our record for one who may ask, signed.
pub(crate) async fn record(
    shared: &Shared,
    served: &Served,
    asker: &Asker,
    mut addresses: Vec<Multiaddr>,
) -> Result<Bytes> {
    let now = SystemTime::now();
    let mut record = Record::new(shared.node.id(), shared.incarnation, shared.next_record(), now);
    for offer in served.offers() {
        if asker.allows(&offer.id)
            && (!asker.is_stranger() || offer.provider == EMBEDDED)
            && record.models.len() < MOST_MODELS
        {
            record.models.extend(said(served, &offer, asker).await);
        }
    }
    addresses.truncate(MOST_ADDRESSES);
    record.addresses = addresses;
    record.load = Load::new(served.running(), 0);
    record.software = concat!("llm-router/", env!("CARGO_PKG_VERSION")).to_owned();
    let access = if shared.profile == Profile::Public { Access::Public } else { Access::Allowed };
    // A stored answer is what was said.
    let log = if served.router().deps().cache.is_some() { Logs::Full } else { Logs::Meta };
    record.policy = Policy { access, log, ..Policy::default() };
    let (sealed, _) = record.seal_fitting(&shared.key).map_err(|refused| Error::internal(refused.to_string()))?;
    Ok(Bytes::from(sealed))
}

/// A model as a record says it; nothing where it could not answer now.
async fn said(served: &Served, offer: &Offer, asker: &Asker) -> Option<Model> {
    let router = served.router();
    let mut request = Request::new("");
    request.model = Some(offer.id.clone());
    let all = router.explained(&request, Door::CompatibleApi).await.ok()?;
    let sound = all.iter().find(|one| one.planned && one.available == Some(true) && one.breakers.is_empty())?;
    let entry = router.entries().iter().find(|entry| entry.id == *sound.provider)?;
    let window = sound.window.and_then(|window| u32::try_from(window).ok()).unwrap_or(UNKNOWN_WINDOW);
    let most = router.settings().providers.get(&entry.id).and_then(|own| own.max_in_flight);
    let slots = most.and_then(|most| u32::try_from(most).ok()).unwrap_or(u32::MAX).min(asker.concurrency()).max(1);
    let mut model = Model::new(&offer.id, window.max(1), u16::try_from(slots).unwrap_or(u16::MAX));
    let can = entry.provider.describe().capabilities;
    model.tools = can.tools;
    for (has, modality) in
        [(can.images, Modalities::IMAGE), (can.audio, Modalities::AUDIO), (can.files, Modalities::FILE)]
    {
        if has {
            model.modalities = model.modalities.with(modality);
        }
    }
    let price = router.deps().prices.of(&sound.provider, Some(offer.model.as_str()));
    (model.price_in, model.price_out) = (price.map(|price| price.input), price.map(|price| price.output));
    if sound.provider == EMBEDDED {
        (model.price_in, model.price_out) = (Some(0), Some(0));
    }
    Some(model)
}
