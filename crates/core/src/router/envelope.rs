//! What a client gets of an answer by a provider of another dialect than the client's: an id in the client's form, and seals in envelopes.
//!
//! An envelope says whose seal is in it, so that one is known again after a restart, at another router, or years later, and so that a provider of the client's own
//! dialect never gets it, which would take it for a broken one of its own. It is base 64, as seals of every dialect are: clients that decode them can. Read
//! `sealed.rs` for what becomes of seals without one.

use std::collections::HashMap;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD};

use crate::delta::{Delta, Part};
use crate::dialect::Dialect;
use crate::ids::RequestId;
use crate::provider::Target;
use crate::request::{Block, BlockBody};

/// What an envelope begins with: whole groups of base 64, so that its text begins the same way each time.
const BEGINS: &[u8; 12] = b"llm-router\0\0";
/// The same as text.
const BEGINS_TEXT: &str = "bGxtLXJvdXRlcgAA";

/// Clients pass padding on or leave it out.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The most seals of one answer that are put together at once; more would be no answer.
const MOST_OPEN: usize = 256;

/// A seal in an envelope.
pub(super) fn closed(maker: &Target, seal: &str) -> String {
    let maker = maker.to_string();
    STANDARD.encode([BEGINS.as_slice(), maker.as_bytes(), b"\0", seal.as_bytes()].concat())
}

/// Whose seal is in an envelope, and the seal; `None` for what is none.
pub(super) fn opened(text: &str) -> Option<(String, String)> {
    text.starts_with(BEGINS_TEXT).then_some(())?;
    // Some clients write the other alphabet than they read.
    let text: String = text
        .chars()
        .map(|c| {
            if c == '-' {
                '+'
            } else if c == '_' {
                '/'
            } else {
                c
            }
        })
        .collect();
    let bytes = LENIENT.decode(text).ok()?;
    let text = String::from_utf8(bytes.strip_prefix(BEGINS.as_slice())?.to_vec()).ok()?;
    text.split_once('\0').map(|(maker, seal)| (maker.to_owned(), seal.to_owned()))
}

/// A block whose seal is in an envelope: whose it is, and the block with the seal itself.
pub(super) fn opened_block(block: &Block) -> Option<(String, Block)> {
    let BlockBody::Reasoning { signature: Some(signature), .. } = &block.body else { return None };
    let (maker, seal) = opened(signature)?;
    let mut block = block.clone();
    if let BlockBody::Reasoning { signature, .. } = &mut block.body {
        *signature = Some(seal);
    }
    Some((maker, block))
}

/// What the ids of answers begin with, where a dialect says it: OpenAI's and Anthropic's references.
const ANSWERS: &[(Dialect, &str)] =
    &[(Dialect::OpenaiChat, "chatcmpl-"), (Dialect::OpenaiResponses, "resp_"), (Dialect::Anthropic, "msg_")];

/// The id under which the caller knows the answer to a request, where its dialect has a form for it. It is made of the request's own: what servers of other
/// dialects call their answers has another form, and some of them number answers from one.
pub(super) fn answer_id(heard: Dialect, request: &RequestId) -> Option<String> {
    let (_, begins) = ANSWERS.iter().find(|(dialect, _)| *dialect == heard)?;
    let request = request.as_str();
    Some(format!("{begins}{}", request.strip_prefix("req_").unwrap_or(request)))
}

/// Makes an answer of another dialect than the caller's one that the caller takes: its id, and its seals in envelopes, as it streams by.
#[derive(Debug)]
pub(super) struct Enveloping {
    maker: Target,
    /// The answer's id, and the time in seconds since 1970 for providers that do not say when they answered; until its start was said.
    start: Option<(Option<String>, u64)>,
    /// Seals that come in pieces, by choice and block: an envelope holds a whole one.
    open: HashMap<(u32, u32), String>,
}

impl Enveloping {
    /// For an answer of `maker` at a time in seconds since 1970, which the caller knows under `id`.
    pub(super) fn new(maker: Target, id: Option<String>, now: u64) -> Self {
        Self { maker, start: Some((id, now)), open: HashMap::new() }
    }

