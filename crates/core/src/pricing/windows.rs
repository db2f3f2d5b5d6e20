//! Context windows of well-known models: a table like that of the prices, `windows.toml`. A model that is not in it has an unknown window, which leaves nobody out.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::ids::matches_pattern;

const TABLE: &str = include_str!("windows.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    row: Vec<Row>,
}

/// A row of the table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    provider: String,
    /// `*` for anything.
    model: String,
    /// Tokens, prompt and answer together.
    window: u64,
}

static ROWS: LazyLock<Vec<Row>> =
    LazyLock::new(|| toml::from_str::<Table>(TABLE).map(|table| table.row).unwrap_or_default());

/// The window of a model in tokens, where it is known.
pub(crate) fn of(provider: &str, model: &str) -> Option<u64> {
    let row = ROWS.iter().find(|row| row.provider == provider && matches_pattern(&row.model, model));
    row.map(|row| row.window)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_read_and_reached() {
        assert!(ROWS.len() > 10);
        for (at, row) in ROWS.iter().enumerate() {
            assert!(row.window >= 1024, "{row:?}");
            let name = row.model.replace('*', "x");
            let hidden = ROWS
                .iter()
                .take(at)
                .any(|other| other.provider == row.provider && matches_pattern(&other.model, &name));
            assert!(!hidden, "a row before it is asked first: {row:?}");
        }
        assert_eq!(of("openai", "gpt-4o-mini"), Some(128_000));
        assert_eq!((of("openai", "gpt-99"), of("lab", "gpt-4o")), (None, None));
    }
}
