//! A certificate that a gateway in front forwards in `x-forwarded-client-cert`, as Envoy really writes it.

mod permissive;

use envoy_config::EnvoyVersion;
use envoy_config::sidecar::{Hold, InboundFilter, SanMatchers, Server, Upstream};
use lab::http::{Resumption, ServerCheck, Tls, Version};
use serde_json::{Value, json};
use wasm_tests::fixtures::config::{ConfigSpec, UPSTREAM_CLUSTER, allow_principal};
use wasm_tests::fixtures::{HTTPBIN, IMPOSTOR, SLEEP};

use crate::running::ServerUnderTest;
use crate::support::{World, ids, loopback};

const GATEWAY: &str = "spiffe://cluster.local/ns/edge/sa/gateway";

/// The workload: only `sleep` may, and the gateway may speak for others. Without `details` as it is written.
async fn workload(world: &World, details: Option<&str>) -> ServerUnderTest {
    let config = ConfigSpec::inbound(&world.authority)
        .policy(allow_principal("only", "cluster.local/ns/default/sa/sleep"))
        .with("forwardedClientCert", json!({"hop": GATEWAY}));
    let keep_header = |bootstrap: &mut Value| {
        let listener = &mut bootstrap["static_resources"]["listeners"][0];
        let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
        if let Some(details) = details {
            manager["forward_client_cert_details"] = details.into();
            manager["set_current_client_cert_details"] = json!({"uri": true});
        }
    };
    world.server_with(&config, |_| {}, keep_header).await
}

/// A gateway that ends mutual TLS and opens its own to the workload.
async fn gateway(world: &World, workload: &ServerUnderTest, settings: Value) -> ServerUnderTest {
    let leaf = world.authority.svid(GATEWAY);
    let source = world.files("gateway-client", &leaf);
    let mut upstream = Upstream::new(
        UPSTREAM_CLUSTER,
        workload.address.into(),
        ids(&[HTTPBIN]),
        source,
    );
    (upstream.hold, upstream.san_matchers) = (Hold::Off, SanMatchers::On);
    let mut client =
        envoy_config::sidecar::Client::new("gateway", workload.address, vec![upstream]);
    client.envoy = world.binary.version();
    let client = serde_json::to_value(client.bootstrap().expect("a good spec")).expect("JSON");
    let cluster = client["static_resources"]["clusters"]
        .as_array()
        .expect("clusters")
        .iter()
        .find(|cluster| cluster["name"] == UPSTREAM_CLUSTER)
        .expect("the workload's")
        .clone();
    let rewrite = |bootstrap: &mut Value| {
        let resources = &mut bootstrap["static_resources"];
        let listener = &mut resources["listeners"][0];
        let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
        for (key, value) in settings.as_object().expect("settings") {
            manager[key] = value.clone();
        }
        for host in manager["route_config"]["virtual_hosts"]
            .as_array_mut()
            .expect("hosts")
        {
            host["routes"][0]["route"]["cluster"] = UPSTREAM_CLUSTER.into();
        }
        let clusters = resources["clusters"].as_array_mut().expect("clusters");
        clusters.push(cluster.clone());
    };
    world
        .envoy_server("gateway", &leaf, InboundFilter::None, |_| {}, rewrite)
        .await
}

fn tls(world: &World, name: &str, id: &str) -> Tls {
    let leaf = world.authority.svid(id);
    world.tls_checking(name, &leaf, ServerCheck::AnyVerified, Resumption::Never)
}

async fn status(server: &ServerUnderTest, tls: &Tls, forged: Option<&str>) -> u16 {
    let mut connection = server.connect(tls, Version::Http1).await.expect("TLS");
    let mut request = connection.request("GET", "/get");
    if let Some(forged) = forged {
        request = request.header("x-forwarded-client-cert", forged);
    }
    let request = request.body(lab::http::Body::empty()).expect("a request");
    connection.send(request).await.expect("an answer").status
}

