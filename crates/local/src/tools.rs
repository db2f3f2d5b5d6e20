//! Finds tool calls in the text a model generates, while it generates: text goes in piece by piece as tokens come, events come out. Each
//! family writes calls its own way; the way is chosen from the model's template. It checks no call against a schema, and a call that does
//! not read as one is given back as the text it is. Nothing here knows tokens.
//!
//! The forms: Hermes and Qwen `<tool_call>{"name", "arguments"}</tool_call>`; Mistral `[TOOL_CALLS][{…}, …]` and
//! `[TOOL_CALLS]name[ARGS]{…}`; Llama 3 a bare `{"name", "parameters"}`, behind `<|python_tag|>` or not, alone or joined by `;`.

use serde_json::Value;

/// The longest call that is waited for, in bytes; a longer one is text.
const MAX_CALL: usize = 1 << 20;

/// The longest name with an identifier before the arguments of a Mistral call, in bytes; behind a longer text stand none.
const MAX_HEAD: usize = 256;

/// How a model writes calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// It does not: everything is text.
    None,
    /// `<tool_call>…</tool_call>`.
    Hermes,
    /// `[TOOL_CALLS]…`.
    Mistral,
    /// A JSON object instead of text, or behind `<|python_tag|>`.
    Llama,
}

impl Form {
    /// The form that a chat template shows the model.
    pub fn of_template(template: &str) -> Self {
        let shows = |mark: &str| template.contains(mark);
        if shows("<tool_call>") {
            Form::Hermes
        } else if shows("[TOOL_CALLS]") {
            Form::Mistral
        } else if shows("<|python_tag|>") || (shows("ipython") && shows("parameters")) {
            Form::Llama
        } else {
            Form::None
        }
    }
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Text for the reader, never empty.
    Text(String),
    /// A whole tool call.
    Call(Call),
}

/// A tool call as the model wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The tool's name.
    pub name: String,
    /// The arguments: the text of a JSON object.
    pub arguments: String,
    /// The identifier, where the model wrote one.
    pub id: Option<String>,
}

/// Reads generated text. Feed it with [`Parser::push`], end it with [`Parser::finish`].
#[derive(Debug)]
pub struct Parser {
    form: Form,
    /// Text not yet decided on.
    held: String,
    /// Whether `held` begins inside a call.
    inside: bool,
    /// Whether only blanks came so far: a bare object is a call at the beginning only.
    fresh: bool,
    /// Whether a call has just ended: a semicolon may join the next one to it.
    joined: bool,
    /// How much of `held` has been scanned for the end of its JSON.
    scan: Scan,
}

impl Parser {
    /// A parser for one answer.
    pub fn new(form: Form) -> Self {
        Self { form, held: String::new(), inside: false, fresh: true, joined: false, scan: Scan::default() }
    }

    /// Takes the next piece of text and says what is now certain. Text that may yet turn out to be a call is held back, and no more than
    /// that.
    pub fn push(&mut self, piece: &str) -> Vec<Event> {
        let mut events = Vec::new();
        if self.form == Form::None {
            text(&mut events, piece);
            return events;
        }
        self.held.push_str(piece);
        while self.step(&mut events) {}
        events
    }

    /// Says what is left when no more text comes. A call that was cut is text, unless only its closing mark is missing.
    pub fn finish(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let held = std::mem::take(&mut self.held);
        let body = match (self.inside, self.form) {
            (true, Form::Hermes) => held.strip_prefix(OPEN).and_then(object),
            (true, Form::Llama) => object(held.strip_prefix(PYTHON).unwrap_or(&held)),
            _ => None,
        };
        match body.as_ref().and_then(call) {
            Some(call) => events.push(Event::Call(call)),
            None => text(&mut events, &held),
        }
        events
    }

