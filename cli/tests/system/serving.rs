//! Administration over the network, metrics and doctor, as an operator uses them.

use lab::http::{self, Target};

use crate::world::{Authority, Home, any_port};

const ALICE: &str = "spiffe://cluster.local/ops/alice";
const BOB: &str = "spiffe://cluster.local/ops/view/bob";

/// A certificate in a folder, and the arguments that use it.
async fn certificate(home: &Home, server: &str, id: &str, name: &str) -> String {
    let out = home.path(name);
    let out = out.display();
    home.line(&format!("cert issue {id} --ttl 10m --out {out}"))
        .await
        .done();
    format!(
        "--server {server} --cert {out}/cert-chain.pem --key {out}/key.pem --ca {out}/root-cert.pem"
    )
}

#[tokio::test]
async fn commands_work_over_the_network_with_the_role_of_the_certificate() {
    let home = Home::new();
    let serve = home
        .serve(any_port())
        .args([
            "--admin-listen",
            "127.0.0.1:0",
            "--metrics-listen",
            "127.0.0.1:0",
        ])
        .args(["--admin-operator", ALICE])
        .args(["--admin-viewer", "spiffe://cluster.local/ops/view/*"]);
    let authority = Authority::start(&serve).await;
    let event = &authority.event;
    let server = event["adminAddress"].as_str().unwrap();
    let alice = certificate(&home, server, ALICE, "alice").await;
    let bob = certificate(&home, server, BOB, "bob").await;
    let nobody = certificate(&home, server, "spiffe://cluster.local/web", "web").await;

    for who in [&alice, &bob] {
        let status = home.json(&format!("ca status {who}")).await;
        assert_eq!(status["trustDomain"], "cluster.local");
    }
    let refused = home.line(&format!("ca status {nobody}")).await;
    refused.fails(&["your role does not allow this call (PermissionDenied)"]);
    let create = "token create spiffe://cluster.local/countersign/agent/one";
    home.line(&format!("{create} {bob}"))
        .await
        .fails(&["PermissionDenied"]);
    home.line(&format!("{create} {alice}")).await.done();

    // What needs the one needs the others.
    let lone = home.line(&format!("ca status --server {server}")).await;
    lone.misused(&["--cert <FILE>", "--key <FILE>", "--ca <FILE>"]);

    let metrics = event["metrics"].as_str().unwrap().parse().unwrap();
    let told = http::get(&Target::Tcp(metrics), "/metrics").await.unwrap();
    let text = told.text();
    assert!(
        text.contains("countersign_admin_calls_total{role=\"viewer\",outcome=\"refused\"} 1"),
        "{text}"
    );
    let ready = http::get(&Target::Tcp(metrics), "/readyz").await.unwrap();
    assert_eq!(ready.status, 200, "{}", ready.text());
}

#[tokio::test]
async fn doctor_examines_the_authority_over_the_socket_and_exits_by_what_it_finds() {
    let home = Home::new();
    let _authority = home.authority().await;
    // A new authority has its root's key beside it, which is worth a warning.
    let said = home
        .line("doctor --authority")
        .await
        .fails(&["1 condition needs attention"])
        .stdout;
    assert!(said.contains("warning: root_key_online: "), "{said}");
    assert!(said.contains("move it off this machine"), "{said}");
    std::fs::remove_file(home.data().join("ca/root.key")).unwrap();
    let found = home.line("doctor --authority -o json").await.done().json();
    assert_eq!(found[0]["condition"], "key_not_encrypted");
    assert_eq!(found[0]["severity"], "notice");
}

#[tokio::test]
async fn patterns_and_listeners_that_cannot_be_are_named() {
    let home = Home::new();
    let serve = |more: &[&str]| home.serve(any_port()).args(more.to_vec());
    let outcome = home
        .finish(serve(&[
            "--admin-listen",
            "127.0.0.1:0",
            "--admin-operator",
            "spiffe://cluster.local/*",
        ]))
        .await;
    outcome.fails(&[
        "--admin-operator",
        "it would be everybody in the trust domain",
    ]);
    let outcome = home.finish(serve(&["--admin-listen", "127.0.0.1:0"])).await;
    outcome.fails(&["neither viewers nor operators"]);
    let outcome = home.finish(serve(&["--admin-viewer", ALICE])).await;
    outcome.misused(&["--admin-listen"]);
}
