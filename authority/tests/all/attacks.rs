//! CSRs nobody honest sends. Each is refused by a rule of its own, recorded, and nothing is signed.

use authority::issue::{CsrError, KeyType, MAX_CSR_BYTES, VerifiedCsr};
use identity::pem;
use rcgen::{
    CertificateParams, KeyUsagePurpose, PKCS_ED25519, PublicKeyData as _, SanType, SigningKey,
};
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

#[tokio::test]
async fn an_ed25519_key_is_for_rules_that_name_it() {
    let authority = Authority::start().await;
    let agent = authority.agent(AGENT).await;
    let text = csr(&key_of(&PKCS_ED25519));
    assert_eq!(
        VerifiedCsr::parse_pem(&text).unwrap().key_type(),
        KeyType::Ed25519
    );
    let refused = authority
        .ask(&agent, &key(), &Ask::csr(text))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    let refusal = authority.refusal().await;
    assert_eq!(refusal.code, "key_not_allowed");
    assert!(
        refusal.detail.contains("builtin/renewal"),
        "{}",
        refusal.detail
    );
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
    .into_iter()
    .chain(keys(&dir))
    .chain(crafted())
    .collect()
}

/// Kinds of keys that nobody has any more, or that are not what they say.
fn keys(dir: &TempDir) -> Vec<(&'static str, String, &'static str)> {
    let config = dir.path().join("workload.conf");
    std::fs::write(&config, WORKLOAD_CONF).unwrap();
    let dsa = dir.path().join("dsa.pem");
    let dsa = dsa.to_str().unwrap();
    openssl(&["dsaparam", "-genkey", "-out", dsa, "1024"]);
    vec![
        (
            "P-192",
            by_openssl(dir, &curve("prime192v1"), &["-sha256"]),
            "csr_unsupported_key",
        ),
        (
            "P-224",
            by_openssl(dir, &curve("secp224r1"), &["-sha256"]),
            "csr_unsupported_key",
        ),
        (
            "explicit parameters",
            by_openssl(
                dir,
                &[&EC256[..], &["-pkeyopt", "ec_param_enc:explicit"]].concat(),
                &["-sha256"],
            ),
            "csr_unsupported_key",
        ),
        (
            "RSA-PSS key",
            by_openssl(dir, &["genpkey", "-algorithm", "RSA-PSS"], &[]),
            "csr_unsupported_key",
        ),
        (
            "DSA",
            openssl(&["req", "-new", "-subj", "/CN=x", "-key", dsa]),
            "csr_unsupported_key",
        ),
        (
            "RSA with exponent 3",
            by_openssl(
                dir,
                &[&RSA2048[..], &["-pkeyopt", "rsa_keygen_pubexp:3"]].concat(),
                &["-sha256"],
            ),
            "csr_rsa_exponent",
        ),
        (
            "a workload that asks to be a CA by its configuration",
            by_openssl(
                dir,
                &RSA2048,
                &["-sha256", "-config", config.to_str().unwrap()],
            ),
            "csr_asks_for_ca",
        ),
    ]
}

