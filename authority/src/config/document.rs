//! YAML as a tree that knows where each node stands.

use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use serde_path_to_error::Segment;
use serde_saphyr::{Location, Spanned};

use crate::config::Problem;

/// A YAML document, as its values and as the places they stand at.
#[derive(Debug)]
pub(super) struct Document {
    root: Node,
    value: Value,
}

/// One step down a path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// Into a map.
    Key(String),
    /// Into a list.
    Index(usize),
}

/// Line and column, both from 1.
type Place = Option<(u64, u64)>;

#[derive(Debug)]
struct Node {
    at: Place,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Scalar(Value),
    List(Vec<Node>),
    /// Key, where the key stands, value.
    Map(Vec<(String, Place, Node)>),
}

impl Document {
    /// Parses one document whose root is a map; an empty text is an empty map.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let whole = |at, problem: String| Problem {
            at,
            field: String::new(),
            problem,
        };
        let root: Option<Node> = serde_saphyr::from_str(text).map_err(|error| {
            let at = error.location().and_then(place);
            let message = error.without_snippet().to_string();
            let line = message.lines().next().unwrap_or_default();
            // What follows is advice for programmers.
            let problem = line.split_once(", set DuplicateKeyPolicy");
            whole(at, problem.map_or(line, |(problem, _)| problem).to_owned())
        })?;
        let root = root.unwrap_or_else(Node::empty);
        match &root.content {
            Content::Map(_) => Ok(Self {
                value: root.value(),
                root,
            }),
            Content::Scalar(Value::Null) => Ok(Self {
                value: Value::Object(Map::new()),
                root: Node::empty(),
            }),
            _ => Err(whole(root.at, "not a map of settings".to_owned())),
        }
    }

    pub(super) const fn value(&self) -> &Value {
        &self.value
    }

    /// Where the field at `path` stands, or else the innermost thing around it.
    pub(super) fn position(&self, path: &[Step]) -> Place {
        let mut node = &self.root;
        let mut at = node.at;
        for step in path {
            let next = match (&node.content, step) {
                (Content::Map(map), Step::Key(wanted)) => map
                    .iter()
                    .find(|(key, _, _)| key == wanted)
                    .map(|(_, key_at, node)| (*key_at, node)),
                (Content::List(list), Step::Index(index)) => {
                    list.get(*index).map(|node| (node.at, node))
                }
                _ => None,
            };
            let Some((place, next)) = next else { break };
            at = place.or(at);
            node = next;
        }
        at
    }
}

/// The steps of a path such as `proofs.oidc[0].issuer`. Keys with dots of their own are not found,
/// and then what is around them is.
pub(super) fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let mut pieces = part.split('[');
        if let Some(key) = pieces.next().filter(|key| !key.is_empty()) {
            steps.push(Step::Key(key.to_owned()));
        }
        for index in pieces {
            if let Ok(index) = index.trim_end_matches(']').parse() {
                steps.push(Step::Index(index));
            }
        }
    }
    steps
}

/// The steps serde went before it met an error.
pub(super) fn steps_of(path: &serde_path_to_error::Path) -> Vec<Step> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

/// A path as text, with `field` below it.
pub(super) fn text(steps: &[Step], field: Option<&str>) -> String {
    let mut text = String::new();
    let last = field.map(|field| Step::Key(field.to_owned()));
    for step in steps.iter().chain(&last) {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

impl Node {
    const fn empty() -> Self {
        Self {
            at: None,
            content: Content::Map(Vec::new()),
        }
    }

    fn value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(list) => Value::Array(list.iter().map(Self::value).collect()),
            Content::Map(map) => {
                let entries = map.iter().map(|(key, _, node)| (key.clone(), node.value()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(from)?;
        Ok(Self {
            at: place(spanned.referenced),
            content: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Builder)
    }
}

struct Builder;

impl<'de> Visitor<'de> for Builder {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("texts, numbers, lists and maps with texts as keys")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Content, D::Error> {
        from.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Content, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = from.next_element()? {
            list.push(node);
        }
        Ok(Content::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Content, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = from.next_key::<Spanned<String>>()? {
            map.push((key.value, place(key.referenced), from.next_value()?));
        }
        Ok(Content::Map(map))
    }
}

fn place(at: Location) -> Place {
    let (line, column) = (at.line(), at.column());
    (line > 0).then_some((line, column))
}
