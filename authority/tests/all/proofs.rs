//! Who may call: Kubernetes tokens, OpenID Connect tokens, foreign certificates, and how long a
//! certificate goes on being good for others.

use authority::Settings;
use identity::UnixTime;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;

use crate::support::{AGENT, Ask, Authority, Held, create, key};
use crate::tokens::{ISSUER, Signer, key_set, projected, proofs, with, without};

const API: &str = "spiffe://cluster.local/ns/payments/sa/api";

/// An authority that knows the keys of one cluster.
pub(crate) struct World {
    pub(crate) authority: Authority,
    pub(crate) signer: Signer,
    pub(crate) keys: std::path::PathBuf,
}

impl World {
    pub(crate) async fn start(signer: Signer, change: impl FnOnce(&mut Value)) -> Self {
        let dir = TempDir::new().unwrap();
        let keys = dir.path().join("keys.json");
        std::fs::write(&keys, key_set(&[signer.jwk("k1")])).unwrap();
        let mut section = json!({
            "kubernetes": [{"name": "east", "issuer": ISSUER, "keys": {"file": keys}}],
        });
        change(&mut section);
        let authority = Authority::start_in(dir, |settings: &mut Settings| {
            settings.proofs = proofs(section);
        })
        .await;
        Self {
            authority,
            signer,
            keys,
        }
    }

    pub(crate) fn now(&self) -> UnixTime {
        self.authority.now()
    }

    pub(crate) fn token(&self, claims: &Value) -> String {
        self.signer.token("k1", claims)
    }

    pub(crate) async fn refused(&self, name: &str, token: &str, code: Code, rule: &str) {
        let before = self.authority.certificates().await.len();
        let refused = self
            .authority
            .bear(token, &Ask::default())
            .await
            .expect_err(name);
        assert_eq!(refused.code(), code, "{name}: {refused}");
        let refusal = self.authority.refusal().await;
        assert_eq!(refusal.code, rule, "{name}: {refusal:?}");
        assert!(
            !refusal.detail.contains(token),
            "{name}: the token is on record"
        );
        assert_eq!(self.authority.certificates().await.len(), before, "{name}");
    }
}

#[tokio::test]
async fn a_projected_token_is_worth_its_service_accounts_identity() {
    for signer in [Signer::es256(), Signer::rs256()] {
        let world = World::start(signer, |_| {}).await;
        let token = world.token(&projected(world.now()));
        let held = world.authority.bear(&token, &Ask::default()).await.unwrap();
        assert_eq!(held.svid.id().to_string(), API);
        // Leaf, intermediate, and last the root bundle: istio-agent refuses less than two.
        assert_eq!(held.chain.len(), 3);
        assert_eq!(held.chain[2], world.authority.root_pem());
        let issued = &world.authority.certificates().await[0];
        assert_eq!(issued.caller, "system:serviceaccount:payments:api of east");
        // The same token is good again: istio-agent shows it for each renewal.
        world.authority.bear(&token, &Ask::default()).await.unwrap();
        // It may say its own name, but no other one.
        world.authority.bear(&token, &Ask::id(API)).await.unwrap();
        let other = Ask::id("spiffe://cluster.local/ns/payments/sa/admin");
        let refused = world.authority.bear(&token, &other).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
        assert_eq!(world.authority.refusal().await.code, "impersonation_denied");
    }
}

