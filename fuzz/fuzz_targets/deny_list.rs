//! Deny lists: as they come, and as a payload under a good header and signature.

#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::UnixTime;
use identity::deny_list::{DenyList, ListKey, MAX_LIFE_SECONDS, assemble, verify};
use identity::x509::{BadSignature, SignatureAlgorithm, VerifySignature};
use libfuzzer_sys::fuzz_target;

/// Every signature is good, so that the payload is reached.
struct Accepts;

impl VerifySignature for Accepts {
    fn verify(
        &self,
        _: SignatureAlgorithm,
        _: &[u8],
        _: &[u8],
        _: &[u8],
    ) -> Result<(), BadSignature> {
        Ok(())
    }
}

/// A key, never used: the generator of P-256.
static KEY: LazyLock<ListKey> = LazyLock::new(|| {
    let spki = hex::decode(
        "3059301306072a8648ce3d020106082a8648ce3d030107034200046b17d1f2e12c4247f8bce6e563a440f2\
         77037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb640\
         6837bf51f5",
    )
    .unwrap();
    ListKey::from_spki_der(&spki).unwrap()
});

/// 2026-01-01T00:00:00Z, the time of the seeds.
const NOW: UnixTime = UnixTime::from_secs(1_767_225_600);

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    let kid = KEY.kid();
    let header = format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"countersign-deny-list+jws"}}"#);
    let input = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(bytes)
    );
    check(assemble(input.as_bytes(), &[1; 64]).as_bytes());
});

fn check(jws: &[u8]) {
    let keys = std::slice::from_ref(&*KEY);
    let Ok(list) = verify(jws, keys, &Accepts, NOW, Some((1, 1))) else {
        return;
    };
    invariants(&list);
    let later = (list.epoch(), list.sequence().saturating_add(1));
    assert!(
        verify(jws, keys, &Accepts, NOW, Some(later)).is_err() || list.sequence() == u64::MAX,
        "a lower sequence is refused"
    );
}

fn invariants(list: &DenyList) {
    assert!((1..=MAX_LIFE_SECONDS).contains(&list.expires().secs_since(list.issued())));
    assert!(!list.is_stale(NOW) && list.is_stale(list.expires()));
    assert!((list.epoch(), list.sequence()) >= (1, 1));
    assert!(
        list.entries()
            .is_sorted_by(|one, next| one.sha256 < next.sha256)
    );
    for entry in list.entries() {
        let found = list
            .state(&entry.sha256)
            .map(|found| (found.state, found.since));
        assert_eq!(found, Some((entry.state, entry.since)));
    }
}
