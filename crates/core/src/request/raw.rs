//! JSON that is carried and not understood. What is understood is everywhere else in this folder.

use std::{collections::BTreeMap, fmt, sync::Arc};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use crate::dialect::Dialect;
use crate::error::{Error, Result};

/// JSON kept as the text it came in: key order, number digits and spacing survive.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawJson(Arc<RawValue>);

impl RawJson {
    /// Checks that `text` is one JSON value and keeps it.
    ///
    /// # Errors
    /// `caller_invalid_request` when it is not JSON.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str::<Box<RawValue>>(text)
            .map(|raw| Self(raw.into()))
            .map_err(|error| Error::invalid(format!("not JSON: {error}")))
    }

    /// Any serialisable value as JSON text.
    ///
    /// # Errors
    /// `router_internal` when the value has no JSON form (a map with keys that are not text).
    pub fn of(value: &impl Serialize) -> Result<Self> {
        serde_json::value::to_raw_value(value)
            .map(|raw| Self(raw.into()))
            .map_err(|error| Error::internal(format!("not representable as JSON: {error}")))
    }

    /// The text.
    pub fn get(&self) -> &str {
        self.0.get()
    }

    /// The parsed value. Numbers beyond 64 bits lose digits here; [`RawJson::get`] has them.
    pub fn value(&self) -> Value {
        serde_json::from_str(self.get()).unwrap_or(Value::Null)
    }
}

impl From<&RawValue> for RawJson {
    fn from(raw: &RawValue) -> Self {
        Self(Arc::from(raw.to_owned()))
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get())
    }
}

impl PartialEq for RawJson {
    /// Equal when they mean the same JSON; spacing does not count.
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get() || self.value() == other.value()
    }
}

/// Fields of a dialect that have no place of their own in these types: dialect → ordered map, as received.
pub type Extra = BTreeMap<Dialect, IndexMap<String, RawJson>>;
