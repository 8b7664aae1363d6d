//! The policy-test runner: what it takes, what it refuses, and what it reports.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod certificates;
mod corpus;
mod refused;
mod reports;

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;
use wasm_tests::runner::{FileReport, Problem, TestFile, run};

/// A policy that lets `sleep` GET, and one that denies `/admin`.
const POLICIES: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: web, namespace: default}
spec:
  rules:
  - from: [{source: {principals: [cluster.local/ns/default/sa/sleep]}}]
    to: [{operation: {methods: [GET]}}]
  - to: [{operation: {paths: [/health]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: admin, namespace: default}
spec:
  action: DENY
  rules:
  - to: [{operation: {paths: [/admin*]}}]
";

/// A folder with a test file, and `policies.yaml` beside it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("policies.yaml", POLICIES);
        folder
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn test(&self, text: &str) -> Result<TestFile, Vec<Problem>> {
        TestFile::read(&self.write("test.yaml", text))
    }
}

/// The report of a test file beside [`POLICIES`].
fn report(cases: &str) -> FileReport {
    let folder = Folder::new();
    let test = folder.test(&format!("policyFiles: [policies.yaml]\ncases:\n{cases}"));
    let test = test.unwrap_or_else(|problems| panic!("{}", said(&problems)));
    run(&test).unwrap_or_else(|problems| panic!("{}", said(&problems)))
}

fn said(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
