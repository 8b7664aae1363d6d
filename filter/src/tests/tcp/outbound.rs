use super::super::world::{HTTPBIN, SLEEP, World};
use super::{CONNECTION, Effect, Listener};
use crate::host::{Action, Side};

/// The proxy has chosen the cluster and connects.
fn begin(world: &World, cluster: &str) {
    assert_eq!(
        world.accept(CONNECTION, Listener::Plaintext),
        Action::Continue
    );
    world.host.enter(CONNECTION);
    world
        .host
        .set_property("xds.cluster_name", cluster.as_bytes());
}

#[test]
fn the_server_is_looked_at_before_the_first_byte_of_either_side() {
    for first in [Side::Downstream, Side::Upstream] {
        let world = World::tcp_outbound();
        begin(&world, "httpbin");
        world.connect(&world.authority.leaf(HTTPBIN));
        assert_eq!(world.bytes(CONNECTION, first), Action::Continue);
        begin(&world, "httpbin");
        world.connect(&world.authority.leaf(SLEEP));
        assert_eq!(world.bytes(CONNECTION, first), Action::Pause);
        assert_eq!(world.effect(), Some(Effect::Closed(CONNECTION)));
        assert_eq!(world.recorded().0, "unexpected_identity");
        world.assert_shut(CONNECTION);
    }
}

#[test]
fn bytes_that_come_before_the_server_is_known_wait_for_it() {
    let world = World::tcp_outbound();
    begin(&world, "httpbin");
    assert_eq!(world.bytes(CONNECTION, Side::Downstream), Action::Pause);
    assert_eq!(world.ticks(3), None);
    world.host.enter(CONNECTION);
    world.connect(&world.authority.leaf(HTTPBIN));
    assert_eq!(world.ticks(1), Some(Effect::LetGo(CONNECTION)));
    assert_eq!(world.bytes(CONNECTION, Side::Upstream), Action::Continue);
}

#[test]
fn a_server_that_does_not_get_known_is_given_up() {
    let world = World::tcp_outbound();
    begin(&world, "httpbin");
    assert_eq!(world.bytes(CONNECTION, Side::Downstream), Action::Pause);
    assert_eq!(world.ticks(40), Some(Effect::Closed(CONNECTION)));
    assert_eq!(world.recorded(), ("hold_timeout".to_owned(), false));
}

#[test]
fn clusters_that_name_nobody_deny() {
    for (cluster, reason) in [
        ("nobody", "identity_set_empty"),
        ("other", "cluster_unknown"),
        ("", "attribute_unreadable"),
    ] {
        let world = World::tcp_outbound();
        begin(&world, cluster);
        world.connect(&world.authority.leaf(HTTPBIN));
        assert_eq!(world.bytes(CONNECTION, Side::Downstream), Action::Pause);
        assert_eq!(world.effect(), Some(Effect::Closed(CONNECTION)));
        assert_eq!(world.recorded().0, reason);
    }
}

#[test]
fn a_server_without_tls_is_nobody() {
    let world = World::tcp_outbound();
    begin(&world, "httpbin");
    world
        .host
        .set_property("upstream.local_address", b"127.0.0.1:1");
    assert_eq!(world.bytes(CONNECTION, Side::Downstream), Action::Pause);
    assert_eq!(world.recorded().0, "upstream_plaintext");
}
