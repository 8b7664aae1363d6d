//! The filter's metrics, whose names carry their labels, as Envoy gives them to Prometheus.

use std::time::Duration;

use lab::http::Target;
use wasm_tests::fixtures::SLEEP;
use wasm_tests::fixtures::config::{ConfigSpec, allow_principal};

use crate::support::{World, assert_forbidden, eventually};

async fn decisions_have_labels(world: World) {
    let only = allow_principal("only", "cluster.local/ns/default/sa/nobody");
    let config = ConfigSpec::inbound(&world.authority).policy(only);
    let server = world.server(&config).await;
    let sleep = world.tls("sleep", &world.authority.svid(SLEEP));
    assert_forbidden(&server.get(&sleep, "/get").await.expect("an answer"));

    let admin = Target::Unix(server.admin.clone());
    let prometheus = async || {
        let answer = lab::http::get(&admin, "/stats/prometheus").await;
        answer.expect("Envoy's administration").text()
    };
    // Gauges and counters of other names stay as they are.
    let denied = |text: &str| {
        text.lines()
            .filter(|line| line.contains("countersign_decision{"))
            .any(|line| {
                line.contains(r#"verdict="deny""#)
                    && line.contains(r#"reason="no_allow_matched""#)
                    && line.ends_with(" 1")
            })
    };
    let limit = Duration::from_secs(5);
    eventually("the denial with its labels", limit, async || {
        denied(&prometheus().await)
    })
    .await;
    let text = prometheus().await;
    assert!(
        !text.contains("countersign_decision_deny_"),
        "no name of a metric has labels in it: {text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_one_metric_with_labels() {
    decisions_have_labels(World::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Envoy 1.36 in .tools/envoy"]
async fn decisions_are_one_metric_with_labels_in_the_oldest_supported_envoy() {
    decisions_have_labels(World::oldest()).await;
}
