use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

use super::*;
use crate::UnixTime;
use crate::deny_list::{self, DenyListError, Entries, HeaderProblem, ListKey, ListSigners};
use crate::signed::{SignedError, assemble};
use crate::x509::testing::AwsLc;

const NOW: UnixTime = UnixTime::from_secs(1_767_225_600);
const BODY: &[u8] = br#"[{"kind":"AuthorizationPolicy"}]"#;

struct Signer {
    pair: EcdsaKeyPair,
    key: ListKey,
    signers: ListSigners,
}

impl Signer {
    fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let start = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
        let spki = [&hex::decode(start).unwrap(), pair.public_key().as_ref()].concat();
        let key = ListKey::from_spki_der(&spki).unwrap();
        let signers = ListSigners::Keys(vec![key.clone()]);
        Self { pair, key, signers }
    }

    fn sign(&self, head: &Head) -> Vec<u8> {
        self.sign_input(&signing_input(head, self.key.kid(), None))
    }

    fn sign_input(&self, input: &[u8]) -> Vec<u8> {
        let signature = self.pair.sign(&SystemRandom::new(), input).unwrap();
        assemble(input, &signature.as_ref().try_into().unwrap())
    }

    const fn proof(&self) -> Proof<'_> {
        Proof {
            signers: &self.signers,
            verifier: &AwsLc,
            now: NOW,
            denied: None,
        }
    }

    const fn check<'a>(&'a self, name: &'a BundleName) -> Check<'a> {
        Check {
            proof: self.proof(),
            name: Some(name),
            floor: None,
            at_least: 0,
        }
    }

    fn verify(&self, head: &Head) -> Result<Head, PolicyBundleError> {
        verify(&self.sign(head), &self.check(&name("shop")))
    }
}

fn name(text: &str) -> BundleName {
    text.parse().unwrap()
}

fn head() -> Head {
    Head::of(name("shop"), (3, 7), NOW, BODY).unwrap()
}

#[test]
fn a_signed_bundle_comes_back_as_it_was_signed() {
    let signer = Signer::new();
    let bytes = Bundle {
        head: &signer.sign(&head()),
        body: BODY,
    }
    .to_bytes();
    let bundle = Bundle::parse(&bytes).unwrap();
    let read = verify(bundle.head, &signer.check(&name("shop"))).unwrap();
    assert_eq!(read, head());
    assert_eq!(read.check_body(bundle.body), Ok(()));
    assert_eq!(serde_json::to_string(&read).unwrap(), read.to_json());
}

#[test]
fn a_deny_list_is_no_bundle_and_a_bundle_no_deny_list() {
    let signer = Signer::new();
    let wrong = HeaderProblem::Type;
    let entries = Entries::default();
    let list = deny_list::Head::of(&entries, (3, 7), NOW, 60).unwrap();
    let list = signer.sign_input(&deny_list::signing_input(&list, signer.key.kid(), None));
    assert_eq!(
        verify(&list, &signer.check(&name("shop"))),
        Err(SignedError::BadHeader { problem: wrong }.into())
    );
    let check = deny_list::Check {
        signers: &signer.signers,
        verifier: &AwsLc,
        now: NOW,
        floor: None,
        held: None,
    };
    assert_eq!(
        deny_list::verify(&signer.sign(&head()), &check),
        Err(DenyListError::BadHeader { problem: wrong })
    );
}

#[test]
fn whom_nobody_pinned_signs_nothing() {
    let (signer, other) = (Signer::new(), Signer::new());
    let kid = other.key.kid().to_owned();
    assert_eq!(
        verify(&other.sign(&head()), &signer.check(&name("shop"))),
        Err(SignedError::UnknownKey { kid }.into())
    );
    // Under the pinned key's name.
    let forged = other.sign_input(&signing_input(&head(), signer.key.kid(), None));
    assert_eq!(
        verify(&forged, &signer.check(&name("shop"))),
        Err(SignedError::BadSignature.into())
    );
}

