//! Node agents (ztunnel): they ask for the identities of pods on their own node, and no others.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use identity::{SpiffeId, UnixTime};
use serde_json::Value;

use crate::issue::Refusal;
use crate::issue::attest::AttestError;
use crate::proof::kubernetes::account::{Account, Object};
use crate::proof::kubernetes::api_server::ApiServer;
use crate::proof::kubernetes::{Mapping, is_name};
use crate::proof::proven::Proven;
use crate::proof::settings::NodeAccount;

/// How long a pod that was found is relied on, in seconds: so long its node's agent can have its
/// identity after it is gone.
pub(crate) const FOUND_SECONDS: i64 = 10;
/// How long it is relied on that there is none, in seconds. A pod's agent asks as soon as it starts.
pub(crate) const NOT_FOUND_SECONDS: i64 = 1;
/// Answers that are remembered.
pub(crate) const MOST_REMEMBERED: usize = 16_384;
/// Pods of one service account on one node that are looked at.
const MOST_PODS: usize = 200;

/// The accounts that may act for pods of their node.
#[derive(Debug)]
pub(crate) struct NodeAgents {
    api: Option<ApiServer>,
    trusted: Vec<NodeAccount>,
    known: Mutex<HashMap<String, (bool, UnixTime)>>,
}

impl NodeAgents {
    pub(crate) fn new(api: Option<ApiServer>, trusted: &[NodeAccount]) -> Self {
        Self {
            api,
            trusted: trusted.to_vec(),
            known: Mutex::default(),
        }
    }

    /// The account behind `wanted`, if the caller is the agent of a node on which a pod of that
    /// account runs: the agent's token is bound to a pod, that very pod (by UID) runs on the node,
    /// and so does a pod of the account wanted.
    ///
    /// # Errors
    /// [`Refusal::Impersonation`], or [`AttestError::Unavailable`] if the API server does not say.
    pub(crate) async fn workload(
        &self,
        agent: &Proven,
        wanted: &SpiffeId,
        mapping: &Mapping,
        now: UnixTime,
    ) -> Result<Account, AttestError> {
        let refused = |problem| {
            AttestError::from(Refusal::Impersonation {
                caller: agent.to_string(),
                wanted: wanted.clone(),
                problem,
            })
        };
        let account = agent
            .account
            .as_ref()
            .ok_or_else(|| refused("it has no account"))?;
        let is_trusted = |one: &NodeAccount| one.is(&account.namespace, &account.name);
        let api = match &self.api {
            Some(api) if self.trusted.iter().any(is_trusted) => api,
            _ => return Err(refused("it is not a trusted node account")),
        };
        let (namespace, name) = service_account(wanted, mapping)
            .ok_or_else(|| refused("it is not the identity of a pod"))?;
        let pod = account
            .pod
            .as_ref()
            .ok_or_else(|| refused("its token is not bound to a pod"))?;
        let uid = pod
            .uid
            .as_deref()
            .ok_or_else(|| refused("its token does not say which pod"))?;
        let node = self.node_of(api, account, pod, uid, now).await?;
        let node = node.ok_or_else(|| refused("its pod does not run"))?;
        let told = account.node.as_ref().map(|node| node.name.as_str());
        if told.is_some_and(|told| told != node) {
            return Err(refused("its pod runs on another node than its token says"));
        }
        if !self.runs(api, &namespace, &name, &node, now).await? {
            return Err(refused("no pod of that account runs on its node"));
        }
        Ok(Account {
            namespace,
            name,
            uid: None,
            pod: None,
            node: Some(Object {
                name: node,
                uid: account.node.as_ref().and_then(|node| node.uid.clone()),
            }),
        })
    }

    /// The node that the agent's pod runs on. What was found is remembered with the node in its name.
    async fn node_of(
        &self,
        api: &ApiServer,
        account: &Account,
        pod: &Object,
        uid: &str,
        now: UnixTime,
    ) -> Result<Option<String>, AttestError> {
        let told = account.node.as_ref().map(|node| node.name.clone());
        let key = format!("pod {}/{} {uid} {told:?}", account.namespace, pod.name);
        // Only with the node in the token can the answer be one of yes and no.
        if let (Some(told), Some(runs)) = (&told, self.remembered(&key, now)) {
            return Ok(runs.then(|| told.clone()));
        }
        let path = format!("/api/v1/namespaces/{}/pods/{}", account.namespace, pod.name);
        let found = api.get(&path).await?;
        let node = found.as_ref().filter(|found| {
            found.pointer("/metadata/uid").and_then(Value::as_str) == Some(uid)
                && is_of(found, &account.namespace, &account.name)
        });
        let node = node.and_then(running_on);
        self.remember(key, node.is_some() && node == told, now);
        Ok(node)
    }

