//! Who gets which certificate.

use identity::UnixTime;
use tonic::Code;

use crate::support::{
    AGENT, Ask, Authority, HTTPBIN, Held, OTHER_AGENT, SLEEP, csr, key, real_now,
};

#[tokio::test]
async fn an_agent_joins_renews_and_asks_for_its_workload() {
    let authority = Authority::start().await;
    let agent = authority.agent(AGENT).await;
    assert_eq!(agent.svid.id().to_string(), AGENT);
    assert_eq!(agent.chain.len(), 3);
    assert_eq!(agent.chain[2], authority.root_pem());

    let renewed = authority
        .ask(&agent, &key(), &Ask::default())
        .await
        .unwrap();
    assert_eq!(renewed.svid.id().to_string(), AGENT);
    assert_ne!(renewed.serial(), agent.serial());

    authority.entry(AGENT, HTTPBIN, 60).await;
    let workload = authority
        .ask(&renewed, &key(), &Ask::id(HTTPBIN))
        .await
        .unwrap();
    assert_eq!(workload.svid.id().to_string(), HTTPBIN);

    let record = authority.certificates().await;
    let record = record
        .iter()
        .find(|c| c.serial == workload.serial())
        .unwrap();
    assert_eq!(record.caller, AGENT);
    assert_eq!(record.proof, "client_certificate");
    assert_eq!(record.key_type, "ecdsa-p256");
    assert_eq!(record.sha256, workload.svid.sha256().to_string());
    assert_eq!(
        record.not_after,
        workload.svid.validity().not_after.as_secs()
    );
}

#[tokio::test]
async fn the_last_element_is_the_root_and_every_element_one_certificate() {
    let authority = Authority::start().await;
    let agent = authority.agent(AGENT).await;
    for element in &agent.chain {
        assert!(element.starts_with("-----BEGIN CERTIFICATE-----\n"));
        assert!(element.ends_with("-----END CERTIFICATE-----\n"));
        assert_eq!(element.matches("BEGIN").count(), 1);
    }
}

