//! A signer that is pinned by its identity.

use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SanType,
};

use super::*;
use crate::SpiffeId;
use crate::x509::{IssuerKey, NameError, SignatureError, SvidError, UsageError};

const ID: &str = "spiffe://cluster.local/countersign/authority/deny-list";

/// A list signer whose key has a certificate.
struct Certified {
    key: KeyPair,
    certificate: Vec<u8>,
}

fn certified(authority: &Authority, change: impl FnOnce(&mut CertificateParams)) -> Certified {
    let key = KeyPair::generate().unwrap();
    let certificate = certify(authority, &key, change);
    Certified { key, certificate }
}

fn certify(
    authority: &Authority,
    key: &KeyPair,
    change: impl FnOnce(&mut CertificateParams),
) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(ID.try_into().unwrap())];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.not_before = rcgen::date_time_ymd(2025, 12, 31);
    params.not_after = rcgen::date_time_ymd(2026, 1, 2);
    change(&mut params);
    let issuer = Issuer::from_params(&authority.params, &authority.key);
    params.signed_by(key, &issuer).unwrap().der().to_vec()
}

impl Certified {
    fn sign(&self, head: &Head) -> Vec<u8> {
        self.sign_with(head, Some(&self.certificate))
    }

    fn sign_with(&self, head: &Head, certificate: Option<&[u8]>) -> Vec<u8> {
        let key = ListKey::from_spki_der(&self.key.subject_public_key_info()).unwrap();
        let input = signing_input(head, key.kid(), certificate);
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, self.key.serialized_der());
        let signature = pair.unwrap().sign(&SystemRandom::new(), &input).unwrap();
        assemble(&input, &signature.as_ref().try_into().unwrap())
    }
}

fn pinned(authority: &Authority) -> ListSigners {
    ListSigners::Authority {
        id: SpiffeId::new(ID).unwrap(),
        issuers: vec![IssuerKey::from_certificate_der(authority.certificate.der()).unwrap()],
    }
}

fn authority() -> Authority {
    Authority::new(&rcgen::PKCS_ECDSA_P256_SHA256)
}

#[test]
fn any_key_with_a_certificate_of_the_identity_will_do() {
    let authority = authority();
    // A rotation: for a while both are about.
    let (old, new) = (certified(&authority, |_| {}), certified(&authority, |_| {}));
    let signers = pinned(&authority);
    for signer in [&old, &new] {
        assert_eq!(verify(&signer.sign(&head()), &check(&signers)), Ok(head()));
    }
    // Who pins keys takes such a head as well.
    let key = ListKey::from_spki_der(&old.key.subject_public_key_info()).unwrap();
    let keys = ListSigners::Keys(vec![key]);
    assert_eq!(verify(&old.sign(&head()), &check(&keys)), Ok(head()));
    assert!(verify(&new.sign(&head()), &check(&keys)).is_err());
}

#[test]
fn a_certificate_of_p384_or_rsa_authorities_fits_the_limits() {
    for algorithm in [
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_RSA_SHA256,
        &rcgen::PKCS_ED25519,
    ] {
        let authority = Authority::new(algorithm);
        let signer = certified(&authority, |_| {});
        let head_bytes = signer.sign(&head());
        assert!(
            head_bytes.len() < MAX_HEAD_BYTES / 2,
            "{}",
            head_bytes.len()
        );
        assert!(verify(&head_bytes, &check(&pinned(&authority))).is_ok());
    }
}

fn refused(authority: &Authority, signer: &Certified) -> DenyListError {
    verify(&signer.sign(&head()), &check(&pinned(authority))).unwrap_err()
}

#[test]
fn refuses_certificates_of_other_identities_and_for_tls() {
    let authority = authority();
    for other in [
        "spiffe://cluster.local/countersign/authority",
        "spiffe://cluster.local/countersign/authority/deny-list/x",
        "spiffe://example.org/countersign/authority/deny-list",
    ] {
        let signer = certified(&authority, |params| {
            params.subject_alt_names = vec![SanType::URI(other.try_into().unwrap())];
        });
        let found = SpiffeId::new(other).unwrap();
        assert_eq!(
            refused(&authority, &signer),
            SignerError::OtherIdentity { found }.into()
        );
    }
    let tls = certified(&authority, |params| {
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
    });
    assert_eq!(refused(&authority, &tls), SignerError::ForTls.into());
}

