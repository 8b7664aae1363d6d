//! Whatever a hostcall answers, a request that should be refused never passes, and nothing traps.

use std::collections::BTreeSet;

use wasm_tests::fixtures::ca::{Authority, Leaf};
use wasm_tests::fixtures::config::{ConfigSpec, allow_principal, authorization_policy};
use wasm_tests::fixtures::deny_list::{ListSigner, ListSpec};
use wasm_tests::fixtures::traffic::{mutual_tls, mutual_tls_before_1_39, plaintext, request};
use wasm_tests::fixtures::{IMPOSTOR, NOW, SLEEP};
use wasm_tests::host::{Effect, Fault, Outcome, Plugin, Properties, Status};

use crate::support::configured;

/// Hostcalls that only tell people something; a request does not hang on them.
const TELEMETRY: [&str; 6] = [
    "proxy_log",
    "proxy_get_log_level",
    "proxy_define_metric",
    "proxy_increment_metric",
    "proxy_record_metric",
    "proxy_get_metric",
];

/// Attributes that only the decision record names.
const RECORD_ONLY: [&str; 4] = [
    // Without it nothing is known of the connection, and everything is read anew.
    "connection_id",
    "connection.id",
    "connection.uri_san_local_certificate",
    "upstream.uri_san_local_certificate",
];

/// Attributes that may well not be there (`NotFound`), each with the Envoys or connections that
/// lack it; anything but `NotFound` must still deny.
const MAY_BE_ABSENT: [&str; 11] = [
    // Envoy before 1.39 has neither; the certificate then comes from filter state, and the
    // signature check stands in for the flag.
    "connection.peer_certificate_valid",
    "filter_state.countersign.peer_certificate",
    // A client need not send a server name.
    "connection.requested_server_name",
    // Envoy's own `source.address` stands in.
    "filter_state.countersign.remote_address",
    // A request need not have a token, and where filter state has none, dynamic metadata is asked.
    "filter_state.countersign.jwt_payload",
    "metadata.filter_metadata.envoy.filters.http.jwt_authn.payload.iss",
    "metadata.filter_metadata.envoy.filters.http.jwt_authn.payload.iss.0",
    "metadata.filter_metadata.envoy.filters.http.jwt_authn.payload.sub",
    "metadata.filter_metadata.envoy.filters.http.jwt_authn.payload.sub.0",
    // Other filters need not have left anything.
    "metadata.filter_metadata.envoy.filters.network.mysql_proxy.db",
    "metadata.filter_metadata.envoy.filters.network.mysql_proxy.db.0",
];

fn everything(authority: &Authority, signer: &ListSigner) -> ConfigSpec {
    let rules = serde_json::json!([{
        "from": [{"source": {"principals": ["cluster.local/ns/default/sa/sleep"]}}],
        "to": [{"operation": {"methods": ["GET"], "paths": ["/"], "ports": ["8080"]}}],
        "when": [{"key": "request.headers[x-forwarded-proto]", "values": ["https"]}],
    }]);
    let deny = serde_json::json!([
        {"from": [{"source": {"ipBlocks": ["192.0.2.0/24"]}}]},
        {"from": [{"source": {"notPrincipals": ["*"]}}]},
        {"from": [{"source": {"remoteIpBlocks": ["198.51.100.0/24"]}}]},
        {"from": [{"source": {"requestPrincipals": ["issuer/evil"]}}]},
        {"when": [{"key": "experimental.envoy.filters.network.mysql_proxy[db]", "values": ["[drop]"]}]},
    ]);
    ConfigSpec::inbound(authority)
        .deny_list(signer)
        .policy(authorization_policy("allow", "ALLOW", rules))
        .policy(authorization_policy("deny", "DENY", deny))
}

pub(crate) struct Inbound {
    authority: Authority,
    pub(crate) signer: ListSigner,
    pub(crate) revoked: Leaf,
}

impl Inbound {
    pub(crate) fn new() -> Self {
        let authority = Authority::new(NOW);
        let revoked = authority.svid(SLEEP);
        Self {
            authority,
            signer: ListSigner::new(),
            revoked,
        }
    }