    /// One decision; false when more text is needed for the next.
    fn step(&mut self, events: &mut Vec<Event>) -> bool {
        if self.held.is_empty() {
            return false;
        }
        if self.inside {
            return self.call(events);
        }
        match self.form {
            Form::Llama if self.fresh => {
                let joined = self.joined;
                let start =
                    self.held.trim_start_matches(|letter: char| letter.is_whitespace() || (joined && letter == ';'));
                if start.is_empty() || (PYTHON.starts_with(start) && start != PYTHON) {
                    return false;
                }
                self.fresh = false;
                if start.starts_with('{') || start.starts_with(PYTHON) {
                    let skip = self.held.len() - start.len();
                    self.held.drain(..skip);
                    self.enter();
                }
                true
            }
            Form::Hermes => self.until(OPEN, events),
            Form::Mistral => self.until(CALLS, events),
            _ => self.until(PYTHON, events),
        }
    }

    fn enter(&mut self) {
        self.inside = true;
        self.scan = Scan::default();
    }

    /// Gives out text up to a mark; keeps what may be the mark's beginning.
    fn until(&mut self, mark: &str, events: &mut Vec<Event>) -> bool {
        if let Some(at) = self.held.find(mark) {
            let rest = self.held.split_off(at);
            let before = std::mem::replace(&mut self.held, rest);
            // Blanks between a text and its calls are the template's, not the answer's.
            text(events, before.trim_end());
            self.enter();
            return true;
        }
        let keep =
            (1..mark.len()).rev().find(|length| self.held.ends_with(mark.get(..*length).unwrap_or(mark))).unwrap_or(0);
        let blank =
            self.held.len() - keep - self.held.get(..self.held.len() - keep).map_or(0, |text| text.trim_end().len());
        let rest = self.held.split_off(self.held.len() - keep - blank);
        let out = std::mem::replace(&mut self.held, rest);
        text(events, &out);
        false
    }

    /// Inside a call: takes it when it is whole, gives it up when it cannot become one.
    fn call(&mut self, events: &mut Vec<Event>) -> bool {
        let found = match self.form {
            Form::Hermes => self.hermes(),
            Form::Mistral => self.mistral(),
            _ => self.llama(),
        };
        match found {
            Found::More if self.held.len() <= MAX_CALL => false,
            Found::Calls(calls, length) => {
                events.extend(calls.into_iter().map(Event::Call));
                self.held.drain(..length);
                self.inside = false;
                true
            }
            // The mark is text after all; what follows it is looked at anew.
            Found::Text(length) => {
                let rest = self.held.split_off(length);
                let out = std::mem::replace(&mut self.held, rest);
                text(events, &out);
                self.inside = false;
                true
            }
            Found::More => {
                let out = std::mem::take(&mut self.held);
                text(events, &out);
                self.inside = false;
                true
            }
        }
    }

    fn hermes(&mut self) -> Found {
        let Some(end) = self.held.find(CLOSE) else { return Found::More };
        let inside = self.held.get(OPEN.len()..end).unwrap_or_default();
        let length = end + CLOSE.len();
        match object(inside).as_ref().and_then(call) {
            Some(call) => Found::Calls(vec![call], length),
            None => Found::Text(length),
        }
    }

