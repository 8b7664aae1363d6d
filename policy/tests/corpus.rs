//! Runs every file of the corpus natively.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and reads its files"
)]

#[path = "corpus/mint.rs"]
mod mint;

use std::{fs, path::PathBuf};

use policy::corpus::{CasePeer, Expectation, ExpectedShadow, File};

fn files() -> Vec<(String, File)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut names: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).unwrap();
            let file = File::parse(&name, &text).unwrap_or_else(|error| panic!("{error}"));
            (name, file)
        })
        .collect()
}

#[test]
fn every_case_is_decided_as_expected() {
    let mut wrong = Vec::new();
    for (name, file) in files() {
        let set = file
            .compile()
            .unwrap_or_else(|errors| panic!("{name}: {errors:#?}"));
        for case in &file.cases {
            let peer = case.peer.to_peer();
            let mut request = case.request(&peer);
            let svid = match &case.peer {
                CasePeer::Workload(id) => case.certificate.as_ref().map(|c| mint::svid(id, c)),
                CasePeer::Plaintext | CasePeer::CertificateMissing => None,
            };
            request.certificate = svid.as_ref();
            request.now = Some(mint::NOW);
            if let Some(expected) = &case.shadow {
                let found = ExpectedShadow::of(&set.shadow(&request));
                if found != *expected {
                    let case = &case.name;
                    wrong.push(format!(
                        "{name}: {case}: shadow\n  expected {expected:?}\n  found    {found:?}"
                    ));
                }
            }
            let explanation = set.explain(&request);
            let found = Expectation::of(&explanation.decision);
            assert_eq!(
                explanation.decision,
                set.decide(&request),
                "{name}: {}",
                case.name
            );
            if found != case.expect {
                let expected = &case.expect;
                wrong.push(format!(
                    "{name}: {}\n  expected {expected:?}\n  found    {found:?}\n{explanation}",
                    case.name
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cases differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn the_corpus_is_all_there() {
    let files = files();
    let cases: usize = files.iter().map(|(_, file)| file.cases.len()).sum();
    assert!(files.len() >= 42, "{} files", files.len());
    assert!(cases >= 330, "{cases} cases");
    let reasons: std::collections::BTreeSet<&str> = files
        .iter()
        .flat_map(|(_, file)| &file.cases)
        .map(|case| case.expect.reason.as_str())
        .collect();
    let all = [
        "certificate_missing",
        "matched_allow",
        "matched_deny",
        "mtls_required",
        "no_allow_matched",
        "no_policy",
        "path_not_normalized",
    ];
    assert!(reasons.iter().copied().eq(all), "{reasons:?}");
}

#[test]
fn the_filter_gets_the_same_policies() {
    for (name, file) in files() {
        let config = file.plugin_config(Default::default());
        let text = config.to_json().unwrap();
        let read = policy::config::PluginConfig::from_json(text.as_bytes()).unwrap();
        assert_eq!(read, config, "{name}");
        // The only problem is the trust that the caller brings.
        let errors = policy::config::compile(&read).unwrap_err();
        assert_eq!(errors.len(), 1, "{name}: {errors:?}");
        assert_eq!(errors[0].path, "trust", "{name}");
    }
}
