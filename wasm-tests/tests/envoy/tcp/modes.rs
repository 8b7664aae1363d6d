//! Modes of `PeerAuthentication` on TCP, port by port: which connections the listener takes, and which the filter.

use envoy_config::sidecar::{InboundFilter, SpeaksFirst, TcpServer};
use lab::http::{Resumption, ServerCheck, Tls};
use lab::tcp::{BANNER, TcpClient};
use serde_json::{Value, json};
use wasm_tests::fixtures::config::ConfigSpec;

use super::{
    SOON, Served, WHILE, assert_nothing_and_closed, clients, guarded, inbound, inbound_world,
    only_sleep,
};
use crate::support::World;

/// What the mesh, the workload and one of its ports say.
#[derive(Clone, Copy, Debug)]
struct Written {
    mesh: &'static str,
    workload: &'static str,
    port: &'static str,
}

impl Written {
    /// The resources, for the port that the server happens to listen on, or for one beside it.
    fn add(self, spec: &mut TcpServer, beside: u16) {
        let port = (spec.listen.port() + beside).to_string();
        let resource = |name: &str, namespace: &str, spec: Value| {
            json!({
                "apiVersion": "security.istio.io/v1",
                "kind": "PeerAuthentication",
                "metadata": {"name": name, "namespace": namespace},
                "spec": spec,
            })
        };
        let workload = json!({
            "selector": {"matchLabels": {"app": "httpbin"}},
            "mtls": {"mode": self.workload},
            "portLevelMtls": {port: {"mode": self.port}},
        });
        let mesh = json!({"mtls": {"mode": self.mesh}});
        if let InboundFilter::Wasm { config, .. } = &mut spec.filter {
            config.policies.push(resource("mesh", "istio-system", mesh));
            config
                .policies
                .push(resource("workload", "default", workload));
        }
    }
}

const fn written(mesh: &'static str, workload: &'static str, port: &'static str) -> Written {
    Written {
        mesh,
        workload,
        port,
    }
}

/// Whether a client without TLS, with mutual TLS, and with TLS but no certificate gets through.
type Taken = (bool, bool, bool);

const PLAINTEXT: Taken = (true, false, false);
const MUTUAL: Taken = (false, true, false);
const BOTH: Taken = (true, true, false);
const NONE: Taken = (false, false, false);

async fn takes(world: &World, served: &Served) -> Taken {
    let nobody = Tls::new(
        &world.root(),
        None,
        ServerCheck::AnyVerified,
        Resumption::Never,
    );
    let (sleep, nobody) = (clients(world).0, nobody.expect("TLS settings"));
    (
        echoes(served, None).await,
        echoes(served, Some(&sleep)).await,
        echoes(served, Some(&nobody)).await,
    )
}

/// Whether the application answers; if it does not, the connection ends, and the application never heard of it.
async fn echoes(served: &Served, tls: Option<&Tls>) -> bool {
    let (accepted, received) = (served.app.accepted(), served.app.received().len());
    // Where nobody speaks TLS, a ClientHello comes back as it was sent.
    let Ok(mut client) = TcpClient::open(served.address, tls).await else {
        return false;
    };
    client.send(b"this is no handshake").await.ok();
    let heard = client.hear(20, SOON).await;
    if heard.bytes == b"this is no handshake" {
        assert_eq!(served.app.accepted(), accepted + 1);
        return true;
    }
    // An alert is all that comes.
    assert!(heard.ended && heard.bytes.len() < 10, "{heard:?}");
    assert_eq!(
        (served.app.accepted(), served.app.received().len()),
        (accepted, received)
    );
    false
}

