//! Memory: flat over many configurations and many requests.

use wasm_tests::fixtures::ca::Authority;
use wasm_tests::fixtures::config::{ConfigSpec, allow_principal};
use wasm_tests::fixtures::traffic::mutual_tls;
use wasm_tests::fixtures::{NOW, SLEEP};
use wasm_tests::host::Outcome;

use crate::support::{configured, get, get_as};

/// Pages the allocator may still take once everything has happened a few times.
const SLACK: usize = 256 << 10;

fn with_policies(authority: &Authority, generation: usize, count: usize) -> ConfigSpec {
    (0..count).fold(ConfigSpec::inbound(authority), |config, at| {
        let principal = format!("cluster.local/ns/default/sa/w-{generation}-{at}");
        config.policy(allow_principal(&format!("p-{generation}-{at}"), &principal))
    })
}

/// Each configuration has other policies and a root context of its own; the one before ends.
#[test]
fn memory_is_flat_over_a_thousand_configurations() {
    let authority = Authority::new(NOW);
    let sleep = authority.svid(SLEEP);
    let mut plugin = configured(&with_policies(&authority, 0, 25));
    let mut settled = 0;
    for generation in 1..=1000 {
        let config = with_policies(&authority, generation, 25);
        assert!(plugin.replace_root(config.json()).expect("no trap"));
        assert_eq!(get_as(&mut plugin, &sleep).status(), Some(403));
        if generation == 20 {
            settled = plugin.memory_bytes();
        }
    }
    let end = plugin.memory_bytes();
    assert!(
        end <= settled + SLACK,
        "{settled} bytes after 20 configurations, {end} after 1,000"
    );
}

#[test]
fn memory_is_flat_over_many_certificates_and_requests() {
    let authority = Authority::new(NOW);
    let mut plugin = configured(&ConfigSpec::inbound(&authority));
    let mut settled = 0;
    for round in 0..1500 {
        let client = authority.svid(&format!(
            "spiffe://cluster.local/ns/default/sa/client-{round}"
        ));
        for _ in 0..3 {
            assert_eq!(get_as(&mut plugin, &client), Outcome::Continued);
        }
        if round == 1200 {
            settled = plugin.memory_bytes();
        }
    }
    let end = plugin.memory_bytes();
    assert!(
        end <= settled + SLACK,
        "{settled} bytes settled, {end} at the end"
    );
    assert!(
        end <= 16 << 20,
        "{end} bytes, the limit is 16 MB in steady state"
    );
}

#[test]
fn a_thousand_policies_fit_the_reload_limit() {
    let authority = Authority::new(NOW);
    let client = authority.svid("spiffe://cluster.local/ns/default/sa/w-0-999");
    let mut plugin = configured(&with_policies(&authority, 0, 1000));
    let config = with_policies(&authority, 0, 1000);
    assert!(plugin.replace_root(config.json()).expect("no trap"));
    assert_eq!(
        get(&mut plugin, mutual_tls(&client), "/"),
        Outcome::Continued
    );
    let bytes = plugin.memory_bytes();
    assert!(
        bytes <= 40 << 20,
        "{bytes} bytes, the limit is 40 MB during a reload"
    );
}
