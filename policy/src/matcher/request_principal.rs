//! Istio's request principals, `<issuer>/<subject>` of a validated token.

use crate::claims::Claims;

/// One value of `requestPrincipals`.
///
/// The value is cut at its **last** slash, since issuers are URLs. Which part a `*` belongs to depends on where it
/// stands: at the front on the issuer (on the subject, if there is no slash), at the end on the subject (on the
/// issuer, if there is no slash). A value without slash and star is an issuer whose tokens have an empty subject.
#[derive(Debug)]
pub(crate) struct RequestPrincipalPattern {
    issuer: Text,
    subject: Text,
}

#[derive(Debug, Eq, PartialEq)]
enum Text {
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Suffix(Box<[u8]>),
    /// Anything but nothing.
    Any,
}

impl RequestPrincipalPattern {
    pub(crate) fn new(value: &str) -> Self {
        let exact = |text: &str| Text::Exact(text.as_bytes().into());
        let (issuer, subject) = match value.rsplit_once('/') {
            Some((issuer, subject)) => {
                match (issuer.strip_prefix('*'), subject.strip_suffix('*')) {
                    // A star in front makes the rest exact, a trailing star included.
                    (Some(""), _) => (Text::Any, exact(subject)),
                    (Some(suffix), _) => (Text::Suffix(suffix.as_bytes().into()), exact(subject)),
                    (None, Some("")) => (exact(issuer), Text::Any),
                    (None, Some(prefix)) => (exact(issuer), Text::Prefix(prefix.as_bytes().into())),
                    (None, None) => (exact(issuer), exact(subject)),
                }
            }
            None if value == "*" => (Text::Any, Text::Any),
            None => match (value.strip_prefix('*'), value.strip_suffix('*')) {
                (Some(suffix), _) => (Text::Any, Text::Suffix(suffix.as_bytes().into())),
                (None, Some(prefix)) => (Text::Prefix(prefix.as_bytes().into()), Text::Any),
                (None, None) => (exact(value), exact("")),
            },
        };
        Self { issuer, subject }
    }

    /// The issuer, if only one will do.
    pub(crate) fn only_issuer(&self) -> Option<&[u8]> {
        self.issuer.only()
    }

    /// The subject, if only one will do.
    pub(crate) fn only_subject(&self) -> Option<&[u8]> {
        self.subject.only()
    }

    pub(crate) fn matches(&self, claims: &dyn Claims, names: &RequestPrincipalClaims) -> bool {
        claims.any(&names.issuer, &mut |found| self.issuer.matches(found))
            && claims.any(&names.subject, &mut |found| self.subject.matches(found))
    }
}

impl Text {
    fn only(&self) -> Option<&[u8]> {
        match self {
            Self::Exact(text) => Some(text),
            Self::Prefix(_) | Self::Suffix(_) | Self::Any => None,
        }
    }

    fn matches(&self, found: &[u8]) -> bool {
        match self {
            Self::Exact(text) => found == text.as_ref(),
            Self::Prefix(text) => found.starts_with(text),
            Self::Suffix(text) => found.ends_with(text),
            Self::Any => !found.is_empty(),
        }
    }
}

/// The paths of the two claims, made once for each list of values.
#[derive(Debug)]
pub(crate) struct RequestPrincipalClaims {
    pub(crate) issuer: [Box<str>; 1],
    pub(crate) subject: [Box<str>; 1],
}

impl Default for RequestPrincipalClaims {
    fn default() -> Self {
        Self {
            issuer: ["iss".into()],
            subject: ["sub".into()],
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(value: &str, issuer: &str, subject: &str) -> bool {
        let claims = json!({"iss": issuer, "sub": subject});
        RequestPrincipalPattern::new(value).matches(&claims, &RequestPrincipalClaims::default())
    }

    #[test]
    fn is_cut_at_the_last_slash() {
        assert!(matches(
            "https://a.example/x/me",
            "https://a.example/x",
            "me"
        ));
        assert!(!matches(
            "https://a.example/x/me",
            "https://a.example",
            "x/me"
        ));
        assert!(!matches("a/b", "a", "B"), "case counts");
    }

    #[test]
    fn each_form_has_its_own_meaning() {
        for (value, issuer, subject, wanted) in [
            ("*", "i", "s", true),
            ("*", "", "s", false),
            ("*", "i", "", false),
            ("i/*", "i", "s", true),
            ("i/*", "i", "", false),
            ("i/*", "ii", "s", false),
            ("*/s", "i", "s", true),
            ("*/s", "", "s", false),
            ("*/s", "i", "xs", false),
            ("*foo/s", "xfoo", "s", true),
            ("*foo/s", "foo", "s", true),
            ("*foo/s", "foox", "s", false),
            ("*foo/s*", "xfoo", "s*", true),
            ("*foo/s*", "xfoo", "sx", false),
            ("i/foo*", "i", "foox", true),
            ("i/foo*", "i", "foo", true),
            ("i/foo*", "i", "xfoo", false),
            ("*foo", "i", "xfoo", true),
            ("*foo", "", "xfoo", false),
            ("*foo", "xfoo", "s", false),
            ("foo*", "foox", "s", true),
            ("foo*", "foox", "", false),
            ("foo*", "i", "foox", false),
            ("foo", "foo", "", true),
            ("foo", "foo", "s", false),
            ("https://e.example/*", "https://e.example", "s", true),
        ] {
            assert_eq!(
                matches(value, issuer, subject),
                wanted,
                "{value} {issuer} {subject}"
            );
        }
    }

    #[test]
    fn a_missing_claim_matches_nothing() {
        for claims in [
            json!({"iss": "i"}),
            json!({"sub": "s"}),
            json!({}),
            json!({"iss": 1, "sub": 2}),
        ] {
            for value in ["*", "i/*", "*/s", "i", "*s"] {
                let pattern = RequestPrincipalPattern::new(value);
                let found = pattern.matches(&claims, &RequestPrincipalClaims::default());
                assert!(!found, "{value} {claims}");
            }
        }
    }
}
