//! CSRs nobody honest sends. Each is refused by a rule of its own, recorded, and nothing is signed.

use authority::issue::{CsrError, MAX_CSR_BYTES, VerifiedCsr};
use identity::pem;
use rcgen::{CertificateParams, KeyUsagePurpose, PKCS_ED25519, SanType};
use tempfile::TempDir;
use tonic::Code;

use crate::support::{AGENT, Ask, Authority, csr, key, key_of};
use crate::verifiers::openssl;

#[tokio::test]
async fn each_attack_is_refused_by_its_rule_and_recorded_and_nothing_is_signed() {
    let authority = Authority::start().await;
    let agent = authority.agent(AGENT).await;
    let before = authority.certificates().await.len();
    for (name, text, code) in attacks() {
        let error = VerifiedCsr::parse_pem(&text).expect_err(name);
        assert_eq!(error.code(), code, "{name}: {error}");
        let refused = authority
            .ask(&agent, &key(), &Ask::csr(text))
            .await
            .expect_err(name);
        assert_eq!(refused.code(), Code::InvalidArgument, "{name}: {refused}");
        assert_eq!(authority.refusal().await.code, code, "{name}");
    }
    assert_eq!(authority.certificates().await.len(), before);
}

#[tokio::test]
async fn ten_megabytes_are_not_even_read() {
    let authority = Authority::start().await;
    let agent = authority.agent(AGENT).await;
    let huge = format!("{}{}", csr(&key()), "A".repeat(10 << 20));
    assert_eq!(
        VerifiedCsr::parse_pem(&huge),
        Err(CsrError::TooLarge { len: huge.len() })
    );
    let before = authority.certificates().await.len();
    let refused = authority
        .ask(&agent, &key(), &Ask::csr(huge))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    assert_eq!(authority.certificates().await.len(), before);
}

#[tokio::test]
async fn nothing_but_the_key_is_taken_from_a_csr() {
    let authority = Authority::start().await;
    let agent = authority.agent(AGENT).await;
    let key = key();
    let mut params = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
    params.subject_alt_names.push(SanType::URI(
        "spiffe://cluster.local/ns/kube-system/sa/admin"
            .to_owned()
            .try_into()
            .unwrap(),
    ));
    params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    let text = params.serialize_request(&key).unwrap().pem().unwrap();
    let held = authority.ask(&agent, &key, &Ask::csr(text)).await.unwrap();
    assert_eq!(held.svid.id().to_string(), AGENT);
    let leaf = authority.dir.path().join("leaf.pem");
    std::fs::write(&leaf, &held.chain[0]).unwrap();
    let said = openssl(&["x509", "-noout", "-text", "-in", leaf.to_str().unwrap()]);
    assert!(
        !said.contains("evil.example") && !said.contains("admin"),
        "{said}"
    );
    assert!(
        !said.contains("Key Agreement") && !said.contains("rcgen"),
        "{said}"
    );
}

#[test]
fn no_cut_or_flipped_request_passes() {
    let der = pem::single(&csr(&key()), "CERTIFICATE REQUEST", MAX_CSR_BYTES).unwrap();
    VerifiedCsr::parse(&der).unwrap();
    for length in 0..der.len() {
        assert!(
            VerifiedCsr::parse(&der[..length]).is_err(),
            "cut to {length}"
        );
    }
    for at in 0..der.len() {
        let mut bent = der.clone();
        bent[at] ^= 1;
        assert!(
            VerifiedCsr::parse(&bent).is_err(),
            "bit flipped in byte {at} of {der:02x?}"
        );
    }
}

