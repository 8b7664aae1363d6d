//! YAML as a tree that knows where each node stands.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use serde_saphyr::{Location, Spanned};

/// A line and column, both from 1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Position {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

/// What keeps a text from being YAML.
pub(super) struct NotYaml {
    pub(super) position: Option<Position>,
    pub(super) problem: String,
}

/// One document.
#[derive(Debug)]
pub(super) struct Document {
    root: Node,
    value: Value,
}

#[derive(Debug)]
struct Node {
    at: Option<Position>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Scalar(Value),
    List(Vec<Node>),
    /// Key, where the key stands, value.
    Map(Vec<(String, Option<Position>, Node)>),
}

/// The non-empty documents of `text`.
pub(super) fn documents(text: &str) -> Result<Vec<Document>, NotYaml> {
    let roots: Vec<Option<Node>> = serde_saphyr::from_multiple(text).map_err(|error| {
        let position = error.location().and_then(position);
        NotYaml {
            position,
            problem: first_line(&error.without_snippet().to_string()),
        }
    })?;
    let document = |root: Node| Document {
        value: root.value(),
        root,
    };
    Ok(roots
        .into_iter()
        .flatten()
        .filter(|root| !root.is_null())
        .map(document)
        .collect())
}

impl Document {
    pub(super) fn value(&self) -> &Value {
        &self.value
    }

    /// Where `path` stands, or as much of it as there is.
    pub(super) fn position(&self, path: &str) -> Option<Position> {
        let mut node = &self.root;
        let mut at = node.at;
        let mut rest = path;
        while !rest.is_empty() {
            let Some((key_at, next, after)) = node.step(rest) else {
                break;
            };
            at = key_at.or(next.at).or(at);
            (node, rest) = (next, after);
        }
        at
    }

    /// Where the field that `problem` is about stands: for an unknown field, whose path may end with the map it is in.
    pub(super) fn position_of_field(&self, path: &str, problem: &str) -> Option<Position> {
        let unknown = problem
            .strip_prefix("unknown field `")
            .and_then(|rest| rest.split_once('`'))
            .map(|(field, _)| field)
            .filter(|field| !path.ends_with(field));
        match unknown {
            Some(field) if path.is_empty() => self.position(field),
            Some(field) => self.position(&format!("{path}.{field}")),
            None => self.position(path),
        }
    }
}

impl Node {
    fn is_null(&self) -> bool {
        matches!(self.content, Content::Scalar(Value::Null))
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

    /// The child that `path` leads to first, where its key stands, and the rest of the path.
    fn step<'n, 'p>(&'n self, path: &'p str) -> Option<(Option<Position>, &'n Self, &'p str)> {
        match &self.content {
            Content::Scalar(_) => None,
            Content::List(list) => {
                let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
                let node = list.get(index.parse::<usize>().ok()?)?;
                Some((node.at, node, rest.strip_prefix('.').unwrap_or(rest)))
            }
            // Keys such as `istio.io/dry-run` have dots themselves: the longest that fits is meant.
            Content::Map(map) => map
                .iter()
                .filter_map(|(key, at, node)| {
                    let rest = path.strip_prefix(key.as_str())?;
                    let ends = rest.is_empty() || rest.starts_with(['.', '[']);
                    let rest = rest.strip_prefix('.').unwrap_or(rest);
                    ends.then_some((key.len(), (*at, node, rest)))
                })
                .max_by_key(|(length, _)| *length)
                .map(|(_, step)| step),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(from)?;
        Ok(Self {
            at: position(spanned.referenced),
            content: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML of the JSON kind: texts, numbers, lists and maps with texts as keys")
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
            map.push((key.value, position(key.referenced), from.next_value()?));
        }
        Ok(Content::Map(map))
    }
}

fn position(at: Location) -> Option<Position> {
    let (line, column) = (at.line(), at.column());
    (line > 0).then_some(Position { line, column })
}

/// The rest is a drawing of the place, which the caller shows in its own way, or advice for programmers.
fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let advice = ", set DuplicateKeyPolicy";
    line.split_once(advice)
        .map_or(line, |(problem, _)| problem)
        .to_owned()
}
