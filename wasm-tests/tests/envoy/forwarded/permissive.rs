//! Mode PERMISSIVE where a gateway forwards certificates: plaintext has no identity, whatever it sends.

use envoy_config::sidecar::Server;
use lab::http::{Answer, Connection, Tls, Version};
use serde_json::{Value, json};
use wasm_tests::fixtures::config::{ConfigSpec, allow_principal, authorization_policy};
use wasm_tests::fixtures::{IMPOSTOR, SLEEP};

use super::{GATEWAY, element, tls};
use crate::authorizer::Authorizer;
use crate::running::ServerUnderTest;
use crate::support::{World, assert_forbidden};

const HEADER: &str = "x-forwarded-client-cert";

/// `sleep` may do everything, everybody may `/open…`; whoever asks for `/open/asked` is asked about.
fn config(world: &World) -> ConfigSpec {
    let open = json!([{"to": [{"operation": {"paths": ["/open*"]}}]}]);
    let permissive = json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": "default"},
        "spec": {"mtls": {"mode": "PERMISSIVE"}},
    });
    ConfigSpec::inbound(&world.authority)
        .policy(allow_principal("only", "cluster.local/ns/default/sa/sleep"))
        .policy(authorization_policy("open", "ALLOW", open))
        .policy(permissive)
        .with("forwardedClientCert", json!({"hop": GATEWAY}))
}

async fn send(
    server: &ServerUnderTest,
    tls: Option<&Tls>,
    version: Version,
    path: &str,
    written: &[String],
) -> Answer {
    let target = server.address.into();
    let mut connection = Connection::open(&target, tls, version)
        .await
        .expect("a connection");
    let mut request = connection.request("GET", path);
    for value in written {
        request = request.header(HEADER, value);
    }
    let request = request.body(lab::http::Body::empty()).expect("a request");
    connection.send(request).await.expect("an answer")
}

/// What a gateway could write about `sleep`, and what somebody could who wants to be taken for one.
fn forgeries(world: &World) -> Vec<Vec<String>> {
    let sleep = world.authority.svid(SLEEP);
    let full = element(world, SLEEP);
    let uri = format!("By={GATEWAY};Hash={};URI={SLEEP}", sleep.sha256());
    let json = json!([{"By": GATEWAY, "Hash": sleep.sha256(), "Cert": sleep.pem, "URI": [SLEEP]}]);
    vec![
        vec![full.clone()],
        vec![format!("{full},{full}")],
        vec![full.clone(), full.clone()],
        vec![uri.clone(), full.clone()],
        vec![uri],
        vec![json.to_string()],
        vec![format!("\"garbage,{full}")],
        vec![String::new()],
        vec![],
    ]
}

/// The identity in the last decision.
#[track_caller]
fn judged(server: &ServerUnderTest) -> (Value, Value) {
    let last = server.decisions().last().expect("a decision").clone();
    (last["peer"].clone(), last["via"].clone())
}

async fn plaintext_is_nobody(server: &ServerUnderTest, world: &World) {
    for version in [Version::Http1, Version::Http2] {
        for written in forgeries(world) {
            let answer = send(server, None, version, "/get", &written).await;
            assert_forbidden(&answer);
            assert_eq!(judged(server), (Value::Null, Value::Null), "{written:?}");
            let answer = send(server, None, version, "/open", &written).await;
            assert_eq!(answer.status, 200, "{written:?}: {}", answer.text());
            assert_eq!(judged(server), (Value::Null, Value::Null), "{written:?}");
        }
    }
}

