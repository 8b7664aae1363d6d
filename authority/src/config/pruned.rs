//! Values of which some were taken out, and the paths they had before.

use serde_json::Value;

use crate::config::document::{self, Step};

/// A value and what is left of it.
#[derive(Debug)]
pub(super) struct Pruned {
    left: Value,
    /// Items taken out of lists: the list's path as it was, the item's index as it was.
    gone: Vec<(String, usize)>,
}

impl Pruned {
    pub(super) const fn new(value: Value) -> Self {
        Self {
            left: value,
            gone: Vec::new(),
        }
    }

    pub(super) const fn left(&self) -> &Value {
        &self.left
    }

    /// The path that what now stands at `path` had at first.
    pub(super) fn original(&self, path: &[Step]) -> Vec<Step> {
        let mut original = Vec::new();
        for step in path {
            let step = match step {
                Step::Key(_) => step.clone(),
                Step::Index(index) => {
                    let list = document::text(&original, None);
                    let is_gone = |index: usize| self.gone.contains(&(list.clone(), index));
                    let mut kept = (0..).filter(|index| !is_gone(*index));
                    Step::Index(kept.nth(*index).unwrap_or(*index))
                }
            };
            original.push(step);
        }
        original
    }

    /// Takes the field at `path` out of its map; false if there is none.
    pub(super) fn remove(&mut self, path: &[Step]) -> bool {
        match path.split_last() {
            Some((Step::Key(key), before)) => match self.at(before) {
                Some(Value::Object(map)) => map.remove(key).is_some(),
                _ => false,
            },
            _ => false,
        }
    }

    /// Takes the innermost list item on `path` out of its list; false if there is none.
    pub(super) fn remove_item(&mut self, path: &[Step]) -> bool {
        let Some((before, index)) =
            path.iter()
                .enumerate()
                .rev()
                .find_map(|(at, step)| match step {
                    Step::Index(index) => Some((path.get(..at)?, *index)),
                    Step::Key(_) => None,
                })
        else {
            return false;
        };
        let original = self.original(&[before, &[Step::Index(index)]].concat());
        let Some(Value::Array(list)) = self.at(before) else {
            return false;
        };
        if index >= list.len() {
            return false;
        }
        list.remove(index);
        if let Some((Step::Index(index), list)) = original.split_last() {
            self.gone.push((document::text(list, None), *index));
        }
        true
    }

    fn at(&mut self, path: &[Step]) -> Option<&mut Value> {
        let mut inner = &mut self.left;
        for step in path {
            inner = match (inner, step) {
                (Value::Object(map), Step::Key(key)) => map.get_mut(key)?,
                (Value::Array(list), Step::Index(index)) => list.get_mut(*index)?,
                _ => return None,
            };
        }
        Some(inner)
    }
}
