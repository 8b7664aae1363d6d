//! Policy bundles on their way to the filters.

use api::agent::{HeldPolicyBundle, PolicyBundleUpdate};

use crate::{
    authority::Authority,
    ca::Ca,
    harness::{Agent, Home, get, get_bytes},
};

const BODY: &[u8] = b"[1]";

async fn agent_of(authority: &Authority) -> (Home, Agent) {
    let home = Home::new(authority);
    let agent = home.started().await;
    (home, agent)
}

fn send(authority: &Authority, bundle: Vec<u8>) {
    let update = PolicyBundleUpdate { bundle };
    authority.policy_bundle.send_replace(Some(update));
}

async fn has(agent: &Agent, name: &str, position: (u64, u64)) {
    agent
        .until(|status| {
            let mut bundles = status.policy_bundles.iter();
            bundles.any(|one| one.name == name && (one.epoch, one.sequence) == position)
        })
        .await;
}

async fn refused(agent: &Agent, why: &str) {
    agent
        .until(|status| {
            let error = status.policy_bundle_error.as_deref();
            error.is_some_and(|error| error.contains(why))
        })
        .await;
}

#[tokio::test]
async fn passes_bundles_on_unchanged_each_under_its_name_and_only_when_it_is_news() {
    let authority = Authority::up().await;
    let (_home, agent) = agent_of(&authority).await;
    let missing = get(&agent.socket, "/v1/policy-bundles/shop").await;
    assert_eq!(missing.0, 404);
    let shop = authority.ca.policy_bundle("shop", (2, 7), BODY);
    send(&authority, shop.clone());
    has(&agent, "shop", (2, 7)).await;
    let other = authority.ca.policy_bundle("other", (2, 1), b"[2]");
    send(&authority, other.clone());
    has(&agent, "other", (2, 1)).await;
    for query in ["", "?since=7", "?epoch=2&since=6", "?epoch=1&since=9"] {
        let path = format!("/v1/policy-bundles/shop{query}");
        let answer = get_bytes(&agent.socket, &path).await;
        assert_eq!(answer, (200, shop.clone()), "{path}");
    }
    let answer = get_bytes(&agent.socket, "/v1/policy-bundles/other").await;
    assert_eq!(answer, (200, other));
    // Also to who has a newer one: this agent may be behind.
    for query in ["?epoch=2&since=7", "?epoch=2&since=8", "?epoch=3&since=0"] {
        let answer = get(&agent.socket, &format!("/v1/policy-bundles/shop{query}")).await;
        assert_eq!(answer, (204, String::new()), "{query}");
    }
    for bad in ["Shop", "..", "shop%2F", "sho"] {
        let answer = get(&agent.socket, &format!("/v1/policy-bundles/{bad}")).await;
        assert_eq!(answer.0, 404, "{bad:?}");
    }
}

#[tokio::test]
async fn what_no_filter_would_take_does_not_replace_what_they_have() {
    let authority = Authority::up().await;
    let (_home, agent) = agent_of(&authority).await;
    let good = authority.ca.policy_bundle("shop", (2, 7), BODY);
    send(&authority, good.clone());
    has(&agent, "shop", (2, 7)).await;
    let mut cut = authority.ca.policy_bundle("shop", (2, 8), BODY);
    cut.pop();
    for (bad, why) in [
        (b"CSB1".to_vec(), "not of a known form"),
        (cut, "its head says 3"),
        (Ca::new().policy_bundle("shop", (2, 8), BODY), "not pinned"),
        (
            authority.ca.policy_bundle("shop", (2, 6), BODY),
            "2/7 is known",
        ),
        (
            authority.ca.policy_bundle("shop", (1, 9), BODY),
            "2/7 is known",
        ),
    ] {
        send(&authority, bad);
        refused(&agent, why).await;
        let answer = get_bytes(&agent.socket, "/v1/policy-bundles/shop").await;
        assert_eq!(answer, (200, good.clone()), "{why}");
    }
    // The stream is opened anew, and says what is held.
    send(&authority, authority.ca.policy_bundle("shop", (3, 7), BODY));
    has(&agent, "shop", (3, 7)).await;
    let status = agent.status().await;
    assert_eq!(status.policy_bundle_error, None);
    let told = authority.held_bundles.lock().unwrap();
    let last: &[HeldPolicyBundle] = told.last().unwrap();
    assert!(told.len() > 1);
    assert_eq!((last[0].name.as_str(), last[0].sequence), ("shop", 7));
}