#[test]
fn refuses_what_the_head_says_wrong() {
    let signer = Signer::new();
    let (found, expected) = (name("other"), name("shop"));
    let other = Head {
        name: found.clone(),
        ..head()
    };
    assert_eq!(
        signer.verify(&other),
        Err(PolicyBundleError::OtherName { found, expected })
    );
    let shop = name("shop");
    let anybody = Check {
        name: None,
        ..signer.check(&shop)
    };
    assert!(verify(&signer.sign(&other), &anybody).is_ok());
    let schema = Head {
        schema_version: 2,
        ..head()
    };
    assert_eq!(
        signer.verify(&schema),
        Err(PolicyBundleError::UnknownSchema { found: 2 })
    );
    let size = u32::try_from(MAX_BODY_BYTES).unwrap() + 1;
    assert_eq!(
        signer.verify(&Head { size, ..head() }),
        Err(PolicyBundleError::BodyTooLarge { size })
    );
}

#[test]
fn refuses_bundles_older_than_the_floor_or_the_least() {
    let signer = Signer::new();
    let (jws, shop) = (signer.sign(&head()), name("shop"));
    let at = |floor, at_least| {
        let check = Check {
            floor,
            at_least,
            ..signer.check(&shop)
        };
        verify(&jws, &check)
    };
    for (floor, at_least) in [
        (None, 7),
        (Some((3, 7)), 0),
        (Some((3, 6)), 1),
        (Some((2, 100)), 7),
    ] {
        assert!(at(floor, at_least).is_ok(), "{floor:?} {at_least}");
    }
    for (floor_epoch, floor_sequence) in [(3, 8), (4, 0), (u64::MAX, u64::MAX)] {
        let rolled_back = PolicyBundleError::RolledBack {
            epoch: 3,
            sequence: 7,
            floor_epoch,
            floor_sequence,
        };
        assert_eq!(at(Some((floor_epoch, floor_sequence)), 0), Err(rolled_back));
    }
    let (sequence, at_least) = (7, 8);
    assert_eq!(
        at(None, 8),
        Err(PolicyBundleError::BelowLeast { sequence, at_least })
    );
}

#[test]
fn refuses_other_bodies_than_the_signed_one() {
    let expected = u32::try_from(BODY.len()).unwrap();
    for body in [&b""[..], &BODY[1..], &[BODY, b" "].concat()] {
        let found = body.len();
        assert_eq!(
            head().check_body(body),
            Err(PolicyBundleError::OtherSize { found, expected })
        );
    }
    let mut other = BODY.to_vec();
    other[1] ^= 1;
    assert_eq!(
        head().check_body(&other),
        Err(PolicyBundleError::OtherDigest)
    );
}

#[test]
fn refuses_what_is_cut_otherwise() {
    let bytes = Bundle {
        head: b"head",
        body: b"body",
    }
    .to_bytes();
    // Every cut before the body is no bundle; within it, it is one with another body.
    for end in 0..12 {
        assert_eq!(
            Bundle::parse(&bytes[..end]),
            Err(PolicyBundleError::NotBundle),
            "{end}"
        );
    }
    assert_eq!(Bundle::parse(&bytes[..14]).unwrap().body, b"bo");
    let mut long = bytes.clone();
    long[4..8].copy_from_slice(&[0xff; 4]);
    assert_eq!(Bundle::parse(&long), Err(PolicyBundleError::NotBundle));
    let list = b"CSL2F\0\0\0\0\0\0\0";
    assert_eq!(Bundle::parse(list), Err(PolicyBundleError::NotBundle));
    let len = MAX_BUNDLE_BYTES + 1;
    assert_eq!(
        Bundle::parse(&vec![0; len]),
        Err(PolicyBundleError::TooLarge { len })
    );
}

#[test]
fn the_longest_body_fits_and_no_longer_one() {
    let body = vec![b' '; MAX_BODY_BYTES + 1];
    let of = |body: &[u8]| Head::of(name("shop"), (1, 1), NOW, body);
    assert!(of(&body).is_none());
    let head = of(&body[1..]).unwrap();
    assert!(Signer::new().verify(&head).is_ok());
}

#[test]
fn names_are_dns_labels() {
    for good in ["a", "0", "shop", "shop-eu-1", &"a".repeat(63)] {
        assert_eq!(name(good).as_str(), good);
    }
    let long = "a".repeat(64);
    for bad in [
        "", "-", "-a", "a-", "A", "a.b", "a/b", "../a", "a b", "ä", "a\0", "a\"", &long,
    ] {
        assert!(bad.parse::<BundleName>().is_err(), "{bad:?}");
        let json = serde_json::to_string(bad).unwrap();
        assert!(
            serde_json::from_str::<BundleName>(&json).is_err(),
            "{bad:?}"
        );
    }
}
