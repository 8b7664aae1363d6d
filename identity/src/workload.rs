//! Istio's form of a workload identity.

use std::fmt;

use crate::SpiffeId;

/// Namespace and service account of an identity in Istio's form,
/// `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Workload<'a> {
    /// The Kubernetes namespace.
    pub namespace: &'a str,
    /// The Kubernetes service account.
    pub service_account: &'a str,
}

impl<'a> Workload<'a> {
    /// Reads the path of `id`; `None` unless it is exactly `/ns/<namespace>/sa/<service account>`,
    /// with nothing after it, as Istio's own parser requires.
    #[must_use]
    pub fn of(id: &'a SpiffeId) -> Option<Self> {
        let mut segments = id.path().split('/');
        match (
            segments.next()?,
            segments.next()?,
            segments.next()?,
            segments.next()?,
            segments.next()?,
            segments.next(),
        ) {
            ("", "ns", namespace, "sa", service_account, None) => Some(Self {
                namespace,
                service_account,
            }),
            _ => None,
        }
    }
}

/// `namespace/service-account`, as Istio's `source.serviceAccounts` writes it.
impl fmt::Display for Workload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.service_account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_istios_form() {
        let id: SpiffeId = "spiffe://cluster.local/ns/default/sa/httpbin"
            .parse()
            .unwrap();
        let workload = Workload::of(&id).unwrap();
        assert_eq!(
            workload,
            Workload {
                namespace: "default",
                service_account: "httpbin"
            }
        );
        assert_eq!(workload.to_string(), "default/httpbin");
    }

    #[test]
    fn is_none_for_every_other_path() {
        for text in [
            "spiffe://cluster.local",
            "spiffe://cluster.local/ns/default",
            "spiffe://cluster.local/ns/default/sa",
            "spiffe://cluster.local/ns/default/sa/httpbin/extra",
            "spiffe://cluster.local/NS/default/sa/httpbin",
            "spiffe://cluster.local/sa/httpbin/ns/default",
            "spiffe://cluster.local/x/ns/default/sa/httpbin",
        ] {
            let id: SpiffeId = text.parse().unwrap();
            assert_eq!(Workload::of(&id), None, "{text}");
        }
    }
}
