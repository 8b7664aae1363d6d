//! Tokens of a real Kubernetes API server. Each test needs kube-apiserver and etcd in .tools/kube.

use std::time::Instant;

use authority::Settings;
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Code;

use crate::kube_cluster::{Cluster, ISSUER};
use crate::support::{Ask, Authority};
use crate::tokens::{Signer, proofs};

const API: &str = "spiffe://cluster.local/ns/payments/sa/api";
const BILLING: &str = "spiffe://cluster.local/ns/payments/sa/billing";

async fn authority(cluster: &Cluster) -> Authority {
    let api = json!({"url": cluster.url(), "caFile": cluster.ca_file(),
        "tokenFile": cluster.token_file(), "timeout": 1});
    let keys = json!({"url": format!("{}/openid/v1/jwks", cluster.url()),
        "caFile": cluster.ca_file(), "tokenFile": cluster.token_file()});
    let of = |name: &str, more: Value| {
        let mut one = json!({"name": name, "issuer": ISSUER, "apiServer": api});
        one.as_object_mut()
            .unwrap()
            .append(&mut more.as_object().unwrap().clone());
        one
    };
    let section = json!({"kubernetes": [
        of("reviewed", json!({"default": true, "tokenReview": {"cacheFor": 30},
            "trustedNodeAccounts": ["istio-system/ztunnel"]})),
        of("offline", json!({"keys": keys})),
        of("both", json!({"keys": keys, "tokenReview": {"cacheFor": 30}})),
    ]});
    Authority::start_in(TempDir::new().unwrap(), |settings: &mut Settings| {
        settings.proofs = proofs(section);
    })
    .await
}

fn of(cluster: &'static str) -> Ask {
    Ask {
        cluster: Some(cluster),
        ..Ask::default()
    }
}

