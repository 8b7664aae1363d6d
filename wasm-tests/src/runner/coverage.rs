//! Which rules matched at least one request.

use std::collections::BTreeMap;

use policy::RuleExplanation;
use serde::Serialize;
use serde_json::Value;

use super::read::TestFile;

/// How often each written rule matched.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    rules: BTreeMap<Key, (u64, Option<u64>)>,
}

/// A rule is the same in two tests if both read it from the same file.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Key {
    file: String,
    action: String,
    namespace: String,
    policy: String,
    rule: usize,
}

/// One rule.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RuleCoverage {
    /// The file it is in.
    pub file: String,
    /// The line it begins at.
    pub line: Option<u64>,
    /// What a match of it means.
    pub action: String,
    /// The rule, as Istio names it.
    pub rule: String,
    /// Requests it matched.
    pub matches: u64,
}

impl Coverage {
    /// All rules of the policies of a test, none matched. Those of CUSTOM policies are left out: what becomes of their
    /// requests is the provider's decision, which no test here can see.
    #[must_use]
    pub fn of(test: &TestFile) -> Self {
        let mut rules = BTreeMap::new();
        for written in test.policies() {
            let spec = written.value().get("spec");
            let field = |name| spec.and_then(|spec| spec.get(name));
            let action = field("action").and_then(Value::as_str).unwrap_or("ALLOW");
            if written.kind() != "AuthorizationPolicy" || action == "CUSTOM" {
                continue;
            }
            let count = field("rules").and_then(Value::as_array).map_or(0, Vec::len);
            for rule in 0..count {
                let key = Key {
                    file: written.file().to_owned(),
                    action: action.to_owned(),
                    namespace: written.namespace().to_owned(),
                    policy: written.name().to_owned(),
                    rule,
                };
                rules.insert(key, (0, written.line_of_rule(rule)));
            }
        }
        Self { rules }
    }

    /// Counts a match.
    pub(super) fn matched(&mut self, explained: &RuleExplanation) {
        let rule = &explained.rule;
        for (key, (matches, _)) in &mut self.rules {
            if key.namespace == rule.namespace()
                && key.policy == rule.policy()
                && key.rule == rule.rule()
            {
                *matches += 1;
            }
        }
    }

    /// Adds the matches of another test.
    pub fn add(&mut self, other: Self) {
        for (key, (matches, line)) in other.rules {
            self.rules.entry(key).or_insert((0, line)).0 += matches;
        }
    }

    /// Every rule, by file, action and name.
    pub fn rules(&self) -> impl Iterator<Item = RuleCoverage> + '_ {
        self.rules
            .iter()
            .map(|(key, (matches, line))| RuleCoverage {
                file: key.file.clone(),
                line: *line,
                action: key.action.clone(),
                rule: format!(
                    "ns[{}]-policy[{}]-rule[{}]",
                    key.namespace, key.policy, key.rule
                ),
                matches: *matches,
            })
    }

    /// How many rules there are.
    #[must_use]
    pub fn total(&self) -> usize {
        self.rules.len()
    }

    /// How many of them matched at least once.
    #[must_use]
    pub fn covered(&self) -> usize {
        self.rules
            .values()
            .filter(|(matches, _)| *matches > 0)
            .count()
    }

    /// Rules that matched, of a hundred, rounded down; 100 where there are no rules.
    #[must_use]
    pub fn percent(&self) -> usize {
        (self.covered() * 100)
            .checked_div(self.total())
            .unwrap_or(100)
    }
}