#[tokio::test]
async fn the_header_clusterid_picks_the_cluster_and_its_keys() {
    let west = Signer::es256();
    let dir = TempDir::new().unwrap();
    let west_keys = dir.path().join("west.json");
    std::fs::write(&west_keys, key_set(&[west.jwk("k1")])).unwrap();
    let world = World::start(Signer::es256(), |section| {
        let clusters = section["kubernetes"].as_array_mut().unwrap();
        // Each cluster calls itself the same, as Kubernetes does by default.
        clusters.push(
            json!({"name": "west", "issuer": ISSUER, "keys": {"file": west_keys},
            "spiffeId": "spiffe://cluster.local/west/{ns}/{sa}"}),
        );
        clusters[0]["default"] = json!(true);
    })
    .await;
    let of = |cluster| Ask {
        cluster,
        ..Ask::default()
    };
    let claims = projected(world.now());
    let (east, west) = (world.token(&claims), west.token("k1", &claims));
    let id = |held: Held| held.svid.id().to_string();
    assert_eq!(
        id(world.authority.bear(&east, &of(None)).await.unwrap()),
        API
    );
    assert_eq!(
        id(world
            .authority
            .bear(&east, &of(Some("east")))
            .await
            .unwrap()),
        API
    );
    let held = world
        .authority
        .bear(&west, &of(Some("west")))
        .await
        .unwrap();
    assert_eq!(id(held), "spiffe://cluster.local/west/payments/api");
    for (token, cluster, rule) in [
        (&west, None, "jwt_bad_signature"),
        (&west, Some("east"), "jwt_bad_signature"),
        (&east, Some("west"), "jwt_bad_signature"),
        (&east, Some("north"), "unknown_cluster"),
        (&east, Some(""), "unknown_cluster"),
    ] {
        let refused = world.authority.bear(token, &of(cluster)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{cluster:?}");
        assert_eq!(world.authority.refusal().await.code, rule, "{cluster:?}");
    }
}

#[tokio::test]
async fn a_new_key_is_found_and_an_old_one_forgotten() {
    let world = World::start(Signer::es256(), |_| {}).await;
    let claims = with(projected(world.now()), "exp", world.now().as_secs() + 7200);
    let old = world.token(&claims);
    world.authority.bear(&old, &Ask::default()).await.unwrap();
    let next = Signer::es256();
    let new = next.token("k2", &claims);
    std::fs::write(&world.keys, key_set(&[next.jwk("k2")])).unwrap();
    // Read a moment ago: a stranger's key does not make them be read for each request.
    world
        .refused("at once", &new, Code::Unauthenticated, "jwt_unknown_key")
        .await;
    world.authority.clock.advance(10);
    world.authority.bear(&new, &Ask::default()).await.unwrap();
    world
        .refused(
            "the old key",
            &old,
            Code::Unauthenticated,
            "jwt_unknown_key",
        )
        .await;
    // The file breaks: what was read goes on being good, for a day.
    std::fs::write(&world.keys, "{").unwrap();
    world.authority.clock.advance(3600);
    world.authority.bear(&new, &Ask::default()).await.unwrap();
    world.authority.clock.advance(86_400);
    let fresh = next.token("k2", &projected(world.now()));
    let refused = world
        .authority
        .bear(&fresh, &Ask::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
}

#[tokio::test]
async fn a_certificate_is_good_for_others_only_so_long_after_the_proof() {
    let world = World::start(Signer::es256(), |section| {
        // Seconds, since TLS goes by the real clock: certificates begin two minutes before their time.
        section["renewal"] = json!({"maxProofAge": 60, "maxTokenProofAge": 10});
    })
    .await;
    let ask = Ask::default();
    let token = world.token(&projected(world.now()));
    let first = world.authority.bear(&token, &ask).await.unwrap();
    let agent = world.authority.agent(AGENT).await;
    world.authority.clock.advance(10);
    // The second goes back to the same proof as the first.
    let second = world.authority.ask(&first, &key(), &ask).await.unwrap();
    world.authority.clock.advance(1);
    let too_old = |refused: tonic::Status| {
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
        assert_eq!(
            refused.message(),
            "request authenticate failure: proof_too_old"
        );
    };
    for held in [&first, &second] {
        too_old(world.authority.ask(held, &key(), &ask).await.unwrap_err());
        assert_eq!(world.authority.refusal().await.code, "proof_too_old");
    }
    // A new proof is a new beginning, and a join token is good for longer.
    let third = world.authority.bear(&token, &ask).await.unwrap();
    world.authority.ask(&third, &key(), &ask).await.unwrap();
    world.authority.clock.advance(49);
    let agent = world.authority.ask(&agent, &key(), &ask).await.unwrap();
    world.authority.clock.advance(1);
    too_old(world.authority.ask(&agent, &key(), &ask).await.unwrap_err());
}

#[tokio::test]
async fn what_is_switched_off_is_refused() {
    let world = World::start(Signer::es256(), |section| {
        section["joinTokens"] = json!({"enabled": false});
        section["renewal"] = json!({"enabled": false});
        section["csrNames"] = json!("mustMatch");
    })
    .await;
    let join = world.authority.token(AGENT).await;
    world
        .authority
        .join(&join, &key(), &Ask::default())
        .await
        .unwrap_err();
    assert_eq!(world.authority.refusal().await.code, "join_tokens_off");
    let token = world.token(&projected(world.now()));
    let named = |name: &str| {
        let mut params = rcgen::CertificateParams::default();
        let uri = rcgen::SanType::URI(name.to_owned().try_into().unwrap());
        params.subject_alt_names = vec![uri];
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
    };
    let mut more = named(API);
    more.subject_alt_names.push(rcgen::SanType::DnsName(
        "api".to_owned().try_into().unwrap(),
    ));
    let mut common = named(API);
    common
        .distinguished_name
        .push(rcgen::DnType::CommonName, "api");
    let other = named("spiffe://cluster.local/ns/payments/sa/admin");
    for params in [rcgen::CertificateParams::default(), more, common, other] {
        let csr = params.serialize_request(&key()).unwrap().pem().unwrap();
        let refused = world
            .authority
            .bear(&token, &Ask::csr(csr))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert_eq!(world.authority.refusal().await.code, "csr_names_differ");
    }
    let held = key();
    let csr = named(API).serialize_request(&held).unwrap().pem().unwrap();
    let channel = world.authority.channel(None).await;
    let header = format!("Bearer {token}");
    let held = create(channel, Some(&header), &held, &Ask::csr(csr))
        .await
        .unwrap();
    world
        .authority
        .ask(&held, &key(), &Ask::default())
        .await
        .unwrap_err();
    assert_eq!(world.authority.refusal().await.code, "renewal_off");
}

#[tokio::test]
async fn claims_become_selectors_and_by_a_template_an_identity() {
    let issuer = "https://token.ci.example";
    let ci = Signer::es256();
    let dir = TempDir::new().unwrap();
    let keys = dir.path().join("ci.json");
    std::fs::write(
        &keys,
        key_set(&[ci.jwk("a"), json!({"kty": "oct", "k": "AAAA", "kid": "b"})]),
    )
    .unwrap();
    let world = World::start(Signer::es256(), |section| {
        section["oidc"] = json!([{
            "issuer": issuer, "audiences": ["countersign"], "keys": {"file": keys},
            "claims": ["repository", "runner", "groups"],
            "spiffeId": "spiffe://cluster.local/ci/{+claim:repository}",
        }]);
    })
    .await;
    let now = world.now().as_secs();
    let claims = json!({"iss": issuer, "aud": "countersign", "sub": "repo:a/b", "exp": now + 60,
        "repository": "octo/shop", "runner": 7, "groups": ["x", true, {"y": 1}, 1.5], "secret": "s"});
    // Whatever cluster is named: the issuer is pinned.
    let ask = Ask {
        cluster: Some("Kubernetes"),
        ..Ask::default()
    };
    let held = world
        .authority
        .bear(&ci.token("a", &claims), &ask)
        .await
        .unwrap();
    assert_eq!(
        held.svid.id().to_string(),
        "spiffe://cluster.local/ci/octo/shop"
    );
    for bad in ["../ns/payments/sa/api", "octo/", "/", "", "a b"] {
        let token = ci.token("a", &with(claims.clone(), "repository", bad));
        world
            .refused(bad, &token, Code::PermissionDenied, "no_identity")
            .await;
    }
    let without_claim = ci.token("a", &without(claims.clone(), "repository"));
    world
        .refused(
            "no claim",
            &without_claim,
            Code::PermissionDenied,
            "no_identity",
        )
        .await;
    // The shared key in the set verifies nothing, and one issuer's keys not the other's tokens.
    let shared = ci.raw(r#"{"alg":"HS256","kid":"b"}"#, &claims.to_string());
    world
        .refused(
            "shared key",
            &shared,
            Code::Unauthenticated,
            "jwt_algorithm",
        )
        .await;
    let crossed = world.signer.token("a", &claims);
    world
        .refused(
            "the cluster's key",
            &crossed,
            Code::Unauthenticated,
            "jwt_bad_signature",
        )
        .await;
}
