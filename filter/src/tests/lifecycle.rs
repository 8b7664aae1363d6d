use serde_json::json;

use super::world::{NOW, REQUEST, ROOT, SLEEP, World};
use crate::host::{Buffer, LogLevel, Status};
use crate::settings::MAX_CONFIG_BYTES;

const NEXT: u32 = 2;

fn allows(world: &World) -> bool {
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
    world.decide().is_ok()
}

#[test]
fn a_bad_configuration_is_refused_with_its_path_and_the_good_one_stays() {
    let world = World::inbound();
    let mut config = world.inbound_config();
    config["policies"][0]["spec"]["rules"][0]["from"][0]["source"]["principels"] = json!(["x"]);
    assert!(!world.configure(&config));
    let log = world.host.take_log();
    assert_eq!(log[0].0, LogLevel::Error);
    assert!(
        log[0]
            .1
            .contains("policies[0].spec.rules[0].from[0].source"),
        "{log:?}"
    );
    assert_eq!(world.host.metric("countersign_config_rejected"), Some(1));
    assert!(allows(&world));
}

#[test]
fn a_bad_first_configuration_denies_everything() {
    let world = World::bare();
    for bytes in [&b""[..], b"{", b"{}", b"null", b"\xff"] {
        assert!(!world.configure_root(ROOT, bytes), "{bytes:?}");
        world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
        assert_eq!(world.decide(), Err("no_configuration".to_owned()));
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_refused() {
    let world = World::bare();
    let config = world.inbound_config().to_string();
    world.host.fail("proxy_get_buffer_bytes", Status::NotFound);
    assert!(!world.configure_root(ROOT, config.as_bytes()));
    world.host.mend("proxy_get_buffer_bytes");
    world
        .host
        .set_buffer(Buffer::PluginConfiguration, config.as_bytes());
    assert!(!world.vm.on_configure(ROOT, MAX_CONFIG_BYTES + 1));
    assert!(!world.vm.on_configure(55, config.len()));
    assert!(world.vm.on_configure(ROOT, config.len()));
}

#[test]
fn a_new_root_takes_over_the_list_of_the_one_before() {
    let world = World::bare();
    let config = world.with_deny_list(world.inbound_config());
    assert!(world.configure(&config));
    world.deliver(world.signer.list(1, 3, NOW, &[]));
    world.host.enter(NEXT);
    world.vm.on_context_create(NEXT, 0);
    assert!(world.configure_root(NEXT, config.to_string().as_bytes()));
    world.vm.on_delete(ROOT);
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
    world.vm.on_context_create(REQUEST, NEXT);
    assert_eq!(world.decide(), Ok(()));
}

#[test]
fn a_list_is_not_taken_over_by_other_keys_or_below_the_floor() {
    for (field, value) in [
        ("keys", json!([super::world::Signer::new().public_pem()])),
        ("floor", json!({"epoch": 1, "sequence": 4})),
    ] {
        let world = World::bare();
        let mut config = world.with_deny_list(world.inbound_config());
        assert!(world.configure(&config));
        world.deliver(world.signer.list(1, 3, NOW, &[]));
        config["denyList"][field] = value;
        world.host.enter(NEXT);
        world.vm.on_context_create(NEXT, 0);
        assert!(world.configure_root(NEXT, config.to_string().as_bytes()));
        world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
        world.vm.on_context_create(REQUEST, NEXT);
        assert_eq!(
            world.decide(),
            Err("deny_list_missing".to_owned()),
            "{field}"
        );
    }
}

#[test]
fn a_request_keeps_its_root_until_it_is_over() {
    let world = World::inbound();
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
    world.vm.on_delete(ROOT);
    assert_eq!(world.decide(), Ok(()));
    world.vm.on_done(REQUEST);
    world.vm.on_delete(REQUEST);
    assert_eq!(world.decide(), Err("no_context".to_owned()));
}
