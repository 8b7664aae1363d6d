//! What came out of a run.

use policy::corpus::ExpectedShadow;
use serde::Serialize;

use super::coverage::Coverage;
use super::expect::{Expect, Found};
use super::trace::RuleTrace;

/// All files of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The files, in the order they were run.
    pub files: Vec<FileReport>,
}

/// One test file.
#[derive(Clone, Debug)]
pub struct FileReport {
    /// Its name as given by the caller.
    pub file: String,
    /// What it shows.
    pub about: String,
    /// Its cases, in its order.
    pub cases: Vec<CaseReport>,
    /// Which of its rules matched.
    pub coverage: Coverage,
}

/// One case.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaseReport {
    /// The test file.
    pub file: String,
    /// The line the case begins at.
    pub line: Option<u64>,
    /// The case's name.
    pub name: String,
    /// What was expected.
    pub expected: Expect,
    /// What the engine says.
    pub found: Found,
    /// The same in a sentence.
    pub detail: String,
    /// What AUDIT and dry-run policies were expected to say, and say, where these differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow: Option<ShadowDifference>,
    /// Why the case is not for the built filter, as the test file says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_in_filter: Option<String>,
    /// What the built filter says; none where it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<Found>,
    /// What each rule had to say.
    pub rules: Vec<RuleTrace>,
}

/// What AUDIT and dry-run policies say, where something else was expected.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShadowDifference {
    /// What was expected.
    pub expected: String,
    /// What they say.
    pub found: String,
}

/// Why a case failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Difference {
    /// The engine does not say what was expected.
    Expectation,
    /// AUDIT and dry-run policies do not say what was expected.
    Shadow,
    /// The filter does not say what the engine says.
    Filter,
}

impl ShadowDifference {
    pub(super) fn of(expected: &ExpectedShadow, found: &ExpectedShadow) -> Self {
        let text = |shadow: &ExpectedShadow| {
            let parts = [
                ("audit", shadow.audit.clone()),
                ("dryRunDeny", shadow.dry_run_deny.clone()),
                ("dryRunAllow", shadow.dry_run_allow.clone()),
                (
                    "combined",
                    shadow
                        .combined
                        .clone()
                        .map(|it| Found::from(it).to_string()),
                ),
            ];
            let parts = parts
                .into_iter()
                .filter_map(|(name, value)| Some(format!("{name} {}", value?)));
            let parts: Vec<String> = parts.collect();
            if parts.is_empty() {
                "nothing".to_owned()
            } else {
                parts.join(", ")
            }
        };
        Self {
            expected: text(expected),
            found: text(found),
        }
    }
}

impl CaseReport {
    /// Why it failed; nothing if it passed.
    #[must_use]
    pub fn differences(&self) -> Vec<Difference> {
        let expected = (!self.expected.is_met_by(&self.found)).then_some(Difference::Expectation);
        let filter = self.filter.as_ref().filter(|filter| **filter != self.found);
        let shadow = self.shadow.as_ref().map(|_| Difference::Shadow);
        expected
            .into_iter()
            .chain(shadow)
            .chain(filter.map(|_| Difference::Filter))
            .collect()
    }

    /// Whether all is as expected.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.differences().is_empty()
    }
}

impl Report {
    /// All cases of all files.
    pub fn cases(&self) -> impl Iterator<Item = &CaseReport> {
        self.files.iter().flat_map(|file| &file.cases)
    }

    /// How many cases there are.
    #[must_use]
    pub fn total(&self) -> usize {
        self.cases().count()
    }

    /// How many of them failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.cases().filter(|case| !case.passed()).count()
    }

    /// The coverage of all files together.
    #[must_use]
    pub fn coverage(&self) -> Coverage {
        let mut all = Coverage::default();
        for file in &self.files {
            all.add(file.coverage.clone());
        }
        all
    }
}