#[tokio::test]
async fn nobody_gets_anything_without_proof() {
    let authority = Authority::start().await;
    let refused = authority
        .join("", &key(), &Ask::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(refused.message(), "request authenticate failure");
    assert_eq!(authority.refusal().await.code, "bad_authorization_header");

    let refused = authority
        .join("made-up", &key(), &Ask::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(authority.refusal().await.code, "unknown_token");
}

#[tokio::test]
async fn a_bad_token_is_not_made_up_for_by_a_good_certificate() {
    let authority = Authority::start().await;
    let agent = authority.agent(AGENT).await;
    let channel = authority.channel(Some(&agent)).await;
    let mut request = tonic::Request::new(api::istio::IstioCertificateRequest {
        csr: csr(&key()),
        ..Default::default()
    });
    request
        .metadata_mut()
        .insert("authorization", "Join nothing".parse().unwrap());
    let mut client =
        api::istio::istio_certificate_service_client::IstioCertificateServiceClient::new(channel);
    let refused = client.create_certificate(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_token_is_bound_to_its_identity() {
    let authority = Authority::start().await;
    let token = authority.token(AGENT).await;
    let refused = authority
        .join(&token, &key(), &Ask::id(OTHER_AGENT))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refusal = authority.refusal().await;
    assert_eq!(refusal.code, "token_bound_elsewhere");
    assert!(refusal.alarm);
    // A refusal does not spend it.
    authority
        .join(&token, &key(), &Ask::id(AGENT))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_expired_token_is_refused() {
    let authority = Authority::start().await;
    let token = authority.token(AGENT).await;
    authority.clock.advance(601);
    let refused = authority
        .join(&token, &key(), &Ask::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(authority.refusal().await.code, "token_expired");
}

#[tokio::test]
async fn a_token_spent_by_many_at_once_gives_one_certificate() {
    let authority = Authority::start().await;
    let token = authority.token(AGENT).await;
    let attempts = (0..16).map(|_| {
        let (authority, token) = (&authority, &token);
        async move { authority.join(token, &key(), &Ask::default()).await }
    });
    let outcomes = futures::future::join_all(attempts).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    for refused in outcomes.into_iter().filter_map(Result::err) {
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
    let issued = authority.certificates().await;
    assert_eq!(issued.iter().filter(|c| c.spiffe_id == AGENT).count(), 1);
    let refusals = authority.refusals().await;
    assert_eq!(refusals.len(), 15);
    assert!(
        refusals
            .iter()
            .all(|r| r.alarm && r.code == "token_spent_by_other")
    );
}

#[tokio::test]
async fn the_same_token_with_the_same_key_gives_the_same_certificate_for_a_minute() {
    let authority = Authority::start().await;
    let token = authority.token(AGENT).await;
    let key = key();
    let ask = Ask::default();
    let attempts = (0..8).map(|_| authority.join(&token, &key, &ask));
    let held: Vec<Held> = futures::future::try_join_all(attempts).await.unwrap();
    assert!(held.iter().all(|other| other.chain == held[0].chain));

    authority.clock.advance(60);
    let again = authority.join(&token, &key, &Ask::default()).await.unwrap();
    assert_eq!(again.chain, held[0].chain);

    authority.clock.advance(1);
    let refused = authority
        .join(&token, &key, &Ask::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let refusal = authority.refusal().await;
    assert_eq!(
        (refusal.code.as_str(), refusal.alarm),
        ("token_spent", false)
    );
}

#[tokio::test]
async fn a_workload_that_is_not_the_callers_is_refused_and_recorded() {
    let authority = Authority::start().await;
    let agent = authority.agent(AGENT).await;
    authority.entry(OTHER_AGENT, SLEEP, 0).await;
    for wanted in [HTTPBIN, SLEEP, OTHER_AGENT] {
        let refused = authority
            .ask(&agent, &key(), &Ask::id(wanted))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        let refusal = authority.refusal().await;
        assert_eq!(refusal.code, "not_parented");
        assert_eq!(refusal.caller, AGENT);
        assert_eq!(refusal.spiffe_id, wanted);
    }
}

#[tokio::test]
async fn foreign_and_reserved_identities_are_refused() {
    let authority = Authority::start().await;
    let agent = authority.agent(AGENT).await;
    for (wanted, code) in [
        (
            "spiffe://elsewhere.example/ns/default/sa/x",
            "foreign_trust_domain",
        ),
        (
            "spiffe://cluster.local/countersign/authority",
            "reserved_identity",
        ),
        ("spiffe://cluster.local", "reserved_identity"),
    ] {
        let refused = authority
            .ask(&agent, &key(), &Ask::id(wanted))
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{wanted}");
        assert_eq!(authority.refusal().await.code, code);
    }
    let refused = authority
        .ask(&agent, &key(), &Ask::id("not a SPIFFE ID"))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(authority.refusal().await.code, "bad_field");
}

#[tokio::test]
async fn a_deleted_entry_ends_the_workloads_own_renewals() {
    let authority = Authority::start().await;
    let agent = authority.agent(AGENT).await;
    let entry = authority.entry(AGENT, HTTPBIN, 0).await;
    let workload = authority
        .ask(&agent, &key(), &Ask::id(HTTPBIN))
        .await
        .unwrap();
    let workload = authority
        .ask(&workload, &key(), &Ask::default())
        .await
        .unwrap();

    let request = api::admin::DeleteEntryRequest { id: entry.id };
    authority.admin().await.delete_entry(request).await.unwrap();
    let refused = authority
        .ask(&workload, &key(), &Ask::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(authority.refusal().await.code, "entry_gone");
    // The agent's own certificate does not depend on it.
    authority
        .ask(&agent, &key(), &Ask::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn lifetimes_follow_istiods_rule() {
    let authority = Authority::start().await;
    let agent = authority.agent(AGENT).await;
    let life = |held: &Held| held.svid.validity().not_after.secs_since(authority.now());

    let default = authority.ask(&agent, &key(), &Ask::ttl(0)).await.unwrap();
    assert_eq!(life(&default), 24 * 3600);
    assert_eq!(
        life(&authority.ask(&agent, &key(), &Ask::ttl(-5)).await.unwrap()),
        24 * 3600
    );
    let hour = authority
        .ask(&agent, &key(), &Ask::ttl(3600))
        .await
        .unwrap();
    assert_eq!(life(&hour), 3600);
    assert_eq!(hour.svid.validity().not_before, minus(authority.now(), 120));
    // Backdating is a quarter of a short life, so that half of the period is still to come.
    let minute = authority.ask(&agent, &key(), &Ask::ttl(60)).await.unwrap();
    assert_eq!(
        minute.svid.validity().not_before,
        minus(authority.now(), 15)
    );

    let refused = authority
        .ask(&agent, &key(), &Ask::ttl(90 * 86_400 + 1))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(authority.refusal().await.code, "ttl_too_long");

    // An entry's limit shortens without an error.
    authority.entry(AGENT, HTTPBIN, 60).await;
    for ttl_seconds in [0, 59, 86_400] {
        let ask = Ask {
            ttl_seconds,
            ..Ask::id(HTTPBIN)
        };
        let workload = authority.ask(&agent, &key(), &ask).await.unwrap();
        let wanted = if ttl_seconds == 59 { 59 } else { 60 };
        assert_eq!(life(&workload), wanted);
        // Its own renewals keep to the limit, too.
        let renewed = authority
            .ask(&workload, &key(), &Ask::ttl(86_400))
            .await
            .unwrap();
        assert_eq!(life(&renewed), 60);
    }
}

#[tokio::test]
async fn a_leaf_never_outlives_its_issuer() {
    // A CA that has an hour left: made almost a year ago, by this clock.
    let authority = Authority::start_in(tempfile::TempDir::new().unwrap(), |settings| {
        let dir = settings.data_dir.join("ca");
        std::fs::create_dir_all(&settings.data_dir).unwrap();
        let init = authority::ca::CaInit {
            trust_domain: settings.trust_domain.clone(),
            key_algorithm: settings.key_algorithm,
            generation: 1,
            now: minus(real_now(), 365 * 86_400 - 3600),
        };
        authority::ca::init(&dir, &init).unwrap();
    })
    .await;
    let end = authority.status().await.intermediate.unwrap().not_after;
    let agent = authority.agent(AGENT).await;
    assert_eq!(agent.svid.validity().not_after.as_secs(), end);
    let short = authority.ask(&agent, &key(), &Ask::ttl(60)).await.unwrap();
    assert!(short.svid.validity().not_after.as_secs() < end);
}

#[tokio::test]
async fn the_operator_may_issue_for_a_key_without_an_agent() {
    let authority = Authority::start().await;
    let request = api::admin::IssueCertificateRequest {
        csr_pem: csr(&key()),
        spiffe_id: SLEEP.to_owned(),
        ttl_seconds: 300,
    };
    let reply = authority
        .admin()
        .await
        .issue_certificate(request)
        .await
        .unwrap()
        .into_inner();
    let record = reply.certificate.unwrap();
    assert_eq!(record.spiffe_id, SLEEP);
    assert_eq!(record.proof, "operator");
    assert!(record.caller.starts_with("uid:") && record.caller != "uid:unknown");
    assert_eq!(reply.cert_chain.len(), 3);
}

fn minus(time: UnixTime, seconds: i64) -> UnixTime {
    time.plus_secs(-seconds).unwrap()
}
