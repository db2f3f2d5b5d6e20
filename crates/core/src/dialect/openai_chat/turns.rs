//! User and assistant strictly in turn, for servers whose chat templates want it so: neighbours of one role become one message.

use crate::request::{Block, BlockBody, Message, Role};

/// Whether neighbours would have to be joined for a server that wants user and assistant strictly in turn.
pub(super) fn alternates(messages: &[Message]) -> bool {
    messages.windows(2).all(|pair| !matches!(pair, [a, b] if joinable(a, b)))
}

fn joinable(a: &Message, b: &Message) -> bool {
    let plain = |message: &Message| {
        let calls = |block: &Block| matches!(block.body, BlockBody::ToolCall { .. } | BlockBody::ToolResult { .. });
        !message.content.iter().any(calls)
    };
    a.role == b.role && matches!(a.role, Role::System | Role::User | Role::Assistant) && plain(a) && plain(b)
}

/// The conversation with neighbours joined.
pub(super) fn join(messages: &[Message]) -> Vec<Message> {
    let mut joined: Vec<Message> = Vec::with_capacity(messages.len());
    for message in messages {
        match joined.last_mut() {
            Some(last) if joinable(last, message) => {
                let mut blocks = message.content.iter();
                if let (Some(end), [first, ..]) =
                    (last.content.last_mut().and_then(plain_text), message.content.as_slice())
                    && let Some(text) = first.as_text()
                    && first.extra.is_empty()
                {
                    end.push_str("\n\n");
                    end.push_str(text);
                    blocks.next();
                }
                last.content.extend(blocks.cloned());
            }
            _ => joined.push(message.clone()),
        }
    }
    joined
}

fn plain_text(block: &mut Block) -> Option<&mut String> {
    match &mut block.body {
        BlockBody::Text { text, .. } if block.extra.is_empty() => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_joined_for_servers_that_want_turns() {
        let messages =
            [Message::system("s"), Message::user("a"), Message::user("b"), Message::text(Role::Assistant, "c")];
        assert!(!alternates(&messages));
        let joined = join(&messages);
        assert!(alternates(&joined));
        assert_eq!(joined[1].content[0].as_text(), Some("a\n\nb"));
    }
}
