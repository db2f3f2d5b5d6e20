//! The conversation of `chat`: what was said, and the slash commands that change it.

use std::fs;
use std::path::Path;

use llm_router::ids::ProviderId;
use llm_router::request::{Message, Request, Role};

const HELP: &str = "\
/model [NAME]      show or set the model; without a name the provider's default
/provider [ID]     show or set the provider; `auto` lets the router choose
/system [TEXT]     show or set the instructions; `none` removes them
/undo              forget the last question and its answer
/clear             forget the conversation
/save FILE         write the conversation as JSON
/load FILE         go on with a saved conversation
/exit              end (Ctrl-D too)
A line that ends with \\ goes on; a text between lines of \"\"\" is one question. Ctrl-C ends an answer.";

/// What a line asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Nothing,
    Say(String),
    Ask,
    Quit,
}

/// A conversation.
#[derive(Debug)]
pub(super) struct Session {
    template: Request,
    system: Option<String>,
    messages: Vec<Message>,
    so_far: String,
}

impl Session {
    pub(super) fn new(mut template: Request) -> Self {
        let system = template.messages.first().and_then(|message| message.content.first());
        let system = system.and_then(|block| block.as_text()).map(str::to_owned);
        template.messages.clear();
        Self { template, system, messages: Vec::new(), so_far: String::new() }
    }

    /// Takes a line.
    pub(super) fn take(&mut self, line: &str) -> Step {
        let line = line.trim();
        let Some(command) = line.strip_prefix('/') else {
            if line.is_empty() {
                return Step::Nothing;
            }
            self.messages.push(Message::user(line));
            self.so_far.clear();
            return Step::Ask;
        };
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim();
        match name {
            "help" | "?" => Step::Say(HELP.to_owned()),
            "exit" | "quit" | "bye" => Step::Quit,
            "model" => {
                if !rest.is_empty() {
                    self.template.model = Some(rest.to_owned()).filter(|name| name != "default");
                }
                Step::Say(format!("model: {}", self.template.model.as_deref().unwrap_or("the provider's default")))
            }
            "provider" => self.provider(rest),
            "system" => {
                if !rest.is_empty() {
                    self.system = Some(rest.to_owned()).filter(|text| text != "none");
                }
                Step::Say(format!("system: {}", self.system.as_deref().unwrap_or("none")))
            }
            "undo" => {
                self.forget_last();
                Step::Say(format!("{} messages", self.messages.len()))
            }
            "clear" => {
                self.messages.clear();
                Step::Say("a new conversation".to_owned())
            }
            "save" if !rest.is_empty() => Step::Say(self.save(Path::new(rest))),
            "load" if !rest.is_empty() => Step::Say(self.load(Path::new(rest))),
            "save" | "load" => Step::Say(format!("/{name} needs a file")),
            other => Step::Say(format!("there is no /{other}; /help lists the commands")),
        }
    }

    fn provider(&mut self, name: &str) -> Step {
        match name {
            "" => {}
            "auto" => self.template.provider = None,
            name => match ProviderId::new(name) {
                Ok(id) => self.template.provider = Some(id),
                Err(error) => return Step::Say(error.to_string()),
            },
        }
        Step::Say(format!("provider: {}", self.template.provider.as_ref().map_or("auto", |id| id.as_str())))
    }

    /// The request for the next answer.
    pub(super) fn request(&self) -> Request {
        let mut request = self.template.clone();
        request.messages = self.system.iter().map(Message::system).chain(self.messages.iter().cloned()).collect();
        request
    }

    pub(super) fn answered(&mut self, answer: Message) {
        self.messages.push(answer);
    }

    /// Remembers an answer that is under way.
    pub(super) fn so_far(&mut self, text: &str) {
        self.so_far.clear();
        self.so_far.push_str(text);
    }

    /// Keeps as much as came of an answer that was interrupted; a question without any answer is forgotten.
    pub(super) fn keep_so_far(&mut self) {
        if self.so_far.is_empty() {
            self.forget_last();
        } else {
            self.messages.push(Message::text(Role::Assistant, std::mem::take(&mut self.so_far)));
        }
    }

    /// Forgets the last question and what followed it.
    pub(super) fn forget_last(&mut self) {
        let last = self.messages.iter().rposition(|message| message.role == Role::User);
        self.messages.truncate(last.unwrap_or(0));
    }

    fn save(&self, path: &Path) -> String {
        let text = serde_json::to_string_pretty(&self.request()).unwrap_or_default();
        match fs::write(path, text + "\n") {
            Ok(()) => format!("saved {} messages to {}", self.messages.len(), path.display()),
            Err(error) => format!("cannot write {}: {error}", path.display()),
        }
    }

    fn load(&mut self, path: &Path) -> String {
        let read = fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()));
        let parsed = read.and_then(|text| {
            serde_json::from_str::<Request>(&text)
                .map_err(|error| format!("{} is no conversation: {error}", path.display()))
        });
        match parsed {
            Ok(mut saved) => {
                let messages = std::mem::take(&mut saved.messages);
                *self = Self::new(saved);
                for message in messages {
                    match message.role {
                        Role::System => {
                            self.system = message.content.first().and_then(|block| block.as_text()).map(str::to_owned)
                        }
                        _ => self.messages.push(message),
                    }
                }
                format!("loaded {} messages", self.messages.len())
            }
            Err(error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_question_is_asked_and_an_empty_line_is_not() {
        let mut session = Session::new(Request::default());
        assert_eq!(session.take("  "), Step::Nothing);
        assert_eq!(session.take("hello"), Step::Ask);
        assert_eq!(session.request().messages, [Message::user("hello")]);
    }

    #[test]
    fn instructions_come_first_and_undo_forgets_a_whole_turn() {
        let mut session = Session::new(Request::default());
        session.take("/system be brief");
        session.take("one");
        session.answered(Message::text(Role::Assistant, "1"));
        session.take("two");
        session.answered(Message::text(Role::Assistant, "2"));
        session.take("/undo");
        let roles: Vec<Role> = session.request().messages.iter().map(|message| message.role).collect();
        assert_eq!(roles, [Role::System, Role::User, Role::Assistant]);
    }

    #[test]
    fn an_interrupted_answer_is_kept_as_far_as_it_came() {
        let mut session = Session::new(Request::default());
        session.take("count");
        session.so_far("1 2");
        session.keep_so_far();
        assert_eq!(session.request().messages.len(), 2);
        session.take("again");
        session.keep_so_far();
        assert_eq!(session.request().messages.len(), 2);
    }

    #[test]
    fn a_conversation_is_saved_and_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talk.json");
        let mut session = Session::new(Request::default());
        session.take("/system be brief");
        session.take("hello");
        assert!(
            matches!(session.take(&format!("/save {}", path.display())), Step::Say(text) if text.contains("saved 1"))
        );
        let mut other = Session::new(Request::default());
        other.take(&format!("/load {}", path.display()));
        assert_eq!(other.request().messages, session.request().messages);
        assert!(matches!(other.take("/load /no/such/file"), Step::Say(text) if text.contains("cannot read")));
    }
}