/// Requests that no tool makes.
fn crafted() -> Vec<(&'static str, String, &'static str)> {
    let wish = |oid: &[u8], content: &[u8]| {
        let extension = der(0x30, &[&der(6, oid), &der(4, content)[..]].concat());
        let all = der(0x30, &extension);
        der(
            0x30,
            &[&der(6, &EXTENSION_REQUEST), &der(0x31, &all)[..]].concat(),
        )
    };
    let usage = wish(&[0x55, 0x1d, 15], &[3, 2, 7, 0x80]);
    let names = wish(&[0x55, 0x1d, 17], &[0x30, 4, 0x82, 2, b'a', b'b']);
    let one_usage = der(
        0x30,
        &[&der(6, &[0x55, 0x1d, 15])[..], &der(4, &[3, 2, 7, 0x80])].concat(),
    );
    let both = der(0x30, &one_usage.repeat(2));
    let twice_inside = der(
        0x30,
        &[&der(6, &EXTENSION_REQUEST), &der(0x31, &both)[..]].concat(),
    );
    let rsa = |modulus: &[u8], exponent: &[u8], identifier: &[u8]| {
        let numbers = der(0x30, &[&der(2, modulus)[..], &der(2, exponent)].concat());
        let spki = der(
            0x30,
            &[identifier, &der(3, &[&[0], &numbers[..]].concat())].concat(),
        );
        unsigned(&spki)
    };
    let positive = |length: usize| [&[0, 0xc5][..], &vec![0x11; length - 1]].concat();
    let f4 = [1, 0, 1];
    let mut negative = positive(256);
    negative.remove(0);
    vec![
        (
            "an attribute twice",
            signed(&[usage.clone(), names].concat()),
            "csr_malformed",
        ),
        (
            "an attribute twice, alike",
            signed(&usage.repeat(2)),
            "csr_malformed",
        ),
        ("an extension twice", signed(&twice_inside), "csr_malformed"),
        (
            "RSA-16384",
            rsa(&positive(2048), &f4, &RSA),
            "csr_rsa_length",
        ),
        (
            "a negative modulus",
            rsa(&negative, &f4, &RSA),
            "csr_malformed",
        ),
        (
            "a negative exponent",
            rsa(&positive(256), &[0x81, 0, 1], &RSA),
            "csr_malformed",
        ),
        (
            "an even modulus",
            rsa(&[&positive(255)[..], &[2]].concat(), &f4, &RSA),
            "csr_malformed",
        ),
        (
            "exponent 1",
            rsa(&positive(256), &[1], &RSA),
            "csr_rsa_exponent",
        ),
        (
            "an even exponent",
            rsa(&positive(256), &[2, 0, 0], &RSA),
            "csr_rsa_exponent",
        ),
        (
            "an exponent of 80 bits",
            rsa(&positive(256), &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1], &RSA),
            "csr_rsa_exponent",
        ),
        (
            "an RSA key without its NULL",
            rsa(&positive(256), &f4, &der(0x30, &RSA[2..13])),
            "csr_malformed",
        ),
    ]
}

/// A request with these attributes, signed by the key in it.
fn signed(attributes: &[u8]) -> String {
    let key = key();
    let info = info(&key.subject_public_key_info(), attributes);
    let signature = SigningKey::sign(&key, &info).unwrap();
    let bits = der(3, &[&[0], &signature[..]].concat());
    let request = der(0x30, &[&info[..], &ECDSA_SHA256, &bits].concat());
    pem::encode(&request, "CERTIFICATE REQUEST")
}

/// A request whose signature is none.
fn unsigned(spki: &[u8]) -> String {
    let request = [&info(spki, &[])[..], &RSA_SHA256, &der(3, &[0; 257])].concat();
    pem::encode(&der(0x30, &request), "CERTIFICATE REQUEST")
}

fn info(spki: &[u8], attributes: &[u8]) -> Vec<u8> {
    der(
        0x30,
        &[&[2, 1, 0, 0x30, 0][..], spki, &der(0xa0, attributes)].concat(),
    )
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let header = match length {
        0..0x80 => vec![tag, length as u8],
        0x80..0x100 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [&header[..], content].concat()
}

fn curve(name: &str) -> [&str; 5] {
    let option: &'static str = format!("ec_paramgen_curve:{name}").leak();
    ["genpkey", "-algorithm", "EC", "-pkeyopt", option]
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
/// A configuration that can be found in a tutorial, for a workload, with its section put right.
const WORKLOAD_CONF: &str = "\
[req]
distinguished_name = req_dn
req_extensions = v3
prompt = no
[req_dn]
O = Istio
CN = workload
[v3]
basicConstraints = critical, CA:true
keyUsage = critical, digitalSignature, nonRepudiation, keyEncipherment, keyCertSign
subjectAltName = URI:spiffe://cluster.local/ns/default/sa/admin
";
/// pkcs-9-at-extensionRequest (RFC 2985 §5.4.2).
const EXTENSION_REQUEST: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 9, 14];
const ECDSA_SHA256: [u8; 12] = [0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const RSA_SHA256: [u8; 15] = [
    0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 11, 5, 0,
];
const RSA: [u8; 15] = [
    0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0,
];
