//! The JWS around the head, and the head's schema and numbers.

use std::cell::Cell;

use proptest::prelude::*;

use super::*;

#[test]
fn any_pinned_key_will_do_and_no_other() {
    let (old, new, foreign) = (Signer::new(), Signer::new(), Signer::new());
    let pinned = ListSigners::Keys(vec![old.public.clone(), new.public.clone()]);
    for signer in [&old, &new] {
        assert!(verify(&signer.sign(&head()), &check(&pinned)).is_ok());
    }
    let jws = foreign.sign(&head());
    let kid = foreign.public.kid().to_owned();
    let refused = verify(&jws, &check(&pinned));
    assert_eq!(refused, Err(DenyListError::UnknownKey { kid: kid.clone() }));
    let refused = verify(&jws, &check(&ListSigners::Keys(Vec::new())));
    assert_eq!(refused, Err(DenyListError::UnknownKey { kid }));
    // Another's signature under a pinned key's name.
    let jws = foreign.sign_input(&signing_input(&head(), old.public.kid(), None));
    let refused = verify(&jws, &check(&pinned));
    assert_eq!(refused, Err(DenyListError::BadSignature));
}

#[test]
fn refuses_headers_that_say_anything_else() {
    let signer = Signer::new();
    let good = signer.header();
    let body = head().to_json();
    assert!(signer.verify(&signer.sign_text(&good, &body)).is_ok());
    let with = |more: &str| good.replace('}', &format!(",{more}}}"));
    for (header, problem) in [
        (good.replace("ES256", "none"), HeaderProblem::Algorithm),
        (good.replace("ES256", "HS256"), HeaderProblem::Algorithm),
        (good.replace("ES256", "es256"), HeaderProblem::Algorithm),
        (good.replace("+jws", ""), HeaderProblem::Type),
        (with(r#""crit":["exp"]"#), HeaderProblem::Malformed),
        (with(r#""alg":"ES256""#), HeaderProblem::Malformed),
        (with(r#""x5c":[]"#), HeaderProblem::Malformed),
        (with(r#""x5c":["AA==","AA=="]"#), HeaderProblem::Malformed),
        (with(r#""x5c":"AA==""#), HeaderProblem::Malformed),
        (with(r#""x5c":["-_=="]"#), HeaderProblem::Malformed),
        (
            with(r#""x5c":["AA=="],"x5c":["AA=="]"#),
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
    let jws = String::from_utf8(signer.sign(&head())).unwrap();
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
        let refused = signer.verify(bad.as_bytes());
        assert_eq!(refused, Err(DenyListError::NotJws), "{bad}");
    }
    for cut in 0..jws.len() {
        let short = jws.get(..cut).unwrap();
        assert!(signer.verify(short.as_bytes()).is_err(), "{cut} bytes");
    }
}

#[test]
fn refuses_signatures_of_other_lengths_and_of_zeros() {
    let signer = Signer::new();
    let jws = String::from_utf8(signer.sign(&head())).unwrap();
    let (signed, signature) = jws.rsplit_once('.').unwrap();
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let longer = [&raw[..], &[0]].concat();
    for bad in [&raw[..63], &longer, &[], &[0; 64]] {
        let changed = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(bad));
        let refused = signer.verify(changed.as_bytes());
        assert_eq!(refused, Err(DenyListError::BadSignature));
    }
}

#[test]
fn refuses_heads_beyond_the_limit_before_anything_else() {
    let len = MAX_HEAD_BYTES + 1;
    let refused = Signer::new().verify(".".repeat(len).as_bytes());
    assert_eq!(refused, Err(DenyListError::HeadTooLarge { len }));
}

#[test]
fn looks_at_no_head_before_its_signature() {
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
    let signers = signer.signers();
    let check = Check {
        verifier: &asked,
        ..check(&signers)
    };
    assert_eq!(verify(&jws, &check), Err(DenyListError::BadSignature));
    assert!(asked.0.get());
}

#[test]
fn the_head_is_written_as_serde_writes_it() {
    for head in [
        head(),
        Head {
            epoch: u64::MAX,
            sequence: u64::MAX,
            issued: UnixTime::from_secs(i64::MIN),
            count: u32::MAX,
            ..head()
        },
    ] {
        assert_eq!(head.to_json(), serde_json::to_string(&head).unwrap());
    }
}

#[test]
fn refuses_heads_outside_the_schema() {
    let signer = Signer::new();
    let good = head().to_json();
    for bad in [
        good.replace(r#""epoch":1"#, r#""epoch":-1"#),
        good.replace(r#""epoch":1"#, r#""epoch":1.5"#),
        good.replace(r#""epoch":1"#, r#""epoch":"1""#),
        good.replace(r#""epoch":1"#, r#""epoch":18446744073709551616"#),
        good.replace(r#""epoch":1,"#, ""),
        good.replace(r#""epoch":1,"#, r#""epoch":1,"epoch":1,"#),
        good.replace(r#""epoch":1,"#, r#""epoch":1,"entries":[],"#),
        good.replace(r#""count":2"#, r#""count":4294967296"#),
        good.replace(r#""count":2"#, r#""count":null"#),
        good.replace(&two().digest().to_string(), "ab"),
        format!("{good}{good}"),
        format!("[{good}]"),
        good.strip_suffix('}').unwrap().to_owned(),
        format!("{}{}", "[".repeat(2_500), "]".repeat(2_500)),
        String::new(),
    ] {
        assert_ne!(bad, good);
        let refused = signer.verify(&signer.sign_text(&signer.header(), &bad));
        assert!(
            matches!(refused, Err(DenyListError::BadHead { .. })),
            "{bad}: {refused:?}"
        );
    }
}

fn refused(head: &Head) -> Result<Head, DenyListError> {
    let signer = Signer::new();
    signer.verify(&signer.sign(head))
}

#[test]
fn refuses_other_schema_versions_and_too_many_entries() {
    for found in [0, 1, 3, u32::MAX] {
        let head = Head {
            schema_version: found,
            ..head()
        };
        assert_eq!(refused(&head), Err(DenyListError::UnknownSchema { found }));
    }
    let head = Head {
        count: 100_001,
        ..head()
    };
    let count = MAX_ENTRIES + 1;
    assert_eq!(refused(&head), Err(EntriesError::TooMany { count }.into()));
}

#[test]
fn lives_one_to_sixty_seconds() {
    let lasting = |seconds| Head {
        expires: NOW.plus_secs(seconds).unwrap(),
        ..head()
    };
    assert!(refused(&lasting(1)).is_ok());
    assert!(refused(&lasting(60)).is_ok());
    for seconds in [-1, 0, 61] {
        assert_eq!(
            refused(&lasting(seconds)),
            Err(DenyListError::BadLife { seconds })
        );
    }
    let ends = Head {
        issued: UnixTime::from_secs(i64::MIN),
        expires: UnixTime::from_secs(i64::MAX),
        ..head()
    };
    assert_eq!(
        refused(&ends),
        Err(DenyListError::BadLife { seconds: i64::MAX })
    );
}

proptest! {
    #[test]
    fn any_flipped_bit_is_refused(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let signer = Signer::new();
        let mut jws = signer.sign(&head());
        let at = at.index(jws.len());
        jws[at] ^= 1 << bit;
        prop_assert!(signer.verify(&jws).is_err(), "byte {at}");
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..512),
    ) {
        prop_assert!(Signer::new().verify(&bytes).is_err());
    }

    #[test]
    fn arbitrary_signed_heads_cause_no_panic(text in "[\\PC\\x00]{0,64}") {
        let signer = Signer::new();
        let refused = signer.verify(&signer.sign_text(&signer.header(), &text));
        let malformed = matches!(refused, Err(DenyListError::BadHead { .. }));
        prop_assert!(malformed, "{text:?}: {refused:?}");
    }
}
