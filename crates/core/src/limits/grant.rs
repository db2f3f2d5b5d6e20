//! Keys as text, and how a narrower one is derived without asking anybody: `docs/operate/keys.md` says the form for whoever writes it elsewhere.
//!
//! A whole key is `sk-llmr1-ID-SECRET`. A derived one is `sk-llmr1-ID.BLOCK….MAC`: each block narrows what the key may do, and the MAC is a chain of HMAC-SHA256 in which each
//! link is the key of the next. Whoever holds a key can add a block; nobody can take one away, because the link before it cannot be computed from the one after. A block
//! that says something this version does not know makes the whole key invalid: what cannot be obeyed must not be overlooked. It is pure; who knows the ids is
//! `keyring.rs`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac::{HMAC_SHA256, Key, sign};
use serde::{Deserialize, Serialize};

use super::Limits;
use super::key::LAST;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// What keys begin with; the number is the version of the format.
pub const PREFIX: &str = "sk-llmr1-";
/// The most derivations of one key.
pub const MOST_BLOCKS: usize = 8;
/// The longest key, in bytes.
pub const LONGEST: usize = 4096;
/// Hexadecimal digits of an id.
pub const ID: usize = 16;

const ROOT: &[u8] = b"llm-router grant 1 root";
const FIRST: &[u8] = b"llm-router grant 1 ";

/// 32 secret bytes: a key's secret, or a link of the chain.
pub(crate) type Link = [u8; 32];

/// What a derivation takes away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Caveats {
    /// Until when it holds, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Limits of its own, which hold besides all of those above.
    #[serde(skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
}

/// A key as somebody shows it. Nothing of it is believed yet.
pub(crate) enum Shown<'a> {
    Whole { id: &'a str, secret: Link },
    Derived { id: &'a str, blocks: Vec<&'a str>, mac: Link },
}

impl<'a> Shown<'a> {
    /// Reads a key; none for what has another form, which may be a key of another kind.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let rest = text.strip_prefix(PREFIX)?;
        let (id, rest) = rest.split_at_checked(ID)?;
        if !id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return None;
        }
        if let Some(secret) = rest.strip_prefix('-') {
            return Some(Self::Whole { id, secret: link(secret)? });
        }
        let mut blocks: Vec<&str> = rest.strip_prefix('.')?.split('.').take(MOST_BLOCKS + 2).collect();
        let mac = link(blocks.pop()?)?;
        (1..=MOST_BLOCKS).contains(&blocks.len()).then_some(Self::Derived { id, blocks, mac })
    }
}

/// A new whole key.
pub(crate) fn whole(id: &str, secret: &Link) -> Secret {
    Secret::new(format!("{PREFIX}{id}-{}", URL_SAFE_NO_PAD.encode(secret)))
}

/// What the chain of a key begins with. Neither the secret nor its digest can be computed from it.
pub(crate) fn root(secret: &Link) -> Link {
    mac(secret, ROOT)
}

/// A narrower key. Nobody is asked: the key at hand is enough.
///
/// # Errors
/// `caller_invalid_request` for what is no key of this form, for a key that is derived as often as can be, and for caveats that take nothing away.
pub fn derive(key: &Secret, caveats: &Caveats) -> Result<Secret> {
    if *caveats == Caveats::default() {
        return Err(Error::invalid("nothing narrows the key").with_hint("say what it may do less: --ttl, --model, …"));
    }
    if caveats.expires.is_some_and(|expires| expires > LAST) {
        return Err(Error::invalid("expires: the time is past the year 9999")
            .with_hint("seconds since 1970 are wanted, not milliseconds"));
    }
    let no_key = || {
        Error::invalid(format!("this is no key that begins with {PREFIX} and is whole"))
            .with_hint("keys that can be narrowed are made by `llm-router keys create`")
    };
    let json = serde_json::to_vec(caveats).map_err(|error| Error::internal(error.to_string()))?;
    let block = URL_SAFE_NO_PAD.encode(json);
    let (head, last) = match Shown::read(key.expose()).ok_or_else(no_key)? {
        Shown::Whole { id, secret } => (format!("{PREFIX}{id}"), first(&root(&secret), id)),
        Shown::Derived { blocks, .. } if blocks.len() >= MOST_BLOCKS => {
            return Err(Error::invalid(format!("this key was derived {MOST_BLOCKS} times, which is the most"))
                .with_hint("derive from one above it"));
        }
        Shown::Derived { id, blocks, mac } => (format!("{PREFIX}{id}.{}", blocks.join(".")), mac),
    };
    let narrower = format!("{head}.{block}.{}", URL_SAFE_NO_PAD.encode(mac(&last, block.as_bytes())));
    if narrower.len() > LONGEST {
        return Err(Error::invalid(format!("the key would be longer than {LONGEST} bytes"))
            .with_hint("name fewer models, or with a `*`"));
    }
    Ok(Secret::new(narrower))
}

