use identity::deny_list::State;
use serde_json::{Value, json};

use super::world::{HTTPBIN, Leaf, NOW, REQUEST, ROOT, SLEEP, World};
use crate::host::{Action, HeaderMap, Status};
use crate::root::{MAX_KEPT_HEADER_BYTES, MAX_REVIEWS};

const NEXT: u32 = 2;

/// Lets the timer fire until so many milliseconds have passed.
fn pass(world: &World, milliseconds: u64) {
    let mut left = milliseconds;
    while left > 0 && world.host.tick() != 0 {
        left = left.saturating_sub(world.host.tick().into());
        world.tick();
    }
}

/// Envoy has the headers of a request no more once it was let go.
fn forget_headers(world: &World) {
    world
        .host
        .set_headers(HeaderMap::Request, &[(":method", "TRACE"), (":path", "/x")]);
}

fn open(world: &World, leaf: &Leaf) {
    world.arrive(leaf, "GET", "/get");
    assert_eq!(world.decide(), Ok(()));
    forget_headers(world);
}

fn denying(world: &World) -> Value {
    let mut config = world.inbound_config();
    config["policies"][0]["spec"]["rules"][0]["to"][0]["operation"]["paths"] = json!(["/other"]);
    config
}

/// Gives a root context the plug-in's name and a configuration.
fn configure_named(world: &World, root: u32, name: &[u8], config: &Value) {
    world.host.enter(root);
    if root != ROOT {
        world.vm.on_context_create(root, 0);
    }
    world.host.set_property("plugin_name", name);
    assert!(world.configure_root(root, config.to_string().as_bytes()));
}

#[track_caller]
fn assert_reset(world: &World, reason: &str) {
    let sent = world.host.take_sent();
    let [sent] = sent.as_slice() else {
        panic!("one reply, not {sent:?}")
    };
    assert_eq!((sent.context, sent.status), (REQUEST, 403));
    assert_eq!(sent.details, format!("countersign_denied_{reason}"));
    assert_eq!(world.vm.on_request_rest(REQUEST), Action::Pause);
}

