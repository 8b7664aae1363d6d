use serde_json::json;

use super::world::{SLEEP, World};
use crate::host::Status;

/// Where a filter in front leaves the address of the TCP peer.
const DIRECT: &str = "filter_state.countersign.direct_remote_address";

#[test]
fn reads_addresses_only_for_policies_that_look_at_them() {
    let world = World::bare();
    let mut config = world.inbound_config();
    assert!(world.configure(&config));
    let leaf = world.authority.leaf(SLEEP);
    world.host.fail_property(DIRECT, Status::InternalFailure);
    world.arrive(&leaf, "GET", "/get");
    assert_eq!(world.decide(), Ok(()));
    config["policies"][0]["spec"]["rules"][0]["from"][0]["source"]["ipBlocks"] =
        json!(["10.0.0.0/8"]);
    assert!(world.configure(&config));
    world.arrive(&leaf, "GET", "/get");
    assert_eq!(world.decide(), Err("attribute_unreadable".to_owned()));
}

#[test]
fn an_address_that_the_peer_may_have_written_is_not_the_peers() {
    let world = World::bare();
    let mut config = world.inbound_config();
    config["policies"][0]["spec"]["rules"][0]["from"][0]["source"]["ipBlocks"] =
        json!(["10.0.0.0/8"]);
    assert!(world.configure(&config));
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
    // What x-forwarded-for says, unless the connection manager is told not to believe it.
    world.host.set_property("source.address", b"10.1.1.1:4000");
    assert_eq!(world.decide(), Err("attribute_unreadable".to_owned()));
    world.host.set_property(DIRECT, b"192.168.1.1");
    assert_eq!(world.decide(), Err("no_allow_matched".to_owned()));
    world.host.set_property(DIRECT, b"10.1.1.1");
    assert_eq!(world.decide(), Ok(()));
}

#[test]
fn an_address_that_is_missing_is_not_one_that_does_not_match() {
    let world = World::bare();
    let mut config = world.inbound_config();
    config["policies"][0]["spec"]["rules"][0]["from"][0]["source"]["notIpBlocks"] =
        json!(["10.0.0.0/8"]);
    config["policies"][0]["spec"]["rules"][0]["to"][0]["operation"]["notPorts"] = json!(["1"]);
    assert!(world.configure(&config));
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
    assert_eq!(world.decide(), Err("attribute_unreadable".to_owned()));
    world.host.set_property(DIRECT, b"192.168.1.1");
    assert_eq!(world.decide(), Err("attribute_unreadable".to_owned()));
    world
        .host
        .set_property("destination.address", b"127.0.0.1:8443");
    assert_eq!(world.decide(), Ok(()));
    world.host.set_property(DIRECT, b"10.1.2.3");
    assert_eq!(world.decide(), Err("no_allow_matched".to_owned()));
}
