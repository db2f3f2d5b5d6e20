//! What is kept of a key: everything but the key itself. Plain data; who keeps it is `keyring.rs`.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::Limits;
use super::grant::{ID, Link, mac};
use crate::error::{Error, Result};
use crate::ids::{ModelName, Namespace, shorten};

/// The longest name of a key or a team, in bytes.
const LONGEST_NAME: usize = 64;
/// The most tags of a key, and the most models that it names.
const MOST: usize = 64;

/// The last second of the year 9999.
pub(super) const LAST: u64 = 253_402_300_799;

/// What a key may do besides asking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// Nothing.
    #[default]
    User,
    /// Make and revoke keys, clear caches, see what others used.
    Admin,
}

/// What a new key shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct KeySpec {
    /// Whose it is: no other key that holds has the same.
    pub name: String,
    /// What it may do besides asking.
    pub role: Role,
    /// The team with whose other keys it counts together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Labels of whoever made it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Until when it holds, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// What it may do.
    pub limits: Limits,
}

impl KeySpec {
    /// A key of this name without limits.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Refuses what cannot be made a new key: beside what cannot be a key at all, a name that would be taken for the id of one. Keys that have such a name since earlier keep it.
    ///
    /// # Errors
    /// `caller_invalid_request` naming the field.
    pub fn check_new(&self, now: SystemTime) -> Result<()> {
        self.check(now)?;
        if self.name.len() == ID && self.name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error::invalid(format!("name: {:?} would be taken for the id of a key", self.name))
                .with_hint("choose another name"));
        }
        Ok(())
    }

    /// Refuses what cannot be a key.
    ///
    /// # Errors
    /// `caller_invalid_request` naming the field.
    pub fn check(&self, now: SystemTime) -> Result<()> {
        name("name", &self.name)?;
        self.team.as_deref().map_or(Ok(()), |team| name("team", team))?;
        if self.tags.len() > MOST || self.limits.models.len() > MOST {
            return Err(Error::invalid(format!("a key has at most {MOST} tags and names at most {MOST} models")));
        }
        self.tags.iter().try_for_each(|tag| name("tags", tag))?;
        for model in &self.limits.models {
            ModelName::new(model)?;
        }
        if self.limits.max_tokens == Some(0) {
            return Err(Error::invalid("max_tokens: no answer has 0 tokens").with_hint("allow at least one"));
        }
        if self.expires.is_some_and(|expires| at(expires) <= now) {
            return Err(Error::invalid("the key would have expired before it was made")
                .with_hint("give a time that is still to come"));
        }
        if self.expires.is_some_and(|expires| expires > LAST) {
            return Err(Error::invalid("expires: the time is past the year 9999")
                .with_hint("seconds since 1970 are wanted, not milliseconds"));
        }
        Ok(())
    }
}

fn name(field: &str, text: &str) -> Result<()> {
    let fits = text.len() <= LONGEST_NAME && !text.contains('#') && Namespace::new(text).is_ok();
    if fits {
        return Ok(());
    }
    Err(Error::invalid(format!("{field}: {:?} is no name of a key", shorten(text)))
        .with_hint(format!("use 1 to {LONGEST_NAME} printable ASCII characters, no blanks, quotes, `\\` or `#`")))
}

/// What shall be different about a key. What is absent stays as it is; for what may be none at all, `null` takes it away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct KeyChange {
    /// What it may do besides asking.
    pub role: Option<Role>,
    /// The team with whose other keys it counts together.
    #[serde(deserialize_with = "given")]
    pub team: Option<Option<String>>,
    /// Labels, all of them.
    pub tags: Option<Vec<String>>,
    /// Until when it holds, in seconds since 1970.
    #[serde(deserialize_with = "given")]
    pub expires: Option<Option<u64>>,
    /// Its limits, each as here.
    pub limits: LimitChange,
}

/// What shall be different about limits, as in [`KeyChange`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
#[allow(missing_docs)]
pub struct LimitChange {
    #[serde(deserialize_with = "given")]
    pub requests_per_minute: Option<Option<u64>>,
    #[serde(deserialize_with = "given")]
    pub tokens_per_minute: Option<Option<u64>>,
    #[serde(deserialize_with = "given")]
    pub max_tokens: Option<Option<u32>>,
    #[serde(deserialize_with = "given")]
    pub concurrency: Option<Option<u32>>,
    pub models: Option<Vec<String>>,
    #[serde(deserialize_with = "super::money::given")]
    pub budget_per_day: Option<Option<u64>>,
    #[serde(deserialize_with = "super::money::given")]
    pub budget_per_month: Option<Option<u64>>,
    #[serde(deserialize_with = "super::money::given")]
    pub budget: Option<Option<u64>>,
    pub unpriced: Option<bool>,
}

/// What stands there is meant, `null` too.
fn given<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
) -> std::result::Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(from).map(Some)
}

fn put<T: Clone>(field: &mut T, value: &Option<T>) {
    if let Some(value) = value {
        field.clone_from(value);
    }
}

impl KeyChange {
    /// Makes the change.
    pub(crate) fn apply(&self, spec: &mut KeySpec) {
        put(&mut spec.role, &self.role);
        put(&mut spec.team, &self.team);
        put(&mut spec.tags, &self.tags);
        put(&mut spec.expires, &self.expires);
        let (to, from) = (&mut spec.limits, &self.limits);
        put(&mut to.requests_per_minute, &from.requests_per_minute);
        put(&mut to.tokens_per_minute, &from.tokens_per_minute);
        put(&mut to.max_tokens, &from.max_tokens);
        put(&mut to.concurrency, &from.concurrency);
        put(&mut to.models, &from.models);
        put(&mut to.budget_per_day, &from.budget_per_day);
        put(&mut to.budget_per_month, &from.budget_per_month);
        put(&mut to.budget, &from.budget);
        put(&mut to.unpriced, &from.unpriced);
    }
}

