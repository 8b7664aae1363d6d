//! The checks of Istio's admission, and a few that are stricter.

use super::{ClaimToHeader, JwtHeader, JwtRule, KIND, Presence, RequestAuthentication, jwks};
use crate::{
    error::{CompileError, Problem},
    report::Report,
};

/// Rules of a resource; Istio takes 4,096 of them, Envoy tries each provider on each request.
pub(super) const MAX_RULES: usize = 256;
/// Values in one list of a rule (`spaceDelimitedClaims`: Istio's own limit).
pub(super) const MAX_VALUES: usize = 64;
/// Bytes of one text of a rule (`jwksUri`: Istio's own limit).
pub(super) const MAX_TEXT_BYTES: usize = 2_048;
/// Bytes of a key set: a hundred RSA keys of 4,096 bits.
pub(super) const MAX_JWKS_BYTES: usize = 128 * 1_024;

pub(super) fn resource(resource: &RequestAuthentication) -> Vec<CompileError> {
    let written = (resource.api_version.as_str(), resource.kind.as_str());
    let mut report = Report::new(KIND, 0, &resource.metadata);
    report.head(written, &resource.metadata);
    report.creation(&resource.metadata);
    let spec = &resource.spec;
    let selector = spec.selector.as_ref();
    report.selector(selector);
    let targets = spec.target_refs.as_deref();
    report.targets(selector, spec.target_ref.as_ref(), targets);
    let rules = spec.jwt_rules.as_deref().unwrap_or_default();
    report.limit("spec.jwtRules", rules.len(), "rules", MAX_RULES);
    for (index, rule) in rules.iter().take(MAX_RULES).enumerate() {
        let path = format!("spec.jwtRules[{index}]");
        Fields {
            report: &mut report,
            path,
        }
        .check(rule);
    }
    report.finish()
}

struct Fields<'r> {
    report: &'r mut Report,
    /// Of the rule.
    path: String,
}

