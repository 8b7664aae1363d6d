//! What agents watch.

use std::time::Duration;

use api::admin::{
    DeleteEntryRequest, RotateDenyListKeyRequest, StateAction, change_state_request::Selector,
};
use api::agent::agent_service_client::AgentServiceClient;
use api::agent::{DenyListUpdate, WatchBundleRequest, WatchDenyListRequest, WatchEntriesRequest};
use identity::deny_list::Update;
use tempfile::TempDir;
use tonic::{Code, Streaming};

use crate::revocation::{list, take};
use crate::support::{AGENT, Ask, Authority, HTTPBIN, Held, OTHER_AGENT, SLEEP, key};

#[tokio::test]
async fn entries_come_at_once_and_at_each_change_and_only_the_agents_own() {
    let authority = Authority::start().await;
    let agent = authority.agent(AGENT).await;
    authority.entry(OTHER_AGENT, SLEEP, 0).await;
    let mut client = AgentServiceClient::new(authority.channel(Some(&agent)).await);
    let mut stream = client
        .watch_entries(WatchEntriesRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().entries, []);

    let entry = authority.entry(AGENT, HTTPBIN, 60).await;
    let entries = stream.message().await.unwrap().unwrap().entries;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].id, entry.id);
    assert_eq!(entries[0].spiffe_id, HTTPBIN);
    assert_eq!(entries[0].selectors, ["unix:uid:0"]);
    assert_eq!(entries[0].ttl_seconds, 60);

    let request = DeleteEntryRequest { id: entry.id };
    authority.admin().await.delete_entry(request).await.unwrap();
    assert_eq!(stream.message().await.unwrap().unwrap().entries, []);
}

