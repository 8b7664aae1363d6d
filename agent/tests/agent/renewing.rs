//! Renewal: in time, with new keys, and with the authority away.

use std::time::Duration;

use tonic::Code;

use crate::{
    authority::{AGENT, Authority},
    harness::{HTTPBIN, Home, SLEEP, certificate, entry, get, secrets},
    sds::leaf,
};

#[tokio::test]
async fn pushes_each_renewed_certificate_with_a_new_key() {
    let authority = Authority::up().await;
    authority.state().ttl = Duration::from_secs(4);
    authority.entries.send_replace(vec![entry(HTTPBIN)]);
    let home = Home::new(&authority);
    let agent = home.started().await;
    let mut stream = agent.sds().await;
    stream.ask(&["default"]).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        let response = stream.next().await.unwrap();
        stream.ack(&["default"], &response).await;
        let (chain, key) = certificate(&secrets(&response)[0]);
        seen.push((leaf(&chain, &key).serial_hex().to_owned(), key));
    }
    assert_ne!(seen[0].0, seen[1].0);
    assert_ne!(seen[1].0, seen[2].0);
    assert_ne!(seen[0].1, seen[1].1);
    assert_ne!(seen[1].1, seen[2].1);
    let status = agent.status().await;
    assert!(status.identities[0].renewals >= 2);
    assert_eq!(status.identities[0].last_error, None);
}

#[tokio::test]
async fn a_certificate_that_is_nearly_over_is_not_renewed_in_a_frenzy() {
    let authority = Authority::up().await;
    // As from a CA at its end, or when this machine's clock is ahead by almost a lifetime.
    authority.state().ttl = Duration::from_secs(1);
    authority.entries.send_replace(vec![entry(HTTPBIN)]);
    let home = Home::new(&authority);
    let _agent = home.started().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let asked = authority.issued(HTTPBIN);
    assert!((2..=10).contains(&asked), "{asked} times in three seconds");
}

#[tokio::test]
async fn renews_its_own_certificate_and_goes_on_watching_with_it() {
    let authority = Authority::up().await;
    authority.state().agent_ttl = Duration::from_secs(3);
    let home = Home::new(&authority);
    let agent = home.started().await;
    let renewed = agent
        .until(|status| status.agent.as_ref().is_some_and(|own| own.renewals >= 3))
        .await;
    let own = renewed.agent.unwrap();
    assert_eq!((own.spiffe_id.as_str(), own.expired), (AGENT, false));
    // What it shows is what it keeps, or newer.
    let kept = std::fs::read_to_string(home.path("data/agent.pem")).unwrap();
    let (key, chain) = kept.split_at(kept.find("-----BEGIN CERTIFICATE").unwrap());
    let kept = leaf(chain, key);
    let shown = agent.status().await.agent.unwrap();
    assert!(kept.validity().not_after.as_secs() >= own.not_after.unwrap());
    assert!(kept.validity().not_after.as_secs() <= shown.not_after.unwrap());
    // The watches moved on to a connection with a certificate that has not expired.
    authority.entries.send_replace(vec![entry(HTTPBIN)]);
    agent.until(|status| status.identities.len() == 1).await;
    agent.secret("default").await.unwrap();
}

#[tokio::test]
async fn keeps_serving_while_the_authority_is_away_and_renews_when_it_is_back() {
    let authority = Authority::up().await;
    authority.state().ttl = Duration::from_secs(6);
    authority.entries.send_replace(vec![entry(HTTPBIN)]);
    let home = Home::new(&authority);
    let agent = home.started().await;
    let before = certificate(&agent.secret("default").await.unwrap());
    authority.stop();
    // Past half-life, so that renewal has been tried.
    let status = agent
        .until(|status| status.identities[0].last_error.is_some())
        .await;
    assert!(!status.identities[0].expired);
    let served = certificate(&agent.secret("default").await.unwrap());
    assert_eq!(served, before);
    authority.start().await;
    let status = agent
        .until(|status| status.identities[0].renewals >= 1)
        .await;
    assert_eq!(status.identities[0].last_error, None);
    let after = certificate(&agent.secret("default").await.unwrap());
    assert_ne!(after.1, before.1);
}