    /// A plug-in with policies and a deny list, ready to decide.
    pub(crate) fn plugin(&self) -> Plugin {
        let mut plugin = configured(&everything(&self.authority, &self.signer));
        let list = ListSpec::sequence(1).revoking(&self.revoked.sha256());
        for _ in 0..100 {
            if let Some(call) = plugin.pending_calls().first().cloned() {
                plugin
                    .answer_call(&call, 200, &self.signer.sign(&list))
                    .expect("no trap");
                plugin.take_recorded();
                return plugin;
            }
            plugin
                .run_for(std::time::Duration::from_millis(10))
                .expect("no trap");
        }
        panic!("the deny list was never asked for");
    }

    /// What hostcalls one request makes, with what each is about.
    fn hostcalls(&self, properties: &Properties) -> BTreeSet<(&'static str, String)> {
        let mut plugin = self.plugin();
        one_get(&mut plugin, properties);
        let recorded = plugin.take_recorded().into_iter();
        recorded.map(|call| (call.hostcall, call.about)).collect()
    }
}

pub(crate) fn one_get(plugin: &mut Plugin, properties: &Properties) -> Outcome {
    let stream = plugin.open(properties.clone()).expect("no trap");
    let outcome = plugin.request_headers(stream, &request("GET", "/"), true);
    let outcome = outcome.unwrap_or_else(|trap| panic!("{trap}"));
    plugin.close(stream).expect("no trap");
    outcome
}

/// Every effect a fault may have.
pub(crate) fn effects() -> Vec<Effect> {
    let mut effects: Vec<Effect> = Status::FAILURES.into_iter().map(Effect::Status).collect();
    effects.push(Effect::Silence);
    for bytes in [
        &b""[..],
        b"\0",
        b"\x01",
        b"\x02",
        b"\xff\xff\xff\xff",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x01\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n",
        b"spiffe://cluster.local/ns/default/sa/sleep",
        b"%zz%",
    ] {
        effects.push(Effect::Bytes(bytes.to_vec()));
    }
    effects.push(Effect::Bytes(vec![b'A'; 300_000]));
    effects
}

#[test]
fn requests_that_are_to_be_refused_are_refused_under_every_fault() {
    let inbound = Inbound::new();
    let refused = [
        (
            "another principal",
            mutual_tls(&inbound.authority.svid(IMPOSTOR)),
        ),
        (
            "the same before 1.39",
            mutual_tls_before_1_39(&inbound.authority.svid(IMPOSTOR)),
        ),
        ("a revoked certificate", mutual_tls(&inbound.revoked)),
        (
            "a foreign authority",
            mutual_tls(&Authority::new(NOW).svid(SLEEP)),
        ),
        ("plaintext", plaintext()),
    ];
    for (what, properties) in &refused {
        let calls = inbound.hostcalls(properties);
        assert!(calls.len() > 3, "{what}: only {calls:?}");
        let mut plugin = inbound.plugin();
        let unharmed = one_get(&mut plugin, properties);
        assert_eq!(
            unharmed.status(),
            Some(403),
            "{what} unharmed: {unharmed:?}"
        );
        for (hostcall, about) in &calls {
            for effect in effects() {
                let fault = Fault::every(hostcall, effect.clone()).about(about);
                plugin.inject(fault);
                let outcome = one_get(&mut plugin, properties);
                plugin.clear_faults();
                assert_ne!(
                    outcome,
                    Outcome::Continued,
                    "{what} passed when {hostcall} about {about:?} had {effect:?}"
                );
            }
        }
    }
}

#[test]
fn a_request_that_may_pass_is_refused_when_what_it_hangs_on_cannot_be_read() {
    let inbound = Inbound::new();
    let allowed = mutual_tls(&inbound.authority.svid(SLEEP));
    let calls = inbound.hostcalls(&allowed);
    let mut plugin = inbound.plugin();
    assert_eq!(
        one_get(&mut plugin, &allowed),
        Outcome::Continued,
        "log: {:?}",
        plugin.log()
    );
    let mut passed = Vec::new();
    for (hostcall, about) in &calls {
        if TELEMETRY.contains(hostcall) || RECORD_ONLY.contains(&about.as_str()) {
            continue;
        }
        for status in Status::FAILURES {
            let absent_is_fine =
                status == Status::NotFound && MAY_BE_ABSENT.contains(&about.as_str());
            // A plug-in of its own: no certificate is known from an earlier request.
            let mut plugin = inbound.plugin();
            plugin.inject(Fault::status(hostcall, status).about(about));
            if one_get(&mut plugin, &allowed) == Outcome::Continued && !absent_is_fine {
                passed.push(format!("{hostcall} about {about:?} answered {status:?}"));
            }
        }
    }
    assert!(passed.is_empty(), "passed although:\n{}", passed.join("\n"));
}

