//! Agents that cannot prove themselves, or find somebody who cannot.

use std::fs;

use crate::agents::Agent;
use crate::issued::csr;
use crate::world::{AGENT, HTTPBIN, Home, admin, fixed_port};

#[tokio::test]
async fn a_token_that_is_wrong() {
    let home = Home::new();
    let authority = home.authority().await;
    let wrong = "d3JvbmctdG9rZW4td3JvbmctdG9rZW4td3JvbmctdG8";
    let token = home.write("token", wrong);
    let outcome = home.finish(home.joining_agent(authority.address)).await;
    let outcome = outcome.fails(&[
        "agent",
        token.to_str().unwrap(),
        "does not accept the join token",
        "countersign token create",
    ]);
    assert!(!outcome.stderr.contains(wrong), "the token is in the log");
    assert!(token.exists(), "a file that bought nothing is left alone");
    let log = fs::read_to_string(authority.child.stderr()).unwrap();
    assert!(!log.contains(wrong), "the token is in the authority's log");
}

#[tokio::test]
async fn a_token_that_is_spent() {
    let home = Home::new();
    let authority = home.authority().await;
    let token = home.new_token().await;
    let agent = Agent::start(&home.joining_agent(authority.address)).await;
    agent.stop().await;

    // Somebody else found a copy.
    fs::remove_dir_all(home.agent_data()).unwrap();
    home.write("token", token);
    let outcome = home.finish(home.joining_agent(authority.address)).await;
    outcome.fails(&["agent", "does not accept the join token"]);
    let own = home.json(&format!("cert list --id {AGENT}")).await;
    assert_eq!(own.as_array().unwrap().len(), 1, "{own}");
    let status = home.json("ca status").await;
    assert_eq!(status["refusals"], 1, "{status}");
}

#[tokio::test]
async fn token_files_that_are_missing_or_empty() {
    let home = Home::new();
    let authority = home.authority().await;
    let join = home.joining_agent(authority.address);
    let token = home.token_file();
    let token = token.to_str().unwrap();
    home.finish(join.clone())
        .await
        .fails(&["agent", token, "No such file"]);
    home.write("token", " \n");
    home.finish(join).await.fails(&["agent", token, "is empty"]);
    let outcome = home.finish(home.agent_command(authority.address)).await;
    outcome.fails(&[
        "nothing to prove this agent's identity with",
        "no join token file",
    ]);
}

#[tokio::test]
async fn bundles_that_are_missing_or_hold_nothing() {
    let home = Home::new();
    let authority = fixed_port();
    let run = home.joining_agent(authority);
    let bundle = home.data().join("bundle.pem");
    let bundle = bundle.to_str().unwrap();
    home.finish(run.clone())
        .await
        .fails(&["cannot read the trust bundle", bundle]);
    fs::create_dir(home.data()).unwrap();
    fs::write(bundle, "no PEM at all").unwrap();
    home.finish(run.clone())
        .await
        .fails(&[bundle, "holds no PEM block CERTIFICATE"]);
    let block = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(bundle, block).unwrap();
    home.finish(run).await.fails(&[bundle, "cannot be used"]);
}

#[tokio::test]
async fn an_authority_of_another_root_never_sees_the_token() {
    let home = Home::new();
    let other = Home::new();
    let _ours = home.authority().await;
    let theirs = other.authority().await;
    home.new_token().await;
    let outcome = home.finish(home.joining_agent(theirs.address)).await;
    outcome.fails(&["agent", "is not trusted"]);
    assert!(home.token_file().exists(), "the token is still good");
    let status = other.json("ca status").await;
    assert_eq!(status["refusals"], 0, "no request arrived: {status}");
}

#[tokio::test]
async fn a_name_the_authority_does_not_have() {
    let home = Home::new();
    let authority = home.authority().await;
    home.new_token().await;
    let run = home.joining_agent(authority.address);
    let named = run.clone().args(["--authority-name", "elsewhere"]);
    home.finish(named)
        .await
        .fails(&["agent", "is not trusted", "elsewhere"]);
    let nonsense = run.args(["--authority-name", "no name"]);
    home.finish(nonsense)
        .await
        .fails(&["\"no name\"", "neither a DNS name nor an IP"]);
}

#[tokio::test]
async fn a_certificate_that_was_revoked_does_not_renew() {
    let home = Home::new();
    let authority = home.authority().await;
    let agent = home.joined_agent(authority.address).await;
    agent.stop().await;
    home.line(&format!("cert revoke --id {AGENT} --yes"))
        .await
        .done();
    let outcome = home.finish(home.agent_command(authority.address)).await;
    outcome.fails(&["agent", "the authority refuses", "certificate_revoked"]);
}

