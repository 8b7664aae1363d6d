//! `policy test --wasm`: the built filter decides as the engine does.

use super::EXAMPLE;
use crate::world::Home;

#[tokio::test]
async fn the_example_passes_through_the_filter() {
    let home = Home::new();
    let filter = "../target/wasm/wasm32-unknown-unknown/wasm/countersign_filter.wasm";
    let filter = std::env::var("COUNTERSIGN_WASM").unwrap_or_else(|_| filter.to_owned());
    let line = format!("policy test {EXAMPLE}/tests --wasm --filter {filter}");
    let said = home.line(&line).await.done().stdout;
    assert!(
        said.contains("11 cases through the filter, 0 decided otherwise"),
        "{said}"
    );
}

#[tokio::test]
async fn without_a_filter_the_file_is_named() {
    let home = Home::new();
    let line = format!("policy test {EXAMPLE}/tests --wasm --filter");
    let outcome = home.line(&format!("{line} /nonexistent.wasm")).await;
    outcome.fails(&["--wasm", "/nonexistent.wasm", "just wasm"]);
    let outcome = home.line(&format!("{line} {EXAMPLE}/workflow.yaml")).await;
    outcome.fails(&["--wasm", "workflow.yaml", "WebAssembly"]);
}
