//! The same policies twice: as Istio writes them, and as the rules that Istio makes of them for Envoy.

use serde_json::{Map, Value, json};

use crate::mesh::{TRUST_DOMAIN, workload};

/// The service account that sends the requests.
pub(crate) const CALLER: &str = "sleep";
/// What it asks for, and what no policy lets it have.
pub(crate) const ALLOWED_PATH: &str = "/get";
pub(crate) const REFUSED_PATH: &str = "/refused";

/// What the policies of a case look like. Each is an ALLOW policy with one rule of one caller, one method and
/// one path. Exactly one matches the requests: the last one in the order of their ids, which is the order both
/// sides look at them in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// One.
    One,
    /// So many, each for another caller: what our filter finds by its index.
    Callers(u32),
    /// So many for the same caller, each for another path: what our filter has to go through as well.
    Paths(u32),
}

/// One policy's caller and path.
struct Rule {
    name: String,
    caller: String,
    path: String,
}

impl Shape {
    fn rules(self) -> Vec<Rule> {
        let count = match self {
            Self::One => 1,
            Self::Callers(count) | Self::Paths(count) => count,
        };
        let rule = |index: u32| {
            let last = index + 1 == count;
            let (caller, path) = match self {
                Self::Callers(_) if !last => (format!("caller-{index}"), ALLOWED_PATH.to_owned()),
                Self::Paths(_) if !last => (CALLER.to_owned(), format!("/path-{index}")),
                _ => (CALLER.to_owned(), ALLOWED_PATH.to_owned()),
            };
            let name = format!("allow-{index:04}");
            Rule { name, caller, path }
        };
        (0..count).map(rule).collect()
    }

    /// `AuthorizationPolicy` resources.
    pub(crate) fn istio(self) -> Vec<Value> {
        let policy = |rule: Rule| {
            let principal = format!("{TRUST_DOMAIN}/ns/default/sa/{}", rule.caller);
            json!({
                "apiVersion": "security.istio.io/v1",
                "kind": "AuthorizationPolicy",
                "metadata": {"name": rule.name, "namespace": "default"},
                "spec": {
                    "action": "ALLOW",
                    "rules": [{
                        "from": [{"source": {"principals": [principal]}}],
                        "to": [{"operation": {"methods": ["GET"], "paths": [rule.path]}}],
                    }],
                },
            })
        };
        self.rules().into_iter().map(policy).collect()
    }

    /// `envoy.config.rbac.v3.RBAC`.
    pub(crate) fn native(self) -> Value {
        let any = |key: &str, of: Value| json!({key: {"rules": [of]}});
        let policy = |rule: Rule| {
            let id =
                json!({"authenticated": {"principal_name": {"exact": workload(&rule.caller)}}});
            let method = json!({"header": {"name": ":method", "string_match": {"exact": "GET"}}});
            let path = json!({"url_path": {"path": {"exact": rule.path}}});
            let permission =
                json!({"and_rules": {"rules": [any("or_rules", method), any("or_rules", path)]}});
            let principal = json!({"and_ids": {"ids": [{"or_ids": {"ids": [id]}}]}});
            let name = format!("ns[default]-policy[{}]-rule[0]", rule.name);
            (
                name,
                json!({"permissions": [permission], "principals": [principal]}),
            )
        };
        let policies: Map<String, Value> = self.rules().into_iter().map(policy).collect();
        json!({"action": "ALLOW", "policies": policies})
    }
}