#[test]
fn refuses_certificates_that_are_no_good_leaves_of_the_issuers_now() {
    let authority = authority();
    let why = |change: fn(&mut CertificateParams)| {
        let signer = certified(&authority, change);
        match refused(&authority, &signer) {
            DenyListError::BadSigner(SignerError::Certificate(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    let expired = why(|params| params.not_after = rcgen::date_time_ymd(2025, 12, 31));
    assert!(matches!(expired, SvidError::Expired { .. }), "{expired:?}");
    let early = why(|params| {
        params.not_before = rcgen::date_time_ymd(2026, 1, 2);
        params.not_after = rcgen::date_time_ymd(2026, 1, 3);
    });
    assert!(matches!(early, SvidError::NotYetValid { .. }), "{early:?}");
    let ca = why(|params| {
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    });
    assert_eq!(ca, UsageError::CertificateAuthority.into());
    let two = why(|params| {
        let other = "spiffe://cluster.local/other".try_into().unwrap();
        params.subject_alt_names.push(SanType::URI(other));
    });
    assert_eq!(two, NameError::SeveralUris { found: 2 }.into());
    let foreign = certified(&self::authority(), |_| {});
    let unknown = SvidError::from(SignatureError::UnknownIssuer);
    assert_eq!(
        refused(&authority, &foreign),
        SignerError::Certificate(unknown).into()
    );
}

#[test]
fn refuses_another_key_than_the_certified_one_and_none() {
    let authority = authority();
    let (one, other) = (certified(&authority, |_| {}), certified(&authority, |_| {}));
    let signers = pinned(&authority);
    let jws = one.sign_with(&head(), Some(&other.certificate));
    let refused = verify(&jws, &check(&signers));
    assert_eq!(refused, Err(SignerError::OtherKey.into()));
    let jws = one.sign_with(&head(), None);
    let refused = verify(&jws, &check(&signers));
    assert_eq!(refused, Err(SignerError::NoCertificate.into()));
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let certificate = certify(&authority, &p384, |_| {});
    let jws = one.sign_with(&head(), Some(&certificate));
    let refused = verify(&jws, &check(&signers));
    assert_eq!(refused, Err(SignerError::OtherKey.into()));
    // The certificate is right and names the key, but another one signed.
    let key = ListKey::from_spki_der(&one.key.subject_public_key_info()).unwrap();
    let input = signing_input(&head(), key.kid(), Some(&one.certificate));
    let jws = Signer::new().sign_input(&input);
    assert_eq!(
        verify(&jws, &check(&signers)),
        Err(DenyListError::BadSignature)
    );
}

#[test]
fn a_signer_on_the_list_in_hand_signs_no_other() {
    let authority = authority();
    let (stolen, next) = (certified(&authority, |_| {}), certified(&authority, |_| {}));
    let sha256 = Sha256Digest::of(&stolen.certificate);
    let entries = Entries::new(vec![Entry {
        sha256,
        state: State::Revoked,
        since: NOW,
    }]);
    let (_, held) = Signer::new().list((1, 1), &Arc::new(entries.unwrap()));
    let signers = pinned(&authority);
    let check = Check {
        held: Some(&held),
        ..check(&signers)
    };
    let refused = verify(&stolen.sign(&head()), &check);
    assert_eq!(refused, Err(SignerError::Denied.into()));
    assert!(verify(&next.sign(&head()), &check).is_ok());
}

#[test]
fn certificates_that_are_none_are_refused() {
    let authority = authority();
    let signer = certified(&authority, |_| {});
    let signers = pinned(&authority);
    let good = &signer.certificate;
    for bad in [&good[..good.len() - 1], &[], &[0x30, 0x80]] {
        let jws = signer.sign_with(&head(), Some(bad));
        let refused = verify(&jws, &check(&signers)).unwrap_err();
        let expected = matches!(
            refused,
            DenyListError::BadSigner(SignerError::Certificate(_))
        );
        assert!(expected, "{refused:?}");
    }
    // Too long for any head.
    let jws = signer.sign_with(&head(), Some(&[0x30; MAX_HEAD_BYTES]));
    let len = jws.len();
    let refused = verify(&jws, &check(&signers));
    assert_eq!(refused, Err(DenyListError::HeadTooLarge { len }));
}

#[test]
fn signers_cover_those_they_take_all_lists_of() {
    let (one, two) = (authority(), authority());
    let (a, b) = (Signer::new().public, Signer::new().public);
    let keys = |keys: &[&ListKey]| ListSigners::Keys(keys.iter().map(|&key| key.clone()).collect());
    assert!(keys(&[&a]).are_covered_by(&keys(&[&b, &a])));
    assert!(!keys(&[&a, &b]).are_covered_by(&keys(&[&a])));
    assert!(pinned(&one).are_covered_by(&pinned(&one)));
    assert!(!pinned(&one).are_covered_by(&pinned(&two)));
    assert!(!pinned(&one).are_covered_by(&keys(&[&a])));
    assert!(!keys(&[&a]).are_covered_by(&pinned(&one)));
    let ListSigners::Authority { issuers, .. } = pinned(&one) else {
        unreachable!()
    };
    let other = ListSigners::Authority {
        id: SpiffeId::new("spiffe://cluster.local/other").unwrap(),
        issuers,
    };
    assert!(!pinned(&one).are_covered_by(&other));
}
