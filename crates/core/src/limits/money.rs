//! Money as people write it in JSON: a whole number is micro-dollars, a text is dollars. What is written is always the number. What an amount limits is `limits.rs`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::pricing::parse_dollars;

/// An amount in micro-dollars.
struct Money(u64);

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Amount)
    }
}

struct Amount;

impl Visitor<'_> for Amount {
    type Value = Money;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"micro-dollars as a whole number such as 2000000, or dollars as a text such as "2.00""#)
    }

    fn visit_u64<E: Error>(self, micros: u64) -> Result<Money, E> {
        Ok(Money(micros))
    }

    fn visit_str<E: Error>(self, dollars: &str) -> Result<Money, E> {
        let wrong = || E::invalid_value(serde::de::Unexpected::Str(crate::ids::shorten(dollars).as_ref()), &self);
        parse_dollars(dollars).map(Money).ok_or_else(wrong)
    }
}

/// An amount, or none.
pub(super) fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    Ok(Option::<Money>::deserialize(from)?.map(|money| money.0))
}

/// An amount that is given, which may be none, as in [`LimitChange`](super::key::LimitChange).
pub(super) fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<u64>>, D::Error> {
    read(from).map(Some)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::limits::Limits;
    use crate::limits::key::LimitChange;

    #[test]
    fn numbers_are_micro_dollars_and_texts_are_dollars() {
        for (said, micros) in [("2", Some(2)), (r#""2""#, Some(2_000_000)), (r#""0.000001""#, Some(1)), ("null", None)]
        {
            let text = format!(r#"{{"budget_per_day":{said}}}"#);
            assert_eq!(serde_json::from_str::<Limits>(&text).unwrap().budget_per_day, micros, "{said}");
            assert_eq!(serde_json::from_str::<LimitChange>(&text).unwrap().budget_per_day, Some(micros), "{said}");
        }
        assert_eq!(serde_json::from_str::<LimitChange>("{}").unwrap().budget, None);
        for said in ["2.5", "-1", r#""two""#, r#""-1""#, "true", r#""""#] {
            let error = serde_json::from_str::<Limits>(&format!(r#"{{"budget":{said}}}"#)).unwrap_err().to_string();
            assert!(error.contains("micro-dollars") && error.contains("dollars as a text"), "{said}: {error}");
        }
    }
}
