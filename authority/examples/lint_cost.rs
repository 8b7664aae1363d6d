//! What looking at a certificate before it is signed costs, beside a signature of the CA's key and the
//! check of one: `cargo run --release -p countersign-authority --example lint_cost`.

#![allow(clippy::print_stdout, reason = "its output is the figures")]

use std::error::Error;

use authority::Settings;
use authority::bench::InProcess;
use authority::ca::{CaCertificate, FileKey};
use authority::issuance::{Facts, Limits, Policy};
use authority::issue::lint::{self, ChainFacts};
use authority::issue::{Purpose, VerifiedCsr};
use identity::{SpiffeId, TrustDomain, UnixTime, pem};
use rcgen::{CertificateParams, KeyPair};

const ROUNDS: u32 = 20_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::temp_dir().join(format!("countersign-lint-cost-{}", std::process::id()));
    std::fs::create_dir(&dir)?;
    let outcome = measure(&dir).await;
    std::fs::remove_dir_all(&dir)?;
    outcome
}

async fn measure(dir: &std::path::Path) -> Result<(), Box<dyn Error>> {
    let trust_domain = TrustDomain::new("cluster.local")?;
    let settings = Settings::new(trust_domain.clone(), dir.join("data"));
    let authority = InProcess::with_settings(&settings).await?;
    let key = KeyPair::generate()?;
    let csr = CertificateParams::default()
        .serialize_request(&key)?
        .pem()?;
    let id = SpiffeId::new("spiffe://cluster.local/ns/a/sa/b")?;
    let chain = authority.issue(&csr, id.clone()).await?;
    let leaf = chain.first().ok_or("no leaf")?;
    let leaf = pem::single(leaf, pem::CERTIFICATE, 1 << 16)?;
    let ca = dir.join("data/ca");
    let intermediate = CaCertificate::read(&ca.join("intermediate.pem"))?;
    let root = CaCertificate::read(&ca.join("root.pem"))?;
    let signing = FileKey::read(&ca.join("intermediate.key"))?;
    let facts = ChainFacts::read(&[&intermediate, &root]);

    time("21 lints, the parsing with them", || {
        lint::check(&leaf, Purpose::Tls, &facts).is_ok()
    });
    time("P-256 signature", || signing.sign_now(&leaf).is_ok());
    time("CSR with its P-256 signature checked", || {
        VerifiedCsr::parse_pem(&csr).is_ok()
    });
    let policy = Policy::builtin();
    let request = Facts::of(
        &authority::issue::Caller::Operator {
            uid: Some(0),
            id: None,
        },
        &id,
        &authority::issue::Wish::default(),
        &VerifiedCsr::parse_pem(&csr)?,
        None,
    );
    let limits = Limits {
        trust_domain: &trust_domain,
        default_ttl: 3600,
        max_ttl: 86_400,
        now: UnixTime::from_secs(1_800_000_000),
        jitter: 7,
    };
    time("built-in rules", || {
        policy.decide(&request, &limits).is_ok()
    });
    let many = policy_of(1000)?;
    time("1,000 rules before the built-in ones", || {
        many.decide(&request, &limits).is_ok()
    });
    Ok(())
}

/// Deny rules of which none matches.
fn policy_of(count: u32) -> Result<Policy, Box<dyn Error>> {
    let rules: Vec<String> = (0..count)
        .map(|n| format!("- {{id: r{n}, effect: deny, when: {{selectors: [\"k8s:ns:n{n}\"]}}}}\n"))
        .collect();
    let text = format!("schemaVersion: 1\nrules:\n{}", rules.concat());
    Policy::compile("rules", &text).map_err(|problems| format!("{problems:?}").into())
}

/// Prints the processor's time, which other processes do not lengthen as they do the wall clock's.
fn time(what: &str, mut once: impl FnMut() -> bool) {
    let start = on_cpu();
    let good = (0..ROUNDS).filter(|_| once()).count();
    let each = (on_cpu() - start) / f64::from(ROUNDS);
    println!("{what}: {each:.1} µs each ({good} good)");
}

/// Microseconds this thread was on a processor (the kernel's `schedstat`).
fn on_cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = text.split(' ').next();
    let nanoseconds = first.and_then(|first| first.parse::<f64>().ok());
    nanoseconds.unwrap_or(f64::NAN) / 1000.0
}