fn attacks() -> Vec<(&'static str, String, &'static str)> {
    let dir = TempDir::new().unwrap();
    let honest = csr(&key());
    let der = pem::single(&honest, "CERTIFICATE REQUEST", MAX_CSR_BYTES).unwrap();
    let request = |der: &[u8]| pem::encode(der, "CERTIFICATE REQUEST");

    let mut names = CertificateParams::default();
    names.subject_alt_names = (0..100)
        .map(|n| SanType::DnsName(format!("n{n}.example").try_into().unwrap()))
        .collect();
    let hundred_names = names.serialize_request(&key()).unwrap().pem().unwrap();

    let mut bad_signature = der.clone();
    *bad_signature.last_mut().unwrap() ^= 1;

    vec![
        ("empty", String::new(), "csr_not_pem"),
        ("no PEM", "hello".to_owned(), "csr_not_pem"),
        ("two requests", honest.repeat(2), "csr_not_pem"),
        (
            "a certificate",
            pem::encode(&der, pem::CERTIFICATE),
            "csr_not_pem",
        ),
        (
            "cut text",
            honest[..honest.len() / 2].to_owned(),
            "csr_not_pem",
        ),
        ("cut DER", request(&der[..der.len() - 9]), "csr_malformed"),
        (
            "trailing bytes",
            request(&[&der[..], &[0]].concat()),
            "csr_malformed",
        ),
        (
            "wrong signature",
            request(&bad_signature),
            "csr_bad_signature",
        ),
        (
            "another's key",
            request(&key_swapped()),
            "csr_bad_signature",
        ),
        (
            "too large",
            format!("{honest}{}", "\n".repeat(MAX_CSR_BYTES)),
            "csr_too_large",
        ),
        ("hundred names", hundred_names, "csr_too_many_names"),
        (
            "Ed25519",
            csr(&key_of(&PKCS_ED25519)),
            "csr_unsupported_key",
        ),
        (
            "P-521",
            by_openssl(&dir, &EC521, &["-sha512"]),
            "csr_unsupported_key",
        ),
        (
            "secp256k1",
            by_openssl(&dir, &K256, &["-sha256"]),
            "csr_unsupported_key",
        ),
        (
            "compressed point",
            compressed_point(&dir),
            "csr_unsupported_key",
        ),
        (
            "RSA-1024",
            by_openssl(&dir, &RSA1024, &["-sha256"]),
            "csr_rsa_length",
        ),
        (
            "MD5",
            by_openssl(&dir, &RSA2048, &["-md5"]),
            "csr_weak_digest",
        ),
        (
            "SHA-1",
            by_openssl(&dir, &RSA2048, &["-sha1"]),
            "csr_weak_digest",
        ),
        (
            "ECDSA SHA-1",
            by_openssl(&dir, &EC256, &["-sha1"]),
            "csr_weak_digest",
        ),
        (
            "RSA-PSS",
            by_openssl(&dir, &RSA2048, &PSS),
            "csr_unsupported_signature",
        ),
        (
            "CA:TRUE",
            by_openssl(&dir, &EC256, &CA_TRUE),
            "csr_asks_for_ca",
        ),
        (
            "keyCertSign",
            by_openssl(&dir, &EC256, &CERT_SIGN),
            "csr_asks_for_ca",
        ),
        (
            "cRLSign",
            by_openssl(&dir, &EC256, &CRL_SIGN),
            "csr_asks_for_ca",
        ),
        (
            "broken extension",
            by_openssl(&dir, &EC256, &BROKEN),
            "csr_malformed",
        ),
    ]
}

/// One request's key in front of another's signature.
fn key_swapped() -> Vec<u8> {
    let der = |key| pem::single(&csr(key), "CERTIFICATE REQUEST", MAX_CSR_BYTES).unwrap();
    let (mine, yours) = (key(), key());
    let (mut forged, point) = (der(&mine), mine.public_key_raw().to_vec());
    let at = forged
        .windows(point.len())
        .position(|window| window == point)
        .unwrap();
    forged[at..at + point.len()].copy_from_slice(yours.public_key_raw());
    forged
}

fn compressed_point(dir: &TempDir) -> String {
    let [key, compressed] = ["whole.pem", "compressed.pem"].map(|name| dir.path().join(name));
    let [key, compressed] = [key.to_str().unwrap(), compressed.to_str().unwrap()];
    openssl(&[&EC256[..], &["-out", key]].concat());
    openssl(&[
        "ec",
        "-in",
        key,
        "-conv_form",
        "compressed",
        "-out",
        compressed,
    ]);
    openssl(&[
        "req", "-new", "-subj", "/CN=x", "-sha256", "-key", compressed,
    ])
}

fn by_openssl(dir: &TempDir, key: &[&str], options: &[&str]) -> String {
    let path = dir.path().join("key.pem");
    let path = path.to_str().unwrap();
    openssl(&[key, &["-out", path]].concat());
    openssl(&[&["req", "-new", "-subj", "/CN=x", "-key", path], options].concat())
}

const EC256: [&str; 5] = [
    "genpkey",
    "-algorithm",
    "EC",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
];
const EC521: [&str; 5] = [
    "genpkey",
    "-algorithm",
    "EC",
    "-pkeyopt",
    "ec_paramgen_curve:P-521",
];
const K256: [&str; 5] = [
    "genpkey",
    "-algorithm",
    "EC",
    "-pkeyopt",
    "ec_paramgen_curve:secp256k1",
];
const RSA1024: [&str; 5] = [
    "genpkey",
    "-algorithm",
    "RSA",
    "-pkeyopt",
    "rsa_keygen_bits:1024",
];
const RSA2048: [&str; 5] = [
    "genpkey",
    "-algorithm",
    "RSA",
    "-pkeyopt",
    "rsa_keygen_bits:2048",
];
const PSS: [&str; 3] = ["-sha256", "-sigopt", "rsa_padding_mode:pss"];
const CA_TRUE: [&str; 2] = ["-addext", "basicConstraints=critical,CA:TRUE"];
const CERT_SIGN: [&str; 2] = ["-addext", "keyUsage=keyCertSign"];
const CRL_SIGN: [&str; 2] = ["-addext", "keyUsage=cRLSign"];
const BROKEN: [&str; 2] = ["-addext", "2.5.29.17=DER:0500"];
