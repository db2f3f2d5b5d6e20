//! Reading the books: sums of a time, put together by what is asked for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::account::Account;
use super::day::Day;
use super::tally::{Kept, Tally};
use super::{Books, SPACE};
use crate::error::{Error, Result};
use crate::store::Scan;

/// Records read at a time.
const PAGE: usize = 1000;
/// The most rows of a report.
const MOST_ROWS: usize = 10_000;

/// What usage is put together by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum By {
    /// The day of UTC.
    Day,
    /// The client's key.
    Key,
    /// The key's team.
    Team,
    /// Who was asked.
    Provider,
    /// For which model.
    Model,
}

impl By {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Day, Self::Key, Self::Team, Self::Provider, Self::Model];

    /// Its name: `day`, `key`, `team`, `provider`, `model`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Key => "key",
            Self::Team => "team",
            Self::Provider => "provider",
            Self::Model => "model",
        }
    }

    /// Reads names with commas between.
    ///
    /// # Errors
    /// `caller_invalid_request` for a name that is none of them.
    pub fn parse(text: &str) -> Result<Vec<Self>> {
        let one = |name: &str| {
            Self::ALL.into_iter().find(|by| by.name() == name.trim()).ok_or_else(|| {
                Error::invalid(format!("by: usage is not kept by {:?}", crate::ids::shorten(name)))
                    .with_hint("name day, key, team, provider or model, or several with commas between")
            })
        };
        let mut all = Vec::new();
        for name in text.split(',') {
            let by = one(name)?;
            if !all.contains(&by) {
                all.push(by);
            }
        }
        Ok(all)
    }
}

/// What is asked of the books.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Query {
    /// The first day.
    pub since: Day,
    /// The last day.
    pub until: Day,
    /// What it is put together by, in this order.
    pub by: Vec<By>,
    /// Only what this key used, by its whole name as the books have it.
    pub key: Option<String>,
    /// Only what the keys used that somebody means by this: a name, an id, or both, as in [`means`].
    pub keys: Option<String>,
}

/// Whether somebody who says this means a key that the books have: by its name, which several keys may have had, by its id, or by `name#id`.
#[must_use]
pub fn means(said: &str, key: &str) -> bool {
    said == key || key.split_once('#').is_some_and(|(name, id)| said == name || said == id)
}

impl Query {
    /// All that was used in these days.
    #[must_use]
    pub fn new(since: Day, until: Day, by: Vec<By>) -> Self {
        Self { since, until, by, key: None, keys: None }
    }

    /// Reads a query as people write it: `by` as [`By::parse`], days as `2026-11-23`, or as `7d` for that many days with today among them. Without days it is the last thirty,
    /// without `by` each day.
    ///
    /// # Errors
    /// `caller_invalid_request` for what cannot be read.
    pub fn parse(today: Day, by: Option<&str>, since: Option<&str>, until: Option<&str>) -> Result<Self> {
        let day = |name: &str, text: &str| {
            let days = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok()).filter(|days| *days > 0);
            days.map(|days| today.before(days - 1)).or_else(|| Day::parse(text)).ok_or_else(|| {
                Error::invalid(format!("{name}: {:?} is no day", crate::ids::shorten(text)))
                    .with_hint("write 2026-11-23, or 7d for the last seven days")
            })
        };
        let since = since.map_or(Ok(today.before(29)), |text| day("since", text))?;
        let until = until.map_or(Ok(today), |text| day("until", text))?;
        if until < since {
            return Err(Error::invalid(format!("until: {until} is before {since}")));
        }
        Ok(Self::new(since, until, by.map_or(Ok(vec![By::Day]), By::parse)?))
    }

    /// Of what the keys used alone that are meant by this, as people write it: a name, an id, or `name#id`. [`Books::report`] refuses one that the books do not know.
    #[must_use]
    pub fn of_keys(mut self, said: Option<&str>) -> Self {
        self.keys = said.map(str::to_owned);
        self
    }

    /// Of what this key used alone, by its whole name.
    #[must_use]
    pub fn of_key(mut self, key: Option<&str>) -> Self {
        self.key = key.map(str::to_owned);
        self
    }
}

/// What the books say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The first day.
    #[serde(serialize_with = "text")]
    pub since: Day,
    /// The last day.
    #[serde(serialize_with = "text")]
    pub until: Day,
    /// What it is put together by.
    pub by: Vec<By>,
    /// The sums, in the order of what they are put together by.
    pub rows: Vec<Row>,
    /// All rows together.
    pub total: Tally,
}

