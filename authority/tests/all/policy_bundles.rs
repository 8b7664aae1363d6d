//! Policy bundles: on record, signed, and on their way to agents.

use std::time::Duration;

use api::admin::{
    GetPolicyBundleRequest, ListPolicyBundlesRequest, PolicyBundle, PublishPolicyBundleRequest,
    PublishPolicyBundleResponse, RotateDenyListKeyRequest,
};
use api::agent::agent_service_client::AgentServiceClient;
use api::agent::{HeldPolicyBundle, PolicyBundleUpdate, WatchPolicyBundlesRequest};
use authority::AwsLcVerifier;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::deny_list::{ListKey, ListSigners};
use identity::policy_bundle::{Bundle, BundleName, Check, Head, MAX_BODY_BYTES, verify};
use identity::signed::Proof;
use identity::x509::IssuerKey;
use identity::{SpiffeId, pem};
use tempfile::TempDir;
use tonic::{Code, Status, Streaming};

use crate::support::{AGENT, Authority, Held};

const SIGNER: &str = "spiffe://cluster.local/countersign/authority/deny-list";

async fn publish(
    authority: &Authority,
    name: &str,
    policies: &[u8],
    replaces: u64,
) -> Result<PublishPolicyBundleResponse, Status> {
    let request = PublishPolicyBundleRequest {
        name: name.to_owned(),
        policies: policies.to_vec(),
        replaces,
    };
    let mut admin = authority.admin().await;
    Ok(admin.publish_policy_bundle(request).await?.into_inner())
}

async fn published(authority: &Authority) -> Vec<PolicyBundle> {
    let mut admin = authority.admin().await;
    let answer = admin.list_policy_bundles(ListPolicyBundlesRequest {});
    answer.await.unwrap().into_inner().bundles
}

async fn watch(
    authority: &Authority,
    agent: &Held,
    held: Vec<HeldPolicyBundle>,
) -> Streaming<PolicyBundleUpdate> {
    let channel = authority.channel(Some(agent)).await;
    let mut client = AgentServiceClient::new(channel).max_decoding_message_size(8 << 20);
    let request = WatchPolicyBundlesRequest { held };
    client
        .watch_policy_bundles(request)
        .await
        .unwrap()
        .into_inner()
}

async fn next(stream: &mut Streaming<PolicyBundleUpdate>) -> Option<Vec<u8>> {
    let next = tokio::time::timeout(Duration::from_secs(2), stream.message()).await;
    Some(next.ok()?.unwrap().unwrap().bundle)
}

/// Checks a bundle as filters do that pin keys, and as those do that pin the signer's identity.
async fn check(authority: &Authority, agent: &Held, bundle: &[u8]) -> (Head, Vec<u8>) {
    let keys = authority.status().await.deny_list_key_pems;
    let keys = keys.iter().map(|pem| ListKey::from_pem(pem).unwrap());
    let issuer = pem::single(&agent.chain[1], pem::CERTIFICATE, 1 << 16).unwrap();
    let both = [
        ListSigners::Keys(keys.collect()),
        ListSigners::Authority {
            id: SpiffeId::new(SIGNER).unwrap(),
            issuers: vec![IssuerKey::from_certificate_der(&issuer).unwrap()],
        },
    ];
    let bundle = Bundle::parse(bundle).unwrap();
    let shop: BundleName = "shop".parse().unwrap();
    let heads = both.map(|signers| {
        let check = Check {
            proof: Proof {
                signers: &signers,
                verifier: &AwsLcVerifier,
                now: authority.now(),
                denied: None,
            },
            name: Some(&shop),
            floor: None,
            at_least: 0,
        };
        verify(bundle.head, &check).unwrap()
    });
    assert_eq!(heads[0], heads[1]);
    heads[0].check_body(bundle.body).unwrap();
    (heads[0].clone(), bundle.body.to_vec())
}

#[tokio::test]
async fn what_is_published_is_signed_and_on_the_stream_when_the_command_returns() {
    let authority = Authority::start().await;
    let agent = authority.agent(AGENT).await;
    let mut stream = watch(&authority, &agent, Vec::new()).await;
    assert_eq!(next(&mut stream).await, None, "there is none yet");
    let answer = publish(&authority, "shop", b"[1]", 0).await.unwrap();
    assert!(answer.changed);
    let told = answer.bundle.unwrap();
    let (head, body) = check(&authority, &agent, &next(&mut stream).await.unwrap()).await;
    assert_eq!(body, b"[1]");
    assert_eq!((head.epoch, head.sequence), (told.epoch, told.sequence));
    assert_eq!((told.sequence, told.size), (1, 3));
    assert!(told.operator.starts_with("uid:"), "{told:?}");
    assert_eq!(published(&authority).await, vec![told.clone()]);

    // The same again is nothing new; another one is the next.
    let same = publish(&authority, "shop", b"[1]", 1).await.unwrap();
    assert_eq!((same.changed, same.bundle), (false, Some(told)));
    let answer = publish(&authority, "shop", b"[2]", 1).await.unwrap();
    assert_eq!((answer.changed, answer.bundle.unwrap().sequence), (true, 2));
    let (head, body) = check(&authority, &agent, &next(&mut stream).await.unwrap()).await;
    assert_eq!((head.sequence, body), (2, b"[2]".to_vec()));

    // Who has it is not sent it again, who has another one is.
    let held = |sequence, issued| HeldPolicyBundle {
        name: "shop".to_owned(),
        epoch: head.epoch,
        sequence,
        issued,
    };
    let issued = head.issued.as_secs();
    let mut stream = watch(&authority, &agent, vec![held(2, issued)]).await;
    assert_eq!(next(&mut stream).await, None);
    for other in [held(1, issued), held(2, issued - 1)] {
        let mut stream = watch(&authority, &agent, vec![other]).await;
        assert!(next(&mut stream).await.is_some());
    }
}

