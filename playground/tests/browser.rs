//! The page in a real browser: what is typed is decided, and nothing leaves the page.
//!
//! Needs Chromium and the built page; `just playground-test` runs these, and fails without them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod browser {
    pub(crate) mod chromium;
}

use std::path::{Path, PathBuf};

use browser::chromium::{Chromium, Page};
use serde_json::json;

fn built() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/playground");
    let page = folder.join("index.html");
    assert!(
        page.is_file(),
        "{} is not there: just playground builds it",
        page.display()
    );
    page.canonicalize().unwrap()
}

fn open() -> (Chromium, Page) {
    let mut chromium = Chromium::start();
    let page = chromium.open(&format!("file://{}", built().display()));
    chromium.wait(
        &page,
        "document.getElementById('answer').className !== 'waiting'",
    );
    (chromium, page)
}

fn verdict(chromium: &mut Chromium, page: &Page) -> String {
    chromium.text(page, "document.getElementById('verdict').textContent")
}

#[test]
#[ignore = "needs Chromium and target/playground; just playground-test"]
fn what_is_typed_is_decided() {
    let (mut chromium, page) = open();
    // The example asks for DELETE, which nothing allows.
    assert_eq!(verdict(&mut chromium, &page), "DENY");
    let rules = chromium.text(&page, "document.getElementById('rules').textContent");
    assert!(
        rules.contains("spec.rules[0].to[0].operation.methods"),
        "{rules}"
    );
    assert!(
        rules.contains("GET, POST") && rules.contains("DELETE"),
        "{rules}"
    );

    // With the keyboard: focus, select all, type.
    let request = "peer: spiffe://cluster.local/ns/default/sa/sleep\npath: /get\n";
    chromium.retype(&page, "request", request);
    chromium.wait(
        &page,
        "document.getElementById('verdict').textContent === 'ALLOW'",
    );
    let detail = chromium.text(&page, "document.getElementById('detail').textContent");
    assert!(
        detail.contains("ns[default]-policy[allow-sleep]-rule[0]"),
        "{detail}"
    );

    // Another policy turns it round.
    let deny = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: none, namespace: default}\nspec: {action: DENY, rules: [{}]}\n";
    chromium.retype(&page, "policies", deny);
    chromium.wait(
        &page,
        "document.getElementById('verdict').textContent === 'DENY'",
    );
    let detail = chromium.text(&page, "document.getElementById('detail').textContent");
    assert!(
        detail.contains("ns[default]-policy[none]-rule[0]"),
        "{detail}"
    );
}

#[test]
#[ignore = "needs Chromium and target/playground; just playground-test"]
fn problems_are_named_and_lead_to_their_place() {
    let (mut chromium, page) = open();
    let bad = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: <b>x</b>, namespace: default}\nspec:\n  rule: []\n  rules:\n  - form: []\n";
    chromium.retype(&page, "policies", bad);
    chromium.wait(
        &page,
        "document.querySelectorAll('#problems button').length === 2",
    );
    assert_eq!(verdict(&mut chromium, &page), "NO ANSWER");
    let problem = chromium.text(
        &page,
        "document.querySelector('#problems button').textContent",
    );
    assert!(
        problem.starts_with(
            "policies 5:3 AuthorizationPolicy default/<b>x</b>: spec.rule: unknown field"
        ),
        "{problem}"
    );
    // What is typed is never taken as HTML.
    let elements = chromium.evaluate(
        &page,
        "document.querySelectorAll('#problems button > b').length",
    );
    assert_eq!(elements, json!(2));
    chromium.evaluate(
        &page,
        "document.querySelectorAll('#problems button')[1].click()",
    );
    let selected = chromium.text(
        &page,
        "(() => { const e = document.activeElement; return e.id + ':' + e.value.slice(e.selectionStart, e.selectionEnd); })()",
    );
    assert_eq!(selected, "policies:form: []");
    chromium.retype(&page, "request", "peer: nobody\n");
    chromium.wait(&page, "[...document.querySelectorAll('#problems b')].some((b) => b.textContent.startsWith('request'))");
}

#[test]
#[ignore = "needs Chromium and target/playground; just playground-test"]
fn every_example_has_an_answer() {
    let (mut chromium, page) = open();
    let names = chromium.evaluate(
        &page,
        "[...document.getElementById('example').options].map((o) => o.value)",
    );
    let names: Vec<String> = serde_json::from_value(names).unwrap();
    assert!(names.len() >= 3, "{names:?}");
    for name in names {
        let choose = format!(
            "(() => {{ const e = document.getElementById('example'); e.value = {}; e.dispatchEvent(new Event('change')); }})()",
            json!(name)
        );
        chromium.evaluate(&page, &choose);
        let said = verdict(&mut chromium, &page);
        assert!(["ALLOW", "DENY"].contains(&said.as_str()), "{name}: {said}");
    }
}

#[test]
#[ignore = "needs Chromium and target/playground; just playground-test"]
fn everything_can_be_reached_by_keyboard() {
    let (mut chromium, page) = open();
    chromium.evaluate(&page, "document.activeElement.blur()");
    let mut reached = Vec::new();
    for _ in 0..4 {
        chromium.tab(&page);
        reached.push(chromium.text(&page, "document.activeElement.id"));
    }
    assert_eq!(reached, ["example", "theme", "policies", "request"]);
}

#[test]
#[ignore = "needs Chromium and target/playground; just playground-test"]
fn nothing_is_fetched_and_both_themes_are_there() {
    let (mut chromium, page) = open();
    let folder = built().parent().unwrap().to_owned();
    for theme in ["light", "dark"] {
        chromium.prefer(&page, theme);
        chromium.wait(
            &page,
            &format!("document.documentElement.dataset.theme === '{theme}'"),
        );
        chromium.screenshot(&page, &folder.join(format!("screenshot-{theme}.png")));
    }
    let fetched = chromium.requests();
    assert!(!fetched.is_empty(), "the page itself is a request");
    assert!(
        fetched
            .iter()
            .all(|url| url.starts_with("file://") && url.ends_with("index.html")),
        "{fetched:?}"
    );
    // The page's own rule forbids it, whatever a script wants.
    let refused = chromium.text(
        &page,
        "fetch('http://127.0.0.1:1/').then(() => 'fetched', (error) => 'refused: ' + error)",
    );
    assert!(refused.starts_with("refused: "), "{refused}");
    assert!(chromium.errors().iter().all(|error| error.contains("Content Security Policy") || error.contains("127.0.0.1:1")), "{:?}", chromium.errors());
}
