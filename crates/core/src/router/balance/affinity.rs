//! What a request belongs to: its session, or the beginning of its prompt, as a number that every version and every replica makes alike; and how members rank for it.
//!
//! Ranking is rendezvous hashing: each member has a mark of its own for a key, and the highest is its home. When a member goes, only what was at home there moves.

use sha2::{Digest, Sha256};

use crate::provider::Target;
use crate::request::{Block, BlockBody, Request, Role};

/// How much of a prompt decides: enough to tell documents apart, little enough to cost microseconds.
const BEGINNING: usize = 4096;

/// Headers by which clients name a session.
const SESSION_HEADERS: &[&str] = &["x-session-id", "session_id", "session-id", "x-session-affinity"];
/// Fields of the dialects that name a conversation or ask for a prompt's place in a cache, the strongest first.
const SESSION_FIELDS: &[&str] = &["conversation", "prompt_cache_key", "session_id"];

/// The key of what must stay together: the session that the request names, else its user, else its conversation, which is known by its beginning.
pub(super) fn session(request: &Request) -> u64 {
    let headers = request.origin.as_ref().map(|origin| &origin.head.headers);
    let header = SESSION_HEADERS.iter().find_map(|name| headers?.get(*name));
    if let Some(value) = header {
        return number(Sha256::new_with_prefix(value.as_bytes()));
    }
    let field = |name: &&str| request.extra.values().find_map(|fields| fields.get(*name));
    if let Some(value) = SESSION_FIELDS.iter().find_map(field) {
        return number(Sha256::new_with_prefix(value.get()));
    }
    match &request.user {
        Some(user) => number(Sha256::new_with_prefix(user)),
        None => beginning(request),
    }
}

/// The key of a prompt's beginning: what stands before the first word of the user and that word, so that a conversation keeps it as it grows.
pub(super) fn beginning(request: &Request) -> u64 {
    let mut hash = Sha256::new();
    let mut left = BEGINNING;
    for message in &request.messages {
        message.content.iter().for_each(|block| take(block, &mut hash, &mut left));
        if left == 0 || message.role == Role::User {
            break;
        }
    }
    number(hash)
}

fn take(block: &Block, hash: &mut Sha256, left: &mut usize) {
    if let BlockBody::Text { text, .. } = &block.body {
        let taken = text.as_bytes().get(..*left).unwrap_or(text.as_bytes());
        hash.update(taken);
        *left -= taken.len();
    }
}

fn number(hash: Sha256) -> u64 {
    hash.finalize().iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// The mark of a member for a key.
pub(super) fn rank(key: u64, target: &Target, with: Option<u32>) -> u64 {
    let mut hash = Sha256::new_with_prefix(target.provider.as_str());
    hash.update([0]);
    hash.update(target.model.as_ref().map_or("", |model| model.as_str()));
    hash.update(with.unwrap_or_default().to_be_bytes());
    hash.update(key.to_be_bytes());
    number(hash)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ids::{ModelName, ProviderId};
    use crate::request::Message;

    fn target(name: &str) -> Target {
        Target::new(ProviderId::new(name).unwrap(), ModelName::new("m").ok())
    }

    fn home(key: u64, names: &[&'static str]) -> &'static str {
        names.iter().max_by_key(|name| rank(key, &target(name), None)).unwrap()
    }

    #[test]
    fn when_a_member_goes_only_its_own_keys_move() {
        let (all, fewer) = (["a", "b", "c", "d"], ["a", "b", "d"]);
        let mut counts = [0; 4];
        for key in 0..4000 {
            let before = home(key, &all);
            counts[all.iter().position(|name| *name == before).unwrap()] += 1;
            assert!(before == "c" || home(key, &fewer) == before);
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_conversation_keeps_its_key_as_it_grows_and_others_have_their_own() {
        let mut request = Request::new("What is a router?");
        let key = beginning(&request);
        request.messages.push(Message::assistant(vec![Block::text("It routes.")]));
        request.messages.push(Message::user("And?"));
        assert_eq!(beginning(&request), key);
        assert_ne!(beginning(&Request::new("What is a bridge?")), key);
        let long = |end: &str| Request::new(format!("{}{end}", "long ".repeat(1000)));
        assert_eq!(beginning(&long("one")), beginning(&long("two")), "the end of a long prompt is another matter");
    }

    #[test]
    fn a_user_is_a_session_whatever_is_asked() {
        let of = |user: &str, prompt: &str| session(&Request { user: Some(user.into()), ..Request::new(prompt) });
        assert_eq!(of("ann", "one"), of("ann", "two"));
        assert_ne!(of("ann", "one"), of("bob", "one"));
        assert_ne!(session(&Request::new("one")), session(&Request::new("two")));
    }

    #[test]
    fn a_key_is_the_same_in_every_version() {
        assert_eq!(beginning(&Request::new("hello")), 0x2cf2_4dba_5fb0_a30e);
    }
}