#[tokio::test]
async fn what_must_not_be_published_is_refused_and_changes_nothing() {
    let authority = Authority::start().await;
    publish(&authority, "shop", b"[1]", 0).await.unwrap();
    let code = async |name: &str, policies: &[u8], replaces| {
        let refused = publish(&authority, name, policies, replaces).await;
        refused.unwrap_err().code()
    };
    // Somebody else was quicker, or there is none to replace.
    for (name, replaces) in [("shop", 0), ("shop", 2), ("other", 1)] {
        let found = code(name, b"[2]", replaces).await;
        assert_eq!(found, Code::FailedPrecondition, "{name} {replaces}");
    }
    for name in ["", "Shop", "../shop", "a b", &"a".repeat(64)] {
        assert_eq!(
            code(name, b"[2]", 0).await,
            Code::InvalidArgument,
            "{name:?}"
        );
    }
    let long = vec![b' '; MAX_BODY_BYTES + 1];
    assert_eq!(code("long", &long, 0).await, Code::InvalidArgument);
    assert_eq!(published(&authority).await.len(), 1);
    // Eight of the longest are as much as all may be together.
    for number in 0..7 {
        let name = format!("long-{number}");
        publish(&authority, &name, &long[1..], 0).await.unwrap();
    }
    assert_eq!(code("long-7", &long[1..], 0).await, Code::ResourceExhausted);
    publish(&authority, "long-0", b"[]", 1).await.unwrap();
    publish(&authority, "long-7", &long[1..], 0).await.unwrap();
}

#[tokio::test]
async fn bundles_outlive_the_authority_in_a_new_epoch() {
    let authority = Authority::start().await;
    publish(&authority, "shop", b"[1]", 0).await.unwrap();
    publish(&authority, "shop", b"[2]", 1).await.unwrap();
    let before = published(&authority).await.remove(0);
    let dir = authority.stop().await;
    let authority = Authority::start_in(dir, |settings| {
        settings.clock = std::sync::Arc::new(authority::clock::ManualClock::new(
            crate::support::real_now().plus_secs(10).unwrap(),
        ));
    })
    .await;
    let after = published(&authority).await.remove(0);
    assert!(after.epoch > before.epoch, "{after:?}");
    assert_eq!((after.sequence, &after.sha256), (2, &before.sha256));
    let request = GetPolicyBundleRequest {
        name: "shop".to_owned(),
    };
    let mut admin = authority.admin().await;
    let answer = admin.get_policy_bundle(request).await.unwrap().into_inner();
    assert_eq!(answer.policies, b"[2]");
    let answer = publish(&authority, "shop", b"[1]", 2).await.unwrap();
    assert_eq!(answer.bundle.unwrap().sequence, 3);
}

#[tokio::test]
async fn a_rotated_key_signs_what_is_published_anew() {
    let authority = Authority::start_in(TempDir::new().unwrap(), |settings| {
        settings.deny_list_period_seconds = 1;
    })
    .await;
    let agent = authority.agent(AGENT).await;
    publish(&authority, "shop", b"[1]", 0).await.unwrap();
    let mut stream = watch(&authority, &agent, Vec::new()).await;
    let first = next(&mut stream).await.unwrap();
    let (first_head, _) = check(&authority, &agent, &first).await;
    let mut admin = authority.admin().await;
    let rotated = admin.rotate_deny_list_key(RotateDenyListKeyRequest {});
    rotated.await.unwrap();
    // Within the second in which it was signed before.
    let second = next(&mut stream).await.unwrap();
    let (head, body) = check(&authority, &agent, &second).await;
    assert_eq!(
        (head.position(), body),
        (first_head.position(), b"[1]".to_vec())
    );
    let kid = |bundle: &[u8]| {
        let head = Bundle::parse(bundle).unwrap().head;
        let header = head.split(|byte| *byte == b'.').next().unwrap();
        let header = URL_SAFE_NO_PAD.decode(header).unwrap();
        serde_json::from_slice::<serde_json::Value>(&header).unwrap()["kid"].clone()
    };
    assert_ne!(kid(&first), kid(&second));
}

#[tokio::test]
async fn a_revoked_agent_reads_no_bundles() {
    let authority = Authority::start().await;
    let agent = authority.agent(AGENT).await;
    let channel = authority.channel(None).await;
    let mut stranger = AgentServiceClient::new(channel);
    let refused = stranger.watch_policy_bundles(WatchPolicyBundlesRequest { held: Vec::new() });
    assert_eq!(refused.await.unwrap_err().code(), Code::Unauthenticated);
    let mut stream = watch(&authority, &agent, Vec::new()).await;
    let serial = api::admin::change_state_request::Selector::Serial(agent.serial());
    authority
        .change(serial, api::admin::StateAction::Revoke)
        .await
        .unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(2), stream.message()).await;
    assert_eq!(ended.unwrap().unwrap_err().code(), Code::PermissionDenied);
}
