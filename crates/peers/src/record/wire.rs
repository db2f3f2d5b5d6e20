//! How a record writes what is a choice: as words, so that a later version can add some. A word that is unknown here is read as the most careful one.

use std::fmt;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

/// Whom a peer serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Those whom it allows.
    #[default]
    Allowed,
    /// Anybody.
    Public,
}

/// What a peer writes down of requests, as it says itself: nobody can check it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Logs {
    /// Nothing.
    None,
    /// Times, sizes, who asked.
    Meta,
    /// Everything; also who does not say.
    #[default]
    Full,
}

impl Access {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allow",
            Self::Public => "public",
        }
    }
}

impl Logs {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Meta => "meta",
            Self::Full => "full",
        }
    }
}

impl Serialize for Access {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl Serialize for Logs {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Access {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let word = String::deserialize(from)?;
        Ok(if word == Self::Public.name() { Self::Public } else { Self::Allowed })
    }
}

impl<'de> Deserialize<'de> for Logs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let word = String::deserialize(from)?;
        Ok([Self::None, Self::Meta].into_iter().find(|logs| logs.name() == word).unwrap_or(Self::Full))
    }
}

/// What a model reads besides text: a list of words on the wire, a set of bits here.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Modalities(u8);

impl Modalities {
    /// Pictures.
    pub const IMAGE: Self = Self(1);
    /// Sound.
    pub const AUDIO: Self = Self(2);
    /// Documents.
    pub const FILE: Self = Self(4);
    /// Moving pictures.
    pub const VIDEO: Self = Self(8);

    const WORDS: [(&'static str, Self); 4] =
        [("image", Self::IMAGE), ("audio", Self::AUDIO), ("file", Self::FILE), ("video", Self::VIDEO)];

    /// Whether it is text alone.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == 0
    }

    /// These and those.
    #[must_use]
    pub const fn with(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    /// Whether all of those are among these.
    #[must_use]
    pub fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    /// Their words.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        Self::WORDS.into_iter().filter(move |(_, one)| self.has(*one)).map(|(word, _)| word)
    }
}

impl fmt::Debug for Modalities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.words()).finish()
    }
}

impl Serialize for Modalities {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let words: Vec<&str> = self.words().collect();
        words.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Modalities {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = Modalities;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of words")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Modalities, A::Error> {
                let mut all = Modalities::default();
                while let Some(word) = list.next_element::<String>()? {
                    let known = Modalities::WORDS.iter().find(|(known, _)| *known == word);
                    all = known.map_or(all, |(_, one)| all.with(*one));
                }
                Ok(all)
            }
        }
        from.deserialize_seq(Words)
    }
}
