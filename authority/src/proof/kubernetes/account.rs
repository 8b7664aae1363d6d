//! A service account, as a token or a review of it names one.

use serde_json::{Map, Value};

use crate::proof::jwt::{Claims, TokenFault};
use crate::proof::kubernetes::is_name;

/// Who a token is of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Account {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The service account's UID.
    pub(crate) uid: Option<String>,
    /// The pod the token is bound to.
    pub(crate) pod: Option<Object>,
    /// The node that pod runs on (since Kubernetes 1.30).
    pub(crate) node: Option<Object>,
}

/// An object of the cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Object {
    pub(crate) name: String,
    pub(crate) uid: Option<String>,
}

impl Account {
    /// From the claims of a token: `sub`, and `kubernetes.io`, which must agree with it.
    ///
    /// # Errors
    /// [`TokenFault::NotServiceAccount`].
    pub(crate) fn of_claims(claims: &Claims) -> Result<Self, TokenFault> {
        let mut account = Self::of_user(claims.subject()?)?;
        let bound = claims
            .get("kubernetes.io")
            .and_then(Value::as_object)
            .ok_or(refused("it has no claim kubernetes.io"))?;
        let text = |map: &Map<String, Value>, name: &str| {
            map.get(name).and_then(Value::as_str).map(ToOwned::to_owned)
        };
        if text(bound, "namespace").as_ref() != Some(&account.namespace) {
            return Err(refused("kubernetes.io names another namespace than sub"));
        }
        let own = bound.get("serviceaccount").and_then(Value::as_object);
        let own = own.ok_or(refused("kubernetes.io names no service account"))?;
        if text(own, "name").as_ref() != Some(&account.name) {
            return Err(refused("kubernetes.io names another account than sub"));
        }
        account.uid = text(own, "uid");
        let object = |kind: &str| match bound.get(kind) {
            None => Ok(None),
            Some(object) => {
                let object = object
                    .as_object()
                    .ok_or(refused("kubernetes.io is malformed"))?;
                Object::new(text(object, "name"), text(object, "uid"))
            }
        };
        account.pod = object("pod")?;
        account.node = object("node")?;
        Ok(account)
    }

    /// From the user of a review.
    ///
    /// # Errors
    /// [`TokenFault::NotServiceAccount`].
    pub(crate) fn of_review(user: &Map<String, Value>) -> Result<Self, TokenFault> {
        let text = |name: &str| user.get(name).and_then(Value::as_str);
        let mut account = Self::of_user(text("username").unwrap_or_default())?;
        account.uid = text("uid").map(ToOwned::to_owned);
        // Each a list of one text.
        let extra = |name: &str| {
            let list = user
                .get("extra")?
                .get(format!("authentication.kubernetes.io/{name}"))?;
            list.get(0)?.as_str().map(ToOwned::to_owned)
        };
        account.pod = Object::new(extra("pod-name"), extra("pod-uid"))?;
        account.node = Object::new(extra("node-name"), extra("node-uid"))?;
        Ok(account)
    }

    /// From `system:serviceaccount:<namespace>:<name>`.
    fn of_user(user: &str) -> Result<Self, TokenFault> {
        let (namespace, name) = user
            .strip_prefix("system:serviceaccount:")
            .and_then(|rest| rest.split_once(':'))
            .filter(|(namespace, name)| is_name(namespace) && is_name(name))
            .ok_or(refused(
                "its subject is not system:serviceaccount:<namespace>:<name>",
            ))?;
        Ok(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: None,
            pod: None,
            node: None,
        })
    }

    /// Selectors, `k8s:<kind>:<value>`.
    pub(crate) fn selectors(&self, cluster: &str) -> Vec<String> {
        let mut selectors = vec![
            format!("k8s:cluster:{cluster}"),
            format!("k8s:ns:{}", self.namespace),
            format!("k8s:sa:{}", self.name),
        ];
        let mut push = |kind: &str, value: Option<&String>| {
            if let Some(value) = value {
                selectors.push(format!("k8s:{kind}:{value}"));
            }
        };
        push("sa-uid", self.uid.as_ref());
        if let Some(pod) = &self.pod {
            push("pod-name", Some(&pod.name));
            push("pod-uid", pod.uid.as_ref());
        }
        if let Some(node) = &self.node {
            push("node-name", Some(&node.name));
            push("node-uid", node.uid.as_ref());
        }
        selectors
    }
}

impl Object {
    fn new(name: Option<String>, uid: Option<String>) -> Result<Option<Self>, TokenFault> {
        match name {
            None => Ok(None),
            Some(name) if is_name(&name) => Ok(Some(Self { name, uid })),
            Some(_) => Err(refused("it is bound to an object whose name is none")),
        }
    }
}

const fn refused(problem: &'static str) -> TokenFault {
    TokenFault::NotServiceAccount { problem }
}
