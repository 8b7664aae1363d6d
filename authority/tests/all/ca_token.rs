//! Keys in a PKCS#11 token, tried on SoftHSM2.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use authority::ca::{
    self, CaInit, CaKey as _, CaOptions, KeyAlgorithm, Pkcs11Error, Pkcs11Key, Pkcs11Uri,
};
use tempfile::TempDir;

use crate::support::{AGENT, Authority, real_now};
use crate::verifiers::openssl;

/// A token of its own, with its module; `None`, said aloud, where SoftHSM2 is not installed. Where
/// nobody reads along (`CI`), its absence is a failure.
fn token() -> Option<&'static Token> {
    static TOKEN: OnceLock<Option<Token>> = OnceLock::new();
    TOKEN.get_or_init(Token::new).as_ref()
}

struct Token {
    dir: TempDir,
    module: PathBuf,
}

impl Token {
    fn new() -> Option<Self> {
        let module = [
            "/usr/lib/softhsm/libsofthsm2.so",
            "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
            "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
        ]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.exists());
        let Some(module) = module else {
            assert!(
                std::env::var_os("CI").is_none(),
                "SoftHSM2 is needed (Debian: softhsm2)"
            );
            println!("NOT RUN: tests on a PKCS#11 token (no SoftHSM2; Debian: softhsm2)");
            return None;
        };
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join("tokens")).unwrap();
        Some(Self { dir, module })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn configuration(&self) -> PathBuf {
        let path = self.path("softhsm2.conf");
        let tokens = self.path("tokens");
        fs::write(
            &path,
            format!("directories.tokendir = {}\n", tokens.display()),
        )
        .unwrap();
        path
    }

    fn uri(&self, object: &str, pin: &str) -> Pkcs11Uri {
        let pin_file = self.path(&format!("pin-{pin}"));
        fs::write(&pin_file, pin).unwrap();
        fs::set_permissions(&pin_file, fs::Permissions::from_mode(0o600)).unwrap();
        format!(
            "pkcs11:token=mesh;object={object}?module-path={}&pin-source={}",
            self.module.display(),
            pin_file.display()
        )
        .parse()
        .unwrap()
    }
}

/// The module reads its configuration once a process, from the environment: so the tests on a token
/// run in a process of their own, this test binary once more.
#[test]
fn keys_in_a_token_sign_like_keys_in_files() {
    let Some(token) = token() else { return };
    let configuration = token.configuration();
    let made = Command::new("softhsm2-util")
        .args([
            "--init-token",
            "--free",
            "--label",
            "mesh",
            "--pin",
            "123456",
            "--so-pin",
            "654321",
        ])
        .env("SOFTHSM2_CONF", &configuration)
        .output()
        .expect("softhsm2-util comes with SoftHSM2");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "ca_token::in_the_process_with_the_token",
            "--ignored",
            "--nocapture",
        ])
        .env("SOFTHSM2_CONF", &configuration)
        .env("COUNTERSIGN_TEST_TOKEN", token.dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{why}"
    );
}

#[tokio::test]
#[ignore = "started by keys_in_a_token_sign_like_keys_in_files, in a process with a token"]
async fn in_the_process_with_the_token() {
    let Some(found) = token() else { return };
    let home = std::env::var_os("COUNTERSIGN_TEST_TOKEN").expect("started by the other test");
    let token = Token {
        dir: TempDir::new_in(home).unwrap(),
        module: found.module.clone(),
    };
    for (label, algorithm) in [
        ("p256", KeyAlgorithm::EcdsaP256),
        ("p384", KeyAlgorithm::EcdsaP384),
        ("rsa", KeyAlgorithm::Rsa2048),
    ] {
        signs_what_openssl_verifies(&token, label, algorithm).await;
    }
    refuses_what_does_not_fit(&token);
    an_authority_serves_with_its_keys_in_the_token(&token).await;
}

