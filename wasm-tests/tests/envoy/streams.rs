//! Requests that stay open: gRPC streams, WebSockets, tunnels. A policy or a deny list that changes ends them.

mod app;

use std::time::{Duration, Instant};

use lab::http::{Body, Tls, Version};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use wasm_tests::fixtures::config::{ConfigSpec, authorization_policy};
use wasm_tests::fixtures::{IMPOSTOR, SLEEP};

use crate::list_server::ListServer;
use crate::reload::{Discovered, file};
use crate::running::ServerUnderTest;
use crate::support::{World, eventually};

use self::app::App;

/// From the change to the end of a stream.
const BOUND: Duration = Duration::from_secs(2);
/// How long a stream that may go on is watched.
const WATCHED: Duration = Duration::from_millis(1500);

/// What kinds of open requests there are.
const KINDS: [Kind; 5] = [
    Kind::GrpcStream,
    Kind::GrpcUnanswered,
    Kind::WebSocket,
    Kind::Connect,
    Kind::Unanswered,
];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// An HTTP/2 gRPC call whose answer has begun.
    GrpcStream,
    /// One whose answer has not.
    GrpcUnanswered,
    /// An HTTP/1.1 connection that was upgraded.
    WebSocket,
    /// A tunnel by `CONNECT`.
    Connect,
    /// An HTTP/1.1 request whose answer has not begun.
    Unanswered,
}

/// An open request, and how it ended.
struct Opened {
    kind: Kind,
    end: JoinHandle<End>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum End {
    /// Reset, or its connection closed.
    Cut,
    /// Answered: status, and `grpc-status`.
    Answered(u16, Option<String>),
}

impl Opened {
    async fn open(server: &ServerUnderTest, tls: &Tls, kind: Kind) -> Self {
        let end = match kind {
            Kind::GrpcStream => grpc(server, tls, "/stream").await,
            Kind::GrpcUnanswered => grpc(server, tls, "/silent").await,
            Kind::WebSocket => {
                let begin = "GET /ws HTTP/1.1\r\nhost: app\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                     sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
                tunnel(server, tls, begin, "HTTP/1.1 101").await
            }
            Kind::Connect => {
                let begin = "CONNECT app:80 HTTP/1.1\r\nhost: app:80\r\n\r\n";
                tunnel(server, tls, begin, "HTTP/1.1 200").await
            }
            Kind::Unanswered => {
                let mut connection = server.connect(tls, Version::Http1).await.expect("TLS");
                tokio::spawn(async move {
                    match connection.get("/silent").await {
                        Ok(answer) => End::Answered(answer.status, None),
                        Err(_) => End::Cut,
                    }
                })
            }
        };
        Self { kind, end }
    }

    /// Waits for its end, and says how long that took.
    async fn ended(self) -> (Duration, End) {
        let begun = Instant::now();
        let end = tokio::time::timeout(Duration::from_secs(10), self.end).await;
        let end = end.unwrap_or_else(|_| panic!("{:?} is still open", self.kind));
        (begun.elapsed(), end.expect("no panic"))
    }

    fn is_open(&self) -> bool {
        !self.end.is_finished()
    }

