//! Tokens: Envoy validates them as `RequestAuthentication` says, and their claims decide in the filter.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::Full;
use lab::http::{Answer, Connection, Version};
use serde_json::{Value, json};
use wasm_tests::fixtures::SLEEP;
use wasm_tests::fixtures::config::{ConfigSpec, authorization_policy};

use crate::running::ServerUnderTest;
use crate::support::{World, assert_forbidden, now};
use crate::tokens::{TokenIssuer, request_authentication};

const ISSUER: &str = "https://issuer.example";

/// Sends `GET path` with these headers.
async fn get(connection: &mut Connection, path: &str, headers: &[(&str, &str)]) -> Answer {
    send(connection, "GET", path, headers).await
}

async fn send(
    connection: &mut Connection,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let mut request = connection.request(method, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::default()).expect("a request");
    connection.send(request).await.expect("an answer")
}

async fn connect(world: &World, server: &ServerUnderTest) -> Connection {
    let sleep = world.tls("sleep", &world.authority.svid(SLEEP));
    server
        .connect(&sleep, Version::Http1)
        .await
        .expect("a handshake")
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// No policy asks for a token here: what is answered is Envoy's alone.
async fn validates(world: World) {
    let issuer = TokenIssuer::new(ISSUER);
    let mut rule = issuer.rule();
    rule["audiences"] = json!(["httpbin"]);
    rule["outputClaimToHeaders"] = json!([{"header": "x-group", "claim": "group"}]);
    let config = ConfigSpec::inbound(&world.authority).policy(request_authentication(&[rule]));
    let server = world.server(&config).await;
    let mut connection = connect(&world, &server).await;

    let answer = get(&mut connection, "/get", &[]).await;
    assert_eq!(answer.status, 200, "no token, and no policy asks for one");

    let good = bearer(&issuer.token(&json!({"aud": "httpbin", "group": "staff"})));
    let answer = get(&mut connection, "/get", &[("authorization", &good)]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = &answer.json()["headers"];
    assert_eq!(
        seen.get("authorization"),
        None,
        "the token ends at the proxy"
    );
    assert_eq!(seen["x-group"], json!(["staff"]));

    let no_group = bearer(&issuer.token(&json!({"aud": ["films", "httpbin"]})));
    let forged = [
        ("authorization", no_group.as_str()),
        ("x-group", "administrators"),
    ];
    let answer = get(&mut connection, "/get", &forged).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = &answer.json()["headers"];
    assert_eq!(
        seen.get("x-group"),
        None,
        "what a client says of its claims is gone"
    );

    let claims = json!({"aud": "httpbin"});
    let payload = |claims: &Value| {
        let mut all = json!({"iss": ISSUER, "sub": "alice", "aud": "httpbin", "exp": now() + 300});
        for (name, value) in claims.as_object().expect("an object") {
            all[name] = value.clone();
        }
        all
    };
    let whole = issuer.token(&claims);
    let cut: String = whole.chars().take(whole.len() - 8).collect();
    let unsigned = {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!(
            "{}.{}.",
            part(json!({"alg": "none"})),
            part(payload(&json!({})))
        )
    };
    let stranger = TokenIssuer::new(ISSUER);
    let elsewhere = TokenIssuer::new("https://elsewhere.example");
    let bad = [
        ("no token at all", "nonsense".to_owned()),
        ("a signature cut off", cut),
        ("no signature", unsigned),
        ("another key", stranger.token(&claims)),
        ("another issuer", elsewhere.token(&claims)),
        (
            "this key under another issuer's name",
            issuer.token(&json!({"aud": "httpbin", "iss": "https://elsewhere.example"})),
        ),
        (
            "expired",
            issuer.token(&json!({"aud": "httpbin", "exp": now() - 120})),
        ),
        (
            "not yet valid",
            issuer.token(&json!({"aud": "httpbin", "nbf": now() + 600})),
        ),
        (
            "for another audience",
            issuer.token(&json!({"aud": "films"})),
        ),
        (
            "another algorithm in its header",
            issuer.sign(
                &json!({"alg": "HS256", "kid": "test"}),
                &payload(&json!({})),
            ),
        ),
    ];
    let before = server.echo.requests();
    for (what, token) in bad {
        let answer = get(
            &mut connection,
            "/get",
            &[("authorization", &bearer(&token))],
        )
        .await;
        assert!(
            matches!(answer.status, 401 | 403),
            "{what}: {} {}",
            answer.status,
            answer.text()
        );
        // A query may carry the token, too.
        let answer = get(&mut connection, &format!("/get?access_token={token}"), &[]).await;
        assert!(
            matches!(answer.status, 401 | 403),
            "{what} in the query: {}",
            answer.status
        );
    }
    assert_eq!(
        server.echo.requests(),
        before,
        "none of these reached the application"
    );
    let answer = get(&mut connection, &format!("/get?access_token={whole}"), &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let preflight = [
        ("origin", "https://web.example"),
        ("access-control-request-method", "GET"),
        ("authorization", "Bearer nonsense"),
    ];
    let answer = send(&mut connection, "OPTIONS", "/get", &preflight).await;
    assert_eq!(
        answer.status, 200,
        "browsers ask without a token that counts"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_validated_as_the_resource_says() {
    validates(World::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn tokens_are_validated_in_the_oldest_supported_envoy() {
    validates(World::oldest()).await;
}

/// One path for each rule, so that one server shows them all.
fn policy_by_path(rules: &[(&str, Value)]) -> Value {
    let rule = |(path, mut rule): (&str, Value)| {
        rule["to"] = json!([{"operation": {"paths": [path]}}]);
        rule
    };
    let rules: Vec<_> = rules.iter().cloned().map(rule).collect();
    authorization_policy("by-claims", "ALLOW", json!(rules))
}

fn when(key: &str, values: &[&str]) -> Value {
    json!({"when": [{"key": key, "values": values}]})
}

fn rules() -> Vec<(&'static str, Value)> {
    let from =
        |principals: &[&str]| json!({"from": [{"source": {"requestPrincipals": principals}}]});
    vec![
        ("/any", from(&["*"])),
        ("/alice", from(&["https://issuer.example/alice"])),
        ("/aud", when("request.auth.audiences", &["films"])),
        ("/azp", when("request.auth.presenter", &["app-1"])),
        ("/group", when("request.auth.claims[group]", &["admin"])),
        ("/prefix", when("request.auth.claims[group]", &["adm*"])),
        ("/present", when("request.auth.claims[group]", &["*"])),
        ("/scope", when("request.auth.claims[scope]", &["write"])),
        (
            "/nested",
            when("request.auth.claims[realm][roles]", &["admin"]),
        ),
        (
            "/without",
            json!({"when": [{"key": "request.auth.claims[group]", "notValues": ["banned"]}]}),
        ),
    ]
}

async fn claims_server(world: &World, issuer: &TokenIssuer) -> ServerUnderTest {
    let config = ConfigSpec::inbound(&world.authority)
        .policy(request_authentication(&[issuer.rule()]))
        .policy(policy_by_path(&rules()));
    world.server(&config).await
}

async fn claims_decide(world: World) {
    let issuer = TokenIssuer::new(ISSUER);
    let server = claims_server(&world, &issuer).await;
    let mut connection = connect(&world, &server).await;
    let everything = [
        "/any", "/alice", "/aud", "/azp", "/group", "/prefix", "/present", "/scope", "/nested",
    ];
    let answer = get(&mut connection, "/without", &[]).await;
    assert_eq!(
        answer.status, 200,
        "a claim that is absent is none of these"
    );
    for path in everything {
        assert_forbidden(&get(&mut connection, path, &[]).await);
    }
    let cases = [
        (json!({}), vec!["/any", "/alice", "/without"]),
        (json!({"sub": "bob"}), vec!["/any", "/without"]),
        (
            json!({"aud": "films"}),
            vec!["/any", "/alice", "/aud", "/without"],
        ),
        (
            json!({"aud": ["books", "films"], "azp": "app-1"}),
            vec!["/any", "/alice", "/aud", "/azp", "/without"],
        ),
        (
            json!({"aud": "films, books", "azp": "app-10"}),
            vec!["/any", "/alice", "/without"],
        ),
        (
            json!({"group": "admin"}),
            vec![
                "/any", "/alice", "/group", "/prefix", "/present", "/without",
            ],
        ),
        (
            json!({"group": ["guests", "admin"]}),
            vec![
                "/any", "/alice", "/group", "/prefix", "/present", "/without",
            ],
        ),
        (
            json!({"group": "Admin"}),
            vec!["/any", "/alice", "/present", "/without"],
        ),
        (
            json!({"group": ["guests", "banned"]}),
            vec!["/any", "/alice", "/present"],
        ),
        (
            json!({"scope": "read write"}),
            vec!["/any", "/alice", "/scope", "/without"],
        ),
        (
            json!({"scope": "rewrite"}),
            vec!["/any", "/alice", "/without"],
        ),
        (
            json!({"realm": {"roles": ["user", "admin"]}}),
            vec!["/any", "/alice", "/nested", "/without"],
        ),
        (
            json!({"realm": {"roles": "admin"}}),
            vec!["/any", "/alice", "/nested", "/without"],
        ),
    ];
    for (claims, open) in cases {
        let token = bearer(&issuer.token(&claims));
        for path in everything.iter().chain(&["/without"]) {
            let answer = get(&mut connection, path, &[("authorization", &token)]).await;
            let expected = if open.contains(path) { 200 } else { 403 };
            assert_eq!(answer.status, expected, "{path} with {claims}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_decide_in_the_filter() {
    claims_decide(World::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn claims_decide_in_the_oldest_supported_envoy() {
    claims_decide(World::oldest()).await;
}

/// Whoever signs tokens may put anything into a claim. What is no text, and no list of texts, matches nothing.
async fn odd_claims_match_nothing(world: World) {
    let issuer = TokenIssuer::new(ISSUER);
    let server = claims_server(&world, &issuer).await;
    let mut connection = connect(&world, &server).await;
    let mut deep = json!("admin");
    for _ in 0..60 {
        deep = json!({ "roles": deep });
    }
    let many: Vec<_> = (0..2_000).map(|index| format!("group-{index}")).collect();
    let odd = [
        json!({"group": 1}),
        json!({"group": true}),
        json!({"group": null}),
        json!({"group": {"admin": "admin"}}),
        json!({"group": [["admin"]]}),
        json!({"group": [{"group": "admin"}]}),
        json!({"group": "admin\u{0}"}),
        json!({"group": "\"admin\""}),
        json!({"group": "admin,guests"}),
        json!({"group": "\u{feff}admin"}),
        json!({"group": many}),
        json!({"group][x": "admin", "group]": "admin"}),
        json!({"realm": deep}),
        json!({"realm": [{"roles": "admin"}]}),
        json!({"realm.roles": "admin"}),
        json!({"realm": {"roles": {"admin": true}}}),
    ];
    for claims in odd {
        let token = bearer(&issuer.token(&claims));
        for path in ["/group", "/nested"] {
            let answer = get(&mut connection, path, &[("authorization", &token)]).await;
            assert_forbidden(&answer);
        }
        let answer = get(&mut connection, "/alice", &[("authorization", &token)]).await;
        assert_eq!(answer.status, 200, "the token itself is good: {claims}");
    }
    // A subject that is no text has no principal; Envoy itself may refuse it.
    for sub in [json!(7), json!(["alice"]), json!({"alice": 1}), json!(null)] {
        let token = bearer(&issuer.token(&json!({ "sub": sub })));
        let answer = get(&mut connection, "/alice", &[("authorization", &token)]).await;
        assert!(
            matches!(answer.status, 401 | 403),
            "{sub}: {}",
            answer.status
        );
    }
    // Two `group` members in one payload: one of them counts, and whichever it is, nothing breaks.
    let twice = format!(
        r#"{{"iss":"{ISSUER}","sub":"alice","exp":{},"group":"admin","group":"guests"}}"#,
        now() + 300
    );
    let token = issuer.sign_text(&twice);
    let answer = get(
        &mut connection,
        "/any",
        &[("authorization", &bearer(&token))],
    )
    .await;
    assert!(matches!(answer.status, 200 | 401), "{}", answer.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_odd_types_match_nothing() {
    odd_claims_match_nothing(World::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn claims_of_odd_types_match_nothing_in_the_oldest_supported_envoy() {
    odd_claims_match_nothing(World::oldest()).await;
}

/// What a client writes into headers of the same names is no claim.
#[tokio::test(flavor = "multi_thread")]
async fn headers_are_no_claims() {
    let world = World::new();
    let issuer = TokenIssuer::new(ISSUER);
    let server = claims_server(&world, &issuer).await;
    let mut connection = connect(&world, &server).await;
    let forged = [
        ("x-jwt-payload", r#"{"group":"admin"}"#),
        ("countersign.jwt-payload", r#"{"group":"admin"}"#),
        ("group", "admin"),
    ];
    assert_forbidden(&get(&mut connection, "/group", &forged).await);
}

/// Without a `RequestAuthentication` nobody validates: a token that says everything is worth nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_nobody_validates_has_no_claims() {
    let world = World::new();
    let issuer = TokenIssuer::new(ISSUER);
    let config = ConfigSpec::inbound(&world.authority).policy(policy_by_path(&rules()));
    let server = world.server(&config).await;
    let mut connection = connect(&world, &server).await;
    let token = bearer(&issuer.token(&json!({"group": "admin"})));
    assert_forbidden(&get(&mut connection, "/group", &[("authorization", &token)]).await);
    assert_forbidden(&get(&mut connection, "/any", &[("authorization", &token)]).await);
}

/// Two issuers that look in the same place: each one's tokens pass, and a DENY without a token holds.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_two_issuers_pass_and_a_missing_one_is_denied() {
    let world = World::new();
    let (one, other) = (TokenIssuer::new("one"), TokenIssuer::new("other"));
    let nobody = json!([{"from": [{"source": {"notRequestPrincipals": ["*"]}}]}]);
    let config = ConfigSpec::inbound(&world.authority)
        .policy(request_authentication(&[one.rule(), other.rule()]))
        .policy(authorization_policy("tokens-only", "DENY", nobody));
    let server = world.server(&config).await;
    let mut connection = connect(&world, &server).await;
    assert_forbidden(&get(&mut connection, "/get", &[]).await);
    for issuer in [&one, &other] {
        let token = bearer(&issuer.token(&json!({})));
        let answer = get(&mut connection, "/get", &[("authorization", &token)]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let stranger = bearer(&TokenIssuer::new("one").token(&json!({})));
    let answer = get(&mut connection, "/get", &[("authorization", &stranger)]).await;
    assert_eq!(answer.status, 401);
}
