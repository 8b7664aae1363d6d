//! Keys from an issuer's own server: found, kept, replaced; and servers that do us no good.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;

use crate::issuer::{Issuer, ok};
use crate::support::{Ask, Authority};
use crate::tokens::{Signer, key_set, proofs};

async fn authority(issuer: &Issuer, keys: Value) -> Authority {
    let section = json!({"oidc": [{
        "issuer": issuer.url, "audiences": ["countersign"], "keys": keys,
        "spiffeId": "spiffe://cluster.local/ci/{sub}",
    }]});
    Authority::start_in(TempDir::new().unwrap(), |settings| {
        settings.proofs = proofs(section)
    })
    .await
}

fn claims(issuer: &Issuer, authority: &Authority) -> Value {
    let exp = authority.now().as_secs() + 7200;
    json!({"iss": issuer.url, "aud": "countersign", "sub": "job", "exp": exp})
}

#[tokio::test]
async fn keys_are_discovered_once_and_again_when_a_new_one_shows() {
    let issuer = Issuer::start().await;
    let (first, second) = (Signer::es256(), Signer::rs256());
    issuer.honest(key_set(&[first.jwk("1")]));
    let authority = authority(&issuer, json!({"caFile": issuer.ca_file})).await;
    let claims = claims(&issuer, &authority);
    let token = first.token("1", &claims);
    for _ in 0..20 {
        authority.bear(&token, &Ask::default()).await.unwrap();
    }
    // The document and the keys, at the start.
    assert_eq!(issuer.asked(), 2);
    issuer.honest(key_set(&[first.jwk("1"), second.jwk("2")]));
    let new = second.token("2", &claims);
    // Whoever names keys that nobody has makes us ask no more than once in ten seconds.
    for number in 0..20 {
        let stranger = first.token(&format!("x{number}"), &claims);
        let refused = authority
            .bear(&stranger, &Ask::default())
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
    assert_eq!(issuer.asked(), 2);
    authority.clock.advance(10);
    authority.bear(&new, &Ask::default()).await.unwrap();
    authority.bear(&token, &Ask::default()).await.unwrap();
    assert_eq!(issuer.asked(), 4);
    // A key that is withdrawn is forgotten at the next reading, which nobody has to ask for.
    issuer.honest(key_set(&[second.jwk("2")]));
    authority.clock.advance(300);
    let refused = authority.bear(&token, &Ask::default()).await.unwrap_err();
    assert_eq!(
        refused.message(),
        "request authenticate failure: jwt_unknown_key"
    );
    // The issuer is down: what was read goes on being good.
    issuer.answer(|_| Some((500, Vec::new(), String::new())));
    authority.clock.advance(300);
    authority.bear(&new, &Ask::default()).await.unwrap();
}

#[tokio::test]
async fn an_issuer_that_does_us_no_good_is_no_refusal_and_no_proof() {
    let issuer = Issuer::start().await;
    let signer = Signer::es256();
    let keys = key_set(&[signer.jwk("1")]);
    let (url, other) = (
        issuer.url.clone(),
        issuer.url.replace("localhost", "127.0.0.1"),
    );
    let document =
        |issuer: &str, keys: &str| json!({"issuer": issuer, "jwks_uri": keys}).to_string();
    let jwks = format!("{url}/keys");
    let cases = [
        (
            "another issuer",
            document(&format!("{url}/"), &jwks),
            ok(keys.clone()),
        ),
        (
            "keys of another host",
            document(&url, &format!("{other}/keys")),
            ok(keys.clone()),
        ),
        (
            "keys without TLS",
            document(&url, &jwks.replace("https", "http")),
            ok(keys.clone()),
        ),
        (
            "keys in a file",
            document(&url, "file:///etc/passwd"),
            ok(keys.clone()),
        ),
        (
            "no keys",
            document(&url, &jwks),
            ok(r#"{"keys":[]}"#.to_owned()),
        ),
        (
            "keys that are none",
            document(&url, &jwks),
            ok("<html>".to_owned()),
        ),
        ("no document", "<html>".to_owned(), ok(keys.clone())),
        (
            "moved",
            document(&url, &jwks),
            Some((
                302,
                vec![("location", format!("{url}/moved"))],
                String::new(),
            )),
        ),
        (
            "an error",
            document(&url, &jwks),
            Some((503, Vec::new(), keys.clone())),
        ),
        (
            "more than anybody reads",
            document(&url, &jwks),
            ok(format!("{keys}{}", " ".repeat(300_000))),
        ),
    ];
    let authority = authority(&issuer, json!({"caFile": issuer.ca_file})).await;
    let token = signer.token("1", &claims(&issuer, &authority));
    for (name, document, reply) in cases {
        let keys = keys.clone();
        issuer.answer(move |path| match path {
            "/.well-known/openid-configuration" => ok(document.clone()),
            "/keys" => reply.clone(),
            "/moved" => ok(keys.clone()),
            _ => None,
        });
        authority.clock.advance(1);
        let refused = authority
            .bear(&token, &Ask::default())
            .await
            .expect_err(name);
        assert_eq!(refused.code(), Code::Unavailable, "{name}: {refused}");
    }
    // One that never answers.
    issuer.answer(|_| None);
    authority.clock.advance(1);
    let began = Instant::now();
    let refused = authority.bear(&token, &Ask::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(
        began.elapsed() < Duration::from_secs(7),
        "{:?}",
        began.elapsed()
    );
    // And at last an honest one.
    issuer.honest(keys);
    authority.clock.advance(1);
    authority.bear(&token, &Ask::default()).await.unwrap();
    assert_eq!(
        authority
            .certificates()
            .await
            .iter()
            .filter(|one| one.proof == "oidc")
            .count(),
        1
    );
}

#[tokio::test]
async fn only_the_roots_that_are_configured_vouch_for_an_issuers_server() {
    let (issuer, stranger) = (Issuer::start().await, Issuer::start().await);
    let signer = Signer::es256();
    issuer.honest(key_set(&[signer.jwk("1")]));
    let url = format!("{}/keys", issuer.url);
    for (keys, works) in [
        (json!({"caFile": issuer.ca_file, "url": url}), true),
        (json!({"caFile": stranger.ca_file, "url": url}), false),
        (json!({"caFile": "/nothing/there.pem", "url": url}), false),
        (
            json!({"caFile": issuer.ca_file, "url": url.replace("localhost", "127.0.0.1")}),
            false,
        ),
    ] {
        let authority = authority(&issuer, keys.clone()).await;
        let token = signer.token("1", &claims(&issuer, &authority));
        let asked = authority.bear(&token, &Ask::default()).await;
        match asked {
            Ok(_) => assert!(works, "{keys}"),
            Err(refused) => assert_eq!(
                (refused.code(), works),
                (Code::Unavailable, false),
                "{keys}"
            ),
        }
    }
}
