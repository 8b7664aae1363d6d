#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use serde_json::{Value, json};

use super::{MtlsMode, MtlsModes, PeerAuthentication};
use crate::{CompileError, Problem, Scope, json};

use MtlsMode::{Disable, Permissive, Strict};

fn resource(namespace: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    })
}

fn aged(mut resource: Value, time: &str) -> Value {
    resource["metadata"]["creationTimestamp"] = json!(time);
    resource
}

fn scope() -> Scope {
    let mut scope = Scope::new("cluster.local".parse().unwrap(), "foo");
    scope
        .workload
        .labels
        .insert("app".to_owned(), "httpbin".to_owned());
    scope
}

fn read(resources: &[Value]) -> Vec<PeerAuthentication> {
    let read = |resource| json::shape(resource).unwrap();
    resources.iter().map(read).collect()
}

#[track_caller]
fn modes(resources: &[Value]) -> MtlsModes {
    MtlsModes::compile(&read(resources), &scope()).unwrap()
}

fn mode(name: &str) -> Value {
    json!({"mtls": {"mode": name}})
}

fn httpbin(mode: &str) -> Value {
    json!({"selector": {"matchLabels": {"app": "httpbin"}}, "mtls": {"mode": mode}})
}

#[test]
fn the_narrowest_scope_counts_and_unset_inherits() {
    let mesh = |m: &str| resource("istio-system", "mesh", mode(m));
    let namespace = |m: &str| resource("foo", "namespace", mode(m));
    let workload = |m: &str| resource("foo", "workload", httpbin(m));
    let cases = [
        (vec![], Permissive),
        (vec![mesh("UNSET")], Permissive),
        (vec![mesh("STRICT")], Strict),
        (vec![mesh("STRICT"), namespace("PERMISSIVE")], Permissive),
        (vec![namespace("PERMISSIVE"), mesh("STRICT")], Permissive),
        (vec![mesh("STRICT"), namespace("UNSET")], Strict),
        (
            vec![mesh("STRICT"), namespace("PERMISSIVE"), workload("DISABLE")],
            Disable,
        ),
        (
            vec![mesh("STRICT"), namespace("DISABLE"), workload("UNSET")],
            Disable,
        ),
        (
            vec![mesh("STRICT"), resource("foo", "empty", json!({}))],
            Strict,
        ),
        // Without a mode, and with a selector that asks for nothing.
        (
            vec![
                mesh("STRICT"),
                resource("foo", "e", json!({"mtls": {}, "selector": {}})),
            ],
            Strict,
        ),
    ];
    for (resources, expected) in cases {
        assert_eq!(modes(&resources).mode(None), expected, "{resources:?}");
    }
}

#[test]
fn what_is_for_others_is_ignored() {
    let other = json!({"selector": {"matchLabels": {"app": "sleep"}}, "mtls": {"mode": "STRICT"}});
    let cases = [
        resource("bar", "namespace", mode("STRICT")),
        resource("foo", "sleep", other.clone()),
        // Istio: resources with labels in the root namespace have no effect, on no workload.
        resource("istio-system", "labels", httpbin("STRICT")),
        resource("istio-system", "labels", other),
    ];
    for resource in cases {
        assert_eq!(
            modes(std::slice::from_ref(&resource)).mode(None),
            Permissive,
            "{resource}"
        );
    }
    let mut root = scope();
    root.workload.namespace = "istio-system".to_owned();
    let labels = read(&[resource("istio-system", "labels", httpbin("STRICT"))]);
    assert_eq!(
        MtlsModes::compile(&labels, &root).unwrap().mode(None),
        Permissive
    );
    let mesh = read(&[resource("istio-system", "mesh", mode("STRICT"))]);
    assert_eq!(MtlsModes::compile(&mesh, &root).unwrap().mode(None), Strict);
}

