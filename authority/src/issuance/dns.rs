//! DNS names of gateways' certificates.

/// Whether `name` may stand in a certificate (RFC 1034 §3.5 as RFC 5280 §4.2.1.6 has it): labels of
/// lower-case letters, digits and inner hyphens, at most 63 bytes each and 253 in all, and no number
/// as the last one, which would read as an address.
pub(crate) fn is_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(is_label)
        && name
            .rsplit('.')
            .next()
            .is_some_and(|last| !last.bytes().all(|byte| byte.is_ascii_digit()))
}

/// One label.
pub(crate) fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The rest of a name whose first label is `*` (RFC 6125 §6.4.3), if it has at least two labels: one
/// below a top-level domain would be for everybody's names.
pub(crate) fn wildcard(name: &str) -> Option<&str> {
    let rest = name.strip_prefix("*.")?;
    (is_name(rest) && rest.contains('.')).then_some(rest)
}

/// Names a request may ask for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Allowance {
    /// This one.
    Exact(String),
    /// One label before this.
    OneLabel(String),
}

impl Allowance {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = wildcard(text) {
            return Some(Self::OneLabel(rest.to_owned()));
        }
        is_name(text).then(|| Self::Exact(text.to_owned()))
    }

    /// Whether `name`, in lower case, may be asked for; a name with a wildcard only where it is the
    /// allowance itself and `wildcards` are granted at all.
    pub(crate) fn allows(&self, name: &str, wildcards: bool) -> bool {
        if let Some(rest) = wildcard(name) {
            return wildcards && matches!(self, Self::OneLabel(own) if own == rest);
        }
        match self {
            Self::Exact(own) => own == name,
            Self::OneLabel(own) => name
                .split_once('.')
                .is_some_and(|(label, rest)| is_label(label) && rest == own),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_pass() {
        for good in ["a.example.org", "localhost", "x-1.example.org", "1.a"] {
            assert!(is_name(good), "{good}");
        }
        let long = format!("{}.example", "a".repeat(64));
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "A.example",
            "a_b.example",
            "-a.b",
            "a-.b",
            "10.0.0.1",
            "*.example.org",
            "a b",
            "a\0b",
            "ä.example",
            &long,
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_wildcard_allowance_is_for_one_label() {
        let below = Allowance::parse("*.example.org").unwrap();
        for (name, wanted) in [
            ("a.example.org", true),
            ("a.b.example.org", false),
            ("example.org", false),
            (".example.org", false),
            ("aexample.org", false),
            ("*.example.org", false),
        ] {
            assert_eq!(below.allows(name, false), wanted, "{name}");
        }
        assert!(below.allows("*.example.org", true));
        assert!(!below.allows("*.b.example.org", true));
        let exact = Allowance::parse("example.org").unwrap();
        assert!(exact.allows("example.org", true) && !exact.allows("*.example.org", true));
        for bad in ["*", "*.org", "a.*.org", "**.example.org", "*a.example.org"] {
            assert_eq!(Allowance::parse(bad), None, "{bad}");
        }
    }
}