async fn signs_what_openssl_verifies(token: &Token, label: &str, algorithm: KeyAlgorithm) {
    let uri = token.uri(label, "123456");
    let made = Pkcs11Key::generate(&uri, algorithm).unwrap();
    assert!(matches!(
        Pkcs11Key::generate(&uri, algorithm),
        Err(Pkcs11Error::Exists { .. })
    ));
    let key = Pkcs11Key::open(&uri).unwrap();
    assert_eq!(key.public_key(), made.public_key());
    assert_eq!((key.algorithm(), made.algorithm()), (algorithm, algorithm));
    // A root signed in the token verifies itself: that is the public key and the signature's form.
    let dir = token.path(&format!("ca-{label}"));
    let wanted = CaInit {
        trust_domain: "cluster.local".parse().unwrap(),
        key_algorithm: algorithm,
        generation: 1,
        now: real_now(),
    };
    let options = CaOptions {
        root_token: Some(token.uri(&format!("{label}-root"), "123456")),
        intermediate_token: Some(token.uri(&format!("{label}-int"), "123456")),
        intermediate_seconds: 1200,
        ..CaOptions::default()
    };
    ca::init_with(&dir, &wanted, &options).unwrap();
    let path = |name: &str| dir.join(name).display().to_string();
    let said = openssl(&[
        "verify",
        "-x509_strict",
        "-check_ss_sig",
        "-CAfile",
        &path("root.pem"),
        &path("intermediate.pem"),
    ]);
    assert!(said.trim().ends_with(": OK"), "{said}");
    let text = fs::read_to_string(path("intermediate.key")).unwrap();
    assert!(text.starts_with("pkcs11:") && !text.contains("123456") || text.contains("pin-123456"));
    // Many at once.
    let messages: Vec<Vec<u8>> = (0..50_u8).map(|n| vec![n; 100]).collect();
    let signed = futures::future::join_all(messages.iter().map(|m| key.sign(m))).await;
    assert!(signed.iter().all(Result::is_ok));
}

fn refuses_what_does_not_fit(token: &Token) {
    let open = |uri: &Pkcs11Uri| Pkcs11Key::open(uri).unwrap_err();
    assert!(matches!(
        open(&token.uri("nothing", "123456")),
        Pkcs11Error::Objects { found: 0, .. }
    ));
    let elsewhere: Pkcs11Uri = token
        .uri("p256", "123456")
        .to_string()
        .replace("token=mesh", "token=other")
        .parse()
        .unwrap();
    assert!(matches!(open(&elsewhere), Pkcs11Error::NoToken { .. }));
    let no_module: Pkcs11Uri = token
        .uri("p256", "123456")
        .to_string()
        .replace("libsofthsm2", "libnothing")
        .parse()
        .unwrap();
    assert!(matches!(open(&no_module), Pkcs11Error::Module { .. }));
    let no_pin = token
        .uri("p256", "123456")
        .to_string()
        .replace("pin-123456", "pin-none");
    assert!(matches!(
        open(&no_pin.parse().unwrap()),
        Pkcs11Error::Pin(_)
    ));
}

async fn an_authority_serves_with_its_keys_in_the_token(token: &Token) {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    copy_folder(&token.path("ca-p256"), &data.join("ca"));
    let authority = Authority::start_in(dir, |settings| {
        settings.ca.reload_seconds = 1;
        settings.ca.announce_seconds = 0;
        settings.ca.intermediate_seconds = 1200;
        settings.ca.renew_before_seconds = Some(1170);
    })
    .await;
    let held = authority.agent(AGENT).await;
    let path = |name: &str| authority.dir.path().join(name).display().to_string();
    for (name, at) in [("leaf.pem", 0), ("int.pem", 1), ("root.pem", 2)] {
        fs::write(path(name), &held.chain[at]).unwrap();
    }
    let said = openssl(&[
        "verify",
        "-x509_strict",
        "-CAfile",
        &path("root.pem"),
        "-untrusted",
        &path("int.pem"),
        &path("leaf.pem"),
    ]);
    assert!(said.trim().ends_with(": OK"), "{said}");
    let report = authority.running.ca().borrow().clone();
    assert_eq!(report.custody, "PKCS#11 token \"mesh\", key \"p256-int\"");
    // The next intermediate's key is made in the token, too, and signed by the root's there.
    authority.clock.advance(31);
    let mut watch = authority.running.ca();
    let renewed = watch.wait_for(|report| report.chain[0].subject.contains("G2"));
    let renewed = tokio::time::timeout(std::time::Duration::from_secs(30), renewed).await;
    let renewed = renewed.expect("renewed in time").unwrap().clone();
    assert!(
        renewed.custody.starts_with("PKCS#11 token \"mesh\""),
        "{}",
        renewed.custody
    );
    authority.agent(crate::support::OTHER_AGENT).await;
    authority.stop().await;
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
