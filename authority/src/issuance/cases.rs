//! Tests of rules: facts of a request, and what is to become of it.

use std::collections::BTreeMap;

use identity::{SpiffeId, TrustDomain, UnixTime};
use serde::{Deserialize, Serialize};

use crate::issuance::at::At;
use crate::issuance::compile::MAX_FILE_BYTES;
use crate::issuance::decide::{Allowed, Limits};
use crate::issuance::denial::Denial;
use crate::issuance::explain::RuleTrace;
use crate::issuance::facts::Facts;
use crate::issuance::problem::Problem;
use crate::issuance::rule::{Effect, Policy, Profile};
use crate::issuance::{source, window};

/// A file of test cases.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaseFile {
    /// The file of rules, relative to this one; the built-in rules if not given.
    #[serde(default)]
    pub policy: Option<String>,
    /// The trust domain.
    #[serde(default = "default_trust_domain")]
    pub trust_domain: String,
    /// The authority's lifetime where nothing is asked for, in seconds.
    #[serde(default = "default_ttl")]
    pub default_ttl_seconds: i64,
    /// The authority's longest lifetime, in seconds.
    #[serde(default = "max_ttl")]
    pub max_ttl_seconds: i64,
    /// When the requests come, RFC 3339, where a case does not say.
    #[serde(default = "default_time")]
    pub time: At<String>,
    /// The cases.
    pub cases: Vec<At<Case>>,
}

/// One case.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    /// What it shows.
    pub name: String,
    /// When the request comes, RFC 3339.
    #[serde(default)]
    pub time: Option<At<String>>,
    /// Who asks, and for what.
    pub request: Facts,
    /// What is to become of it.
    pub expect: Expect,
}

/// What is expected; what is not given is not looked at.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expect {
    /// Whether a certificate is issued.
    pub effect: Effect,
    /// The rule that decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The code of a refusal, such as `no_rule`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The identity issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spiffe_id: Option<String>,
    /// The profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// The DNS names, in any order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_names: Option<Vec<String>>,
    /// The lifetime without jitter, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<i64>,
}

/// What became of one case.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaseReport {
    /// Its name.
    pub name: String,
    /// Its line in its file.
    pub line: u64,
    /// What was expected.
    pub expected: Expect,
    /// What came out.
    pub found: Expect,
    /// The same in a sentence.
    pub detail: String,
    /// The fields that differ; none for a case that passed.
    pub differences: Vec<&'static str>,
    /// What each rule had to say, of a case that failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<RuleTrace>,
}

impl CaseFile {
    /// Reads the text of a file, `file` being its name in problems.
    ///
    /// # Errors
    /// The file's shape is wrong, or a time, the trust domain or a limit is none.
    pub fn read(file: &str, text: &str) -> Result<Self, Vec<Problem>> {
        let read: Self =
            source::read(file, text, MAX_FILE_BYTES).map_err(|problem| vec![problem])?;
        let mut problems = Vec::new();
        let mut add = |path: String, line: u64, problem: String| {
            problems.push(Problem {
                path,
                line: (line > 0).then_some(line),
                ..Problem::of_file(file, problem)
            });
        };
        if TrustDomain::new(&read.trust_domain).is_err() {
            add(
                "trustDomain".to_owned(),
                0,
                format!("is none: {:?}", read.trust_domain),
            );
        }
        if !(1..=read.max_ttl_seconds).contains(&read.default_ttl_seconds) {
            add(
                "defaultTtlSeconds".to_owned(),
                0,
                "is not 1 to maxTtlSeconds".to_owned(),
            );
        }
        let of_cases = read.cases.iter().enumerate().filter_map(|(index, case)| {
            let time = case.value.time.as_ref()?;
            Some((format!("cases[{index}].time"), time))
        });
        for (path, time) in [("time".to_owned(), &read.time)]
            .into_iter()
            .chain(of_cases)
        {
            if window::instant(&time.value).is_none() {
                add(
                    path,
                    time.line,
                    format!("is no time such as 2027-01-15T08:00:00Z: {:?}", time.value),
                );
            }
        }
        if read.cases.is_empty() {
            add("cases".to_owned(), 0, "is empty".to_owned());
        }
        if problems.is_empty() {
            Ok(read)
        } else {
            Err(problems)
        }
    }
}