/// A token and an address that DENY rules name. That there is none is something the proxy may say; everything
/// else that is not readable denies.
#[test]
fn what_deny_rules_look_at_does_not_disappear() {
    let inbound = Inbound::new();
    let connection = mutual_tls(&inbound.authority.svid(SLEEP));
    for (key, value) in [
        (
            "countersign.jwt_payload",
            r#"{"iss":"issuer","sub":"evil"}"#,
        ),
        ("countersign.remote_address", "198.51.100.7"),
    ] {
        let properties = connection.clone().with_path(&["filter_state", key], value);
        let about = format!("filter_state.{key}");
        let mut plugin = inbound.plugin();
        assert_eq!(one_get(&mut plugin, &properties).status(), Some(403));
        for effect in effects() {
            let absent = [
                Effect::Status(Status::NotFound),
                Effect::Silence,
                Effect::Bytes(Vec::new()),
            ];
            if absent.contains(&effect) {
                continue;
            }
            plugin.inject(Fault::every("proxy_get_property", effect.clone()).about(&about));
            let outcome = one_get(&mut plugin, &properties);
            plugin.clear_faults();
            assert_eq!(outcome.status(), Some(403), "{about} had {effect:?}");
        }
    }
}

#[test]
fn telemetry_that_fails_neither_denies_nor_traps() {
    let inbound = Inbound::new();
    let allowed = mutual_tls(&inbound.authority.svid(SLEEP));
    let mut plugin = inbound.plugin();
    for hostcall in TELEMETRY {
        for status in Status::FAILURES {
            plugin.inject(Fault::status(hostcall, status));
            assert_eq!(
                one_get(&mut plugin, &allowed),
                Outcome::Continued,
                "{hostcall} {status:?}"
            );
            plugin.clear_faults();
        }
    }
}

#[test]
fn a_denial_that_cannot_be_sent_leaves_the_request_stopped() {
    let inbound = Inbound::new();
    let refused = mutual_tls(&inbound.authority.svid(IMPOSTOR));
    let mut plugin = inbound.plugin();
    for status in Status::FAILURES {
        plugin.inject(Fault::status("proxy_send_local_response", status));
        let outcome = one_get(&mut plugin, &refused);
        plugin.clear_faults();
        assert!(
            matches!(outcome, Outcome::Paused | Outcome::Reset),
            "{status:?}: {outcome:?}"
        );
    }
}

#[test]
fn a_body_that_follows_a_denial_that_could_not_be_sent_stays_stopped_too() {
    let inbound = Inbound::new();
    let mut plugin = inbound.plugin();
    plugin.inject(Fault::status(
        "proxy_send_local_response",
        Status::InternalFailure,
    ));
    let refused = mutual_tls(&inbound.authority.svid(IMPOSTOR));
    let stream = plugin.open(refused).expect("no trap");
    plugin
        .request_headers(stream, &request("POST", "/"), false)
        .expect("no trap");
    let outcome = plugin.request_body(stream, b"x", true).expect("no trap");
    assert!(
        matches!(outcome, Outcome::Paused | Outcome::Reset),
        "{outcome:?}"
    );
}

#[test]
fn a_configuration_is_not_half_taken_when_it_cannot_be_read() {
    let authority = Authority::new(NOW);
    let sleep = mutual_tls(&authority.svid(SLEEP));
    let good = ConfigSpec::inbound(&authority).policy(allow_principal(
        "only-impostor",
        "cluster.local/ns/default/sa/impostor",
    ));
    let wide = ConfigSpec::inbound(&authority);
    for effect in effects() {
        let mut plugin = configured(&good);
        plugin.inject(Fault::every("proxy_get_buffer_bytes", effect.clone()));
        let accepted = plugin.configure(wide.json()).expect("no trap");
        plugin.clear_faults();
        assert!(!accepted, "{effect:?}");
        assert_eq!(
            one_get(&mut plugin, &sleep).status(),
            Some(403),
            "{effect:?}"
        );
    }
}
