//! What a provider is made from: a preset and a section of the config, read once and checked.

use std::sync::{Arc, Mutex, OnceLock};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::OnceCell;

use super::slots::Slots;
use super::{HttpProvider, Spoken, Tongues, place};
use crate::config::{Credential, ProviderSettings};
use crate::dialect::openai_chat::{OpenaiChat, Quirks};
use crate::dialect::{Codec, Dialect, Framing};
use crate::error::{Error, Result};
use crate::ids::{ModelName, ProviderId};
use crate::provider::credential::Credentials;
use crate::provider::http::{Certificates, is_loopback_host, parse_url};
use crate::provider::presets::{self, Auth, CHAT, Preset, Speaks};
use crate::provider::{Capabilities, Describe, Liveness};
use crate::request::Privacy;

impl HttpProvider {
    /// A provider of the preset that its settings or its id name, or of the settings alone.
    ///
    /// # Errors
    /// `caller_invalid_request` naming the setting that cannot be used: a preset, a URL, a header.
    pub fn new(id: &ProviderId, settings: &ProviderSettings) -> Result<Self> {
        let preset = preset_of(id, settings)?;
        let base_url = settings.base_url.as_deref().or(preset.and_then(|preset| preset.base_url));
        let loopback = match base_url {
            Some(url) => base(url).map_err(|error| error.at(id, None))?,
            None => false,
        };
        let spoken = spoken(settings, preset);
        let describe = Describe {
            id: id.clone(),
            default_model: match (&settings.default_model, preset.and_then(|preset| preset.default_model)) {
                (Some(model), _) => Some(model.clone()),
                (None, Some(model)) => Some(ModelName::new(model)?),
                (None, None) => None,
            },
            embedding_model: None,
            window: None,
            dialects: spoken.iter().map(|one| one.how.dialect).collect(),
            capabilities: preset.map_or(Capabilities::ALL, |preset| preset.capabilities).without(&settings.lacks),
            privacy: settings.privacy.unwrap_or(if loopback { Privacy::Local } else { Privacy::Any }),
            agent: settings.agent,
            guess: preset.is_some_and(|preset| preset.probe) && settings.base_url.is_none(),
            liveness: if settings.upstream == Some(Framing::Whole) { Liveness::End } else { Liveness::Content },
            prefill: settings.prefill.unwrap_or(preset.is_some_and(|preset| preset.prefill)),
        };
        // A server of one's own behind a preset's name (LocalAI as `openai`) may go without a key.
        let keyless = loopback || preset.is_none_or(|preset| preset.keys.is_empty());
        let key_names = preset.filter(|_| !keyless).map(|preset| preset.keys).unwrap_or_default();
        Ok(Self {
            describe,
            base_url: base_url.map(|url| url.trim_end_matches('/').to_owned()),
            spoken,
            credentials: Credentials::new(&settings.credentials),
            key_names: key_names.iter().map(|name| (*name).to_owned()).collect(),
            models: named_models(settings),
            headers: headers(id, settings)?,
            upstream: settings.upstream,
            deployment: settings.deployment.clone(),
            version: settings
                .api_version
                .as_deref()
                .map(place::Version::new)
                .transpose()
                .map_err(|error| error.at(id, None))?,
            via: settings.via.clone().filter(|via| via != "auto"),
            trusts: settings
                .ca_file
                .as_deref()
                .map(Certificates::read)
                .transpose()
                .map_err(|error| error.at(id, None))?,
            own_client: OnceLock::new(),
            slots: settings.max_in_flight.map(|most| Slots::new(most, settings.max_queue)),
            refused: Mutex::default(),
            first_model: OnceCell::new(),
        })
    }
}

impl HttpProvider {
    /// The same provider with each of its keys alone, where it has several: their calls count together toward its `max_in_flight`.
    ///
    /// # Errors
    /// As [`HttpProvider::new`].
    pub fn each_key(&self, id: &ProviderId, settings: &ProviderSettings) -> Result<Vec<Self>> {
        if settings.credentials.len() < 2 {
            return Ok(Vec::new());
        }
        let alone = |credential: &Credential| {
            let settings = ProviderSettings { credentials: vec![credential.clone()], ..settings.clone() };
            Ok(Self { slots: self.slots.clone(), ..Self::new(id, &settings)? })
        };
        settings.credentials.iter().map(alone).collect()
    }
}

