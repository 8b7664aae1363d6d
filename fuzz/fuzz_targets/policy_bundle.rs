//! Policy bundles: bundles as they come, heads under a good signature, policies under a good head. The first byte
//! says which.

#![no_main]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::policy_bundle::{
    Bundle, Check, Head, MAX_BODY_BYTES, PolicyBundleError, signing_input, verify,
};
use identity::signed::{Proof, assemble};
use libfuzzer_sys::fuzz_target;
use policy::Scope;
use policy::config::compile_policies;

use crate::support::{Accepts, KEY, NOW, SIGNERS};

fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else {
        return;
    };
    match which % 3 {
        0 => bundle(bytes),
        1 => head(bytes),
        _ => body(bytes),
    }
});

fn check(floor: (u64, u64)) -> Check<'static> {
    Check {
        proof: Proof {
            signers: &SIGNERS,
            verifier: &Accepts,
            now: NOW,
            denied: None,
        },
        name: None,
        floor: Some(floor),
        at_least: 1,
    }
}

fn bundle(bytes: &[u8]) {
    let Ok(bundle) = Bundle::parse(bytes) else {
        return;
    };
    assert_eq!(bundle.to_bytes(), bytes);
    let Ok(head) = verify(bundle.head, &check((1, 1))) else {
        return;
    };
    if head.check_body(bundle.body).is_ok() {
        let again = Head::of(head.name.clone(), head.position(), head.issued, bundle.body);
        assert_eq!(again, Some(head));
    }
}

/// Any text as the document of a head with a good signature.
fn head(bytes: &[u8]) {
    let signed_as = |typ: &str| {
        let kid = KEY.kid();
        let header = format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"countersign-{typ}+jws"}}"#);
        let [header, document] =
            [header.as_bytes(), bytes].map(|part| URL_SAFE_NO_PAD.encode(part));
        assemble(format!("{header}.{document}").as_bytes(), &[1; 64])
    };
    verify(bytes, &check((0, 0))).unwrap_err();
    verify(&signed_as("deny-list"), &check((0, 0))).unwrap_err();
    let jws = signed_as("policy-bundle");
    let Ok(head) = verify(&jws, &check((1, 1))) else {
        return;
    };
    assert!(head.position() >= (1, 1) && head.sequence >= 1);
    assert!(usize::try_from(head.size).unwrap() <= MAX_BODY_BYTES);
    let later = (head.epoch, head.sequence.saturating_add(1));
    let refused = verify(&jws, &check(later));
    let is_last = head.sequence == u64::MAX;
    assert!(is_last || matches!(refused, Err(PolicyBundleError::RolledBack { .. })));
    let written = assemble(&signing_input(&head, KEY.kid(), None), &[1; 64]);
    assert_eq!(verify(&written, &check((1, 1))), Ok(head));
}

/// Policies: compiled whole or not at all, the same each time.
fn body(bytes: &[u8]) {
    let scope = Scope::new("cluster.local".parse().unwrap(), "default");
    let compiled = compile_policies(bytes, &scope);
    let rules = |bytes| {
        compile_policies(bytes, &scope)
            .map(|set| set.rules().count())
            .ok()
    };
    match compiled {
        Ok(set) => assert_eq!(rules(bytes), Some(set.rules().count())),
        Err(problems) => assert!(!problems.is_empty() && rules(bytes).is_none()),
    }
}
