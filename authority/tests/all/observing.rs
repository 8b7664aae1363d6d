//! Metrics, readiness, health, reflection, and what doctor finds.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use api::admin::{DiagnoseRequest, Finding, StateAction, change_state_request::Selector};
use api::agent::WatchDenyListRequest;
use api::agent::agent_service_client::AgentServiceClient;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::support::{AGENT, Ask, Authority, HTTPBIN, OTHER_AGENT, key};

async fn observed() -> Authority {
    observed_in(TempDir::new().unwrap()).await
}

async fn observed_in(dir: TempDir) -> Authority {
    Authority::start_in(dir, |settings| {
        settings.metrics.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    })
    .await
}

/// Status and body of a plain GET.
async fn get(authority: &Authority, path: &str) -> (u16, String) {
    let address = authority.running.ready().metrics_address.unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer[9..12].parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    (status, body)
}

/// The value of a series, as it stands in the text.
fn value<'a>(metrics: &'a str, series: &str) -> &'a str {
    metrics
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))
        .unwrap_or_else(|| panic!("{series} is not in\n{metrics}"))
}

async fn findings(authority: &Authority) -> Vec<Finding> {
    let answer = authority.admin().await.diagnose(DiagnoseRequest {}).await;
    answer.unwrap().into_inner().findings
}

async fn finding(authority: &Authority, condition: &str) -> Option<Finding> {
    let mut all = findings(authority).await.into_iter();
    all.find(|finding| finding.condition == condition)
}

#[tokio::test]
async fn metrics_tell_what_happened_and_what_is() {
    let authority = observed().await;
    let agent = authority.agent(AGENT).await;
    authority
        .join("nothing", &key(), &Ask::default())
        .await
        .unwrap_err();
    authority
        .ask(&agent, &key(), &Ask::id(HTTPBIN))
        .await
        .unwrap_err();
    let mut client = AgentServiceClient::new(authority.channel(Some(&agent)).await);
    let request = WatchDenyListRequest {
        epoch: 0,
        sequence: 0,
    };
    let mut stream = client.watch_deny_list(request).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();

    let (status, text) = get(&authority, "/metrics").await;
    assert_eq!(status, 200);
    for (series, expected) in [
        (
            "countersign_certificates_issued_total{proof=\"join_token\"}",
            "1",
        ),
        (
            "countersign_requests_refused_total{code=\"unknown_token\"}",
            "1",
        ),
        (
            "countersign_requests_refused_total{code=\"not_parented\"}",
            "1",
        ),
        (
            "countersign_create_certificate_seconds_count{code=\"ok\"}",
            "1",
        ),
        (
            "countersign_create_certificate_seconds_count{code=\"unauthenticated\"}",
            "1",
        ),
        (
            "countersign_create_certificate_seconds_count{code=\"permission_denied\"}",
            "1",
        ),
        ("countersign_agents_connected", "1"),
        ("countersign_agents_behind", "0"),
        ("countersign_requests_in_flight{stage=\"issuance\"}", "0"),
        ("countersign_requests_queued{stage=\"proof\"}", "0"),
        ("countersign_ready", "1"),
        ("countersign_deny_list_entries", "0"),
        ("citadel_server_authentication_failure_count", "1"),
    ] {
        assert_eq!(value(&text, series), expected, "{series}");
    }
    let status = authority.status().await;
    let root = status.root.unwrap().not_after;
    let expiry: f64 = value(
        &text,
        "countersign_ca_expiry_timestamp_seconds{certificate=\"root\"}",
    )
    .parse()
    .unwrap();
    assert_eq!(expiry as i64, root);
    let left: f64 = value(&text, "citadel_server_root_cert_expiry_seconds")
        .parse()
        .unwrap();
    assert_eq!(left as i64, root - authority.now().as_secs());
    let bytes: f64 = value(&text, "countersign_record_bytes").parse().unwrap();
    assert!(bytes > 4096.0);

    // Asked for anew each time: the clock moves, the list grows, the stream ends.
    authority.clock.advance(5);
    let selector = Selector::Serial(agent.serial());
    authority
        .change(selector, StateAction::Revoke)
        .await
        .unwrap();
    while stream
        .message()
        .await
        .is_ok_and(|message| message.is_some())
    {}
    let (_, text) = get(&authority, "/metrics").await;
    let now: f64 = value(&text, "citadel_server_root_cert_expiry_seconds")
        .parse()
        .unwrap();
    assert_eq!(left as i64 - now as i64, 5);
    assert_eq!(value(&text, "countersign_deny_list_entries"), "1");
    assert_eq!(value(&text, "countersign_agents_connected"), "0");
    // Nobody's name is in it.
    assert!(!text.contains("spiffe://"), "{text}");
    assert_eq!(get(&authority, "/other").await.0, 404);
}

