//! The JWS around the payload: form, header, keys, signature.

use std::cell::Cell;

use proptest::prelude::*;

use super::*;

#[test]
fn any_pinned_key_will_do_and_no_other() {
    let (old, new, foreign) = (Signer::new(), Signer::new(), Signer::new());
    let pinned = [old.public.clone(), new.public.clone()];
    for signer in [&old, &new] {
        let jws = signer.sign(&payload());
        assert!(verify(jws.as_bytes(), &pinned, &AwsLc, NOW, None).is_ok());
    }
    let jws = foreign.sign(&payload());
    let kid = foreign.public.kid().to_owned();
    let refused = verify(jws.as_bytes(), &pinned, &AwsLc, NOW, None);
    assert_eq!(refused, Err(DenyListError::UnknownKey { kid: kid.clone() }));
    let refused = verify(jws.as_bytes(), &[], &AwsLc, NOW, None);
    assert_eq!(refused, Err(DenyListError::UnknownKey { kid }));
    // Another's signature under a pinned key's name.
    let jws = foreign.sign_input(&signing_input(&payload(), old.public.kid()));
    let refused = verify(jws.as_bytes(), &pinned, &AwsLc, NOW, None);
    assert_eq!(refused, Err(DenyListError::BadSignature));
}

#[test]
fn refuses_headers_that_say_anything_else() {
    let signer = Signer::new();
    let good = signer.header();
    let body = payload().to_json();
    assert!(signer.verify(&signer.sign_text(&good, &body)).is_ok());
    for (header, problem) in [
        (good.replace("ES256", "none"), HeaderProblem::Algorithm),
        (good.replace("ES256", "HS256"), HeaderProblem::Algorithm),
        (good.replace("ES256", "es256"), HeaderProblem::Algorithm),
        (good.replace("+jws", ""), HeaderProblem::Type),
        (
            good.replace('}', r#","crit":["exp"]}"#),
            HeaderProblem::Malformed,
        ),
        (
            good.replace('}', r#","alg":"ES256"}"#),
            HeaderProblem::Malformed,
        ),
        (
            good.replace(r#""alg":"ES256","#, ""),
            HeaderProblem::Malformed,
        ),
        (good.replace("\"ES256\"", "null"), HeaderProblem::Malformed),
        (format!("[{good}]"), HeaderProblem::Malformed),
        (format!("{good}{good}"), HeaderProblem::Malformed),
        (String::new(), HeaderProblem::Malformed),
        (
            good.replace("ES256", &"x".repeat(1000)),
            HeaderProblem::Malformed,
        ),
    ] {
        let refused = signer.verify(&signer.sign_text(&header, &body));
        assert_eq!(
            refused,
            Err(DenyListError::BadHeader { problem }),
            "{header}"
        );
    }
    let other_kid = good.replace(signer.public.kid(), &"ab".repeat(100));
    let refused = signer.verify(&signer.sign_text(&other_kid, &body));
    assert_eq!(
        refused,
        Err(DenyListError::UnknownKey {
            kid: "ab".repeat(32)
        })
    );
}

#[test]
fn refuses_texts_that_are_no_compact_jws() {
    let signer = Signer::new();
    let jws = signer.sign(&payload());
    let (signed, signature) = jws.rsplit_once('.').unwrap();
    for bad in [
        String::new(),
        ".".to_owned(),
        signed.to_owned(),
        format!("{jws}."),
        format!("{jws}.x"),
        format!("{jws}=="),
        format!(" {jws}"),
        format!("{jws}\n"),
        format!("{signed}.{signature}!"),
        jws.replacen('.', "=.", 1),
        format!(
            "{signed}.{}",
            signature.replacen(char::is_alphanumeric, "+", 1)
        ),
    ] {
        assert_eq!(signer.verify(&bad), Err(DenyListError::NotJws), "{bad}");
    }
    for cut in 0..jws.len() {
        assert!(
            signer.verify(jws.get(..cut).unwrap()).is_err(),
            "{cut} bytes"
        );
    }
}

#[test]
fn refuses_signatures_of_other_lengths_and_of_zeros() {
    let signer = Signer::new();
    let jws = signer.sign(&payload());
    let (signed, signature) = jws.rsplit_once('.').unwrap();
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let longer = [&raw[..], &[0]].concat();
    for bad in [&raw[..63], &longer, &[], &[0; 64]] {
        let changed = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bad));
        assert_eq!(signer.verify(&changed), Err(DenyListError::BadSignature));
    }
}

#[test]
fn refuses_lists_beyond_the_limit_before_anything_else() {
    let signer = Signer::new();
    let jws = ".".repeat(MAX_JWS_BYTES + 1);
    assert_eq!(
        signer.verify(&jws),
        Err(DenyListError::TooLarge {
            len: MAX_JWS_BYTES + 1
        })
    );
}

#[test]
fn looks_at_no_payload_before_its_signature() {
    struct Refuses(Cell<bool>);
    impl VerifySignature for Refuses {
        fn verify(
            &self,
            algorithm: SignatureAlgorithm,
            _: &[u8],
            message: &[u8],
            _: &[u8],
        ) -> Result<(), BadSignature> {
            assert_eq!(algorithm, SignatureAlgorithm::EcdsaSha256);
            assert!(message.ends_with(b"bm90IGpzb24"));
            self.0.set(true);
            Err(BadSignature)
        }
    }
    let signer = Signer::new();
    let jws = signer.sign_text(&signer.header(), "not json");
    let asked = Refuses(Cell::new(false));
    let refused = verify(
        jws.as_bytes(),
        std::slice::from_ref(&signer.public),
        &asked,
        NOW,
        None,
    );
    assert_eq!(refused, Err(DenyListError::BadSignature));
    assert!(asked.0.get());
}

proptest! {
    #[test]
    fn any_flipped_bit_is_refused(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let signer = Signer::new();
        let mut jws = signer.sign(&payload()).into_bytes();
        let at = at.index(jws.len());
        jws[at] ^= 1 << bit;
        let keys = [signer.public];
        prop_assert!(verify(&jws, &keys, &AwsLc, NOW, None).is_err(), "byte {at}");
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..512),
    ) {
        let keys = [Signer::new().public];
        prop_assert!(verify(&bytes, &keys, &AwsLc, NOW, None).is_err());
    }

    #[test]
    fn arbitrary_signed_payloads_cause_no_panic(text in "[\\PC\\x00]{0,64}") {
        let signer = Signer::new();
        let jws = signer.sign_text(&signer.header(), &text);
        let refused = signer.verify(&jws);
        let malformed = matches!(refused, Err(DenyListError::BadPayload { .. }));
        prop_assert!(malformed, "{text:?}: {refused:?}");
    }
}
