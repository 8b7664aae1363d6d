//! One policy, compiled for its errors.

use identity::TrustDomain;
use policy::{AuthorizationPolicy, PolicySet, Problem, Scope};
use serde_json::{Value, json};

pub(crate) fn scope() -> Scope {
    Scope::new(TrustDomain::new("cluster.local").unwrap(), "default")
}

pub(crate) fn resource(spec: Value) -> Value {
    json!({
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "p", "namespace": "default"},
        "spec": spec,
    })
}

pub(crate) fn read(resource: &Value) -> Result<AuthorizationPolicy, policy::json::ShapeError> {
    AuthorizationPolicy::from_json(resource.to_string().as_bytes())
}

/// Path and problem of each error.
pub(crate) fn errors(resource: &Value) -> Vec<(String, Problem)> {
    let policy = read(resource).unwrap();
    match PolicySet::compile(&[policy], &scope()) {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .into_iter()
            .map(|error| (error.path, error.problem))
            .collect(),
    }
}

pub(crate) fn spec_errors(spec: Value) -> Vec<(String, Problem)> {
    errors(&resource(spec))
}
