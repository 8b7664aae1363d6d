//! The authority is killed at any moment, again and again, while it issues: what left it stays true.

mod clients;
mod ledger;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::agents::Agent;
use crate::issued::openssl_accepts;
use crate::kill::clients::Clients;
use crate::kill::ledger::Ledger;
use crate::random::Random;
use crate::world::{AGENT, Authority, HTTPBIN, Home, LIMIT, fixed_port};

/// How often it is killed. Every third time it has not said yet that it listens.
const ROUNDS: u32 = 15;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_answered_is_lost_and_nothing_is_used_twice() {
    let home = Arc::new(Home::new());
    let mut random = Random::new(20_261_121);
    let listen = fixed_port();
    let serve = home.serve(listen);
    let mut authority = Authority::start(&serve).await.child;
    let ca = Ca::of(&status(&home).await);

    home.register(HTTPBIN, "2s").await;
    let mut agent = home.joined_agent(listen).await;
    let ledger = Arc::new(Ledger::default());
    let clients = Clients::start(&home, &agent.socket, &ledger);

    for round in 0..ROUNDS {
        if round % 3 == 2 {
            tokio::time::sleep(random.millis(0, 150)).await;
        } else {
            Authority::listening(&mut authority).await;
            check(&home, &ca, &ledger).await;
            tokio::time::sleep(random.millis(10, 600)).await;
        }
        let status = authority.kill().await.unwrap();
        assert_eq!(status.code(), None, "{}", authority.log_tail());
        ledger.authority_is_dead();
        authority = serve.start().unwrap();
    }
    Authority::listening(&mut authority).await;
    check(&home, &ca, &ledger).await;

    // Everybody works again, by themselves.
    ledger.everybody_gets_another(LIMIT).await;
    current_list(&home, &mut agent).await;
    clients.stop().await;
    for (client, received) in ledger.counts() {
        assert!(received > 1, "{client} received {received} certificates");
    }
    authority.stop(LIMIT).await.unwrap();
    Authority::start(&serve).await;
}

#[tokio::test]
async fn what_a_killed_authority_wrote_down_is_what_the_next_one_works_with() {
    let home = Home::new();
    let serve = home.serve(fixed_port());
    let mut authority = Authority::start(&serve).await;
    let folder = home.path("batch");
    let issue = ["cert", "issue", HTTPBIN, "--out", folder.to_str().unwrap()];
    home.run(issue).await.done();
    home.line(&format!("cert suspend --id {HTTPBIN} --reason kept"))
        .await
        .done();
    home.register(HTTPBIN, "1h").await;
    let token = home.new_token().await;
    let entries = home.json("entry list").await;
    authority.child.kill().await.unwrap();

    let mut authority = Authority::start(&serve).await;
    openssl_accepts(&folder);
    assert_eq!(home.json("entry list").await, entries);
    let suspended = home.json("cert list --state suspended").await;
    assert_eq!(suspended[0]["reason"], "kept");
    home.run(issue).await.fails(&["identity_suspended"]);

    // The token was never shown to anybody: it is still good, once.
    let agent = Agent::start(&home.joining_agent(authority.address)).await;
    agent.stop().await;
    authority.child.kill().await.unwrap();
    let authority = Authority::start(&serve).await;
    std::fs::remove_dir_all(home.agent_data()).unwrap();
    home.write("token", token);
    home.finish(home.joining_agent(authority.address))
        .await
        .fails(&["agent", "Unauthenticated"]);
    let own = home.json(&format!("cert list --id {AGENT}")).await;
    assert_eq!(own.as_array().unwrap().len(), 1, "{own}");
}

/// What never changes.
#[derive(Debug, Eq, PartialEq)]
struct Ca {
    root: String,
    intermediate: String,
    list_keys: Value,
}

impl Ca {
    fn of(status: &Value) -> Self {
        let sha256 = |name: &str| status[name]["sha256"].as_str().unwrap().to_owned();
        Self {
            root: sha256("root"),
            intermediate: sha256("intermediate"),
            list_keys: status["denyList"]["keys"].clone(),
        }
    }
}

async fn status(home: &Home) -> Value {
    home.json("ca status").await
}

/// Holds the record of a living authority against what its clients have in their hands.
async fn check(home: &Home, ca: &Ca, ledger: &Ledger) {
    let page = ledger.page();
    let status = status(home).await;
    assert_eq!(&Ca::of(&status), ca);
    let number = |name: &str| status["denyList"][name].as_u64().unwrap();
    let head = (number("epoch"), number("sequence"));
    assert!(
        head > page.head_at_death,
        "the deny list was {:?}, now it is {head:?}",
        page.head_at_death
    );
    ledger.saw_list(head);

    let record = home.json("cert list --limit 10000").await;
    page.is_in(record.as_array().unwrap());
}

/// The agent ends up with the list the authority has, and has refused none before.
async fn current_list(home: &Home, agent: &mut Agent) {
    let head = status(home).await["denyList"]["sequence"].as_u64().unwrap();
    let error = agent
        .until("the agent's deny list", |status| {
            let held = status["deny_list"]["sequence"].as_u64();
            held.is_some_and(|held| held >= head)
                .then(|| status["deny_list_error"].clone())
        })
        .await;
    assert_eq!(error, Value::Null);
    assert!(!agent.child.log_tail().contains("deny list refused"));
}

/// Pause of a client between two requests. There must be many, but no more than one listing holds.
const PAUSE: Duration = Duration::from_millis(2);
