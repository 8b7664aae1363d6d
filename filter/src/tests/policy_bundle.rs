use serde_json::{Value, json};

use super::world::{NOW, REQUEST, SLEEP, Signer, World};
use crate::host::{Action, LogLevel, Status};

const NEXT: u32 = 2;
const REFUSED: &str = "countersign_policy_bundle_refused";

fn config(world: &World) -> Value {
    let mut config = world.with_deny_list(world.inbound_config());
    config.as_object_mut().unwrap().remove("policies");
    config["policyBundle"] = json!({"name": "shop"});
    config
}

/// One ALLOW policy: `sleep` may `GET` this path.
fn policies(path: &str) -> Value {
    let mut policies = World::bare().inbound_config()["policies"].take();
    policies[0]["spec"]["rules"][0]["to"][0]["operation"]["paths"] = json!([path]);
    policies
}

/// Lets time pass, and answers polls of the bundle; those of the deny list with an empty one. Gives the paths that
/// were asked for.
pub(super) fn pass(world: &World, milliseconds: u64, bundle: (&str, &[u8])) -> Vec<String> {
    let (mut left, mut asked) = (milliseconds, Vec::new());
    while left > 0 && world.host.tick() != 0 {
        left = left.saturating_sub(world.host.tick().into());
        world.tick();
        for call in world.host.take_called() {
            match call.path.as_str() {
                "/v1/denylist?epoch=0&since=0" => {
                    world.answer(call.token, "200", world.signer.list(1, 1, NOW, &[]));
                }
                list if list.starts_with("/v1/denylist?") => world.answer(call.token, "204", ""),
                _ => {
                    world.answer(call.token, bundle.0, bundle.1);
                    asked.push(call.path);
                }
            }
        }
    }
    asked
}

fn configured() -> World {
    let world = World::bare();
    assert!(world.configure(&config(&world)));
    world
}

/// Whether `sleep` may have this path.
fn ask(world: &World, path: &str) -> Result<(), String> {
    world.arrive(&world.authority.leaf(SLEEP), "GET", path);
    world.decide()
}

/// With the bundle of this epoch and sequence in force, which allows `/one`.
fn with_bundle(position: (u64, u64)) -> World {
    let world = configured();
    let bundle = world.signer.bundle("shop", position, &policies("/one"));
    pass(&world, 1000, ("200", &bundle));
    assert_eq!(ask(&world, "/one"), Ok(()));
    world
}

fn denied(reason: &str) -> Result<(), String> {
    Err(reason.to_owned())
}

#[test]
fn without_a_bundle_everybody_is_denied_and_with_it_its_policies_decide() {
    let world = configured();
    let none: (&str, &[u8]) = ("404", b"no such policy bundle\n");
    let asked = pass(&world, 10, none);
    assert_eq!(asked[0], "/v1/policy-bundles/shop?epoch=0&since=0");
    assert_eq!(ask(&world, "/one"), denied("policy_bundle_missing"));
    let bundle = world.signer.bundle("shop", (5, 3), &policies("/one"));
    pass(&world, 200, ("200", &bundle));
    assert_eq!(ask(&world, "/one"), Ok(()));
    assert_eq!(ask(&world, "/two"), denied("no_allow_matched"));
    let sequence = world.host.metric("countersign_policy_bundle_sequence");
    assert_eq!(sequence, Some(3));
    let asked = pass(&world, 600, ("204", b""));
    assert_eq!(asked[0], "/v1/policy-bundles/shop?epoch=5&since=3");
}

#[test]
fn who_proves_no_identity_hears_of_that_also_while_the_bundle_is_awaited() {
    let world = configured();
    pass(&world, 10, ("503", b""));
    let expired = world.authority.leaf_valid(SLEEP, -60, -30);
    world.arrive(&expired, "GET", "/one");
    assert_eq!(world.decide(), denied("expired"));
    world.begin(REQUEST, "GET", "/one");
    assert_eq!(world.decide(), denied("policy_bundle_missing"));
}

