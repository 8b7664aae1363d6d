//! Keys of tokens that Envoy fetches (`jwksUri`): who may serve them, and what is done while nobody does.

mod over_tls;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use envoy_config::sidecar::{InboundFilter, Server};
use http_body_util::Full;
use lab::http::{Answer, Connection, Version};
use serde_json::{Value, json};
use wasm_tests::fixtures::SLEEP;
use wasm_tests::fixtures::config::{ConfigSpec, authorization_policy};

use crate::key_server::{KeyServer, Says};
use crate::running::ServerUnderTest;
use crate::support::{World, assert_forbidden, eventually, loopback, now, plugin_config};
use crate::tokens::{TokenIssuer, request_authentication};

const ISSUER: &str = "https://issuer.example";

/// Everybody may `/open`; `/token` is for whoever has a token.
fn config(world: &World, rules: &[Value]) -> ConfigSpec {
    let with_token = json!({
        "from": [{"source": {"requestPrincipals": ["*"]}}],
        "to": [{"operation": {"paths": ["/token"]}}],
    });
    let open = json!({"to": [{"operation": {"paths": ["/open"]}}]});
    ConfigSpec::inbound(&world.authority)
        .policy(request_authentication(rules))
        .policy(authorization_policy(
            "tokens",
            "ALLOW",
            json!([with_token, open]),
        ))
}

fn rule(address: SocketAddr) -> Value {
    json!({"issuer": ISSUER, "jwksUri": format!("http://{address}/keys?for=httpbin")})
}

async fn connect(world: &World, server: &ServerUnderTest) -> Connection {
    let sleep = world.tls("sleep", &world.authority.svid(SLEEP));
    server
        .connect(&sleep, Version::Http1)
        .await
        .expect("a handshake")
}

async fn get(connection: &mut Connection, path: &str, token: Option<&str>) -> Answer {
    let mut request = connection.request("GET", path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Full::default()).expect("a request");
    connection.send(request).await.expect("an answer")
}

/// Asserts that the token is the reason: Envoy's answer, not the filter's.
#[track_caller]
fn assert_unauthorized(answer: &Answer, what: &str) {
    let challenge = answer.header("www-authenticate").unwrap_or_default();
    assert_eq!(answer.status, 401, "{what}: {}", answer.text());
    assert!(challenge.starts_with("Bearer"), "{what}: {challenge}");
}

/// A token with a good signature of the same key and another name for it.
fn of_another_key_id(issuer: &TokenIssuer) -> String {
    let payload = json!({"iss": ISSUER, "sub": "alice", "exp": now() + 300});
    issuer.sign(&json!({"alg": "ES256", "kid": "unheard-of"}), &payload)
}