    fn mistral(&mut self) -> Found {
        let rest = self.held.get(CALLS.len()..).unwrap_or_default();
        let begin = CALLS.len() + rest.len() - rest.trim_start().len();
        match rest.trim_start().chars().next() {
            None => Found::More,
            Some('[') => match self.scan.end(&self.held, begin) {
                None => Found::More,
                Some(end) => {
                    let list = self.held.get(begin..end).and_then(|text| serde_json::from_str::<Vec<Value>>(text).ok());
                    let calls: Option<Vec<Call>> = list.and_then(|list| list.iter().map(call).collect());
                    calls
                        .filter(|calls| !calls.is_empty())
                        .map_or(Found::Text(CALLS.len()), |calls| Found::Calls(calls, end))
                }
            },
            // The later form: a name, then its arguments.
            Some(_) => {
                const ARGS: &str = "[ARGS]";
                let head = self.held.get(begin..).unwrap_or_default();
                let args = match head.find(ARGS) {
                    Some(args) if args <= MAX_HEAD => args,
                    // However the text is cut, a head is too long at the same length.
                    None if head.len() < MAX_HEAD + ARGS.len() => return Found::More,
                    _ => return Found::Text(CALLS.len()),
                };
                let name = self
                    .held
                    .get(begin..begin + args)
                    .unwrap_or_default()
                    .split("[CALL_ID]")
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .to_owned();
                let id = self
                    .held
                    .get(begin..begin + args)
                    .and_then(|head| head.split_once("[CALL_ID]"))
                    .map(|(_, id)| id.trim().to_owned());
                let from = begin + args + ARGS.len();
                match self.scan.end(&self.held, from) {
                    None => Found::More,
                    Some(end) => match self.held.get(from..end).and_then(object) {
                        Some(arguments) if !name.is_empty() => {
                            Found::Calls(vec![Call { name, arguments: arguments.to_string(), id }], end)
                        }
                        _ => Found::Text(CALLS.len()),
                    },
                }
            }
        }
    }

    fn llama(&mut self) -> Found {
        let mut begin = if self.held.starts_with(PYTHON) { PYTHON.len() } else { 0 };
        let mut rest = self.held.get(begin..).unwrap_or_default();
        begin += rest.len() - rest.trim_start().len();
        rest = rest.trim_start();
        match rest.chars().next() {
            None => return Found::More,
            Some('{') => {}
            // Python code behind the tag is no call of a tool by name.
            Some(_) => return Found::Text(begin.max(1)),
        }
        let Some(end) = self.scan.end(&self.held, begin) else { return Found::More };
        match self.held.get(begin..end).and_then(object).as_ref().and_then(call) {
            Some(call) => {
                (self.fresh, self.joined) = (true, true);
                Found::Calls(vec![call], end)
            }
            None => Found::Text(end),
        }
    }
}

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";
const CALLS: &str = "[TOOL_CALLS]";
const PYTHON: &str = "<|python_tag|>";

enum Found {
    More,
    Calls(Vec<Call>, usize),
    Text(usize),
}

/// Looks for the end of a JSON value, each byte once however many pieces it comes in.
#[derive(Debug, Default)]
struct Scan {
    at: usize,
    depth: usize,
    quoted: bool,
    escaped: bool,
}

impl Scan {
    /// The place behind the object or array that begins at `begin`.
    fn end(&mut self, text: &str, begin: usize) -> Option<usize> {
        self.at = self.at.max(begin);
        for byte in text.as_bytes().get(self.at..).unwrap_or_default() {
            self.at += 1;
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.quoted => self.escaped = true,
                b'"' => self.quoted = !self.quoted,
                _ if self.quoted => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(self.at);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

fn text(events: &mut Vec<Event>, text: &str) {
    if text.is_empty() {
        return;
    }
    if let Some(Event::Text(last)) = events.last_mut() {
        last.push_str(text);
    } else {
        events.push(Event::Text(text.to_owned()));
    }
}

fn object(text: &str) -> Option<Value> {
    serde_json::from_str(text.trim()).ok().filter(Value::is_object)
}

/// The call in an object: a name and its arguments, which some models write as text.
fn call(value: &Value) -> Option<Call> {
    let fields = value.get("function").filter(|function| function.is_object()).unwrap_or(value);
    let name = fields.get("name")?.as_str().filter(|name| !name.is_empty())?;
    let arguments = match fields.get("arguments").or_else(|| fields.get("parameters")) {
        Some(Value::String(text)) => object(text)?.to_string(),
        Some(arguments @ Value::Object(_)) => arguments.to_string(),
        None | Some(Value::Null) => "{}".to_owned(),
        Some(_) => return None,
    };
    let id = value.get("id").and_then(Value::as_str).map(str::to_owned);
    Some(Call { name: name.to_owned(), arguments, id })
}

#[cfg(test)]
mod tests;
