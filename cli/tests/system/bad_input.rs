//! Arguments, policies and surroundings that cannot be: what is wrong, where, and what was expected.

use std::fs;
use std::net::TcpListener;

use crate::world::{HTTPBIN, Home, any_port};

const HEAD: &str = "\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: web
  namespace: shop
spec:
";

async fn policy(spec: &str, parts: &[&str]) {
    let home = Home::new();
    let file = home.write("web.yaml", format!("{HEAD}{spec}"));
    let file = file.to_str().unwrap();
    let outcome = home.run(["policy", "check", file]).await;
    outcome.fails(&[&[file], parts].concat());
}

#[tokio::test]
async fn policies_that_are_not_yaml_name_file_and_line() {
    policy("  rules: [\n", &["web.yaml:7:10", "unclosed bracket"]).await;
    policy("  action: ALLOW\n   rules: []\n", &["web.yaml:8:"]).await;
    policy(
        "  action: ALLOW\n  action: DENY\n",
        &["web.yaml:8:3", "action"],
    )
    .await;
}

#[tokio::test]
async fn unknown_fields_of_policies_are_named_with_their_path() {
    let spec = "  rules:\n  - from:\n    - source:\n        principls: [a]\n";
    let path = "spec.rules[0].from[0].source.principls";
    policy(
        spec,
        &["web.yaml:10:9", path, "expected one of", "`principals`"],
    )
    .await;
    policy("  rule: []\n", &["web.yaml:7:3", "spec.rule", "`rules`"]).await;
}

#[tokio::test]
async fn values_that_policies_cannot_have_are_named_with_their_path() {
    let spec = "  rules:\n  - from:\n    - source:\n        ipBlocks: [10.0.0.0/99]\n";
    let path = "spec.rules[0].from[0].source.ipBlocks[0]";
    policy(spec, &["web.yaml:10:20", path, "10.0.0.0/99", "CIDR"]).await;
    policy(
        "  action: PERMIT\n",
        &["web.yaml:7:3", "spec.action", "PERMIT", "`ALLOW`"],
    )
    .await;
}

#[tokio::test]
async fn policies_that_could_not_mean_what_they_say_are_refused() {
    let custom = "  action: CUSTOM\n  rules:\n  - {}\n";
    policy(
        custom,
        &["shop/web", "spec.provider", "CUSTOM needs a provider"],
    )
    .await;
    policy(
        "  action: DENY\n",
        &["shop/web", "spec.rules", "never matches"],
    )
    .await;
    let jwt = "  action: CUSTOM\n  provider: {name: opa}\n  rules:\n  - from:\n    - source:\n        requestPrincipals: [a]\n";
    policy(
        jwt,
        &["requestPrincipals", "cannot be combined with action CUSTOM"],
    )
    .await;
}

#[tokio::test]
async fn one_bad_file_among_good_ones_is_found_and_all_are_named() {
    let home = Home::new();
    let folder = home.path("policies");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.yaml"), format!("{HEAD}  action: ALLOW\n")).unwrap();
    fs::write(folder.join("b.yaml"), format!("{HEAD}  rule: []\n")).unwrap();
    fs::write(folder.join("c.json"), "{\"kind\":").unwrap();
    fs::write(folder.join("d.yaml"), [0xff, 0xfe, 0x00]).unwrap();
    let check = ["policy", "check", folder.to_str().unwrap()];
    home.run(check).await.fails(&["d.yaml", "UTF-8"]);
    fs::remove_file(folder.join("d.yaml")).unwrap();
    let outcome = home.run(check).await;
    outcome.fails(&["b.yaml:7:3", "c.json:1:1"]);
}

#[tokio::test]
async fn policies_that_are_not_there_are_named() {
    let home = Home::new();
    let none = home.path("none");
    let none = none.to_str().unwrap();
    let outcome = home.run(["policy", "check", none]).await;
    outcome.fails(&[none, "No such file"]);
    fs::create_dir(none).unwrap();
    let outcome = home.run(["policy", "check", none]).await;
    outcome.fails(&[none, "holds no .yaml"]);
}

