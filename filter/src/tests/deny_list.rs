use identity::deny_list::{ListKey, ListSigners, State};
use serde_json::json;

use super::world::{HTTPBIN, NOW, REQUEST, ROOT, SLEEP, Signer, World};
use crate::deny_list::shared::Keys;
use crate::host::{Action, Status};

fn with_list() -> World {
    let world = World::bare();
    assert!(world.configure(&world.with_deny_list(world.inbound_config())));
    world
}

fn ask(world: &World) -> Result<(), String> {
    world.decide()
}

#[test]
fn without_a_list_certificates_are_denied_and_the_first_poll_is_at_once() {
    let world = with_list();
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
    assert_eq!(ask(&world), Err("deny_list_missing".to_owned()));
    assert_eq!(world.host.tick(), 1);
    world.tick();
    let called = world.host.take_called();
    assert_eq!(called[0].cluster, "agent");
    assert_eq!(called[0].path, "/v1/denylist?epoch=0&since=0");
    world.answer(called[0].token, "200", world.signer.list(1, 1, NOW, &[]));
    assert_eq!(ask(&world), Ok(()));
    assert_eq!(world.host.metric("countersign_deny_list_sequence"), Some(1));
    assert_eq!(world.host.tick(), 500);
}

#[test]
fn a_listed_certificate_is_denied_from_the_next_request_on_and_may_come_back() {
    let world = with_list();
    let leaf = world.authority.leaf(SLEEP);
    world.deliver(world.signer.list(1, 1, NOW, &[]));
    world.arrive(&leaf, "GET", "/get");
    assert_eq!(ask(&world), Ok(()));
    world.deliver(
        world
            .signer
            .list(1, 2, NOW, &[(leaf.sha256, State::Suspended)]),
    );
    assert_eq!(ask(&world), Err("suspended".to_owned()));
    world.deliver(
        world
            .signer
            .list(1, 3, NOW, &[(leaf.sha256, State::Revoked)]),
    );
    assert_eq!(ask(&world), Err("revoked".to_owned()));
    world.deliver(world.signer.list(1, 4, NOW, &[]));
    assert_eq!(ask(&world), Ok(()));
}

#[test]
fn a_listed_server_is_denied_also_where_only_its_digest_is_seen() {
    let world = World::bare();
    assert!(world.configure(&world.with_deny_list(world.outbound_config())));
    let leaf = world.authority.leaf(HTTPBIN);
    world.send_to(REQUEST, "httpbin");
    world.connect(&leaf);
    assert_eq!(ask(&world), Err("deny_list_missing".to_owned()));
    world.deliver(
        world
            .signer
            .list(1, 1, NOW, &[(leaf.sha256, State::Revoked)]),
    );
    assert_eq!(ask(&world), Err("revoked".to_owned()));
    // The same in a store that does not have the certificate.
    assert!(world.configure(&world.with_deny_list(world.outbound_config())));
    world.send_to(REQUEST, "httpbin");
    world.connect(&leaf);
    world.host.remove_property("upstream.peer_certificate");
    world
        .host
        .set_property("upstream.uri_san_peer_certificate", HTTPBIN.as_bytes());
    assert_eq!(ask(&world), Err("revoked".to_owned()));
}

#[test]
fn a_stale_list_denies_and_is_asked_for_anew() {
    let world = with_list();
    let leaf = world.authority.leaf(SLEEP);
    world.deliver(world.signer.list(1, 7, NOW, &[]));
    world.tick();
    let path = "/v1/denylist?epoch=1&since=7";
    assert_eq!(world.host.take_called()[0].path, path);
    world.host.advance(61_000);
    world.arrive(&leaf, "GET", "/get");
    assert_eq!(ask(&world), Err("deny_list_stale".to_owned()));
    world.tick();
    world.tick();
    assert_eq!(world.host.take_called()[0].path, path);
    // That this is the newest there is makes it no fresher; a newer one does.
    let now = NOW + 120;
    world.host.set_now(u64::try_from(now).unwrap());
    world.answer(2, "204", "");
    assert_eq!(ask(&world), Err("deny_list_stale".to_owned()));
    world.deliver(world.signer.list(1, 8, now, &[]));
    assert_eq!(ask(&world), Ok(()));
}

#[test]
fn a_wall_clock_that_is_set_back_does_not_keep_a_list_fresh() {
    let world = with_list();
    let leaf = world.authority.leaf_valid(SLEEP, -7200, 3600);
    world.deliver(world.signer.list(1, 7, NOW, &[]));
    world.host.set_now(u64::try_from(NOW - 3600).unwrap());
    world.arrive(&leaf, "GET", "/get");
    assert_eq!(ask(&world), Ok(()));
    // A newer list is from the future now, so nobody would hear of a revocation for an hour.
    world.deliver(
        world
            .signer
            .list(1, 8, NOW + 30, &[(leaf.sha256, State::Revoked)]),
    );
    world.host.advance(61_000);
    world.arrive(&leaf, "GET", "/get");
    assert_eq!(ask(&world), Err("deny_list_stale".to_owned()));
    // Nor does the same list once more, which is of now again.
    world.deliver(world.signer.list(1, 7, NOW, &[]));
    assert_eq!(ask(&world), Err("deny_list_stale".to_owned()));
}