/// A key as it is kept. The key cannot be had from it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KeyRecord {
    /// Its id, 16 hexadecimal digits: the part of the key that is no secret.
    pub id: String,
    /// What it is.
    #[serde(rename = "about")]
    pub spec: Kept,
    /// The SHA-256 of its secret.
    #[serde(with = "hexadecimal")]
    pub(crate) hash: Link,
    /// The root of what is derived from it, sealed.
    #[serde(with = "hexadecimal")]
    pub(crate) root: Link,
}

/// 32 bytes as 64 digits.
mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(link: &super::Link, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::hex(link))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<super::Link, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        super::unhex(&text).ok_or_else(|| de::Error::custom("not 64 hexadecimal digits"))
    }
}

impl KeyRecord {
    /// When it held no more, in seconds since 1970; none where it holds or will end later.
    #[must_use]
    pub fn over(&self, now: SystemTime) -> Option<u64> {
        self.spec.end().filter(|end| at(*end) <= now)
    }
}

/// For how long the record of a key that holds no more is kept.
pub const KEPT: Duration = Duration::from_secs(30 * 86_400);

/// What of a key's record may be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Kept {
    /// As it was asked for.
    #[serde(rename = "key")]
    pub spec: KeySpec,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// Who made it.
    pub by: String,
    /// When it was revoked, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<u64>,
}

impl Kept {
    /// When it held or will hold no more, in seconds since 1970.
    fn end(&self) -> Option<u64> {
        self.spec.expires.into_iter().chain(self.revoked).min()
    }

    /// When its record is gone.
    pub(crate) fn gone(&self) -> Option<SystemTime> {
        at(self.end()?).checked_add(KEPT)
    }
}

impl fmt::Debug for KeyRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRecord").field("id", &self.id).field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// Something that was done to keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Deed {
    /// When, in seconds since 1970.
    pub at: u64,
    /// Who did it: the name of a key, or `command line`.
    pub by: String,
    /// What was done: `create`, `update`, `revoke`, `forget`.
    pub did: String,
    /// The id of the key.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What the key was to be, where it was made or changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<KeySpec>,
}

/// Closes the roots of derived keys, so that who reads the store alone cannot make any. Its own secret is kept elsewhere, and asked for when it is first needed.
pub struct Seal {
    secret: Box<dyn Fn() -> Result<Link> + Send + Sync>,
    known: OnceLock<Result<Link>>,
}

impl Seal {
    /// A seal whose 32 secret bytes come from here.
    pub fn new(secret: impl Fn() -> Result<[u8; 32]> + Send + Sync + 'static) -> Self {
        Self { secret: Box::new(secret), known: OnceLock::new() }
    }

    /// Seals the root of a key, or opens it: each key has a pad of its own, and it is used once.
    pub(crate) fn turn(&self, id: &str, root: &Link) -> Result<Link> {
        let secret = self.known.get_or_init(|| (self.secret)()).clone()?;
        let mut turned = mac(&secret, format!("llm-router key root {id}").as_bytes());
        turned.iter_mut().zip(root).for_each(|(pad, byte)| *pad ^= byte);
        Ok(turned)
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal(…)")
    }
}

/// The digest under which a secret is known.
pub(crate) fn hash(secret: &Link) -> Link {
    let mut out = [0; 32];
    out.iter_mut().zip(digest(&SHA256, secret).as_ref()).for_each(|(to, from)| *to = *from);
    out
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Option<Link> {
    let mut out = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (at, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(out)
}

/// A time in seconds since 1970.
pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The time of seconds since 1970.
pub(crate) fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_cannot_be_a_key_is_refused_by_its_field() {
        let now = at(1_000);
        assert!(KeySpec::new("alice").check_new(now).is_ok());
        assert!(KeySpec::new("0011223344556677").check(now).is_ok(), "one that is called so can be changed");
        for (field, change) in [
            ("name", (|spec| spec.name = "a b".into()) as fn(&mut KeySpec)),
            ("name", |spec| spec.name = "a#b".into()),
            ("name", |spec| spec.name.clear()),
            ("name", |spec| spec.name = "0011223344556677".into()),
            ("year 9999", |spec| spec.expires = Some(1_800_000_000_000)),
            ("team", |spec| spec.team = Some("x".repeat(65))),
            ("tags", |spec| spec.tags = vec!["ok".into(), "\n".into()]),
            ("model", |spec| spec.limits.models = vec!["-x".into()]),
            ("expired", |spec| spec.expires = Some(1_000)),
        ] {
            let mut spec = KeySpec::new("alice");
            change(&mut spec);
            assert!(spec.check_new(now).unwrap_err().message().contains(field), "{field}");
        }
    }

    #[test]
    fn a_seal_opens_what_it_closed_and_another_does_not() {
        let (seal, other) = (Seal::new(|| Ok([1; 32])), Seal::new(|| Ok([2; 32])));
        let closed = seal.turn("id", &[9; 32]).unwrap();
        assert_eq!(seal.turn("id", &closed).unwrap(), [9; 32]);
        assert_ne!(other.turn("id", &closed).unwrap(), [9; 32]);
        assert_ne!(seal.turn("other", &closed).unwrap(), [9; 32]);
        assert_eq!(unhex(&hex(&closed)), Some(closed));
        assert_eq!(unhex("éé"), None);
    }
}
