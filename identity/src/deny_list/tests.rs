use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::UnixTime;
use crate::pem::{self, PemError};
use crate::x509::testing::{Authority, AwsLc, Leaf};
use crate::x509::{
    BadSignature, Sha256Digest, SignatureAlgorithm, SvidProfile, VerifySignature, X509Svid,
};

mod entries;
mod history;
mod jws;
mod signer;
mod update;

const NOW: UnixTime = UnixTime::from_secs(1_767_225_600);

/// A key that signs lists.
struct Signer {
    pair: EcdsaKeyPair,
    public: ListKey,
}

impl Signer {
    fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let start = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
        let spki = [&hex::decode(start).unwrap(), pair.public_key().as_ref()].concat();
        Self {
            pair,
            public: ListKey::from_spki_der(&spki).unwrap(),
        }
    }

    fn sign(&self, head: &Head) -> Vec<u8> {
        self.sign_input(&signing_input(head, self.public.kid(), None))
    }

    fn sign_input(&self, input: &[u8]) -> Vec<u8> {
        let signature = self.pair.sign(&SystemRandom::new(), input).unwrap();
        assemble(input, &signature.as_ref().try_into().unwrap())
    }

    /// Signs any header and head, as text.
    fn sign_text(&self, header: &str, head: &str) -> Vec<u8> {
        let [header, head] = [header, head].map(|part| URL_SAFE_NO_PAD.encode(part));
        self.sign_input(format!("{header}.{head}").as_bytes())
    }

    fn header(&self) -> String {
        let kid = self.public.kid();
        format!(r#"{{"alg":"ES256","kid":"{kid}","typ":"countersign-deny-list+jws"}}"#)
    }

    fn signers(&self) -> ListSigners {
        ListSigners::Keys(vec![self.public.clone()])
    }

    fn verify(&self, jws: &[u8]) -> Result<Head, DenyListError> {
        verify(jws, &check(&self.signers()))
    }

    /// Verifies an update against the list in hand.
    fn take(&self, update: Vec<u8>, held: Option<&DenyList>) -> Result<DenyList, DenyListError> {
        let signers = self.signers();
        let check = Check {
            held,
            ..check(&signers)
        };
        Update::parse(update)?.verify(&check)
    }

    /// The list of these entries at a position, with its signed head.
    fn list(&self, position: (u64, u64), entries: &Arc<Entries>) -> (Vec<u8>, DenyList) {
        let head = Head::of(entries, position, NOW, 60).unwrap();
        let jws = self.sign(&head);
        (jws, DenyList::new(head, Arc::clone(entries)).unwrap())
    }
}

/// At [`NOW`], with nothing in hand.
fn check(signers: &ListSigners) -> Check<'_> {
    Check {
        signers,
        verifier: &AwsLc,
        now: NOW,
        floor: None,
        held: None,
    }
}

fn entry(of: &[u8], state: State) -> Entry {
    Entry {
        sha256: Sha256Digest::of(of),
        state,
        since: NOW,
    }
}

fn two() -> Entries {
    Entries::new(vec![
        entry(b"one", State::Revoked),
        entry(b"two", State::Suspended),
    ])
    .unwrap()
}

fn head() -> Head {
    Head::of(&two(), (1, 7), NOW, 60).unwrap()
}

/// `count` revoked certificates, numbered from `first`.
fn revoked(first: u32, count: u32) -> Arc<Entries> {
    let entries = (first..first + count).map(|number| entry(&number.to_be_bytes(), State::Revoked));
    Arc::new(Entries::new(entries.collect()).unwrap())
}

#[test]
fn a_signed_list_answers_for_its_certificates() {
    let signer = Signer::new();
    let update = Update::full(&signer.sign(&head()), &two());
    let list = signer.take(update, None).unwrap();
    assert_eq!((list.epoch(), list.sequence(), list.len()), (1, 7, 2));
    assert_eq!(
        (list.issued(), list.expires()),
        (NOW, NOW.plus_secs(60).unwrap())
    );
    let state = |of: &[u8]| list.state(&Sha256Digest::of(of)).map(|found| found.state);
    assert_eq!(state(b"one"), Some(State::Revoked));
    assert_eq!(state(b"two"), Some(State::Suspended));
    assert_eq!(state(b"three"), None);
}

#[test]
fn a_revoked_certificate_is_denied_in_both_forms_of_its_signature() {
    let authority = Authority::new(&rcgen::PKCS_ECDSA_P256_SHA256);
    let svid = |authority: &Authority| {
        X509Svid::parse(&authority.sign(&Leaf::good()), SvidProfile::Strict).unwrap()
    };
    let (revoked, other) = (svid(&authority), svid(&authority));
    for sha256 in [revoked.sha256(), revoked.twin_sha256().unwrap()] {
        let entries = Entries::new(vec![Entry {
            sha256,
            state: State::Revoked,
            since: NOW,
        }]);
        let (_, list) = Signer::new().list((1, 1), &Arc::new(entries.unwrap()));
        let denied = DenyEntry {
            state: State::Revoked,
            since: NOW,
        };
        assert_eq!(list.state_of(&revoked), Some(denied));
        assert_eq!(list.state_of(&other), None);
    }
}

