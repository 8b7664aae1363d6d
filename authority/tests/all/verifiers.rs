//! Issued certificates before independent verifiers: OpenSSL and rustls-webpki.

use std::process::Command;
use std::time::Duration;

use authority::ca::KeyAlgorithm;
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use tempfile::TempDir;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::support::{AGENT, Ask, Authority, Held, key_of, parse, real_now};

#[tokio::test]
async fn every_kind_of_key_under_every_kind_of_ca_verifies() {
    for ca in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Rsa2048] {
        let authority = Authority::start_in(TempDir::new().unwrap(), |settings| {
            settings.key_algorithm = ca;
        })
        .await;
        for (algorithm, name) in [
            (&PKCS_ECDSA_P256_SHA256, "ecdsa-p256"),
            (&PKCS_ECDSA_P384_SHA384, "ecdsa-p384"),
            (&PKCS_RSA_SHA256, "rsa-2048"),
        ] {
            let token = authority.token(AGENT).await;
            let held = authority
                .join(&token, &key_of(algorithm), &Ask::default())
                .await
                .unwrap();
            openssl_verifies(&held, authority.dir.path());
            webpki_verifies(&held);
            openssl_reads_the_profile(&held, authority.dir.path(), name.starts_with("rsa"));
            let record = authority.certificates().await;
            let record = record.iter().find(|c| c.serial == held.serial()).unwrap();
            assert_eq!(record.key_type, name);
        }
        let status = authority.status().await;
        let (root, intermediate) = (status.root.unwrap(), status.intermediate.unwrap());
        assert_eq!(root.subject, "CN=Countersign Root CA G1,O=cluster.local");
        assert_eq!(
            intermediate.subject,
            "CN=Countersign Intermediate CA G1,O=cluster.local"
        );
        assert!(root.not_after > intermediate.not_after);
        authority.stop().await;
    }
}

#[tokio::test]
async fn serial_and_identity_are_what_openssl_reads() {
    let authority = Authority::start().await;
    let held = authority.agent(AGENT).await;
    let leaf = authority.dir.path().join("leaf.pem");
    std::fs::write(&leaf, &held.chain[0]).unwrap();
    let serial = openssl(&["x509", "-noout", "-serial", "-in", leaf.to_str().unwrap()]);
    assert_eq!(
        serial.trim().to_lowercase(),
        format!("serial={}", held.serial())
    );
    assert_eq!(held.serial().len(), 32);
    assert_eq!(parse(&held.chain[0]).id().to_string(), AGENT);
}

fn openssl_verifies(held: &Held, dir: &std::path::Path) {
    let [leaf, intermediate, root] = ["v-leaf.pem", "v-int.pem", "v-root.pem"].map(|n| dir.join(n));
    for (path, text) in [(&leaf, 0), (&intermediate, 1), (&root, 2)] {
        std::fs::write(path, &held.chain[text]).unwrap();
    }
    for purpose in ["sslclient", "sslserver"] {
        let said = openssl(&[
            "verify",
            "-x509_strict",
            "-purpose",
            purpose,
            "-CAfile",
            root.to_str().unwrap(),
            "-untrusted",
            intermediate.to_str().unwrap(),
            leaf.to_str().unwrap(),
        ]);
        assert!(said.trim().ends_with(": OK"), "{said}");
    }
}

fn openssl_reads_the_profile(held: &Held, dir: &std::path::Path, rsa: bool) {
    let leaf = dir.join("p-leaf.pem");
    std::fs::write(&leaf, &held.chain[0]).unwrap();
    let text = openssl(&["x509", "-noout", "-text", "-in", leaf.to_str().unwrap()]);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let after = |header: &str| {
        let at = lines.iter().position(|line| *line == header);
        lines[at.unwrap_or_else(|| panic!("no {header:?} in {text}")) + 1]
    };
    assert!(lines.contains(&"Subject:"), "{text}");
    assert_eq!(
        after("X509v3 Subject Alternative Name: critical"),
        format!("URI:{AGENT}")
    );
    assert_eq!(after("X509v3 Basic Constraints: critical"), "CA:FALSE");
    let usage = if rsa {
        "Digital Signature, Key Encipherment"
    } else {
        "Digital Signature"
    };
    assert_eq!(after("X509v3 Key Usage: critical"), usage);
    assert_eq!(
        after("X509v3 Extended Key Usage:"),
        "TLS Web Server Authentication, TLS Web Client Authentication"
    );
    assert!(!after("X509v3 Subject Key Identifier:").is_empty());
    assert!(!after("X509v3 Authority Key Identifier:").is_empty());
}

fn webpki_verifies(held: &Held) {
    let ders: Vec<CertificateDer<'static>> = held
        .chain
        .iter()
        .map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .collect();
    let anchor = anchor_from_trusted_cert(&ders[2]).unwrap();
    let leaf = EndEntityCert::try_from(&ders[0]).unwrap();
    let now = u64::try_from(real_now().as_secs()).unwrap();
    for usage in [KeyUsage::client_auth(), KeyUsage::server_auth()] {
        leaf.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            std::slice::from_ref(&anchor),
            &ders[1..2],
            UnixTime::since_unix_epoch(Duration::from_secs(now)),
            usage,
            None,
            None,
        )
        .unwrap();
    }
}

/// What the tool prints; its absence or failure is a failure.
pub(crate) fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(arguments)
        .output()
        .expect("openssl is needed");
    assert!(
        output.status.success(),
        "openssl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