async fn fetched_once(world: World) {
    let issuer = TokenIssuer::new(ISSUER);
    let keys = KeyServer::start(Says::keys(issuer.jwks())).await;
    let server = world.server(&config(&world, &[rule(keys.address)])).await;
    let mut connection = connect(&world, &server).await;

    assert_eq!(get(&mut connection, "/open", None).await.status, 200);
    assert_forbidden(&get(&mut connection, "/token", None).await);
    assert_eq!(keys.asked(), Vec::<String>::new(), "nobody needed them yet");

    let good = issuer.token(&json!({}));
    for _ in 0..3 {
        let answer = get(&mut connection, "/token", Some(&good)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(keys.asked(), ["/keys?for=httpbin"]);

    let before = server.echo.requests();
    let stranger = TokenIssuer::new(ISSUER);
    let elsewhere = TokenIssuer::new("https://elsewhere.example");
    let (head, signature) = good.rsplit_once('.').expect("three parts");
    let flipped: String = signature.chars().rev().collect();
    for (what, token) in [
        ("another key of the same name", stranger.token(&json!({}))),
        ("a key that is not in the set", of_another_key_id(&issuer)),
        ("another issuer", elsewhere.token(&json!({}))),
        ("expired", issuer.token(&json!({"exp": now() - 120}))),
        ("no signature", format!("{head}.")),
        ("another signature", format!("{head}.{flipped}")),
    ] {
        for path in ["/open", "/token"] {
            let answer = get(&mut connection, path, Some(&token)).await;
            assert_unauthorized(&answer, what);
        }
    }
    assert_eq!(server.echo.requests(), before);
    assert_eq!(
        keys.asked(),
        Vec::<String>::new(),
        "a client cannot make the proxy fetch keys again"
    );
    // Envoy's workers, of which there are two, do not share what they fetch.
    for _ in 0..8 {
        let mut another = connect(&world, &server).await;
        let answer = get(&mut another, "/token", Some(&good)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert!(keys.asked().len() <= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_fetched_once_and_what_they_do_not_verify_is_refused() {
    fetched_once(World::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn keys_are_fetched_in_the_oldest_supported_envoy() {
    fetched_once(World::oldest()).await;
}

/// How servers fail that answer at all.
fn faults(issuer: &TokenIssuer, good: SocketAddr) -> Vec<(&'static str, Says)> {
    let set = issuer.jwks();
    let key = set
        .strip_prefix(r#"{"keys":["#)
        .and_then(|rest| rest.strip_suffix("]}"))
        .expect("one key");
    let (half, _) = set.split_at(set.len() / 2);
    vec![
        ("goes away", Says::Goodbye),
        ("fails", Says::Answer(500, set.clone())),
        ("has none", Says::Answer(404, set.clone())),
        ("says nothing, well", Says::Answer(204, String::new())),
        (
            "sends elsewhere",
            Says::Elsewhere(format!("http://{good}/")),
        ),
        ("is cut off", Says::Cut(half.to_owned())),
        ("says nothing", Says::keys("")),
        ("says garbage", Says::keys("<html>Sign in</html>")),
        ("says half of it", Says::keys(half)),
        ("says no more than null", Says::keys("null")),
        ("says a bare key", Says::keys(key)),
        ("says a list", Says::keys(format!("[{key}]"))),
        ("has no keys", Says::keys(r#"{"keys":[]}"#)),
        (
            "has keys of no kind",
            Says::keys(r#"{"keys":[{"kid":"test"}]}"#),
        ),
        ("has a point off the curve", Says::keys(off_the_curve(&set))),
    ]
}

fn off_the_curve(set: &str) -> String {
    let mut set: Value = serde_json::from_str(set).expect("JSON");
    set["keys"][0]["y"] = set["keys"][0]["x"].clone();
    set.to_string()
}

async fn nobody_without_keys(world: World) {
    let issuer = TokenIssuer::new(ISSUER);
    let port = lab::ports::free().expect("a port");
    let good = KeyServer::start(Says::keys(issuer.jwks())).await;
    let server = world.server(&config(&world, &[rule(loopback(port))])).await;
    let mut connection = connect(&world, &server).await;
    let token = issuer.token(&json!({}));

    let answer = get(&mut connection, "/token", Some(&token)).await;
    assert_unauthorized(&answer, "nobody listens");

    let keys = KeyServer::listen(loopback(port), Says::Goodbye).await;
    for (what, fault) in faults(&issuer, good.address) {
        keys.says(fault);
        for path in ["/open", "/token"] {
            let answer = get(&mut connection, path, Some(&token)).await;
            assert_unauthorized(&answer, what);
        }
        assert!(!keys.asked().is_empty(), "{what}: nobody was asked");
    }
    assert_eq!(good.asked(), Vec::<String>::new(), "nobody goes elsewhere");
    assert_eq!(server.echo.requests(), 0);
    // Whoever needs no token needs no keys.
    assert_eq!(get(&mut connection, "/open", None).await.status, 200);
    assert_forbidden(&get(&mut connection, "/token", None).await);

    // The same token, as soon as there are keys: it was good all the time.
    keys.says(Says::keys(issuer.jwks()));
    let answer = get(&mut connection, "/token", Some(&token)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_no_token_is_good() {
    nobody_without_keys(World::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn without_keys_no_token_is_good_in_the_oldest_supported_envoy() {
    nobody_without_keys(World::oldest()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_waited_for_no_longer_than_the_rule_says() {
    let world = World::new();
    let issuer = TokenIssuer::new(ISSUER);
    let keys = KeyServer::start(Says::Nothing).await;
    let mut rule = rule(keys.address);
    rule["timeout"] = json!("400ms");
    let server = world.server(&config(&world, &[rule])).await;
    let mut connection = connect(&world, &server).await;
    let token = issuer.token(&json!({}));

    let begun = Instant::now();
    let answer = get(&mut connection, "/token", Some(&token)).await;
    let took = begun.elapsed();
    assert_unauthorized(&answer, "no keys in time");
    assert!(
        (Duration::from_millis(300)..Duration::from_secs(4)).contains(&took),
        "{took:?}"
    );
    assert_eq!(keys.asked().len(), 1);

    keys.says(Says::keys(issuer.jwks()));
    let answer = get(&mut connection, "/token", Some(&token)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// The settings of the filter that validates tokens.
fn jwt_authn(bootstrap: &mut Value) -> &mut Value {
    let listener = &mut bootstrap["static_resources"]["listeners"][0];
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    let filters = manager["http_filters"].as_array_mut().expect("filters");
    let found = filters
        .iter_mut()
        .find(|filter| filter["name"] == "envoy.filters.http.jwt_authn");
    &mut found.expect("the filter")["typed_config"]
}

/// A set stays in use for five minutes, here for one second, and not longer: neither a key that was withdrawn nor
/// the last set that could be fetched.
async fn rotation(world: World) {
    let (old, new) = (TokenIssuer::new(ISSUER), TokenIssuer::new(ISSUER));
    let (of_old, of_new) = (old.token(&json!({})), new.token(&json!({})));
    let keys = KeyServer::start(Says::keys(old.jwks())).await;
    let config = config(&world, &[rule(keys.address)]);

    let as_written = world.server(&config).await;
    let mut connection = connect(&world, &as_written).await;
    let answer = get(&mut connection, "/token", Some(&of_old)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    keys.says(Says::keys(new.jwks()));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let answer = get(&mut connection, "/token", Some(&of_new)).await;
    assert_unauthorized(&answer, "a key that is not known yet");
    let answer = get(&mut connection, "/token", Some(&of_old)).await;
    assert_eq!(answer.status, 200, "the set is still in use");
    as_written.stop().await;

    keys.says(Says::keys(old.jwks()));
    let short = |bootstrap: &mut Value| {
        let provider = &mut jwt_authn(bootstrap)["providers"]["origins-0"];
        assert_eq!(provider["remote_jwks"]["cache_duration"], "300s");
        provider["remote_jwks"]["cache_duration"] = json!("1s");
    };
    let server = world.server_with(&config, |_| {}, short).await;
    let mut connection = connect(&world, &server).await;
    let limit = Duration::from_secs(10);
    let answer = get(&mut connection, "/token", Some(&of_old)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = get(&mut connection, "/token", Some(&of_new)).await;
    assert_unauthorized(&answer, "not yet a key");

    keys.says(Says::keys(new.jwks()));
    eventually("the new key", limit, async || {
        get(&mut connection, "/token", Some(&of_new)).await.status == 200
    })
    .await;
    let answer = get(&mut connection, "/token", Some(&of_old)).await;
    assert_unauthorized(&answer, "a key that was withdrawn");

    // A set that has run out is not kept for want of another.
    keys.says(Says::Answer(503, String::new()));
    eventually("the end of the last set", limit, async || {
        get(&mut connection, "/token", Some(&of_new)).await.status == 401
    })
    .await;
    keys.says(Says::keys(new.jwks()));
    let answer = get(&mut connection, "/token", Some(&of_new)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_withdrawn_are_out_of_use_when_the_set_is_fetched_again() {
    rotation(World::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn keys_that_are_withdrawn_are_out_of_use_in_the_oldest_supported_envoy() {
    rotation(World::oldest()).await;
}

/// What `envoy-config` says of keys that could not be fetched safely, or not at all.
#[tokio::test]
async fn what_cannot_be_fetched_is_refused_and_it_says_why() {
    let world = World::new();
    let tls = world.files("refused", &world.authority.svid(SLEEP));
    let mut spec = Server::new("refused", loopback(1), loopback(2).into(), tls);
    for (uri, says) in [
        ("https://127.0.0.1:1/", "mesh.jwksRoots: "),
        ("http://127.0.0.1:65536/", "whose port is"),
        ("http://keys_/", "whose host is"),
        ("http://key server/", "without user and password"),
    ] {
        let rule = json!({"issuer": ISSUER, "jwksUri": uri});
        spec.filter = InboundFilter::Wasm {
            module: world.module.clone(),
            config: Box::new(plugin_config(&config(&world, &[rule]))),
        };
        let refused = spec.bootstrap().expect_err("nobody could fetch these");
        let said = identity::chain(&refused);
        assert!(said.contains(says), "{uri}: {said}");
    }
}