impl Fields<'_> {
    fn check(&mut self, rule: &JwtRule) {
        self.text("issuer", &rule.issuer);
        self.texts("audiences", rule.audiences.as_deref());
        self.texts("fromParams", rule.from_params.as_deref());
        self.texts("fromCookies", rule.from_cookies.as_deref());
        self.texts(
            "spaceDelimitedClaims",
            rule.space_delimited_claims.as_deref(),
        );
        self.keys(rule);
        let headers = rule.from_headers.as_deref();
        self.list("fromHeaders", headers, Self::header_location);
        let claims = rule.output_claim_to_headers.as_deref();
        self.list("outputClaimToHeaders", claims, Self::claim_to_header);
        if let Some(header) = &rule.output_payload_to_header {
            self.header("outputPayloadToHeader", header);
        }
        if let Some(timeout) = &rule.timeout
            && !is_duration(timeout)
        {
            let expected = "a duration from 1ms to 10m, such as 5s or 500ms";
            self.report.invalid(self.at("timeout"), timeout, expected);
        }
        if rule.presence == Some(Presence::Required) {
            let path = self.at("presence");
            let expected = "OPTIONAL: deny requests without a token by an AuthorizationPolicy \
                            with notRequestPrincipals: [\"*\"]";
            self.report.invalid(path, "REQUIRED", expected);
        }
    }

    fn keys(&mut self, rule: &JwtRule) {
        match (&rule.jwks, &rule.jwks_uri) {
            (Some(_), Some(_)) => {
                let other = "jwksUri";
                self.report
                    .problem(self.at("jwks"), Problem::Conflict { other });
            }
            (None, None) => {
                let expected = "jwks or jwksUri, since issuers are not asked for their keys";
                self.report
                    .problem(self.at("jwks"), Problem::Missing { expected });
            }
            (Some(keys), None) if keys.len() > MAX_JWKS_BYTES => {
                let path = self.at("jwks");
                self.report
                    .too_many(path, keys.len(), "bytes", MAX_JWKS_BYTES);
            }
            (Some(keys), None) => {
                if let Err((where_, expected)) = jwks::check(keys) {
                    let path = self.at("jwks");
                    self.report.invalid(path, &where_, expected);
                }
            }
            (None, Some(uri)) => {
                self.text("jwksUri", uri);
                if jwks_address(uri).is_none() {
                    let expected =
                        "an http:// or https:// URL with a host, without user and password";
                    self.report.invalid(self.at("jwksUri"), uri, expected);
                }
            }
        }
    }

    fn header_location(&mut self, field: &str, header: &JwtHeader) {
        self.header(&format!("{field}.name"), &header.name);
        if let Some(prefix) = &header.prefix
            && (prefix.len() > MAX_TEXT_BYTES || prefix.contains(['\r', '\n', '\0']))
        {
            let path = self.at(&format!("{field}.prefix"));
            self.report
                .invalid(path, prefix, "text that can stand in a header");
        }
    }

    fn claim_to_header(&mut self, field: &str, one: &ClaimToHeader) {
        self.header(&format!("{field}.header"), &one.header);
        self.text(&format!("{field}.claim"), &one.claim);
    }

    /// The characters Istio allows in names of headers that are written.
    fn header(&mut self, field: &str, name: &str) {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if name.is_empty() || name.len() > MAX_TEXT_BYTES || !name.bytes().all(plain) {
            let expected = "a header name of letters, digits, - and _";
            self.report.invalid(self.at(field), name, expected);
        }
    }

    fn texts(&mut self, field: &str, texts: Option<&[String]>) {
        self.list(field, texts, |fields, path, text| fields.text(path, text));
    }

    fn text(&mut self, field: &str, text: &str) {
        let path = self.at(field);
        if text.is_empty() {
            let expected = "a text that is not empty";
            self.report.problem(path, Problem::Missing { expected });
        } else if text.len() > MAX_TEXT_BYTES {
            self.report
                .too_many(path, text.len(), "bytes", MAX_TEXT_BYTES);
        }
    }

    fn list<T>(&mut self, field: &str, list: Option<&[T]>, one: impl Fn(&mut Self, &str, &T)) {
        let list = list.unwrap_or_default();
        if list.len() > MAX_VALUES {
            let path = self.at(field);
            self.report.too_many(path, list.len(), "values", MAX_VALUES);
        }
        for (index, value) in list.iter().take(MAX_VALUES).enumerate() {
            one(self, &format!("{field}[{index}]"), value);
        }
    }

    fn at(&self, field: &str) -> String {
        format!("{}.{field}", self.path)
    }
}

/// Host, with its port if there is one, of an address that keys can be fetched from, and whether by TLS.
pub(crate) fn jwks_address(uri: &str) -> Option<(bool, &str)> {
    let (tls, rest) = match uri.split_once("://")? {
        ("https", rest) => (true, rest),
        ("http", rest) => (false, rest),
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"@\\\"<>{}|^`%".contains(&byte);
    let whole = uri.bytes().all(|byte| byte.is_ascii_graphic());
    (whole && !authority.is_empty() && authority.bytes().all(plain)).then_some((tls, authority))
}

/// Milliseconds of a duration as protobuf's JSON form and Go write it, in one unit: `5s`, `0.5s`, `500ms`, `1m`.
pub(crate) fn milliseconds(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at_checked(digits)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let factor: u64 = match unit {
        "ms" if fraction.is_empty() => 1,
        "s" if fraction.len() <= 3 => 1_000,
        "m" if fraction.is_empty() => 60_000,
        _ => return None,
    };
    let fraction = match fraction {
        "" if number.ends_with('.') => return None,
        "" => 0,
        _ => format!("{fraction:0<3}").parse::<u64>().ok()?,
    };
    whole
        .parse::<u64>()
        .ok()?
        .checked_mul(factor)?
        .checked_add(fraction)
}

fn is_duration(text: &str) -> bool {
    milliseconds(text).is_some_and(|found| (1..=600_000).contains(&found))
}
