//! The agent is killed at any moment of its first starts: one token is enough, however often.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::agents::Agent;
use crate::issued::Received;
use crate::random::Random;
use crate::world::{AGENT, HTTPBIN, Home};

/// New agents, and how often each is killed before it may start.
const AGENTS: u32 = 8;
const KILLS: u32 = 3;

#[tokio::test]
async fn one_token_is_enough_however_often_the_agent_is_killed() {
    let home = Home::new();
    let authority = home.authority().await;
    home.register(HTTPBIN, "1h").await;
    let mut random = Random::new(3);
    for round in 1..=AGENTS {
        let token = home.new_token().await;
        let join = home.joining_agent(authority.address);
        for _ in 0..KILLS {
            let mut child = join.start().unwrap();
            tokio::time::sleep(random.millis(0, 200)).await;
            child.kill().await.unwrap();
        }
        let agent = Agent::start(&join).await;
        assert_eq!(agent.certificate(HTTPBIN).await.spiffe_id, HTTPBIN);
        agent.stop().await;

        let joined = proven_by_tokens(&home).await;
        assert_eq!(joined, usize::try_from(round).unwrap(), "one a token");
        kept_files_are_sound(&home, &token).await;
        fs::remove_dir_all(home.agent_data()).unwrap();
    }
}

/// How many certificates were given for a token.
async fn proven_by_tokens(home: &Home) -> usize {
    let own = home
        .json(&format!("cert list --id {AGENT} --limit 1000"))
        .await;
    let own = own.as_array().unwrap();
    own.iter()
        .filter(|one| one["proof"] == "join_token")
        .count()
}

/// Key and certificate are there, private and on record; nothing of the join is left.
async fn kept_files_are_sound(home: &Home, token: &str) {
    let own = home.agent_data().join("agent.pem");
    assert_eq!(
        fs::metadata(&own).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let kept = fs::read_to_string(&own).unwrap();
    assert!(kept.starts_with("-----BEGIN PRIVATE KEY-----"));
    let kept = Received::of_chain(&kept);
    let on_record = home.json(&format!("cert show {}", kept.serial)).await;
    assert_eq!(on_record["sha256"], kept.sha256.as_str());
    for entry in fs::read_dir(home.agent_data()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_ne!(name, "join.key");
        if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            assert!(
                !bytes
                    .windows(token.len())
                    .any(|part| part == token.as_bytes()),
                "{name}"
            );
        }
    }
    assert!(!home.token_file().exists());
}

/// As a kill between keeping the certificate and tidying up leaves it.
#[tokio::test]
async fn what_a_killed_join_left_is_tidied_up() {
    let home = Home::new();
    let authority = home.authority().await;
    home.joined_agent(authority.address).await.stop().await;
    let own = fs::read_to_string(home.agent_data().join("agent.pem")).unwrap();
    let (key, _chain) = own.split_once("-----BEGIN CERTIFICATE").unwrap();
    let join_key = home.agent_data().join("join.key");
    fs::write(&join_key, key).unwrap();
    home.write("token", "spent");
    Agent::start(&home.joining_agent(authority.address))
        .await
        .stop()
        .await;
    assert!(!join_key.exists() && !home.token_file().exists());

    // The key of a join that was not answered, and the token of the next one: neither is spent.
    let stranger = rcgen::KeyPair::generate().unwrap().serialize_pem();
    fs::write(&join_key, stranger).unwrap();
    home.write("token", "unspent");
    Agent::start(&home.joining_agent(authority.address))
        .await
        .stop()
        .await;
    assert!(join_key.exists() && home.token_file().exists());
}
