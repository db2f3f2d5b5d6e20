//! How a frame's array `[type, map]` is read and written, for both sides.

use std::marker::PhantomData;

use bytes::{Bytes, BytesMut};
use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
use serde::ser::Serialize;

use super::{Breach, check, frame};

/// What one side may say: a map for each type.
pub(super) trait Message: Sized {
    /// Reads the map of this type; none for a type that is not known.
    fn read<'de, A: SeqAccess<'de>>(kind: &str, rest: &mut A) -> Result<Option<Self>, A::Error>;

    /// Whether all is understood that must be, and nothing is too large.
    fn sound(&self) -> Result<(), Breach>;
}

/// Reads a frame without its length.
pub(super) fn read<M: Message>(bytes: &[u8]) -> Result<M, Breach> {
    check::check(bytes)?;
    let Typed(message) = serde_ipld_dagcbor::from_slice(bytes).map_err(|_| Breach::Shape)?;
    M::sound(&message)?;
    Ok(message)
}

/// Writes a frame with its length.
pub(super) fn write(kind: &str, map: &impl Serialize, out: &mut BytesMut) -> Result<(), Breach> {
    let payload = serde_ipld_dagcbor::to_vec(&(kind, map)).map_err(|_| Breach::Shape)?;
    frame::put(&payload, out)
}

/// The map of the next place, which must be there.
pub(super) fn map<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(rest: &mut A) -> Result<T, A::Error> {
    rest.next_element()?.ok_or_else(|| A::Error::custom("a frame without its map"))
}

/// Whether every key of `crit` is one of these.
pub(super) fn understood(crit: &[String], known: &[&str]) -> Result<(), Breach> {
    let all = crit.iter().all(|key| known.contains(&key.as_str()));
    if all { Ok(()) } else { Err(Breach::Critical) }
}

/// Whether a field keeps to its bound.
pub(super) fn within(name: &'static str, length: usize, most: usize) -> Result<(), Breach> {
    if length > most { Err(Breach::Field(name)) } else { Ok(()) }
}

struct Typed<M>(M);

impl<'de, M: Message> Deserialize<'de> for Typed<M> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Pair<M>(PhantomData<M>);

        impl<'de, M: Message> Visitor<'de> for Pair<M> {
            type Value = Typed<M>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a type and a map")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut rest: A) -> Result<Typed<M>, A::Error> {
                let kind: &str = map(&mut rest)?;
                let message = M::read(kind, &mut rest)?.ok_or_else(|| A::Error::custom("an unknown type"))?;
                Ok(Typed(message))
            }
        }

        from.deserialize_tuple(2, Pair(PhantomData))
    }
}

/// Bytes as a byte string.
pub(super) mod blob {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        serde_bytes::Bytes::new(bytes).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        <&serde_bytes::Bytes>::deserialize(from).map(|bytes| Bytes::copy_from_slice(bytes))
    }
}

/// Bytes as a byte string, where there are any.
pub(super) mod some_blob {
    use super::*;

    pub(crate) fn serialize<S: serde::Serializer>(bytes: &Option<Bytes>, to: S) -> Result<S::Ok, S::Error> {
        bytes.as_ref().map(|bytes| serde_bytes::Bytes::new(bytes)).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Bytes>, D::Error> {
        let bytes = Option::<&serde_bytes::Bytes>::deserialize(from)?;
        Ok(bytes.map(|bytes| Bytes::copy_from_slice(bytes)))
    }
}
