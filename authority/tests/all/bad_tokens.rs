//! Tokens nobody honest sends. Each is refused by a rule of its own, recorded, and nothing is signed.

use serde_json::{Value, json};
use tonic::Code;

use crate::proofs::World;
use crate::support::{AGENT, Ask, create, key};
use crate::tokens::{ISSUER, Signer, base64, projected, with, without};

#[tokio::test]
async fn each_bad_token_is_refused_by_its_rule_and_recorded_and_nothing_is_signed() {
    let world = World::start(Signer::rs256(), |_| {}).await;
    let now = world.now();
    let good = projected(now);
    let secs = now.as_secs();
    let raw = |header: &str, claims: &str| world.signer.raw(header, claims);
    let text = good.to_string();
    let honest = world.token(&good);
    let parts: Vec<&str> = honest.split('.').collect();
    let none = json!({"alg": "none"}).to_string();
    let hs256 = json!({"alg": "HS256", "kid": "k1"}).to_string();
    let twice = |field: &str| text.replacen('{', &format!("{{{field},"), 1);
    let thief = Signer::rs256();
    let own_key = json!({"alg": "RS256", "kid": "k1", "jwk": thief.jwk("k1")}).to_string();
    let mut flipped = honest.clone().into_bytes();
    flipped[parts[0].len() + 20] ^= 1;
    let sub = |sub: &str| world.token(&with(good.clone(), "sub", sub));
    let k8s = |value: Value| world.token(&with(good.clone(), "kubernetes.io", value));
    let cases = [
        ("alg none, signed", raw(&none, &text), "jwt_algorithm"),
        (
            "alg none, unsigned",
            format!("{}.{}.", base64(none.as_bytes()), parts[1]),
            "jwt_algorithm",
        ),
        (
            "HS256 with the public key",
            hmac_signed(&hs256, &text, &world),
            "jwt_algorithm",
        ),
        ("alg nOnE", raw(r#"{"alg":"nOnE"}"#, &text), "jwt_algorithm"),
        ("no alg", raw(r#"{"kid":"k1"}"#, &text), "jwt_malformed"),
        (
            "alg twice",
            raw(r#"{"alg":"RS256","alg":"none","kid":"k1"}"#, &text),
            "jwt_duplicate_field",
        ),
        (
            "another kind of key",
            raw(r#"{"alg":"ES256","kid":"k1"}"#, &text),
            "jwt_unknown_key",
        ),
        (
            "another RSA algorithm than the key's",
            raw(r#"{"alg":"PS256","kid":"k1"}"#, &text),
            "jwt_unknown_key",
        ),
        (
            "critical header",
            raw(r#"{"alg":"RS256","kid":"k1","crit":["x"]}"#, &text),
            "jwt_critical_header",
        ),
        (
            "unknown kid",
            world.signer.token("k2", &good),
            "jwt_unknown_key",
        ),
        (
            "another's key under our kid",
            thief.token("k1", &good),
            "jwt_bad_signature",
        ),
        (
            "a key in its header",
            thief.raw(&own_key, &text),
            "jwt_bad_signature",
        ),
        (
            "no signature",
            format!("{}.{}.", parts[0], parts[1]),
            "jwt_bad_signature",
        ),
        (
            "wrong audience",
            world.token(&with(good.clone(), "aud", json!(["api"]))),
            "jwt_wrong_audience",
        ),
        (
            "audience as a prefix",
            world.token(&with(good.clone(), "aud", "istio-ca2")),
            "jwt_wrong_audience",
        ),
        (
            "no audience",
            world.token(&without(good.clone(), "aud")),
            "jwt_wrong_audience",
        ),
        (
            "audience of another type",
            world.token(&with(good.clone(), "aud", json!([1]))),
            "jwt_malformed",
        ),
        (
            "wrong issuer",
            world.token(&with(good.clone(), "iss", "https://evil.example")),
            "jwt_wrong_issuer",
        ),
        (
            "issuer with a slash more",
            world.token(&with(good.clone(), "iss", format!("{ISSUER}/"))),
            "jwt_wrong_issuer",
        ),
        (
            "no issuer",
            world.token(&without(good.clone(), "iss")),
            "jwt_malformed",
        ),
        (
            "expired",
            world.token(&with(good.clone(), "exp", secs - 11)),
            "jwt_expired",
        ),
        (
            "expired at the leeway",
            world.token(&with(good.clone(), "exp", secs - 10)),
            "jwt_expired",
        ),
        (
            "no expiry",
            world.token(&without(good.clone(), "exp")),
            "jwt_no_expiry",
        ),
        (
            "expiry as text",
            world.token(&with(good.clone(), "exp", "9999999999")),
            "jwt_malformed",
        ),
        (
            "expiry beyond the calendar",
            world.token(&with(good.clone(), "exp", 1e300)),
            "jwt_malformed",
        ),
        (
            "not yet valid",
            world.token(&with(good.clone(), "nbf", secs + 11)),
            "jwt_not_yet_valid",
        ),
        (
            "issued in the future",
            world.token(&with(good.clone(), "iat", secs + 60)),
            "jwt_not_yet_valid",
        ),
        (
            "a claim twice",
            raw(
                r#"{"alg":"RS256","kid":"k1"}"#,
                &twice(r#""sub":"system:serviceaccount:a:b""#),
            ),
            "jwt_duplicate_field",
        ),
        (
            "expiry twice",
            raw(
                r#"{"alg":"RS256","kid":"k1"}"#,
                &twice(r#""exp":9999999999"#),
            ),
            "jwt_duplicate_field",
        ),
        ("one part", "abc".to_owned(), "jwt_malformed"),
        (
            "two parts",
            format!("{}.{}", parts[0], parts[1]),
            "jwt_malformed",
        ),
        ("four parts", format!("{honest}.x"), "jwt_malformed"),
        ("padding", format!("{honest}="), "jwt_malformed"),
        (
            "standard base64",
            honest.replacen('.', "+.", 1),
            "jwt_malformed",
        ),
        (
            "cut",
            honest[..honest.len() - 6].to_owned(),
            "jwt_bad_signature",
        ),
        (
            "claims are a list",
            raw(r#"{"alg":"RS256","kid":"k1"}"#, "[]"),
            "jwt_malformed",
        ),
        (
            "a long signature",
            format!("{honest}{}", "A".repeat(4000)),
            "jwt_bad_signature",
        ),
        ("a user's", sub("admin"), "jwt_not_service_account"),
        (
            "a path in the account",
            sub("system:serviceaccount:payments:../../x"),
            "jwt_not_service_account",
        ),
        (
            "another account in sub",
            sub("system:serviceaccount:payments:admin"),
            "jwt_not_service_account",
        ),
        (
            "another namespace in sub",
            sub("system:serviceaccount:kube-system:api"),
            "jwt_not_service_account",
        ),
        (
            "no kubernetes.io",
            world.token(&without(good.clone(), "kubernetes.io")),
            "jwt_not_service_account",
        ),
        (
            "kubernetes.io is a text",
            k8s(json!("payments/api")),
            "jwt_not_service_account",
        ),
    ];
    for (name, token, rule) in cases {
        world
            .refused(name, &token, Code::Unauthenticated, rule)
            .await;
    }
    let bent = String::from_utf8(flipped).unwrap();
    let refused = world
        .authority
        .bear(&bent, &Ask::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    // The honest one still is.
    world
        .authority
        .bear(&honest, &Ask::default())
        .await
        .unwrap();
}

/// The classic: the issuer's public key, which everybody has, taken for a shared one.
fn hmac_signed(header: &str, claims: &str, world: &World) -> String {
    let signed = format!(
        "{}.{}",
        base64(header.as_bytes()),
        base64(claims.as_bytes())
    );
    let public = std::fs::read(&world.keys).unwrap();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &public);
    let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", base64(tag.as_ref()))
}

#[tokio::test]
async fn a_token_of_a_megabyte_is_not_even_read() {
    let world = World::start(Signer::es256(), |_| {}).await;
    let before = world.authority.certificates().await.len();
    let huge = format!("{}.{}.x", "A".repeat(1 << 20), "B".repeat(10));
    world
        .authority
        .bear(&huge, &Ask::default())
        .await
        .unwrap_err();
    assert_eq!(world.authority.certificates().await.len(), before);
    // And the next one is served.
    let token = world.token(&projected(world.now()));
    world.authority.bear(&token, &Ask::default()).await.unwrap();
}

#[tokio::test]
async fn a_bad_token_is_not_made_up_for_by_a_good_certificate() {
    let world = World::start(Signer::es256(), |_| {}).await;
    let agent = world.authority.agent(AGENT).await;
    let expired = with(projected(world.now()), "exp", world.now().as_secs() - 60);
    let channel = world.authority.channel(Some(&agent)).await;
    let header = format!("Bearer {}", world.token(&expired));
    let refused = create(channel, Some(&header), &key(), &Ask::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(
        refused.message(),
        "request authenticate failure: jwt_expired"
    );
    world
        .authority
        .ask(&agent, &key(), &Ask::default())
        .await
        .unwrap();
}