#[test]
fn stale_may_be_set_to_allow_but_entries_still_count() {
    let world = World::bare();
    let mut config = world.with_deny_list(world.inbound_config());
    config["denyList"]["stale"] = json!("allow");
    assert!(world.configure(&config));
    let (good, bad) = (world.authority.leaf(SLEEP), world.authority.leaf(SLEEP));
    world.arrive(&bad, "GET", "/get");
    assert_eq!(ask(&world), Ok(()));
    world.deliver(
        world
            .signer
            .list(1, 1, NOW, &[(bad.sha256, State::Revoked)]),
    );
    world.host.advance(61_000);
    world.arrive(&bad, "GET", "/get");
    assert_eq!(ask(&world), Err("revoked".to_owned()));
    world.arrive(&good, "GET", "/get");
    assert_eq!(ask(&world), Ok(()));
}

#[test]
fn an_older_list_is_refused_and_the_one_in_hand_stays() {
    let world = with_list();
    let leaf = world.authority.leaf(SLEEP);
    world.deliver(
        world
            .signer
            .list(1, 5, NOW, &[(leaf.sha256, State::Revoked)]),
    );
    world.deliver(world.signer.list(1, 4, NOW, &[]));
    world.arrive(&leaf, "GET", "/get");
    assert_eq!(ask(&world), Err("revoked".to_owned()));
    assert_eq!(
        world.host.metric("countersign_deny_list_poll_failed"),
        Some(1)
    );
    world.deliver(world.signer.list(2, 1, NOW, &[]));
    assert_eq!(ask(&world), Ok(()));
    world.deliver(world.signer.list(1, 99, NOW, &[]));
    world.host.enter(ROOT);
    assert_eq!(world.host.metric("countersign_deny_list_sequence"), Some(1));
}

#[test]
fn the_floor_is_shared_between_threads_and_comes_from_the_configuration_too() {
    let world = with_list();
    let signer = ListKey::from_pem(&world.signer.public_pem()).unwrap();
    let signers = ListSigners::Keys(vec![signer]);
    let key = &Keys::of("cluster.local", &signers).floor;
    world.host.set_shared(key, b"1:10");
    world.deliver(world.signer.list(1, 9, NOW, &[]));
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
    assert_eq!(ask(&world), Err("deny_list_missing".to_owned()));
    world.deliver(world.signer.list(1, 11, NOW, &[]));
    assert_eq!(ask(&world), Ok(()));
    assert_eq!(world.host.shared(key).as_deref(), Some(&b"1:11"[..]));

    let world = World::bare();
    let mut config = world.with_deny_list(world.inbound_config());
    config["denyList"]["floor"] = json!({"epoch": 3, "sequence": 2});
    assert!(world.configure(&config));
    world.deliver(world.signer.list(3, 1, NOW, &[]));
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
    assert_eq!(ask(&world), Err("deny_list_missing".to_owned()));
    world.deliver(world.signer.list(3, 2, NOW, &[]));
    assert_eq!(ask(&world), Ok(()));
}

#[test]
fn an_authority_made_anew_is_not_held_to_the_numbers_of_the_one_before() {
    let world = with_list();
    world.deliver(world.signer.list(1, 100, NOW, &[]));
    let anew = Signer::new();
    let mut config = world.with_deny_list(world.inbound_config());
    config["denyList"]["keys"] = json!([anew.public_pem()]);
    assert!(world.configure(&config));
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
    assert_eq!(ask(&world), Err("deny_list_missing".to_owned()));
    world.deliver(anew.list(1, 1, NOW, &[]));
    assert_eq!(ask(&world), Ok(()));
}

#[test]
fn a_key_that_is_added_does_not_cost_the_list_in_hand() {
    let world = with_list();
    world.deliver(world.signer.list(1, 7, NOW, &[]));
    let mut config = world.with_deny_list(world.inbound_config());
    config["denyList"]["keys"] = json!([Signer::new().public_pem(), world.signer.public_pem()]);
    assert!(world.configure(&config));
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
    assert_eq!(ask(&world), Ok(()));
    // Without the key that signed it, it is no list to rely on.
    config["denyList"]["keys"] = json!([Signer::new().public_pem()]);
    assert!(world.configure(&config));
    assert_eq!(ask(&world), Err("deny_list_missing".to_owned()));
}

#[test]
fn a_list_is_not_accepted_while_the_shared_floor_cannot_be_read() {
    let world = with_list();
    world
        .host
        .fail("proxy_get_shared_data", Status::InternalFailure);
    world.deliver(world.signer.list(1, 1, NOW, &[]));
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
    assert_eq!(ask(&world), Err("deny_list_missing".to_owned()));
}

#[test]
fn a_list_of_another_signer_is_refused() {
    let world = with_list();
    world.deliver(Signer::new().list(1, 1, NOW, &[]));
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
    assert_eq!(ask(&world), Err("deny_list_missing".to_owned()));
}

