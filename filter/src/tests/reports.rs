use serde_json::{Value, json};

use super::world::{HTTPBIN, NOW, SLEEP, World};
use crate::host::{HeaderMap, LogLevel};

fn with(setting: &str, value: Value) -> World {
    let world = World::bare();
    let mut config = world.inbound_config();
    config[setting] = value;
    assert!(world.configure(&config), "{:?}", world.host.take_log());
    world
}

fn decisions(world: &World) -> Vec<Value> {
    let log = world.host.take_log().into_iter();
    let lines = log.filter_map(|(_, line)| {
        let json = line.strip_prefix("countersign-decision ")?.to_owned();
        Some(serde_json::from_str(&json).unwrap())
    });
    lines.collect()
}

#[test]
fn one_of_so_many_allowed_requests_is_logged_and_every_denied_one() {
    let world = with("decisionLog", json!({"allowed": {"oneIn": 3}}));
    let leaf = world.authority.leaf(SLEEP);
    for _ in 0..9 {
        world.arrive(&leaf, "GET", "/get");
        assert_eq!(world.decide(), Ok(()));
        world.arrive(&leaf, "GET", "/no");
        assert!(world.decide().is_err());
    }
    let decisions = decisions(&world);
    let of = |verdict: &str| {
        decisions
            .iter()
            .filter(|line| line["verdict"] == verdict)
            .count()
    };
    assert_eq!((of("allow"), of("deny")), (3, 9));
}

#[test]
fn a_denial_says_which_condition_fails_and_no_value() {
    let world = World::inbound();
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/secret-path");
    assert!(world.decide().is_err());
    let line = decisions(&world).remove(0);
    assert_eq!(
        line["failed"],
        "default/gets: spec.rules[0].to[0].operation.paths"
    );
    world.arrive(&world.authority.leaf(HTTPBIN), "GET", "/get");
    assert!(world.decide().is_err());
    let line = decisions(&world).remove(0);
    assert_eq!(
        line["failed"],
        "default/gets: spec.rules[0].from[0].source.principals"
    );
}

#[test]
fn with_many_rules_a_denial_is_not_explained() {
    let world = World::bare();
    let mut config = world.inbound_config();
    let rule = config["policies"][0]["spec"]["rules"][0].clone();
    let rules = |count| Value::Array(vec![rule.clone(); count]);
    for (count, explained) in [
        (crate::summary::MAX_RULES, true),
        (crate::summary::MAX_RULES + 1, false),
    ] {
        config["policies"][0]["spec"]["rules"] = rules(count);
        assert!(world.configure(&config));
        world.arrive(&world.authority.leaf(HTTPBIN), "GET", "/get");
        assert!(world.decide().is_err());
        let line = decisions(&world).remove(0);
        assert_eq!(line["failed"].is_string(), explained, "{line}");
        if let Some(text) = line["failed"].as_str() {
            assert!(text.ends_with("; and 29 more rules"), "{text}");
        }
    }
}

#[test]
fn only_named_headers_are_logged() {
    let world = with("decisionLog", json!({"headers": ["X-Tenant"]}));
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/no");
    let headers = [
        (":method", "GET"),
        (":path", "/no"),
        ("x-tenant", "blue"),
        ("authorization", "Bearer secret"),
    ];
    world.host.set_headers(HeaderMap::Request, &headers);
    assert!(world.decide().is_err());
    let line = decisions(&world).remove(0);
    assert_eq!(line["headers"], json!({"x-tenant": ["blue"]}));
    assert!(!line.to_string().contains("secret"));
}

#[test]
fn policies_that_only_watch_are_counted_and_logged_where_they_would_change_the_verdict() {
    let world = World::bare();
    let mut config = world.inbound_config();
    let policy = |name: &str, action: &str, dry_run: &str, method: &str| {
        json!({
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": name, "namespace": "default", "annotations": {"istio.io/dry-run": dry_run}},
            "spec": {"action": action, "rules": [{"to": [{"operation": {"methods": [method]}}]}]},
        })
    };
    let policies = config["policies"].as_array_mut().unwrap();
    policies.push(policy("no-gets", "DENY", "true", "GET"));
    policies.push(policy("watch", "AUDIT", "false", "GET"));
    assert!(world.configure(&config), "{:?}", world.host.take_log());
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
    assert_eq!(world.decide(), Ok(()), "they never change it");
    let line = decisions(&world).remove(0);
    assert_eq!(line["verdict"], "allow");
    assert_eq!(line["shadow"]["audit"], "ns[default]-policy[watch]-rule[0]");
    let dry_run = json!({
        "deny": "ns[default]-policy[no-gets]-rule[0]",
        "allow": null,
        "verdict": "deny",
        "reason": "matched_deny",
        "wouldChange": true,
    });
    assert_eq!(line["shadow"]["dryRun"], dry_run);
    for (name, count) in [("audited", 1), ("would_deny", 1)] {
        let metric = world.host.metric(&format!("countersign_shadow_{name}"));
        assert_eq!(metric, Some(count), "{name}");
    }
}

#[test]
fn a_list_that_becomes_stale_is_told_once_and_again_when_it_is_good() {
    for (stale, text) in [(json!("deny"), "denied"), (json!("allow"), "let through")] {
        let world = World::bare();
        let mut config = world.with_deny_list(world.inbound_config());
        config["denyList"]["stale"] = stale;
        assert!(world.configure(&config));
        world.deliver(world.signer.list(1, 1, NOW, &[]));
        let gauge = || world.host.metric("countersign_deny_list_stale");
        assert_eq!(gauge(), Some(0));
        let begun = world.host.take_log();
        assert_eq!(begun, []);
        for _ in 0..200 {
            world.tick();
        }
        assert_eq!(gauge(), Some(1));
        let told = world.host.take_log().into_iter();
        let told: Vec<_> = told
            .filter(|(_, line)| line.contains("deny list: stale"))
            .collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].0 == LogLevel::Error && told[0].1.contains(text),
            "{told:?}"
        );
    }
}

#[test]
fn a_stale_list_counts_for_a_time_of_grace_and_no_list_for_none() {
    let world = World::bare();
    let mut config = world.with_deny_list(world.inbound_config());
    config["denyList"]["stale"] = json!({"graceSeconds": 30});
    assert!(world.configure(&config));
    let leaf = world.authority.leaf(SLEEP);
    world.arrive(&leaf, "GET", "/get");
    assert_eq!(world.decide(), Err("deny_list_missing".to_owned()));
    world.deliver(world.signer.list(1, 1, NOW, &[]));
    for (seconds, wanted) in [
        (59, Ok(())),
        (61, Ok(())),
        (89, Ok(())),
        (90, Err("deny_list_stale".to_owned())),
    ] {
        world.host.set_now(u64::try_from(NOW + seconds).unwrap());
        world.arrive(&leaf, "GET", "/get");
        assert_eq!(world.decide(), wanted, "{seconds}");
    }
}

#[test]
fn decisions_are_timed_now_and_then() {
    let world = World::inbound();
    let leaf = world.authority.leaf(SLEEP);
    assert_eq!(world.host.metric("countersign_decision_nanoseconds"), None);
    world.arrive(&leaf, "GET", "/get");
    assert_eq!(world.decide(), Ok(()));
    assert_eq!(
        world.host.metric("countersign_decision_nanoseconds"),
        Some(0)
    );
}
