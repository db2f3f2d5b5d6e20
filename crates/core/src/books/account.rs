//! Under what usage is counted: a day, a key, a team, a provider and a model. As a value, as it is looked up without a copy, and as the text that orders the store's records.

use std::fmt;
use std::hash::{Hash, Hasher};

use indexmap::Equivalent;

use super::day::Day;

/// What stands for all that has no place of its own.
const OTHER: &str = "other";
/// The longest part of a record's key, in bytes: five of them and a day fit into [`MAX_KEY`](crate::store::MAX_KEY).
const LONGEST: usize = 200;

/// What usage is counted under. A part that there is not is empty: no key, no team, no provider that was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry<'a> {
    /// The day of UTC.
    pub day: Day,
    /// The name of the client's key.
    pub key: &'a str,
    /// Its team.
    pub team: &'a str,
    /// Who was asked.
    pub provider: &'a str,
    /// For which model.
    pub model: &'a str,
}

/// An [`Entry`] of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Account {
    pub(super) day: Day,
    pub(super) key: Box<str>,
    pub(super) team: Box<str>,
    pub(super) provider: Box<str>,
    pub(super) model: Box<str>,
}

impl Account {
    pub(super) fn entry(&self) -> Entry<'_> {
        Entry { day: self.day, key: &self.key, team: &self.team, provider: &self.provider, model: &self.model }
    }

    /// The record's key: the day first, so that records of a time lie beside each other.
    pub(super) fn place(&self) -> String {
        self.entry().to_string()
    }

    /// Reads a record's key; none for one that is not of this form.
    pub(super) fn read(place: &str) -> Option<Self> {
        let mut parts = place.split('\t');
        let day = Day::parse(parts.next()?)?;
        let mut part = || parts.next().map(Box::from);
        let account = Self { day, key: part()?, team: part()?, provider: part()?, model: part()? };
        parts.next().is_none().then_some(account)
    }
}

impl From<Entry<'_>> for Account {
    fn from(entry: Entry<'_>) -> Self {
        let Entry { day, key, team, provider, model } = entry;
        Self { day, key: part(key), team: part(team), provider: part(provider), model: part(model) }
    }
}

impl<'a> Entry<'a> {
    /// The same for a model that has no place of its own.
    pub(super) fn of_other_model(self) -> Self {
        Self { model: OTHER, ..self }
    }

    /// The same where nothing but the key has a place of its own: who pays is not forgotten.
    pub(super) fn of_other_provider(self) -> Self {
        Self { provider: OTHER, model: OTHER, ..self }
    }

    /// The model without the digest of its file, which the embedded engine puts behind its name.
    pub(crate) fn bare(model: &'a str) -> &'a str {
        match model.rsplit_once('@') {
            Some((name, digest)) if digest.len() == 16 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()) => name,
            _ => model,
        }
    }
}

impl Hash for Account {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.entry().hash(state);
    }
}

impl Equivalent<Account> for Entry<'_> {
    fn equivalent(&self, account: &Account) -> bool {
        *self == account.entry()
    }
}

impl fmt::Display for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { day, key, team, provider, model } = self;
        write!(f, "{day}\t{key}\t{team}\t{provider}\t{model}")
    }
}

/// A name as a part of a record's key. Names of keys are a program's own text where the router is a library.
fn part(name: &str) -> Box<str> {
    let fits = name.len() <= LONGEST && !name.contains(char::is_control);
    if fits {
        return name.into();
    }
    let mut end = LONGEST.min(name.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    let cut = name.get(..end).unwrap_or_default();
    cut.chars().map(|sign| if sign.is_control() { '?' } else { sign }).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::store::MAX_KEY;

    #[test]
    fn a_place_is_read_back_and_always_fits() {
        let day = Day::parse("2026-11-23").unwrap();
        let entry = Entry { day, key: "alice#0123", team: "", provider: "openrouter", model: "openai/gpt-4o-mini" };
        let account = Account::from(entry);
        assert_eq!(Account::read(&account.place()), Some(account.clone()));
        assert!(entry.equivalent(&account));
        let long = "ü\t\n".repeat(500);
        let account = Account::from(Entry { day, key: &long, team: &long, provider: &long, model: &long });
        assert!(account.place().len() <= MAX_KEY);
        assert_eq!(Account::read(&account.place()), Some(account));
        for place in ["", "2026-11-23", "2026-11-23\ta\tb\tc", "2026-11-23\ta\tb\tc\td\te", "x\ta\tb\tc\td"] {
            assert_eq!(Account::read(place), None, "{place}");
        }
        assert_eq!(Entry::bare("smol@0123456789abcdef"), "smol");
        assert_eq!(Entry::bare("claude@20250101"), "claude@20250101");
    }
}
