//! The deny list on its way to the filters.

use identity::{
    UnixTime,
    deny_list::{MAX_ENTRIES, PayloadEntry, State},
    x509::Sha256Digest,
};

use crate::{
    authority::Authority,
    harness::{Agent, Home, get},
};

async fn agent_of(authority: &Authority) -> (Home, Agent) {
    let home = Home::new(authority);
    let agent = home.started().await;
    (home, agent)
}

async fn has_sequence(agent: &Agent, wanted: (u64, u64)) {
    agent
        .until(|status| {
            let list = status.deny_list.as_ref();
            list.is_some_and(|list| (list.epoch, list.sequence) == wanted)
        })
        .await;
}

async fn refused(agent: &Agent, why: &str) {
    let status = agent.until(|status| status.deny_list_error.is_some()).await;
    let error = status.deny_list_error.unwrap();
    assert!(error.contains(why), "{error}");
}

#[tokio::test]
async fn passes_the_list_on_unchanged_and_only_when_it_is_news() {
    let authority = Authority::up().await;
    let (_home, agent) = agent_of(&authority).await;
    assert_eq!(get(&agent.socket, "/v1/denylist?since=0").await.0, 503);
    let list = authority.ca.deny_list(1, 7);
    authority.deny_list.send_replace(Some(list.clone()));
    has_sequence(&agent, (1, 7)).await;
    let jws = String::from_utf8(list.jws).unwrap();
    for path in [
        "/v1/denylist",
        "/v1/denylist?since=0",
        "/v1/denylist?since=6",
    ] {
        assert_eq!(get(&agent.socket, path).await, (200, jws.clone()));
    }
    let held = get(&agent.socket, "/v1/denylist?since=7").await;
    assert_eq!(held, (204, String::new()));
    authority
        .deny_list
        .send_replace(Some(authority.ca.deny_list(1, 8)));
    has_sequence(&agent, (1, 8)).await;
    assert_eq!(get(&agent.socket, "/v1/denylist?since=7").await.0, 200);
    for bad in ["since=x", "since=-1", "before=1"] {
        let (code, _) = get(&agent.socket, &format!("/v1/denylist?{bad}")).await;
        assert_eq!(code, 400, "{bad}");
    }
}

#[tokio::test]
async fn passes_on_a_list_as_long_as_lists_may_be() {
    let authority = Authority::up().await;
    let (_home, agent) = agent_of(&authority).await;
    let entries = (0..MAX_ENTRIES)
        .map(|number| PayloadEntry {
            sha256: Sha256Digest::of(&number.to_be_bytes()),
            state: State::Suspended,
            since: UnixTime::from_secs(1_800_000_000),
        })
        .collect();
    let list = authority.ca.deny_list_of(1, 1, entries);
    authority.deny_list.send_replace(Some(list.clone()));
    has_sequence(&agent, (1, 1)).await;
    let (code, body) = get(&agent.socket, "/v1/denylist?since=0").await;
    assert_eq!(code, 200);
    assert_eq!(body.len(), list.jws.len());
}

#[tokio::test]
async fn refuses_an_older_list_and_takes_a_new_epoch() {
    let authority = Authority::up().await;
    let (_home, agent) = agent_of(&authority).await;
    let send = |epoch, sequence| {
        let list = authority.ca.deny_list(epoch, sequence);
        authority.deny_list.send_replace(Some(list));
    };
    send(1, 7);
    has_sequence(&agent, (1, 7)).await;
    send(1, 6);
    refused(&agent, "deny list").await;
    assert_eq!(get(&agent.socket, "/v1/denylist?since=7").await.0, 204);
    send(2, 1);
    has_sequence(&agent, (2, 1)).await;
    assert_eq!(agent.status().await.deny_list_error, None);
    send(1, 100);
    refused(&agent, "deny list").await;
}

#[tokio::test]
async fn refuses_a_list_of_a_foreign_key_or_with_another_number() {
    let authority = Authority::up().await;
    let (_home, agent) = agent_of(&authority).await;
    let stranger = Authority::down().await;
    authority
        .deny_list
        .send_replace(Some(stranger.ca.deny_list(1, 1)));
    refused(&agent, "does not verify").await;
    let mut list = authority.ca.deny_list(1, 2);
    list.sequence = 3;
    authority.deny_list.send_replace(Some(list));
    agent
        .until(|status| {
            let error = status.deny_list_error.as_deref();
            error.is_some_and(|error| error.contains("sequence 3"))
        })
        .await;
    assert_eq!(get(&agent.socket, "/v1/denylist?since=0").await.0, 503);
}

#[tokio::test]
async fn a_list_that_was_refused_is_taken_once_its_key_is_known() {
    let authority = Authority::up().await;
    let keys = authority.bundle.borrow().deny_list_key_pems.clone();
    authority
        .bundle
        .send_modify(|bundle| bundle.deny_list_key_pems.clear());
    authority
        .deny_list
        .send_replace(Some(authority.ca.deny_list(1, 1)));
    let (_home, agent) = agent_of(&authority).await;
    refused(&agent, "does not verify").await;
    authority
        .bundle
        .send_modify(|bundle| bundle.deny_list_key_pems = keys);
    has_sequence(&agent, (1, 1)).await;
}
