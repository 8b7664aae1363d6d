//! Policies that are published as a bundle: from the command to the verdict on a connection that is open.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use api::admin::GetStatusRequest;
use envoy_config::AGENT_HTTP_CLUSTER;
use envoy_config::address::{Admin, Endpoint};
use envoy_config::sidecar::{InboundFilter, Server};
use envoy_config::tls::TlsSource;
use lab::envoy::{Envoy, Options};
use lab::http::{Answer, Connection, Identity, Resumption, ServerCheck, Target, Tls, Version};
use lab::upstream::Echo;
use policy::config::PluginConfig;
use serde_json::{Value, json};

use crate::agents::Agent;
use crate::world::{Authority, HTTPBIN, Home, LIMIT, SLEEP, admin, fixed_port};

/// From the command's end to the new verdict.
const BOUND: Duration = Duration::from_secs(2);
const SIGNER: &str = "spiffe://cluster.local/countersign/authority/deny-list";
const MISSING: &str = "policy_bundle_missing";

/// A policy that lets `sleep` have these paths.
fn allow(name: &str, path: &str) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"action": "ALLOW", "rules": [{
            "from": [{"source": {"principals": ["cluster.local/ns/default/sa/sleep"]}}],
            "to": [{"operation": {"paths": [path]}}],
        }]},
    })
}

/// Where the filter is, or why the test cannot be.
fn module() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = root.join("../target/wasm/wasm32-unknown-unknown/wasm/countersign_filter.wasm");
    let path = std::env::var_os("COUNTERSIGN_WASM").map_or(built, Into::into);
    path.canonicalize()
        .unwrap_or_else(|error| panic!("{}: {error}; ./justw wasm builds it", path.display()))
}

/// httpbin's Envoy, whose policies come in the bundle `shop`.
async fn envoy(home: &Home, agent: &Agent, app: SocketAddr) -> (Envoy, SocketAddr) {
    let mut client = admin(&home.admin_socket());
    let status = client.get_status(GetStatusRequest {}).await.unwrap();
    let issuer = status.into_inner().intermediate.unwrap().pem;
    let config = json!({
        "schemaVersion": 1,
        "direction": "inbound",
        "workload": {"namespace": "default", "labels": {"app": "httpbin"}},
        "trustDomain": "cluster.local",
        "trust": {"cluster.local": {"issuers": [issuer]}},
        "policyBundle": {"name": "shop"},
        "denyList": {"cluster": AGENT_HTTP_CLUSTER, "authority": SIGNER},
        "decisionLog": {"responseHeader": true},
    });
    let config = PluginConfig::from_json(config.to_string().as_bytes()).unwrap();
    let tls = TlsSource::Sds {
        socket_path: agent.socket.clone(),
        certificate: "default".to_owned(),
        validation: "ROOTCA".to_owned(),
    };
    let listen = SocketAddr::from(([127, 0, 0, 1], lab::ports::free().unwrap()));
    let mut server = Server::new("httpbin", listen, Endpoint::Ip(app), tls);
    let binary = lab::envoy::find().unwrap();
    server.envoy = binary.version();
    server.filter = InboundFilter::Wasm {
        module: module(),
        config: Box::new(config),
    };
    server.agent_http = Some(agent.socket.clone());
    server.admin = Admin::Unix(home.path("envoy.sock"));
    let bootstrap = server
        .bootstrap()
        .unwrap_or_else(|errors| panic!("{errors}"));
    let options = Options::new("httpbin", home.path("envoy")).log_level("warning,wasm:info");
    let envoy = Envoy::start(&binary, &bootstrap, &options).await.unwrap();
    (envoy, listen)
}

/// One connection of sleep's, which stays open.
async fn connection(home: &Home, server: SocketAddr) -> Connection {
    let out = home.path("sleep");
    let issue = ["cert", "issue", SLEEP, "--ttl", "1h", "--out"];
    let issue = issue.map(str::to_owned).into_iter();
    home.run(issue.chain([out.display().to_string()]))
        .await
        .done();
    let identity =
        Identity::from_pem_files(&out.join("cert-chain.pem"), &out.join("key.pem")).unwrap();
    let check = ServerCheck::SpiffeId(HTTPBIN.to_owned());
    let root = out.join("root-cert.pem");
    let tls = Tls::new(&root, Some(identity), check, Resumption::Never).unwrap();
    Connection::open(&Target::Tcp(server), Some(&tls), Version::Http1)
        .await
        .unwrap()
}

fn verdict(answer: &Answer) -> (u16, String) {
    let reason = answer.header("x-countersign-decision").unwrap_or_default();
    let reason = reason.strip_prefix("deny:").unwrap_or(reason);
    (answer.status, reason.to_owned())
}

/// Asks over the open connection until the verdict is `wanted`; how long that took. None but `before` may come
/// until then.
async fn until(
    connection: &mut Connection,
    path: &str,
    before: (u16, &str),
    wanted: (u16, &str),
) -> Duration {
    let begun = Instant::now();
    loop {
        let answer = connection.get(path).await.unwrap();
        let verdict = verdict(&answer);
        let verdict = (verdict.0, verdict.1.as_str());
        if verdict == wanted {
            return begun.elapsed();
        }
        assert_eq!(verdict, before);
        assert!(begun.elapsed() < LIMIT, "still {before:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn publish(home: &Home, file: &str, policies: &[Value]) -> Value {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": policies});
    let path = home.write(file, list.to_string());
    let publish = ["policy", "publish", "shop", "-o", "json"].map(str::to_owned);
    let publish = publish.into_iter().chain([path.display().to_string()]);
    home.run(publish).await.done().json()
}

