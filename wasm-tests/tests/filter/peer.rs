//! Who the peer is: certificates of every quality.

use std::sync::LazyLock;

use proptest::prelude::*;
use wasm_tests::fixtures::ca::{Authority, Leaf, LeafSpec, self_signed};
use wasm_tests::fixtures::config::{ConfigSpec, allow_principal};
use wasm_tests::fixtures::traffic::{mutual_tls, mutual_tls_before_1_39, plaintext};
use wasm_tests::fixtures::{IMPOSTOR, NOW, SLEEP};
use wasm_tests::host::Plugin;

use crate::support::{assert_allowed, assert_forbidden, configured, get, get_as, last_decision};

fn only_sleep(authority: &Authority) -> Plugin {
    let policy = allow_principal("only-sleep", "cluster.local/ns/default/sa/sleep");
    configured(&ConfigSpec::inbound(authority).policy(policy))
}

/// A new plug-in, one request by this client; the reason it was refused for.
fn reason_for(authority: &Authority, leaf: &Leaf) -> String {
    let mut plugin = only_sleep(authority);
    let outcome = get_as(&mut plugin, leaf);
    assert_eq!(outcome.status(), Some(403), "{outcome:?}");
    let decision = last_decision(&plugin);
    decision["reason"].as_str().expect("a reason").to_owned()
}

#[test]
fn allows_the_named_principal_and_says_who_it_was() {
    let authority = Authority::new(NOW);
    let sleep = authority.svid(SLEEP);
    let mut plugin = only_sleep(&authority);
    let connection = mutual_tls(&sleep).with("connection.id", 7_u64);
    let outcome = get(&mut plugin, connection, "/x?secret=1");
    assert_allowed(&plugin, &outcome, "matched_allow");
    let decision = last_decision(&plugin);
    assert_eq!(decision["policy"], "ns[default]-policy[only-sleep]-rule[0]");
    assert_eq!(decision["peer"], SLEEP);
    assert_eq!(decision["peerSha256"], sleep.sha256());
    assert_eq!(decision["direction"], "inbound");
    assert_eq!(decision["method"], "GET");
    assert_eq!(decision["path"], "/x", "the query is not logged");
    assert_eq!(decision["connection"], 7);
    plugin
        .run_for(std::time::Duration::from_secs(1))
        .expect("no trap");
    let counted = plugin
        .world()
        .metrics()
        .value("countersign_decision_allow_matched_allow");
    assert_eq!(counted, Some(1));
}

#[test]
fn denies_another_principal_of_the_same_authority() {
    let authority = Authority::new(NOW);
    let impostor = authority.svid(IMPOSTOR);
    let mut plugin = only_sleep(&authority);
    let outcome = get_as(&mut plugin, &impostor);
    assert_forbidden(&plugin, &outcome, "no_allow_matched");
    let counted = plugin
        .world()
        .metrics()
        .value("countersign_decision_deny_no_allow_matched");
    assert_eq!(counted, Some(1));
}

#[test]
fn denies_plaintext_where_a_principal_is_asked_for() {
    let authority = Authority::new(NOW);
    let mut plugin = only_sleep(&authority);
    let outcome = get(&mut plugin, plaintext(), "/");
    assert_forbidden(&plugin, &outcome, "no_allow_matched");
    assert!(last_decision(&plugin)["peer"].is_null());
}

#[test]
fn works_with_the_filter_state_of_envoys_before_1_39() {
    let authority = Authority::new(NOW);
    let sleep = authority.svid(SLEEP);
    let impostor = authority.svid(IMPOSTOR);
    let mut plugin = only_sleep(&authority);
    let outcome = get(&mut plugin, mutual_tls_before_1_39(&sleep), "/");
    assert_allowed(&plugin, &outcome, "matched_allow");
    let outcome = get(&mut plugin, mutual_tls_before_1_39(&impostor), "/");
    assert_forbidden(&plugin, &outcome, "no_allow_matched");
}

#[test]
fn denies_a_certificate_outside_its_dates_and_the_seconds_at_both_ends_are_inside() {
    let authority = Authority::new(NOW);
    let reason = |starts, ends| {
        reason_for(
            &authority,
            &authority.issue(&LeafSpec::of(SLEEP).valid(starts, ends)),
        )
    };
    assert_eq!(reason(-600, -1), "expired");
    assert_eq!(reason(1, 600), "not_yet_valid");
    for (starts, ends) in [(-600, 0), (0, 600)] {
        let leaf = authority.issue(&LeafSpec::of(SLEEP).valid(starts, ends));
        let mut plugin = only_sleep(&authority);
        let outcome = get_as(&mut plugin, &leaf);
        assert_allowed(&plugin, &outcome, "matched_allow");
    }
}

#[test]
fn denies_a_certificate_that_expires_between_two_requests_of_one_connection() {
    let authority = Authority::new(NOW);
    let leaf = authority.issue(&LeafSpec::of(SLEEP).valid(-60, 30));
    let mut plugin = only_sleep(&authority);
    let outcome = get_as(&mut plugin, &leaf);
    assert_allowed(&plugin, &outcome, "matched_allow");
    plugin.world().clock.set(NOW + 31);
    let outcome = get_as(&mut plugin, &leaf);
    assert_forbidden(&plugin, &outcome, "expired");
}

