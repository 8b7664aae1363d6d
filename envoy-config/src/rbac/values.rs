//! Istio's values as Envoy's matchers.

use super::message::{Cidr, Header, HeaderTest, Metadata, Segment, Text, TextTest, Value};

/// Where Envoy's `jwt_authn` leaves the payload of a validated token.
const JWT: &str = "envoy.filters.http.jwt_authn";

impl Text {
    pub(super) const fn of(test: TextTest) -> Self {
        let ignore_case = false;
        Self { test, ignore_case }
    }

    pub(super) fn exact(text: &str) -> Self {
        Self::of(TextTest::Exact(text.to_owned()))
    }

    pub(super) fn regex(regex: impl Into<String>) -> Self {
        let regex = regex.into();
        Self::of(TextTest::SafeRegex { regex })
    }

    /// Something that is not empty.
    pub(super) fn some() -> Self {
        Self::regex(".+")
    }

    /// `*`, `*suffix`, `prefix*` or an exact value.
    pub(super) fn pattern(value: &str) -> Self {
        if value == "*" {
            return Self::some();
        }
        Self::of(match (value.strip_prefix('*'), value.strip_suffix('*')) {
            (Some(suffix), _) => TextTest::Suffix(suffix.to_owned()),
            (None, Some(prefix)) => TextTest::Prefix(prefix.to_owned()),
            (None, None) => TextTest::Exact(value.to_owned()),
        })
    }

    /// A pattern for SPIFFE IDs that is written without their scheme.
    pub(super) fn principal(value: &str) -> Self {
        if value == "*" {
            return Self::some();
        }
        match (value.strip_prefix('*'), value.strip_suffix('*')) {
            // A suffix alone would also be found in what is no SPIFFE ID.
            (Some(suffix), _) => Self::regex(format!("{SCHEME}.*{}", quoted(suffix))),
            (None, Some(prefix)) => Self::of(TextTest::Prefix(format!("{SCHEME}{prefix}"))),
            (None, None) => Self::exact(&format!("{SCHEME}{value}")),
        }
    }

    /// A namespace of a SPIFFE ID; `*` anywhere.
    pub(super) fn namespace(value: &str) -> Self {
        let pieces: Vec<_> = value.split('*').map(quoted).collect();
        Self::regex(format!(".*/ns/{}/.*", pieces.join(".*")))
    }

    /// `account`, then of `namespace`, or `namespace/account`.
    pub(super) fn service_account(value: &str, namespace: &str) -> Self {
        let (namespace, account) = value.split_once('/').unwrap_or((namespace, value));
        let (namespace, account) = (quoted(namespace), quoted(account));
        Self::regex(format!(
            "{SCHEME}.+/ns/{namespace}/(.+/|)sa/{account}(/.+)?"
        ))
    }

    /// The trust domain of a SPIFFE ID: exact, or with a `*` at one end.
    pub(super) fn trust_domain(value: &str) -> Self {
        if value == "*" {
            return Self::of(TextTest::Prefix(SCHEME.to_owned()));
        }
        match (value.strip_prefix('*'), value.strip_suffix('*')) {
            (Some(suffix), _) => Self::regex(format!("{SCHEME}[^/]*{}/.*", quoted(suffix))),
            (None, Some(prefix)) => Self::regex(format!("{SCHEME}{}[^/]*/.*", quoted(prefix))),
            (None, None) => Self::of(TextTest::Prefix(format!("{SCHEME}{value}/"))),
        }
    }
}

impl Header {
    /// One header's value; `*` is presence, which an empty value has, too.
    pub(super) fn new(name: &str, value: &str) -> Self {
        let test = match value {
            "*" => HeaderTest::PresentMatch(true),
            value => HeaderTest::StringMatch(Text::pattern(value)),
        };
        let name = name.to_owned();
        Self { name, test }
    }

    /// `:authority`, without regard to case.
    pub(super) fn host(value: &str) -> Self {
        let mut header = Self::new(":authority", value);
        if let HeaderTest::StringMatch(text) = &mut header.test {
            text.ignore_case = true;
        }
        header
    }
}

impl Cidr {
    /// An address or a range; `None` if it is neither.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let (address, length) = match value.split_once('/') {
            None => (value, None),
            Some((address, length)) => (address, Some(length.parse().ok()?)),
        };
        let address: std::net::IpAddr = address.parse().ok()?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix_len = length.unwrap_or(longest);
        (prefix_len <= longest).then(|| Self {
            address_prefix: address.to_string(),
            prefix_len,
        })
    }
}

impl Metadata {
    fn new<'k>(filter: &str, keys: impl IntoIterator<Item = &'k str>, value: Value) -> Self {
        let segment = |key: &str| Segment {
            key: key.to_owned(),
        };
        Self {
            filter: filter.to_owned(),
            path: keys.into_iter().map(segment).collect(),
            value,
        }
    }

    /// One claim, a string.
    pub(super) fn claim(name: &str, text: Text) -> Self {
        Self::new(JWT, ["payload", name], Value::StringMatch(text))
    }

    /// A claim, possibly nested, that is one of these values or a list with one of them.
    pub(super) fn claims<'k>(path: impl IntoIterator<Item = &'k str>, values: &[String]) -> Self {
        let text = |value: &String| Value::StringMatch(Text::pattern(value));
        let one_of = Value::any(values.iter().map(text).collect());
        let list = Value::ListMatch {
            one_of: Box::new(one_of.clone()),
        };
        let value_matchers = vec![list, one_of];
        let keys = std::iter::once("payload").chain(path);
        Self::new(JWT, keys, Value::OrMatch { value_matchers })
    }

    /// Dynamic metadata of any filter: `v` is the text itself, `[v]` an element of a list.
    pub(super) fn of_filter(filter: &str, key: &str, values: &[String]) -> Self {
        let matcher = |value: &String| {
            let element = value
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'));
            match element {
                None => Value::StringMatch(Text::pattern(value)),
                Some(element) => Value::ListMatch {
                    one_of: Box::new(Value::StringMatch(Text::pattern(element))),
                },
            }
        };
        Self::new(
            filter,
            [key],
            Value::any(values.iter().map(matcher).collect()),
        )
    }
}

