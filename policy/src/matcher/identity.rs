//! Namespaces and service accounts of a peer, as Istio reads them from a SPIFFE ID.
//!
//! Both look at `/<trust domain><path>`, which is the SPIFFE ID without `spiffe:/`. Istio's expressions search
//! inside the path, so any SPIFFE path that contains `/ns/x/` has the namespace `x`, not only the five-part form.

use std::cell::OnceCell;

use super::sorted::SortedValues;

/// A peer's identity as `/<trust domain><path>`, on the stack unless it is unusually long.
pub(crate) struct SlashPrincipal<'p> {
    trust_domain: &'p str,
    path: &'p str,
    /// Namespace and service account, if the path is of Istio's form and says nothing else.
    plain: OnceCell<Option<(&'p str, &'p str)>>,
    text: Text,
}

#[allow(
    clippy::large_enum_variant,
    reason = "the large one is the common one, and lives on the stack"
)]
enum Text {
    /// The bytes and how many they are.
    Short([u8; SHORT_BYTES], usize),
    Long(String),
}

/// Nearly twice what `/cluster.local/ns/<63 bytes>/sa/<63 bytes>` takes.
const SHORT_BYTES: usize = 256;

impl<'p> SlashPrincipal<'p> {
    pub(crate) fn new(trust_domain: &'p str, path: &'p str) -> Self {
        Self {
            trust_domain,
            path,
            plain: OnceCell::new(),
            text: Text::new(trust_domain, path),
        }
    }

    /// Of a principal as policies write it, without wildcards.
    pub(crate) fn of(principal: &'p str) -> Self {
        let end = principal.find('/').unwrap_or(principal.len());
        let (trust_domain, path) = principal.split_at_checked(end).unwrap_or_default();
        Self::new(trust_domain, path)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match &self.text {
            Text::Short(bytes, length) => bytes.get(..*length).unwrap_or_default(),
            Text::Long(text) => text.as_bytes(),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        match &self.text {
            // What was put together of strings is one.
            Text::Short(..) => str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Text::Long(text) => text,
        }
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

    /// Names that look like the form's own segments (`ns`, `sa`) make more than one reading, and are left to the
    /// general search.
    fn plain(&self) -> Option<(&'p str, &'p str)> {
        let read = || {
            let rest = self.path.strip_prefix("/ns/")?;
            let (namespace, rest) = rest.split_at_checked(slash(rest)?)?;
            let account = rest.strip_prefix("/sa/")?;
            let names = [self.trust_domain, namespace, account];
            let ambiguous = names.iter().any(|name| matches!(*name, "ns" | "sa" | ""));
            (!ambiguous && slash(account).is_none()).then_some((namespace, account))
        };
        *self.plain.get_or_init(read)
    }
}

fn slash(text: &str) -> Option<usize> {
    text.bytes().position(|byte| byte == b'/')
}

impl Text {
    fn new(trust_domain: &str, path: &str) -> Self {
        let mut short = [0; SHORT_BYTES];
        let mut rest = short.as_mut_slice();
        for part in ["/", trust_domain, path] {
            let Some((to, after)) = rest.split_at_mut_checked(part.len()) else {
                return Self::Long(["/", trust_domain, path].concat());
            };
            to.copy_from_slice(part.as_bytes());
            rest = after;
        }
        let length = SHORT_BYTES.saturating_sub(rest.len());
        Self::Short(short, length)
    }
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

    pub(crate) fn matches(&self, peer: &SlashPrincipal<'_>) -> bool {
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

    pub(crate) fn matches(&self, peer: &SlashPrincipal<'_>) -> bool {
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
    fn a_long_principal_is_kept_whole() {
        let path = format!("/{}", "p".repeat(600));
        assert_eq!(
            SlashPrincipal::new("td", &path).as_str(),
            format!("/td{path}")
        );
        assert_eq!(SlashPrincipal::new("td", "/ns/é").as_str(), "/td/ns/é");
        let exactly = "p".repeat(SHORT_BYTES - 1);
        assert_eq!(
            SlashPrincipal::new("", &exactly).as_str(),
            format!("/{exactly}")
        );
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
