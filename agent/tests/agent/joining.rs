//! How an agent gets its first certificate, and how it does not.

use std::{os::unix::fs::PermissionsExt, time::Duration};

use agent::{CallError, ChainError, DataDirError, EnrolError, LinkError, RunError, SocketError};
use tonic::Code;

use crate::{
    authority::{AGENT, Authority},
    harness::{HTTPBIN, Home, entry, get, within},
};

#[tokio::test]
async fn joins_keeps_its_certificate_privately_and_deletes_the_token() {
    let authority = Authority::up().await;
    let home = Home::new(&authority);
    let mut agent = home.start();
    let ready = agent.ready().await;
    assert_eq!(ready.spiffe_id.to_string(), AGENT);
    assert_eq!(ready.socket, home.settings.socket);
    assert!(!home.path("token").exists());
    assert!(!home.path("data/join.key").exists());
    let kept = std::fs::metadata(home.path("data/agent.pem")).unwrap();
    assert_eq!(kept.permissions().mode() & 0o777, 0o600);
    let status = agent.status().await;
    assert!(status.ready);
    let own = status.agent.unwrap();
    assert_eq!((own.spiffe_id.as_str(), own.renewals), (AGENT, 0));
    assert_eq!(get(&agent.socket, "/healthz").await.0, 200);
    agent.stop().await;
    assert!(!home.settings.socket.exists());
}

#[tokio::test]
async fn renews_by_its_own_certificate_after_a_restart() {
    let authority = Authority::up().await;
    let home = Home::new(&authority);
    home.started().await.stop().await;
    let before = std::fs::read(home.path("data/agent.pem")).unwrap();
    let agent = home.started().await;
    assert_eq!(authority.issued(AGENT), 2);
    assert_ne!(std::fs::read(home.path("data/agent.pem")).unwrap(), before);
    agent.stop().await;
}

#[tokio::test]
async fn waits_for_an_authority_that_is_not_there_yet() {
    let authority = Authority::down().await;
    let home = Home::new(&authority);
    let mut agent = home.start();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!agent.task.is_finished());
    assert_eq!(get(&agent.socket, "/healthz").await.0, 503);
    assert!(!agent.status().await.ready);
    authority.start().await;
    agent.ready().await;
    assert_eq!(get(&agent.socket, "/healthz").await.0, 200);
}

#[tokio::test]
async fn stops_while_it_waits_for_the_authority() {
    let home = Home::new(&Authority::down().await);
    home.start().stop().await;
    assert!(home.path("token").exists());
}

#[tokio::test]
async fn asks_with_the_same_key_again_when_the_answer_to_a_join_is_lost() {
    let authority = Authority::up().await;
    authority.state().lose_answers = 2;
    let home = Home::new(&authority);
    home.started().await;
    assert_eq!(authority.issued(AGENT), 1);
}