#[tokio::test]
async fn plugin_configurations_are_checked_before_they_are_written() {
    let home = Home::new();
    let config = home.write("plugin.json", r#"{"schemaVersion": 1, "direction": "up"}"#);
    let config = config.to_str().unwrap();
    let write = ["envoy", "wasmplugin", "--url", "oci://x/y:1", "--config"];
    let outcome = home.run(write.into_iter().chain([config])).await;
    let outcome = outcome.fails(&[config, "direction", "`up`", "`inbound`"]);
    assert_eq!(outcome.stdout, "");
    let outcome = home.run(write.into_iter().chain(["/none.json"])).await;
    outcome.fails(&["/none.json", "No such file"]);
}

#[tokio::test]
async fn arguments_that_cannot_be_are_usage_errors() {
    let home = Home::new();
    let misused = async |line: &str, parts: &[&str]| {
        home.line(line).await.misused(parts);
    };
    for ttl in ["1w", "0", "-5m", "1.5h", "soon"] {
        let line = format!("cert issue {HTTPBIN} --out x --ttl={ttl}");
        misused(&line, &["--ttl", ttl, "90s, 15m, 24h or 7d"]).await;
    }
    for id in [
        "httpbin",
        "http://cluster.local/x",
        "spiffe://",
        "spiffe://a/b//c",
        "spiffe://a/../b",
    ] {
        misused(&format!("cert issue {id} --out x"), &[id, "<ID>"]).await;
        misused(&format!("cert suspend --id {id}"), &[id, "--id"]).await;
        misused(&format!("token create {id}"), &[id, "<AGENT>"]).await;
    }
    misused("cert list -o xml", &["xml", "table, json, yaml"]).await;
    misused(
        "cert list --state lost",
        &["lost", "active, suspended, revoked"],
    )
    .await;
    misused("cert list --limit many", &["many", "--limit"]).await;
    misused("cert suspend", &["--serial", "--sha256", "--id"]).await;
    misused(
        "cert suspend --serial 1 --sha256 2",
        &["cannot be used with"],
    )
    .await;
    misused(
        "authority serve --listen localhost",
        &["localhost", "--listen"],
    )
    .await;
    misused(
        "authority serve --listen 127.0.0.1:99999",
        &["127.0.0.1:99999"],
    )
    .await;
    misused(
        "authority serve --key-algorithm dsa",
        &["dsa", "ecdsa-p256, rsa2048"],
    )
    .await;
    misused(
        "entry create --parent spiffe://a/b --id spiffe://a/c",
        &["--selector"],
    )
    .await;
    misused("completions tcsh", &["tcsh", "bash"]).await;
    misused("nonsense", &["nonsense"]).await;
    misused("", &["Usage"]).await;
}

#[tokio::test]
async fn settings_that_do_not_fit_together_are_refused() {
    let home = Home::new();
    let outcome = home
        .line("authority serve --default-ttl 48h --max-ttl 1h")
        .await;
    outcome.fails(&[
        "default lifetime",
        "172800",
        "no more than the longest lifetime",
    ]);
    let outcome = home
        .run(["authority", "serve", "--trust-domain", "Two Words"])
        .await;
    outcome.fails(&["--trust-domain", "Two Words", "may only contain"]);
    let outcome = home.line("cert list --log shout=very=loud").await;
    outcome.fails(&["--log", "shout=very=loud"]);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let home = Home::new();
    let taken = TcpListener::bind(any_port()).unwrap();
    let address = taken.local_addr().unwrap();
    let outcome = home.finish(home.serve(address)).await;
    outcome.fails(&["authority", &address.to_string(), "in use"]);
    // And of another authority.
    let running = home.authority().await;
    let other = home.path("other");
    let outcome = home.finish(home.serve_in(&other, running.address)).await;
    outcome.fails(&[&running.address.to_string(), "in use"]);
}

#[tokio::test]
async fn an_address_of_another_machine_is_named() {
    let home = Home::new();
    let outcome = home
        .finish(home.serve("192.0.2.1:7".parse().unwrap()))
        .await;
    outcome.fails(&["cannot listen on 192.0.2.1:7"]);
}

#[tokio::test]
async fn without_an_authority_the_socket_is_named() {
    let home = Home::new();
    let socket = home.admin_socket();
    let socket = socket.to_str().unwrap();
    let mut lines = vec![
        "cert list".to_owned(),
        "entry list".to_owned(),
        "ca status".to_owned(),
    ];
    lines.push(format!("token create {HTTPBIN}"));
    lines.push(format!(
        "cert issue {HTTPBIN} --out {}",
        home.path("out").display()
    ));
    lines.push(format!("cert revoke --id {HTTPBIN}"));
    for line in lines {
        let outcome = home.line(&line).await;
        outcome.fails(&[socket, "is `countersign authority serve` running"]);
    }
    assert!(!home.path("out").exists());

    // One that was killed leaves its socket behind.
    let mut killed = home.authority().await;
    killed.child.kill().await.unwrap();
    home.line("cert list")
        .await
        .fails(&[socket, "Connection refused"]);
    // A file that is no socket.
    let file = home.write("file", "");
    let outcome = home
        .line(&format!("cert list --admin {}", file.display()))
        .await;
    outcome.fails(&[file.to_str().unwrap()]);
}

#[tokio::test]
async fn up_needs_an_envoy_and_the_filter() {
    let home = Home::new();
    let up = home
        .command(["up", "--once", "--data-dir"])
        .arg(home.path("up"));
    let none = up.clone().env("ENVOY", "/nonexistent/envoy");
    home.finish(none)
        .await
        .fails(&["Envoy", "/nonexistent/envoy"]);
    let other = up.clone().env("ENVOY", "/bin/true");
    home.finish(other)
        .await
        .fails(&["Envoy", "/bin/true", "--version"]);
    // Envoy is looked for first; this one says that it is one.
    let envoy = home.write(
        "envoy",
        "#!/bin/sh\necho 'envoy  version: 0000000000000000000000000000000000000000/1.40.0/Clean/RELEASE/BoringSSL'\n",
    );
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&envoy, mode).unwrap();
    let up = up
        .env("ENVOY", envoy)
        .args(["--wasm", "/nonexistent/filter.wasm"]);
    let outcome = home.finish(up).await;
    outcome.fails(&["/nonexistent/filter.wasm", "./justw wasm"]);
    // Nothing was begun.
    assert!(!home.path("up").exists());
}
