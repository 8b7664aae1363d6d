//! The exchange of intermediates, broken off and fed with what does not fit.

use super::*;
use crate::ca::{CaInit, KeyAlgorithm, load};
use crate::upstream::{self, UpstreamSettings};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const NONE: PassphraseSource = PassphraseSource::None;

async fn signed(folder: &Path) -> (CertificateAuthority, SignedIntermediate) {
    let wanted = CaInit {
        trust_domain: "example.org".parse().unwrap(),
        key_algorithm: KeyAlgorithm::EcdsaP256,
        generation: 1,
        now: NOW,
    };
    crate::ca::init(folder, &wanted).unwrap();
    let current = load(folder, NOW).unwrap();
    let options = NextOptions {
        seconds: 1000,
        now: NOW,
    };
    let profile = profile(&current, &wanted.trust_domain, &options).unwrap();
    assert_eq!(profile.common_name, "Countersign Intermediate CA G2");
    let request = request(folder, &current, profile.clone(), &NONE, NOW)
        .await
        .unwrap();
    let again = super::request(folder, &current, profile, &NONE, NOW)
        .await
        .unwrap();
    assert_eq!(
        again.csr_pem, request.csr_pem,
        "a request stays until it is answered"
    );
    let upstream = upstream::open(&UpstreamSettings::Own, folder, &NONE);
    let signed = upstream.sign(&request).await.unwrap();
    (current, signed)
}

#[tokio::test]
async fn an_exchange_that_breaks_off_anywhere_is_taken_up_again() {
    // Broken off after each step: key named, certificate retired, certificate in its place.
    for steps in 0..=3 {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("ca");
        let (current, signed) = signed(&folder).await;
        let next = signed.certificate.clone();
        store(&folder, &signed).unwrap();
        let named = folder.join(names::generation_key(&next));
        if steps >= 1 {
            fs::rename(folder.join(file::KEY), &named).unwrap();
        }
        if steps >= 2 {
            fs::write(folder.join("retired-x.pem"), current.intermediate.pem()).unwrap();
        }
        if steps >= 3 {
            let to = folder.join(names::INTERMEDIATE_CERTIFICATE);
            fs::rename(folder.join(file::CERTIFICATE), to).unwrap();
        }
        // What is there loads, with the certificate before or the one after, never with half.
        let loaded = load(&folder, NOW).unwrap();
        if steps < 3 {
            assert_eq!(loaded.intermediate, current.intermediate);
            let found = stored(&folder, &loaded, &NONE).unwrap().unwrap();
            assert_eq!(found.intermediate, next);
            activate(&folder, &loaded.intermediate, &next).unwrap();
        }
        let loaded = load(&folder, NOW).unwrap();
        assert_eq!(loaded.intermediate, next);
        assert!(stored(&folder, &loaded, &NONE).unwrap().is_none());
        let mut left: Vec<_> = [file::KEY, file::CERTIFICATE].into();
        left.retain(|name| folder.join(name).exists());
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn an_answer_of_another_key_or_root_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("ca");
    let (current, _signed) = signed(&folder).await;
    let (_other, theirs) = signed_elsewhere().await;
    store(&folder, &theirs).unwrap();
    assert!(matches!(
        stored(&folder, &current, &NONE),
        Err(CaError::NotSignedByRoot { .. })
    ));
    let own = SignedIntermediate {
        certificate: current.intermediate.clone(),
        upper: Vec::new(),
    };
    store(&folder, &own).unwrap();
    assert!(matches!(
        stored(&folder, &current, &NONE),
        Err(CaError::KeyMismatch { .. })
    ));
    fs::write(folder.join(file::CERTIFICATE), "").unwrap();
    assert!(matches!(
        stored(&folder, &current, &NONE),
        Err(CaError::BadCertificate { .. })
    ));
}

async fn signed_elsewhere() -> (tempfile::TempDir, SignedIntermediate) {
    let dir = tempfile::tempdir().unwrap();
    let (_, signed) = signed(&dir.path().join("ca")).await;
    (dir, signed)
}