#[tokio::test]
async fn asks_with_the_same_key_again_after_a_crash_during_a_join() {
    let authority = Authority::up().await;
    authority.state().lose_answers = u32::MAX;
    let home = Home::new(&authority);
    let agent = home.start();
    within(async {
        while authority.issued(AGENT) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    agent.task.abort();
    agent.task.await.unwrap_err();
    assert!(home.path("data/join.key").exists());
    authority.state().lose_answers = 0;
    home.started().await;
    assert_eq!(authority.issued(AGENT), 1);
    assert!(!home.path("data/join.key").exists());
}

#[tokio::test]
async fn a_refused_renewal_ends_the_start_unless_there_is_a_new_token() {
    let authority = Authority::up().await;
    let home = Home::new(&authority);
    home.started().await.stop().await;
    authority.state().fail = Some(Code::PermissionDenied);
    assert!(matches!(
        home.fails().await,
        RunError::Enrol(EnrolError::Call(CallError::Refused {
            code: Code::PermissionDenied,
            ..
        }))
    ));
    // The kept certificate is not touched by that.
    authority.state().fail = None;
    home.started().await.stop().await;
}

#[tokio::test]
async fn joins_anew_when_the_kept_certificate_is_of_another_authority() {
    let former = Home::new(&Authority::up().await);
    former.started().await.stop().await;
    let authority = Authority::up().await;
    let mut home = Home::new(&authority);
    home.settings.data_dir = former.path("data");
    home.started().await.stop().await;
    assert_eq!(authority.issued(AGENT), 1);
    assert!(!home.path("token").exists());
    // From now on by its certificate; the settings still name the file of the spent token.
    home.started().await;
    assert_eq!(authority.issued(AGENT), 2);
}

#[tokio::test]
async fn a_refused_token_ends_the_start_with_the_authority_s_words() {
    let authority = Authority::up().await;
    let home = Home::new(&authority);
    std::fs::write(home.path("token"), "guessed").unwrap();
    let error = home.fails().await;
    assert!(matches!(
        &error,
        RunError::Enrol(EnrolError::Call(CallError::Refused {
            code: Code::Unauthenticated,
            message
        })) if message == "unknown join token"
    ));
    assert!(home.path("token").exists());
    assert!(!home.settings.socket.exists());
}

#[tokio::test]
async fn refuses_an_authority_that_the_bundle_does_not_vouch_for() {
    let authority = Authority::up().await;
    let home = Home::new(&authority);
    let other = Authority::down().await;
    std::fs::write(home.path("bundle.pem"), &other.ca.root_pem).unwrap();
    assert!(matches!(
        home.fails().await,
        RunError::Enrol(EnrolError::Call(CallError::Untrusted { .. }))
    ));
    assert_eq!(authority.state().token_spent, None);
}

#[tokio::test]
async fn refuses_an_authority_of_another_name() {
    let authority = Authority::up().await;
    let mut home = Home::new(&authority);
    home.settings.authority_name = "somebody-else".to_owned();
    assert!(matches!(
        home.fails().await,
        RunError::Enrol(EnrolError::Call(CallError::Untrusted { .. }))
    ));
}

#[tokio::test]
async fn refuses_an_identity_it_does_not_expect() {
    let authority = Authority::up().await;
    let mut home = Home::new(&authority);
    home.settings.spiffe_id = Some(HTTPBIN.parse().unwrap());
    assert!(matches!(
        home.fails().await,
        RunError::Enrol(EnrolError::Chain(ChainError::OtherIdentity { .. }))
    ));
    assert!(!home.path("data/agent.pem").exists());
}

#[tokio::test]
async fn says_what_is_missing() {
    let authority = Authority::down().await;
    let mut home = Home::new(&authority);
    home.settings.join_token_file = None;
    assert!(matches!(
        home.fails().await,
        RunError::Enrol(EnrolError::NoProof)
    ));
    home.settings.join_token_file = Some(home.path("no-such-file"));
    assert!(matches!(
        home.fails().await,
        RunError::Enrol(EnrolError::TokenFile { .. })
    ));
    std::fs::write(home.path("empty"), "\n").unwrap();
    home.settings.join_token_file = Some(home.path("empty"));
    assert!(matches!(
        home.fails().await,
        RunError::Enrol(EnrolError::EmptyToken { .. })
    ));
    std::fs::remove_file(home.path("bundle.pem")).unwrap();
    assert!(matches!(
        home.fails().await,
        RunError::Link(LinkError::Read { .. })
    ));
}

#[tokio::test]
async fn an_expired_certificate_of_an_earlier_run_is_named() {
    let authority = Authority::up().await;
    authority.state().agent_ttl = Duration::from_secs(2);
    let mut home = Home::new(&authority);
    home.started().await.stop().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    home.settings.join_token_file = None;
    assert!(matches!(
        home.fails().await,
        RunError::Enrol(EnrolError::KeptExpired { .. })
    ));
}

#[tokio::test]
async fn a_second_agent_on_the_same_folder_or_socket_is_refused() {
    let authority = Authority::up().await;
    authority.entries.send_replace(vec![entry(HTTPBIN)]);
    let home = Home::new(&authority);
    let agent = home.started().await;
    assert!(matches!(
        home.fails().await,
        RunError::DataDir(DataDirError::InUse { .. })
    ));
    let mut other = Home::new(&authority);
    other.settings.socket = home.settings.socket.clone();
    assert!(matches!(
        other.fails().await,
        RunError::Socket(SocketError::InUse { .. })
    ));
    agent.secret("ROOTCA").await.unwrap();
}
