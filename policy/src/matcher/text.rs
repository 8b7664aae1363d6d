//! Exact, prefix, suffix and presence values of one field.

use std::borrow::Cow;

use super::sorted::SortedValues;

/// The values of one text field; a value matches if one of them does.
///
/// Istio's grammar: `*` alone is presence, a leading `*` is a suffix match, else a trailing `*` is a prefix
/// match, else the value is exact. A `*` anywhere else stands for itself.
///
/// However many values there are, each kind is one binary search.
#[derive(Debug)]
pub(crate) struct TextSet {
    exact: SortedValues,
    /// Few fields have any.
    affixes: Option<Box<Affixes>>,
    present: bool,
    presence: Presence,
    /// Values are held, and compared, in ASCII lower case.
    fold_case: bool,
}

#[derive(Debug)]
struct Affixes {
    prefixes: SortedValues,
    /// Turned around.
    suffixes: SortedValues,
}

/// What `*` alone means for a field.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Presence {
    /// The attribute exists, even empty: hosts, methods and headers, which Envoy matches as headers.
    MayBeEmpty,
    /// The attribute exists and is not empty: principals, paths and the server name.
    NonEmpty,
}

/// One value of a set, for whoever builds an index.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TextPattern<'s> {
    /// The whole value.
    Exact(&'s [u8]),
    /// How it begins.
    Prefix(&'s [u8]),
    /// How it ends, turned around.
    Suffix(&'s [u8]),
}

impl TextSet {
    pub(crate) fn new<V: AsRef<str>>(values: &[V], presence: Presence) -> Self {
        Self::build(
            values.iter().map(|value| Cow::Borrowed(value.as_ref())),
            presence,
        )
    }

    /// The same without regard to ASCII case.
    pub(crate) fn without_case<V: AsRef<str>>(values: &[V], presence: Presence) -> Self {
        let lower = values
            .iter()
            .map(|value| Cow::Owned(value.as_ref().to_ascii_lowercase()));
        Self {
            fold_case: true,
            ..Self::build(lower, presence)
        }
    }

    fn build<'v>(values: impl Iterator<Item = Cow<'v, str>>, presence: Presence) -> Self {
        let (mut exact, mut prefixes, mut suffixes) = (Vec::new(), Vec::new(), Vec::new());
        let mut present = false;
        for value in values {
            if value == "*" {
                present = true;
            } else if let Some(suffix) = value.strip_prefix('*') {
                suffixes.push(suffix.bytes().rev().collect());
            } else if let Some(prefix) = value.strip_suffix('*') {
                prefixes.push(prefix.as_bytes().to_vec());
            } else {
                exact.push(value.as_bytes().to_vec());
            }
        }
        let affixes = Affixes {
            prefixes: SortedValues::prefix_free(prefixes),
            suffixes: SortedValues::prefix_free(suffixes),
        };
        Self {
            exact: SortedValues::new(exact),
            affixes: affixes.is_any().then(|| Box::new(affixes)),
            present,
            presence,
            fold_case: false,
        }
    }

    pub(crate) fn matches(&self, value: &[u8]) -> bool {
        if self.fold_case {
            self.matches_folded(&lower_case(value))
        } else {
            self.matches_folded(value)
        }
    }

    fn matches_folded(&self, value: &[u8]) -> bool {
        self.exact.contains(value)
            || (self.present && (self.presence == Presence::MayBeEmpty || !value.is_empty()))
            || self.affixes.as_deref().is_some_and(|affixes| {
                affixes.prefixes.any_begins(value) || affixes.suffixes.any_ends(value)
            })
    }

    /// Its values, of which a match needs one; `None` if presence is enough.
    pub(crate) fn patterns(&self) -> Option<impl Iterator<Item = TextPattern<'_>>> {
        let affixes = self.affixes.as_deref();
        let prefixes = affixes
            .into_iter()
            .flat_map(|affixes| affixes.prefixes.iter());
        let suffixes = affixes
            .into_iter()
            .flat_map(|affixes| affixes.suffixes.iter());
        (!self.present).then(|| {
            let exact = self.exact.iter().map(TextPattern::Exact);
            exact
                .chain(prefixes.map(TextPattern::Prefix))
                .chain(suffixes.map(TextPattern::Suffix))
        })
    }
}

impl Affixes {
    fn is_any(&self) -> bool {
        !self.prefixes.is_empty() || !self.suffixes.is_empty()
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
