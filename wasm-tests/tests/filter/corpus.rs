//! The policy corpus through the built filter: the same verdict, reason and rule as natively.

use std::fs;
use std::path::{Path, PathBuf};

use policy::Protocol;
use policy::config::AllowedLog;
use policy::corpus::{Expectation, File};
use wasm_tests::fixtures::NOW;
use wasm_tests::host::{Plugin, World};

use crate::cases::{Peers, through_the_filter, through_the_tcp_filter};

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

#[test]
fn the_filter_decides_every_case_as_the_native_engine_does() {
    let mut cases = 0;
    let mut left_out = 0;
    let mut differences = Vec::new();
    for (name, file) in corpus() {
        if let Some(reason) = &file.native {
            left_out += file.cases.len();
            println!("{name}: {} cases left out: {reason}", file.cases.len());
            continue;
        }
        let native = file
            .compile()
            .unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        let peers = Peers::of(&[&file]);
        let mut config = file.plugin_config(peers.trust(&file));
        config.decision_log.allowed = AllowedLog::All;
        let mut plugin = Plugin::start(&World::at(NOW)).expect("the filter starts");
        let accepted = plugin
            .configure(config.to_json().expect("JSON"))
            .expect("no trap");
        assert!(accepted, "{name}: {:?}", plugin.log());
        for case in &file.cases {
            if let Some(reason) = &case.native {
                left_out += 1;
                println!("{name}: {} left out: {reason}", case.name);
                continue;
            }
            cases += 1;
            let peer = case.peer.to_peer();
            let wanted = Expectation::of(&native.decide(&case.request(&peer)));
            let through = match file.scope.protocol {
                Protocol::Http => through_the_filter,
                Protocol::Tcp => through_the_tcp_filter,
            };
            let found = through(&mut plugin, &peers, case);
            if found != wanted || found != case.expect {
                differences.push(format!(
                    "{name}: {}: filter {found:?}, native {wanted:?}, expected {:?}",
                    case.name, case.expect
                ));
            }
        }
    }
    println!("{cases} cases, {left_out} left out");
    assert!(cases > 290, "only {cases} cases in the corpus");
    assert!(
        differences.is_empty(),
        "{} of {cases}:\n{}",
        differences.len(),
        differences.join("\n")
    );
}
