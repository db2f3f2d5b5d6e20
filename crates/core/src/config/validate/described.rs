//! What several keys of the configuration describe together: credentials, and the keys of clients.
//!
//! What is wrong elsewhere is `../validate.rs`'s business, as is that no key has several forms.

use std::collections::BTreeMap;

use super::super::keys::KEY_LIFETIME;
use super::super::origin::Origin;
use super::super::value::Value;
use super::super::{ClientKey, Credential, KeyLimits};
use super::{CLIENT_KEYS, CREDENTIALS, Check, FORMS_OF_A_CLIENT_KEY, FORMS_OF_A_KEY, forms_below};
use crate::secret::Secret;

/// A table of a list: its names, and the origin of one of its values.
type Item = (Vec<String>, Origin);

impl Check<'_> {
    /// The credential that the keys below `above` describe.
    pub(super) fn credential(&self, above: &str, names: &[String]) -> Option<Credential> {
        forms_below(above).iter().find_map(|form| {
            let (value, origin) = self.get(&format!("{above}.{form}"), names)?;
            Some(match (form.rsplit('_').next()?, value) {
                ("env", Value::Text(name)) => Credential::Env {
                    name: name.clone(),
                    value: self.environment.secret(name).unwrap_or_else(|| Secret::new("")),
                },
                ("file", value) => Credential::File(value.path()?),
                ("command", Value::List(argv)) => Credential::Command {
                    argv: argv.clone(),
                    lifetime: self
                        .get(&format!("{above}.api_key_lifetime"), names)
                        .and_then(|(value, _)| value.duration())
                        .unwrap_or(KEY_LIFETIME),
                },
                (_, Value::Secret(value)) => match origin {
                    Origin::Variable(name) => Credential::Env { name: name.clone(), value: value.clone() },
                    _ => Credential::Value(value.clone()),
                },
                _ => return None,
            })
        })
    }

    /// The tables of the lists at `path`, by the names above them: each with its own names and the origin of one of its values, in order.
    fn items(&self, path: &str) -> BTreeMap<Vec<String>, Vec<Item>> {
        let mut items: BTreeMap<(Vec<String>, usize), Item> = BTreeMap::new();
        for (spot, (_, origin)) in self.layer.iter().filter(|(spot, _)| spot.key.path.starts_with(path)) {
            if let Some((index, above)) = spot.names.split_last() {
                let index = index.parse().unwrap_or(usize::MAX);
                items.entry((above.to_vec(), index)).or_insert((spot.names.clone(), origin.clone()));
            }
        }
        let mut lists: BTreeMap<Vec<String>, Vec<Item>> = BTreeMap::new();
        for ((above, _), item) in items {
            lists.entry(above).or_default().push(item);
        }
        lists
    }

    pub(super) fn credentials(&mut self) {
        let mut lists = self.items(CREDENTIALS);
        for id in self.settings.providers.keys().cloned().collect::<Vec<_>>() {
            let names = vec![id.to_string()];
            let mut found: Vec<Credential> = self.credential("providers.*", &names).into_iter().collect();
            for (names, origin) in lists.remove(&names).unwrap_or_default() {
                match self.credential(CREDENTIALS, &names) {
                    Some(credential) => found.push(credential),
                    None => {
                        let message = format!("a credential needs one of {}", FORMS_OF_A_KEY.join(", "));
                        self.problem(origin, format!("providers.{id}.credentials"), message, None);
                    }
                }
            }
            if let Some(provider) = self.settings.providers.get_mut(&id) {
                provider.credentials = found;
            }
        }
    }

    pub(super) fn client_keys(&mut self) {
        for (names, origin) in self.items(CLIENT_KEYS).into_values().flatten() {
            let name = self.get("server.api_keys.[].name", &names).and_then(|(value, _)| value.text());
            let key = self.credential(CLIENT_KEYS, &names);
            let admin = self.get("server.api_keys.[].admin", &names).and_then(|(value, _)| value.flag()) == Some(true);
            let team = self.get("server.api_keys.[].team", &names).and_then(|(value, _)| value.text());
            let limits = self.limits_of(&names);
            let twice = self.settings.server.api_keys.iter().any(|other| Some(&other.name) == name.as_ref());
            match (name, key) {
                (Some(name), Some(_)) if twice => {
                    self.problem(origin, "server.api_keys".into(), format!("{name:?} is here twice"), None)
                }
                (Some(name), Some(key)) => {
                    self.settings.server.api_keys.push(ClientKey { name, key, admin, team, limits })
                }
                (None, _) => self.problem(origin, "server.api_keys".into(), "a key needs a name", None),
                (_, None) => {
                    let message = format!("a key needs one of {}", FORMS_OF_A_CLIENT_KEY.join(", "));
                    self.problem(origin, "server.api_keys".into(), message, None);
                }
            }
        }
    }

    /// The limits of a client's key.
    fn limits_of(&self, names: &[String]) -> KeyLimits {
        let value = |field: &str| self.get(&format!("{CLIENT_KEYS}.{field}"), names).map(|(value, _)| value);
        KeyLimits {
            requests_per_minute: value("requests_per_minute").and_then(Value::integer),
            tokens_per_minute: value("tokens_per_minute").and_then(Value::integer),
            max_tokens: value("max_tokens").and_then(Value::integer),
            concurrency: value("concurrency").and_then(Value::integer),
            models: value("models").and_then(Value::list).unwrap_or_default(),
            budget_per_day: value("budget_per_day").and_then(Value::integer),
            budget_per_month: value("budget_per_month").and_then(Value::integer),
            unpriced: value("unpriced").and_then(Value::flag) == Some(true),
        }
    }
}
