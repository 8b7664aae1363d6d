//! Clients.

use std::time::Duration;

use envoy_config::address::Admin;
use envoy_config::age::ConnectionAge;
use envoy_config::sidecar::{
    Client, Hold, HttpVersion, OutboundFilter, OutlierDetection, Retry, SanMatchers, Upstream,
};
use envoy_config::tls::TlsSource;

use crate::support::{MODULE, address, bootstraps, endpoint, files, ids, plugin, sds};

fn client(upstreams: Vec<Upstream>) -> Client {
    let mut client = Client::new("sleep", address("127.0.0.1:15001"), upstreams);
    client.admin = Admin::Unix("/golden/admin.sock".into());
    client.access_log = Some("/golden/access.jsonl".into());
    client.connection_age = ConnectionAge::quarter_of_leaf_life(Duration::from_secs(60));
    client
}

fn httpbin(tls: TlsSource) -> Upstream {
    Upstream::new(
        "httpbin",
        endpoint("127.0.0.1:15006"),
        ids(&["httpbin"]),
        tls,
    )
}

fn outbound() -> OutboundFilter {
    OutboundFilter {
        module: MODULE.into(),
        config: plugin("outbound"),
    }
}

#[test]
fn client_with_matchers_alone() {
    bootstraps("client-files", |envoy| {
        let mut client = client(vec![httpbin(files())]);
        client.envoy = envoy;
        client.bootstrap().unwrap()
    });
}

#[test]
fn client_with_both_locks() {
    bootstraps("client-sds-hold", |envoy| {
        let mut upstream = httpbin(sds());
        upstream.hold = Hold::On;
        let mut other = Upstream::new(
            "billing",
            endpoint("billing.example:443"),
            ids(&["billing", "billing-canary"]),
            sds(),
        );
        other.hosts = vec!["billing.example".to_owned()];
        other.hold = Hold::On;
        other.version = HttpVersion::Http1;
        other.sni = Some("billing.example".to_owned());
        let mut client = client(vec![upstream, other]);
        client.envoy = envoy;
        client.filter = Some(outbound());
        client.agent_http = Some("/golden/agent.sock".into());
        client.bootstrap().unwrap()
    });
}

#[test]
fn client_with_the_hold_alone() {
    bootstraps("client-hold-alone", |envoy| {
        let mut upstream = httpbin(files());
        upstream.hold = Hold::On;
        upstream.san_matchers = SanMatchers::Off;
        let mut client = client(vec![upstream]);
        client.envoy = envoy;
        client.filter = Some(outbound());
        client.agent_http = Some("/golden/agent.sock".into());
        client.bootstrap().unwrap()
    });
}

#[test]
fn client_with_failover() {
    bootstraps("client-failover", |envoy| {
        let mut upstream = httpbin(files());
        upstream.endpoints.push(endpoint("127.0.0.1:15007"));
        upstream.request_timeout = Some(Duration::from_millis(1500));
        upstream.retry = Some(Retry {
            on: vec!["connect-failure".to_owned(), "refused-stream".to_owned()],
            attempts: 2,
            per_try_timeout: Some(Duration::from_millis(500)),
            hedge: envoy_config::sidecar::Hedge::OnPerTryTimeout,
        });
        upstream.outlier_detection = Some(OutlierDetection {
            consecutive_failures: 3,
            base_ejection: Duration::from_secs(5),
        });
        let mut client = client(vec![upstream]);
        client.envoy = envoy;
        client.bootstrap().unwrap()
    });
}