async fn speaks_for_its_clients(world: World, details: Option<&str>, forms: &[(&str, Value)]) {
    let workload = workload(&world, details).await;
    let (sleep, impostor) = (tls(&world, "s", SLEEP), tls(&world, "i", IMPOSTOR));
    let direct = tls(&world, "g", GATEWAY);
    // Straight to the workload a header is worth nothing.
    let victim = world.authority.svid(SLEEP);
    let pem = victim.pem.replace('\n', "%0A").replace(' ', "%20");
    let forged = format!("By={GATEWAY};Cert=\"{pem}\"");
    assert_eq!(status(&workload, &impostor, Some(&forged)).await, 403);
    assert_eq!(status(&workload, &sleep, Some("\"garbage")).await, 200);
    // The gateway itself has to say for whom.
    assert_eq!(status(&workload, &direct, None).await, 403);
    for (what, settings) in forms {
        let gateway = gateway(&world, &workload, settings.clone()).await;
        let seen = || {
            let told = workload.decisions();
            told.last().expect("a decision").clone()
        };
        assert_eq!(
            status(&gateway, &sleep, None).await,
            200,
            "{what}: {}",
            seen()
        );
        assert_eq!(seen()["via"], GATEWAY, "{what}");
        assert_eq!(seen()["peer"], SLEEP, "{what}");
        assert_eq!(status(&gateway, &impostor, None).await, 403, "{what}");
        assert_eq!(seen()["peer"], IMPOSTOR, "{what}: {}", seen());
        // What a client writes itself comes before the gateway's element, or is thrown away.
        let written = status(&gateway, &impostor, Some(&forged)).await;
        assert_eq!(written, 403, "{what}");
    }
    let bare = json!({
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"uri": true},
    });
    let gateway = gateway(&world, &workload, bare).await;
    assert_eq!(
        status(&gateway, &sleep, None).await,
        403,
        "no certificate in it"
    );
    let reason = workload.decisions().last().expect("a decision")["reason"].clone();
    assert_eq!(reason, "forwarded_certificate_missing");
}

fn text_forms() -> Vec<(&'static str, Value)> {
    let with = |details: &str, current: Value| json!({"forward_client_cert_details": details, "set_current_client_cert_details": current});
    let all = json!({"cert": true, "chain": true, "uri": true, "dns": true, "subject": true});
    vec![
        ("text", with("SANITIZE_SET", json!({"cert": true}))),
        ("text with everything", with("SANITIZE_SET", all.clone())),
        ("appended text", with("APPEND_FORWARD", all)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_speaks_for_its_clients() {
    let mut forms = text_forms();
    let json = |details: &str| {
        json!({
            "forward_client_cert_details": details,
            "set_current_client_cert_details":
                {"cert": true, "chain": true, "uri": true, "subject": true, "format": "JSON"},
        })
    };
    let world = World::new();
    if world.binary.version() >= EnvoyVersion::new(1, 38) {
        forms.push(("JSON", json("SANITIZE_SET")));
        forms.push(("appended JSON", json("APPEND_FORWARD")));
    } else {
        // An older one must know of no such form.
        let tls = world.files("old", &world.authority.svid(GATEWAY));
        let mut spec = Server::new("old", loopback(1), loopback(2).into(), tls);
        spec.envoy = world.binary.version();
        let mut bootstrap = serde_json::to_value(spec.bootstrap().expect("good")).expect("JSON");
        let listener = &mut bootstrap["static_resources"]["listeners"][0];
        let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
        manager["set_current_client_cert_details"] = json!({"format": "JSON"});
        let said = world.refusal(&bootstrap).await;
        assert!(said.contains("'format'"), "{said}");
    }
    speaks_for_its_clients(world, None, &forms).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn so_it_does_in_the_oldest_supported_envoy() {
    speaks_for_its_clients(World::oldest(), None, &text_forms()).await;
}

/// As Istio's inbound listeners do it: the workload's own proxy appends an element, too.
#[tokio::test(flavor = "multi_thread")]
async fn so_it_does_where_the_workloads_proxy_appends_an_element() {
    speaks_for_its_clients(World::new(), Some("APPEND_FORWARD"), &text_forms()).await;
}

/// A header as the gateway would write it about this client.
fn element(world: &World, id: &str) -> String {
    let pem = world.authority.svid(id).pem;
    let pem = pem.replace('\n', "%0A").replace(' ', "%20");
    format!("By={GATEWAY};Cert=\"{pem}\"")
}

/// Nobody but the gateway is believed, and the application, which cannot tell who wrote the header, never sees it.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_gateways_word_counts_and_the_application_hears_of_none() {
    let world = World::new();
    let workload = workload(&world, None).await;
    for (who, about, expected, judged) in [
        (GATEWAY, SLEEP, 200, SLEEP),
        (GATEWAY, IMPOSTOR, 403, IMPOSTOR),
        (SLEEP, IMPOSTOR, 200, SLEEP),
        (IMPOSTOR, SLEEP, 403, IMPOSTOR),
    ] {
        let tls = tls(&world, "client", who);
        let mut connection = workload.connect(&tls, Version::Http1).await.expect("TLS");
        let request = connection
            .request("GET", "/get")
            .header("x-forwarded-client-cert", element(&world, about))
            .body(lab::http::Body::empty())
            .expect("a request");
        let answer = connection.send(request).await.expect("an answer");
        let decision = workload.decisions().last().expect("a decision").clone();
        let seen = (answer.status, decision["peer"].as_str());
        assert_eq!(seen, (expected, Some(judged)), "{who}: {decision}");
        let via = (who == GATEWAY).then_some(GATEWAY);
        assert_eq!(decision["via"].as_str(), via, "{decision}");
        if answer.status == 200 {
            let headers = &answer.json()["headers"];
            assert!(headers.get("host").is_some(), "{headers}");
            assert_eq!(headers.get("x-forwarded-client-cert"), None, "{who}");
        }
    }
}
