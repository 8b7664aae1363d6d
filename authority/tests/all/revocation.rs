//! Suspend, resume, revoke, and the signed list that says so.

use api::admin::{
    CertificateState, RotateDenyListKeyRequest, StateAction, change_state_request::Selector,
};
use authority::AwsLcVerifier;
use authority::clock::ManualClock;
use identity::SpiffeId;
use identity::deny_list::{
    Check, DenyList, ListKey, ListSigners, MAX_CLOCK_AHEAD_SECONDS, State, Update,
};
use identity::x509::IssuerKey;
use tonic::Code;

use crate::support::{AGENT, Ask, Authority, HTTPBIN, Held, OTHER_AGENT, key, real_now};

#[tokio::test]
async fn a_suspended_identity_gets_nothing_until_it_is_resumed() {
    let authority = Authority::start().await;
    let agent = authority.agent(AGENT).await;
    authority.entry(AGENT, HTTPBIN, 0).await;
    let workload = authority
        .ask(&agent, &key(), &Ask::id(HTTPBIN))
        .await
        .unwrap();

    let serial = Selector::Serial(workload.serial());
    authority
        .change(serial.clone(), StateAction::Suspend)
        .await
        .unwrap();
    // Neither by the suspended certificate itself …
    let refused = authority
        .ask(&workload, &key(), &Ask::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refusal = authority.refusal().await;
    assert_eq!(
        (refusal.code.as_str(), refusal.alarm),
        ("certificate_suspended", true)
    );
    // … nor through its agent.
    let refused = authority
        .ask(&agent, &key(), &Ask::id(HTTPBIN))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(authority.refusal().await.code, "identity_suspended");
    // Others are not touched.
    authority
        .ask(&agent, &key(), &Ask::default())
        .await
        .unwrap();

    let resumed = authority.change(serial, StateAction::Resume).await.unwrap();
    assert_eq!(resumed.changed[0].state(), CertificateState::Good);
    authority
        .ask(&workload, &key(), &Ask::default())
        .await
        .unwrap();
    authority
        .ask(&agent, &key(), &Ask::id(HTTPBIN))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_expired_suspension_does_not_hold_for_ever() {
    let authority = Authority::start().await;
    let agent = authority.agent(AGENT).await;
    authority.entry(AGENT, HTTPBIN, 60).await;
    let workload = authority
        .ask(&agent, &key(), &Ask::id(HTTPBIN))
        .await
        .unwrap();
    authority
        .change(Selector::Serial(workload.serial()), StateAction::Suspend)
        .await
        .unwrap();
    authority
        .ask(&agent, &key(), &Ask::id(HTTPBIN))
        .await
        .unwrap_err();
    authority.clock.advance(61);
    authority
        .ask(&agent, &key(), &Ask::id(HTTPBIN))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_revoked_certificate_proves_nothing_and_stays_revoked() {
    let authority = Authority::start().await;
    let agent = authority.agent(AGENT).await;
    let other = authority
        .ask(&agent, &key(), &Ask::default())
        .await
        .unwrap();
    let serial = Selector::Serial(agent.serial());
    authority
        .change(serial.clone(), StateAction::Revoke)
        .await
        .unwrap();

    let refused = authority
        .ask(&agent, &key(), &Ask::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(authority.refusal().await.code, "certificate_revoked");
    for action in [StateAction::Resume, StateAction::Suspend] {
        let refused = authority.change(serial.clone(), action).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
    }
    // Another certificate of the identity still works: only that one was revoked.
    authority
        .ask(&other, &key(), &Ask::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_whole_identity_is_changed_at_once() {
    let authority = Authority::start().await;
    let agent = authority.agent(AGENT).await;
    let second = authority
        .ask(&agent, &key(), &Ask::default())
        .await
        .unwrap();
    let bystander = authority.agent(OTHER_AGENT).await;
    let reply = authority
        .change(Selector::SpiffeId(AGENT.to_owned()), StateAction::Suspend)
        .await
        .unwrap();
    assert_eq!(reply.changed.len(), 2);
    let list = list(&authority, &bystander).await;
    for held in [&agent, &second] {
        assert_eq!(list.state_of(&held.svid).unwrap().state, State::Suspended);
    }
    assert_eq!(list.state_of(&bystander.svid), None);
    assert_eq!(
        (list.epoch(), list.sequence()),
        (reply.deny_list_epoch, reply.deny_list_sequence)
    );
}

#[tokio::test]
async fn what_matches_nothing_is_not_found() {
    let authority = Authority::start().await;
    for selector in [
        Selector::Serial("00ff".to_owned()),
        Selector::Sha256("00".repeat(32)),
        Selector::SpiffeId(HTTPBIN.to_owned()),
    ] {
        let refused = authority
            .change(selector, StateAction::Revoke)
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::NotFound);
    }
    let refused = authority
        .change(
            Selector::SpiffeId(HTTPBIN.to_owned()),
            StateAction::Unspecified,
        )
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_revoked_certificate_stays_listed_until_every_clock_says_it_has_expired() {
    let authority = Authority::start().await;
    let watcher = authority.agent(OTHER_AGENT).await;
    let agent = authority.agent(AGENT).await;
    let brief = authority.ask(&agent, &key(), &Ask::ttl(30)).await.unwrap();
    for held in [&agent, &brief] {
        authority
            .change(Selector::Serial(held.serial()), StateAction::Revoke)
            .await
            .unwrap();
    }
    // Any change signs anew.
    let again = Selector::Serial(agent.serial());
    assert_eq!(list(&authority, &watcher).await.len(), 2);
    // Over by our clock, but a verifier whose clock is behind takes both list and certificate.
    authority.clock.advance(30 + MAX_CLOCK_AHEAD_SECONDS);
    authority
        .change(again.clone(), StateAction::Revoke)
        .await
        .unwrap();
    assert_eq!(list(&authority, &watcher).await.len(), 2);
    authority.clock.advance(1);
    authority.change(again, StateAction::Revoke).await.unwrap();
    let list = list(&authority, &watcher).await;
    assert_eq!(list.len(), 1);
    assert!(list.state_of(&agent.svid).is_some());
}

#[tokio::test]
async fn revoking_an_identity_takes_what_a_clock_that_is_behind_still_accepts() {
    let authority = Authority::start().await;
    let watcher = authority.agent(OTHER_AGENT).await;
    let agent = authority.agent(AGENT).await;
    authority.entry(AGENT, HTTPBIN, 30).await;
    let brief = authority.ask(&agent, &key(), &Ask::id(HTTPBIN)).await;
    let brief = brief.unwrap();
    let identity = Selector::SpiffeId(HTTPBIN.to_owned());
    authority.clock.advance(30 + MAX_CLOCK_AHEAD_SECONDS);
    let revoked = authority
        .change(identity.clone(), StateAction::Revoke)
        .await
        .unwrap();
    assert_eq!(revoked.changed.len(), 1);
    let list = list(&authority, &watcher).await;
    assert_eq!(list.state_of(&brief.svid).unwrap().state, State::Revoked);
    // No verifier's clock takes it after that.
    authority.clock.advance(1);
    let none = authority.change(identity, StateAction::Revoke).await;
    assert_eq!(none.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_rotated_key_is_known_before_it_signs_and_survives_a_restart() {
    let authority = Authority::start().await;
    let watcher = authority.agent(OTHER_AGENT).await;
    let before = authority.status().await.deny_list_key_pems;
    assert_eq!(before.len(), 2);
    let mut lists = crate::streams::deny_lists(&authority, &watcher).await;
    let first = lists.message().await.unwrap().unwrap().update;
    let first = take(&authority, first, None).await;
    let mut client = authority.admin().await;
    let rotated = client.rotate_deny_list_key(RotateDenyListKeyRequest {});
    let after = rotated.await.unwrap().into_inner().deny_list_key_pems;
    // The next one signs, a new one is next, and the old one is known still.
    assert_eq!((&after[0], &after[2]), (&before[1], &before[0]));
    assert!(!before.contains(&after[1]));
    assert_eq!(authority.status().await.deny_list_key_pems, after);
    let next = lists.message().await.unwrap().unwrap().update;
    // Who pinned both keys before can verify the first list of the next one.
    let pinned = before.iter().map(|pem| ListKey::from_pem(pem).unwrap());
    let signers = ListSigners::Keys(pinned.collect());
    let check = Check {
        signers: &signers,
        verifier: &AwsLcVerifier,
        now: authority.now(),
        floor: Some(first.position()),
        held: Some(&first),
    };
    let list = Update::parse(next.clone()).unwrap().verify(&check).unwrap();
    assert!(list.position() > first.position());
    let only_the_old = ListSigners::Keys(vec![ListKey::from_pem(&before[0]).unwrap()]);
    let check = Check {
        signers: &only_the_old,
        ..check
    };
    Update::parse(next).unwrap().verify(&check).unwrap_err();
    let dir = authority.stop().await;

    let authority = Authority::start_in(dir, |_| {}).await;
    let keys = authority.status().await.deny_list_key_pems;
    assert_eq!(keys, after[..2]);
    take(&authority, list_update(&authority, &watcher).await, None).await;
}

async fn list_update(authority: &Authority, by: &Held) -> Vec<u8> {
    let mut stream = crate::streams::deny_lists(authority, by).await;
    stream.message().await.unwrap().unwrap().update
}

#[tokio::test]
async fn the_list_signers_certificate_is_renewed_in_good_time() {
    let authority = Authority::start_in(tempfile::TempDir::new().unwrap(), |settings| {
        settings.deny_list_period_seconds = 1;
    })
    .await;
    let id = "spiffe://cluster.local/countersign/authority/deny-list";
    let certificates = async || {
        let all = authority.certificates().await;
        all.into_iter().filter(|one| one.spiffe_id == id).count()
    };
    assert_eq!(certificates().await, 1);
    let agent = authority.agent(OTHER_AGENT).await;
    let lasting = authority.ask(&agent, &key(), &Ask::ttl(72 * 3600)).await;
    let mut lists = crate::streams::deny_lists(&authority, &lasting.unwrap()).await;
    // More than half of its life.
    authority.clock.advance(13 * 3600);
    for _ in 0..20 {
        lists.message().await.unwrap().unwrap();
        if certificates().await == 2 {
            break;
        }
    }
    assert_eq!(certificates().await, 2);
    // And so lists verify when the first one has ended.
    authority.clock.advance(12 * 3600);
    let mut update = Vec::new();
    for _ in 0..3 {
        update = lists.message().await.unwrap().unwrap().update;
    }
    let issuer = authority.status().await.intermediate.unwrap().pem;
    let signers = ListSigners::Authority {
        id: SpiffeId::new(id).unwrap(),
        issuers: IssuerKey::from_certificate_pem(&issuer).unwrap(),
    };
    let check = Check {
        signers: &signers,
        verifier: &AwsLcVerifier,
        now: authority.now(),
        floor: None,
        held: None,
    };
    identity::deny_list::verify(Update::parse(update).unwrap().head(), &check).unwrap();
}

#[tokio::test]
async fn nobody_gets_the_list_signers_identity_nor_its_profile() {
    let authority = Authority::start().await;
    let agent = authority.agent(AGENT).await;
    let id = "spiffe://cluster.local/countersign/authority/deny-list";
    let refused = authority.ask(&agent, &key(), &Ask::id(id)).await;
    refused.unwrap_err();
    let own = authority.certificates().await;
    let signers: Vec<_> = own.iter().filter(|one| one.spiffe_id == id).collect();
    assert_eq!(signers.len(), 1, "{own:?}");
}

#[tokio::test]
async fn sequence_and_states_survive_a_restart() {
    let authority = Authority::start().await;
    let watcher = authority.agent(OTHER_AGENT).await;
    let agent = authority.agent(AGENT).await;
    authority
        .change(Selector::Serial(agent.serial()), StateAction::Revoke)
        .await
        .unwrap();
    let before = list(&authority, &watcher).await;
    let keys = authority.status().await.deny_list_key_pems;
    let certificates = authority.certificates().await;
    let dir = authority.stop().await;

    let authority = Authority::start_in(dir, |_| {}).await;
    assert_eq!(authority.status().await.deny_list_key_pems, keys);
    let after = list(&authority, &watcher).await;
    assert!(after.epoch() >= before.epoch());
    assert!(after.sequence() > before.sequence());
    assert_eq!(after.state_of(&agent.svid).unwrap().state, State::Revoked);
    let now = authority.certificates().await;
    assert!(certificates.iter().all(|old| now.contains(old)));
    // And the old key and certificate still renew.
    authority
        .ask(&watcher, &key(), &Ask::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_record_restored_from_a_backup_numbers_no_list_a_second_time() {
    let dir = Authority::start().await.stop().await;
    let record = dir.path().join("data/countersign.db");
    let backup = dir.path().join("backup.db");
    std::fs::copy(&record, &backup).unwrap();

    let authority = Authority::start_in(dir, |_| {}).await;
    let agent = authority.agent(AGENT).await;
    for action in [StateAction::Suspend, StateAction::Resume] {
        let serial = Selector::Serial(agent.serial());
        authority.change(serial, action).await.unwrap();
    }
    let status = authority.status().await;
    let before = (status.deny_list_epoch, status.deny_list_sequence);
    let dir = authority.stop().await;

    std::fs::copy(&backup, &record).unwrap();
    let mut refusing = crate::support::settings(&dir.path().join("data"));
    let refused = authority::start(refusing.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("older one"), "{refused}");
    refusing.record.head_period_seconds = 0;
    let refused = authority::start(refusing).await.unwrap_err();
    assert!(refused.to_string().contains("1 to 3600 s"), "{refused}");
    let authority = Authority::start_in(dir, |settings| {
        settings.record.accept_lost_revocations = true;
        let later = real_now().plus_secs(5).unwrap();
        settings.clock = std::sync::Arc::new(ManualClock::new(later));
    })
    .await;
    let status = authority.status().await;
    let after = (status.deny_list_epoch, status.deny_list_sequence);
    assert!(after > before, "{after:?} follows {before:?}");
    assert!(after.0 > before.0);
    let dir = authority.stop().await;

    // Nor does a clock that is set back take a number back.
    let authority = Authority::start_in(dir, |settings| {
        let earlier = real_now().plus_secs(-600).unwrap();
        settings.clock = std::sync::Arc::new(ManualClock::new(earlier));
    })
    .await;
    let status = authority.status().await;
    assert!((status.deny_list_epoch, status.deny_list_sequence) > after);
}

/// The list as an agent gets it, verified as a filter does.
pub(crate) async fn list(authority: &Authority, by: &Held) -> DenyList {
    let mut stream = crate::streams::deny_lists(authority, by).await;
    let message = stream.message().await.unwrap().unwrap();
    take(authority, message.update, None).await
}

/// Verifies an update as a filter does that pins the keys, and as one that pins the authority.
pub(crate) async fn take(
    authority: &Authority,
    update: Vec<u8>,
    held: Option<&DenyList>,
) -> DenyList {
    let status = authority.status().await;
    let pems = status.deny_list_key_pems.iter();
    let keys: Vec<ListKey> = pems.map(|pem| ListKey::from_pem(pem).unwrap()).collect();
    let issuer = status.intermediate.unwrap().pem;
    let id = "spiffe://cluster.local/countersign/authority/deny-list";
    let pinned = ListSigners::Authority {
        id: SpiffeId::new(id).unwrap(),
        issuers: IssuerKey::from_certificate_pem(&issuer).unwrap(),
    };
    let [one, other] = [ListSigners::Keys(keys), pinned].map(|signers| {
        let check = Check {
            signers: &signers,
            verifier: &AwsLcVerifier,
            now: authority.now(),
            floor: None,
            held,
        };
        Update::parse(update.clone())
            .unwrap()
            .verify(&check)
            .unwrap()
    });
    assert_eq!(one, other);
    one
}
