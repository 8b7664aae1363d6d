//! A binary without the feature `wasm` says how to get one with it.

use super::EXAMPLE;
use crate::world::Home;

#[tokio::test]
async fn the_filter_is_not_passed_over() {
    let home = Home::new();
    let outcome = home
        .line(&format!("policy test {EXAMPLE}/tests --wasm"))
        .await;
    let outcome = outcome.fails(&["--wasm", "--features wasm"]);
    assert_eq!(outcome.stdout, "", "nothing was run");
}
