//! Issues a certificate of every profile and kind of key below each kind of CA, and writes each with
//! its chain to a folder of its own: `lint_certificates OUT`. `just lint-certs` looks at them.

#![allow(
    clippy::print_stdout,
    reason = "its output is the list of what it made"
)]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use authority::Settings;
use authority::bench::InProcess;
use authority::ca::KeyAlgorithm;
use identity::{SpiffeId, TrustDomain};
use rcgen::{CertificateParams, KeyPair, RsaKeySize};

const RULES: &str = r#"
schemaVersion: 1
builtinRules: none
rules:
- id: workload
  effect: allow
  when: {requestedId: ["spiffe://cluster.local/ns/*/sa/workload"]}
  spiffeId: "{requested}"
  keyAlgorithms: &keys [ecdsa-p256, ecdsa-p384, rsa-2048, ed25519]
  output: files
- id: ingress
  effect: allow
  when: {requestedId: ["spiffe://cluster.local/ns/*/sa/ingress"]}
  spiffeId: "{requested}"
  profile: ingress
  dnsSans: {names: [shop.example.org, v1.api.example.org]}
  keyAlgorithms: *keys
  output: files
- id: egress
  effect: allow
  when: {requestedId: ["spiffe://cluster.local/ns/*/sa/egress"]}
  spiffeId: "{requested}"
  profile: egress
  keyAlgorithms: *keys
  output: files
"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let out: PathBuf = std::env::args_os()
        .nth(1)
        .ok_or("usage: lint_certificates OUT")?
        .into();
    fs::create_dir_all(&out)?;
    let rules = out.join("rules.yaml");
    fs::write(&rules, RULES)?;
    for (ca, algorithm) in [
        ("ca-p256", KeyAlgorithm::EcdsaP256),
        ("ca-rsa2048", KeyAlgorithm::Rsa2048),
    ] {
        let mut settings = Settings::new(
            TrustDomain::new("cluster.local")?,
            out.join(format!("{ca}.data")),
        );
        settings.key_algorithm = algorithm;
        settings.issuance.policy_file = Some(rules.clone());
        let authority = InProcess::with_settings(&settings).await?;
        for (kind, key) in keys()? {
            for profile in ["workload", "ingress", "egress"] {
                let folder = out.join(format!("{ca}-{profile}-{kind}"));
                issue(&authority, profile, &key, &folder).await?;
                println!("{}", folder.display());
            }
        }
    }
    Ok(())
}

fn keys() -> Result<Vec<(&'static str, KeyPair)>, rcgen::Error> {
    Ok(vec![
        (
            "p256",
            KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?,
        ),
        (
            "p384",
            KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384)?,
        ),
        (
            "rsa2048",
            KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048)?,
        ),
        (
            "rsa3072",
            KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_3072)?,
        ),
        ("ed25519", KeyPair::generate_for(&rcgen::PKCS_ED25519)?),
    ])
}

async fn issue(
    authority: &InProcess,
    profile: &str,
    key: &KeyPair,
    folder: &Path,
) -> Result<(), Box<dyn Error>> {
    let csr = CertificateParams::default().serialize_request(key)?.pem()?;
    let id = SpiffeId::new(format!("spiffe://cluster.local/ns/lint/sa/{profile}"))?;
    let chain = authority.issue(&csr, id).await?;
    fs::create_dir_all(folder)?;
    for (name, pem) in ["leaf.pem", "intermediate.pem", "root.pem"]
        .iter()
        .zip(&chain)
    {
        fs::write(folder.join(name), pem)?;
    }
    Ok(())
}
