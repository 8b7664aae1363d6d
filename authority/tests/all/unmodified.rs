//! istio-agent and ztunnel, unmodified, live through what happens to an authority.

use std::net::SocketAddr;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tonic::Code;

use crate::clients::istio_agent::{Counted, IstioAgent};
use crate::clients::keys::WorkloadKey;
use crate::clients::wire::{Credential, Target};
use crate::clients::ztunnel::Ztunnel;
use crate::support::{AGENT, Authority, Held, real_now};

/// Short enough to see several rotations, long enough for whole seconds to do.
const TTL: i64 = 4;

/// An authority by the real clock, as the clients' rotations go by it too.
async fn authority(dir: TempDir, listen: Option<SocketAddr>, concurrency: usize) -> Authority {
    Authority::start_in(dir, |settings| {
        settings.clock = std::sync::Arc::new(authority::clock::SystemClock);
        if let Some(listen) = listen {
            settings.listen = listen;
        }
        settings.limits.concurrency = concurrency;
        settings.limits.queue = concurrency * 4;
        settings.limits.queue_per_group = concurrency * 4;
        settings.limits.queue_per_member = concurrency;
    })
    .await
}

fn target(authority: &Authority, address: SocketAddr) -> Target {
    Target {
        address: address.to_string(),
        name: "countersign-authority".to_owned(),
        root_pem: authority.root_pem(),
        source: None,
    }
}

fn workload(number: usize) -> String {
    format!(
        "spiffe://cluster.local/ns/shop-{}/sa/web-{number}",
        number % 3
    )
}

/// Agents as on virtual machines: a token at first, then the certificate they hold.
async fn agents(authority: &Authority, at: &Target, count: usize) -> Vec<IstioAgent> {
    let mut agents = Vec::new();
    for number in 0..count {
        let id = workload(number);
        let proof = Credential::Header(format!("Join {}", authority.token(&id).await));
        let mut agent = IstioAgent::new(at.clone(), proof, &id, number as u64 + 1);
        agent.renews_by_certificate = true;
        agent.ttl_seconds = TTL;
        // A debug build takes long for an RSA key; one agent shows that they work.
        if number > 0 {
            agent.key = WorkloadKey::EcdsaP256;
        }
        agents.push(agent);
    }
    agents
}

/// Lives until the next step would come later than `lasts` from now: warms up, rotates when it is time, asks again as Envoy does after a failure.
/// Returns whether it ends with a valid certificate.
async fn live(mut agent: IstioAgent, lasts: Duration) -> (Counted, bool) {
    let end = std::time::Instant::now() + lasts;
    let left = || end.saturating_duration_since(std::time::Instant::now());
    let mut held = agent.warm_up(lasts).await;
    while let Some(answer) = &held {
        let pause = agent.rotates_after(answer, real_now());
        if pause >= left() {
            break;
        }
        tokio::time::sleep(pause).await;
        if let Some(next) = agent.warm_up(left()).await {
            held = Some(next);
        } else {
            break;
        }
    }
    let valid = held.is_some_and(|answer| answer.validity.not_after >= real_now());
    (agent.counted, valid)
}

struct Lived {
    agents: Vec<(Counted, bool)>,
}

impl Lived {
    fn failures(&self) -> u32 {
        self.agents
            .iter()
            .map(|(counted, _)| counted.failures)
            .sum()
    }

    fn certificates(&self) -> u32 {
        self.agents
            .iter()
            .map(|(counted, _)| counted.certificates)
            .sum()
    }

    fn given_up(&self) -> u32 {
        self.agents
            .iter()
            .map(|(counted, _)| counted.given_up)
            .sum()
    }

    fn longest_warm_up_ms(&self) -> Option<u64> {
        self.agents
            .iter()
            .map(|(counted, _)| counted.longest_warm_up_ms)
            .max()
    }

