//! Signed bytes as one word that people copy: tickets and receipts on a terminal.
//!
//! `llmr_ticket1_` and lower-case base32 of length, bytes and checksum. There is nothing in it at which a double click ends or a shell takes offence, and capitals, blanks and line
//! breaks that mail programs add do no harm. The length comes first, so that a word that was cut says so, and is not just wrong.

use llm_router::error::{Error, Result};
use multibase::Base;
use sha2::{Digest, Sha256};

/// What one begins with, before its kind.
const BRAND: &str = "llmr_";
/// The version that is written; it is the word's form and what is within together.
const VERSION: u32 = 1;
/// The longest word that is read, in characters.
const LONGEST: usize = 8192;
/// Two bytes of length before, four of a checksum behind.
const AROUND: usize = 2 + 4;
/// So many characters hold the length.
const HEAD: usize = 4;

/// What a kind of word is called, and where to have another one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word {
    pub(crate) kind: &'static str,
    /// What to do where it cannot be read.
    pub(crate) hint: &'static str,
}

impl Word {
    /// The word of some bytes, at most 65,535.
    pub(crate) fn write(self, bytes: &[u8]) -> String {
        let mut all = Vec::with_capacity(bytes.len() + AROUND);
        all.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes());
        all.extend_from_slice(bytes);
        all.extend_from_slice(&checksum(self.kind, bytes));
        format!("{BRAND}{}{VERSION}_{}", self.kind, Base::Base32Lower.encode(all))
    }

    /// The bytes of a word.
    ///
    /// # Errors
    /// `caller_invalid_request`, saying whether it is another thing, of another version, cut, or altered.
    pub(crate) fn read(self, text: &str) -> Result<Vec<u8>> {
        let kind = self.kind;
        let wrong = |why: String| Error::invalid(format!("the {kind} {why}")).with_hint(self.hint);
        if text.len() > LONGEST {
            return Err(wrong(format!("is longer than {LONGEST} characters: more than the {kind} was given")));
        }
        let text: String = text.trim_matches(['"', '\'', '`', '<', '>', ' ', '\n', '\r', '\t']).to_ascii_lowercase();
        let text: String = text.split_whitespace().collect();
        let rest = text.strip_prefix(BRAND).and_then(|rest| rest.strip_prefix(kind));
        let Some((version, data)) = rest.and_then(|rest| rest.split_once('_')) else {
            let begins = format!("{BRAND}{kind}{VERSION}_");
            return Err(wrong(match begins.starts_with(&text) && !text.is_empty() {
                true => "is cut: only its first characters are there".to_owned(),
                false => format!("is none: one begins with {begins}"),
            }));
        };
        match version.parse::<u32>() {
            Ok(VERSION) => {}
            Ok(other) => {
                let hint = match other > VERSION {
                    true => "use the version of llm-router that made it, or a newer one",
                    false => self.hint,
                };
                let message = format!("the {kind} has version {other}, and this program reads version {VERSION}");
                return Err(Error::invalid(message).with_hint(hint));
            }
            Err(_) => return Err(wrong("was altered: its version is no number".to_owned())),
        }
        if let Some(odd) = data.chars().find(|c| !matches!(c, 'a'..='z' | '2'..='7')) {
            return Err(wrong(format!("was altered: it has {odd:?}, which is in none")));
        }
        let head = data.get(..HEAD).and_then(|head| Base::Base32Lower.decode(format!("{head}a")).ok());
        let Some(length) = head.and_then(|head| Some(u16::from_be_bytes([*head.first()?, *head.get(1)?]))) else {
            return Err(wrong("is cut: only its first characters are there".to_owned()));
        };
        let wanted = ((usize::from(length) + AROUND) * 8).div_ceil(5);
        if data.len() < wanted {
            return Err(wrong(format!("is cut: {} of its {wanted} characters are there", data.len())));
        }
        if data.len() > wanted {
            return Err(wrong(format!("was altered: it has {} characters more than it should", data.len() - wanted)));
        }
        let altered = || wrong("was altered: its checksum does not fit".to_owned());
        let all = Base::Base32Lower.decode(data).map_err(|_| altered())?;
        let bytes = all.get(2..2 + usize::from(length)).ok_or_else(altered)?;
        if all.get(2 + usize::from(length)..) != Some(&checksum(kind, bytes)[..]) {
            return Err(altered());
        }
        Ok(bytes.to_vec())
    }
}

/// Against slips alone: who alters a word on purpose meets the signature within.
fn checksum(kind: &str, bytes: &[u8]) -> [u8; 4] {
    let hash = Sha256::new_with_prefix(kind).chain_update([0]).chain_update(bytes).finalize();
    let mut out = [0; 4];
    out.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const WORD: Word = Word { kind: "ticket", hint: "ask for another one" };

    fn refused(text: &str) -> String {
        let error = WORD.read(text).unwrap_err();
        assert!(error.hint().is_some(), "{error}");
        error.message().to_owned()
    }

    #[test]
    fn the_form_is_this_one() {
        assert_eq!(WORD.write(b"hi"), "llmr_ticket1_aabgq2kmrp5jc");
        assert_eq!(WORD.read("llmr_ticket1_aabgq2kmrp5jc").unwrap(), b"hi");
    }

    #[test]
    fn what_programs_do_to_words_does_no_harm() {
        let word = WORD.write(&[5; 100]);
        let (left, right) = word.split_at(70);
        for text in [format!("  `{word}`\n"), word.to_uppercase(), format!("\"{left}\r\n    {right}\"")] {
            assert_eq!(WORD.read(&text).unwrap(), [5; 100]);
        }
    }

    #[test]
    fn each_way_to_be_wrong_has_its_words() {
        let word = WORD.write(&[5; 100]);
        assert!(refused("").contains("is none"));
        assert!(refused("sk-llmr1-0011").contains("begins with llmr_ticket1_"));
        assert!(refused(&Word { kind: "receipt", hint: "" }.write(b"x")).contains("is none"));
        assert!(refused(&word.replace("ticket1", "ticket2")).contains("version 2"));
        assert!(refused(&word.replace("ticket1", "ticketx")).contains("no number"));
        assert!(refused(&word[..80]).contains("is cut: 67 of its 170 characters"));
        assert!(refused(&word[..14]).contains("is cut"));
        assert!(refused(&word[..7]).contains("is cut"));
        assert!(refused(&format!("{word}aa")).contains("2 characters more"));
        assert!(refused(&word.replacen('_', "_!", 2)).contains("is none"));
        assert!(refused(&format!("{}!{}", &word[..40], &word[41..])).contains("'!'"));
        assert!(refused(&"x".repeat(9000)).contains("longer than"));
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert_eq!(WORD.read(&WORD.write(&bytes)).unwrap(), bytes);
        }

        #[test]
        fn no_text_is_too_strange_to_read(text in ".{0,100}") {
            let _ = WORD.read(&text);
            let _ = WORD.read(&format!("llmr_ticket1_{text}"));
        }

        #[test]
        fn another_character_is_found(bytes in prop::collection::vec(any::<u8>(), 1..100), at: prop::sample::Index, other in "[a-z2-7]") {
            let mut word = WORD.write(&bytes);
            let at = 13 + at.index(word.len() - 13);
            let before = word.clone();
            word.replace_range(at..=at, &other);
            prop_assert!(word == before || WORD.read(&word).is_err());
        }
    }
}
