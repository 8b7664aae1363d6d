//! Differences that are meant. Each is a rule of its own with the reason; whatever no rule covers fails the suite.

use envoy_config::EnvoyVersion;
use serde_json::Value;

use crate::group::Mesh;
use crate::outcome::{Ours, Outcome};
use crate::pools;
use crate::request::{Caller, Odd, Request};

/// Why the filter may differ from Envoy's own RBAC.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Explained {
    TwoUriSans,
    NoUriSan,
    NotASpiffeId,
    DnsSanIsNoIdentity,
    PathNotNormalized,
    MetadataOfOtherType,
    SeveralHeaderValues,
}

impl Explained {
    pub(crate) const ALL: [Self; 7] = [
        Self::TwoUriSans,
        Self::NoUriSan,
        Self::NotASpiffeId,
        Self::DnsSanIsNoIdentity,
        Self::PathNotNormalized,
        Self::MetadataOfOtherType,
        Self::SeveralHeaderValues,
    ];

    /// The row of the table in `docs/compatibility.md`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::TwoUriSans => "two URI SANs",
            Self::NoUriSan => "no URI SAN",
            Self::NotASpiffeId => "not a SPIFFE ID",
            Self::DnsSanIsNoIdentity => "a DNS SAN beside the SPIFFE ID",
            Self::PathNotNormalized => "path not normalized",
            Self::MetadataOfOtherType => "metadata of another type",
            Self::SeveralHeaderValues => "several values of a header",
        }
    }

    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::TwoUriSans => {
                "X509-SVID has exactly one URI SAN; Envoy takes whichever of several matches"
            }
            Self::NoUriSan => {
                "a certificate without SPIFFE ID proves no identity; Envoy goes on to DNS SANs and the subject"
            }
            Self::NotASpiffeId => {
                "the URI SAN breaks the SPIFFE ID grammar; to Envoy it is any text"
            }
            Self::DnsSanIsNoIdentity => {
                "identity is the SPIFFE ID alone; Envoy matches DNS SANs, too"
            }
            Self::PathNotNormalized => {
                "a policy looks at paths and this one is not in the declared form, though Envoy left it alone"
            }
            Self::MetadataOfOtherType => {
                "a policy looks at dynamic metadata that is neither text nor a list of texts, whose types Envoy does not tell a Wasm filter"
            }
            Self::SeveralHeaderValues => {
                "an Envoy without the fix of CVE-2026-26308 compares all values of a header joined by commas"
            }
        }
    }
}

/// The rule that covers this difference.
pub(crate) fn explain(
    request: &Request,
    (mesh, envoy): (&Mesh, EnvoyVersion),
    native: &Outcome,
    ours: &Ours,
) -> Option<Explained> {
    let denied_as = |reason: &str| !ours.outcome.allowed && ours.reason == reason;
    match &request.link.caller {
        Caller::Odd(Odd::TwoUris) if denied_as("two_uri_sans") => {
            return Some(Explained::TwoUriSans);
        }
        Caller::Odd(Odd::DnsOnly) if denied_as("no_uri_san") => return Some(Explained::NoUriSan),
        Caller::Odd(Odd::SubjectOnly) if denied_as("no_san") => return Some(Explained::NoUriSan),
        // What Envoy finds in the DNS SAN, positive or negative, the filter does not.
        Caller::Odd(Odd::DnsBeside) if native != &ours.outcome => {
            return Some(Explained::DnsSanIsNoIdentity);
        }
        Caller::Uri(id)
            if !is_spiffe_id(id)
                && NOT_SPIFFE.contains(&ours.reason.as_str())
                && !ours.outcome.allowed =>
        {
            return Some(Explained::NotASpiffeId);
        }
        _ => {}
    }
    let told = request.metadata.iter().flatten().all(is_tellable)
        && (!mesh.only_metadata || request.payload.iter().all(is_tellable_payload));
    if (denied_as("attribute_unreadable") || only_the_shadow_is_missing(native, ours)) && !told {
        return Some(Explained::MetadataOfOtherType);
    }
    if denied_as("path_not_normalized") && is_odd_path(&request.path) {
        return Some(Explained::PathNotNormalized);
    }
    let joined = envoy < EnvoyVersion::new(1, 38) && has_header_twice(request);
    joined.then_some(Explained::SeveralHeaderValues)
}

/// The verdict is the same and its policy, but policies that never change it were not asked.
fn only_the_shadow_is_missing(native: &Outcome, ours: &Ours) -> bool {
    let without_shadow = Outcome {
        audit: None,
        dry_run_deny: None,
        dry_run_allow: None,
        ..native.clone()
    };
    ours.shadow_unreadable && ours.outcome == without_shadow
}

/// What the filter says about URI SANs that are no SPIFFE ID.
const NOT_SPIFFE: [&str; 3] = ["invalid_spiffe_id", "spiffe_id_not_canonical", "root_path"];

/// A header that policies look at.
fn has_header_twice(request: &Request) -> bool {
    let names = ["x-role", "x-tenant"].into_iter();
    let count = |wanted: &str| {
        let same = request
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        same.count()
    };
    names.map(count).any(|count| count > 1)
}

/// Text, or a list of texts.
fn is_tellable(value: &Value) -> bool {
    match value {
        Value::String(_) => true,
        Value::Array(list) => list.iter().all(Value::is_string),
        _ => false,
    }
}

/// The same for each claim that policies look at.
fn is_tellable_payload(payload: &Value) -> bool {
    let paths = pools::CLAIMS.iter().map(|(path, _)| *path);
    let fixed: [&[&str]; 2] = [&["iss"], &["sub"]];
    paths
        .chain(fixed)
        .filter(|path| *path != ["realm"])
        .all(|path| {
            let found = path.iter().try_fold(payload, |value, name| value.get(name));
            found.is_none_or(is_tellable)
        })
}

fn is_spiffe_id(id: &str) -> bool {
    identity::SpiffeId::new(id).is_ok_and(|id| !id.path().is_empty())
}

/// Whether this path is in no declared form though Envoy passes it on as it is: a broken escape, or a `;` after
/// dots, which some servers drop together with what follows before they go up.
fn is_odd_path(path: &str) -> bool {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let broken = path.bytes().enumerate().any(|(at, byte)| {
        let rest = &path.as_bytes()[at + 1..];
        byte == b'%' && !(is_digit(rest.first()) && is_digit(rest.get(1)))
    });
    broken || path.contains("..;")
}