/// The links of a derived key, one a block, with what each takes away, where the last one is what the key shows.
pub(crate) fn links(root: &Link, id: &str, blocks: &[&str], shown: &Link) -> Result<Vec<(Link, Caveats)>> {
    let forged = || Error::new(ErrorKind::PolicyUnauthenticated, "the key shown is none of this server's");
    let mut links = Vec::with_capacity(blocks.len());
    let mut last = first(root, id);
    for block in blocks {
        last = mac(&last, block.as_bytes());
        links.push(last);
    }
    if !same(&last, shown) {
        return Err(forged());
    }
    // Only now: what a stranger wrote is not even read.
    blocks
        .iter()
        .zip(links)
        .map(|(block, link)| {
            let json = URL_SAFE_NO_PAD.decode(block).ok();
            let unknown = "the key shown was narrowed in a way that this version does not know";
            let caveats: Caveats = json
                .and_then(|json| serde_json::from_slice(&json).ok())
                .ok_or_else(|| Error::new(ErrorKind::PolicyUnauthenticated, unknown))?;
            // Whoever holds a key writes what narrows it, and money is counted until it ends.
            if caveats.expires.is_some_and(|expires| expires > LAST) {
                let message = "the key shown was narrowed to a time past the year 9999";
                return Err(Error::new(ErrorKind::PolicyUnauthenticated, message)
                    .with_hint("derive it anew: `expires` is in seconds since 1970, not milliseconds"));
            }
            Ok((link, caveats))
        })
        .collect()
}

fn first(root: &Link, id: &str) -> Link {
    let mut text = FIRST.to_vec();
    text.extend_from_slice(id.as_bytes());
    mac(root, &text)
}

/// HMAC-SHA256.
pub(crate) fn mac(key: &Link, text: &[u8]) -> Link {
    let tag = sign(&Key::new(HMAC_SHA256, key), text);
    let mut out = [0; 32];
    out.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
    out
}

/// Whether two links are the same; the time taken says nothing about where they differ.
pub(crate) fn same(a: &Link, b: &Link) -> bool {
    std::hint::black_box(a.iter().zip(b).fold(0, |seen, (x, y)| seen | (x ^ y))) == 0
}

