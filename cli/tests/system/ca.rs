//! `countersign ca`, as an operator types it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::world::{AGENT, Home};

/// Writes a passphrase file.
fn words(home: &Home, name: &str, text: &str) -> String {
    let path = home.write(name, text);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn keys_are_encrypted_and_an_authority_needs_the_passphrase() {
    let home = Home::new();
    let data = home.data().display().to_string();
    let right = words(&home, "right", "the right passphrase\n");
    let wrong = words(&home, "wrong", "the wrong passphrase\n");
    let short = words(&home, "short", "tiny\n");
    home.line(&format!(
        "ca init --data-dir {data} --trust-domain cluster.local --name Mesh --organization Acme"
    ))
    .await
    .done();
    home.line(&format!(
        "ca encrypt-keys --data-dir {data} --key-passphrase-file {short}"
    ))
    .await
    .fails(&["4 bytes", "12"]);
    let said = home
        .line(&format!(
            "ca encrypt-keys --data-dir {data} --key-passphrase-file {right}"
        ))
        .await
        .done()
        .stdout;
    assert_eq!(said.matches(": encrypted").count(), 2, "{said}");
    for key in ["root.key", "intermediate.key"] {
        let text = fs::read_to_string(home.data().join("ca").join(key)).unwrap();
        assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    }
    let serve = || home.serve(crate::world::any_port());
    let key = home
        .data()
        .join("ca/intermediate.key")
        .display()
        .to_string();
    home.finish(serve())
        .await
        .fails(&[&key, "no passphrase is given"]);
    home.finish(serve().args(["--key-passphrase-file", &wrong]))
        .await
        .fails(&[&key, "the passphrase does not open the key"]);
    let authority =
        crate::world::Authority::start(&serve().args(["--key-passphrase-file", &right])).await;
    let status = home.json("ca status").await;
    assert_eq!(status["ca"]["custody"], "encrypted file");
    assert_eq!(
        status["intermediate"]["subject"],
        "CN=Mesh Intermediate CA G1,O=Acme"
    );
    let table = home.line("ca status").await.done().stdout;
    for part in [
        "encrypted file",
        "the root's key on this machine",
        "due in 24",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    authority.stop().await;
    let offline = home
        .line(&format!(
            "ca status --offline {data} --key-passphrase-file {right} -o yaml"
        ))
        .await
        .done()
        .yaml();
    assert_eq!(offline["chain"][1]["subject"], "CN=Mesh Root CA G1,O=Acme");
}

#[tokio::test]
async fn a_ceremony_goes_out_and_comes_back() {
    let home = Home::new();
    let data = home.data().display().to_string();
    let path = |name: &str| home.path(name).display().to_string();
    let offline = path("offline");
    home.line(&format!(
        "ca init --data-dir {offline} --trust-domain cluster.local"
    ))
    .await
    .done();
    let request = path("request.csr");
    home.line(&format!(
        "ca ceremony start --data-dir {data} --request {request}"
    ))
    .await
    .done();
    // Nobody is there to ask, and nothing is signed unasked.
    let sign = format!(
        "ca ceremony sign {request} --root-cert {offline}/ca/root.pem --root-key {offline}/ca/root.key --witness Ada --out {}",
        path("signed")
    );
    home.line(&sign).await.fails(&["--yes"]);
    assert!(!home.path("signed").exists());
    let said = home.line(&format!("{sign} --yes")).await.done().stdout;
    for part in [
        "CN=Countersign Intermediate CA G1,O=cluster.local",
        "Ada",
        "path length",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let transcript = home.path("signed/transcript.json");
    let verify = format!(
        "ca ceremony verify {} --root-cert {offline}/ca/root.pem",
        transcript.display()
    );
    let statement = home.json(&verify).await;
    assert_eq!(statement["witnesses"][0], "Ada");
    let text = fs::read_to_string(&transcript).unwrap();
    fs::write(&transcript, text.replace("Ada", "Eve")).unwrap();
    home.line(&verify).await.fails(&["not signed by the root"]);
    let finish = format!("ca ceremony finish {} --data-dir {data}", path("signed"));
    home.line(&finish).await.fails(&["not signed by the root"]);
    fs::write(&transcript, text).unwrap();
    home.line(&finish).await.done();
    let authority = home.authority().await;
    let status = home.json("ca status").await;
    assert_eq!(status["ca"]["rootCustody"], "not on this machine");
    home.line(&format!("token create {AGENT}")).await.done();
    authority.stop().await;
}

#[tokio::test]
async fn intermediates_go_to_other_clusters_and_cacerts_go_both_ways() {
    let home = Home::new();
    let data = home.data().display().to_string();
    let path = |name: &str| home.path(name).display().to_string();
    home.line(&format!(
        "ca init --data-dir {data} --trust-domain example.org"
    ))
    .await
    .done();
    let east = path("east");
    let sign = format!("ca intermediate --data-dir {data} --cluster east --out {east}");
    let said = home
        .line(&format!("{sign} --dry-run --permit-uri-host example.org"))
        .await
        .done()
        .stdout;
    assert!(
        said.contains("would sign CN=east Intermediate CA G1,O=example.org"),
        "{said}"
    );
    assert!(!home.path("east").exists());
    home.line(&format!("{sign} --path-length 1"))
        .await
        .fails(&["path length", "at most 0"]);
    home.line(&format!("{sign} --permit-uri-host other.org"))
        .await
        .fails(&["does not permit"]);
    home.line(&format!("{sign} --permit-uri-host my_td.org"))
        .await
        .fails(&["underscore"]);
    home.line(&sign).await.done();
    assert!(!home.path("east/root.key").exists());
    home.line(&sign).await.fails(&["exists already"]);

    let cacerts = path("cacerts");
    let export = format!("ca export {cacerts} --ca {east}");
    let outcome = home.line(&format!("{export} --dry-run")).await.done();
    assert!(outcome.stdout.contains("would write") && !home.path("cacerts").exists());
    let outcome = home.line(&export).await.done();
    assert!(
        outcome.stderr.contains("no ca-crl.pem"),
        "{}",
        outcome.stderr
    );
    let other = path("other");
    let import = format!("ca import {cacerts} --data-dir {other}");
    let said = home
        .line(&format!("{import} --dry-run"))
        .await
        .done()
        .stdout;
    assert!(
        said.contains("signs leaves: CN=east") && !home.path("other").exists(),
        "{said}"
    );
    home.line(&import).await.done();
    home.line(&import).await.fails(&["there is a CA in"]);
    fs::remove_file(home.path("cacerts/cert-chain.pem")).unwrap();
    home.line(&format!("ca import {cacerts} --data-dir {}", path("third")))
        .await
        .fails(&["incomplete", "cert-chain.pem is missing"]);
    // A secret that is none does not show what is in it.
    let secret = home.write(
        "secret.yaml",
        "kind: Secret\ndata:\n  ca-key.pem: [c2VjcmV0]\n",
    );
    home.line(&format!("ca import --secret {}", secret.display()))
        .await
        .fails(&["is not a Kubernetes Secret"]);
    home.line("ca import").await.misused(&["FOLDER"]);
}
