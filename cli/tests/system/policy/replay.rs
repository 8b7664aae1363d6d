//! `policy diff`: exit codes and logs that are none.

use super::{DATA, EXAMPLE, WORKLOAD};
use crate::world::Home;

fn diff(new: &str, more: &str) -> String {
    format!("policy diff {EXAMPLE}/policies {new} {WORKLOAD} {more}")
}

#[tokio::test]
async fn changes_fail_only_when_told() {
    let home = Home::new();
    let new = format!("{DATA}/new");
    let log = format!("--decision-log {DATA}/decisions.log");
    home.line(&diff(&new, &log)).await.done();
    let strict = format!("{log} --fail-on-change");
    let outcome = home.line(&diff(&new, &strict)).await;
    outcome.fails(&["the verdicts of 3 requests change"]);
    let same = format!("{EXAMPLE}/policies");
    let outcome = home.line(&diff(&same, &strict)).await.done();
    assert!(
        outcome
            .stdout
            .contains("0 lose access, 0 gain it, 4 as before"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_log_and_tests_count_together() {
    let home = Home::new();
    let more = format!("--decision-log {DATA}/decisions.log --tests {EXAMPLE}/tests -o json");
    let outcome = home.line(&diff(&format!("{DATA}/new"), &more)).await.done();
    assert_eq!(outcome.json()["requests"], 15);
}

#[tokio::test]
async fn logs_that_are_none_are_refused() {
    let home = Home::new();
    let refused = async |name: &str, content: &[u8], parts: &[&str]| {
        let path = home.write(name, content);
        let more = format!("--decision-log {}", path.display());
        home.line(&diff(&format!("{DATA}/new"), &more))
            .await
            .fails(parts);
    };
    refused("empty.log", b"", &["empty.log", "holds no decision"]).await;
    refused(
        "other.log",
        b"GET / 200\n\xff\n",
        &["other.log", "holds no decision"],
    )
    .await;
    let broken = b"one\ncountersign-decision {\"verdict\":\n";
    refused("broken.log", broken, &["broken.log:2", "EOF"]).await;
    let only_outbound = br#"{"direction":"outbound","verdict":"deny","reason":"hold_timeout"}"#;
    refused("outbound.log", only_outbound, &["no request to replay"]).await;
    let long = vec![b'x'; 2 << 20];
    refused(
        "long.log",
        &long,
        &["long.log:1", "longer than 1048576 bytes"],
    )
    .await;
    let none = diff(&format!("{DATA}/new"), "--decision-log /nonexistent");
    home.line(&none)
        .await
        .fails(&["/nonexistent", "No such file"]);
}
