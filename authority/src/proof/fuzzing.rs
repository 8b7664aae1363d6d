//! For fuzz targets only: what follows a good signature, without one. Not part of any other build.

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
