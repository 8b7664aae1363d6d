//! Each command does what it says, in each output format.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::agents::Agent;
use crate::issued::{Received, openssl, openssl_accepts};
use crate::world::{AGENT, Authority, HTTPBIN, Home, SLEEP, any_port};

/// Issues to a folder of that name and says what is in it.
async fn issue(home: &Home, id: &str, name: &str) -> Received {
    let folder = home.path(name);
    let args = [
        "cert",
        "issue",
        id,
        "--ttl",
        "10m",
        "--out",
        folder.to_str().unwrap(),
    ];
    let said = home.run(args).await.done().stdout;
    let received = Received::of_files(&folder);
    assert!(
        said.contains(&received.serial) && said.contains(id),
        "{said}"
    );
    received
}

/// JSON and YAML say the same, and the table has all of `cells`.
async fn in_every_format(home: &Home, line: &str, cells: &[&str]) -> Value {
    let json = loop {
        let json = home.json(line).await;
        let yaml = home.line(&format!("{line} -o yaml")).await.done().yaml();
        // The deny list is signed anew from time to time: between two commands the answer may change.
        if json == home.json(line).await {
            assert_eq!(json, yaml, "{line}");
            break json;
        }
    };
    for line in [line, &format!("{line} -o table")] {
        let table = home.line(line).await.done().stdout;
        for cell in cells {
            assert!(table.contains(cell), "{cell} is not in:\n{table}");
        }
    }
    json
}

#[tokio::test]
async fn issued_files_are_what_openssl_accepts() {
    for algorithm in ["ecdsa-p256", "rsa2048"] {
        let home = Home::new();
        let serve = home.serve(any_port()).args(["--key-algorithm", algorithm]);
        let authority = Authority::start(&serve).await;
        let received = issue(&home, HTTPBIN, "httpbin").await;
        let folder = home.path("httpbin");
        openssl_accepts(&folder);
        let mode = |name: &str| {
            fs::metadata(folder.join(name))
                .unwrap()
                .permissions()
                .mode()
        };
        assert_eq!(mode("key.pem") & 0o777, 0o600);
        assert_eq!(mode("cert-chain.pem") & 0o777, 0o644);
        let root = fs::read(folder.join("root-cert.pem")).unwrap();
        assert_eq!(root, fs::read(home.data().join("bundle.pem")).unwrap());

        let chain = folder.join("cert-chain.pem");
        let show = ["x509", "-in", chain.to_str().unwrap(), "-noout"];
        let serial = openssl(&[&show[..], &["-serial"]].concat());
        assert_eq!(
            serial.trim().to_lowercase(),
            format!("serial={}", received.serial)
        );
        let names = openssl(&[&show[..], &["-ext", "subjectAltName"]].concat());
        assert!(names.contains("critical") && names.contains(&format!("URI:{HTTPBIN}")));
        authority.stop().await;
    }
}

#[tokio::test]
async fn certificates_are_listed_and_shown() {
    let home = Home::new();
    let _authority = home.authority().await;
    let httpbin = issue(&home, HTTPBIN, "httpbin").await;
    let sleep = issue(&home, SLEEP, "sleep").await;

    let cells = [
        &httpbin.serial,
        HTTPBIN,
        &sleep.serial,
        SLEEP,
        "active",
        "operator",
    ];
    let all = in_every_format(&home, "cert list", &cells).await;
    let serials: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["serial"])
        .collect();
    assert_eq!(
        serials[..2],
        [&json!(sleep.serial), &json!(httpbin.serial)],
        "newest first"
    );
    let own = &all.as_array().unwrap()[2];
    assert_eq!(
        own["spiffeId"],
        "spiffe://cluster.local/countersign/authority"
    );

    let of_one = in_every_format(&home, &format!("cert list --id {SLEEP}"), &[SLEEP]).await;
    assert_eq!(of_one.as_array().unwrap().len(), 1);
    assert_eq!(of_one[0]["sha256"], sleep.sha256.as_str());
    let life = of_one[0]["notAfter"].as_i64().unwrap() - of_one[0]["issuedAt"].as_i64().unwrap();
    assert_eq!(life, 600);
    assert_eq!(
        home.json("cert list --limit 1")
            .await
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(
        in_every_format(&home, "cert list --state revoked", &["SERIAL"]).await,
        json!([])
    );

    let line = format!("cert show {}", httpbin.serial);
    let shown = in_every_format(&home, &line, &[HTTPBIN, &httpbin.sha256, "BEGIN CERT"]).await;
    assert_eq!(Received::of_chain(shown["pem"].as_str().unwrap()), httpbin);
    // As openssl prints it.
    let colons = httpbin.serial_with_colons();
    assert_eq!(home.json(&format!("cert show {colons}")).await, shown);
}