#[test]
fn a_new_configuration_resets_what_it_does_not_allow() {
    let world = World::inbound();
    open(&world, &world.authority.leaf(SLEEP));
    assert!(world.configure(&world.inbound_config()));
    pass(&world, 2000);
    assert_eq!(world.host.take_sent(), [], "it allows that");
    assert_eq!(world.vm.on_request_rest(REQUEST), Action::Continue);
    assert!(world.configure(&denying(&world)));
    pass(&world, 5);
    assert_reset(&world, "no_allow_matched");
    let reset = world.host.metric("countersign_open_stream_reset");
    assert_eq!(reset, Some(1));
    let log = world.host.take_log();
    assert!(log[0].1.contains(r#""open":true"#), "{log:?}");
    pass(&world, 5000);
    assert_eq!(world.host.take_sent(), [], "once");
}

#[test]
fn a_new_root_context_of_the_same_plugin_decides_on_streams_of_the_one_before() {
    for (name, reset) in [(&b"inbound"[..], true), (b"another", false), (b"", false)] {
        let world = World::bare();
        configure_named(&world, ROOT, b"inbound", &world.inbound_config());
        open(&world, &world.authority.leaf(SLEEP));
        configure_named(&world, NEXT, name, &denying(&world));
        pass(&world, 2000);
        assert_eq!(!world.host.take_sent().is_empty(), reset, "{name:?}");
    }
}

/// Envoy takes a root context that still has requests into service again where its configuration comes back.
#[test]
fn a_configuration_that_comes_back_decides_again() {
    let world = World::bare();
    configure_named(&world, ROOT, b"inbound", &world.inbound_config());
    open(&world, &world.authority.leaf(SLEEP));
    configure_named(&world, NEXT, b"inbound", &denying(&world));
    // Before the timer fires, a request comes under the first one.
    world.begin(8, "GET", "/get");
    world.show(&world.authority.leaf(SLEEP));
    assert_eq!(world.decide_context(8), Ok(()));
    forget_headers(&world);
    pass(&world, 3000);
    assert_eq!(world.host.take_sent(), []);
}

#[test]
fn with_the_newer_root_context_gone_its_own_configuration_decides() {
    let world = World::bare();
    configure_named(&world, ROOT, b"inbound", &world.inbound_config());
    open(&world, &world.authority.leaf(SLEEP));
    configure_named(&world, NEXT, b"inbound", &denying(&world));
    world.vm.on_delete(NEXT);
    pass(&world, 3000);
    assert_eq!(world.host.take_sent(), []);
}

#[test]
fn a_refused_configuration_resets_nothing() {
    let world = World::inbound();
    open(&world, &world.authority.leaf(SLEEP));
    assert!(!world.configure(&json!({"schemaVersion": 1})));
    pass(&world, 3000);
    assert_eq!(world.host.take_sent(), []);
}

#[test]
fn a_deny_list_resets_what_comes_on_it() {
    let world = World::bare();
    assert!(world.configure(&world.with_deny_list(world.inbound_config())));
    world.deliver(world.signer.list(1, 1, NOW, &[]));
    let leaf = world.authority.leaf(SLEEP);
    open(&world, &leaf);
    let list = world
        .signer
        .list(1, 2, NOW, &[(leaf.sha256, State::Revoked)]);
    world.deliver(&list);
    assert_eq!(
        world.host.take_sent(),
        [],
        "not within the reply to another call"
    );
    assert_eq!(world.host.tick(), 1);
    pass(&world, 1);
    assert_reset(&world, "revoked");
}

#[test]
fn a_deny_list_that_becomes_stale_resets_streams_where_that_denies() {
    for (stale, reset) in [(json!("deny"), true), (json!("allow"), false)] {
        let world = World::bare();
        let mut config = world.with_deny_list(world.inbound_config());
        config["denyList"]["stale"] = stale.clone();
        assert!(world.configure(&config));
        world.deliver(world.signer.list(1, 1, NOW, &[]));
        open(&world, &world.authority.leaf(SLEEP));
        pass(&world, 59_000);
        assert_eq!(world.host.take_sent(), [], "{stale}");
        pass(&world, 3_500);
        assert_eq!(!world.host.take_sent().is_empty(), reset, "{stale}");
    }
}

#[test]
fn a_certificate_that_ends_takes_its_streams_with_it() {
    let world = World::inbound();
    open(&world, &world.authority.leaf_valid(SLEEP, 0, 10));
    pass(&world, 10_000);
    assert_eq!(world.host.take_sent(), []);
    pass(&world, 2_000);
    assert_reset(&world, "expired");
}

#[test]
fn what_is_over_is_not_looked_at_and_the_timer_rests() {
    let world = World::inbound();
    open(&world, &world.authority.leaf(SLEEP));
    world.vm.on_done(REQUEST);
    world.vm.on_delete(REQUEST);
    assert!(world.configure(&denying(&world)));
    pass(&world, 3000);
    assert_eq!(world.host.take_sent(), []);
    assert_eq!(world.host.tick(), 0);
}

/// An open stream under policies that look at no header, and its configuration.
fn opened_under_policies_without_headers() -> (World, Value) {
    let world = World::bare();
    let mut config = world.inbound_config();
    let rule = config["policies"][0]["spec"]["rules"][0].take();
    config["policies"][0]["spec"]["rules"][0] = json!({"from": rule["from"]});
    assert!(world.configure(&config));
    open(&world, &world.authority.leaf(SLEEP));
    (world, config)
}

#[test]
fn without_its_headers_a_stream_is_reset_if_policies_look_at_them() {
    let (world, config) = opened_under_policies_without_headers();
    assert!(world.configure(&config));
    pass(&world, 2000);
    assert_eq!(world.host.take_sent(), [], "no policy looks at headers");
    assert!(world.configure(&world.inbound_config()));
    pass(&world, 5);
    assert_reset(&world, "attribute_unreadable");
}

#[test]
fn a_policy_that_is_only_tried_out_resets_no_stream_for_want_of_headers() {
    let (world, mut config) = opened_under_policies_without_headers();
    let mut tried = world.inbound_config()["policies"][0].take();
    tried["metadata"]["name"] = json!("tried");
    tried["metadata"]["annotations"] = json!({"istio.io/dry-run": "true"});
    config["policies"].as_array_mut().unwrap().push(tried);
    assert!(world.configure(&config));
    pass(&world, 2000);
    assert_eq!(world.host.take_sent(), []);
    assert_eq!(world.vm.on_request_rest(REQUEST), Action::Continue);
}

#[test]
fn headers_are_kept_up_to_a_budget_for_all_streams() {
    let world = World::inbound();
    let big = "x".repeat(1 << 20);
    let leaf = world.authority.leaf(SLEEP);
    let streams = u32::try_from(MAX_KEPT_HEADER_BYTES >> 20).unwrap() + 2;
    for context in 100..100 + streams {
        world.begin(context, "GET", "/get");
        world.show(&leaf);
        let headers = [(":method", "GET"), (":path", "/get"), ("big", big.as_str())];
        world.host.set_headers(HeaderMap::Request, &headers);
        assert_eq!(world.decide_context(context), Ok(()));
    }
    forget_headers(&world);
    assert!(world.configure(&world.inbound_config()));
    pass(&world, 2000);
    let reset = world.host.take_sent().len();
    assert_eq!(reset, 3, "those beyond the budget");
}

#[test]
fn a_stream_that_cannot_be_reached_passes_nothing_more() {
    let world = World::inbound();
    open(&world, &world.authority.leaf(SLEEP));
    assert!(world.configure(&denying(&world)));
    world
        .host
        .fail("proxy_set_effective_context", Status::BadArgument);
    pass(&world, 5);
    assert_eq!(world.host.take_sent(), [], "it would be another's");
    assert_eq!(world.vm.on_request_rest(REQUEST), Action::Pause);
    let counted = world.host.metric("countersign_stream_unreachable");
    assert_eq!(counted, Some(1));
}

#[test]
fn a_reset_that_the_proxy_refuses_still_stops_the_body() {
    let world = World::inbound();
    open(&world, &world.authority.leaf(SLEEP));
    assert!(world.configure(&denying(&world)));
    world
        .host
        .fail("proxy_send_local_response", Status::InternalFailure);
    pass(&world, 5);
    assert_eq!(world.vm.on_request_rest(REQUEST), Action::Pause);
    assert_eq!(world.host.metric("countersign_reply_failed"), Some(1));
}

#[test]
fn a_proxy_that_fails_to_tell_what_a_stream_rests_on_has_it_reset() {
    for (call, reason) in [
        (
            "proxy_get_current_time_nanoseconds",
            "peer_attribute_unreadable",
        ),
        ("proxy_get_property", "peer_attribute_unreadable"),
    ] {
        let world = World::inbound();
        open(&world, &world.authority.leaf(SLEEP));
        assert!(world.configure(&world.inbound_config()));
        world.host.fail(call, Status::InternalFailure);
        pass(&world, 2000);
        assert_reset(&world, reason);
    }
}

#[test]
fn many_streams_are_decided_on_in_turns() {
    let world = World::inbound();
    let leaf = world.authority.leaf(SLEEP);
    let many = u32::try_from(MAX_REVIEWS * 2 + 10).unwrap();
    for context in 100..100 + many {
        world.begin(context, "GET", "/get");
        world.show(&leaf);
        assert_eq!(world.decide_context(context), Ok(()));
    }
    forget_headers(&world);
    assert!(world.configure(&denying(&world)));
    let mut each = Vec::new();
    for _ in 0..3 {
        assert_eq!(world.host.tick(), 1);
        world.tick();
        each.push(world.host.take_sent().len());
    }
    assert_eq!(each, [MAX_REVIEWS, MAX_REVIEWS, 10]);
    pass(&world, 3000);
    assert_eq!(world.host.take_sent(), []);
}

#[test]
fn a_server_that_is_no_longer_named_has_its_streams_reset() {
    let world = World::outbound();
    world.send_to(REQUEST, "httpbin");
    world.connect(&world.authority.leaf(HTTPBIN));
    assert_eq!(world.decide(), Ok(()));
    assert!(world.configure(&world.outbound_config()));
    pass(&world, 2000);
    assert_eq!(world.host.take_sent(), []);
    let mut config = world.outbound_config();
    config["secureNaming"]["clusters"]["httpbin"] = json!([SLEEP]);
    assert!(world.configure(&config));
    pass(&world, 5);
    let sent = world.host.take_sent();
    assert_eq!(sent[0].details, "countersign_denied_unexpected_identity");
}
