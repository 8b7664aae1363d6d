//! Every bootstrap among `envoy-config`'s golden files is loaded by real Envoys (`--mode validate`): those of a
//! release line by every Envoy here of at least that line.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use envoy_config::EnvoyVersion;
use lab::envoy::{Binary, Places, validate};

use crate::support::{Pki, wasm_module};

struct Golden {
    path: PathBuf,
    envoy: EnvoyVersion,
    yaml: String,
}

fn goldens() -> Vec<Golden> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy-config/tests/golden");
    let mut found = Vec::new();
    for case in fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
    {
        if !case.is_dir() {
            continue;
        }
        for path in fs::read_dir(case)
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            let name = path.file_stem().unwrap().to_str().unwrap();
            if let Some(version) = name
                .strip_prefix("envoy-")
                .and_then(|text| text.parse().ok())
            {
                let yaml = fs::read_to_string(&path).unwrap();
                found.push(Golden {
                    envoy: version,
                    yaml,
                    path,
                });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

async fn check(golden: &Golden, binary: &Binary, dir: &Path) {
    let yaml = golden
        .yaml
        .replace("/golden/", &format!("{}/", dir.display()));
    let file = dir.join("bootstrap.yaml");
    fs::write(&file, yaml).unwrap();
    if let Err(error) = validate(binary, &file).await {
        panic!("{}: {error}", golden.path.display());
    }
}

/// Loads every case with our filter, or every one without it, into each Envoy here that is new enough. Of a case for
/// which there is none, it is said that it was not loaded.
async fn load(with_filter: bool) {
    let binaries = Places::of_this_process().all().unwrap();
    let pki = Pki::new();
    pki.leaf("leaf", "httpbin");
    if with_filter {
        fs::copy(wasm_module(), pki.dir().join("countersign_filter.wasm")).unwrap();
    }
    let mut loaded = 0;
    for golden in goldens() {
        if golden.yaml.contains(".wasm.v3.Wasm") != with_filter {
            continue;
        }
        let mut able = binaries
            .iter()
            .filter(|binary| binary.version() >= golden.envoy)
            .peekable();
        if able.peek().is_none() {
            let path = golden.path.display();
            let said = format!("NOT RUN: no Envoy here is new enough for {path}\n");
            // Past the harness, which keeps to itself what passing tests print.
            std::io::stderr().write_all(said.as_bytes()).unwrap();
        }
        for binary in able {
            check(&golden, binary, pki.dir()).await;
            loaded += 1;
        }
    }
    assert!(loaded >= 8, "only {loaded} loads");
}

#[tokio::test]
async fn bootstraps_without_the_filter_are_accepted() {
    load(false).await;
}

#[tokio::test]
async fn bootstraps_with_the_filter_are_accepted() {
    load(true).await;
}

/// The control: what these tests look for can fail.
#[tokio::test]
async fn a_bootstrap_with_an_unknown_field_is_refused() {
    let binary = lab::envoy::find().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bootstrap.yaml");
    fs::write(&file, "static_resources: {listenerz: []}\n").unwrap();
    let error = validate(&binary, &file).await.unwrap_err().to_string();
    assert!(error.contains("listenerz"), "{error}");
}
