//! Prices: what a model's tokens cost, from a dated table that the configuration may override, in whole micro-dollars.
//!
//! What is not known is not known, and never nothing: a row of zeros is a model that runs on one's own machine. The table is data, `pricing/prices.toml`, which says where its rows
//! come from; a price that changed is corrected there, with its date. Who may spend what is `limits/budget.rs`.

pub(crate) mod windows;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::ids::matches_pattern;
use crate::usage::Usage;

const TABLE: &str = include_str!("pricing/prices.toml");

/// What a million tokens cost, in micro-dollars.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Price {
    /// Of a prompt.
    pub input: u64,
    /// Of an answer, thoughts included.
    pub output: u64,
    /// Of a prompt, where the provider had them in its cache; as `input` where it is not said.
    #[serde(default)]
    pub cached: Option<u64>,
    /// Of a prompt, where the provider writes them to its cache; as `input` where it is not said.
    #[serde(default)]
    pub written: Option<u64>,
}

impl Price {
    /// What an answer costs, in micro-dollars, a part of one counted as a whole.
    #[must_use]
    pub fn cost(&self, usage: &Usage) -> u64 {
        let cached = usage.cache_read.min(usage.input);
        let written = usage.cache_write.min(usage.input - cached);
        let plain = usage.input - cached - written;
        let parts = [
            (plain, self.input),
            (cached, self.cached.unwrap_or(self.input)),
            (written, self.written.unwrap_or(self.input)),
            (usage.output, self.output),
        ];
        let sum: u128 = parts.into_iter().map(|(tokens, price)| u128::from(tokens) * u128::from(price)).sum();
        u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Row {
    /// The provider's id.
    pub provider: String,
    /// The model, `*` for anything.
    pub model: String,
    /// What its tokens cost.
    pub price: Price,
    /// When that was read, `YYYY-MM-DD`; empty for the configuration's own.
    pub date: String,
    /// Where it was read, by its name.
    pub source: String,
}

/// Prices by provider and model, one's own before those of the table; the first row that fits holds.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Prices(BTreeMap<String, Vec<Row>>);

#[derive(Deserialize)]
struct Table {
    row: Vec<Row>,
}

/// The table, read when a price is first asked for: most programs ask for none. A test reads every row; a table that cannot be read knows no price, which no budget
/// mistakes for nothing.
static ROWS: LazyLock<BTreeMap<String, Vec<Row>>> =
    LazyLock::new(|| by_provider(toml::from_str::<Table>(TABLE).map(|table| table.row).unwrap_or_default()));

/// Every attempt asks for a price, and nearly every provider has few rows.
fn by_provider(rows: Vec<Row>) -> BTreeMap<String, Vec<Row>> {
    rows.into_iter().fold(BTreeMap::new(), |mut all: BTreeMap<String, Vec<Row>>, row| {
        all.entry(row.provider.clone()).or_default().push(row);
        all
    })
}

impl Prices {
    /// With prices of one's own before those of the table, each under `provider/model`.
    #[must_use]
    pub fn with<'a>(mut self, own: impl IntoIterator<Item = (&'a str, Price)>) -> Self {
        let rows = own.into_iter().filter_map(|(target, price)| {
            let (provider, model) = target.split_once('/')?;
            let (provider, model) = (provider.to_owned(), model.to_owned());
            Some(Row { provider, model, price, date: String::new(), source: "the configuration".to_owned() })
        });
        for (provider, mut rows) in by_provider(rows.collect()) {
            let before = self.0.entry(provider).or_default();
            rows.append(before);
            *before = rows;
        }
        self
    }

    /// The price of a target, where it is known.
    #[must_use]
    pub fn of(&self, provider: &str, model: Option<&str>) -> Option<&Price> {
        let model = model.unwrap_or_default();
        let rows = [&self.0, &*ROWS].into_iter().filter_map(|rows| rows.get(provider)).flatten();
        rows.into_iter().find(|row| matches_pattern(&row.model, model)).map(|row| &row.price)
    }

    /// The rows; those of a provider in the order in which they are asked.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.0.values().flatten().chain(ROWS.values().flatten())
    }
}