#[tokio::test]
async fn the_bundle_holds_root_issuer_and_list_key() {
    let authority = Authority::start().await;
    let agent = authority.agent(AGENT).await;
    let mut client = AgentServiceClient::new(authority.channel(Some(&agent)).await);
    let mut stream = client
        .watch_bundle(WatchBundleRequest {})
        .await
        .unwrap()
        .into_inner();
    let bundle = stream.message().await.unwrap().unwrap();
    assert_eq!(bundle.trust_domain, "cluster.local");
    assert_eq!(bundle.root_pem, authority.root_pem());
    assert_eq!(bundle.issuer_pems, [agent.chain[1].clone()]);
    assert_eq!(
        bundle.deny_list_key_pems,
        authority.status().await.deny_list_key_pems
    );
    // It stays open.
    let more = tokio::time::timeout(Duration::from_millis(200), stream.message()).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn agents_are_told_of_a_rotated_list_key_at_once_and_when_the_old_one_is_over() {
    let authority = Authority::start_in(TempDir::new().unwrap(), |settings| {
        settings.deny_list_period_seconds = 1;
    })
    .await;
    let agent = authority.agent(AGENT).await;
    let mut client = AgentServiceClient::new(authority.channel(Some(&agent)).await);
    let stream = client.watch_bundle(WatchBundleRequest {}).await;
    let mut stream = stream.unwrap().into_inner();
    let mut keys = async || {
        let next = tokio::time::timeout(Duration::from_secs(5), stream.message()).await;
        next.map(|message| message.unwrap().unwrap().deny_list_key_pems)
    };
    let before = keys().await.unwrap();
    let mut admin = authority.admin().await;
    let rotated = admin.rotate_deny_list_key(RotateDenyListKeyRequest {});
    let rotated = rotated.await.unwrap().into_inner().deny_list_key_pems;
    assert_eq!(keys().await.unwrap(), rotated);
    assert_eq!((&rotated[0], &rotated[2]), (&before[1], &before[0]));
    // No list of the old key is good any more.
    authority.clock.advance(60);
    assert_eq!(keys().await.unwrap(), rotated[..2]);
    assert_eq!(authority.status().await.deny_list_key_pems, rotated[..2]);
    // And nothing is sent where nothing has changed.
    let more = keys().await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn a_change_is_on_the_stream_when_the_command_returns() {
    let authority = Authority::start().await;
    let watcher = authority.agent(OTHER_AGENT).await;
    let agent = authority.agent(AGENT).await;
    let mut stream = deny_lists(&authority, &watcher).await;
    let first = stream.message().await.unwrap().unwrap().update;
    let first = take(&authority, first, None).await;
    let reply = authority
        .change(Selector::Serial(agent.serial()), StateAction::Suspend)
        .await
        .unwrap();
    let next = tokio::time::timeout(Duration::from_secs(2), stream.message()).await;
    let next = next.unwrap().unwrap().unwrap();
    // Only what changed: the one certificate.
    let base = Update::parse(next.update.clone()).unwrap().base();
    assert_eq!(base, Some(first.position()));
    let next = take(&authority, next.update, Some(&first)).await;
    assert_eq!(next.sequence(), reply.deny_list_sequence);
    assert!(next.sequence() > first.sequence());
    assert!(next.state_of(&agent.svid).is_some());
}

#[tokio::test]
async fn a_stream_goes_on_from_what_the_agent_holds() {
    let authority = Authority::start().await;
    let watcher = authority.agent(OTHER_AGENT).await;
    let agent = authority.agent(AGENT).await;
    let held = list(&authority, &watcher).await;
    let opened = async |position: (u64, u64)| {
        let mut client = AgentServiceClient::new(authority.channel(Some(&watcher)).await);
        let (epoch, sequence) = position;
        let request = WatchDenyListRequest { epoch, sequence };
        let stream = client.watch_deny_list(request).await.unwrap();
        stream.into_inner().message().await.unwrap().unwrap().update
    };
    // Nothing new: said at once all the same.
    let same = opened(held.position()).await;
    assert_eq!(take(&authority, same, Some(&held)).await, held);
    let serial = Selector::Serial(agent.serial());
    authority
        .change(serial, StateAction::Suspend)
        .await
        .unwrap();
    let changed = opened(held.position()).await;
    assert!(changed.len() < 3_000, "{} bytes", changed.len());
    let now = take(&authority, changed, Some(&held)).await;
    assert!(now.state_of(&agent.svid).is_some());
    // Another's numbers, as after a restart of the authority: all of it.
    let (epoch, sequence) = held.position();
    let all = opened((epoch - 1, sequence)).await;
    assert_eq!(take(&authority, all, None).await, now);
}

#[tokio::test]
async fn the_list_is_signed_again_and_again() {
    let authority = Authority::start_in(TempDir::new().unwrap(), |settings| {
        settings.deny_list_period_seconds = 1;
    })
    .await;
    let agent = authority.agent(AGENT).await;
    let mut stream = deny_lists(&authority, &agent).await;
    let first = stream.message().await.unwrap().unwrap().update;
    let mut last = take(&authority, first, None).await;
    for _ in 0..3 {
        let next = tokio::time::timeout(Duration::from_secs(5), stream.message()).await;
        let next = next.unwrap().unwrap().unwrap().update;
        let next = take(&authority, next, Some(&last)).await;
        assert!(next.sequence() > last.sequence());
        last = next;
    }
}

#[tokio::test]
async fn a_stream_ends_when_its_certificate_is_suspended_or_expires() {
    let authority = Authority::start().await;
    let agent = authority.agent(AGENT).await;
    let mut stream = deny_lists(&authority, &agent).await;
    stream.message().await.unwrap().unwrap();
    authority
        .change(Selector::Serial(agent.serial()), StateAction::Suspend)
        .await
        .unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(2), stream.message()).await;
    assert_eq!(ended.unwrap().unwrap_err().code(), Code::PermissionDenied);

    let other = authority.agent(OTHER_AGENT).await;
    let brief = authority.ask(&other, &key(), &Ask::ttl(4)).await.unwrap();
    let mut stream = deny_lists(&authority, &brief).await;
    stream.message().await.unwrap().unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), stream.message()).await;
    assert_eq!(ended.unwrap().unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_stream_ends_with_its_certificate_also_when_the_clock_jumps() {
    let authority = Authority::start().await;
    let agent = authority.agent(AGENT).await;
    let mut client = AgentServiceClient::new(authority.channel(Some(&agent)).await);
    let mut stream = client
        .watch_entries(WatchEntriesRequest {})
        .await
        .unwrap()
        .into_inner();
    stream.message().await.unwrap().unwrap();
    authority.clock.advance(24 * 3600 + 1);
    // Any change signs a list, as time does.
    authority
        .change(Selector::Serial(agent.serial()), StateAction::Resume)
        .await
        .unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.message()).await;
    assert_eq!(ended.unwrap().unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn no_stream_without_a_certificate() {
    let authority = Authority::start().await;
    let mut client = AgentServiceClient::new(authority.channel(None).await);
    let refused = client
        .watch_entries(WatchEntriesRequest {})
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert_eq!(authority.refusal().await.code, "no_proof");

    let token = authority.token(AGENT).await;
    let mut request = tonic::Request::new(WatchBundleRequest {});
    request
        .metadata_mut()
        .insert("authorization", format!("Join {token}").parse().unwrap());
    let refused = client.watch_bundle(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn streams_end_when_the_authority_stops() {
    let authority = Authority::start().await;
    let agent = authority.agent(AGENT).await;
    let mut stream = deny_lists(&authority, &agent).await;
    stream.message().await.unwrap().unwrap();
    let started = std::time::Instant::now();
    authority.stop().await;
    let ended = stream.message().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

pub(crate) async fn deny_lists(authority: &Authority, by: &Held) -> Streaming<DenyListUpdate> {
    let mut client = AgentServiceClient::new(authority.channel(Some(by)).await);
    client
        .watch_deny_list(WatchDenyListRequest::default())
        .await
        .unwrap()
        .into_inner()
}
