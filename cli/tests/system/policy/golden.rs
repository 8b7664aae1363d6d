//! What the commands print, kept in `golden`. `UPDATE_GOLDEN=1` rewrites the files; the difference is to be read.

use std::fs;
use std::path::Path;

use super::{DATA, EXAMPLE, WORKLOAD};
use crate::world::{Home, Outcome};

/// Compares what was printed with the file of this name.
#[track_caller]
fn same(name: &str, printed: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/system/policy/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, printed).unwrap();
        return;
    }
    let kept = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; UPDATE_GOLDEN=1 writes it", path.display()));
    assert!(
        kept == printed,
        "{} differs, UPDATE_GOLDEN=1 rewrites it; now:\n{printed}",
        path.display()
    );
}

/// Every line fits a screen, but for names that are longer themselves.
#[track_caller]
fn fits(text: &str) {
    for line in text.lines() {
        assert!(
            line.chars().count() <= 80,
            "{} columns: {line}",
            line.chars().count()
        );
    }
}

async fn said(line: &str) -> Outcome {
    Home::new().line(&format!("policy {line}")).await
}

#[tokio::test]
async fn check() {
    let table = said(&format!("check {EXAMPLE}/policies")).await.done();
    fits(&table.stdout);
    same("check.txt", &table.stdout);
    let bad = format!("check {DATA}/bad.yaml");
    same("check-bad.txt", &said(&bad).await.fails(&[]).message());
    for format in ["json", "yaml"] {
        let outcome = said(&format!("{bad} -o {format}")).await;
        let outcome = outcome.fails(&["7 problems in 1 file"]);
        same(&format!("check-bad.{format}"), &outcome.stdout);
    }
}

#[tokio::test]
async fn lint() {
    let weak = format!("lint {DATA}/weak.yaml --trust-domain cluster.local");
    for format in ["table", "json", "yaml", "github"] {
        let outcome = said(&format!("{weak} --format {format}")).await;
        let outcome = outcome.fails(&["findings"]);
        if format == "table" {
            fits(&outcome.stdout);
        }
        same(&format!("lint.{format}"), &outcome.stdout);
    }
    let clean = format!("lint {EXAMPLE}/policies --trust-domain cluster.local");
    let clean = said(&clean).await.done().stdout;
    assert_eq!(clean, "4 policies, nothing found\n");
}

#[tokio::test]
async fn findings_fail_from_the_severity_that_is_asked_for() {
    let weak = format!("lint {DATA}/weak.yaml");
    said(&format!("{weak} --fail-on never")).await.done();
    let all = "--allow shadowed-rule --allow value-never-matches --allow literal-star --allow allows-without-identity";
    said(&format!("{weak} {all}")).await.done();
    let notes = said(&format!("{weak} {all} --fail-on note")).await;
    notes.fails(&["1 finding"]);
    let unknown = said(&format!("{weak} --allow nothing-of-that-name")).await;
    unknown.misused(&["nothing-of-that-name", "shadowed-rule"]);
    // What does not compile fails whatever is asked for.
    let bad = said(&format!("lint {DATA}/bad.yaml --fail-on never")).await;
    bad.fails(&["7 findings"]);
}

#[tokio::test]
async fn tests() {
    let passing = format!("test {EXAMPLE}/tests --min-coverage 100");
    let passing = said(&passing).await.done();
    fits(&passing.stdout);
    same("test.txt", &passing.stdout);
    let home = Home::new();
    let junit = home.path("report.xml");
    for format in ["table", "json", "yaml", "tap"] {
        let line = format!(
            "policy test {DATA}/failing.yaml --coverage --format {format} --junit {}",
            junit.display()
        );
        let outcome = home.line(&line).await.fails(&["2 of 3 cases failed"]);
        if format == "table" {
            fits(&outcome.stdout);
        }
        same(&format!("test-failing.{format}"), &outcome.stdout);
    }
    same("test-failing.xml", &fs::read_to_string(junit).unwrap());
}

#[tokio::test]
async fn coverage_below_the_bound_fails() {
    let one = format!("test {EXAMPLE}/tests/admin.yaml --only shop --min-coverage 25");
    said(&one).await.done();
    let more = format!("test {EXAMPLE}/tests/admin.yaml --only shop --min-coverage 26");
    let outcome = said(&more).await;
    outcome.fails(&["1 of 4 rules matched a request (25 %), at least 26 %"]);
    said("test x --min-coverage 101")
        .await
        .misused(&["101", "0..=100"]);
}

#[tokio::test]
async fn explain() {
    let home = Home::new();
    let claims = home.write("claims.json", r#"{"iss": "x", "role": "intern"}"#);
    let line = format!(
        "explain {EXAMPLE}/policies {WORKLOAD} --peer spiffe://cluster.local/ns/support/sa/desk --path /orders/7 --host orders.shop:8080 -H x-trace=1 --claims {}",
        claims.display()
    );
    for format in ["table", "json", "yaml"] {
        let outcome = said(&format!("{line} -o {format}")).await.done();
        if format == "table" {
            fits(&outcome.stdout);
        }
        same(&format!("explain.{format}"), &outcome.stdout);
    }
    // The same from a file, of which an option changes one thing.
    let request = "peer: spiffe://cluster.local/ns/support/sa/desk\nhost: orders.shop:8080\npath: /orders/8\nheaders: [[x-trace, '1']]\nclaims: {iss: x, role: intern}\n";
    let request = home.write("request.yaml", request);
    let from_file = format!(
        "explain {EXAMPLE}/policies {WORKLOAD} --request {} --path /orders/7",
        request.display()
    );
    same("explain.table", &said(&from_file).await.done().stdout);
}

#[tokio::test]
async fn explain_says_why_no_rule_applies() {
    let quickstart = "../examples/quickstart/allow-sleep.yaml";
    let outcome = said(&format!("explain {quickstart}")).await.done();
    assert!(
        outcome.stdout.starts_with("ALLOW  no_policy\n"),
        "{outcome:?}"
    );
    assert!(outcome.stdout.contains("try -l app=httpbin"), "{outcome:?}");
    let outcome = said(&format!("explain {quickstart} -l app=httpbin"))
        .await
        .done();
    assert!(
        outcome.stdout.starts_with("DENY  no_allow_matched\n"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn diff() {
    let sets = format!("diff {EXAMPLE}/policies {DATA}/new {WORKLOAD}");
    for format in ["table", "json", "yaml"] {
        let line = format!("{sets} --decision-log {DATA}/decisions.log -o {format}");
        let outcome = said(&line).await.done();
        if format == "table" {
            fits(&outcome.stdout);
        }
        same(&format!("diff.{format}"), &outcome.stdout);
    }
    let tests = format!("{sets} --tests {EXAMPLE}/tests");
    let tests = said(&tests).await.done();
    fits(&tests.stdout);
    same("diff-tests.txt", &tests.stdout);
}
