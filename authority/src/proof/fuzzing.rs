//! For fuzz targets and tests only: what follows a good signature, without one. In no other build.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a fuzz target fails by panicking"
)]

use identity::{TrustDomain, UnixTime};

use crate::proof::jwt::{Expected, LEEWAY_SECONDS, TokenFault, Unverified};
use crate::proof::keys::KeySet;
use crate::proof::kubernetes::{Account, Mapping, is_name};

/// The issuer, the audience and the time of the seeds.
pub const ISSUER: &str = "https://i.example";
/// The audience of the seeds.
pub const AUDIENCE: &str = "istio-ca";
/// The time of the seeds: 2026-01-01T00:00:00Z.
pub const NOW: UnixTime = UnixTime::from_secs(1_767_225_600);

/// Reads a token as a cluster's proof does, as if any signature were good.
///
/// # Panics
/// If something passes that must not.
pub fn token(text: &str, keys: &[u8]) {
    let Ok(token) = Unverified::parse(text) else {
        return;
    };
    if let Ok(keys) = KeySet::parse(keys) {
        // Nobody has signed what a fuzzer writes.
        let fault = token
            .verify(&keys)
            .expect_err("a forged signature verified");
        assert!(matches!(
            fault,
            TokenFault::UnknownKey | TokenFault::Signature
        ));
    }
    let audiences = [AUDIENCE.to_owned()];
    let expected = Expected {
        issuer: ISSUER,
        audiences: &audiences,
    };
    if token.precheck(expected, NOW).is_err() {
        return;
    }
    assert_eq!(token.issuer(), Ok(ISSUER));
    let expiry = token.expiry().expect("a token without expiry passed");
    assert!(
        NOW.secs_since(expiry) < LEEWAY_SECONDS,
        "an expired token passed"
    );
    let Ok(account) = Account::of_claims(token.claims()) else {
        return;
    };
    assert!(is_name(&account.namespace) && is_name(&account.name));
    let domain = TrustDomain::new("example.org").expect("a trust domain");
    let id = Mapping::Istio(domain)
        .identity("east", &account)
        .expect("an identity");
    let expected = format!(
        "spiffe://example.org/ns/{}/sa/{}",
        account.namespace, account.name
    );
    assert_eq!(id.to_string(), expected);
    for selector in account.selectors("east") {
        assert!(selector.starts_with("k8s:") && selector.matches(':').count() >= 2);
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = r#"{"alg":"ES256","kid":"1"}"#;
    const CLAIMS: &str = concat!(
        r#"{"iss":"https://i.example","aud":["istio-ca"],"exp":1767229200,"#,
        r#""nbf":1767225600,"sub":"system:serviceaccount:payments:api","kubernetes.io":{"#,
        r#""namespace":"payments","serviceaccount":{"name":"api"},"pod":{"name":"p"}}}"#
    );

    /// A few places overwritten, put in or cut out.
    fn bent(text: &'static str) -> impl Strategy<Value = Vec<u8>> {
        let pieces = prop_oneof![
            Just(Vec::new()),
            proptest::collection::vec(any::<u8>(), 1..4),
            proptest::sample::select(vec![
                "\"", "{", "}", ":", ",", "null", "-1", "1e99", "\\u0000", "sub", "/", ".."
            ])
            .prop_map(|text| text.as_bytes().to_vec()),
        ];
        let change = (any::<prop::sample::Index>(), 0..12_usize, pieces);
        proptest::collection::vec(change, 0..4).prop_map(move |changes| {
            let mut bytes = text.as_bytes().to_vec();
            for (at, cut, piece) in changes {
                let at = at.index(bytes.len() + 1);
                let end = (at + cut).min(bytes.len());
                bytes.splice(at..end, piece);
            }
            bytes
        })
    }

    proptest! {
        #[test]
        fn a_bent_token_is_refused_or_means_what_it_says(header in bent(HEADER), claims in bent(CLAIMS)) {
            let encode = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
            let text = format!("{}.{}.{}", encode(&header), encode(&claims), encode(&[7; 64]));
            let point = encode(&[7; 32]);
            let keys = format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"1","x":"{point}","y":"{point}"}}]}}"#);
            token(&text, keys.as_bytes());
        }

        #[test]
        fn no_text_at_all_does_harm(text in ".{0,200}", keys in proptest::collection::vec(any::<u8>(), 0..200)) {
            token(&text, &keys);
        }
    }

    #[test]
    fn what_is_not_bent_passes_up_to_its_signature() {
        let encode = |part: &str| URL_SAFE_NO_PAD.encode(part);
        let text = format!("{}.{}.AAAA", encode(HEADER), encode(CLAIMS));
        let parsed = Unverified::parse(&text).unwrap();
        let audiences = [AUDIENCE.to_owned()];
        let expected = Expected {
            issuer: ISSUER,
            audiences: &audiences,
        };
        assert_eq!(parsed.precheck(expected, NOW), Ok(()));
        assert_eq!(Account::of_claims(parsed.claims()).unwrap().name, "api");
    }
}
