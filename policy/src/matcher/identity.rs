//! Namespaces and service accounts of a peer, as Istio reads them from a SPIFFE ID.
//!
//! Both look at `/<trust domain><path>`, which is the SPIFFE ID without `spiffe:/`. Istio's expressions search
//! inside the path, so any SPIFFE path that contains `/ns/x/` has the namespace `x`, not only the five-part form.

use std::ops::Range;

use super::sorted::SortedValues;

/// A peer's identity as `/<trust domain><path>`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SlashPrincipal {
    text: Box<str>,
    /// Namespace and service account, if the path is of Istio's form and says nothing else.
    plain: Option<(Range<usize>, Range<usize>)>,
}

impl SlashPrincipal {
    /// Of a principal as policies write it, without wildcards: the SPIFFE ID without `spiffe://`.
    pub(crate) fn of(principal: &str) -> Self {
        let text: Box<str> = ["/", principal].concat().into();
        Self {
            plain: plain(&text),
            text,
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.as_str().as_bytes()
    }

    pub(crate) const fn as_str(&self) -> &str {
        &self.text
    }

    /// Calls `test` with each segment after a segment `ns` that is not the last, until it says true.
    pub(crate) fn any_namespace(&self, test: &mut dyn FnMut(&str) -> bool) -> bool {
        match self.plain() {
            Some((namespace, _)) => test(namespace),
            None => segments_after(self.as_str(), "ns", false).any(test),
        }
    }

    /// Calls `test` with each segment after a segment `sa`, until it says true.
    pub(crate) fn any_account(&self, test: &mut dyn FnMut(&str) -> bool) -> bool {
        match self.plain() {
            Some((_, account)) => test(account),
            None => segments_after(self.as_str(), "sa", true).any(test),
        }
    }

    fn plain(&self) -> Option<(&str, &str)> {
        let (namespace, account) = self.plain.as_ref()?;
        Some((
            self.text.get(namespace.clone())?,
            self.text.get(account.clone())?,
        ))
    }
}

/// Namespace and service account of `/<trust domain>/ns/<namespace>/sa/<service account>`. Names that look like the
/// form's own segments (`ns`, `sa`) make more than one reading, and are left to the general search.
fn plain(text: &str) -> Option<(Range<usize>, Range<usize>)> {
    let mut segments = text.split('/');
    let parts = [(); 6].map(|()| segments.next());
    let [
        Some(""),
        Some(domain),
        Some("ns"),
        Some(namespace),
        Some("sa"),
        Some(account),
    ] = parts
    else {
        return None;
    };
    let names = [domain, namespace, account];
    let ambiguous = names.iter().any(|name| matches!(*name, "ns" | "sa" | ""));
    if ambiguous || segments.next().is_some() {
        return None;
    }
    let start = domain.len().checked_add("//ns/".len())?;
    let end = start.checked_add(namespace.len())?;
    Some((start..end, end.checked_add("/sa/".len())?..text.len()))
}

/// The segments that follow a segment `name`; one at the very end of the text only if `at_end`.
pub(crate) fn segments_after<'t>(
    slash_principal: &'t str,
    name: &'static str,
    at_end: bool,
) -> impl Iterator<Item = &'t str> {
    let mut segments = slash_principal.split('/');
    let (mut before, mut here) = (segments.next(), segments.next());
    std::iter::from_fn(move || {
        loop {
            let segment = here?;
            let found = before == Some(name);
            (before, here) = (here, segments.next());
            if found && (at_end || here.is_some()) {
                return Some(segment);
            }
        }
    })
}

/// The values of a `namespaces` field; a peer matches if one of them does.
#[derive(Debug)]
pub(crate) struct NamespaceSet {
    /// Whole segments.
    exact: SortedValues,
    /// All others.
    patterns: Box<[NamespacePattern]>,
}