#[test]
fn a_newer_bundle_decides_about_open_requests_too() {
    let world = with_bundle((1, 1));
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/one");
    assert_eq!(world.decide(), Ok(()));
    let bundle = world.signer.bundle("shop", (1, 2), &policies("/two"));
    pass(&world, 700, ("200", &bundle));
    let sent = world.host.take_sent();
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert_eq!(sent[0].details, "countersign_denied_no_allow_matched");
    assert_eq!(world.vm.on_request_rest(REQUEST), Action::Pause);
    assert_eq!(ask(&world, "/two"), Ok(()));
}

#[test]
fn what_is_no_good_bundle_leaves_the_last_good_one() {
    let good = |world: &World| world.signer.bundle("shop", (1, 2), &policies("/two"));
    type Make = fn(&World, Vec<u8>) -> Vec<u8>;
    let other_body: Make = |world, _| {
        let head = world.signer.bundle_head("shop", (1, 2), b"[{}]");
        let head = identity::policy_bundle::Bundle {
            head: &head,
            body: b"[{]]",
        };
        head.to_bytes()
    };
    let bad: [(&str, Make); 14] = [
        ("nothing", |_, _| Vec::new()),
        ("text", |_, _| b"<html>".to_vec()),
        ("a deny list", |world, _| world.signer.list(1, 2, NOW, &[])),
        ("the head of a deny list", |world, _| {
            let entries = identity::deny_list::Entries::default();
            let head = world.signer.head((1, 2), NOW, &entries, None);
            let bundle = identity::policy_bundle::Bundle {
                head: &head,
                body: b"[]",
            };
            bundle.to_bytes()
        }),
        ("of another name", |world, _| {
            world.signer.bundle("other", (1, 2), &policies("/two"))
        }),
        ("of another key", |_, _| {
            Signer::new().bundle("shop", (1, 2), &policies("/two"))
        }),
        ("of a lower sequence", |world, _| {
            world.signer.bundle("shop", (1, 0), &policies("/two"))
        }),
        ("of a lower epoch", |world, _| {
            world.signer.bundle("shop", (0, 9), &policies("/two"))
        }),
        ("cut", |_, good| good[..good.len() - 1].to_vec()),
        ("longer", |_, good| [good, vec![b' ']].concat()),
        ("with another body", other_body),
        ("too long", |_, good| {
            let mut long = good;
            long.resize(identity::policy_bundle::MAX_BUNDLE_BYTES + 1, b' ');
            long
        }),
        ("without a policy", |world, _| {
            world.signer.bundle("shop", (1, 2), &json!([]))
        }),
        ("that does not compile", |world, _| {
            let mut policies = policies("/two");
            policies[0]["spec"]["rulez"] = json!([]);
            world.signer.bundle("shop", (1, 2), &policies)
        }),
    ];
    for (what, make) in bad {
        let world = with_bundle((1, 1));
        drop(world.host.take_log());
        let bytes = make(&world, good(&world));
        let asked = pass(&world, 700, ("200", &bytes));
        assert!(!asked.is_empty());
        assert_eq!(ask(&world, "/one"), Ok(()), "{what}");
        assert_eq!(ask(&world, "/two"), denied("no_allow_matched"), "{what}");
        let log = world.host.take_log();
        let told = log
            .iter()
            .any(|(level, line)| *level >= LogLevel::Warn && line.contains("policy bundle"));
        assert!(told, "{what}: {log:?}");
        let (refused, failed) = (
            world.host.metric(REFUSED),
            world.host.metric("countersign_policy_bundle_poll_failed"),
        );
        assert!(refused.is_some() || failed.is_some(), "{what}");
        // And the good one is taken as soon as it is there.
        pass(
            &world,
            6000,
            (
                "200",
                &world.signer.bundle("shop", (1, 3), &policies("/two")),
            ),
        );
        assert_eq!(ask(&world, "/two"), Ok(()), "{what}");
    }
}

