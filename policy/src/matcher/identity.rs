//! Namespaces and service accounts of a peer, as Istio reads them from a SPIFFE ID.
//!
//! Both look at `/<trust domain><path>`, which is the SPIFFE ID without `spiffe:/`. Istio's expressions search
//! inside the path, so any SPIFFE path that contains `/ns/x/` has the namespace `x`, not only the five-part form.

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
            namespace: format!("/ns/{namespace}/").into(),
            account: format!("sa/{account}").into(),
        }
    }

    pub(crate) fn matches(&self, slash_principal: &str) -> bool {
        // The first slash is the second of `spiffe://`: at least one byte of trust domain comes before `/ns/`.
        let Some(principal) = slash_principal.strip_prefix('/') else {
            return false;
        };
        occurrences(principal, &self.namespace)
            .filter(|(before, _)| !before.is_empty())
            .any(|(_, after)| self.account_in(after))
    }

    /// `(.+/|)sa/SA(/.+)?` on all of `rest`.
    fn account_in(&self, rest: &str) -> bool {
        occurrences(rest, &self.account).any(|(before, after)| {
            let starts_a_segment = before.is_empty() || (before.len() > 1 && before.ends_with('/'));
            let ends_a_segment = after.is_empty() || (after.len() > 1 && after.starts_with('/'));
            starts_a_segment && ends_a_segment
        })
    }
}

/// Every place, overlapping ones too, where `needle` occurs: what is before and what is after it.
fn occurrences<'t>(text: &'t str, needle: &'t str) -> impl Iterator<Item = (&'t str, &'t str)> {
    text.char_indices().filter_map(move |(at, _)| {
        let (before, here) = text.split_at_checked(at)?;
        here.strip_prefix(needle).map(|after| (before, after))
    })
}

#[cfg(test)]
mod tests {
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
    fn namespace_has_no_other_metacharacter() {
        assert!(!NamespacePattern::new("f.o").matches("/td/ns/foo/sa/a"));
    }

    #[test]
    fn service_account_takes_the_namespace_of_the_policy() {
        let sleep = ServiceAccountPattern::new("sleep", "foo");
        assert!(sleep.matches("/td/ns/foo/sa/sleep"));
        assert!(!sleep.matches("/td/ns/bar/sa/sleep"));
        assert!(!sleep.matches("/td/ns/foo/sa/sleeper"));
        assert!(!sleep.matches("/td/ns/foo/xsa/sleep"));
        assert!(
            sleep.matches("/td/ns/foo/cluster/c1/sa/sleep"),
            "segments between"
        );
        assert!(sleep.matches("/td/ns/foo/sa/sleep/pod/p"), "segments after");
        assert!(
            sleep.matches("/td/ns/x/ns/foo/sa/sleep"),
            "a later namespace"
        );
        assert!(ServiceAccountPattern::new("bar/sleep", "foo").matches("/other/ns/bar/sa/sleep"));
    }
}