#[test]
fn failures_are_asked_again_ever_more_rarely_but_never_more_so_than_the_interval() {
    let world = with_list();
    world.host.fail("proxy_http_call", Status::InternalFailure);
    let pauses = |world: &World| -> Vec<u32> {
        let pause = |_| {
            world.tick();
            world.host.tick()
        };
        (0..6).map(pause).collect()
    };
    assert_eq!(pauses(&world), [50, 100, 200, 400, 500, 500]);
    // One line for the row, not ten.
    assert_eq!(world.host.take_log().len(), 1);
    world.host.mend("proxy_http_call");
    world.deliver(world.signer.list(1, 1, NOW, &[]));
    assert_eq!(world.host.tick(), 500);
    // With a list in hand an agent that is back is found within the interval.
    world.host.fail("proxy_http_call", Status::InternalFailure);
    assert_eq!(pauses(&world), [500; 6]);
}

#[test]
fn a_long_interval_does_not_delay_what_failed_by_more_than_a_second() {
    let world = World::bare();
    let mut config = world.with_deny_list(world.inbound_config());
    config["denyList"]["pollMilliseconds"] = json!(20_000);
    assert!(world.configure(&config));
    world.deliver(world.signer.list(1, 1, NOW, &[]));
    assert_eq!(world.host.tick(), 20_000);
    world.host.fail("proxy_http_call", Status::InternalFailure);
    world.tick();
    assert_eq!(world.host.tick(), 1_000);
}

#[test]
fn replies_that_are_none_count_as_failures() {
    for (status, body) in [
        ("503", ""),
        ("204", ""),
        ("200", ""),
        ("200", "a.b.c"),
        ("", ""),
    ] {
        let world = with_list();
        world.tick();
        let token = world.host.take_called()[0].token;
        world.answer(token, status, body);
        assert_eq!(
            world.host.metric("countersign_deny_list_poll_failed"),
            Some(1),
            "{status}"
        );
        assert_eq!(world.host.tick(), 50);
    }
    let world = with_list();
    world.tick();
    let token = world.host.take_called()[0].token;
    world.vm.on_http_call_response(ROOT, token, 0, 0);
    assert_eq!(
        world.host.metric("countersign_deny_list_poll_failed"),
        Some(1)
    );
}

#[test]
fn a_reply_too_long_is_not_read() {
    let world = with_list();
    world.tick();
    let token = world.host.take_called()[0].token;
    let list = world.signer.list(1, 1, NOW, &[]);
    world.answer(0, "200", &list);
    world.vm.on_http_call_response(ROOT, token, 1, usize::MAX);
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
    assert_eq!(ask(&world), Err("deny_list_missing".to_owned()));
}

#[test]
fn only_the_awaited_reply_counts() {
    let world = with_list();
    let list = world.signer.list(1, 1, NOW, &[]);
    world.answer(1, "200", &list);
    world.tick();
    let token = world.host.take_called()[0].token;
    world.answer(token + 1, "200", &list);
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
    assert_eq!(ask(&world), Err("deny_list_missing".to_owned()));
    world.answer(token, "200", &list);
    assert_eq!(ask(&world), Ok(()));
    world.answer(token, "503", "");
    assert_eq!(world.host.metric("countersign_deny_list_poll_failed"), None);
}

#[test]
fn a_reply_that_never_comes_is_given_up() {
    let world = with_list();
    world.tick();
    assert_eq!(world.host.take_called().len(), 1);
    assert_eq!(world.host.tick(), 1500);
    world.tick();
    assert_eq!(world.host.take_called().len(), 0);
    world.tick();
    assert_eq!(world.host.take_called().len(), 1);
}

#[test]
fn nothing_new_keeps_the_list() {
    let world = with_list();
    world.deliver(world.signer.list(1, 1, NOW, &[]));
    world.tick();
    world.answer(world.host.take_called()[0].token, "204", "");
    world.arrive(&world.authority.leaf(SLEEP), "GET", "/get");
    assert_eq!(ask(&world), Ok(()));
    assert_eq!(world.host.tick(), 500);
    assert_eq!(world.host.metric("countersign_deny_list_poll_failed"), None);
}

#[test]
fn a_hold_and_a_poll_share_the_timer() {
    let world = World::bare();
    assert!(world.configure(&world.with_deny_list(world.outbound_config())));
    world.deliver(world.signer.list(1, 1, NOW, &[]));
    assert_eq!(world.host.tick(), 500);
    world.send_to(REQUEST, "httpbin");
    assert_eq!(world.vm.on_request_headers(REQUEST), Action::Pause);
    assert_eq!(world.host.tick(), 1);
    world.connect(&world.authority.leaf(HTTPBIN));
    world.tick();
    assert_eq!(world.host.take_resumed(), [REQUEST]);
    assert_eq!(world.host.tick(), 499);
    world.tick();
    assert_eq!(world.host.take_called().len(), 1);
}

#[test]
fn an_ended_root_asks_for_nothing() {
    let world = with_list();
    world.vm.on_done(ROOT);
    assert_eq!(world.host.tick(), 0);
    world.vm.on_tick(ROOT);
    assert_eq!(world.host.take_called(), []);
}