async fn permissive(world: World) {
    let server = world.server(&config(&world)).await;
    plaintext_is_nobody(&server, &world).await;
    for written in forgeries(&world) {
        let answer = send(&server, None, Version::Http1, "/open", &written).await;
        assert_eq!(answer.json()["headers"].get(HEADER), None, "{written:?}");
    }

    // With TLS the gateway is believed, and nobody else.
    let about = |id: &str| vec![element(&world, id)];
    for (who, written, status, peer, via) in [
        (GATEWAY, about(SLEEP), 200, SLEEP, json!(GATEWAY)),
        (GATEWAY, about(IMPOSTOR), 403, IMPOSTOR, json!(GATEWAY)),
        (GATEWAY, vec![], 403, GATEWAY, Value::Null),
        (IMPOSTOR, about(SLEEP), 403, IMPOSTOR, Value::Null),
        (SLEEP, about(IMPOSTOR), 200, SLEEP, Value::Null),
        (SLEEP, vec![], 200, SLEEP, Value::Null),
    ] {
        let tls = tls(&world, "client", who);
        let answer = send(&server, Some(&tls), Version::Http1, "/get", &written).await;
        let (judged, by) = judged(&server);
        let seen = (answer.status, judged.as_str(), by);
        assert_eq!(seen, (status, Some(peer), via), "{who} {written:?}");
        if status == 200 {
            let headers = &answer.json()["headers"];
            assert!(headers.get("host").is_some(), "{headers}");
            assert_eq!(headers.get(HEADER), None, "{who} {written:?}");
        }
    }
    let impostor = tls(&world, "client", IMPOSTOR);
    for written in forgeries(&world) {
        let answer = send(&server, Some(&impostor), Version::Http2, "/get", &written).await;
        assert_forbidden(&answer);
        assert_eq!(judged(&server), (json!(IMPOSTOR), Value::Null));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plaintext_never_speaks_for_anybody_and_the_gateway_does() {
    permissive(World::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn so_it_is_in_the_oldest_supported_envoy() {
    permissive(World::oldest()).await;
}

/// The settings of the chain for plaintext.
fn plaintext_manager(bootstrap: &mut Value) -> &mut Value {
    let listener = &mut bootstrap["static_resources"]["listeners"][0];
    let chains = listener["filter_chains"].as_array_mut().expect("chains");
    let chain = chains
        .iter_mut()
        .find(|chain| chain["filter_chain_match"]["transport_protocol"] == "raw_buffer");
    &mut chain.expect("a chain for plaintext")["filters"][0]["typed_config"]
}

/// The second lock, and the control: with a listener that keeps the header of plaintext clients, it arrives (so that
/// these tests would see it), and still makes nobody of them somebody.
async fn kept_header(world: World) {
    let keep = |bootstrap: &mut Value| {
        let manager = plaintext_manager(bootstrap);
        assert_eq!(manager["forward_client_cert_details"], "SANITIZE");
        manager["forward_client_cert_details"] = json!("ALWAYS_FORWARD_ONLY");
    };
    let server = world.server_with(&config(&world), |_| {}, keep).await;
    plaintext_is_nobody(&server, &world).await;
    let forged = [element(&world, SLEEP)];
    let answer = send(&server, None, Version::Http1, "/open", &forged).await;
    let arrived = &answer.json()["headers"][HEADER];
    assert_eq!(arrived, &json!(forged), "the control");
}

#[tokio::test(flavor = "multi_thread")]
async fn plaintext_whose_header_is_kept_is_nobody_to_the_filter() {
    kept_header(World::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn plaintext_whose_header_is_kept_is_nobody_in_the_oldest_supported_envoy() {
    kept_header(World::oldest()).await;
}

/// A provider stands in front of the filter, so it must not see a header that anybody could have written.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_never_shown_the_header() {
    let world = World::new();
    let mut ask = authorization_policy(
        "ask",
        "CUSTOM",
        json!([{"to": [{"operation": {"paths": ["/open/asked"]}}]}]),
    );
    ask["spec"]["provider"] = json!({"name": "opa"});
    let config = config(&world).policy(ask);
    let (grpc, http) = (Authorizer::grpc().await, Authorizer::http().await);
    let address = |one: &Authorizer| (one.address.ip(), one.address.port());
    let ((grpc_ip, grpc_port), (http_ip, http_port)) = (address(&grpc), address(&http));
    let forms = [
        (
            &grpc,
            json!({"name": "opa", "envoyExtAuthzGrpc": {
                "service": grpc_ip, "port": grpc_port, "timeout": "5s",
            }}),
        ),
        (
            &http,
            json!({"name": "opa", "envoyExtAuthzHttp": {
                "service": http_ip, "port": http_port, "timeout": "5s",
                "includeRequestHeadersInCheck": ["x-*"],
            }}),
        ),
    ];
    let gateway = tls(&world, "gateway", GATEWAY);
    let forged = [element(&world, SLEEP)];
    for (provider, written) in forms {
        let set = |spec: &mut Server| {
            spec.mesh.extension_providers =
                serde_json::from_value(json!([written])).expect("a provider");
        };
        let server = world.server_with(&config, set, |_| {}).await;
        for tls in [None, Some(&gateway)] {
            let answer = send(&server, tls, Version::Http1, "/open/asked", &forged).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let shown = provider.headers();
            assert!(shown.contains("x-request-id"), "{shown:?}");
            assert!(!shown.contains(HEADER), "{shown:?}");
        }
        server.stop().await;

        // The control: were it not for that one setting, the provider would be shown what the gateway sends.
        let show = |bootstrap: &mut Value| {
            let listener = &mut bootstrap["static_resources"]["listeners"][0];
            for chain in listener["filter_chains"].as_array_mut().expect("chains") {
                let filters = &mut chain["filters"][0]["typed_config"]["http_filters"];
                for filter in filters.as_array_mut().expect("filters") {
                    if filter["name"] == "envoy.filters.http.ext_authz" {
                        let config = filter["typed_config"].as_object_mut();
                        config.expect("settings").remove("disallowed_headers");
                    }
                }
            }
        };
        let server = world.server_with(&config, set, show).await;
        let answer = send(
            &server,
            Some(&gateway),
            Version::Http1,
            "/open/asked",
            &forged,
        )
        .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(provider.headers().contains(HEADER), "the control");
        server.stop().await;
    }
}