const ALLOWED: (u16, &str) = (200, "");
const DENIED: (u16, &str) = (403, "no_allow_matched");

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_decides_on_open_connections_within_two_seconds() {
    let home = Home::new();
    let serve = home.serve(fixed_port());
    let mut authority = Authority::start(&serve).await;
    home.register(HTTPBIN, "1h").await;
    let mut agent = home.joined_agent(authority.address).await;
    let app = Echo::start().await.unwrap();
    let (server, listen) = envoy(&home, &agent, app.address()).await;
    let mut connection = connection(&home, listen).await;

    // Nothing is published yet. What comes before the deny list is its own matter.
    let missing = (403, "deny_list_missing");
    until(&mut connection, "/get", missing, (403, MISSING)).await;
    assert_eq!(app.requests(), 0);

    let answer = publish(&home, "one.json", &[allow("one", "/get")]).await;
    assert_eq!(
        (&answer["published"], &answer["sequence"]),
        (&json!(true), &json!(1))
    );
    let taken = until(&mut connection, "/get", (403, MISSING), ALLOWED).await;
    assert!(taken <= BOUND, "{taken:?}");

    let answer = publish(&home, "two.json", &[allow("one", "/ip")]).await;
    assert_eq!(answer["changes"][0]["change"], "changed");
    let taken = until(&mut connection, "/get", ALLOWED, DENIED).await;
    assert!(taken <= BOUND, "{taken:?}");
    until(&mut connection, "/ip", ALLOWED, ALLOWED).await;

    // Policies outlive the authority, and the next one goes on where it was.
    authority.child.kill().await.unwrap();
    until(&mut connection, "/ip", ALLOWED, ALLOWED).await;
    let authority = Authority::start(&serve).await;
    let published = home.json("policy published").await;
    assert_eq!(published[0]["sequence"], 2);
    let epoch = published[0]["epoch"].as_u64().unwrap();
    agent
        .until("the bundle of the new epoch", |status| {
            let bundle = &status["policy_bundles"][0];
            (bundle["epoch"].as_u64() == Some(epoch)).then_some(())
        })
        .await;
    until(&mut connection, "/ip", ALLOWED, ALLOWED).await;
    publish(
        &home,
        "one.json",
        &[allow("one", "/get"), allow("two", "/ip")],
    )
    .await;
    let taken = until(&mut connection, "/get", DENIED, ALLOWED).await;
    assert!(taken <= BOUND, "{taken:?}");

    let log = fs::read_to_string(server.config().with_file_name("httpbin.stderr")).unwrap();
    assert!(log.contains("policy bundle shop 3 in force"), "{log}");
    server.stop().await.unwrap();
    agent.stop().await;
    authority.stop().await;
}

#[tokio::test]
async fn publishing_says_what_changes_and_refuses_what_it_must() {
    let home = Home::new();
    let authority = home.authority().await;
    let one = home.write("one.json", allow("one", "/get").to_string());
    let two = home.write("two.json", allow("two", "/get").to_string());
    let (one, two) = (one.display(), two.display());

    let none = home.line("policy published").await.done();
    assert_eq!(none.stdout.lines().count(), 1, "{none:#?}");
    let tried = home
        .json(&format!("policy publish shop {one} {two} --dry-run"))
        .await;
    assert_eq!(
        (&tried["published"], &tried["policies"]),
        (&json!(false), &json!(2))
    );
    assert_eq!(home.json("policy published").await, json!([]));

    home.line(&format!("policy publish shop {one} {two}"))
        .await
        .done();
    let again = home
        .line(&format!("policy publish shop {two} {one}"))
        .await
        .done();
    assert!(again.stdout.contains("nothing changes"), "{again:#?}");
    let fewer = home.json(&format!("policy publish shop {one}")).await;
    assert_eq!(fewer["changes"][0]["change"], "removed");
    assert_eq!(fewer["changes"][0]["name"], "two");
    let published = home.json("policy published").await;
    assert_eq!(published[0]["name"], "shop");
    assert_eq!(published[0]["sequence"], 2);
    let policies = home.json("policy published shop").await;
    assert_eq!(policies["items"], json!([allow("one", "/get")]));
    let read_back = home.line("policy published shop -o yaml").await.done();
    let read_back = home.write("read-back.yaml", read_back.stdout);
    let publish = format!("policy publish shop {}", read_back.display());
    let same = home.line(&publish).await.done();
    assert!(same.stdout.contains("nothing changes"), "{same:#?}");

    let mut bad = allow("bad", "/get");
    bad["spec"]["rulez"] = json!([]);
    let bad = home.write("bad.json", bad.to_string());
    let bad = format!("policy publish shop {one} {}", bad.display());
    home.line(&bad).await.fails(&["bad.json", "rulez"]);
    home.line(&format!("policy publish shop {one} {one}"))
        .await
        .fails(&["one.json", "occurs twice"]);
    home.line(&format!("policy publish Shop {one}"))
        .await
        .misused(&["is no name of a policy bundle"]);
    home.line("policy published other")
        .await
        .fails(&["no policy bundle is called other"]);
    let large = (0..3000).map(|number| {
        let mut policy = allow(&format!("policy-{number}"), "/get");
        policy["metadata"]["annotations"] = json!({"note": "x".repeat(1500)});
        policy
    });
    let large: Vec<_> = large.collect();
    let large = json!({"apiVersion": "v1", "kind": "List", "items": large});
    let large = home.write("large.json", large.to_string());
    home.line(&format!("policy publish shop {}", large.display()))
        .await
        .fails(&["a bundle may have 4194304"]);
    assert_eq!(home.json("policy published").await[0]["sequence"], 2);
    authority.stop().await;
}