#[test]
fn the_oldest_of_a_scope_counts_and_at_the_same_age_the_first_by_name() {
    let at = |name: &str, mode_: &str, time: &str| aged(resource("foo", name, mode(mode_)), time);
    let (old, new) = ("2024-12-31T23:59:59Z", "2025-01-01T00:00:00Z");
    let cases = [
        ([at("a", "STRICT", new), at("b", "DISABLE", old)], Disable),
        ([at("b", "DISABLE", old), at("a", "STRICT", new)], Disable),
        ([at("b", "DISABLE", old), at("a", "STRICT", old)], Strict),
        // A resource from a file has no time and counts as the oldest.
        (
            [
                at("a", "STRICT", old),
                resource("foo", "b", mode("DISABLE")),
            ],
            Disable,
        ),
        // The oldest counts as a whole: its UNSET inherits from the mesh, not from its younger sibling.
        ([at("a", "UNSET", old), at("b", "STRICT", new)], Permissive),
    ];
    for (resources, expected) in cases {
        assert_eq!(modes(&resources).mode(None), expected, "{resources:?}");
    }
}

#[test]
fn ports_have_modes_of_their_own() {
    let mut workload = httpbin("STRICT");
    workload["portLevelMtls"] = json!({"8080": {"mode": "DISABLE"}, "9090": {"mode": "UNSET"}, "1": {}, "65535": {"mode": "PERMISSIVE"}});
    let found = modes(&[
        resource("istio-system", "mesh", mode("PERMISSIVE")),
        resource("foo", "workload", workload),
    ]);
    for (port, expected) in [
        (Some(8080), Disable),
        (Some(9090), Strict),
        (Some(1), Strict),
        (Some(65535), Permissive),
        (Some(80), Strict),
        (None, Strict),
    ] {
        assert_eq!(found.mode(port), expected, "{port:?}");
    }
    assert_eq!(found.ports().count(), 4);

    let inherits = json!({"selector": {"matchLabels": {"app": "httpbin"}}, "portLevelMtls": {"8080": {"mode": "STRICT"}}});
    let found = modes(&[
        resource("foo", "namespace", mode("DISABLE")),
        resource("foo", "workload", inherits),
    ]);
    assert_eq!(
        (found.mode(Some(8080)), found.mode(None)),
        (Strict, Disable)
    );
}

#[test]
fn nothing_is_written_where_no_resource_says_anything() {
    let found = modes(&[resource("istio-system", "mesh", mode("UNSET"))]);
    assert_eq!((found.written(None), found.mode(None)), (None, Permissive));
    let found = modes(&[resource("istio-system", "mesh", mode("PERMISSIVE"))]);
    assert_eq!(found.written(Some(80)), Some(Permissive));
}

#[track_caller]
fn refused(resource: &Value) -> Vec<CompileError> {
    let resources = read(std::slice::from_ref(resource));
    let errors = MtlsModes::compile(&resources, &scope()).unwrap_err();
    assert_eq!(errors, resources[0].validate());
    errors
}

