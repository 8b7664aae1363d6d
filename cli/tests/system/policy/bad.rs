//! Input that cannot be: what is wrong, where, and that all of it is told.

use std::fs;

use super::{DATA, EXAMPLE, WORKLOAD};
use crate::world::Home;

const COMMANDS: [&str; 5] = [
    "check FILE",
    "lint FILE",
    "test FILE",
    "explain FILE",
    "diff FILE FILE --tests FILE",
];

/// Runs every command on a file or folder.
async fn every(home: &Home, path: &str, parts: &[&str]) {
    for command in COMMANDS {
        let line = format!("policy {}", command.replace("FILE", path));
        let outcome = home.line(&line).await.fails(&[]);
        // Findings are what is printed by lint; elsewhere problems are the reason of a failure. Lines are wrapped.
        let said = [outcome.stdout.as_str(), &outcome.message()].concat();
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in parts {
            assert!(said.contains(part), "{part:?} is not said: {outcome:#?}");
        }
    }
}

#[tokio::test]
async fn files_that_are_no_policies_are_refused_by_every_command() {
    let home = Home::new();
    let file = |name: &str, content: &[u8]| {
        let path = home.write(name, content);
        path.to_str().unwrap().to_owned()
    };
    let empty = file("empty.yaml", b"");
    every(&home, &empty, &["empty.yaml"]).await;
    let bytes = file("bytes.yaml", b"a: 1\n\xff\xfe");
    every(&home, &bytes, &["bytes.yaml:2", "not UTF-8 at byte 5"]).await;
    let twice = file("twice.yaml", b"kind: A\nkind: B\n");
    every(
        &home,
        &twice,
        &["twice.yaml:2:1", "duplicate mapping key: kind"],
    )
    .await;
    let open = file("open.yaml", b"kind: [\n");
    every(&home, &open, &["open.yaml:"]).await;
    every(
        &home,
        "/nonexistent/gone.yaml",
        &["gone.yaml", "No such file"],
    )
    .await;
    let folder = home.path("folder");
    fs::create_dir(&folder).unwrap();
    every(
        &home,
        folder.to_str().unwrap(),
        &["folder", "holds no .yaml"],
    )
    .await;
    let huge = home.path("huge.yaml");
    // A hole: nothing of it is on the disk.
    fs::File::create(&huge).unwrap().set_len(1 << 32).unwrap();
    every(
        &home,
        huge.to_str().unwrap(),
        &["huge.yaml", "longer than 16777216 bytes"],
    )
    .await;
    let deep = file("deep.yaml", "[".repeat(100_000).as_bytes());
    every(&home, &deep, &["deep.yaml"]).await;
}

#[tokio::test]
async fn aliases_that_grow_without_end_are_refused() {
    let home = Home::new();
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        let list = vec![before; 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }
    let path = home.write("bomb.yaml", text);
    every(&home, path.to_str().unwrap(), &["bomb.yaml"]).await;
}

#[tokio::test]
async fn one_bad_file_hides_no_other() {
    let home = Home::new();
    home.write("a.yaml", [0xff]);
    home.write("b.yaml", "kind: [\n");
    home.write("c.yaml", "");
    let folder = home.path("none");
    fs::create_dir(&folder).unwrap();
    let names = ["a.yaml", "b.yaml", "c.yaml", "none", "gone.yaml"];
    let paths = names.map(|name| home.path(name).to_str().unwrap().to_owned());
    let line = format!("policy check {} {DATA}/bad.yaml", paths.join(" "));
    let outcome = home.line(&line).await;
    let parts = [
        names.as_slice(),
        &["bad.yaml:16:27", "12 problems in 6 files"],
    ]
    .concat();
    outcome.fails(&parts);
}