#[tokio::test]
async fn folders_and_sockets_that_cannot_be() {
    let home = Home::new();
    let authority = home.authority().await;
    let run = home.joining_agent(authority.address);
    let file = home.write("file", "");
    let below = file.join("agent");
    let outcome = home.finish(run.clone().arg("--socket").arg(&below)).await;
    outcome.fails(&["agent", below.to_str().unwrap()]);
    let outcome = home.finish(run.clone().arg("--socket").arg(&file)).await;
    outcome.fails(&[file.to_str().unwrap(), "is not a socket"]);
    // Envoy could never connect to it.
    let long = home.path(&"s".repeat(108));
    let outcome = home.finish(run.arg("--socket").arg(&long)).await;
    outcome.fails(&[long.to_str().unwrap(), "limit is 107"]);
}

#[tokio::test]
async fn a_second_agent_on_the_same_folder() {
    let home = Home::new();
    let authority = home.authority().await;
    let agent = home.joined_agent(authority.address).await;
    let second = home.agent_command(authority.address);
    let second = second.arg("--socket").arg(home.path("second.sock"));
    let data = home.agent_data();
    let outcome = home.finish(second).await;
    outcome.fails(&[data.to_str().unwrap(), "in use by another agent"]);
    agent.stop().await;
}

#[tokio::test]
async fn own_files_that_are_damaged() {
    let home = Home::new();
    let authority = home.authority().await;
    let agent = home.joined_agent(authority.address).await;
    agent.stop().await;
    let own = home.agent_data().join("agent.pem");
    let good = fs::read(&own).unwrap();
    fs::write(&own, &good[..good.len() / 2]).unwrap();
    let outcome = home.finish(home.agent_command(authority.address)).await;
    outcome.fails(&[own.to_str().unwrap(), "to start over", "new token"]);
    fs::write(&own, "garbage").unwrap();
    let outcome = home.finish(home.agent_command(authority.address)).await;
    outcome.fails(&[own.to_str().unwrap(), "cannot use the private key"]);
}

/// The owner of the admin socket is not asked for a proof; nonsense is refused all the same.
#[tokio::test]
async fn requests_of_the_operator_that_cannot_be() {
    let home = Home::new();
    let _authority = home.authority().await;
    let out = home.path("out");
    let out = out.to_str().unwrap();
    let issue = async |id: &str, ttl: &str| {
        home.run(["cert", "issue", id, "--ttl", ttl, "--out", out])
            .await
    };
    let foreign = issue("spiffe://example.org/web", "1h").await;
    foreign.fails(&["refused", "PermissionDenied"]);
    let reserved = issue("spiffe://cluster.local/countersign/authority", "1h").await;
    reserved.fails(&["refused"]);
    let long = issue(HTTPBIN, "366d").await;
    long.fails(&["refused", "31622400", "86400"]);
    assert!(!home.path("out").exists());
    let below = home.write("file", "").join("out");
    let below = below.to_str().unwrap();
    let unwritable = home.run(["cert", "issue", HTTPBIN, "--out", below]).await;
    unwritable.fails(&["cannot create", below]);

    let create = "entry create --parent spiffe://cluster.local/a --id";
    let bad = home
        .line(&format!("{create} {HTTPBIN} --selector uid:0"))
        .await;
    bad.fails(&["--selector", "\"uid:0\"", "unix:uid:<number>"]);
    let bad = home
        .line(&format!("{create} {HTTPBIN} --selector unix:uid:root"))
        .await;
    bad.fails(&["--selector", "unix:uid:root", "number"]);
    let foreign = "spiffe://example.org/web --selector unix:uid:0";
    let foreign = home.line(&format!("{create} {foreign}")).await;
    foreign.fails(&["entry.spiffe_id", "example.org", "cluster.local"]);
    home.line("entry delete none")
        .await
        .fails(&["no entry has this id"]);
    home.line("cert show 0000")
        .await
        .fails(&["no certificate has this serial"]);
    let token = home.line(&format!("token create {AGENT} --ttl 2d")).await;
    token.fails(&["ttl_seconds", "86400"]);

    // What the command would not send.
    let request = api::admin::IssueCertificateRequest {
        csr_pem: csr().replace('A', "B"),
        spiffe_id: HTTPBIN.to_owned(),
        ttl_seconds: 60,
    };
    let refused = admin(&home.admin_socket()).issue_certificate(request).await;
    assert_eq!(refused.unwrap_err().code(), tonic::Code::InvalidArgument);
}