fn link(text: &str) -> Option<Link> {
    let mut out = [0; 32];
    // One byte more is wanted of the buffer while it decodes: the estimate of an odd length is rounded up.
    let mut room = [0; 36];
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut room).ok()?;
    out.copy_from_slice(room.get(..length).filter(|bytes| bytes.len() == 32)?);
    Some(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "00112233445566ff";
    const SECRET: Link = [7; 32];

    fn check(key: &Secret) -> Result<Vec<Caveats>> {
        match Shown::read(key.expose()) {
            Some(Shown::Derived { id, blocks, mac }) => {
                Ok(links(&root(&SECRET), id, &blocks, &mac)?.into_iter().map(|(_, caveats)| caveats).collect())
            }
            Some(Shown::Whole { secret, .. }) if secret == SECRET => Ok(Vec::new()),
            _ => Err(Error::invalid("no key")),
        }
    }

    fn until(expires: u64) -> Caveats {
        Caveats { expires: Some(expires), ..Caveats::default() }
    }

    #[test]
    fn the_form_is_this_one() {
        let key = whole(ID, &SECRET);
        assert_eq!(key.expose(), "sk-llmr1-00112233445566ff-BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc");
        let narrower = derive(&key, &until(1_800_000_000)).unwrap();
        let [head, block, _] = narrower.expose().split('.').collect::<Vec<_>>().try_into().unwrap();
        assert_eq!((head, block), ("sk-llmr1-00112233445566ff", "eyJleHBpcmVzIjoxODAwMDAwMDAwfQ"));
        assert!(!crate::secret::mask(narrower.expose()).contains("eyJl"), "errors and logs do not repeat it");
    }

    #[test]
    fn blocks_add_up_and_there_are_at_most_eight() {
        let mut key = whole(ID, &SECRET);
        for step in 1..=8 {
            key = derive(&key, &until(step)).unwrap();
            assert_eq!(check(&key).unwrap(), (1..=step).map(until).collect::<Vec<_>>());
        }
        assert!(derive(&key, &until(9)).unwrap_err().message().contains("8 times"));
        assert!(derive(&whole(ID, &SECRET), &Caveats::default()).is_err());
        assert!(derive(&Secret::new("sk-proj-something"), &until(1)).is_err());
    }

    #[test]
    fn a_block_of_a_later_version_is_not_overlooked() {
        let block = URL_SAFE_NO_PAD.encode(r#"{"weekdays":"only"}"#);
        let made = mac(&first(&root(&SECRET), ID), block.as_bytes());
        let error = links(&root(&SECRET), ID, &[&block], &made).unwrap_err();
        assert!(error.message().contains("does not know"), "{error}");
    }

    #[test]
    fn no_block_holds_longer_than_a_key_may() {
        let json = r#"{"expires":9000000000000000000,"limits":{"budget":1000000000}}"#;
        let block = URL_SAFE_NO_PAD.encode(json);
        let made = mac(&first(&root(&SECRET), ID), block.as_bytes());
        let error = links(&root(&SECRET), ID, &[&block], &made).unwrap_err();
        assert!(error.kind() == ErrorKind::PolicyUnauthenticated && error.message().contains("year 9999"), "{error}");
        let key = whole(ID, &SECRET);
        assert!(derive(&key, &until(LAST + 1)).unwrap_err().message().contains("year 9999"));
        assert_eq!(check(&derive(&key, &until(LAST)).unwrap()).unwrap(), [until(LAST)]);
    }

    fn caveats() -> impl Strategy<Value = Caveats> {
        (1_u64..99, prop::option::of(0_u64..9), prop::collection::vec("[a-c*/]{0,4}", 0..3)).prop_map(
            |(expires, requests_per_minute, models)| Caveats {
                expires: Some(expires),
                limits: Limits { requests_per_minute, models, ..Limits::default() },
            },
        )
    }

    proptest! {
        #[test]
        fn whatever_is_derived_holds_all_that_was_said_before(chain in prop::collection::vec(caveats(), 1..8)) {
            let key = chain.iter().fold(whole(ID, &SECRET), |key, caveats| derive(&key, caveats).unwrap());
            prop_assert_eq!(check(&key).unwrap(), chain);
        }

        #[test]
        fn a_block_taken_away_or_put_elsewhere_is_no_key(chain in prop::collection::vec(caveats(), 2..6), at: prop::sample::Index, to: prop::sample::Index) {
            let key = chain.iter().fold(whole(ID, &SECRET), |key, caveats| derive(&key, caveats).unwrap());
            let mut parts: Vec<&str> = key.expose().split('.').collect();
            let (at, to) = (1 + at.index(chain.len()), 1 + to.index(chain.len()));
            let moved = parts.remove(at);
            prop_assert!(check(&Secret::new(parts.join("."))).is_err());
            parts.insert(to, moved);
            let again = Secret::new(parts.join("."));
            prop_assert!(again == key || check(&again).is_err());
        }

        #[test]
        fn another_character_is_another_key(caveats in caveats(), at: prop::sample::Index, other in "[A-Za-z0-9_.-]") {
            let key = derive(&whole(ID, &SECRET), &caveats).unwrap();
            let mut text = key.expose().to_owned();
            let at = PREFIX.len() + at.index(text.len() - PREFIX.len());
            text.replace_range(at..=at, &other);
            // The last character of 43 holds two bits that say nothing; the decoder refuses those that are not 0.
            prop_assert!(text == key.expose() || check(&Secret::new(text)).is_err());
        }

        #[test]
        fn no_text_is_too_strange_to_read(text in ".{0,200}") {
            let _ = Shown::read(&text);
            let _ = Shown::read(&format!("{PREFIX}{ID}{text}"));
        }
    }
}
