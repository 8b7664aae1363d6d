//! Writes the first inputs of the fuzz targets to `corpus/<target>/`: certificates made now, with
//! keys that are thrown away, and texts. Run it in `fuzz/`: `cargo run -p countersign-fuzz-seeds`.

use std::error::Error;
use std::fs;
use std::path::Path;

use identity::UnixTime;
use identity::deny_list::{Payload, PayloadEntry, SCHEMA_VERSION, State, signing_input};
use identity::x509::Sha256Digest;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, SignatureAlgorithm,
};

const HTTPBIN: &str = "spiffe://cluster.local/ns/default/sa/httpbin";

fn main() -> Result<(), Box<dyn Error>> {
    let algorithms: [(&str, &'static SignatureAlgorithm); 4] = [
        ("p256", &rcgen::PKCS_ECDSA_P256_SHA256),
        ("p384", &rcgen::PKCS_ECDSA_P384_SHA384),
        ("rsa", &rcgen::PKCS_RSA_SHA256),
        ("ed25519", &rcgen::PKCS_ED25519),
    ];
    for (name, algorithm) in algorithms {
        let key = KeyPair::generate_for(algorithm)?;
        let params = authority();
        let root = params.self_signed(&key)?;
        let issuer = Issuer::new(params, &key);
        let leaf = leaf(&[HTTPBIN])?.signed_by(&KeyPair::generate()?, &issuer)?;
        let two = leaf_pair(&issuer)?;
        write("certificate", &format!("root-{name}"), root.der())?;
        write("certificate", &format!("leaf-{name}"), leaf.der())?;
        write("certificate", &format!("two-uris-{name}"), &two)?;
        write("pem", &format!("leaf-{name}"), leaf.pem().as_bytes())?;
        let encoded = leaf
            .pem()
            .replace('+', "%2B")
            .replace('\n', "%0A")
            .replace(' ', "%20");
        write("pem", &format!("url-{name}"), encoded.as_bytes())?;
        write(
            "pem",
            &format!("key-{name}"),
            key.public_key_pem().as_bytes(),
        )?;
    }
    let now = UnixTime::from_secs(1_767_225_600);
    let payload = Payload {
        schema_version: SCHEMA_VERSION,
        epoch: 1,
        sequence: 7,
        issued: now,
        expires: UnixTime::from_secs(1_767_225_660),
        entries: vec![
            PayloadEntry {
                sha256: Sha256Digest::of(b"1"),
                state: State::Revoked,
                since: now,
            },
            PayloadEntry {
                sha256: Sha256Digest::of(b"2"),
                state: State::Suspended,
                since: now,
            },
        ],
    };
    let input = signing_input(&payload, "kid");
    write("deny_list", "signed", &input)?;
    write("deny_list", "payload", PAYLOAD.as_bytes())?;
    for (name, id) in [
        ("istio", HTTPBIN),
        ("root", "spiffe://example.org"),
        ("upper", UPPER),
    ] {
        write("spiffe_id", name, id.as_bytes())?;
    }
    Ok(())
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "fuzz authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf(uris: &[&str]) -> Result<CertificateParams, Box<dyn Error>> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    for uri in uris {
        params
            .subject_alt_names
            .push(SanType::URI((*uri).try_into()?));
    }
    Ok(params)
}

fn leaf_pair(issuer: &Issuer<'_, &KeyPair>) -> Result<Vec<u8>, Box<dyn Error>> {
    let params = leaf(&[HTTPBIN, UPPER])?;
    Ok(params
        .signed_by(&KeyPair::generate()?, issuer)?
        .der()
        .to_vec())
}

fn write(target: &str, name: &str, content: &[u8]) -> Result<(), Box<dyn Error>> {
    let folder = Path::new("corpus").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), content)?;
    Ok(())
}

const UPPER: &str = "SPIFFE://Example.ORG/A/b";
const PAYLOAD: &str = r#"{"schemaVersion":1,"epoch":1,"sequence":7,"issued":1767225600,"expires":1767225660,"entries":[{"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","state":"revoked","since":1767225600}]}"#;