    fn codes(&self) -> Vec<Code> {
        let codes = self
            .agents
            .iter()
            .flat_map(|(counted, _)| counted.codes.clone());
        let mut codes: Vec<_> = codes.collect();
        codes.sort_by_key(|code| *code as i32);
        codes.dedup();
        codes
    }

    fn all_have_certificates(&self) -> bool {
        self.agents.iter().all(|(_, valid)| *valid)
    }

    fn tell(&self, what: &str) {
        println!(
            "{what}: {} agents, {} certificates, {} failed attempts {:?}, {} calls given up, longest pause \
             {} ms",
            self.agents.len(),
            self.certificates(),
            self.failures(),
            self.codes(),
            self.given_up(),
            self.longest_warm_up_ms().unwrap_or(0),
        );
    }
}

async fn live_all(agents: Vec<IstioAgent>, lasts: Duration) -> Lived {
    let mut living = JoinSet::new();
    for agent in agents {
        living.spawn(live(agent, lasts));
    }
    Lived {
        agents: living.join_all().await,
    }
}

/// What ztunnel asks for, with an entry for each.
async fn on_the_node(authority: &Authority, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        let id = format!("spiffe://cluster.local/ns/node/sa/app-{number}");
        authority.entry(AGENT, &id, 0).await;
        ids.push(id);
    }
    ids
}