impl NamespaceSet {
    pub(crate) fn new<V: AsRef<str>>(values: &[V]) -> Self {
        let values = values.iter().map(AsRef::as_ref);
        let (exact, others): (Vec<&str>, Vec<&str>) =
            values.partition(|value| !value.contains(['*', '/']));
        Self {
            exact: SortedValues::new(exact.into_iter().map(Into::into).collect()),
            patterns: others.into_iter().map(NamespacePattern::new).collect(),
        }
    }

    pub(crate) fn matches(&self, peer: &SlashPrincipal) -> bool {
        let exact = &self.exact;
        (!exact.is_empty() && peer.any_namespace(&mut |found| exact.contains(found.as_bytes())))
            || self
                .patterns
                .iter()
                .any(|pattern| pattern.matches(peer.as_str()))
    }

    /// The values, if all of them are exact.
    pub(crate) fn only_exact(&self) -> Option<impl Iterator<Item = &[u8]>> {
        self.patterns.is_empty().then(|| self.exact.iter())
    }
}

/// Istio's expression `.*/ns/<value, * as .*>/.*`.
#[derive(Debug)]
pub(crate) struct NamespacePattern {
    /// What must occur, one after the other.
    pieces: Vec<Box<str>>,
}

impl NamespacePattern {
    pub(crate) fn new(value: &str) -> Self {
        let anchored = format!("/ns/{value}/");
        Self {
            pieces: anchored
                .split('*')
                .filter(|p| !p.is_empty())
                .map(Into::into)
                .collect(),
        }
    }

    /// Taking the first occurrence of each piece is enough, since any text may stand between and around them.
    pub(crate) fn matches(&self, slash_principal: &str) -> bool {
        self.pieces
            .iter()
            .try_fold(slash_principal, |rest, piece| {
                rest.split_once(piece.as_ref()).map(|(_, after)| after)
            })
            .is_some()
    }
}

/// Istio's expression `spiffe://.+/ns/NS/(.+/|)sa/SA(/.+)?`: any trust domain, further segments allowed.
#[derive(Debug)]
pub(crate) struct ServiceAccountPattern {
    namespace: Box<str>,
    account: Box<str>,
}

impl ServiceAccountPattern {
    /// `value` is `account`, then of `policy_namespace`, or `namespace/account`.
    pub(crate) fn new(value: &str, policy_namespace: &str) -> Self {
        let (namespace, account) = value.split_once('/').unwrap_or((policy_namespace, value));
        Self {
            namespace: namespace.into(),
            account: account.into(),
        }
    }

    /// The namespace, a whole segment after a segment `ns`.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The service account, a whole segment after a segment `sa`.
    pub(crate) fn account(&self) -> &str {
        &self.account
    }

    pub(crate) fn matches(&self, peer: &SlashPrincipal) -> bool {
        match peer.plain() {
            Some((namespace, account)) => {
                self.namespace.as_ref() == namespace && self.account.as_ref() == account
            }
            None => self.matches_segments(peer.as_str()),
        }
    }

