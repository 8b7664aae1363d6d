//! Taking over a CA that OpenSSL made, and giving one away that OpenSSL accepts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use authority::ca::export::{Export, ExportError, ExportOptions};
use authority::ca::import::{Files, Import, ImportError, Layout};
use authority::ca::{self, Passphrase, PassphraseSource, PathError, Weakness};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::support::{AGENT, Authority, real_now};
use crate::verifiers::openssl;

const NONE: PassphraseSource = PassphraseSource::None;

/// A folder in which OpenSSL makes CAs.
struct Openssl(TempDir);

impl Openssl {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn run(&self, arguments: &str) {
        let arguments: Vec<String> = arguments
            .split_whitespace()
            .map(|word| match word.strip_prefix('@') {
                Some(name) => self.text(name),
                None => word.replace('~', " "),
            })
            .collect();
        openssl(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// A root with the extensions given.
    fn root(&self, name: &str, options: &str, extensions: &str) {
        let config = format!(
            "[req]\ndistinguished_name = dn\nx509_extensions = v3\nprompt = no\n[dn]\nO = Test\nCN = {name}\n[v3]\n{extensions}\n"
        );
        fs::write(self.path(&format!("{name}.conf")), config).unwrap();
        self.run(&format!(
            "req -x509 -new -key @{name}.key -config @{name}.conf -out @{name}.pem {options}"
        ));
    }

    fn key(&self, name: &str) {
        self.run(&format!(
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out @{name}.key"
        ));
    }

    /// A certificate below `issuer`.
    fn below(&self, issuer: &str, name: &str, options: &str, extensions: &str) {
        self.run(&format!(
            "req -new -key @{name}.key -subj /O=Test/CN={name} -out @{name}.csr"
        ));
        fs::write(self.path(&format!("{name}.ext")), extensions).unwrap();
        self.run(&format!(
            "x509 -req -in @{name}.csr -CA @{issuer}.pem -CAkey @{issuer}.key -CAcreateserial -days 365 -extfile @{name}.ext -out @{name}.pem {options}"
        ));
    }

    /// A `cacerts` folder of `below` and those above it.
    fn cacerts(&self, below: &str, chain: &[&str], root: &str) -> PathBuf {
        let folder = self.path(&format!("cacerts-{below}"));
        fs::create_dir(&folder).unwrap();
        let read = |name: &str| fs::read_to_string(self.path(name)).unwrap();
        let pem = |name: &str| read(&format!("{name}.pem"));
        let chain: String = chain.iter().map(|name| pem(name)).collect();
        for (name, text) in [
            ("ca-cert.pem", pem(below)),
            ("ca-key.pem", read(&format!("{below}.key"))),
            ("cert-chain.pem", chain),
            ("root-cert.pem", pem(root)),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }
        folder
    }

    fn import(&self, folder: &Path) -> Result<Import, ImportError> {
        Import::check(&Files::read(folder)?, &NONE, real_now())
    }

    fn parts(&self, name: &str) -> Result<Import, ImportError> {
        let files = Files::of_parts(
            &self.path(&format!("{name}.pem")),
            &self.path(&format!("{name}.key")),
            None,
            None,
        )?;
        Import::check(&files, &NONE, real_now())
    }
}

const ROOT: &str = "basicConstraints = critical,CA:true\nkeyUsage = critical,keyCertSign,cRLSign\nsubjectKeyIdentifier = hash";
const INTERMEDIATE: &str = "basicConstraints = critical,CA:true,pathlen:0\nkeyUsage = critical,keyCertSign,cRLSign\nsubjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid";

/// A root `top`, and `mid` and `low` below it, each of its own key.
fn three() -> Openssl {
    let made = Openssl::new();
    for name in ["top", "mid", "low"] {
        made.key(name);
    }
    made.root("top", "-days 3650", ROOT);
    made.below(
        "top",
        "mid",
        "",
        &INTERMEDIATE.replace("pathlen:0", "pathlen:1"),
    );
    made.below("mid", "low", "", INTERMEDIATE);
    made
}

fn trust_domain() -> identity::TrustDomain {
    "cluster.local".parse().unwrap()
}

/// Starts an authority on an imported CA and has OpenSSL verify what it issues.
async fn issues_what_openssl_verifies(import: &Import, passphrase: Option<&str>) -> TempDir {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    let now = real_now();
    let typed =
        passphrase.map(|text| Passphrase::new(Zeroizing::new(text.as_bytes().to_vec())).unwrap());
    let folder = data.join("ca");
    import
        .install(&folder, &trust_domain(), typed.as_ref(), now)
        .unwrap();
    let again = import.install(&folder, &trust_domain(), typed.as_ref(), now);
    assert!(
        matches!(again, Err(ImportError::Exists { .. })),
        "{again:?}"
    );

    let authority = Authority::start_in(dir, |settings| {
        settings.ca.passphrase = typed.map_or(NONE, PassphraseSource::Typed);
    })
    .await;
    let held = authority.agent(AGENT).await;
    let path = |name: &str| authority.dir.path().join(name).display().to_string();
    let (leaf, rest) = held.chain.split_first().unwrap();
    let (root, middle) = rest.split_last().unwrap();
    fs::write(path("leaf.pem"), leaf).unwrap();
    fs::write(path("middle.pem"), middle.concat()).unwrap();
    fs::write(path("root.pem"), root).unwrap();
    let said = openssl(&[
        "verify",
        "-x509_strict",
        "-purpose",
        "sslserver",
        "-CAfile",
        &path("root.pem"),
        "-untrusted",
        &path("middle.pem"),
        &path("leaf.pem"),
    ]);
    assert!(said.trim().ends_with(": OK"), "{said}");
    authority.stop().await
}

#[tokio::test]
async fn a_root_as_the_tutorials_make_it_is_taken_over_with_an_intermediate_below() {
    let made = Openssl::new();
    made.run("genrsa -out @root.key 2048");
    // Key usage without cRLSign, RSA key in PKCS#8, one year: as `openssl req -x509 -days 365` has it.
    let config = "[req]\ndefault_bits = 2048\nprompt = no\ndistinguished_name = req_dn\nreq_extensions = req_ext\nx509_extensions = req_ext\n\
        [req_ext]\nsubjectKeyIdentifier = hash\nbasicConstraints = critical, CA:true\n\
        keyUsage = critical, digitalSignature, nonRepudiation, keyEncipherment, keyCertSign\n\
        [req_dn]\nO = Istio\nCN = Root CA\n";
    fs::write(made.path("ca.conf"), config).unwrap();
    made.run("req -x509 -new -nodes -key @root.key -config @ca.conf -days 365 -out @root.pem");
    let import = made.parts("root").unwrap();
    assert!(import.is_root());
    let dir = issues_what_openssl_verifies(&import, None).await;
    // No cRLSign: a list by this root would be refused, and a bundle without it refuses everybody.
    let options = ExportOptions {
        with_key: true,
        crl_seconds: 86_400,
    };
    let folder = dir.path().join("data/ca");
    let export = Export::prepare(&folder, &NONE, &options, real_now())
        .await
        .unwrap();
    assert_eq!(export.without_crl(), ["CN=Root CA,O=Istio"]);
    assert!(
        export
            .files()
            .iter()
            .all(|(name, ..)| *name != "ca-crl.pem")
    );
}

#[tokio::test]
async fn a_cacerts_folder_goes_in_and_out_and_openssl_accepts_both() {
    let made = three();
    let folder = made.cacerts("low", &["low", "mid", "top"], "top");
    let import = made.import(&folder).unwrap();
    assert_eq!(import.layout(), Layout::Cacerts);
    let subjects: Vec<_> = import
        .chain()
        .iter()
        .map(|ca| ca.subject().to_owned())
        .collect();
    assert_eq!(
        subjects,
        ["CN=low,O=Test", "CN=mid,O=Test", "CN=top,O=Test"]
    );
    let passphrase = "an imported key's words";
    let dir = issues_what_openssl_verifies(&import, Some(passphrase)).await;
    let ca_folder = dir.path().join("data/ca");
    let key = fs::read_to_string(ca_folder.join("intermediate.key")).unwrap();
    assert!(
        key.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"),
        "{key}"
    );

    // Out again: without the keys of the upper CAs there can be no lists of theirs.
    let typed = Passphrase::new(Zeroizing::new(passphrase.as_bytes().to_vec())).unwrap();
    let source = PassphraseSource::Typed(typed);
    let options = ExportOptions {
        with_key: true,
        crl_seconds: 86_400,
    };
    let export = Export::prepare(&ca_folder, &source, &options, real_now())
        .await
        .unwrap();
    assert_eq!(export.without_crl(), ["CN=mid,O=Test", "CN=top,O=Test"]);
    let out = dir.path().join("out");
    export.write(&out).unwrap();
    assert!(matches!(
        export.write(&out),
        Err(ExportError::Exists { .. })
    ));
    let mode = |name: &str| fs::metadata(out.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("ca-key.pem"), 0o600);
    assert_eq!(mode("ca-cert.pem"), 0o644);
    assert!(!out.join("ca-crl.pem").exists());
    // What went out goes in.
    let again = made.import(&out).unwrap();
    assert_eq!(again.chain(), import.chain());
    let public = |file: &Path| openssl(&["pkey", "-pubout", "-in", &file.display().to_string()]);
    assert_eq!(
        public(&out.join("ca-key.pem")),
        public(&folder.join("ca-key.pem"))
    );
}

#[tokio::test]
async fn lists_for_every_ca_of_our_own_chain_satisfy_crl_check_all() {
    let authority = Authority::start().await;
    let held = authority.agent(AGENT).await;
    let now = authority.now();
    let dir = authority.stop().await;
    let options = ExportOptions {
        with_key: true,
        crl_seconds: 86_400,
    };
    let export = Export::prepare(&dir.path().join("data/ca"), &NONE, &options, now)
        .await
        .unwrap();
    assert!(export.without_crl().is_empty());
    let out = dir.path().join("out");
    export.write(&out).unwrap();
    let path = |name: &str| out.join(name).display().to_string();
    fs::write(path("leaf.pem"), &held.chain[0]).unwrap();
    let said = openssl(&[
        "verify",
        "-x509_strict",
        "-crl_check_all",
        "-CRLfile",
        &path("ca-crl.pem"),
        "-CAfile",
        &path("root-cert.pem"),
        "-untrusted",
        &path("cert-chain.pem"),
        &path("leaf.pem"),
    ]);
    assert!(said.trim().ends_with(": OK"), "{said}");
    assert_eq!(said_lists(&path("ca-crl.pem")), 2);
}

fn said_lists(path: &str) -> usize {
    fs::read_to_string(path)
        .unwrap()
        .matches("BEGIN X509 CRL")
        .count()
}

#[test]
fn keys_as_openssl_writes_them_are_read() {
    let made = Openssl::new();
    made.run("ecparam -name prime256v1 -genkey -out @sec1.key");
    made.run("genrsa -traditional -out @pkcs1.key 2048");
    made.run("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out @p384.key");
    for name in ["sec1", "pkcs1", "p384"] {
        made.root(name, "-days 30", ROOT);
        assert!(made.parts(name).unwrap().is_root(), "{name}");
    }
    // What OpenSSL encrypts we read; what we encrypt OpenSSL reads.
    fs::write(made.path("words"), "several secret words").unwrap();
    fs::set_permissions(made.path("words"), fs::Permissions::from_mode(0o600)).unwrap();
    let source = PassphraseSource::File(made.path("words"));
    let scrypt = "-scrypt";
    for kind in [
        scrypt,
        "-v2~aes-256-cbc",
        "-v2~aes-128-cbc~-v2prf~hmacWithSHA512",
    ] {
        let kind = kind.replace('~', " ");
        made.run(&format!(
            "pkcs8 -topk8 -in @sec1.key -out @sealed.key -passout file:{} {kind}",
            made.text("words")
        ));
        fs::copy(made.path("sec1.pem"), made.path("sealed.pem")).unwrap();
        let (certificate, key) = (made.path("sealed.pem"), made.path("sealed.key"));
        let files = Files::of_parts(&certificate, &key, None, None).unwrap();
        Import::check(&files, &source, real_now()).unwrap();
        match Import::check(&files, &NONE, real_now()) {
            Err(ImportError::Key {
                file: "ca-key.pem",
                source: ca::CaKeyError::NoPassphrase,
            }) => {}
            other => panic!("{other:?}"),
        }
    }
    let key = ca::FileKey::generate(ca::KeyAlgorithm::EcdsaP256).unwrap();
    let sealed = key.to_pem(source.get().unwrap().as_ref()).unwrap();
    fs::write(made.path("ours.key"), sealed.as_bytes()).unwrap();
    made.run(&format!(
        "pkey -in @ours.key -noout -passin file:{}",
        made.text("words")
    ));
}

#[test]
fn each_fault_of_a_root_is_refused_by_its_name() {
    let made = Openssl::new();
    let weak = |result: Result<Import, ImportError>| match result {
        Err(ImportError::Weak { weakness, .. }) => weakness,
        other => panic!("{other:?}"),
    };
    for (digest, name) in [("md5", "MD5"), ("sha1", "SHA-1")] {
        made.run(&format!("genrsa -out @{digest}.key 2048"));
        made.root(digest, &format!("-days 30 -{digest}"), ROOT);
        assert_eq!(weak(made.parts(digest)), Weakness::Digest { name });
    }
    made.run("genrsa -out @short.key 1024");
    made.root("short", "-days 30", ROOT);
    assert_eq!(weak(made.parts("short")), Weakness::ShortRsa { bits: 1024 });
    made.run("genpkey -algorithm ED25519 -out @ed.key");
    made.root("ed", "-days 30", ROOT);
    assert!(matches!(
        weak(made.parts("ed")),
        Weakness::UnknownKey { .. }
    ));

    made.key("leaf");
    made.root("leaf", "-days 30", &ROOT.replace("CA:true", "CA:false"));
    assert!(matches!(
        made.parts("leaf"),
        Err(ImportError::NotCa {
            problem: "its basic constraints say CA:false",
            ..
        })
    ));
    made.key("nosign");
    made.root("nosign", "-days 30", &ROOT.replace("keyCertSign,", ""));
    assert!(matches!(
        made.parts("nosign"),
        Err(ImportError::NotCa {
            problem: "its key usage lacks keyCertSign",
            ..
        })
    ));
    made.key("tight");
    made.root(
        "tight",
        "-days 30",
        &ROOT.replace("CA:true", "CA:true,pathlen:0"),
    );
    assert!(matches!(
        made.parts("tight"),
        Err(ImportError::Path(PathError::PathTooLong {
            limit: 0,
            found: 1,
            ..
        }))
    ));
    made.key("mail");
    made.root(
        "mail",
        "-days 30",
        &format!("{ROOT}\nextendedKeyUsage = emailProtection"),
    );
    assert!(matches!(
        made.parts("mail"),
        Err(ImportError::Path(PathError::NotForTls { .. }))
    ));
    made.key("good");
    made.root("good", "-days 30", ROOT);
    made.key("other");
    fs::copy(made.path("good.pem"), made.path("other.pem")).unwrap();
    assert!(matches!(
        made.parts("other"),
        Err(ImportError::KeyMismatch { .. })
    ));
    // Expired, and not yet valid: by the clock.
    let files =
        Files::of_parts(&made.path("good.pem"), &made.path("good.key"), None, None).unwrap();
    for days in [31, -1] {
        let then = real_now().plus_secs(days * 86_400).unwrap();
        assert!(matches!(
            Import::check(&files, &NONE, then),
            Err(ImportError::NotValidNow { .. })
        ));
    }
    // What is given as a root must have signed itself.
    let three = three();
    assert!(matches!(
        three.parts("mid"),
        Err(ImportError::NotSelfSigned { .. })
    ));
}

#[test]
fn a_folder_that_is_incomplete_or_does_not_fit_is_refused() {
    let made = three();
    let whole = made.cacerts("low", &["low", "mid"], "top");
    for missing in [
        "ca-cert.pem",
        "ca-key.pem",
        "cert-chain.pem",
        "root-cert.pem",
    ] {
        let aside = whole.join("aside");
        fs::rename(whole.join(missing), &aside).unwrap();
        match made.import(&whole) {
            Err(ImportError::Incomplete { missing: said, .. }) => assert_eq!(said, missing),
            other => panic!("{other:?}"),
        }
        fs::rename(&aside, whole.join(missing)).unwrap();
    }
    made.import(&whole).unwrap();
    let chain = whole.join("cert-chain.pem");
    let low = fs::read_to_string(made.path("low.pem")).unwrap();
    fs::write(&chain, &low).unwrap();
    assert!(matches!(
        made.import(&whole),
        Err(ImportError::BrokenChain { .. })
    ));
    let stranger = three();
    let foreign = fs::read_to_string(stranger.path("mid.pem")).unwrap();
    let mid = fs::read_to_string(made.path("mid.pem")).unwrap();
    fs::write(&chain, format!("{low}{mid}{foreign}")).unwrap();
    assert!(matches!(
        made.import(&whole),
        Err(ImportError::Stray { .. })
    ));
    fs::write(&chain, format!("{low}{mid}")).unwrap();
    let root = whole.join("root-cert.pem");
    let top = fs::read_to_string(made.path("top.pem")).unwrap();
    let other = fs::read_to_string(stranger.path("top.pem")).unwrap();
    fs::write(&root, format!("{top}{other}")).unwrap();
    assert!(matches!(
        made.import(&whole),
        Err(ImportError::SeveralRoots { found: 2, .. })
    ));
    // The same root twice is how Istio changes bytes without changing trust.
    fs::write(&root, format!("{top}{top}")).unwrap();
    made.import(&whole).unwrap();
    fs::write(&root, other).unwrap();
    assert!(matches!(
        made.import(&whole),
        Err(ImportError::BrokenChain { .. })
    ));
    fs::write(&root, top).unwrap();
    // Truncated, hostile, huge.
    for bytes in [Vec::new(), low.as_bytes()[..200].to_vec(), vec![0xff; 100]] {
        fs::write(&chain, bytes).unwrap();
        assert!(matches!(
            made.import(&whole),
            Err(ImportError::NotCa { .. })
        ));
    }
    fs::write(&chain, vec![b'A'; (1 << 20) + 1]).unwrap();
    assert!(matches!(
        made.import(&whole),
        Err(ImportError::TooLarge { .. })
    ));
    assert!(matches!(
        made.import(&made.path("nowhere")),
        Err(ImportError::Read { .. })
    ));
    let empty = TempDir::new().unwrap();
    assert!(matches!(
        made.import(empty.path()),
        Err(ImportError::Incomplete { .. })
    ));
}

#[test]
fn a_secret_is_read_like_its_folder() {
    use base64::Engine as _;
    let made = three();
    let folder = made.cacerts("low", &["low", "mid"], "top");
    let encode = |bytes: Vec<u8>| base64::engine::general_purpose::STANDARD.encode(bytes);
    let read = |name: &str| encode(fs::read(folder.join(name)).unwrap());
    let mut data: std::collections::BTreeMap<_, _> = [
        "ca-cert.pem",
        "ca-key.pem",
        "cert-chain.pem",
        "root-cert.pem",
    ]
    .map(|name| (name.to_owned(), read(name)))
    .into();
    let check = |data: &_| Import::check(&Files::of_secret(data)?, &NONE, real_now());
    assert_eq!(check(&data).unwrap().chain().len(), 3);
    let tls = std::collections::BTreeMap::from([
        (
            "tls.crt".to_owned(),
            encode(
                [
                    fs::read(made.path("low.pem")).unwrap(),
                    fs::read(made.path("mid.pem")).unwrap(),
                ]
                .concat(),
            ),
        ),
        ("tls.key".to_owned(), read("ca-key.pem")),
        ("ca.crt".to_owned(), read("root-cert.pem")),
    ]);
    let import = check(&tls).unwrap();
    assert_eq!(
        (import.layout(), import.chain().len()),
        (Layout::KubernetesTls, 3)
    );
    data.insert("ca-key.pem".to_owned(), "%%%".to_owned());
    assert!(matches!(check(&data), Err(ImportError::NotBase64 { .. })));
}