#[test]
fn is_stale_from_its_expiry_on() {
    let (_, list) = Signer::new().list((1, 7), &Arc::new(two()));
    assert!(!list.is_stale(NOW.plus_secs(59).unwrap()));
    assert!(list.is_stale(NOW.plus_secs(60).unwrap()));
}

#[test]
fn a_head_and_entries_that_differ_are_no_list() {
    let other = Entries::new(vec![
        entry(b"one", State::Revoked),
        entry(b"two", State::Revoked),
    ]);
    let differ = |entries: Entries| DenyList::new(head(), Arc::new(entries)).unwrap_err();
    assert_eq!(
        differ(other.unwrap()),
        DenyListError::BadEntries(EntriesError::OtherDigest)
    );
    let (found, expected) = (0, 2);
    assert_eq!(
        differ(Entries::default()),
        DenyListError::BadEntries(EntriesError::OtherCount { found, expected })
    );
}

#[test]
fn refuses_lists_that_expired_or_come_from_the_future() {
    let signer = Signer::new();
    let jws = signer.sign(&head());
    let signers = signer.signers();
    let at = |seconds| {
        let now = NOW.plus_secs(seconds).unwrap();
        let check = Check {
            now,
            ..check(&signers)
        };
        verify(&jws, &check)
    };
    assert!(at(59).is_ok());
    assert!(at(-MAX_CLOCK_AHEAD_SECONDS).is_ok());
    let now = NOW.plus_secs(60).unwrap();
    let expired = Currency::Expired { expires: now, now };
    assert_eq!(at(60), Err(DenyListError::NotCurrent(expired)));
    let now = NOW.plus_secs(-31).unwrap();
    let future = Currency::FromTheFuture { issued: NOW, now };
    assert_eq!(at(-31), Err(DenyListError::NotCurrent(future)));
}

#[test]
fn refuses_lists_older_than_the_floor() {
    let signer = Signer::new();
    let jws = signer.sign(&Head { epoch: 2, ..head() });
    let signers = signer.signers();
    let above = |floor| {
        let check = Check {
            floor: Some(floor),
            ..check(&signers)
        };
        verify(&jws, &check)
    };
    for floor in [(2, 7), (2, 6), (1, 100), (0, 0)] {
        assert!(above(floor).is_ok(), "{floor:?}");
    }
    for (floor_epoch, floor_sequence) in [(2, 8), (3, 0), (3, 7), (u64::MAX, u64::MAX)] {
        let rolled_back = DenyListError::RolledBack {
            epoch: 2,
            sequence: 7,
            floor_epoch,
            floor_sequence,
        };
        assert_eq!(above((floor_epoch, floor_sequence)), Err(rolled_back));
    }
}

#[test]
fn keys_are_named_by_their_digest_and_read_back_from_pem() {
    let key = Signer::new().public;
    assert_eq!(key.kid(), Sha256Digest::of(key.spki_der()).to_string());
    assert_eq!(ListKey::from_pem(&key.to_pem()), Ok(key.clone()));
    let two = format!("{0}{0}", key.to_pem());
    let several = PemError::SeveralBlocks { found: 2 };
    assert_eq!(ListKey::from_pem(&two), Err(ListKeyError::Pem(several)));
    let p384 = Authority::new(&rcgen::PKCS_ECDSA_P384_SHA384);
    let issuer = crate::x509::IssuerKey::from_certificate_der(p384.certificate.der()).unwrap();
    let pem = pem::encode(issuer.spki_der(), pem::PUBLIC_KEY);
    assert_eq!(ListKey::from_pem(&pem), Err(ListKeyError::NotP256));
}

#[test]
fn every_refusal_has_a_code_of_its_own() {
    let currency = [
        Currency::Expired {
            expires: NOW,
            now: NOW,
        },
        Currency::FromTheFuture {
            issued: NOW,
            now: NOW,
        },
    ];
    let mut codes: Vec<&str> = [
        DenyListError::TooLarge { len: 0 },
        DenyListError::NotUpdate,
        DenyListError::HeadTooLarge { len: 0 },
        DenyListError::NotJws,
        DenyListError::BadHeader {
            problem: HeaderProblem::Type,
        },
        DenyListError::UnknownKey { kid: String::new() },
        DenyListError::BadSigner(SignerError::ForTls),
        DenyListError::BadSignature,
        DenyListError::BadHead { line: 1, column: 1 },
        DenyListError::UnknownSchema { found: 1 },
        DenyListError::BadLife { seconds: 0 },
        DenyListError::BadEntries(EntriesError::OtherDigest),
        DenyListError::OtherBase { base: (1, 1) },
        DenyListError::RolledBack {
            epoch: 0,
            sequence: 0,
            floor_epoch: 0,
            floor_sequence: 1,
        },
    ]
    .into_iter()
    .chain(currency.map(DenyListError::NotCurrent))
    .map(|error| error.code())
    .collect();
    let count = codes.len();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!((count, codes.len()), (16, 16));
}