#[tokio::test]
async fn an_expired_certificate_is_reported_and_not_given_to_anybody_new() {
    let authority = Authority::up().await;
    authority.state().ttl = Duration::from_secs(3);
    authority.entries.send_replace(vec![entry(HTTPBIN)]);
    let home = Home::new(&authority);
    let agent = home.started().await;
    let mut holder = agent.sds().await;
    holder.ask(&["default"]).await;
    let held = holder.next().await.unwrap();
    holder.ack(&["default"], &held).await;
    authority.stop();
    let status = agent.until(|status| status.identities[0].expired).await;
    assert!(status.identities[0].last_error.is_some());
    let (code, text) = get(&agent.socket, "/healthz").await;
    assert_eq!(code, 503);
    assert!(text.contains(HTTPBIN), "{text}");
    let mut newcomer = agent.sds().await;
    newcomer.ask(&["default"]).await;
    newcomer.silent().await;
    holder.silent().await;
    authority.start().await;
    newcomer.next().await.unwrap();
    let renewed = holder.next().await.unwrap();
    assert_ne!(renewed.version_info, held.version_info);
}

#[tokio::test]
async fn an_authority_that_hangs_does_not_hold_up_what_is_there() {
    let authority = Authority::up().await;
    authority.state().ttl = Duration::from_secs(6);
    authority.entries.send_replace(vec![entry(HTTPBIN)]);
    let home = Home::new(&authority);
    let agent = home.started().await;
    let before = certificate(&agent.secret("default").await.unwrap());
    authority.state().delay = Duration::from_secs(3600);
    tokio::time::sleep(Duration::from_millis(3500)).await;
    let served = certificate(&agent.secret("default").await.unwrap());
    assert_eq!(served, before);
    // The call is given up after a while, and the next one answered.
    agent
        .until(|status| {
            let error = status.identities[0].last_error.as_deref();
            error.is_some_and(|error| error.contains("did not answer within"))
        })
        .await;
    authority.state().delay = Duration::ZERO;
    agent
        .until(|status| status.identities[0].renewals >= 1)
        .await;
}

#[tokio::test]
async fn a_refusal_is_shown_and_asked_about_again() {
    let authority = Authority::up().await;
    let home = Home::new(&authority);
    let agent = home.started().await;
    for code in [
        Code::PermissionDenied,
        Code::ResourceExhausted,
        Code::Internal,
    ] {
        authority.state().fail = Some(code);
        authority.entries.send_replace(vec![entry(SLEEP)]);
        let status = agent
            .until(|status| {
                let sleep = status.identities.iter().find(|one| one.spiffe_id == SLEEP);
                sleep.is_some_and(|one| one.last_error.is_some())
            })
            .await;
        let error = status.identities[0].last_error.clone().unwrap();
        assert!(error.contains("told to fail"), "{error}");
        authority.state().fail = None;
        agent.secret("default").await.unwrap();
        assert_eq!(agent.status().await.identities[0].last_error, None);
        authority.entries.send_replace(Vec::new());
        agent.until(|status| status.identities.is_empty()).await;
    }
}

#[tokio::test]
async fn follows_changes_after_the_authority_came_back() {
    let authority = Authority::up().await;
    let home = Home::new(&authority);
    let agent = home.started().await;
    authority.stop();
    authority.entries.send_replace(vec![entry(HTTPBIN)]);
    tokio::time::sleep(Duration::from_millis(300)).await;
    authority.start().await;
    agent.until(|status| status.identities.len() == 1).await;
    agent.secret(HTTPBIN).await.unwrap();
}