/// Runs all cases of a file. No lifetime is shortened at random here.
#[must_use]
pub fn run_cases(file: &CaseFile, policy: &Policy) -> Vec<CaseReport> {
    let Ok(trust_domain) = TrustDomain::new(&file.trust_domain) else {
        return Vec::new();
    };
    let time = |text: &At<String>| window::instant(&text.value);
    file.cases
        .iter()
        .map(|case| {
            let now = case
                .value
                .time
                .as_ref()
                .and_then(time)
                .or_else(|| time(&file.time));
            let limits = Limits {
                trust_domain: &trust_domain,
                default_ttl: file.default_ttl_seconds,
                max_ttl: file.max_ttl_seconds,
                now: now.unwrap_or(UnixTime::from_secs(0)),
                jitter: 0,
            };
            run(case, policy, &limits)
        })
        .collect()
}

fn run(case: &At<Case>, policy: &Policy, limits: &Limits<'_>) -> CaseReport {
    let Case {
        name,
        request,
        expect,
        ..
    } = &case.value;
    let decided = policy.decide(request, limits);
    let found = Expect::of(&decided);
    let differences = expect.differences(&found);
    CaseReport {
        name: name.clone(),
        line: case.line,
        expected: expect.clone(),
        detail: match &decided {
            Ok(allowed) => format!("rule {} gives {}", allowed.rule, allowed.spiffe_id),
            Err(denial) => denial.to_string(),
        },
        rules: if differences.is_empty() {
            Vec::new()
        } else {
            policy.explain(request, limits)
        },
        found,
        differences,
    }
}

impl Expect {
    /// All of what came out.
    #[must_use]
    pub fn of(decided: &Result<Allowed, Denial>) -> Self {
        match decided {
            Ok(allowed) => Self {
                effect: Effect::Allow,
                rule: Some(allowed.rule.clone()),
                code: None,
                spiffe_id: Some(allowed.spiffe_id.to_string()),
                profile: Some(allowed.profile),
                dns_names: Some(allowed.dns_names.clone()),
                ttl_seconds: Some(allowed.ttl_seconds),
            },
            Err(denial) => Self {
                effect: Effect::Deny,
                rule: denial.rule().map(str::to_owned),
                code: Some(denial.code().to_owned()),
                spiffe_id: None,
                profile: None,
                dns_names: None,
                ttl_seconds: None,
            },
        }
    }

    fn differences(&self, found: &Self) -> Vec<&'static str> {
        fn differ<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
            wanted.is_some() && wanted != found
        }
        let sorted = |names: &Option<Vec<String>>| {
            let mut names = names.clone()?;
            names.sort();
            Some(names)
        };
        let id = |text: &Option<String>| text.as_ref().and_then(|text| SpiffeId::new(text).ok());
        let ids_differ = self.spiffe_id.is_some()
            && (id(&self.spiffe_id).is_none() || id(&self.spiffe_id) != id(&found.spiffe_id));
        [
            ("effect", self.effect != found.effect),
            ("rule", differ(self.rule.as_ref(), found.rule.as_ref())),
            ("code", differ(self.code.as_ref(), found.code.as_ref())),
            ("spiffeId", ids_differ),
            (
                "profile",
                differ(self.profile.as_ref(), found.profile.as_ref()),
            ),
            (
                "dnsNames",
                differ(
                    sorted(&self.dns_names).as_ref(),
                    sorted(&found.dns_names).as_ref(),
                ),
            ),
            (
                "ttlSeconds",
                differ(self.ttl_seconds.as_ref(), found.ttl_seconds.as_ref()),
            ),
        ]
        .into_iter()
        .filter_map(|(field, differs)| differs.then_some(field))
        .collect()
    }

    /// Its fields and their values, in a fixed order; only those that are given.
    #[must_use]
    pub fn fields(&self) -> BTreeMap<&'static str, String> {
        let mut fields = BTreeMap::from([("effect", self.effect.to_string())]);
        let given = [
            ("rule", self.rule.clone()),
            ("code", self.code.clone()),
            ("spiffeId", self.spiffe_id.clone()),
            ("profile", self.profile.map(|profile| profile.to_string())),
            (
                "dnsNames",
                self.dns_names.as_ref().map(|names| names.join(", ")),
            ),
            ("ttlSeconds", self.ttl_seconds.map(|ttl| ttl.to_string())),
        ];
        for (field, value) in given {
            if let Some(value) = value {
                fields.insert(field, value);
            }
        }
        fields
    }
}

fn default_trust_domain() -> String {
    "cluster.local".to_owned()
}

const fn default_ttl() -> i64 {
    24 * 3600
}

const fn max_ttl() -> i64 {
    90 * 24 * 3600
}

fn default_time() -> At<String> {
    At {
        value: "2027-01-15T08:00:00Z".to_owned(),
        line: 0,
        column: 0,
    }
}
