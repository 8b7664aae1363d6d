//! `countersign issuance`: what it says of rules, and of an authority that goes by them.

use std::fs;

use crate::world::{Authority, HTTPBIN, Home, SLEEP, any_port};

const RULES: &str = "../examples/issuance/rules.yaml";
const CASES: &str = "../examples/issuance/cases.yaml";
/// The built-in rules, but nothing for one identity.
const NO_SLEEP: &str = "\
schemaVersion: 1
rules:
- id: no-sleep
  effect: deny
  when: {requestedId: [\"spiffe://cluster.local/ns/default/sa/sleep\"]}
";

#[tokio::test]
async fn the_example_compiles_without_a_warning_and_its_cases_pass() {
    let home = Home::new();
    let checked = home
        .run(["issuance", "check", "--strict", RULES])
        .await
        .done();
    assert!(
        checked.stdout.contains("4 rules compile"),
        "{}",
        checked.stdout
    );
    let tested = home.run(["issuance", "test", CASES]).await.done().stdout;
    assert!(tested.ends_with("10 cases passed\n"), "{tested}");
    let json = home.json(&format!("issuance test {CASES}")).await;
    assert_eq!((&json["total"], &json["failed"]), (&10.into(), &0.into()));
}

#[tokio::test]
async fn check_tells_every_problem_of_every_file_and_warnings() {
    let home = Home::new();
    let bad = home.write(
        "bad.yaml",
        "schemaVersion: 1\nrules:\n- {id: A, effect: deny, when: {}}\n- {id: b, effect: allow, when: {}}\n",
    );
    let worse = home.write("worse.yaml", "rules: [\n");
    let odd = home.write(
        "odd.yaml",
        "schemaVersion: 1\nrules:\n- {id: all, effect: deny, when: {}}\n- {id: one, effect: deny, when: {proof: [oidc]}}\n",
    );
    let paths = [&bad, &worse, &odd].map(|path| path.to_str().unwrap());
    let checked = home
        .run(["issuance", "check"].into_iter().chain(paths))
        .await;
    checked.fails(&[
        "bad.yaml:3:8: rules[0].id: ",
        "bad.yaml:4:3: rules[1].spiffeId: is required of an allow rule",
        "worse.yaml:",
        "3 problems",
    ]);
    let strict = home.run(["issuance", "check", "--strict", paths[2]]).await;
    assert!(
        strict
            .stdout
            .contains("odd.yaml:3: warning: denies-everybody: rule all"),
        "{}",
        strict.stdout
    );
    assert!(
        strict
            .stdout
            .contains("odd.yaml:4: warning: shadowed: rule one"),
        "{}",
        strict.stdout
    );
    strict.fails(&["2 warnings"]);
    home.run(["issuance", "check", paths[2]]).await.done();
    home.run(["issuance", "check", "no-such-file.yaml"])
        .await
        .fails(&["no-such-file.yaml"]);
    home.run(["issuance", "check"]).await.misused(&["FILE"]);
}

#[tokio::test]
async fn a_case_that_fails_says_what_each_rule_wanted() {
    let home = Home::new();
    let cases = home.write(
        "cases.yaml",
        "cases:\n- name: \"<a> & b\"\n  request: {proof: operator, requestedId: spiffe://cluster.local/x}\n  \
         expect: {effect: deny, rule: builtin/join-token}\n",
    );
    let cases = cases.to_str().unwrap();
    let failed = home.run(["issuance", "test", cases]).await;
    for part in [
        "FAIL  <a> & b  (line 2)",
        "effect     expected deny, got allow",
        "rule       expected builtin/join-token, got builtin/operator",
        "allow builtin/join-token: when.proof wants join_token, seen: operator",
    ] {
        assert!(
            failed.stdout.contains(part),
            "{part:?} in {}",
            failed.stdout
        );
    }
    failed.fails(&["1 of 1 case failed"]);
    let report = home.path("report.xml");
    let arguments = [
        "issuance",
        "test",
        cases,
        "-o",
        "tap",
        "--junit",
        report.to_str().unwrap(),
    ];
    let failed = home.run(arguments).await;
    assert!(
        failed
            .stdout
            .starts_with("TAP version 14\n1..1\nnot ok 1 - "),
        "{}",
        failed.stdout
    );
    assert!(
        failed.stdout.contains("effect.expected: \"deny\""),
        "{}",
        failed.stdout
    );
    let xml = fs::read_to_string(report).unwrap();
    assert!(
        xml.contains("&lt;a&gt; &amp; b") && xml.contains("failures=\"1\""),
        "{xml}"
    );
}

#[tokio::test]
async fn explain_says_why_each_rule_does_not_apply() {
    let home = Home::new();
    let said = home
        .line(&format!(
            "issuance explain {RULES} --proof kubernetes -s k8s:ns:payments -s k8s:sa:web"
        ))
        .await
        .done()
        .stdout;
    for part in [
        "no_rule",
        "no rule allows it",
        "allow pods (line 11): when.any wants one of 2",
        "when.any[0].selectors[0]: k8s:ns:payments",
    ] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    let json = home
        .json(&format!(
            "issuance explain {RULES} --proof kubernetes -s k8s:cluster:east -s k8s:ns:payments -s k8s:sa:web"
        ))
        .await;
    assert_eq!(
        json["verdict"]["spiffeId"],
        "spiffe://cluster.local/ns/payments/sa/web"
    );
    assert_eq!(json["rules"][1]["matched"], true);
}

#[tokio::test]
async fn an_authority_goes_by_its_file_and_other_rules_are_tried_on_its_requests() {
    let home = Home::new();
    let rules = home.write("rules.yaml", NO_SLEEP);
    let serve = home.serve(any_port()).arg("--issuance-policy").arg(&rules);
    let authority = Authority::start(&serve).await;
    let out = |name| home.path(name).display().to_string();
    home.line(&format!("cert issue {HTTPBIN} --out {}", out("one")))
        .await
        .done();
    home.line(&format!("cert issue {SLEEP} --out {}", out("two")))
        .await
        .fails(&["denied_by_rule"]);

    let shown = home.json("issuance show").await;
    assert_eq!(shown["source"], rules.display().to_string());
    let requests = home.line("issuance requests").await.done().stdout;
    let file = home.write("requests.ndjson", &requests);
    assert_eq!(requests.lines().count(), 2, "{requests}");

    // Of the running authority, and of a file without one.
    let active = home.json("issuance diff active builtin --last 100").await;
    authority.stop().await;
    let written = home
        .json(&format!(
            "issuance diff {} builtin --requests {}",
            rules.display(),
            file.display()
        ))
        .await;
    assert_eq!(active, written);
    assert_eq!(active["requests"], 2);
    let change = &active["changes"][0];
    assert_eq!(
        (&change["kind"], &change["who"]),
        (&"gains".into(), &SLEEP.into())
    );
    home.line(&format!(
        "issuance diff builtin {} --requests {} --fail-on-change",
        rules.display(),
        file.display()
    ))
    .await
    .fails(&["1 change"]);
    let broken = home.write("broken.ndjson", "{\"at\": 1}\n");
    home.line(&format!(
        "issuance diff builtin builtin --requests {}",
        broken.display()
    ))
    .await
    .fails(&["broken.ndjson:1", "facts"]);
}

#[tokio::test]
async fn a_bad_file_of_rules_keeps_an_authority_from_starting_and_says_where() {
    let home = Home::new();
    let rules = home.write(
        "rules.yaml",
        NO_SLEEP.replace("effect: deny", "effect: maybe"),
    );
    let serve = home.serve(any_port()).arg("--issuance-policy").arg(&rules);
    home.finish(serve)
        .await
        .fails(&["rules.yaml:4:11: rules[0].effect"]);
}

#[tokio::test]
async fn the_schema_and_the_built_in_rules_are_printed() {
    let home = Home::new();
    let schema = home.line("issuance schema").await.done().json();
    assert_eq!(schema["title"], "PolicyFile");
    let builtin = home.line("issuance builtin").await.done().stdout;
    // What is printed can be used as a file, but for the ids, which are taken.
    let own = home.write("own.yaml", builtin.replace("builtin/", "own/"));
    let text = format!(
        "{}\nbuiltinRules: none\n",
        fs::read_to_string(&own).unwrap()
    );
    home.write("own.yaml", text);
    home.line(&format!("issuance check --strict {}", own.display()))
        .await
        .done();
}