#[tokio::test]
async fn other_kinds_are_left_out_only_when_told() {
    let home = Home::new();
    let good = fs::read_to_string(format!("{EXAMPLE}/policies/orders.yaml")).unwrap();
    let other = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: api, namespace: shop}\n";
    let mixed = home.write("mixed.yaml", format!("{other}---\n{good}"));
    let mixed = mixed.to_str().unwrap();
    let refused = home.run(["policy", "check", mixed]).await;
    refused.fails(&[
        "mixed.yaml:2:1",
        "Deployment shop/api",
        "PeerAuthentication",
    ]);
    let skipped = home
        .run(["policy", "check", "--skip-other-kinds", mixed])
        .await
        .done();
    assert!(
        skipped
            .stdout
            .contains("1 policy compiles; 1 resources of other kinds left out"),
        "{skipped:?}"
    );
    // A misspelt kind of Istio's is no other kind.
    let wrong = home.write("wrong.yaml", good.replace("kind: Auth", "kind: Oath"));
    let refused = home
        .run([
            "policy",
            "check",
            "--skip-other-kinds",
            wrong.to_str().unwrap(),
        ])
        .await;
    refused.fails(&["Oathorization"]);
    // Nothing but other kinds is no policy.
    let others = home.write("others.yaml", other);
    let refused = home
        .run([
            "policy",
            "check",
            "--skip-other-kinds",
            others.to_str().unwrap(),
        ])
        .await;
    refused.fails(&["holds no policy", "1 resources of other kinds"]);
}

#[tokio::test]
async fn requests_that_cannot_be_are_refused() {
    let home = Home::new();
    let explain = format!("policy explain {EXAMPLE}/policies {WORKLOAD}");
    let refused = async |more: &str, parts: &[&str]| {
        home.line(&format!("{explain} {more}")).await.fails(parts);
    };
    refused("--request /nonexistent", &["/nonexistent", "No such file"]).await;
    refused("--claims /nonexistent", &["/nonexistent", "No such file"]).await;
    refused(
        "--certificate /nonexistent",
        &["/nonexistent", "No such file"],
    )
    .await;
    refused("--time noon", &["--time", "noon"]).await;
    let unknown = home.write("unknown.yaml", "peer: plaintext\nverb: GET\n");
    let unknown = unknown.to_str().unwrap();
    refused(
        &format!("--request {unknown}"),
        &["unknown.yaml:2:1", "verb", "`method`"],
    )
    .await;
    let named = home.write("named.yaml", "name: a\n");
    let named = named.to_str().unwrap();
    refused(
        &format!("--request {named}"),
        &["named.yaml:1:1", "only in a test"],
    )
    .await;
    let list = home.write("list.yaml", "- a\n");
    refused(
        &format!("--request {}", list.display()),
        &["list.yaml:1:1", "not a request"],
    )
    .await;
    for (more, part) in [
        (
            "--peer nobody",
            "SPIFFE ID, plaintext or certificate-missing",
        ),
        ("--port 70000", "70000"),
        ("--source-ip here", "here"),
        ("-H name", "NAME=VALUE"),
        ("-l app", "NAME=VALUE"),
        ("--target web", "KIND/NAMESPACE/NAME"),
        ("--trust-domain A/b", "--trust-domain"),
    ] {
        home.line(&format!("{explain} {more}"))
            .await
            .misused(&[part]);
    }
}

#[tokio::test]
async fn what_is_needed_must_be_named() {
    let home = Home::new();
    for command in ["check", "lint", "test", "explain"] {
        let outcome = home.line(&format!("policy {command}")).await;
        outcome.misused(&["<PATH>"]);
    }
    let outcome = home.line("policy diff a b").await;
    outcome.misused(&["--decision-log", "--tests"]);
}

#[tokio::test]
async fn a_folder_of_policies_holds_no_tests() {
    let home = Home::new();
    let outcome = home.line(&format!("policy test {EXAMPLE}/policies")).await;
    outcome.fails(&["no test among these files"]);
    let outcome = home
        .line(&format!(
            "policy test {EXAMPLE}/tests --only nothing-like-it"
        ))
        .await;
    outcome.fails(&["no case has \"nothing-like-it\""]);
    // Named, a file is taken as a test whatever is in it.
    let outcome = home
        .line(&format!("policy test {EXAMPLE}/policies/orders.yaml"))
        .await;
    outcome.fails(&["orders.yaml"]);
}