async fn by_port(world: &World, config: &ConfigSpec, written: Written, beside: u16) -> Served {
    let set = |spec: &mut TcpServer| written.add(spec, beside);
    guarded(world, SpeaksFirst::Client, config, set, |_| {}).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_decides_then_the_workload_then_the_mesh() {
    let Some(world) = inbound_world() else {
        return;
    };
    for (written, beside, expected) in [
        (written("STRICT", "STRICT", "PERMISSIVE"), 0, BOTH),
        (written("STRICT", "STRICT", "DISABLE"), 0, PLAINTEXT),
        (written("DISABLE", "DISABLE", "STRICT"), 0, MUTUAL),
        (written("DISABLE", "PERMISSIVE", "STRICT"), 0, MUTUAL),
        (written("DISABLE", "STRICT", "UNSET"), 0, MUTUAL),
        (written("STRICT", "DISABLE", "UNSET"), 0, PLAINTEXT),
        (written("STRICT", "UNSET", "UNSET"), 0, MUTUAL),
        (written("PERMISSIVE", "UNSET", "UNSET"), 0, BOTH),
        // What another port says is no matter.
        (written("DISABLE", "STRICT", "DISABLE"), 1, MUTUAL),
        (written("STRICT", "DISABLE", "STRICT"), 1, PLAINTEXT),
    ] {
        let served = by_port(&world, &inbound(&world), written, beside).await;
        let found = takes(&world, &served).await;
        assert_eq!(found, expected, "{written:?}, beside by {beside}");
    }
}

/// Whoever comes without TLS is nobody, so no policy that names somebody lets it in.
#[tokio::test(flavor = "multi_thread")]
async fn plaintext_is_let_in_by_no_name() {
    let Some(world) = inbound_world() else {
        return;
    };
    for (mode, expected) in [("PERMISSIVE", MUTUAL), ("DISABLE", NONE)] {
        let written = written("STRICT", "STRICT", mode);
        let served = by_port(&world, &only_sleep(&world), written, 0).await;
        assert_eq!(takes(&world, &served).await, expected, "{mode}");
        let denied = served.decisions();
        let denied = denied.iter().find(|record| record["verdict"] == "deny");
        let denied = denied.expect("a record");
        assert_eq!(
            (&denied["reason"], &denied["peer"]),
            (&json!("no_allow_matched"), &Value::Null)
        );
    }
}

/// The second lock, port by port: a listener that takes plaintext all the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_filter_knows_the_mode_of_the_port() {
    let Some(world) = inbound_world() else {
        return;
    };
    let without_tls = |json: &mut Value| {
        let chain = &mut json["static_resources"]["listeners"][0]["filter_chains"][0];
        let chain = chain.as_object_mut().expect("a chain");
        chain.remove("transport_socket");
        chain.remove("transport_socket_connect_timeout");
    };
    for (written, beside, passes) in [
        (written("PERMISSIVE", "PERMISSIVE", "STRICT"), 0, false),
        (written("PERMISSIVE", "STRICT", "STRICT"), 1, false),
        // The control: a chain without TLS is what this mode has anyway.
        (written("STRICT", "STRICT", "DISABLE"), 0, true),
    ] {
        let set = |spec: &mut TcpServer| written.add(spec, beside);
        let (first, config) = (SpeaksFirst::Client, inbound(&world));
        let served = guarded(&world, first, &config, set, without_tls).await;
        assert_eq!(echoes(&served, None).await, passes, "{written:?}");
        if !passes {
            assert_eq!(served.decisions()[0]["reason"], "mtls_required");
        }
    }
}

/// A server that speaks first: without TLS it is heard at once in mode DISABLE. In mode PERMISSIVE Envoy cannot tell
/// what a silent client is, so the client has to speak.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_speaks_first_is_heard_by_whoever_may() {
    let Some(world) = inbound_world() else {
        return;
    };
    let (sleep, impostor) = clients(&world);
    let first = SpeaksFirst::Server;
    let start = async |config: &ConfigSpec, mode: &'static str| {
        let set = |spec: &mut TcpServer| written("STRICT", "STRICT", mode).add(spec, 0);
        guarded(&world, first, config, set, |_| {}).await
    };
    let plaintext = async |served: &Served| {
        let client = TcpClient::open(served.address, None).await;
        client.expect("connects")
    };

    let served = start(&inbound(&world), "DISABLE").await;
    let mut client = plaintext(&served).await;
    assert_eq!(client.hear(BANNER.len(), SOON).await.bytes, BANNER);
    let served = start(&only_sleep(&world), "DISABLE").await;
    assert_nothing_and_closed(&plaintext(&served).await.hear_out(SOON).await);
    assert_eq!(served.app.accepted(), 0);

    let served = start(&inbound(&world), "PERMISSIVE").await;
    let mut client = served.open(&sleep).await;
    assert_eq!(client.hear(BANNER.len(), SOON).await.bytes, BANNER);
    let mut client = plaintext(&served).await;
    let silent = client.hear(1, WHILE).await;
    assert_eq!((silent.bytes.len(), silent.ended), (0, false));
    // It is given up after 15 s, Envoy's limit for finding out.
    let mut silent = plaintext(&served).await;
    assert_nothing_and_closed(&silent.hear_out(4 * SOON).await);
    assert_eq!(served.app.accepted(), 1, "only the one with TLS");
    let mut client = plaintext(&served).await;
    client.send(b"HELO\r\n").await.expect("open");
    let heard = client.hear(BANNER.len() + 6, SOON).await.bytes;
    assert_eq!(heard, [BANNER, b"HELO\r\n"].concat());

    let served = start(&only_sleep(&world), "PERMISSIVE").await;
    let mut client = served.open(&sleep).await;
    assert_eq!(client.hear(BANNER.len(), SOON).await.bytes, BANNER);
    assert_nothing_and_closed(&served.open(&impostor).await.hear_out(SOON).await);
    let mut client = plaintext(&served).await;
    client.send(b"HELO\r\n").await.expect("open");
    assert_nothing_and_closed(&client.hear_out(SOON).await);
    assert_eq!(served.app.accepted(), 1);
}
