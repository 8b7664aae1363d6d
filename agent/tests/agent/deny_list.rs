//! The deny list on its way to the filters.

use std::sync::Arc;

use api::agent::DenyListUpdate;
use identity::{
    UnixTime,
    deny_list::{Changes, Entries, Entry, MAX_ENTRIES, State, Update},
    x509::Sha256Digest,
};

use crate::{
    authority::Authority,
    harness::{Agent, Home, get, get_bytes},
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
    agent
        .until(|status| {
            let error = status.deny_list_error.as_deref();
            error.is_some_and(|error| error.contains("does not verify") && error.contains(why))
        })
        .await;
}

fn suspended(numbers: std::ops::Range<usize>) -> Arc<Entries> {
    let entry = |number: usize| Entry {
        sha256: Sha256Digest::of(&number.to_be_bytes()),
        state: State::Suspended,
        since: UnixTime::from_secs(1_800_000_000),
    };
    Arc::new(Entries::new(numbers.map(entry).collect()).unwrap())
}

/// All entries of a list.
fn full(authority: &Authority, position: (u64, u64), entries: &Entries) -> Vec<u8> {
    Update::full(&authority.ca.list_head(position, entries), entries)
}

fn send(authority: &Authority, update: Vec<u8>) {
    let update = DenyListUpdate { update };
    authority.deny_list.send_replace(Some(update));
}

fn send_empty(authority: &Authority, position: (u64, u64)) {
    send(authority, full(authority, position, &Entries::default()));
}

#[tokio::test]
async fn passes_the_list_on_unchanged_and_only_when_it_is_news() {
    let authority = Authority::up().await;
    let (_home, agent) = agent_of(&authority).await;
    assert_eq!(get(&agent.socket, "/v1/denylist?since=0").await.0, 503);
    let list = full(&authority, (1, 7), &suspended(0..5));
    send(&authority, list.clone());
    has_sequence(&agent, (1, 7)).await;
    for path in [
        "/v1/denylist",
        "/v1/denylist?since=0",
        "/v1/denylist?since=7",
        "/v1/denylist?epoch=0&since=7",
        "/v1/denylist?epoch=2&since=7",
        "/v1/denylist?epoch=1&since=6",
    ] {
        let answer = get_bytes(&agent.socket, path).await;
        assert_eq!(answer, (200, list.clone()), "{path}");
    }
    let held = get(&agent.socket, "/v1/denylist?epoch=1&since=7").await;
    assert_eq!(held, (204, String::new()));
    for bad in ["since=x", "since=-1", "epoch=x&since=1", "before=1"] {
        let (code, _) = get(&agent.socket, &format!("/v1/denylist?{bad}")).await;
        assert_eq!(code, 400, "{bad}");
    }
}

#[tokio::test]
async fn tells_what_changed_since_a_list_it_remembers_in_its_own_words() {
    let authority = Authority::up().await;
    let (_home, agent) = agent_of(&authority).await;
    let (first, second) = (suspended(0..1_000), suspended(1..1_001));
    send(&authority, full(&authority, (1, 1), &first));
    has_sequence(&agent, (1, 1)).await;
    // Changes from the authority, and a list that is signed anew.
    let changes = Changes::between(&first, &second);
    let head = authority.ca.list_head((1, 2), &second);
    send(&authority, Update::delta(&head, (1, 1), &changes));
    has_sequence(&agent, (1, 2)).await;
    let signed_anew = authority.ca.list_head((1, 3), &second);
    send(
        &authority,
        Update::delta(&signed_anew, (1, 2), &Changes::default()),
    );
    has_sequence(&agent, (1, 3)).await;
    // All entries, as after a lost connection, in a new epoch.
    let third = suspended(1..1_002);
    send(&authority, full(&authority, (2, 4), &third));
    has_sequence(&agent, (2, 4)).await;
    let newest = authority.ca.list_head((2, 4), &third);
    for (held, entries) in [((1, 1), &first), ((1, 2), &second), ((1, 3), &second)] {
        let (epoch, since) = held;
        let path = format!("/v1/denylist?epoch={epoch}&since={since}");
        let (code, body) = get_bytes(&agent.socket, &path).await;
        assert_eq!(code, 200);
        let expected = Update::delta(&newest, held, &Changes::between(entries, &third));
        // But for the signature, of which there are many.
        assert_eq!(body.len(), expected.len());
        assert_eq!(Update::parse(body).unwrap().base(), Some(held));
    }
}

#[tokio::test]
async fn passes_on_a_list_as_long_as_lists_may_be() {
    let authority = Authority::up().await;
    let (_home, agent) = agent_of(&authority).await;
    let list = full(&authority, (1, 1), &suspended(0..MAX_ENTRIES));
    send(&authority, list.clone());
    has_sequence(&agent, (1, 1)).await;
    let answer = get_bytes(&agent.socket, "/v1/denylist?since=0").await;
    assert!(answer == (200, list), "{} bytes", answer.1.len());
}

#[tokio::test]
async fn refuses_an_older_list_and_takes_a_new_epoch() {
    let authority = Authority::up().await;
    let (_home, agent) = agent_of(&authority).await;
    send_empty(&authority, (1, 7));
    has_sequence(&agent, (1, 7)).await;
    send_empty(&authority, (1, 6));
    refused(&agent, "sequence 6").await;
    let held = "/v1/denylist?epoch=1&since=7";
    assert_eq!(get(&agent.socket, held).await.0, 204);
    send_empty(&authority, (2, 1));
    has_sequence(&agent, (2, 1)).await;
    assert_eq!(agent.status().await.deny_list_error, None);
    send_empty(&authority, (1, 100));
    refused(&agent, "epoch 1").await;
}

#[tokio::test]
async fn refuses_a_list_of_a_foreign_key_and_changes_of_another_list() {
    let authority = Authority::up().await;
    let (_home, agent) = agent_of(&authority).await;
    let stranger = Authority::down().await;
    send(&authority, full(&stranger, (1, 1), &suspended(0..1)));
    refused(&agent, "not pinned").await;
    assert_eq!(get(&agent.socket, "/v1/denylist").await.0, 503);
    let head = authority.ca.list_head((1, 2), &suspended(0..1));
    let changes = Changes::between(&Entries::default(), &suspended(0..1));
    send(&authority, Update::delta(&head, (1, 1), &changes));
    refused(&agent, "not held").await;
    send(&authority, b"CSL2".to_vec());
    refused(&agent, "known form").await;
    // The stream is opened anew, and then it is told of what is held.
    send_empty(&authority, (1, 3));
    has_sequence(&agent, (1, 3)).await;
    assert_eq!(agent.status().await.deny_list_error, None);
    send(&authority, Vec::new());
    refused(&agent, "known form").await;
    send_empty(&authority, (1, 4));
    has_sequence(&agent, (1, 4)).await;
    let watched = authority.watched.lock().unwrap().clone();
    assert_eq!(
        (watched.first(), watched.last()),
        (Some(&(0, 0)), Some(&(1, 3)))
    );
}

#[tokio::test]
async fn a_list_that_was_refused_is_taken_once_its_key_is_known() {
    let authority = Authority::up().await;
    let keys = authority.bundle.borrow().deny_list_key_pems.clone();
    authority
        .bundle
        .send_modify(|bundle| bundle.deny_list_key_pems.clear());
    send_empty(&authority, (1, 1));
    let (_home, agent) = agent_of(&authority).await;
    refused(&agent, "not pinned").await;
    authority
        .bundle
        .send_modify(|bundle| bundle.deny_list_key_pems = keys);
    has_sequence(&agent, (1, 1)).await;
}
