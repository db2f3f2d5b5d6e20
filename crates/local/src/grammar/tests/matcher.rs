//! A small reader of GBNF that says whether a grammar accepts a text: slow, plain, and independent of llama.cpp, so that what a schema
//! lets through can be tested without an engine.

use std::collections::{BTreeMap, BTreeSet};

enum Node {
    Text(Vec<char>),
    Class(bool, Vec<(char, char)>),
    Rule(String),
    Sequence(Vec<Node>),
    Either(Vec<Node>),
    Repeat(Box<Node>, usize, usize),
}

pub(super) struct Grammar(BTreeMap<String, Node>);

impl Grammar {
    pub(super) fn new(text: &str) -> Self {
        let mut rules = BTreeMap::new();
        for line in text.lines() {
            let (name, body) = line.split_once(" ::= ").unwrap();
            let letters: Vec<char> = body.chars().collect();
            let mut at = 0;
            rules.insert(name.to_owned(), either(&letters, &mut at));
            assert_eq!(at, letters.len(), "unread: {line}");
        }
        let grammar = Self(rules);
        for node in grammar.0.values() {
            grammar.defined(node);
        }
        grammar
    }

    fn defined(&self, node: &Node) {
        match node {
            Node::Rule(name) => assert!(self.0.contains_key(name), "no rule {name}"),
            Node::Sequence(nodes) | Node::Either(nodes) => nodes.iter().for_each(|node| self.defined(node)),
            Node::Repeat(node, ..) => self.defined(node),
            _ => {}
        }
    }

    pub(super) fn accepts(&self, text: &str) -> bool {
        let letters: Vec<char> = text.chars().collect();
        self.ends(&Node::Rule("root".into()), &letters, 0).contains(&letters.len())
    }

    fn ends(&self, node: &Node, text: &[char], at: usize) -> BTreeSet<usize> {
        match node {
            Node::Text(letters) => {
                if text[at..].starts_with(letters) {
                    [at + letters.len()].into()
                } else {
                    BTreeSet::new()
                }
            }
            Node::Class(negated, ranges) => match text.get(at) {
                Some(letter) if ranges.iter().any(|(from, to)| (from..=to).contains(&letter)) != *negated => {
                    [at + 1].into()
                }
                _ => BTreeSet::new(),
            },
            Node::Rule(name) => self.ends(&self.0[name], text, at),
            Node::Either(nodes) => nodes.iter().flat_map(|node| self.ends(node, text, at)).collect(),
            Node::Sequence(nodes) => nodes.iter().fold([at].into(), |starts: BTreeSet<usize>, node| {
                starts.iter().flat_map(|at| self.ends(node, text, *at)).collect()
            }),
            Node::Repeat(node, least, most) => {
                let (mut all, mut now): (BTreeSet<usize>, BTreeSet<usize>) = (BTreeSet::new(), [at].into());
                for count in 0..=*most {
                    if count >= *least {
                        let new = now.iter().filter(|at| !all.contains(at)).count();
                        all.extend(&now);
                        if new == 0 {
                            break;
                        }
                    }
                    if count < *most {
                        now = now.iter().flat_map(|at| self.ends(node, text, *at)).collect();
                    }
                }
                all
            }
        }
    }
}

fn blanks(text: &[char], at: &mut usize) {
    while text.get(*at) == Some(&' ') {
        *at += 1;
    }
}

fn either(text: &[char], at: &mut usize) -> Node {
    let mut nodes = vec![sequence(text, at)];
    while text.get(*at) == Some(&'|') {
        *at += 1;
        nodes.push(sequence(text, at));
    }
    Node::Either(nodes)
}

fn sequence(text: &[char], at: &mut usize) -> Node {
    let mut nodes = Vec::new();
    loop {
        blanks(text, at);
        match text.get(*at) {
            None | Some('|' | ')') => return Node::Sequence(nodes),
            Some(_) => nodes.push(item(text, at)),
        }
    }
}

fn item(text: &[char], at: &mut usize) -> Node {
    let node = match text[*at] {
        '"' => {
            *at += 1;
            let mut letters = Vec::new();
            while text[*at] != '"' {
                letters.push(letter(text, at));
            }
            *at += 1;
            Node::Text(letters)
        }
        '[' => {
            *at += 1;
            let negated = text[*at] == '^';
            *at += usize::from(negated);
            let mut ranges = Vec::new();
            while text[*at] != ']' {
                let from = letter(text, at);
                let to = if text[*at] == '-' && text[*at + 1] != ']' {
                    *at += 1;
                    letter(text, at)
                } else {
                    from
                };
                ranges.push((from, to));
            }
            *at += 1;
            Node::Class(negated, ranges)
        }
        '(' => {
            *at += 1;
            let node = either(text, at);
            assert_eq!(text[*at], ')');
            *at += 1;
            node
        }
        first => {
            assert!(first.is_ascii_alphanumeric(), "{first:?} in {}", text.iter().collect::<String>());
            let mut name = String::new();
            while text.get(*at).is_some_and(|letter| letter.is_ascii_alphanumeric() || *letter == '-') {
                name.push(text[*at]);
                *at += 1;
            }
            Node::Rule(name)
        }
    };
    let (least, most) = match text.get(*at) {
        Some('*') => (0, usize::MAX - 1),
        Some('+') => (1, usize::MAX - 1),
        Some('?') => (0, 1),
        Some('{') => {
            let end = *at + text[*at..].iter().position(|letter| *letter == '}').unwrap();
            let inside: String = text[*at + 1..end].iter().collect();
            *at = end;
            match inside.split_once(',') {
                None => (inside.parse().unwrap(), inside.parse().unwrap()),
                Some((low, "")) => (low.parse().unwrap(), usize::MAX - 1),
                Some((low, high)) => (low.parse().unwrap(), high.parse().unwrap()),
            }
        }
        _ => return node,
    };
    *at += 1;
    Node::Repeat(Box::new(node), least, most)
}

fn letter(text: &[char], at: &mut usize) -> char {
    let mut next = || {
        *at += 1;
        text[*at - 1]
    };
    match next() {
        '\\' => match next() {
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'x' => char::from_u32(next().to_digit(16).unwrap() * 16 + next().to_digit(16).unwrap()).unwrap(),
            other => {
                assert!(matches!(other, '"' | '\\' | ']' | '['), "\\{other}");
                other
            }
        },
        plain => plain,
    }
}
