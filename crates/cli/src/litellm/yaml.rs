//! YAML as nodes that know their lines. Scalars stay text: what a number or a flag is decides whoever reads it.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

/// The most nodes of a file, those behind aliases counted each time.
const MOST: usize = 50_000;
/// The deepest nesting.
const DEEPEST: usize = 64;

/// A value and where it stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// From 1; 0 for one that is not there.
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Clone, Debug, Default)]
pub(super) enum Value {
    #[default]
    Null,
    Text(String),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
}

/// What stands for a node that is not there.
static NOTHING: Node = Node { line: 0, value: Value::Null };

impl Node {
    /// The value of a key; nothing where there is none.
    pub(super) fn at(&self, key: &str) -> &Node {
        self.entries().find(|(name, _)| *name == key).map_or(&NOTHING, |(_, node)| node)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Node)> {
        let table = if let Value::Table(table) = &self.value { table.as_slice() } else { &[] };
        table.iter().map(|(key, node)| (key.as_str(), node))
    }

    pub(super) fn items(&self) -> &[Node] {
        if let Value::List(items) = &self.value { items } else { &[] }
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value {
            Some(text).filter(|text| !text.is_empty()).map(String::as_str)
        } else {
            None
        }
    }

    /// A number, as YAML and Python write them: `20_000` too.
    pub(super) fn number(&self) -> Option<f64> {
        self.text()?.replace('_', "").parse().ok().filter(|number: &f64| number.is_finite())
    }

    pub(super) fn is_on(&self) -> bool {
        self.text().is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    pub(super) fn is_there(&self) -> bool {
        !matches!(self.value, Value::Null)
    }

    fn size(&self) -> usize {
        1 + match &self.value {
            Value::Null | Value::Text(_) => 0,
            Value::List(items) => items.iter().map(Node::size).sum(),
            Value::Table(table) => table.iter().map(|(_, node)| node.size()).sum(),
        }
    }
}

/// What is open while a document is read.
struct Open {
    node: Node,
    anchor: usize,
    /// The key that waits for its value, in a table.
    key: Option<String>,
}

/// Reads the first document of a text.
pub(super) fn read(text: &str) -> Result<Node, String> {
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: HashMap<usize, Node> = HashMap::new();
    let (mut root, mut seen) = (None, 0_usize);
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| format!("line {}: {}", error.marker().line(), error.info()))?;
        let line = span.start.line();
        let (node, anchor) = match event {
            Event::DocumentEnd | Event::StreamEnd if root.is_some() => break,
            Event::Scalar(value, style, anchor, _) => {
                let null = style == ScalarStyle::Plain && matches!(&*value, "" | "~" | "null" | "Null" | "NULL");
                let value = if null { Value::Null } else { Value::Text(value.into_owned()) };
                (Node { line, value }, anchor)
            }
            Event::SequenceStart(anchor, _) => {
                open.push(Open { node: Node { line, value: Value::List(Vec::new()) }, anchor, key: None });
                (Node::default(), usize::MAX)
            }
            Event::MappingStart(anchor, _) => {
                open.push(Open { node: Node { line, value: Value::Table(Vec::new()) }, anchor, key: None });
                (Node::default(), usize::MAX)
            }
            Event::Alias(anchor) => {
                let node = anchors.get(&anchor).ok_or_else(|| format!("line {line}: this alias has no anchor"))?;
                (Node { line, ..node.clone() }, 0)
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open { node, anchor, .. }) => (node, anchor),
                None => continue,
            },
            _ => continue,
        };
        if open.len() > DEEPEST {
            return Err(format!("line {line}: it nests deeper than {DEEPEST} levels"));
        }
        if anchor == usize::MAX {
            continue;
        }
        seen += node.size();
        if seen > MOST * 8 || node.size() > MOST {
            return Err(format!("line {line}: it holds more than {MOST} values"));
        }
        if anchor > 0 {
            anchors.insert(anchor, node.clone());
        }
        match open.last_mut() {
            None => root = root.or(Some(node)),
            Some(above) => place(above, node),
        }
    }
    let root = root.unwrap_or_default();
    match root.value {
        Value::Table(_) => Ok(root),
        _ => Err("it is no table of settings".to_owned()),
    }
}

/// Puts a node into the list or table that is open.
fn place(above: &mut Open, node: Node) {
    match &mut above.node.value {
        Value::List(items) => items.push(node),
        Value::Table(table) => match above.key.take() {
            None => above.key = Some(node.text().unwrap_or_default().to_owned()),
            // `<<` takes over what another table says, unless the table says it itself.
            Some(key) if key == "<<" => {
                let new: Vec<_> =
                    node.entries().filter(|(name, _)| !table.iter().any(|(own, _)| own == name)).collect();
                let new: Vec<_> = new.into_iter().map(|(name, node)| (name.to_owned(), node.clone())).collect();
                table.extend(new);
            }
            Some(key) => {
                table.retain(|(own, _)| *own != key);
                table.push((key, node));
            }
        },
        Value::Null | Value::Text(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_know_their_lines_and_keep_their_text() {
        let node = read("a: 20_000\nb:\n  - x: \"2023-05-15\"\n  - ~\n").unwrap();
        assert_eq!((node.at("a").number(), node.at("a").line), (Some(20_000.0), 1));
        let [first, second] = node.at("b").items() else { panic!() };
        assert_eq!((first.at("x").text(), first.at("x").line), (Some("2023-05-15"), 3));
        assert!(!second.is_there() && !node.at("nowhere").is_there());
    }

    #[test]
    fn anchors_are_read_and_bounded() {
        let node = read("base: &b {k: v, l: w}\none:\n  <<: *b\n  l: own\n").unwrap();
        assert_eq!((node.at("one").at("k").text(), node.at("one").at("l").text()), (Some("v"), Some("own")));
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        assert!(read(&bomb).unwrap_err().contains("more than"));
        assert!(read(&"[".repeat(100_000)).is_err());
        assert!(read("- a list").is_err() && read("").is_err() && read("a: [").is_err());
    }
}