#[tokio::test]
async fn certificates_are_suspended_resumed_and_revoked() {
    let home = Home::new();
    let _authority = home.authority().await;
    let one = issue(&home, HTTPBIN, "one").await;
    let two = issue(&home, HTTPBIN, "two").await;
    let other = issue(&home, SLEEP, "other").await;
    let state = async |of: &Received| {
        let shown = home.json(&format!("cert show {}", of.serial)).await;
        shown["state"].as_str().unwrap().to_owned()
    };
    let head = async || {
        home.json("ca status").await["denyList"]["sequence"]
            .as_u64()
            .unwrap()
    };

    let before = head().await;
    let suspend = format!("cert suspend --id {HTTPBIN} --reason incident-42 -o json");
    let changed = home.line(&suspend).await.done().json();
    assert_eq!(changed.as_array().unwrap().len(), 2);
    assert!(
        changed
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["state"] == "suspended")
    );
    assert!(head().await > before);
    assert_eq!(
        (state(&one).await, state(&other).await),
        ("suspended".into(), "active".into())
    );
    let listed = home.json("cert list --state suspended").await;
    assert_eq!(listed[0]["reason"], "incident-42");
    // None are issued to an identity that is suspended.
    let folder = home.path("three");
    let issue_more = ["cert", "issue", HTTPBIN, "--out", folder.to_str().unwrap()];
    home.run(issue_more).await.fails(&["identity_suspended"]);

    let said = home
        .line(&format!("cert resume --serial {}", one.serial))
        .await
        .done()
        .stdout;
    assert!(said.contains("1 changed; deny list "), "{said}");
    assert_eq!(
        (state(&one).await, state(&two).await),
        ("active".into(), "suspended".into())
    );

    home.line(&format!("cert revoke --sha256 {} --yes", two.sha256))
        .await
        .done();
    assert_eq!(state(&two).await, "revoked");
    let back = home
        .line(&format!("cert resume --serial {}", two.serial))
        .await;
    back.fails(&[&two.serial, "revoked, which is final"]);
    let again = home
        .line(&format!("cert suspend --serial {}", two.serial))
        .await;
    again.fails(&["revoked, which is final"]);
    home.line("cert suspend --serial 0a")
        .await
        .fails(&["no certificate matches"]);
    let status = in_every_format(&home, "ca status", &["1 revoked"]).await;
    assert_eq!(
        (&status["suspended"], &status["revoked"]),
        (&json!(0), &json!(1))
    );
}

#[tokio::test]
async fn revoking_without_yes_changes_nothing_and_says_what_it_would() {
    let home = Home::new();
    let _authority = home.authority().await;
    let one = issue(&home, HTTPBIN, "one").await;
    let two = issue(&home, HTTPBIN, "two").await;
    let other = issue(&home, SLEEP, "other").await;
    let before = home.json("cert list").await;
    // However somebody writes the number: the preview means what `--yes` would do.
    let colons = one.serial_with_colons();
    for (which, wanted) in [
        (format!("--id {HTTPBIN}"), vec![&two, &one]),
        (format!("--serial {}", one.serial), vec![&one]),
        (format!("--serial {colons}"), vec![&one]),
        (
            format!("--sha256 {}", other.sha256.to_uppercase()),
            vec![&other],
        ),
    ] {
        let outcome = home.line(&format!("cert revoke {which} -o json")).await;
        let count = format!("{} would be revoked", wanted.len());
        let outcome = outcome.fails(&[&count, "nothing was changed", "--yes"]);
        let shown = outcome.json();
        let shown: Vec<_> = shown
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["serial"])
            .collect();
        let wanted: Vec<_> = wanted.iter().map(|one| json!(one.serial)).collect();
        assert_eq!(shown, wanted.iter().collect::<Vec<_>>(), "{which}");
    }
    let none = home.line("cert revoke --serial 0a").await;
    none.fails(&["no certificate"]);
    assert_eq!(home.json("cert list").await, before);
}