    async fn assert_reset(self, what: &str) {
        let kind = self.kind;
        let (took, end) = self.ended().await;
        assert!(took <= BOUND, "{what}, {kind:?}: {took:?}");
        // Envoy 1.36 resets an HTTP/2 stream with NO_ERROR, which the client takes for its end. A gRPC client
        // misses the status in the trailers then.
        if (kind, &end) == (Kind::GrpcStream, &End::Answered(200, None)) {
            return;
        }
        let wanted = match kind {
            Kind::GrpcStream | Kind::WebSocket | Kind::Connect => End::Cut,
            Kind::GrpcUnanswered => End::Answered(200, Some("7".to_owned())),
            Kind::Unanswered => End::Answered(403, None),
        };
        assert_eq!(end, wanted, "{what}, {kind:?}");
    }
}

async fn grpc(server: &ServerUnderTest, tls: &Tls, path: &str) -> JoinHandle<End> {
    let mut connection = server.connect(tls, Version::Http2).await.expect("TLS");
    let request = connection
        .request("POST", path)
        .header("content-type", "application/grpc")
        .body(Body::empty())
        .expect("a request");
    let task = tokio::spawn(async move {
        match connection.send(request).await {
            Ok(answer) => {
                let status = answer.header("grpc-status").map(str::to_owned);
                End::Answered(answer.status, status)
            }
            Err(_) => End::Cut,
        }
    });
    // The answer begins, where it does.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!task.is_finished(), "{:?}", task.await);
    task
}

/// Bytes in both directions behind a head of HTTP/1.1.
async fn tunnel(server: &ServerUnderTest, tls: &Tls, begin: &str, status: &str) -> JoinHandle<End> {
    let stream = TcpStream::connect(server.address).await.expect("connects");
    let mut stream = tls.handshake(stream).await.expect("TLS");
    stream.write_all(begin.as_bytes()).await.expect("written");
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    assert!(head.starts_with(status), "{head}");
    let (sent, received) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        let mut sent = Some(sent);
        loop {
            if stream.write_all(b"ping").await.is_err() {
                return End::Cut;
            }
            let mut echo = [0; 4];
            match stream.read_exact(&mut echo).await {
                Ok(_) => assert_eq!(&echo, b"ping"),
                Err(_) => return End::Cut,
            }
            if let Some(sent) = sent.take() {
                sent.send(()).expect("awaited");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    received.await.expect("bytes come back");
    task
}

/// Lets Envoy upgrade, and serve `CONNECT`.
fn with_upgrades(bootstrap: &mut Value) {
    let listener = &mut bootstrap["static_resources"]["listeners"][0];
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    manager["upgrade_configs"] =
        json!([{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}]);
    for host in manager["route_config"]["virtual_hosts"]
        .as_array_mut()
        .expect("hosts")
    {
        let cluster = host["routes"][0]["route"]["cluster"].clone();
        let connect = json!({
            "match": {"connect_matcher": {}},
            "route": {
                "cluster": cluster,
                "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}],
            },
        });
        host["routes"]
            .as_array_mut()
            .expect("routes")
            .insert(0, connect);
    }
}

/// These may send any method; a policy that looks at headers, so that they are kept.
fn only(world: &World, names: &[&str]) -> ConfigSpec {
    let principals: Vec<_> = names
        .iter()
        .map(|name| format!("cluster.local/ns/default/sa/{name}"))
        .collect();
    ConfigSpec::inbound(&world.authority).policy(authorization_policy(
        "only",
        "ALLOW",
        json!([{
            "from": [{"source": {"principals": principals}}],
            "to": [{"operation": {"methods": ["GET", "POST", "CONNECT"]}}],
        }]),
    ))
}

async fn scene(
    world: &World,
    config: &ConfigSpec,
    app: &App,
    agent: Option<&ListServer>,
    rewrite: impl Fn(&mut Value),
) -> ServerUnderTest {
    let change = |spec: &mut envoy_config::sidecar::Server| {
        spec.app = app.address.into();
        spec.agent_http = agent.map(|agent| agent.socket().to_owned());
    };
    let rewrite = |bootstrap: &mut Value| {
        with_upgrades(bootstrap);
        rewrite(bootstrap);
    };
    world.server_with(config, change, rewrite).await
}

async fn opened(server: &ServerUnderTest, tls: &Tls) -> Vec<Opened> {
    let mut opened = Vec::new();
    for kind in KINDS {
        opened.push(Opened::open(server, tls, kind).await);
    }
    opened
}

async fn a_policy_change(world: World) {
    let app = App::start().await;
    let discovered = Discovered::new(file(&world));
    let both = only(&world, &["sleep", "impostor"]);
    let take = |bootstrap: &mut Value| discovered.take_from(bootstrap);
    let server = scene(&world, &both, &app, None, take).await;
    let sleep = world.tls("sleep", &world.authority.svid(SLEEP));
    let other = world.tls("other", &world.authority.svid(IMPOSTOR));
    let kept = opened(&server, &sleep).await;
    let denied = opened(&server, &other).await;
    discovered.configure(&only(&world, &["sleep"]).json());
    let changed = Instant::now();
    eventually("the new policy", Duration::from_secs(5), async || {
        server
            .get(&other, "/stream")
            .await
            .is_ok_and(|answer| answer.status == 403)
    })
    .await;
    for opened in denied {
        opened.assert_reset("policy change").await;
    }
    assert!(
        changed.elapsed() <= BOUND + Duration::from_millis(500),
        "{:?}",
        changed.elapsed()
    );
    tokio::time::sleep(WATCHED).await;
    for opened in kept {
        assert!(
            opened.is_open(),
            "{:?} was allowed and is reset",
            opened.kind
        );
    }
    // Those of the requests that looked for the new policy are among them.
    let reset = server
        .stat("wasmcustom.countersign_open_stream_reset")
        .await;
    assert!(
        reset >= u64::try_from(KINDS.len()).expect("few"),
        "{reset} reset"
    );
    let told = server.decisions();
    let told = told.iter().filter(|line| line["open"] == true);
    let told = told.filter(|line| line["reason"] == "no_allow_matched");
    assert_eq!(u64::try_from(told.count()).expect("few"), reset);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_changes_resets_what_it_no_longer_allows() {
    a_policy_change(World::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn so_it_does_in_the_oldest_supported_envoy() {
    a_policy_change(World::oldest()).await;
}

async fn a_revocation(world: World) {
    let app = App::start().await;
    let list = ListServer::start(&world.path("agent.sock"));
    let config = only(&world, &["sleep"]).with(
        "denyList",
        json!({"cluster": envoy_config::AGENT_HTTP_CLUSTER, "keys": [list.public_key_pem()]}),
    );
    let server = scene(&world, &config, &app, Some(&list), |_| {}).await;
    let (good, gone) = (world.authority.svid(SLEEP), world.authority.svid(SLEEP));
    let (kept, denied) = (world.tls("good", &good), world.tls("gone", &gone));
    eventually("the first list", Duration::from_secs(5), async || {
        let probe = Opened::open_quietly(&server, &kept).await;
        probe == Some(101)
    })
    .await;
    let kept = opened(&server, &kept).await;
    let denied = opened(&server, &denied).await;
    list.publish(&[(gone.sha256(), "revoked")]);
    for opened in denied {
        opened.assert_reset("revocation").await;
    }
    tokio::time::sleep(WATCHED).await;
    for opened in kept {
        assert!(
            opened.is_open(),
            "{:?} was allowed and is reset",
            opened.kind
        );
    }
}

impl Opened {
    /// Status of a WebSocket's answer; its connection is closed.
    async fn open_quietly(server: &ServerUnderTest, tls: &Tls) -> Option<u16> {
        let stream = TcpStream::connect(server.address).await.ok()?;
        let mut stream = tls.handshake(stream).await.ok()?;
        let begin =
            b"GET /ws HTTP/1.1\r\nhost: app\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        stream.write_all(begin).await.ok()?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.ok()?;
        str::from_utf8(&head[9..]).ok()?.parse().ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_ends_its_open_streams() {
    a_revocation(World::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn so_it_ends_them_in_the_oldest_supported_envoy() {
    a_revocation(World::oldest()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ends_takes_its_open_streams_with_it() {
    let world = World::new();
    let app = App::start().await;
    let server = scene(&world, &only(&world, &["sleep"]), &app, None, |_| {}).await;
    let short = world.short_lived(SLEEP, 4);
    let ends = Instant::now() + Duration::from_secs(5);
    let tls = world.tls("short", &short);
    let opened = opened(&server, &tls).await;
    assert!(opened.iter().all(Opened::is_open));
    tokio::time::sleep_until(ends.into()).await;
    for opened in opened {
        opened.assert_reset("expiry").await;
    }
}