impl Value {
    /// One of these; a single one stands for itself.
    fn any(mut values: Vec<Self>) -> Self {
        match values.pop() {
            Some(only) if values.is_empty() => only,
            last => {
                values.extend(last);
                Self::OrMatch {
                    value_matchers: values,
                }
            }
        }
    }
}

/// Issuer and subject of a `requestPrincipals` value, which is `<issuer>/<subject>` with the last `/` between
/// them: an issuer may be a URL.
pub(super) fn request_principal(value: &str) -> (Text, Text) {
    let suffix = |text: &str| Text::of(TextTest::Suffix(text.to_owned()));
    let prefix = |text: &str| Text::of(TextTest::Prefix(text.to_owned()));
    let any_or = |text: &str, pattern: &dyn Fn(&str) -> Text| match text {
        "" => Text::some(),
        text => pattern(text),
    };
    let parts = value.rsplit_once('/');
    match (value.strip_prefix('*'), value.strip_suffix('*'), parts) {
        (Some(""), _, _) => (Text::some(), Text::some()),
        (Some(rest), _, None) => (Text::some(), suffix(rest)),
        (Some(_), _, Some((issuer, subject))) => {
            let issuer = issuer.strip_prefix('*').unwrap_or(issuer);
            (any_or(issuer, &suffix), Text::exact(subject))
        }
        (None, Some(rest), None) => (prefix(rest), Text::some()),
        (None, Some(_), Some((issuer, subject))) => {
            let subject = subject.strip_suffix('*').unwrap_or(subject);
            (Text::exact(issuer), any_or(subject, &prefix))
        }
        (None, None, None) => (Text::exact(value), Text::exact("")),
        (None, None, Some((issuer, subject))) => (Text::exact(issuer), Text::exact(subject)),
    }
}

/// `text` as a regular expression that matches only itself (RE2, as Go's `QuoteMeta` writes it).
fn quoted(text: &str) -> String {
    let mut regex = String::with_capacity(text.len());
    for letter in text.chars() {
        if r"\.+*?()|[]{}^$".contains(letter) {
            regex.push('\\');
        }
        regex.push(letter);
    }
    regex
}

const SCHEME: &str = "spiffe://";

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::{Cidr, Text, quoted, request_principal};

    fn json(text: &Text) -> Json {
        serde_json::to_value(text).unwrap()
    }

    #[test]
    fn request_principals_split_at_the_last_slash() {
        let any = json!({"safe_regex": {"regex": ".+"}});
        for (value, issuer, subject) in [
            ("*", any.clone(), any.clone()),
            ("iss/*", json!({"exact": "iss"}), any.clone()),
            ("*/sub", any.clone(), json!({"exact": "sub"})),
            (
                "*iss/sub",
                json!({"suffix": "iss"}),
                json!({"exact": "sub"}),
            ),
            ("iss/su*", json!({"exact": "iss"}), json!({"prefix": "su"})),
            ("*sub", any.clone(), json!({"suffix": "sub"})),
            ("iss*", json!({"prefix": "iss"}), any),
            ("iss", json!({"exact": "iss"}), json!({"exact": ""})),
            (
                "https://a.b/c/d",
                json!({"exact": "https://a.b/c"}),
                json!({"exact": "d"}),
            ),
        ] {
            let (found_issuer, found_subject) = request_principal(value);
            assert_eq!(
                (json(&found_issuer), json(&found_subject)),
                (issuer, subject),
                "{value}"
            );
        }
    }

    #[test]
    fn trust_domains_end_at_the_first_slash() {
        let regex = |text: &str| json!({"safe_regex": {"regex": text}});
        assert_eq!(
            json(&Text::trust_domain("*")),
            json!({"prefix": "spiffe://"})
        );
        assert_eq!(
            json(&Text::trust_domain("a.b")),
            json!({"prefix": "spiffe://a.b/"})
        );
        assert_eq!(
            json(&Text::trust_domain("*.b")),
            regex(r"spiffe://[^/]*\.b/.*")
        );
        assert_eq!(
            json(&Text::trust_domain("a.*")),
            regex(r"spiffe://a\.[^/]*/.*")
        );
    }

    #[test]
    fn what_has_a_meaning_to_re2_is_escaped() {
        assert_eq!(quoted(r"a-b.c[0]*{}|^$\"), r"a-b\.c\[0\]\*\{\}\|\^\$\\");
    }

    #[test]
    fn a_range_is_an_address_and_a_length() {
        let of = |text| Cidr::parse(text).map(|range| (range.address_prefix, range.prefix_len));
        assert_eq!(of("10.1.2.3"), Some(("10.1.2.3".to_owned(), 32)));
        assert_eq!(of("10.0.0.0/8"), Some(("10.0.0.0".to_owned(), 8)));
        assert_eq!(of("2001:db8::/32"), Some(("2001:db8::".to_owned(), 32)));
        assert_eq!(of("::1"), Some(("::1".to_owned(), 128)));
        for refused in ["", "10.0.0.0/33", "10.0.0", "a/8", "10.0.0.0/"] {
            assert_eq!(of(refused), None, "{refused}");
        }
    }
}