/// One sum of a report. A name that there is not is empty: no key, no team, nobody who was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Row {
    /// The day of UTC, where the report is by day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// The key, where it is by key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The team, where it is by team.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// The provider, where it is by provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The model, where it is by model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What was counted.
    #[serde(flatten)]
    pub tally: Tally,
}

impl Row {
    /// The name by which it is put together.
    #[must_use]
    pub fn name(&self, by: By) -> Option<&str> {
        let name = match by {
            By::Day => &self.day,
            By::Key => &self.key,
            By::Team => &self.team,
            By::Provider => &self.provider,
            By::Model => &self.model,
        };
        name.as_deref()
    }
}

fn text<S: serde::Serializer>(day: &Day, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(day)
}

fn named(account: &Account, by: By) -> String {
    match by {
        By::Day => account.day.to_string(),
        By::Key => account.key.to_string(),
        By::Team => account.team.to_string(),
        By::Provider => account.provider.to_string(),
        By::Model => account.model.to_string(),
    }
}

impl Books {
    /// Puts usage together, what this process has not written yet included.
    ///
    /// # Errors
    /// `caller_invalid_request` where it would be more rows than anybody reads, and for [`Query::keys`] that are on no day in the books; `router_unavailable` when the store cannot be read.
    pub async fn report(&self, query: &Query) -> Result<Report> {
        // What cannot be written now is missing here, which its own warning says.
        let _ = self.flush().await;
        let mut sums: BTreeMap<Vec<String>, Tally> = BTreeMap::new();
        let mut total = Tally::default();
        let mut after = Some(query.since.to_string());
        'pages: loop {
            let range = Scan { prefix: "", after: after.as_deref(), limit: PAGE };
            let page = self.0.store.scan(SPACE, range).await?;
            let last = page.len() < PAGE;
            after = page.last().map(|(place, _)| place.clone());
            for (place, record) in page {
                let Some(account) = Account::read(&place) else { continue };
                if account.day > query.until {
                    break 'pages;
                }
                if query.key.as_deref().is_some_and(|key| *account.key != *key) {
                    continue;
                }
                if query.keys.as_deref().is_some_and(|said| !means(said, &account.key)) {
                    continue;
                }
                let tally = Kept::read(&record)?.tally();
                total.add(&tally);
                sums.entry(query.by.iter().map(|by| named(&account, *by)).collect()).or_default().add(&tally);
                if sums.len() > MOST_ROWS {
                    return Err(Error::invalid(format!("usage: more than {MOST_ROWS} rows"))
                        .with_hint("ask for fewer days, or by less"));
                }
            }
            if last {
                break;
            }
        }
        if let Some(said) = query.keys.as_deref().filter(|_| sums.is_empty())
            && !self.know(said).await?
        {
            return Err(Error::invalid(format!("no key {:?} is in the books", crate::ids::shorten(said))).with_hint(
                "`llm-router usage --by key` lists those of these days; a key that has used nothing is not among them",
            ));
        }
        let rows = sums.into_iter().map(|(names, tally)| {
            let mut row = Row { tally, ..Row::default() };
            for (by, name) in query.by.iter().zip(names) {
                let place = match by {
                    By::Day => &mut row.day,
                    By::Key => &mut row.key,
                    By::Team => &mut row.team,
                    By::Provider => &mut row.provider,
                    By::Model => &mut row.model,
                };
                *place = Some(name);
            }
            row
        });
        Ok(Report { since: query.since, until: query.until, by: query.by.clone(), rows: rows.collect(), total })
    }

    /// Whether a key that is meant by this has used anything on any day that is kept.
    async fn know(&self, said: &str) -> Result<bool> {
        let mut after: Option<String> = None;
        loop {
            let page = self.0.store.scan(SPACE, Scan { prefix: "", after: after.as_deref(), limit: PAGE }).await?;
            let accounts = page.iter().filter_map(|(place, _)| Account::read(place));
            if accounts.into_iter().any(|account| means(said, &account.key)) {
                return Ok(true);
            }
            if page.len() < PAGE {
                return Ok(false);
            }
            after = page.last().map(|(place, _)| place.clone());
        }
    }
}
