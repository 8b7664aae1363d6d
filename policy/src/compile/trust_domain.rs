//! Trust-domain aliases: one principal may stand for several.

use std::borrow::Cow;

/// The mesh's own trust domain and its other names, own first.
#[derive(Debug)]
pub(super) struct TrustDomains<'s>(pub(super) Vec<&'s str>);

impl TrustDomains<'_> {
    /// The principals that `written` stands for.
    ///
    /// Only the five-part form `TD/ns/NS/sa/SA` is expanded, and only if TD is one of the mesh's names (a `*` at
    /// an end of either counts) or `cluster.local`, which in Istio always means the mesh's own trust domain:
    /// **with another trust domain configured, `cluster.local` itself is not matched any more.**
    pub(super) fn expand<'w>(&self, written: &'w str) -> Vec<Cow<'w, str>> {
        let Some((own, rest)) = written.split_once('/') else {
            return vec![written.into()];
        };
        let five_parts = rest.split('/').count() == 4;
        let known = own == CLUSTER_LOCAL || self.0.iter().any(|name| either_matches(own, name));
        if !five_parts || own == "*" || !known {
            return vec![written.into()];
        }
        let mut principals: Vec<Cow<'w, str>> = Vec::new();
        for name in &self.0 {
            // `*-td/ns/…` already matches a name that ends in `-td`.
            let kept = own
                .strip_prefix('*')
                .is_some_and(|suffix| name.ends_with(suffix));
            let principal = if kept {
                written.into()
            } else {
                Cow::Owned(format!("{name}/{rest}"))
            };
            if !principals.contains(&principal) {
                principals.push(principal);
            }
        }
        principals
    }

    /// The trust domains that `written` stands for: all names of the mesh if it is exactly one of them. Unlike in
    /// principals, `cluster.local` means itself, and a `*` is never expanded.
    pub(super) fn expand_name<'w>(&'w self, written: &'w str) -> Vec<&'w str> {
        if self.0.contains(&written) {
            self.0.clone()
        } else {
            vec![written]
        }
    }
}

fn either_matches(a: &str, b: &str) -> bool {
    a == b || covers(a, b) || covers(b, a)
}

/// Whether `pattern` has a `*` at an end and covers `text`.
fn covers(pattern: &str, text: &str) -> bool {
    pattern
        .strip_suffix('*')
        .is_some_and(|prefix| text.starts_with(prefix))
        || pattern
            .strip_prefix('*')
            .is_some_and(|suffix| text.ends_with(suffix))
}

/// In a principal, a pointer to the mesh's own trust domain.
const CLUSTER_LOCAL: &str = "cluster.local";

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(names: &[&str], principal: &str) -> Vec<String> {
        TrustDomains(names.to_vec())
            .expand(principal)
            .into_iter()
            .map(Cow::into_owned)
            .collect()
    }

    #[test]
    fn a_name_of_the_mesh_stands_for_all_of_them() {
        let names = ["td1", "td2"];
        let all = ["td1/ns/a/sa/b", "td2/ns/a/sa/b"];
        for own in ["td1", "td2", "cluster.local", "td*"] {
            assert_eq!(expand(&names, &format!("{own}/ns/a/sa/b")), all, "{own}");
        }
    }

    #[test]
    fn anything_else_stays_as_written() {
        for principal in [
            "*",
            "*/ns/a/sa/b",
            "other/ns/a/sa/b",
            "td1/ns/a",
            "td1/ns/a/sa/b/c",
            "td1*",
        ] {
            assert_eq!(
                expand(&["td1", "td2"], principal),
                [principal],
                "{principal}"
            );
        }
    }

    #[test]
    fn a_trust_domain_is_expanded_only_if_it_is_exactly_one_of_the_meshs() {
        let names = TrustDomains(vec!["td1", "td2"]);
        assert_eq!(names.expand_name("td2"), ["td1", "td2"]);
        for other in ["cluster.local", "td*", "*", "td3", "*td1"] {
            assert_eq!(names.expand_name(other), [other]);
        }
    }

    #[test]
    fn a_suffix_stays_where_it_already_matches() {
        let expanded = expand(&["old-td", "new-td", "other"], "*-td/ns/a/sa/b");
        assert_eq!(expanded, ["*-td/ns/a/sa/b", "other/ns/a/sa/b"]);
    }

    #[test]
    fn cluster_local_is_not_a_trust_domain_of_its_own() {
        assert_eq!(
            expand(&["td1"], "cluster.local/ns/a/sa/b"),
            ["td1/ns/a/sa/b"]
        );
    }
}