#[test]
fn denies_certificates_that_are_no_x509_svid() {
    let authority = Authority::new(NOW);
    let reason = |spec: LeafSpec| reason_for(&authority, &authority.issue(&spec));
    let two = LeafSpec::of(SLEEP).and_uri(IMPOSTOR);
    assert_eq!(reason(two), "two_uri_sans");
    for (what, spec) in [
        (
            "no URI",
            LeafSpec::of(SLEEP).without_uri().and_dns("sleep.default"),
        ),
        (
            "no SPIFFE ID",
            LeafSpec::of("https://cluster.local/ns/default/sa/sleep"),
        ),
        ("a CA", LeafSpec::of(SLEEP).that_is_a_ca()),
        (
            "a certificate signer",
            LeafSpec::of(SLEEP).that_may_sign_certificates(),
        ),
    ] {
        let reason = reason(spec);
        assert_ne!(
            reason, "no_allow_matched",
            "{what} must be refused for what it is"
        );
    }
}

#[test]
fn denies_a_certificate_nobody_trusted_signed_even_if_envoy_let_it_through() {
    let authority = Authority::new(NOW);
    let foreign = Authority::new(NOW).svid(SLEEP);
    let own = self_signed(NOW, &LeafSpec::of(SLEEP));
    for leaf in [&foreign, &own] {
        let reason = reason_for(&authority, leaf);
        assert_eq!(reason, "unknown_issuer", "{}", leaf.pem);
    }
}

#[test]
fn denies_a_certificate_of_a_trust_domain_without_issuers() {
    let authority = Authority::new(NOW);
    let leaf = authority.svid("spiffe://other.example/ns/default/sa/sleep");
    assert_eq!(reason_for(&authority, &leaf), "unknown_trust_domain");
}

#[test]
fn denies_a_certificate_envoy_says_it_did_not_verify() {
    let authority = Authority::new(NOW);
    let sleep = authority.svid(SLEEP);
    let mut plugin = only_sleep(&authority);
    let properties = mutual_tls(&sleep).with("connection.peer_certificate_valid", false);
    let outcome = get(&mut plugin, properties, "/");
    assert_forbidden(&plugin, &outcome, "certificate_not_validated");
}

#[test]
fn denies_mutual_tls_without_a_certificate_to_look_at() {
    let authority = Authority::new(NOW);
    let sleep = authority.svid(SLEEP);
    let mut plugin = only_sleep(&authority);
    let properties = mutual_tls(&sleep).without("connection.peer_certificate");
    let outcome = get(&mut plugin, properties, "/");
    assert_forbidden(&plugin, &outcome, "certificate_missing");
}

#[test]
fn denies_a_certificate_that_is_not_the_one_of_the_digest_attribute() {
    let authority = Authority::new(NOW);
    let (sleep, impostor) = (authority.svid(SLEEP), authority.svid(IMPOSTOR));
    let mut plugin = only_sleep(&authority);
    let properties = mutual_tls(&impostor).with("connection.peer_certificate", sleep.pem.as_str());
    let outcome = get(&mut plugin, properties, "/");
    assert_eq!(
        outcome.status(),
        Some(403),
        "two attributes disagree: {outcome:?}"
    );
}

#[test]
fn verifies_a_certificate_once_and_not_for_every_request() {
    let authority = Authority::new(NOW);
    let (sleep, impostor) = (authority.svid(SLEEP), authority.svid(IMPOSTOR));
    let mut plugin = only_sleep(&authority);
    let mut verified = |leaf: &Leaf| {
        plugin.take_recorded();
        get_as(&mut plugin, leaf);
        let calls = plugin.take_recorded().into_iter();
        calls
            .filter(|call| call.hostcall == "proxy_call_foreign_function")
            .count()
    };
    assert_eq!(
        [verified(&sleep), verified(&sleep), verified(&sleep)],
        [1, 0, 0]
    );
    assert_eq!(
        [verified(&impostor), verified(&sleep), verified(&impostor)],
        [1, 0, 0]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// One bit of a good certificate turned over: whatever it means now, nobody signed it.
    #[test]
    fn denies_a_certificate_with_any_bit_changed(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        use base64::Engine;
        static GOOD: LazyLock<(Authority, Leaf)> = LazyLock::new(|| {
            let authority = Authority::new(NOW);
            let leaf = authority.svid(SLEEP);
            (authority, leaf)
        });
        let (authority, good) = &*GOOD;
        let mut changed = good.clone();
        let at = at.index(changed.der.len());
        changed.der[at] ^= 1 << bit;
        let text = base64::prelude::BASE64_STANDARD.encode(&changed.der);
        changed.pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        let mut plugin = configured(&ConfigSpec::inbound(authority));
        let outcome = get_as(&mut plugin, &changed);
        prop_assert_eq!(outcome.status(), Some(403), "bit {} of byte {}", bit, at);
    }
}

#[test]
fn denies_a_path_that_is_not_normalized_once_a_rule_looks_at_paths() {
    let authority = Authority::new(NOW);
    let sleep = authority.svid(SLEEP);
    let policy = wasm_tests::fixtures::config::authorization_policy(
        "not-admin",
        "DENY",
        serde_json::json!([{"to": [{"operation": {"paths": ["/admin"]}}]}]),
    );
    let mut plugin = configured(&ConfigSpec::inbound(&authority).policy(policy));
    for path in ["/a/../admin", "/./admin", "/%61dmin"] {
        let outcome = get(&mut plugin, mutual_tls(&sleep), path);
        assert_forbidden(&plugin, &outcome, "path_not_normalized");
    }
    let outcome = get(&mut plugin, mutual_tls(&sleep), "/index");
    assert_allowed(&plugin, &outcome, "no_policy");
}
