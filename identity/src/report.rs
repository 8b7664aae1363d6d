//! Errors in one line, for logs and messages.

use std::error::Error;

/// An error and what caused it, outermost first, each after a colon: `cannot read x: permission denied`.
///
/// A cause whose text is in the one before it (`{source}` in an error's message) is there twice.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Self>>);

    #[test]
    fn every_cause_is_named_in_its_order() {
        let innermost = Layer("not found", None);
        assert_eq!(chain(&innermost), "not found");
        let middle = Layer("no key", Some(Box::new(innermost)));
        let outermost = Layer("no start", Some(Box::new(middle)));
        assert_eq!(chain(&outermost), "no start: no key: not found");
    }
}