#[tokio::test]
async fn entries_are_created_listed_and_deleted() {
    let home = Home::new();
    let _authority = home.authority().await;
    assert_eq!(
        in_every_format(&home, "entry list", &["SELECTORS"]).await,
        json!([])
    );
    let create = format!(
        "entry create --parent {AGENT} --id {HTTPBIN} --selector unix:uid:7 \
         --selector unix:path:/bin/envoy --ttl 90s"
    );
    let made = home.json(&create).await;
    let made = &made[0];
    assert_eq!(made["parentId"], AGENT);
    assert_eq!(made["spiffeId"], HTTPBIN);
    assert_eq!(made["ttlSeconds"], 90);
    assert_eq!(
        made["selectors"],
        json!(["unix:path:/bin/envoy", "unix:uid:7"])
    );
    home.line(&create)
        .await
        .fails(&["there is an entry with this"]);

    let id = made["id"].as_str().unwrap();
    let cells = [id, AGENT, HTTPBIN, "unix:uid:7", "1m 30s"];
    assert_eq!(&in_every_format(&home, "entry list", &cells).await[0], made);
    let said = home.line(&format!("entry delete {id}")).await.done().stdout;
    assert!(said.contains(id), "{said}");
    assert_eq!(home.json("entry list").await, json!([]));
    home.line(&format!("entry delete {id}"))
        .await
        .fails(&["no entry has this id"]);
}

#[tokio::test]
async fn the_status_of_the_authority() {
    let home = Home::new();
    let authority = home.authority().await;
    issue(&home, HTTPBIN, "httpbin").await;
    let address = authority.address.to_string();
    let cells = [
        "cluster.local",
        &address,
        "Countersign Root CA G1",
        "deny list",
    ];
    let status = in_every_format(&home, "ca status", &cells).await;
    assert_eq!(status["trustDomain"], "cluster.local");
    assert_eq!(status["listenAddress"], address);
    assert_eq!(
        status["certificates"], 3,
        "httpbin's, its own and its list key's"
    );
    let root = fs::read_to_string(home.data().join("bundle.pem")).unwrap();
    assert_eq!(status["root"]["pem"], root);
    let key = status["denyList"]["keys"][0].as_str().unwrap();
    assert!(key.starts_with("-----BEGIN PUBLIC KEY-----"), "{key}");
}

#[tokio::test]
async fn the_deny_lists_key_is_rotated_into_one_that_was_known_before() {
    let home = Home::new();
    let _authority = home.authority().await;
    let before = home.json("ca status").await["denyList"].clone();
    let rotated = home.json("ca rotate-list-key").await;
    assert_eq!(rotated["keys"][0], before["keys"][1]);
    assert_eq!(rotated["keys"][2], before["keys"][0]);
    let after = home.json("ca status").await["denyList"].clone();
    assert_eq!(after["keys"], rotated["keys"]);
    assert!(after["sequence"].as_u64() > before["sequence"].as_u64());
    let said = home.line("ca rotate-list-key").await.done().stdout;
    assert!(said.contains("signs now"), "{said}");
}

#[tokio::test]
async fn a_ca_is_made_once() {
    let home = Home::new();
    let data = home.data();
    let init = ["ca", "init", "--data-dir", data.to_str().unwrap()];
    let said = home.run(init).await.done().stdout;
    assert!(said.contains("made a root and an intermediate"), "{said}");
    let root = fs::read(data.join("ca/root.pem")).unwrap();
    let said = home.run(init).await.done().stdout;
    assert!(said.contains("it was left as it is"), "{said}");
    home.authority().await.stop().await;
    assert_eq!(fs::read(data.join("ca/root.pem")).unwrap(), root);
}

#[tokio::test]
async fn a_join_token_is_printed_once_and_is_never_an_argument() {
    let home = Home::new();
    let authority = home.authority().await;
    let made = home.run(["token", "create", AGENT]).await.done();
    let token = made.stdout.trim();
    assert!(
        token.len() >= 43 && !token.contains(char::is_whitespace),
        "{token}"
    );
    assert!(!made.stderr.contains(token));
    let other = home.run(["token", "create", AGENT]).await.done();
    assert_ne!(other.stdout.trim(), token);
    // The authority keeps a hash and logs nothing of it.
    for name in ["countersign.db", "countersign.db-wal"] {
        let bytes = fs::read(home.data().join(name)).unwrap();
        assert!(
            !bytes
                .windows(token.len())
                .any(|part| part == token.as_bytes()),
            "{name}"
        );
    }
    let log = fs::read_to_string(authority.child.stderr()).unwrap();
    assert!(!log.contains(token));

    for option in ["--join-token", "--token"] {
        let agent = home.agent_command(authority.address).args([option, token]);
        home.finish(agent)
            .await
            .misused(&["unexpected argument", option]);
    }
    home.write("token", token);
    let agent = Agent::start(&home.joining_agent(authority.address)).await;
    let arguments = fs::read(format!("/proc/{}/cmdline", agent.child.id())).unwrap();
    let arguments = String::from_utf8(arguments).unwrap();
    assert!(arguments.contains("--join-token-file") && !arguments.contains(token));
    let log = fs::read_to_string(agent.child.stderr()).unwrap();
    assert!(!log.contains(token));
    agent.stop().await;
}