#[test]
fn what_does_not_compile_is_not_asked_for_again() {
    let world = with_bundle((1, 1));
    let bad = world
        .signer
        .bundle("shop", (1, 2), &json!([{"kind": "Other"}]));
    let asked = pass(&world, 700, ("200", &bad));
    assert_eq!(asked[0], "/v1/policy-bundles/shop?epoch=1&since=1");
    assert_eq!(world.host.metric(REFUSED), Some(1));
    let asked = pass(&world, 1000, ("204", b""));
    assert!(
        asked.iter().all(|path| path.ends_with("since=2")),
        "{asked:?}"
    );
    assert_eq!(world.host.metric(REFUSED), Some(1));
}

#[test]
fn the_least_sequence_of_the_configuration_counts() {
    let world = World::bare();
    let mut config = config(&world);
    config["policyBundle"]["atLeast"] = json!(4);
    assert!(world.configure(&config));
    let old = world.signer.bundle("shop", (9, 3), &policies("/one"));
    pass(&world, 200, ("200", &old));
    assert_eq!(ask(&world, "/one"), denied("policy_bundle_missing"));
    let new = world.signer.bundle("shop", (9, 4), &policies("/one"));
    pass(&world, 6000, ("200", &new));
    assert_eq!(ask(&world, "/one"), Ok(()));
}

#[test]
fn a_new_configuration_begins_with_the_bundle_of_the_one_before() {
    let world = with_bundle((1, 1));
    world.host.enter(NEXT);
    world.vm.on_context_create(NEXT, 0);
    assert!(world.configure_root(NEXT, config(&world).to_string().as_bytes()));
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/one");
    world.vm.on_context_create(REQUEST, NEXT);
    assert_eq!(world.decide(), Ok(()));
}

/// What other threads have fetched is there at once, for another workload, too, which compiles it for itself.
#[test]
fn a_new_worker_takes_what_is_shared_and_verifies_it() {
    let world = with_bundle((1, 1));
    let shared = |what: &str| {
        let key = world.host.shared_keys();
        let found = key.into_iter().find(|key| key.contains(what));
        found.unwrap_or_else(|| panic!("nothing shared as {what}"))
    };
    let body = shared("policy_bundle.body");
    let mut other = config(&world);
    other["workload"]["labels"] = json!({"app": "other"});
    assert!(world.configure(&other));
    assert_eq!(ask(&world, "/one"), Ok(()));
    // Somebody else writes there.
    world
        .host
        .set_shared(&body, policies("/two").to_string().as_bytes());
    other["workload"]["labels"] = json!({"app": "third"});
    assert!(world.configure(&other));
    assert_eq!(ask(&world, "/two"), denied("policy_bundle_missing"));
    let refused = world
        .host
        .metric("countersign_policy_bundle_shared_refused");
    assert_eq!(refused, Some(1));
}

#[test]
fn a_floor_that_cannot_be_read_or_a_clock_that_cannot_is_a_refusal() {
    for call in [
        "proxy_get_shared_data",
        "proxy_get_current_time_nanoseconds",
    ] {
        let world = configured();
        pass(&world, 10, ("503", b""));
        world.host.fail(call, Status::InternalFailure);
        let bundle = world.signer.bundle("shop", (1, 1), &policies("/one"));
        pass(&world, 300, ("200", &bundle));
        world.host.mend(call);
        assert_eq!(
            ask(&world, "/one"),
            denied("policy_bundle_missing"),
            "{call}"
        );
    }
}

#[test]
fn configurations_that_contradict_themselves_are_refused() {
    let world = World::bare();
    let good = config(&world);
    let mut both = good.clone();
    both["policies"] = policies("/one");
    let mut alone = good.clone();
    alone.as_object_mut().unwrap().remove("denyList");
    let mut name = good.clone();
    name["policyBundle"]["name"] = json!("../denylist");
    let mut unknown = good.clone();
    unknown["policyBundle"]["path"] = json!("/");
    let mut outbound = world.with_deny_list(world.outbound_config());
    outbound["policyBundle"] = json!({"name": "shop"});
    for bad in [both, alone, name, unknown, outbound] {
        assert!(!world.configure(&bad), "{bad}");
    }
    assert!(world.configure(&good));
}
