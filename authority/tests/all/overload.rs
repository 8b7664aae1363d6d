//! Bounds, over the wire.

use std::time::{Duration, Instant};

use api::istio::IstioCertificateRequest;
use api::istio::istio_certificate_service_client::IstioCertificateServiceClient;
use tempfile::TempDir;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use crate::support::{AGENT, Ask, Authority, csr, key};

/// Holds the record's write lock, as a disk that is slow to sync would hold up every write.
struct StuckRecord(sqlx::SqliteConnection);

impl StuckRecord {
    async fn of(authority: &Authority) -> Self {
        use sqlx::ConnectOptions as _;
        let path = authority.dir.path().join("data/countersign.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let mut connection = options.connect().await.unwrap();
        sqlx::query("BEGIN IMMEDIATE")
            .execute(&mut connection)
            .await
            .unwrap();
        Self(connection)
    }

    async fn free(mut self) {
        sqlx::query("ROLLBACK").execute(&mut self.0).await.unwrap();
    }
}

async fn narrow() -> Authority {
    Authority::start_in(TempDir::new().unwrap(), |settings| {
        settings.limits.concurrency = 1;
        settings.limits.queue = 2;
        settings.limits.queue_per_group = 2;
        settings.limits.queue_per_member = 2;
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_queue_requests_are_shed_with_retry_info_within_istio_agents_window() {
    let authority = narrow().await;
    let agent = authority.agent(AGENT).await;
    let channel = authority.channel(Some(&agent)).await;
    let stuck = StuckRecord::of(&authority).await;
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let mut client = IstioCertificateServiceClient::new(channel.clone());
        let request = IstioCertificateRequest {
            csr: csr(&key()),
            ..Default::default()
        };
        waiting.spawn(async move { client.create_certificate(request).await });
    }
    // One is worked on, two wait.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let shed = authority
        .ask(&agent, &key(), &Ask::default())
        .await
        .unwrap_err();
    assert_eq!(shed.code(), Code::ResourceExhausted);
    let pause = shed.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(
        (Duration::from_millis(100)..=Duration::from_millis(1600)).contains(&pause),
        "{pause:?}"
    );
    stuck.free().await;
    for answer in waiting.join_all().await {
        answer.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_signed_for_who_has_given_up() {
    let authority = narrow().await;
    let agent = authority.agent(AGENT).await;
    let channel = authority.channel(Some(&agent)).await;
    let before = authority.certificates().await.len();
    let stuck = StuckRecord::of(&authority).await;
    let ask = |timeout: Option<Duration>| {
        let mut client = IstioCertificateServiceClient::new(channel.clone());
        let mut request = Request::new(IstioCertificateRequest {
            csr: csr(&key()),
            ..Default::default()
        });
        if let Some(timeout) = timeout {
            request.set_timeout(timeout);
        }
        async move { client.create_certificate(request).await }
    };
    let first = tokio::spawn(ask(None));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let hurried = ask(Some(Duration::from_millis(200))).await.unwrap_err();
    assert!(
        matches!(hurried.code(), Code::DeadlineExceeded | Code::Cancelled),
        "{hurried}"
    );
    // Who hangs up leaves the queue, so there is room again.
    for _ in 0..4 {
        let hangs_up = tokio::time::timeout(Duration::from_millis(100), ask(None)).await;
        assert!(hangs_up.is_err());
    }
    stuck.free().await;
    first.await.unwrap().unwrap();
    authority
        .ask(&agent, &key(), &Ask::default())
        .await
        .unwrap();
    let after = authority.certificates().await.len();
    assert_eq!(after - before, 2, "only those whose caller waited");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_one_namespace_does_not_starve_another_ones_request() {
    let authority = Authority::start_in(TempDir::new().unwrap(), |settings| {
        settings.limits.concurrency = 2;
        settings.limits.queue_per_member = 1000;
        settings.limits.max_wait_seconds = 60;
    })
    .await;
    let flood = authority
        .agent("spiffe://cluster.local/ns/flood/sa/web")
        .await;
    let quiet = authority
        .agent("spiffe://cluster.local/ns/quiet/sa/web")
        .await;
    let (flood, quiet) = (
        authority.channel(Some(&flood)).await,
        authority.channel(Some(&quiet)).await,
    );
    let request = IstioCertificateRequest {
        csr: csr(&key()),
        ..Default::default()
    };
    let ask = |channel: &tonic::transport::Channel| {
        let mut client = IstioCertificateServiceClient::new(channel.clone());
        let request = request.clone();
        async move {
            let begun = Instant::now();
            client.create_certificate(request).await.unwrap();
            begun.elapsed()
        }
    };
    let mut flooding = tokio::task::JoinSet::new();
    for _ in 0..300 {
        flooding.spawn(ask(&flood));
    }
    // Once the flood is under way.
    assert!(flooding.join_next().await.unwrap().is_ok());
    let mut alone = Duration::ZERO;
    for _ in 0..5 {
        alone = alone.max(ask(&quiet).await);
    }
    assert!(
        flooding.len() > 20,
        "the flood was over before the quiet ones were served"
    );
    let slowest = flooding.join_all().await.into_iter().max().unwrap();
    println!("flood: slowest of 300 {slowest:?}; meanwhile, slowest of 5 quiet ones {alone:?}");
    assert!(alone * 3 < slowest, "{alone:?} beside {slowest:?}");
}

#[tokio::test]
async fn one_address_has_its_share_of_the_connections() {
    let authority = Authority::start_in(TempDir::new().unwrap(), |settings| {
        settings.limits.connections_per_peer = 3;
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(authority.channel(None).await);
    }
    let address = authority.running.ready().address.to_string();
    let root = authority.root_pem();
    crate::support::channel(&address, &root, None)
        .await
        .unwrap_err();
    held.pop();
    // The place is free as soon as the authority sees the connection closed.
    for _ in 0..100 {
        if crate::support::channel(&address, &root, None).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the place was not given back");
}