    /// Whether a pod of the service account runs on the node.
    async fn runs(
        &self,
        api: &ApiServer,
        namespace: &str,
        name: &str,
        node: &str,
        now: UnixTime,
    ) -> Result<bool, AttestError> {
        let key = format!("account {namespace}/{name} {node}");
        if let Some(runs) = self.remembered(&key, now) {
            return Ok(runs);
        }
        // Each is a name, so nothing in the query needs to be encoded.
        let path = format!(
            "/api/v1/namespaces/{namespace}/pods?limit={MOST_PODS}&resourceVersion=0&fieldSelector=\
             spec.nodeName%3D{node},spec.serviceAccountName%3D{name},status.phase!%3DFailed,\
             status.phase!%3DSucceeded"
        );
        let found = api.get(&path).await?;
        let items = found
            .as_ref()
            .and_then(|found| found.get("items")?.as_array());
        let runs = items.is_some_and(|pods| {
            let is_one = |pod: &Value| {
                is_of(pod, namespace, name) && running_on(pod).as_deref() == Some(node)
            };
            pods.iter().any(is_one)
        });
        self.remember(key, runs, now);
        Ok(runs)
    }

    fn remembered(&self, key: &str, now: UnixTime) -> Option<bool> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(key)
            .and_then(|(answer, until)| (now < *until).then_some(*answer))
    }

    fn remember(&self, key: String, answer: bool, now: UnixTime) {
        let seconds = if answer {
            FOUND_SECONDS
        } else {
            NOT_FOUND_SECONDS
        };
        let until = now.plus_secs(seconds).unwrap_or(now);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_REMEMBERED {
            known.clear();
        }
        known.insert(key, (answer, until));
    }
}

/// Namespace and account of an identity. Only Istio's form says them; of a template they cannot be
/// told.
fn service_account(wanted: &SpiffeId, mapping: &Mapping) -> Option<(String, String)> {
    let Mapping::Istio(trust_domain) = mapping else {
        return None;
    };
    let mut parts = wanted.path().split('/').skip(1);
    let parts = (
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next(),
    );
    match parts {
        ("ns", namespace, "sa", name, None)
            if wanted.is_member_of(trust_domain) && is_name(namespace) && is_name(name) =>
        {
            Some((namespace.to_owned(), name.to_owned()))
        }
        _ => None,
    }
}

/// Whether a pod is of a service account.
fn is_of(pod: &Value, namespace: &str, name: &str) -> bool {
    let text = |pointer| pod.pointer(pointer).and_then(Value::as_str);
    text("/metadata/namespace") == Some(namespace) && text("/spec/serviceAccountName") == Some(name)
}

/// The node of a pod that has not ended. One that waits for its images has not, and needs its
/// identity as soon as it starts.
fn running_on(pod: &Value) -> Option<String> {
    let phase = pod.pointer("/status/phase").and_then(Value::as_str);
    let node = pod.pointer("/spec/nodeName").and_then(Value::as_str);
    match phase {
        Some("Pending" | "Running") => node.filter(|node| is_name(node)).map(ToOwned::to_owned),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use identity::TrustDomain;

    use super::*;

    #[test]
    fn only_istios_form_names_a_pods_account() {
        let istio = Mapping::Istio(TrustDomain::new("example.org").unwrap());
        let account = |id: &str| service_account(&SpiffeId::new(id).unwrap(), &istio);
        let found = account("spiffe://example.org/ns/payments/sa/api");
        assert_eq!(found, Some(("payments".to_owned(), "api".to_owned())));
        for other in [
            "spiffe://other.org/ns/payments/sa/api",
            "spiffe://example.org/ns/payments/sa/api/more",
            "spiffe://example.org/ns/payments/sa",
            "spiffe://example.org/sa/api/ns/payments",
            "spiffe://example.org/ns/Payments/sa/api",
            "spiffe://example.org/countersign/authority",
        ] {
            assert_eq!(account(other), None, "{other}");
        }
    }

    #[test]
    fn a_pod_that_ended_runs_nowhere() {
        let pod = |phase: &str| serde_json::json!({"spec": {"nodeName": "n1"}, "status": {"phase": phase}});
        assert_eq!(running_on(&pod("Running")).as_deref(), Some("n1"));
        assert_eq!(running_on(&pod("Pending")).as_deref(), Some("n1"));
        for ended in ["Failed", "Succeeded", "Unknown", ""] {
            assert_eq!(running_on(&pod(ended)), None);
        }
        assert_eq!(
            running_on(&serde_json::json!({"status": {"phase": "Pending"}})),
            None
        );
    }
}