#[tokio::test]
async fn readiness_says_why_not_and_grpc_health_follows() {
    let authority = observed().await;
    assert_eq!(get(&authority, "/healthz").await.0, 200);
    let (status, body) = get(&authority, "/readyz").await;
    assert_eq!(
        (status, body.as_str()),
        (200, r#"{"ready":true,"reasons":[]}"#)
    );
    let mut health = HealthClient::new(authority.channel(None).await);
    assert_eq!(serving(&mut health).await, ServingStatus::Serving);

    // Beyond the intermediate's life. The list is stale as well until it is signed anew.
    authority.clock.advance(400 * 86_400);
    let (status, body) = get(&authority, "/readyz").await;
    assert_eq!(status, 503);
    let told: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(told["ready"], false);
    let checks: Vec<_> = told["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["check"])
        .collect();
    assert!(checks.contains(&&serde_json::json!("issuer")), "{body}");
    assert_eq!(
        get(&authority, "/healthz").await.0,
        200,
        "a restart would not help"
    );
    for _ in 0..100 {
        if serving(&mut health).await == ServingStatus::NotServing {
            authority.clock.advance(-400 * 86_400);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("gRPC health did not follow");
}

async fn serving(health: &mut HealthClient<tonic::transport::Channel>) -> ServingStatus {
    let service = "istio.v1.auth.IstioCertificateService".to_owned();
    let answer = health.check(HealthCheckRequest { service }).await;
    answer.unwrap().into_inner().status()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_cannot_be_written_is_not_ready() {
    use sqlx::ConnectOptions as _;
    let authority = observed().await;
    let path = authority.dir.path().join("data/countersign.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut connection = options.connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut connection)
        .await
        .unwrap();
    // Noticed by the next probe, and what it says stands until the one after it.
    let body = until_status(&authority, 503).await;
    assert!(body.contains(r#""check":"record""#), "{body}");
    sqlx::query("ROLLBACK")
        .execute(&mut connection)
        .await
        .unwrap();
    until_status(&authority, 200).await;
}

async fn until_status(authority: &Authority, wanted: u16) -> String {
    for _ in 0..300 {
        let (status, body) = get(authority, "/readyz").await;
        if status == wanted {
            return body;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("/readyz did not become {wanted}");
}

#[tokio::test]
async fn reflection_tells_of_the_public_services_alone() {
    let authority = Authority::start().await;
    let mut client = ServerReflectionClient::new(authority.channel(None).await);
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let requests = tokio_stream::iter([request]);
    let mut answers = client
        .server_reflection_info(requests)
        .await
        .unwrap()
        .into_inner();
    let answer = answers
        .message()
        .await
        .unwrap()
        .unwrap()
        .message_response
        .unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else {
        panic!("{answer:?}");
    };
    let names: Vec<_> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    assert!(
        names.contains(&"istio.v1.auth.IstioCertificateService".to_owned()),
        "{names:?}"
    );
    assert!(
        names.iter().all(|name| !name.contains("admin")),
        "{names:?}"
    );
}

#[tokio::test]
async fn doctor_finds_keys_that_lie_open() {
    let authority = observed().await;
    let said: Vec<_> = findings(&authority).await;
    assert!(
        said.iter().all(|finding| finding.severity != "error"),
        "{said:?}"
    );
    let root = finding(&authority, "root_key_online").await.unwrap();
    assert!(root.subject.ends_with("ca/root.key"), "{root:?}");
    assert!(!root.remedy.is_empty());
    assert!(finding(&authority, "key_not_encrypted").await.is_some());
    assert_eq!(finding(&authority, "open_permissions").await, None);
    let key = authority.dir.path().join("data/ca/intermediate.key");
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let open = finding(&authority, "open_permissions").await.unwrap();
    assert_eq!(open.severity, "error");
    assert!(open.detail.contains("0644"), "{open:?}");
    let socket = &authority.running.ready().admin_socket;
    assert_eq!(finding(&authority, "admin_socket_open").await, None);
    fs::set_permissions(socket, Permissions::from_mode(0o666)).unwrap();
    assert!(finding(&authority, "admin_socket_open").await.is_some());
}

#[tokio::test]
async fn doctor_finds_what_will_expire() {
    let authority = observed().await;
    for condition in ["root_expires", "issuer_expires", "leaves_shortened"] {
        assert_eq!(finding(&authority, condition).await, None, "{condition}");
    }
    let intermediate = authority.status().await.intermediate.unwrap().not_after;
    // A tenth of its life is left: less than the 90 days that leaves may have.
    let life = intermediate - authority.now().as_secs();
    authority.clock.advance(life * 9 / 10);
    let issuer = finding(&authority, "issuer_expires").await.unwrap();
    assert_eq!(issuer.severity, "warning", "{issuer:?}");
    assert!(finding(&authority, "leaves_shortened").await.is_some());
    authority.clock.advance(life / 10);
    let issuer = finding(&authority, "issuer_expires").await.unwrap();
    assert_eq!(issuer.severity, "error", "{issuer:?}");
    // The list was signed long ago by that clock.
    assert!(finding(&authority, "deny_list_stale").await.is_some());
    authority.clock.advance(-life);
}

#[tokio::test]
async fn doctor_finds_agents_that_are_not_there_and_identities_that_do_not_renew() {
    let authority = observed().await;
    let agent = authority.agent(AGENT).await;
    authority.entry(AGENT, HTTPBIN, 0).await;
    authority.entry(OTHER_AGENT, HTTPBIN, 0).await;
    let ask = Ask {
        ttl_seconds: 400,
        ..Ask::id(HTTPBIN)
    };
    authority.ask(&agent, &key(), &ask).await.unwrap();
    let mut client = AgentServiceClient::new(authority.channel(Some(&agent)).await);
    let request = WatchDenyListRequest {
        epoch: 0,
        sequence: 0,
    };
    let mut stream = client.watch_deny_list(request).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    let absent: Vec<_> = findings(&authority)
        .await
        .into_iter()
        .filter(|finding| finding.condition == "agents_absent")
        .map(|finding| finding.subject)
        .collect();
    assert_eq!(absent, [OTHER_AGENT]);
    assert_eq!(finding(&authority, "not_renewing").await, None);
    authority.clock.advance(310);
    let late = finding(&authority, "not_renewing").await.unwrap();
    assert_eq!(late.subject, HTTPBIN);
    // A newer one, and all is well again.
    authority.ask(&agent, &key(), &ask).await.unwrap();
    assert_eq!(finding(&authority, "not_renewing").await, None);
}

#[tokio::test]
async fn doctor_finds_refusals_that_rise_and_alarms() {
    let authority = observed().await;
    for _ in 0..10 {
        authority
            .join("nothing", &key(), &Ask::default())
            .await
            .unwrap_err();
    }
    assert!(finding(&authority, "refusals_rise").await.is_some());
    assert_eq!(finding(&authority, "alarms").await, None);
    let token = authority.token(AGENT).await;
    authority
        .join(&token, &key(), &Ask::default())
        .await
        .unwrap();
    authority
        .join(&token, &key(), &Ask::default())
        .await
        .unwrap_err();
    let alarms = finding(&authority, "alarms").await.unwrap();
    assert_eq!(alarms.severity, "error");
    // The worst comes first.
    assert_eq!(findings(&authority).await[0].severity, "error");
}

#[tokio::test]
async fn doctor_finds_a_clock_that_went_back() {
    let authority = observed().await;
    authority.agent(AGENT).await;
    assert_eq!(finding(&authority, "clock_behind").await, None);
    authority.clock.advance(-100);
    assert!(finding(&authority, "clock_behind").await.is_some());
}