/// Checks a base URL and says whether it is this machine.
fn base(url: &str) -> Result<bool> {
    let uri = parse_url(url)?;
    if uri.query().is_some() {
        return Err(Error::invalid("base_url holds a query").with_hint("a key goes into api_key, not into the URL"));
    }
    Ok(uri.host().is_some_and(is_loopback_host))
}

fn preset_of(id: &ProviderId, settings: &ProviderSettings) -> Result<Option<&'static Preset>> {
    match &settings.preset {
        Some(name) => presets::find(name).map(Some).ok_or_else(|| {
            let known: Vec<&str> = presets::PRESETS.iter().map(|preset| preset.id).collect();
            Error::invalid(format!("{name:?} is no preset")).with_hint(format!("presets are {}", known.join(", ")))
        }),
        None => Ok(presets::find(id.as_str())),
    }
}

/// What is spoken: what the settings name, else what the preset offers.
pub(super) fn spoken(settings: &ProviderSettings, preset: Option<&'static Preset>) -> Tongues {
    let offered = preset.map_or(&[CHAT][..], |preset| preset.speaks);
    let quirks = preset.map(|preset| preset.quirks.clone()).unwrap_or_default();
    let wanted: Vec<Speaks> = if settings.dialects.is_empty() {
        let mut offered = offered.to_vec();
        // Servers that stand in for OpenAI all speak its older dialect; the newer one is preferred where the preset's own address is asked.
        let elsewhere = preset.and_then(|preset| preset.base_url).zip(settings.base_url.as_deref());
        if elsewhere.is_some_and(|(own, base)| own != base.trim_end_matches('/')) {
            offered.sort_by_key(|how| how.dialect == Dialect::OpenaiResponses);
        }
        offered
    } else {
        // A dialect that the preset does not list is spoken as the preset's first one is reached.
        let like = |dialect| offered.iter().find(|how| how.dialect == dialect).copied();
        let first = |dialect| Speaks { dialect, prefix: "", auth: default_auth(dialect) };
        settings.dialects.iter().map(|&dialect| like(dialect).unwrap_or_else(|| first(dialect))).collect()
    };
    let with_codec = |how: Speaks| Spoken { how, codec: codec(how.dialect, &quirks), known: OnceLock::new() };
    let mut wanted = wanted.into_iter().map(with_codec);
    Tongues { preferred: wanted.next().unwrap_or_else(|| with_codec(CHAT)), others: wanted.collect() }
}

fn codec(dialect: Dialect, quirks: &Quirks) -> Arc<dyn Codec> {
    match dialect {
        Dialect::OpenaiChat => Arc::new(OpenaiChat::new(quirks.clone())),
        dialect => crate::dialect::codec(dialect),
    }
}

/// How the inventor of a dialect takes its key.
fn default_auth(dialect: Dialect) -> Auth {
    match dialect {
        Dialect::Anthropic => Auth::Header("x-api-key"),
        Dialect::Gemini => Auth::Header("x-goog-api-key"),
        _ => Auth::Bearer,
    }
}

/// The names of a provider's list that are names: `*` says only that any other is taken too.
fn named_models(settings: &ProviderSettings) -> Vec<ModelName> {
    settings.models.iter().filter(|name| !name.contains('*')).filter_map(|name| ModelName::new(name).ok()).collect()
}

fn headers(id: &ProviderId, settings: &ProviderSettings) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in &settings.headers {
        let header: HeaderName =
            name.parse().map_err(|_| Error::invalid(format!("{name:?} is not a header's name")).at(id, None))?;
        let mut value = HeaderValue::from_str(value.expose())
            .map_err(|_| Error::invalid(format!("the header {header} holds a control character")).at(id, None))?;
        // Gateways take keys in headers of their own.
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}
