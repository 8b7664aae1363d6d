//! DER of a certificate: no panic, and what is accepted keeps its invariants.

#![no_main]

use identity::SpiffeId;
use identity::x509::{
    BadSignature, IssuerKey, MAX_CERTIFICATE_BYTES, MAX_ID_BYTES, Sha256Digest, SignatureAlgorithm,
    SvidProfile, VerifySignature, X509Svid,
};
use libfuzzer_sys::fuzz_target;

/// Every signature is good, so that what follows a good one is reached.
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

fuzz_target!(|der: &[u8]| {
    let issuer = IssuerKey::from_certificate_der(der);
    if let Ok(issuer) = &issuer {
        assert_eq!(
            IssuerKey::from_spki_der(issuer.spki_der()).as_ref(),
            Ok(issuer)
        );
    }
    let strict = X509Svid::parse(der, SvidProfile::Strict);
    let relaxed = X509Svid::parse(der, SvidProfile::Istio);
    if let Ok(svid) = &strict {
        assert_eq!(
            relaxed.as_ref(),
            Ok(svid),
            "the strict profile accepts no more than the other"
        );
    }
    let Ok(svid) = relaxed else { return };
    assert!(
        issuer.is_err(),
        "no certificate is both a leaf and a signing certificate"
    );
    assert!(der.len() <= MAX_CERTIFICATE_BYTES);
    assert_eq!(svid.der(), der);
    assert_eq!(svid.sha256(), Sha256Digest::of(der));
    assert_ne!(svid.twin_sha256(), Some(svid.sha256()));
    let id = svid.id().to_string();
    assert!(id.len() <= MAX_ID_BYTES && !svid.id().path().is_empty());
    assert_eq!(SpiffeId::new(&id).as_ref(), Ok(svid.id()));
    assert!(svid.validity().not_before <= svid.validity().not_after);
    assert!(!svid.serial_hex().is_empty());
    assert!(!svid.issuer().contains(char::is_control));
    if let Ok(issuer) = IssuerKey::from_spki_der(svid.spki_der()) {
        let _either = svid.check_signature(&[issuer], &Accepts);
    }
});