    /// Changes the deltas of an event.
    pub(super) fn change(&mut self, deltas: &mut Vec<Delta>) {
        if self.start.is_some()
            && let Some(Delta::Start { id, created, .. }) =
                deltas.iter_mut().find(|delta| matches!(delta, Delta::Start { .. }))
            && let Some((own, now)) = self.start.take()
        {
            *id = own.unwrap_or(std::mem::take(id));
            created.get_or_insert(now);
        }
        let concerns = |delta: &Delta| {
            matches!(delta, Delta::BlockDelta { part: Part::Signature(_), .. })
                || matches!(delta, Delta::BlockEnd { choice, block } if self.open.contains_key(&(*choice, *block)))
        };
        if !deltas.iter().any(concerns) {
            return;
        }
        for delta in std::mem::take(deltas) {
            match delta {
                Delta::BlockDelta { choice, block, part: Part::Signature(piece) } => {
                    if self.open.len() < MOST_OPEN || self.open.contains_key(&(choice, block)) {
                        self.open.entry((choice, block)).or_default().push_str(&piece);
                    }
                }
                Delta::BlockEnd { choice, block } => {
                    if let Some(seal) = self.open.remove(&(choice, block)) {
                        let part = Part::Signature(closed(&self.maker, &seal));
                        deltas.push(Delta::BlockDelta { choice, block, part });
                    }
                    deltas.push(Delta::BlockEnd { choice, block });
                }
                delta => deltas.push(delta),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ids::{ModelName, ProviderId};

    fn maker() -> Target {
        Target::new(ProviderId::new("lab").unwrap(), Some(ModelName::new("a/b").unwrap()))
    }

    #[test]
    fn what_is_put_in_comes_out_in_either_alphabet() {
        for seal in ["c2VhbA==", "openai_responses:rs_1:gAAA", "", "ü\0x???>>>"] {
            let text = closed(&maker(), seal);
            let expected = Some(("lab/a/b".to_owned(), seal.to_owned()));
            assert!(text.starts_with(BEGINS_TEXT));
            assert_eq!(opened(&text), expected);
            let other = text.replace('+', "-").replace('/', "_");
            assert_eq!(opened(other.trim_end_matches('=')), expected);
        }
        for other in ["", "c2VhbA==", BEGINS_TEXT, "bGxtLXJvdXRlcgAA!", "bGxtLXJvdXRlcgAA/w=="] {
            assert_eq!(opened(other), None, "{other}");
        }
    }

    #[test]
    fn an_answer_has_the_id_of_its_request_in_the_callers_form() {
        let id = RequestId::from_parts(1, 2);
        let start = |id: &str, created| Delta::Start { id: id.into(), model: "m".into(), created };
        for (dialect, begins) in ANSWERS {
            let own = answer_id(*dialect, &id).unwrap();
            assert!(own.starts_with(begins) && id.as_str().ends_with(own.trim_start_matches(begins)), "{own}");
            let mut enveloping = Enveloping::new(maker(), Some(own.clone()), 7);
            let mut deltas = vec![start("1", None)];
            enveloping.change(&mut deltas);
            assert_eq!(deltas, [start(&own, Some(7))]);
        }
        assert_eq!(answer_id(Dialect::Gemini, &id), None);
    }

    #[test]
    fn pieces_become_one_before_their_block_ends() {
        let piece = |text: &str| Delta::BlockDelta { choice: 0, block: 1, part: Part::Signature(text.into()) };
        let end = |block| Delta::BlockEnd { choice: 0, block };
        let mut enveloping = Enveloping::new(maker(), None, 7);
        let mut first = vec![end(0), piece("se")];
        enveloping.change(&mut first);
        assert_eq!(first, [end(0)]);
        let mut last = vec![piece("al"), end(1)];
        enveloping.change(&mut last);
        assert_eq!(last, [piece(&closed(&maker(), "seal")), end(1)]);
    }
}
