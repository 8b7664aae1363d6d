//! Certificates as those who asked for them hold them.

use std::fs;
use std::path::Path;
use std::process::Command;

use identity::x509::{Sha256Digest, SvidProfile, X509Svid};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// A certificate in somebody's hands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Received {
    pub(crate) serial: String,
    pub(crate) sha256: String,
    pub(crate) spiffe_id: String,
}

impl Received {
    /// The leaf, first of a chain.
    pub(crate) fn of_chain(pem: &str) -> Self {
        let leaf = CertificateDer::pem_slice_iter(pem.as_bytes()).next();
        let leaf = leaf.expect("an empty chain").unwrap();
        let svid = X509Svid::parse(&leaf, SvidProfile::Strict).unwrap();
        Self {
            serial: svid.serial_hex().to_owned(),
            sha256: Sha256Digest::of(&leaf).to_string(),
            spiffe_id: svid.id().to_string(),
        }
    }

    /// The serial number as openssl prints it.
    pub(crate) fn serial_with_colons(&self) -> String {
        let upper = self.serial.to_uppercase();
        let pairs = upper.as_bytes().chunks(2);
        let pairs: Vec<_> = pairs.map(|pair| str::from_utf8(pair).unwrap()).collect();
        pairs.join(":")
    }

    /// The leaf that `cert issue` wrote to a folder.
    pub(crate) fn of_files(folder: &Path) -> Self {
        Self::of_chain(&fs::read_to_string(folder.join("cert-chain.pem")).unwrap())
    }
}

/// A certificate request with a new key, PEM.
pub(crate) fn csr() -> String {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let request = CertificateParams::default().serialize_request(&key);
    request.unwrap().pem().unwrap()
}

/// What `cert issue` wrote must verify, by somebody else's implementation, and the key must be its key.
#[track_caller]
pub(crate) fn openssl_accepts(folder: &Path) {
    let chain = folder.join("cert-chain.pem");
    let chain = chain.to_str().unwrap();
    let root = folder.join("root-cert.pem");
    openssl(&[
        "verify",
        "-x509_strict",
        "-CAfile",
        root.to_str().unwrap(),
        "-untrusted",
        chain,
        chain,
    ]);
    let key = folder.join("key.pem");
    let of_key = openssl(&["pkey", "-in", key.to_str().unwrap(), "-pubout"]);
    let of_leaf = openssl(&["x509", "-in", chain, "-noout", "-pubkey"]);
    assert_eq!(of_key, of_leaf);
}

/// The output of a successful openssl.
#[track_caller]
pub(crate) fn openssl(args: &[&str]) -> String {
    let output = Command::new("openssl").args(args).output();
    let output = output.expect("openssl is needed");
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