impl fmt::Debug for Prices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own: usize = self.0.values().map(Vec::len).sum();
        write!(f, "Prices({own} of one's own before the table)")
    }
}

/// The largest amount of money that is read: a million dollars is a slip.
pub const MOST_DOLLARS: u64 = 1_000_000;

/// Dollars as people write them, `12.50`, in micro-dollars. Nothing is rounded: more than six decimals are refused.
#[must_use]
pub fn parse_dollars(text: &str) -> Option<u64> {
    let (whole, part) = text.trim().split_once('.').unwrap_or((text.trim(), "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 6 {
        return None;
    }
    let whole: u64 = whole.parse().ok().filter(|whole| *whole <= MOST_DOLLARS)?;
    let part: u64 = format!("{part:0<6}").parse().ok()?;
    Some(whole * 1_000_000 + part)
}

/// Micro-dollars as people read them: `$12.50`.
#[must_use]
pub fn dollars(micros: u64) -> String {
    let (whole, part) = (micros / 1_000_000, format!("{:06}", micros % 1_000_000));
    let cut = part.trim_end_matches('0').len().max(2);
    format!("${whole}.{}", part.get(..cut).unwrap_or(&part))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_table_is_whole_and_each_row_says_where_it_comes_from() {
        let rows = toml::from_str::<Table>(TABLE).unwrap().row;
        assert!(rows.len() > 20);
        for (at, row) in rows.iter().enumerate() {
            let own = row.price == Price::default() || row.price.cached == Some(0) && row.price.input == 0;
            assert!(own || row.price.output >= row.price.input, "{row:?}");
            assert!(row.price.cached.is_none_or(|cached| cached <= row.price.input), "{row:?}");
            assert!(row.date.len() == 10 && !row.source.is_empty(), "{row:?}");
            let hidden = rows[..at].iter().any(|other| {
                other.provider == row.provider && matches_pattern(&other.model, &row.model.replace('*', "x"))
            });
            assert!(!hidden, "a row before it is asked first: {row:?}");
        }
    }

    #[test]
    fn unknown_is_unknown_and_ones_own_comes_first() {
        let prices = Prices::default();
        assert_eq!(prices.of("openai", Some("gpt-4o-mini")).unwrap().input, 150_000);
        assert_eq!(prices.of("openai", Some("gpt-99")), None);
        assert_eq!(prices.of("nobody", None), None);
        assert_eq!(prices.of("local", Some("qwen@0123456789abcdef")), Some(&Price::default()));
        let own = Price { input: 1, output: 2, ..Price::default() };
        let prices = prices.with([("openai/gpt-*", own.clone())]);
        assert_eq!(prices.of("openai", Some("gpt-4o-mini")), Some(&own));
    }

    #[test]
    fn a_cost_is_rounded_up_and_cached_tokens_have_their_own_price() {
        let price = Price { input: 2_500_000, output: 10_000_000, cached: Some(1_250_000), written: None };
        assert_eq!(price.cost(&Usage::new(1, 0)), 3);
        assert_eq!(price.cost(&Usage::new(1_000, 100)), 3_500);
        let mut usage = Usage::new(1_000, 0);
        usage.cache_read = 400;
        assert_eq!(price.cost(&usage), 2_000);
        usage.cache_read = 9_999;
        assert_eq!(price.cost(&usage), 1_250, "no more is cached than there is");
        assert_eq!(price.cost(&Usage::new(u64::MAX, u64::MAX)), u64::MAX);
    }

    #[test]
    fn dollars_are_exact() {
        for (text, micros, shown) in [
            ("1", 1_000_000, "$1.00"),
            ("0.000001", 1, "$0.000001"),
            (" 12.5 ", 12_500_000, "$12.50"),
            ("0", 0, "$0.00"),
        ] {
            assert_eq!(parse_dollars(text), Some(micros));
            assert_eq!(dollars(micros), shown);
        }
        for text in ["", ".", "1.", ".5", "-1", "1e3", "0.0000001", "1000001", "1,5", "$1", "99999999999999999999"] {
            assert_eq!(parse_dollars(text), None, "{text}");
        }
    }
}