fn certificate(held: &Held) -> Credential {
    Credential::Certificate {
        chain_pem: held.chain[..2].concat(),
        key_pem: held.key_pem.clone(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_live_through_a_restart() {
    let authority = authority(TempDir::new().unwrap(), None, 64).await;
    let address = authority.running.ready().address;
    let at = target(&authority, address);
    let agents = agents(&authority, &at, 6).await;
    let ids = on_the_node(&authority, 12).await;
    let node = certificate(&authority.agent(AGENT).await);
    let lasts = Duration::from_secs(11);
    let agents = tokio::spawn(live_all(agents, lasts));
    let ztunnel = Ztunnel::new(at, node, TTL, real_now);
    let node = tokio::spawn(async move { ztunnel.run(&ids, lasts).await });

    // Down for a second, in the middle of rotations.
    tokio::time::sleep(Duration::from_millis(3500)).await;
    let dir = authority.stop().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let authority = self::authority(dir, Some(address), 64).await;

    let lived = agents.await.unwrap();
    lived.tell("restart");
    assert!(lived.all_have_certificates(), "{:?}", lived.agents);
    // It was noticed, and nobody was told anything that ends an agent's efforts.
    assert!(lived.failures() > 0, "the restart was not noticed");
    assert!(
        lived.codes().iter().all(|code| *code == Code::Unavailable),
        "{:?}",
        lived.codes()
    );
    // Rotations on both sides of it.
    assert!(lived.certificates() >= 3 * 6, "{}", lived.certificates());
    assert!(
        lived.longest_warm_up_ms() <= Some(8000),
        "{:?}",
        lived.longest_warm_up_ms()
    );
    let held = node.await.unwrap();
    assert_eq!(held.len(), 12);
    for (id, held) in held {
        let answer = held.answer.expect("a certificate");
        assert_eq!(answer.id, id);
        assert!(
            answer.validity.not_after >= real_now(),
            "{id}: {held:?}",
            held = held.failures
        );
        assert!(held.certificates >= 3, "{id}: {}", held.certificates);
    }
    drop(authority);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_live_through_overload() {
    // One at a time, four may wait: forty agents and a ztunnel are far too many.
    let authority = authority(TempDir::new().unwrap(), None, 1).await;
    let at = target(&authority, authority.running.ready().address);
    let ids = on_the_node(&authority, 16).await;
    let node = certificate(&authority.agent(AGENT).await);
    let mut agents = agents(&authority, &at, 41).await;
    // The one with the RSA key would come late.
    agents.remove(0);
    for agent in &mut agents {
        agent.ttl_seconds = 600;
    }
    // All end when they have what they want.
    let lasts = Duration::from_secs(90);
    let ztunnel = Ztunnel::new(at, node, 600, real_now);
    let node = tokio::spawn(async move { ztunnel.run(&ids, lasts).await });
    let lived = live_all(agents, lasts).await;
    lived.tell("overload");
    assert!(lived.all_have_certificates(), "{:?}", lived.agents);
    assert!(
        lived.failures() > 0,
        "nothing was shed: this was no overload"
    );
    assert_eq!(lived.codes(), [Code::ResourceExhausted]);
    // None fell back to its long pauses.
    assert!(
        lived.longest_warm_up_ms() <= Some(8000),
        "{:?}",
        lived.longest_warm_up_ms()
    );
    let held = node.await.unwrap();
    let failures: u32 = held.values().map(|held| held.failures).sum();
    println!(
        "overload: ztunnel, {} identities, {failures} failures",
        held.len()
    );
    assert_eq!(held.len(), 16);
    assert!(held.values().all(|held| held.answer.is_some()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_live_with_a_slow_authority() {
    let authority = authority(TempDir::new().unwrap(), None, 64).await;
    // Every piece of a connection takes 150 ms each way: a handshake and a call 0.9 s.
    let slow = slow_road(
        authority.running.ready().address,
        Duration::from_millis(150),
    )
    .await;
    let at = target(&authority, slow);
    let agents = agents(&authority, &at, 6).await;
    let ids = on_the_node(&authority, 10).await;
    let node = certificate(&authority.agent(AGENT).await);
    let lasts = Duration::from_secs(8);
    let ztunnel = Ztunnel::new(at, node, TTL, real_now);
    let node = tokio::spawn(async move { ztunnel.run(&ids, lasts).await });
    let lived = live_all(agents, lasts).await;
    lived.tell("slow");
    assert!(lived.all_have_certificates(), "{:?}", lived.agents);
    assert_eq!(
        lived.failures(),
        0,
        "slow is not broken: {:?}",
        lived.codes()
    );
    assert!(lived.certificates() >= 2 * 6, "{}", lived.certificates());
    for (id, held) in node.await.unwrap() {
        assert_eq!((held.failures, held.gaps), (0, 0), "{id}");
        assert!(held.certificates >= 2, "{id}");
    }
}

/// Passes connections on, each piece late.
async fn slow_road(to: SocketAddr, late: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let server = TcpStream::connect(to).await?;
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::try_join!(
                    pass_on(from_client, to_server, late),
                    pass_on(from_server, to_client, late)
                )
            });
        }
    });
    address
}

async fn pass_on(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    late: Duration,
) -> std::io::Result<()> {
    let mut piece = vec![0; 64 << 10];
    loop {
        let length = from.read(&mut piece).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        tokio::time::sleep(late).await;
        to.write_all(&piece[..length]).await?;
    }
}

#[tokio::test]
async fn a_refusal_ends_the_call_at_once_and_the_agent_keeps_trying() {
    let authority = authority(TempDir::new().unwrap(), None, 64).await;
    let at = target(&authority, authority.running.ready().address);
    let proof = Credential::Header("Join nothing".to_owned());
    let mut agent = IstioAgent::new(at, proof, &workload(0), 1);
    agent.key = WorkloadKey::EcdsaP256;
    assert!(agent.warm_up(Duration::from_millis(1600)).await.is_none());
    // No attempt is made again inside a call; two or three warm-ups.
    assert_eq!(agent.counted.back_offs, 0);
    assert_eq!(agent.counted.failures, agent.counted.given_up);
    assert!(
        agent
            .counted
            .codes
            .iter()
            .all(|code| *code == Code::Unauthenticated)
    );
    // Once there is a token, the next round of the warm-up brings the certificate.
    agent.credential = Credential::Header(format!("Join {}", authority.token(&workload(0)).await));
    agent
        .warm_up(Duration::from_secs(5))
        .await
        .expect("a certificate");
}
