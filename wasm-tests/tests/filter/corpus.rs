//! The policy corpus through the built filter: the same verdict, reason and rule as natively.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use policy::config::{AllowedLog, TrustEntry};
use policy::corpus::{Case, CasePeer, Expectation, File, Verdict};
use wasm_tests::fixtures::NOW;
use wasm_tests::fixtures::ca::{Authority, Leaf};
use wasm_tests::fixtures::traffic::{mutual_tls, plaintext};
use wasm_tests::host::{Headers, Outcome, Plugin, Properties, World};

use crate::support::last_decision;

fn corpus() -> Vec<(String, File)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy/corpus");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("readable").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no *.yaml in {folder:?}");
    let parse = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(path).expect("readable");
        let file = File::parse(&name, &text).unwrap_or_else(|error| panic!("{error}"));
        (name, file)
    };
    paths.iter().map(parse).collect()
}

/// Certificates for the peers of a file, all of one authority that every trust domain trusts.
struct Peers {
    authority: Authority,
    leaves: BTreeMap<String, Leaf>,
}

impl Peers {
    fn of(file: &File) -> Self {
        let authority = Authority::new(NOW);
        let ids = file.cases.iter().filter_map(|case| match &case.peer {
            CasePeer::Workload(id) => Some(id.to_string()),
            CasePeer::Plaintext | CasePeer::CertificateMissing => None,
        });
        let leaves = ids.map(|id| (id.clone(), authority.svid(&id))).collect();
        Self { authority, leaves }
    }

    fn trust(&self, file: &File) -> BTreeMap<String, TrustEntry> {
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
        let source = std::net::SocketAddr::new(case.source_ip, case.source_port);
        let destination = std::net::SocketAddr::new(case.destination_ip, case.destination_port);
        let connection = connection
            .without("connection.requested_server_name")
            .with("source.address", source.to_string())
            .with("destination.address", destination.to_string())
            .with("destination.port", i64::from(case.destination_port));
        match &case.sni {
            Some(name) => connection.with("connection.requested_server_name", name.as_str()),
            None => connection,
        }
    }
}

/// What the filter makes of a case.
fn through_the_filter(plugin: &mut Plugin, peers: &Peers, case: &Case) -> Expectation {
    let stream = plugin.open(peers.properties(case)).expect("no trap");
    let headers = Headers::new(&case.header_map());
    let outcome = plugin
        .request_headers(stream, &headers, true)
        .expect("no trap");
    plugin.close(stream).expect("no trap");
    let decision = last_decision(plugin);
    let allowed = outcome == Outcome::Continued;
    assert!(
        allowed || outcome.status() == Some(403),
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

#[test]
fn the_filter_decides_every_case_as_the_native_engine_does() {
    let mut cases = 0;
    let mut differences = Vec::new();
    for (name, file) in corpus() {
        let native = file
            .compile()
            .unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        let peers = Peers::of(&file);
        let mut config = file.plugin_config(peers.trust(&file));
        config.decision_log.allowed = AllowedLog::All;
        let mut plugin = Plugin::start(&World::at(NOW)).expect("the filter starts");
        let accepted = plugin
            .configure(config.to_json().expect("JSON"))
            .expect("no trap");
        assert!(accepted, "{name}: {:?}", plugin.log());
        for case in &file.cases {
            cases += 1;
            let peer = case.peer.to_peer();
            let wanted = Expectation::of(&native.decide(&case.request(&peer)));
            let found = through_the_filter(&mut plugin, &peers, case);
            if found != wanted || found != case.expect {
                differences.push(format!(
                    "{name}: {}: filter {found:?}, native {wanted:?}, expected {:?}",
                    case.name, case.expect
                ));
            }
        }
    }
    assert!(cases > 30, "only {cases} cases in the corpus");
    assert!(
        differences.is_empty(),
        "{} of {cases}:\n{}",
        differences.len(),
        differences.join("\n")
    );
}
