//! A real step-ca as upstream.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use authority::ca::below::{IntermediateOptions, IntermediatePlan};
use authority::ca::keeper::report::RenewalState;
use authority::ca::{self, CaInit, CaKey as _, CaOptions, FileKey, KeyAlgorithm, PassphraseSource};
use authority::upstream::{StepCaSettings, UpstreamSettings};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{AGENT, Authority, real_now};
use crate::verifiers::openssl;

const NONE: PassphraseSource = PassphraseSource::None;
/// What makes a CA of a request, as docs/ca.md has it.
const TEMPLATE: &str = r#"{"subject": {{ toJson .Subject }}, "sans": {{ toJson .SANs }}, "keyUsage": ["certSign", "crlSign"], "basicConstraints": {"isCA": true, "maxPathLen": 0}}"#;

/// The binary; `None`, said aloud, where `./justw step-ca` has not built it. Where nobody reads along
/// (`CI`), its absence is a failure.
fn binary() -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/bin/step-ca");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::iter::once(own)
        .chain(std::env::split_paths(&path).map(|dir| dir.join("step-ca")))
        .find(|file| file.is_file());
    if found.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "step-ca is needed: ./justw step-ca"
        );
        println!("NOT RUN: tests with a step-ca (./justw step-ca builds one)");
    }
    found
}

struct StepCa {
    child: Child,
    address: SocketAddr,
}

impl StepCa {
    /// Starts it below the root of `ca_folder`, with a provisioner of the key given.
    fn start(binary: &Path, dir: &Path, key: &FileKey, template: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let file = |name: &str| dir.join("step").join(name).display().to_string();
        let point = key.public_key();
        let [x, y] = [&point[1..33], &point[33..]].map(|part| URL_SAFE_NO_PAD.encode(part));
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, canonical.as_bytes());
        let kid = URL_SAFE_NO_PAD.encode(digest);
        let config = json!({
            "root": file("root.pem"),
            "crt": file("intermediate.pem"),
            "key": file("intermediate.key"),
            "address": address.to_string(),
            "dnsNames": ["127.0.0.1"],
            "logger": {"format": "text"},
            "db": {"type": "badgerv2", "dataSource": file("db")},
            "authority": {"provisioners": [{
                "type": "JWK",
                "name": "countersign",
                "key": {"use": "sig", "kty": "EC", "kid": kid, "crv": "P-256", "alg": "ES256", "x": x, "y": y},
                "claims": {"maxTLSCertDuration": "8784h"},
                "options": {"x509": {"template": template}},
            }]},
        });
        let path = dir.join("ca.json");
        fs::write(&path, config.to_string()).unwrap();
        let log = fs::File::create(dir.join("step-ca.log")).unwrap();
        let child = Command::new(binary)
            .arg(&path)
            .env("STEPPATH", dir.join("step"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut started = Self { child, address };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_err() {
            let ended = started.child.try_wait().unwrap();
            let log = fs::read_to_string(dir.join("step-ca.log")).unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{ended:?}: {log}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        started
    }
}

impl Drop for StepCa {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test]
async fn step_ca_signs_our_intermediate_and_its_failures_are_reported() {
    let Some(binary) = binary() else { return };
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    // One root; below it our first intermediate, and step-ca's with room for one more.
    let wanted = CaInit {
        trust_domain: "cluster.local".parse().unwrap(),
        key_algorithm: KeyAlgorithm::EcdsaP256,
        generation: 1,
        now: real_now(),
    };
    let options = CaOptions {
        root_path_length: 2,
        intermediate_seconds: 1200,
        ..CaOptions::default()
    };
    ca::init_with(&data.join("ca"), &wanted, &options).unwrap();
    let below = IntermediateOptions {
        trust_domain: wanted.trust_domain.clone(),
        cluster: "Step".to_owned(),
        generation: 1,
        path_length: 1,
        seconds: 86_400,
        uri_hosts: Vec::new(),
        now: real_now(),
    };
    let plan = IntermediatePlan::new(&data.join("ca"), &below).unwrap();
    plan.sign(&data.join("ca"), &dir.path().join("step"), &NONE)
        .await
        .unwrap();
    let key = FileKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let key_file = dir.path().join("provisioner.key");
    fs::write(&key_file, key.to_pem(None).unwrap().as_bytes()).unwrap();

    // First one whose template makes no CA.
    let home = dir.path().to_owned();
    let plain = TEMPLATE
        .replace("true", "false")
        .replace(r#", "maxPathLen": 0"#, "");
    let step = StepCa::start(&binary, &home, &key, &plain);
    let settings = StepCaSettings {
        url: format!("https://{}", step.address),
        root_file: data.join("ca/root.pem"),
        provisioner: "countersign".to_owned(),
        key_file,
        key_id: None,
        key_passphrase_file: None,
    };
    let address = step.address;
    let authority = Authority::start_in(dir, |all| {
        all.ca.reload_seconds = 1;
        all.ca.announce_seconds = 0;
        all.ca.intermediate_seconds = 1200;
        all.ca.renew_before_seconds = Some(1190);
        all.ca.upstream = UpstreamSettings::StepCa(settings);
    })
    .await;
    authority.clock.advance(11);
    failing(&authority, "CA:false").await;
    // Then none at all.
    drop(step);
    authority.clock.advance(11);
    failing(&authority, "cannot be reached").await;
    // Then a good one at the same address.
    let config = home.join("ca.json");
    let text = fs::read_to_string(&config).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["authority"]["provisioners"][0]["options"]["x509"]["template"] = TEMPLATE.into();
    fs::write(&config, value.to_string()).unwrap();
    let child = Command::new(&binary)
        .arg(&config)
        .env("STEPPATH", home.join("step"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _step = StepCa { child, address };
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "step-ca does not come up again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    authority.clock.advance(21);
    let mut watch = authority.running.ca();
    let renewed = watch.wait_for(|report| report.chain.len() == 3);
    let renewed = tokio::time::timeout(Duration::from_secs(30), renewed).await;
    let renewed = match renewed {
        Ok(report) => report.unwrap().clone(),
        Err(_) => panic!("{:?}", authority.running.ca().borrow()),
    };
    assert!(
        renewed.chain[0].subject.contains("Intermediate CA G2"),
        "{:?}",
        renewed.chain
    );
    assert_eq!(
        renewed.chain[1].subject,
        "CN=Step Intermediate CA G1,O=cluster.local"
    );
    let held = authority.agent(AGENT).await;
    assert_eq!(held.chain.len(), 4);
    let path = |name: &str| authority.dir.path().join(name).display().to_string();
    fs::write(path("leaf.pem"), &held.chain[0]).unwrap();
    fs::write(path("middle.pem"), held.chain[1..3].concat()).unwrap();
    fs::write(path("root.pem"), &held.chain[3]).unwrap();
    let said = openssl(&[
        "verify",
        "-x509_strict",
        "-CAfile",
        &path("root.pem"),
        "-untrusted",
        &path("middle.pem"),
        &path("leaf.pem"),
    ]);
    assert!(said.trim().ends_with(": OK"), "{said}");
    authority.stop().await;
}

async fn failing(authority: &Authority, reason: &str) {
    let mut watch = authority.running.ca();
    let failing = watch.wait_for(|report| {
        matches!(&report.renewal, RenewalState::Failing { error, .. } if error.contains(reason))
    });
    let failing = tokio::time::timeout(Duration::from_secs(40), failing).await;
    if failing.is_err() {
        panic!("{reason}: {:?}", authority.running.ca().borrow());
    }
}