#[test]
fn refuses_what_istio_refuses_each_with_its_path() {
    let with = |spec| resource("foo", "p", spec);
    let labels = json!({"matchLabels": {"app": "httpbin"}});
    let ports = |ports: Value| with(json!({"selector": labels, "portLevelMtls": ports}));
    let strict = json!({"mode": "STRICT"});
    let cases = [
        (
            with(json!({"portLevelMtls": {"80": strict}})),
            "spec.portLevelMtls",
        ),
        (
            with(json!({"selector": {"matchLabels": {}}, "portLevelMtls": {"80": strict}})),
            "spec.portLevelMtls",
        ),
        (ports(json!({})), "spec.portLevelMtls"),
        (ports(json!({"0": strict})), "spec.portLevelMtls.0"),
        (ports(json!({"65536": strict})), "spec.portLevelMtls.65536"),
        (ports(json!({"+80": strict})), "spec.portLevelMtls.+80"),
        (ports(json!({"080": strict})), "spec.portLevelMtls.080"),
        (ports(json!({"http": strict})), "spec.portLevelMtls.http"),
        (
            with(json!({"selector": {"matchLabels": {"app": "http*"}}})),
            "spec.selector.matchLabels.app",
        ),
        (
            with(json!({"selector": {"matchLabels": {"": "a"}}})),
            "spec.selector.matchLabels.",
        ),
        (resource("", "p", json!({})), "metadata.namespace"),
        (resource("foo", "P_", json!({})), "metadata.name"),
        (
            aged(with(json!({})), "yesterday"),
            "metadata.creationTimestamp",
        ),
        (
            aged(with(json!({})), "2025-01-01T00:00:00+01:00"),
            "metadata.creationTimestamp",
        ),
    ];
    for (resource, path) in cases {
        let errors = refused(&resource);
        assert_eq!(errors[0].path, path, "{errors:?}");
        assert_eq!(errors[0].kind, "PeerAuthentication");
    }
    let mut other = with(json!({}));
    other["kind"] = json!("AuthorizationPolicy");
    other["apiVersion"] = json!("networking.istio.io/v1");
    let found = refused(&other);
    assert_eq!(
        found.iter().map(|e| e.path.as_str()).collect::<Vec<_>>(),
        ["apiVersion", "kind"]
    );
}

#[test]
fn a_resource_that_is_there_twice_is_refused_with_its_name() {
    let twice = read(&[
        resource("foo", "p", mode("STRICT")),
        resource("foo", "p", mode("DISABLE")),
    ]);
    let errors = MtlsModes::compile(&twice, &scope()).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!((errors[0].index, errors[0].policy.as_str()), (1, "foo/p"));
    assert_eq!(errors[0].problem, Problem::Duplicate);
}

#[test]
fn one_bad_resource_refuses_the_set_also_when_it_is_for_others() {
    let set = read(&[
        resource("foo", "good", mode("STRICT")),
        resource("bar", "bad", json!({"portLevelMtls": {"80": {}}})),
    ]);
    let errors = MtlsModes::compile(&set, &scope()).unwrap_err();
    assert_eq!((errors[0].index, errors[0].policy.as_str()), (1, "bar/bad"));
}

#[test]
fn unknown_fields_nulls_and_modes_are_refused_where_they_are() {
    let cases = [
        (json!({"mtls": {"mode": "strict"}}), "spec.mtls.mode"),
        (json!({"mtls": {"mode": null}}), "spec.mtls.mode"),
        (json!({"mtls": null}), "spec.mtls"),
        (json!({"mtls": {"mode": "STRICT", "x": 1}}), "spec.mtls.x"),
        (json!({"portLevelMTLS": {}}), "spec.portLevelMTLS"),
        (json!({"portLevelMtls": null}), "spec.portLevelMtls"),
        (json!({"selector": null}), "spec.selector"),
        (
            json!({"portLevelMtls": {"80": {"mode": 1}}}),
            "spec.portLevelMtls.80.mode",
        ),
    ];
    for (spec, path) in cases {
        let error = json::shape::<PeerAuthentication>(&resource("foo", "p", spec)).unwrap_err();
        assert_eq!(error.path, path, "{error}");
    }
}

/// Where YAML has a number as key, Kubernetes has a text.
#[cfg(feature = "yaml")]
#[test]
fn a_port_in_yaml_need_not_be_quoted() {
    let text = "\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: p, namespace: foo}
spec:
  selector: {matchLabels: {app: httpbin}}
  portLevelMtls:
    8080: {mode: DISABLE}
";
    let mut files = crate::yaml::PolicyFiles::new();
    files.add("p.yaml", text).unwrap();
    let found = MtlsModes::compile(&files.resources().peer_authentication, &scope()).unwrap();
    assert_eq!(found.mode(Some(8080)), Disable);
}
