//! One document of a file, with the place of each of its parts.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    YamlError,
    node::{self, Document},
};
use crate::json::{self, ShapeError};

/// Most problems of shape that are reported of one document.
pub const MAX_SHAPE_ERRORS: usize = 64;

/// One document of a YAML (or JSON) file, which knows where its parts were written.
#[derive(Debug)]
pub struct SourceDocument {
    file: String,
    document: Document,
}

/// Reads the non-empty documents of one file; `file` is its name, for errors.
///
/// # Errors
/// Not YAML, or a key that occurs twice.
pub fn documents(file: &str, text: &str) -> Result<Vec<SourceDocument>, YamlError> {
    let documents = node::documents(text)
        .map_err(|error| YamlError::new(file, error.position, String::new(), error.problem))?;
    let source = |document| SourceDocument {
        file: file.to_owned(),
        document,
    };
    Ok(documents.into_iter().map(source).collect())
}

impl SourceDocument {
    /// The file's name as given by the caller.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What was written.
    #[must_use]
    pub fn value(&self) -> &Value {
        self.document.value()
    }

    /// A problem at `path` (`spec.rules[0].from`; empty for the document as a whole), where it was written. Where
    /// there is nothing at `path`, the place of as much of it as there is.
    #[must_use]
    pub fn error(&self, path: &str, problem: impl Into<String>) -> YamlError {
        let problem = problem.into();
        let position = self.document.position_of_field(path, &problem);
        YamlError::new(&self.file, position, path.to_owned(), problem)
    }

    /// The part at `path`, if there is one.
    #[must_use]
    pub fn part(&self, path: &str) -> Option<&Value> {
        part(self.value(), path)
    }

    /// Reads a type from the document.
    ///
    /// # Errors
    /// The problems of shape, at most [`MAX_SHAPE_ERRORS`]. After each, the rest of the list or map it is in is not
    /// looked at; so there may be more when these are mended.
    pub fn shape<T: DeserializeOwned>(&self) -> Result<T, Vec<YamlError>> {
        self.shape_at("")
    }

    /// Reads a type from the part at `path`, e.g. `items[0]`.
    ///
    /// # Errors
    /// As [`shape`](Self::shape), and that there is nothing at `path`.
    pub fn shape_at<T: DeserializeOwned>(&self, path: &str) -> Result<T, Vec<YamlError>> {
        let Some(part) = self.part(path) else {
            return Err(vec![self.error(path, "is missing")]);
        };
        let mut rest = part.clone();
        let mut errors = Vec::new();
        loop {
            let error = match json::shape(&rest) {
                Ok(shaped) if errors.is_empty() => return Ok(shaped),
                Ok(_) => return Err(errors),
                Err(error) => error,
            };
            let ShapeError { path: at, problem } = error;
            let field = unknown_field(&at, &problem);
            errors.push(self.error(&join(path, &at), problem));
            // Without the part at fault, the reader gets further.
            let removed = remove(&mut rest, field.as_deref().unwrap_or(&at));
            if !removed || errors.len() == MAX_SHAPE_ERRORS {
                return Err(errors);
            }
        }
    }
}

/// `path` of something within `base`.
fn join(base: &str, path: &str) -> String {
    match (base, path) {
        ("", path) => path.to_owned(),
        (base, "") => base.to_owned(),
        (base, path) if path.starts_with('[') => format!("{base}{path}"),
        (base, path) => format!("{base}.{path}"),
    }
}

/// The first step of `path` into `map`: the longest key it can mean, as keys such as `istio.io/dry-run` have dots
/// themselves; and the rest of it.
fn step<'p>(map: &Map<String, Value>, path: &'p str) -> Option<(String, &'p str)> {
    map.keys()
        .filter_map(|key| {
            let rest = path.strip_prefix(key.as_str())?;
            let ends = rest.is_empty() || rest.starts_with(['.', '[']);
            ends.then(|| (key.clone(), rest.strip_prefix('.').unwrap_or(rest)))
        })
        .max_by_key(|(key, _)| key.len())
}

/// The first step of `path` into a list, and the rest of it.
fn element(path: &str) -> Option<(usize, &str)> {
    let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
    Some((index.parse().ok()?, rest.strip_prefix('.').unwrap_or(rest)))
}

fn part<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    if path.is_empty() {
        return Some(value);
    }
    match value {
        Value::Object(map) => {
            let (key, rest) = step(map, path)?;
            part(map.get(&key)?, rest)
        }
        Value::Array(list) => {
            let (index, rest) = element(path)?;
            part(list.get(index)?, rest)
        }
        _ => None,
    }
}

/// The path of the field that the problem is about, where `path` is that of the map around it.
fn unknown_field(path: &str, problem: &str) -> Option<String> {
    let (field, _) = problem.strip_prefix("unknown field `")?.split_once('`')?;
    let own = path.strip_suffix(field);
    if own.is_some_and(|before| before.is_empty() || before.ends_with('.')) {
        return None;
    }
    Some(if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    })
}

/// Removes the entry of the innermost map on the way to `path`: an element of a list cannot be left out without
/// giving those behind it another place. Says whether there was one.
fn remove(value: &mut Value, path: &str) -> bool {
    match value {
        Value::Object(map) => {
            let Some((key, rest)) = step(map, path) else {
                return false;
            };
            map.get_mut(&key).is_some_and(|inner| remove(inner, rest)) || map.remove(&key).is_some()
        }
        Value::Array(list) => {
            let inner = element(path)
                .and_then(|(index, rest)| list.get_mut(index).map(|inner| (inner, rest)));
            inner.is_some_and(|(inner, rest)| remove(inner, rest))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AuthorizationPolicy;

    fn errors(spec: &str) -> Vec<String> {
        let text = format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: a, namespace: b}}\nspec:\n{spec}"
        );
        let documents = documents("a.yaml", &text).unwrap();
        let shaped = documents[0].shape::<AuthorizationPolicy>();
        shaped
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn every_unknown_field_of_a_document_is_found() {
        let found = errors(
            "  rule: []\n  rules:\n  - form: []\n    from:\n    - source: {principls: [a]}\n  - too: []\n",
        );
        let starts = [
            "a.yaml:5:3: spec.rule: unknown field",
            "a.yaml:7:5: spec.rules[0].form: unknown field",
            "a.yaml:9:16: spec.rules[0].from[0].source.principls: unknown field",
            "a.yaml:10:5: spec.rules[1].too: unknown field",
        ];
        assert_eq!(found.len(), starts.len(), "{found:#?}");
        for (found, start) in found.iter().zip(starts) {
            assert!(found.starts_with(start), "{found} {start}");
        }
    }

    #[test]
    fn wrong_types_do_not_hide_what_follows() {
        let found = errors(
            "  rules:\n  - from:\n    - source: {principals: [a, 1], namespaces: 3}\n  action: 7\n",
        );
        assert_eq!(found.len(), 3, "{found:#?}");
    }

    #[test]
    fn a_document_that_is_no_map_is_one_problem() {
        let documents = documents("a.yaml", "- a\n").unwrap();
        let found = documents[0].shape::<AuthorizationPolicy>().unwrap_err();
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn the_number_of_problems_is_bounded() {
        let fields: Vec<String> = (0..200).map(|n| format!("  f{n}: 1\n")).collect();
        assert_eq!(errors(&fields.concat()).len(), MAX_SHAPE_ERRORS);
    }
}
