//! Policies in YAML: read, compiled for a workload, and asked about some requests.

#![no_main]

use std::collections::BTreeSet;
use std::sync::LazyLock;

use identity::{SpiffeId, TrustDomain};
use libfuzzer_sys::fuzz_target;
use policy::path::PathNormalization;
use policy::yaml::PolicyFiles;
use policy::{Decision, Peer, PeerFault, Protocol, Request, Scope, WorkloadKind, WorkloadScope};

static PEERS: LazyLock<[Peer; 2]> = LazyLock::new(|| {
    let id = SpiffeId::new("spiffe://cluster.local/ns/default/sa/sleep").unwrap();
    [Peer::Plaintext, Peer::Workload(id.into())]
});

static NOBODY: Peer = Peer::Unidentified(PeerFault::CertificateMissing);

fn scope(protocol: Protocol) -> Scope {
    Scope {
        workload: WorkloadScope {
            namespace: "default".to_owned(),
            labels: [("app".to_owned(), "httpbin".to_owned())].into(),
        },
        root_namespace: "istio-system".to_owned(),
        trust_domain: TrustDomain::new("cluster.local").unwrap(),
        trust_domain_aliases: Vec::new(),
        path_normalization: PathNormalization::default(),
        protocol,
        kind: WorkloadKind::Sidecar,
        targets: Vec::new(),
        custom_providers: BTreeSet::from(["provider".to_owned()]),
    }
}

fuzz_target!(|text: &str| {
    let mut files = PolicyFiles::new();
    if let Err(errors) = files.add("policies.yaml", text) {
        assert!(!errors.is_empty(), "a refusal has a reason");
        assert!(errors.iter().all(|error| !error.to_string().is_empty()));
        assert!(files.policies().is_empty(), "all or nothing");
        return;
    }
    for protocol in [Protocol::Http, Protocol::Tcp] {
        match files.compile(&scope(protocol)) {
            Err(errors) => assert!(!errors.is_empty(), "a refusal has a reason"),
            Ok(set) => {
                for peer in &*PEERS {
                    for path in ["/", "/admin/x", "//admin"] {
                        let request = Request::new(peer)
                            .with_method("GET")
                            .with_path(path)
                            .with_host("httpbin.default:8000");
                        let decision = set.decide(&request);
                        assert_eq!(decision, set.decide(&request), "the same twice");
                        let _explained = set.explain(&request);
                        let _shadow = set.shadow(&request);
                    }
                }
                let decision = set.decide(&Request::new(&NOBODY));
                assert!(
                    matches!(decision, Decision::Deny(_)),
                    "who is nobody is denied"
                );
            }
        }
    }
});
