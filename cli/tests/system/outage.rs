//! The authority is away for a while: what was issued serves on, and is renewed when it is back.

use rustix::process::Signal;
use serde_json::Value;

use crate::agents::Agent;
use crate::world::{AGENT, Authority, HTTPBIN, Home, fixed_port};

/// Long enough to outlive the outage, short enough to be renewed while the test waits.
const TTL: &str = "14s";

/// State of the workload's certificate.
fn workload(status: &Value) -> Option<&Value> {
    status["identities"].as_array()?.first()
}

#[tokio::test]
async fn an_agent_serves_on_and_renews_when_the_authority_is_back() {
    let home = Home::new();
    let serve = home.serve(fixed_port()).args(["--default-ttl", TTL]);
    let mut authority = Authority::start(&serve).await;
    home.register(HTTPBIN, TTL).await;
    let mut agent = home.joined_agent(authority.address).await;
    let before = agent
        .until("the workload's certificate", |status| {
            workload(status)?["serial"].as_str().map(str::to_owned)
        })
        .await;
    let list = agent
        .until("a deny list", |status| {
            status["deny_list"]["sequence"].as_u64()
        })
        .await;
    authority.child.kill().await.unwrap();

    // Half of its life later it should have been renewed; that fails, and is said.
    agent
        .until("a renewal that failed", |status| {
            let error = workload(status)?["last_error"].as_str()?;
            assert!(error.contains("cannot be reached"), "{error}");
            status["agent"]["last_error"].as_str().map(str::to_owned)
        })
        .await;
    let held = agent.certificate(HTTPBIN).await;
    assert_eq!(held.serial, before);
    assert_eq!(held.spiffe_id, HTTPBIN);
    let listed = agent.get("/v1/denylist?since=0").await;
    assert_eq!(listed.status, 200);
    assert_eq!(agent.get("/healthz").await.status, 200);

    let authority = Authority::start(&serve).await;
    agent
        .until("the renewal", |status| {
            let one = workload(status)?;
            assert_eq!(one["expired"], false, "{status}");
            let own = &status["agent"];
            let renewed = one["renewals"].as_u64()? > 0 && own["renewals"].as_u64()? > 0;
            let well = one["last_error"].is_null() && own["last_error"].is_null();
            let list_moves = status["deny_list"]["sequence"].as_u64()? > list;
            (renewed && well && list_moves).then_some(())
        })
        .await;
    let renewed = agent.certificate(HTTPBIN).await;
    assert_ne!(renewed.serial, before);
    let on_record = home.json(&format!("cert show {}", renewed.serial)).await;
    assert_eq!(on_record["sha256"], renewed.sha256.as_str());
    assert_eq!(on_record["proof"], "client_certificate");
    agent.stop().await;
    authority.stop().await;
}

#[tokio::test]
async fn a_restarted_agent_needs_no_token() {
    let home = Home::new();
    let authority = home.authority().await;
    home.register(HTTPBIN, "1h").await;
    let mut agent = home.joined_agent(authority.address).await;
    assert!(!home.token_file().exists(), "a spent token is deleted");

    // Killed, and started as before: the argument stays, the file is gone.
    agent.child.kill().await.unwrap();
    let agent = Agent::start(&home.joining_agent(authority.address)).await;
    assert_eq!(agent.certificate(HTTPBIN).await.spiffe_id, HTTPBIN);
    agent.stop().await;

    // Stopped, and started without the argument.
    let agent = Agent::start(&home.agent_command(authority.address)).await;
    agent.stop().await;
    let own = home.json(&format!("cert list --id {AGENT}")).await;
    let proofs: Vec<_> = own
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["proof"])
        .collect();
    // Newest first.
    assert_eq!(
        proofs,
        ["client_certificate", "client_certificate", "join_token"]
    );
}

#[tokio::test]
async fn an_agent_that_starts_first_waits_for_the_authority() {
    let home = Home::new();
    let serve = home.serve(fixed_port());
    let mut authority = Authority::start(&serve).await;
    home.register(HTTPBIN, "1h").await;
    home.new_token().await;
    let join = home.joining_agent(authority.address);
    authority.child.kill().await.unwrap();

    let mut child = join.start().unwrap();
    waits(&mut child).await;
    let mut authority = Authority::start(&serve).await;
    let mut agent = Agent::ready(child).await;

    // The same with a certificate of its own.
    authority.child.kill().await.unwrap();
    agent.child.kill().await.unwrap();
    let mut child = home.agent_command(authority.address).start().unwrap();
    waits(&mut child).await;
    let _authority = Authority::start(&serve).await;
    let agent = Agent::ready(child).await;
    assert_eq!(agent.certificate(HTTPBIN).await.spiffe_id, HTTPBIN);
}

/// Waits until the agent says that it waits.
async fn waits(agent: &mut lab::process::Child) {
    let log = agent.stderr().to_owned();
    lab::ready::until(
        "the agent to wait",
        crate::world::LIMIT,
        Some(agent),
        async || {
            let text = std::fs::read_to_string(&log)?;
            if text.contains("waiting for the authority") {
                Ok(())
            } else {
                Err(lab::ready::NotYet(text))
            }
        },
    )
    .await
    .unwrap();
}

/// A machine that swaps, a disk that hangs: connections stay open, and nobody answers.
#[tokio::test]
async fn an_authority_that_freezes_is_an_outage_like_another() {
    let home = Home::new();
    let mut authority = home.authority().await;
    home.register(HTTPBIN, "24s").await;
    let mut agent = home.joined_agent(authority.address).await;
    let before = agent.certificate(HTTPBIN).await;
    authority.child.signal(Signal::STOP).unwrap();
    agent
        .until("a renewal that failed", |status| {
            assert_eq!(workload(status)?["expired"], false, "{status}");
            workload(status)?["last_error"].as_str().map(str::to_owned)
        })
        .await;
    assert_eq!(agent.certificate(HTTPBIN).await, before);
    authority.child.signal(Signal::CONT).unwrap();
    agent
        .until("the renewal", |status| {
            let one = workload(status)?;
            assert_eq!(one["expired"], false, "{status}");
            (one["renewals"].as_u64()? > 0 && one["last_error"].is_null()).then_some(())
        })
        .await;
    assert_ne!(agent.certificate(HTTPBIN).await, before);
    authority.stop().await;
}
