//! Cases of the corpus' form, put to the built filter.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use policy::config::TrustEntry;
use policy::corpus::{Case, CasePeer, Expectation, File, Verdict};
use wasm_tests::fixtures::NOW;
use wasm_tests::fixtures::ca::{Authority, Leaf};
use wasm_tests::fixtures::traffic::{DIRECT_ADDRESS, mutual_tls, plaintext};
use wasm_tests::host::{Headers, Outcome, Plugin, Properties};

use crate::support::last_decision;

/// Certificates for the peers of a file, all of one authority that every trust domain trusts.
pub(crate) struct Peers {
    authority: Authority,
    leaves: BTreeMap<String, Leaf>,
}

impl Peers {
    pub(crate) fn of(files: &[&File]) -> Self {
        let authority = Authority::new(NOW);
        let ids = files
            .iter()
            .flat_map(|file| &file.cases)
            .filter_map(|case| match &case.peer {
                CasePeer::Workload(id) => Some(id.to_string()),
                CasePeer::Plaintext | CasePeer::CertificateMissing => None,
            });
        let leaves = ids.map(|id| (id.clone(), authority.svid(&id))).collect();
        Self { authority, leaves }
    }

    pub(crate) fn trust(&self, file: &File) -> BTreeMap<String, TrustEntry> {
        let domain = |id: &String| {
            id.trim_start_matches("spiffe://")
                .split('/')
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let own = std::iter::once(file.scope.trust_domain.clone());
        let entry = serde_json::json!({"issuers": [self.authority.intermediate_pem]});
        let entry: TrustEntry = serde_json::from_value(entry).expect("an issuer");
        own.chain(self.leaves.keys().map(domain))
            .map(|name| (name, entry.clone()))
            .collect()
    }

    fn properties(&self, case: &Case) -> Properties {
        let connection = match &case.peer {
            CasePeer::Plaintext => plaintext(),
            CasePeer::Workload(id) => mutual_tls(&self.leaves[&id.to_string()]),
            CasePeer::CertificateMissing => plaintext().with("connection.mtls", true),
        };
        let source = SocketAddr::new(case.source_ip, case.source_port);
        let destination = SocketAddr::new(case.destination_ip, case.destination_port);
        let remote = case.remote_ip.unwrap_or(case.source_ip);
        let mut connection = connection
            .without("connection.requested_server_name")
            .with("source.address", source.to_string())
            .with_path(&DIRECT_ADDRESS, source.ip().to_string())
            .with_path(
                &["filter_state", "countersign.remote_address"],
                remote.to_string(),
            )
            .with("destination.address", destination.to_string())
            .with("destination.port", i64::from(case.destination_port));
        if let Some(claims) = &case.claims {
            let payload = ["filter_state", "countersign.jwt_payload"];
            connection = connection.with_path(&payload, claims.to_string());
        }
        match &case.sni {
            Some(name) => connection.with("connection.requested_server_name", name.as_str()),
            None => connection,
        }
    }
}

/// What the filter makes of a case.
pub(crate) fn through_the_filter(plugin: &mut Plugin, peers: &Peers, case: &Case) -> Expectation {
    let stream = plugin.open(peers.properties(case)).expect("no trap");
    let headers = Headers::new(&case.header_map());
    let outcome = plugin
        .request_headers(stream, &headers, true)
        .expect("no trap");
    plugin.close(stream).expect("no trap");
    decided(plugin, case, &outcome)
}

/// What the filter makes of a connection of a case.
pub(crate) fn through_the_tcp_filter(
    plugin: &mut Plugin,
    peers: &Peers,
    case: &Case,
) -> Expectation {
    let outcome = plugin
        .connect_and_send(peers.properties(case))
        .expect("no trap");
    decided(plugin, case, &outcome)
}

fn decided(plugin: &Plugin, case: &Case, outcome: &Outcome) -> Expectation {
    let decision = last_decision(plugin);
    let allowed = *outcome == Outcome::Continued;
    assert!(
        allowed || *outcome == Outcome::Reset || outcome.status() == Some(403),
        "{}: {outcome:?}",
        case.name
    );
    assert_eq!(
        decision["verdict"] == "allow",
        allowed,
        "log and deed differ: {}",
        case.name
    );
    Expectation {
        verdict: if allowed {
            Verdict::Allow
        } else {
            Verdict::Deny
        },
        reason: decision["reason"].as_str().expect("a reason").to_owned(),
        policy: decision["policy"].as_str().map(str::to_owned),
    }
}
