//! What a case of a test file says beyond one of a corpus file.

use std::collections::BTreeSet;

use identity::UnixTime;
use identity::x509::SvidProfile;
use policy::json;
use serde_json::{Map, Value, json};

use super::super::certificate::{Mint, Presented};
use super::super::expect::{Expect, word};
use super::{Reader, TestCase};

/// Most cases of one file.
const MAX_CASES: usize = 100_000;

impl Reader<'_> {
    /// Takes out of each case what a corpus file does not say so.
    pub(super) fn cases(
        &mut self,
        map: &mut Map<String, Value>,
        mut own: CaseReader<'_>,
    ) -> Vec<TestCase> {
        let Some(cases) = map.get_mut("cases").and_then(Value::as_array_mut) else {
            return Vec::new();
        };
        if cases.is_empty() {
            self.problem("cases", "has no cases");
        }
        if cases.len() > MAX_CASES {
            let problem = format!("has {} cases, the limit is {MAX_CASES}", cases.len());
            self.problem("cases", problem);
            return Vec::new();
        }
        let mut names = BTreeSet::new();
        let mut read = Vec::with_capacity(cases.len());
        for (index, case) in cases.iter_mut().enumerate() {
            let path = format!("cases[{index}]");
            let Value::Object(case) = case else { continue };
            if let Some(name) = case.get("name").and_then(Value::as_str)
                && !names.insert(name.to_owned())
            {
                self.problem(&format!("{path}.name"), "occurs twice in the file");
            }
            let line = self.document.error(&format!("{path}.name"), "").line;
            let certificate = self
                .certificate(case, &path, &mut own)
                .or_else(|| own.usual(case));
            let expect = self.expect(case, &path);
            read.push(TestCase {
                expect,
                line,
                certificate,
            });
        }
        read
    }

    /// Takes the expectation out and leaves one that the corpus' reader takes.
    fn expect(&mut self, case: &mut Map<String, Value>, path: &str) -> Expect {
        let nothing = Expect::default();
        let Some(written) = case.get_mut("expect") else {
            return nothing;
        };
        match json::shape::<Expect>(written) {
            Ok(expect) => {
                *written = json!({"verdict": word(expect.verdict), "reason": ""});
                expect
            }
            Err(error) => {
                *written = json!({"verdict": "deny", "reason": ""});
                let path = [format!("{path}.expect"), error.path].join(".");
                self.problem(path.trim_end_matches('.'), error.problem);
                nothing
            }
        }
    }
}

/// What certificates of cases are made and judged with.
pub(super) struct CaseReader<'m> {
    pub(super) profile: SvidProfile,
    pub(super) time: Option<UnixTime>,
    pub(super) mint: &'m mut Mint,
}

impl CaseReader<'_> {
    /// The certificate that a peer shows of which nothing is said but its SPIFFE ID.
    pub(super) fn usual(&mut self, case: &Map<String, Value>) -> Option<Presented> {
        let id = case.get("peer").and_then(Value::as_str)?;
        if !id.starts_with("spiffe://") {
            return None;
        }
        // An ID that no certificate can have is the corpus reader's business.
        let made = self.mint.usual(id, self.profile).ok()?;
        made.checked.is_ok().then_some(made)
    }
}