async fn refused(authority: &Authority, token: &str, ask: &Ask, code: Code, rule: &str) {
    let before = authority.certificates().await.len();
    let refused = authority.bear(token, ask).await.expect_err(rule);
    assert_eq!(refused.code(), code, "{rule}: {refused}");
    assert_eq!(authority.refusal().await.code, rule);
    assert_eq!(authority.certificates().await.len(), before, "{rule}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver and etcd in .tools/kube: ./justw e2e-kube"]
async fn real_tokens_are_reviewed_and_checked_offline() {
    let cluster = Cluster::start();
    cluster.namespace("payments");
    cluster.node("n1");
    cluster.service_account("payments", "api");
    let uid = cluster.pod("payments", "api-0", "api", "n1");
    let authority = authority(&cluster).await;
    let token = cluster.token("payments", "api", "istio-ca", Some(("api-0", &uid)));
    for name in ["reviewed", "offline", "both"] {
        let held = authority.bear(&token, &of(name)).await.unwrap();
        assert_eq!(held.svid.id().to_string(), API, "{name}");
    }
    // One token, one review a cluster: whoever comes while it is under way waits for it.
    let fresh = cluster.token("payments", "api", "istio-ca", None);
    let before = cluster.reviews();
    let ask = Ask::default();
    let began = Instant::now();
    let answers = futures::future::join_all((0..50).map(|_| authority.bear(&fresh, &ask))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    println!(
        "50 at once with one token: {:?}, {} review",
        began.elapsed(),
        cluster.reviews() - before
    );
    assert_eq!(cluster.reviews() - before, 1);

    for name in ["reviewed", "offline", "both"] {
        let other = cluster.token("payments", "api", "api", None);
        refused(
            &authority,
            &other,
            &of(name),
            Code::Unauthenticated,
            "jwt_wrong_audience",
        )
        .await;
        let (head, _) = token.rsplit_once('.').unwrap();
        let forged = format!("{head}.{}", crate::tokens::base64(&[1; 256]));
        let rule = if name == "reviewed" {
            "token_review_failed"
        } else {
            "jwt_bad_signature"
        };
        refused(&authority, &forged, &of(name), Code::Unauthenticated, rule).await;
        let claims = crate::tokens::projected(authority.now());
        let made_up = Signer::rs256().token("nobody", &claims);
        let rule = if name == "reviewed" {
            "token_review_failed"
        } else {
            "jwt_unknown_key"
        };
        refused(&authority, &made_up, &of(name), Code::Unauthenticated, rule).await;
    }

    // A deleted pod's token: the API server knows at once, a review that is remembered does not, and
    // a check with keys alone never will.
    cluster.delete_pod("payments", "api-0");
    authority.bear(&token, &of("reviewed")).await.unwrap();
    authority.clock.advance(30);
    // (Before it is sure that the server has noticed: it watches pods, too.)
    tokio::time::sleep(std::time::Duration::from_secs(12)).await;
    for name in ["reviewed", "both"] {
        refused(
            &authority,
            &token,
            &of(name),
            Code::Unauthenticated,
            "token_review_failed",
        )
        .await;
    }
    authority.bear(&token, &of("offline")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver and etcd in .tools/kube: ./justw e2e-kube"]
async fn an_api_server_that_does_not_answer_is_no_refusal() {
    let cluster = Cluster::start();
    cluster.namespace("payments");
    cluster.service_account("payments", "api");
    let authority = authority(&cluster).await;
    let token = |_: u8| cluster.token("payments", "api", "istio-ca", None);
    let (known, unknown, later) = (token(1), token(2), token(3));
    authority.bear(&known, &of("reviewed")).await.unwrap();
    authority.bear(&known, &of("offline")).await.unwrap();
    cluster.freeze(true);
    let began = Instant::now();
    let failed = authority.bear(&unknown, &of("reviewed")).await.unwrap_err();
    let took = began.elapsed();
    assert_eq!(failed.code(), Code::Unavailable, "{failed}");
    println!("a frozen API server: Unavailable after {took:?}");
    assert!(took.as_secs() < 3, "{took:?}");
    // Who is known goes on, and who is checked with keys does not notice.
    authority.bear(&known, &of("reviewed")).await.unwrap();
    authority.bear(&unknown, &of("offline")).await.unwrap();
    cluster.freeze(false);
    authority.bear(&unknown, &of("reviewed")).await.unwrap();
    // Our own rights are gone: that is not the caller's fault.
    cluster.unbind("system:auth-delegator");
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let failed = authority.bear(&later, &of("reviewed")).await.unwrap_err();
    assert_eq!(failed.code(), Code::Unavailable, "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kube-apiserver and etcd in .tools/kube: ./justw e2e-kube"]
async fn a_node_agent_has_the_identities_of_its_node_and_no_others() {
    let cluster = Cluster::start();
    for name in ["payments", "istio-system"] {
        cluster.namespace(name);
    }
    for name in ["n1", "n2"] {
        cluster.node(name);
    }
    cluster.service_account("istio-system", "ztunnel");
    for name in ["api", "billing", "impostor"] {
        cluster.service_account("payments", name);
    }
    let agent = cluster.pod("istio-system", "ztunnel-1", "ztunnel", "n1");
    let impostor = cluster.pod("payments", "impostor-0", "impostor", "n1");
    cluster.pod("payments", "api-0", "api", "n1");
    cluster.pod("payments", "billing-0", "billing", "n2");
    let authority = authority(&cluster).await;
    let ztunnel = cluster.token(
        "istio-system",
        "ztunnel",
        "istio-ca",
        Some(("ztunnel-1", &agent)),
    );
    let held = authority.bear(&ztunnel, &Ask::id(API)).await.unwrap();
    assert_eq!(held.svid.id().to_string(), API);
    let issued = &authority.certificates().await[0];
    assert!(
        issued.caller.contains("istio-system:ztunnel"),
        "{}",
        issued.caller
    );
    let denied = |id| (Ask::id(id), Code::PermissionDenied, "impersonation_denied");
    let (ask, code, rule) = denied(BILLING);
    refused(&authority, &ztunnel, &ask, code, rule).await;
    for id in [
        "spiffe://cluster.local/ns/payments/sa/nobody",
        "spiffe://cluster.local/ns/istio-system/sa/istiod",
        "spiffe://cluster.local/countersign/authority",
        "spiffe://other.org/ns/payments/sa/api",
    ] {
        let (ask, code, rule) = denied(id);
        refused(&authority, &ztunnel, &ask, code, rule).await;
    }
    // Another account on the same node, and the agent's account without a pod.
    let (ask, code, rule) = denied(API);
    let other = cluster.token(
        "payments",
        "impostor",
        "istio-ca",
        Some(("impostor-0", &impostor)),
    );
    refused(&authority, &other, &ask, code, rule).await;
    let unbound = cluster.token("istio-system", "ztunnel", "istio-ca", None);
    refused(&authority, &unbound, &ask, code, rule).await;
    // A cluster for which no node accounts are trusted.
    let offline = Ask {
        cluster: Some("offline"),
        ..Ask::id(API)
    };
    refused(&authority, &ztunnel, &offline, code, rule).await;
    // A pod comes to the node, and another ends there.
    cluster.pod("payments", "billing-1", "billing", "n1");
    authority.clock.advance(1);
    authority.bear(&ztunnel, &Ask::id(BILLING)).await.unwrap();
    cluster.pod_fails("payments", "api-0");
    authority.clock.advance(10);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    refused(&authority, &ztunnel, &ask, code, rule).await;
}
