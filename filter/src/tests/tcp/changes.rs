use identity::deny_list::State;
use serde_json::json;

use super::super::policy_bundle::pass;
use super::super::world::{NOW, ROOT, SLEEP, World};
use super::{CONNECTION, Effect, Listener, OTHER};
use crate::host::{Action, Side};

const NEXT: u32 = 2;

fn listed() -> World {
    let world = World::bare();
    assert!(world.configure(&world.with_deny_list(world.tcp_config())));
    world.deliver(world.signer.list(1, 1, NOW, &[]));
    world
}

#[test]
fn a_revoked_certificates_connections_are_closed_in_the_next_tick_and_no_others() {
    let world = listed();
    let leaf = world.opened(CONNECTION);
    world.opened(8);
    world.deliver(
        world
            .signer
            .list(1, 2, NOW, &[(leaf.sha256, State::Revoked)]),
    );
    assert_eq!(world.ticks(2), Some(Effect::Closed(CONNECTION)));
    assert_eq!(world.recorded(), ("revoked".to_owned(), true));
    assert_eq!(world.host.metric("countersign_connections_closed"), Some(1));
    world.assert_shut(CONNECTION);
    assert_eq!(world.ticks(6), None);
    assert_eq!(world.bytes(8, Side::Downstream), Action::Continue);
}

#[test]
fn a_list_that_gets_stale_closes_where_stale_lists_deny() {
    for (stale, closes) in [("deny", true), ("allow", false)] {
        let world = World::bare();
        let mut config = world.with_deny_list(world.tcp_config());
        config["denyList"]["stale"] = json!(stale);
        assert!(world.configure(&config));
        world.deliver(world.signer.list(1, 1, NOW, &[]));
        world.opened(CONNECTION);
        let mut seconds = 0;
        let effect = loop {
            world.host.enter(CONNECTION);
            if let Some(effect) = world.ticks(1) {
                break Some(effect);
            }
            seconds += 1;
            if seconds > 400 {
                break None;
            }
        };
        let expected = closes.then_some(Effect::Closed(CONNECTION));
        assert_eq!(effect, expected, "{stale}");
        let last = world.bytes(CONNECTION, Side::Downstream);
        assert_eq!(last == Action::Pause, closes, "{stale}");
    }
}

#[test]
fn a_new_policy_bundle_closes_what_it_does_not_allow() {
    let world = World::bare();
    let mut config = world.with_deny_list(world.tcp_config());
    let policies = config["policies"].take();
    config.as_object_mut().unwrap().remove("policies");
    config["policyBundle"] = json!({"name": "shop"});
    assert!(world.configure(&config));
    let first = world.signer.bundle("shop", (1, 1), &policies);
    pass(&world, 1000, ("200", &first));
    world.opened(CONNECTION);
    let mut other = policies;
    other[0]["spec"]["rules"][0]["from"][0]["source"]["principals"] = json!(["*/nobody"]);
    let second = world.signer.bundle("shop", (1, 2), &other);
    pass(&world, 1000, ("200", &second));
    assert_eq!(world.effect(), Some(Effect::Closed(CONNECTION)));
    assert_eq!(world.recorded(), ("no_allow_matched".to_owned(), true));
    world.assert_shut(CONNECTION);
}

#[test]
fn a_connection_ends_with_its_certificate() {
    let world = World::tcp();
    world.open_with(CONNECTION, &world.authority.leaf_valid(SLEEP, -10, 100));
    world.opened(8);
    let mut passed = 0;
    loop {
        passed += world.host.tick();
        if let Some(effect) = world.ticks(1) {
            assert_eq!(effect, Effect::Closed(CONNECTION));
            break;
        }
    }
    assert!((100_000..=102_000).contains(&passed), "{passed} ms");
    assert_eq!(world.recorded(), ("expired".to_owned(), true));
    assert_eq!(world.bytes(8, Side::Upstream), Action::Continue);
}

#[test]
fn an_open_connection_without_anything_to_wait_for_needs_no_timer() {
    let world = World::bare();
    let mut config = world.tcp_config();
    config["policies"] = json!([]);
    assert!(world.configure(&config));
    assert_eq!(
        world.accept(CONNECTION, Listener::Plaintext),
        Action::Continue
    );
    assert_eq!(world.host.tick(), 0);
}

/// Configures a second root context, as the proxy does for a new configuration.
fn configure_next(world: &World, name: &str, policies: &serde_json::Value) {
    world.host.enter(NEXT);
    world.host.set_property("plugin_name", name.as_bytes());
    world.vm.on_context_create(NEXT, 0);
    let mut config = world.tcp_config();
    config["policies"] = policies.clone();
    assert!(world.configure_root(NEXT, config.to_string().as_bytes()));
}

fn named() -> World {
    let world = World::bare();
    world.host.enter(ROOT);
    world.host.set_property("plugin_name", b"countersign");
    assert!(world.configure(&world.tcp_config()));
    world
}

fn tick_next(world: &World) -> Option<Effect> {
    world.host.advance(u64::from(world.host.tick()));
    world.host.enter(NEXT);
    world.vm.on_tick(NEXT);
    world.effect()
}

#[test]
fn a_new_configuration_decides_about_open_connections() {
    let world = named();
    world.opened(CONNECTION);
    let only_other = json!([{
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "other", "namespace": "default"},
        "spec": {"action": "ALLOW", "rules": [{
            "from": [{"source": {"principals": [OTHER.strip_prefix("spiffe://").unwrap()]}}],
        }]},
    }]);
    configure_next(&world, "countersign", &only_other);
    // The one before goes, as it may when the proxy has let go of it.
    world.vm.on_delete(ROOT);
    assert_eq!(tick_next(&world), Some(Effect::Closed(CONNECTION)));
    assert_eq!(world.recorded(), ("no_allow_matched".to_owned(), true));
    world.assert_shut(CONNECTION);
}

#[test]
fn a_waiting_connection_is_decided_by_the_new_configuration() {
    let world = named();
    assert_eq!(world.accept(CONNECTION, Listener::Holding), Action::Pause);
    configure_next(&world, "countersign", &json!([]));
    world.vm.on_delete(ROOT);
    world.finish(CONNECTION, &world.authority.leaf(OTHER));
    assert_eq!(tick_next(&world), Some(Effect::LetGo(CONNECTION)));
}

#[test]
fn a_plugin_of_another_name_does_not_decide_about_it() {
    let world = named();
    world.opened(CONNECTION);
    let nobody = json!([{
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "nobody", "namespace": "default"},
        "spec": {},
    }]);
    configure_next(&world, "another", &nobody);
    for _ in 0..4 {
        assert_eq!(tick_next(&world), None);
    }
    assert_eq!(world.bytes(CONNECTION, Side::Downstream), Action::Continue);
}

/// The proxy takes up a configuration that it still has, without configuring anything.
#[test]
fn a_configuration_taken_back_decides_again() {
    let world = named();
    world.opened(CONNECTION);
    configure_next(&world, "countersign", &json!([]));
    let other = world.authority.leaf(OTHER);
    assert_eq!(
        world.accept_under(NEXT, 8, Listener::Free),
        Action::Continue
    );
    world.present(8, &other);
    assert_eq!(world.bytes(8, Side::Downstream), Action::Continue);
    // One more comes under the first configuration, which lets only `sleep` in.
    world.opened(7);
    world.host.advance(u64::from(world.host.tick()));
    world.host.enter(ROOT);
    world.vm.on_tick(ROOT);
    assert_eq!(world.effect(), Some(Effect::Closed(8)));
    assert_eq!(world.bytes(CONNECTION, Side::Upstream), Action::Continue);
}
