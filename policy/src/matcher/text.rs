//! Exact, prefix, suffix and presence values of one field.

use std::borrow::Cow;

/// The values of one text field; a value matches if one of them does.
///
/// Istio's grammar: `*` alone is presence, a leading `*` is a suffix match, else a trailing `*` is a prefix
/// match, else the value is exact. A `*` anywhere else stands for itself.
#[derive(Debug)]
pub(crate) struct TextSet {
    /// Sorted.
    exact: Vec<Box<[u8]>>,
    prefixes: Vec<Box<[u8]>>,
    suffixes: Vec<Box<[u8]>>,
    present: bool,
    presence: Presence,
    /// Values are held, and compared, in ASCII lower case.
    fold_case: bool,
}

/// What `*` alone means for a field.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Presence {
    /// The attribute exists, even empty: hosts, methods and headers, which Envoy matches as headers.
    MayBeEmpty,
    /// The attribute exists and is not empty: principals, paths and the server name.
    NonEmpty,
}

impl TextSet {
    pub(crate) fn new<V: AsRef<str>>(values: &[V], presence: Presence) -> Self {
        let mut set = Self {
            exact: Vec::new(),
            prefixes: Vec::new(),
            suffixes: Vec::new(),
            present: false,
            presence,
            fold_case: false,
        };
        for value in values {
            set.add(value.as_ref());
        }
        set.exact.sort_unstable();
        set.exact.dedup();
        set
    }

    /// The same without regard to ASCII case.
    pub(crate) fn without_case<V: AsRef<str>>(values: &[V], presence: Presence) -> Self {
        let lower: Vec<String> = values
            .iter()
            .map(|value| value.as_ref().to_ascii_lowercase())
            .collect();
        Self {
            fold_case: true,
            ..Self::new(&lower, presence)
        }
    }

    fn add(&mut self, value: &str) {
        if value == "*" {
            self.present = true;
        } else if let Some(suffix) = value.strip_prefix('*') {
            self.suffixes.push(suffix.as_bytes().into());
        } else if let Some(prefix) = value.strip_suffix('*') {
            self.prefixes.push(prefix.as_bytes().into());
        } else {
            self.exact.push(value.as_bytes().into());
        }
    }

    pub(crate) fn matches(&self, value: &[u8]) -> bool {
        let value = if self.fold_case {
            lower_case(value)
        } else {
            Cow::Borrowed(value)
        };
        let value = value.as_ref();
        (self.present && (self.presence == Presence::MayBeEmpty || !value.is_empty()))
            || self
                .exact
                .binary_search_by(|exact| exact.as_ref().cmp(value))
                .is_ok()
            || self.prefixes.iter().any(|prefix| value.starts_with(prefix))
            || self.suffixes.iter().any(|suffix| value.ends_with(suffix))
    }

    /// The values, if all of them are exact.
    pub(crate) fn only_exact(&self) -> Option<&[Box<[u8]>]> {
        let others = self.present || !self.prefixes.is_empty() || !self.suffixes.is_empty();
        (!others).then_some(self.exact.as_slice())
    }
}

/// `value` in ASCII lower case; allocates only if it is not.
pub(crate) fn lower_case(value: &[u8]) -> Cow<'_, [u8]> {
    if value.iter().any(u8::is_ascii_uppercase) {
        Cow::Owned(value.to_ascii_lowercase())
    } else {
        Cow::Borrowed(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_is_a_wildcard_only_at_one_end() {
        let set = TextSet::new(&["a*b", "*c*", "d*"], Presence::NonEmpty);
        assert!(
            set.matches(b"a*b"),
            "a star in the middle stands for itself"
        );
        assert!(!set.matches(b"axb"));
        assert!(
            set.matches(b"xc*"),
            "a leading star wins, the trailing one stands for itself"
        );
        assert!(!set.matches(b"xcx"));
        assert!(set.matches(b"dx"));
        assert!(set.matches(b"d"), "a prefix may be all there is");
    }

    #[test]
    fn presence_differs_on_the_empty_value() {
        assert!(TextSet::new(&["*"], Presence::MayBeEmpty).matches(b""));
        assert!(!TextSet::new(&["*"], Presence::NonEmpty).matches(b""));
        assert!(TextSet::new(&["*"], Presence::NonEmpty).matches(b"x"));
    }

    #[test]
    fn case_counts_unless_folded() {
        assert!(!TextSet::new(&["GET"], Presence::MayBeEmpty).matches(b"get"));
        let hosts =
            TextSet::without_case(&["Example.COM", "*.Test", "API.*"], Presence::MayBeEmpty);
        for host in ["example.com", "EXAMPLE.com", "a.TEST", "api.x"] {
            assert!(hosts.matches(host.as_bytes()), "{host}");
        }
        assert!(
            !hosts.matches(b"example.com:80"),
            "the port is part of the host"
        );
    }
}