    /// Segment by segment: a SPIFFE ID has no empty ones, so whatever may stand between and after is there. The
    /// first segment is the trust domain, of which the expression wants one byte at the least.
    fn matches_segments(&self, slash_principal: &str) -> bool {
        let (mut in_namespace, mut before) = (false, "");
        for segment in slash_principal.split('/').skip(2) {
            if in_namespace && before == "sa" && segment == self.account.as_ref() {
                return true;
            }
            // Of several the first leaves most room for the account.
            let enters = !in_namespace && before == "ns" && segment == self.namespace.as_ref();
            in_namespace |= enters;
            before = if enters { "" } else { segment };
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn namespace_is_a_whole_segment_unless_starred() {
        let foo = NamespacePattern::new("foo");
        assert!(foo.matches("/td/ns/foo/sa/a"));
        assert!(!foo.matches("/td/ns/foobar/sa/a"));
        assert!(!foo.matches("/td/ns/foo"), "something must follow");
        assert!(
            foo.matches("/td/team/ns/foo/x"),
            "the segment may be anywhere"
        );
        for (pattern, wanted) in [
            ("foo*", true),
            ("*bar", true),
            ("f*r", true),
            ("*", true),
            ("*x", false),
        ] {
            assert_eq!(
                NamespacePattern::new(pattern).matches("/td/ns/foobar/sa/a"),
                wanted,
                "{pattern}"
            );
        }
    }

    #[test]
    fn segments_are_found_wherever_they_are() {
        let found =
            |text: &'static str, at_end| segments_after(text, "ns", at_end).collect::<Vec<_>>();
        assert_eq!(found("/td/ns/foo/sa/a", false), ["foo"]);
        assert_eq!(found("/td/ns/foo", false), [""; 0]);
        assert_eq!(found("/td/ns/foo", true), ["foo"]);
        assert_eq!(found("/ns/ns/ns/x", false), ["ns", "ns"]);
        assert_eq!(found("/td/ns", true), [""; 0]);
        assert_eq!(found("/td/xns/a/b", true), [""; 0]);
    }

    #[test]
    fn only_the_plain_form_is_read_once() {
        let read = |principal| {
            let peer = SlashPrincipal::of(principal);
            peer.plain().map(|(ns, sa)| (ns.to_owned(), sa.to_owned()))
        };
        let names = Some(("foo".to_owned(), "a".to_owned()));
        assert_eq!(read("td/ns/foo/sa/a"), names);
        for other in [
            "td/ns/foo/sa/a/b",
            "td/ns/ns/sa/a",
            "/ns/foo/sa/a",
            "td/ns/foo/sa/",
            "td",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
        let long = "p".repeat(600);
        assert_eq!(SlashPrincipal::of(&long).as_str(), format!("/{long}"));
    }

    proptest! {
        /// The set, and the segments an index looks at, against the patterns one by one.
        #[test]
        fn a_set_is_its_patterns(
            values in vec(r"(ns|sa|a|b|a\*|\*b|\*)", 1..6),
            peer in r"/(td|ns)(/(ns|sa|a|b|ab)){0,7}|/(td|ns|sa)/ns/(ns|sa|a|b)/sa/(ns|sa|b|ab)",
        ) {
            let identity = SlashPrincipal::of(peer.trim_start_matches('/'));
            let patterns: Vec<_> = values.iter().map(|value| NamespacePattern::new(value)).collect();
            let expected = patterns.iter().any(|pattern| pattern.matches(&peer));
            prop_assert_eq!(NamespaceSet::new(&values).matches(&identity), expected);
            for account in ["ns/sa", "a/b", "b/ab"] {
                let pattern = ServiceAccountPattern::new(account, "default");
                prop_assert_eq!(pattern.matches(&identity), pattern.matches_segments(&peer));
                if pattern.matches(&identity) {
                    prop_assert!(identity.any_namespace(&mut |found| found == pattern.namespace()));
                    prop_assert!(identity.any_account(&mut |found| found == pattern.account()));
                }
            }
        }
    }

    #[test]
    fn namespace_has_no_other_metacharacter() {
        assert!(!NamespacePattern::new("f.o").matches("/td/ns/foo/sa/a"));
    }

    #[test]
    fn service_account_takes_the_namespace_of_the_policy() {
        let sleep =
            |peer| ServiceAccountPattern::new("sleep", "foo").matches(&SlashPrincipal::of(peer));
        assert!(sleep("td/ns/foo/sa/sleep"));
        assert!(!sleep("td/ns/bar/sa/sleep"));
        assert!(!sleep("td/ns/foo/sa/sleeper"));
        assert!(!sleep("td/ns/foo/xsa/sleep"));
        assert!(sleep("td/ns/foo/cluster/c1/sa/sleep"), "segments between");
        assert!(sleep("td/ns/foo/sa/sleep/pod/p"), "segments after");
        assert!(sleep("td/ns/x/ns/foo/sa/sleep"), "a later namespace");
        let bar = ServiceAccountPattern::new("bar/sleep", "foo");
        assert!(bar.matches(&SlashPrincipal::of("other/ns/bar/sa/sleep")));
    }
}
