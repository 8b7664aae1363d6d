//! From a file of rules to a [`Policy`], whole or not at all.

mod allow;
mod when;

use crate::issuance::at::At;
use crate::issuance::builtin::{BUILTIN_FILE, BUILTIN_TEXT};
use crate::issuance::problem::Problem;
use crate::issuance::rule::{Effect, Policy, Rule};
use crate::issuance::schema::{self, BuiltinRules, PolicyFile};
use crate::issuance::source;

/// Longest file of rules, in bytes.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// Most rules of a file; each is looked at for every request.
pub const MAX_RULES: usize = 1000;
/// Most patterns, names or parts in one list.
pub(super) const MAX_LIST: usize = 256;
/// Deepest nesting of conditions.
pub(super) const MAX_DEPTH: usize = 8;
/// Longest pattern, template or id, in bytes.
pub(super) const MAX_TEXT: usize = 2048;

impl Policy {
    /// Compiles the text of a file, `file` being its name in problems.
    ///
    /// # Errors
    /// All [`Problem`]s of the file, at their line and field; only the first if its shape is wrong.
    pub fn compile(file: &str, text: &str) -> Result<Self, Vec<Problem>> {
        let (builtin_rules, mut rules) = compile(file, text, false)?;
        if builtin_rules == BuiltinRules::Append {
            let builtin = Self::compile_builtin()?.rules.into_iter();
            rules.extend(builtin.filter(|rule| rule.id != ONLY_WITHOUT_FILE));
        }
        Ok(Self { rules })
    }

    pub(super) fn compile_builtin() -> Result<Self, Vec<Problem>> {
        let (_, rules) = compile(BUILTIN_FILE, BUILTIN_TEXT, true)?;
        Ok(Self { rules })
    }
}

fn compile(
    file: &str,
    text: &str,
    builtin: bool,
) -> Result<(BuiltinRules, Vec<Rule>), Vec<Problem>> {
    let raw: PolicyFile = source::read(file, text, MAX_FILE_BYTES).map_err(|p| vec![p])?;
    let mut problems = Problems {
        file,
        found: Vec::new(),
    };
    if raw.schema_version.value != 1 {
        let problem = format!("is {}, this version reads 1", raw.schema_version.value);
        problems.at(&raw.schema_version, "schemaVersion", problem);
    }
    if raw.rules.len() > MAX_RULES {
        let problem = format!("are {}, limit is {MAX_RULES}", raw.rules.len());
        problems.found.push(Problem {
            path: "rules".to_owned(),
            ..Problem::of_file(file, problem)
        });
    }
    let mut rules: Vec<Rule> = Vec::with_capacity(raw.rules.len().min(MAX_RULES));
    for (index, written) in raw.rules.iter().take(MAX_RULES).enumerate() {
        let path = format!("rules[{index}]");
        if let Some(rule) = rule(written, &path, builtin, &mut problems) {
            if let Some(first) = rules.iter().find(|first| first.id == rule.id) {
                let problem = format!(
                    "{:?} is the id of the rule in line {}, too",
                    rule.id, first.line
                );
                problems.at(&written.value.id, &format!("{path}.id"), problem);
            }
            rules.push(rule);
        }
    }
    if problems.found.is_empty() {
        Ok((raw.builtin_rules, rules))
    } else {
        Err(problems.found)
    }
}

fn rule(
    written: &At<schema::Rule>,
    path: &str,
    builtin: bool,
    problems: &mut Problems<'_>,
) -> Option<Rule> {
    let raw = &written.value;
    let before = problems.found.len();
    id(&raw.id, path, builtin, problems);
    let when = when::condition(
        &raw.when.value,
        &format!("{path}.when"),
        "when",
        1,
        problems,
    );
    let gives = match raw.effect {
        Effect::Allow => allow::gives(raw, written, path, problems).map(Some),
        Effect::Deny => {
            allow::refuse_in_deny(raw, written, path, problems);
            Some(None)
        }
    };
    if problems.found.len() > before {
        return None;
    }
    Some(Rule {
        id: raw.id.value.clone(),
        line: written.line,
        builtin,
        when,
        gives: gives?,
    })
}

/// Ids stand in logs and in the record, and those of the built-in rules are taken.
fn id(id: &At<String>, path: &str, builtin: bool, problems: &mut Problems<'_>) {
    let text = &id.value;
    let is_good = (1..=MAX_ID).contains(&text.len())
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'/')
        });
    let path = format!("{path}.id");
    if !is_good {
        let problem = format!(
            "is not 1 to {MAX_ID} lower-case letters, digits, `-`, `.` and `/`: {:?}",
            text.chars().take(MAX_ID).collect::<String>()
        );
        problems.at(id, &path, problem);
    } else if !builtin && text.starts_with("builtin/") {
        problems.at(id, &path, format!("{text:?}: ids below builtin/ are taken"));
    }
}

/// The problems found so far.
pub(super) struct Problems<'f> {
    file: &'f str,
    found: Vec<Problem>,
}

impl Problems<'_> {
    pub(super) fn at<T>(&mut self, at: &At<T>, path: &str, problem: impl Into<String>) {
        let known = |number: u64| (number > 0).then_some(number);
        self.found.push(Problem {
            line: known(at.line),
            column: known(at.column),
            path: path.to_owned(),
            ..Problem::of_file(self.file, problem)
        });
    }

    /// Whether a list is as long as lists may be, and not empty.
    pub(super) fn list<T, U>(&mut self, list: &[T], at: &At<U>, path: &str) -> bool {
        let problem = match list.len() {
            0 => "is empty".to_owned(),
            length if length > MAX_LIST => format!("has {length} items, limit is {MAX_LIST}"),
            _ => return true,
        };
        self.at(at, path, problem);
        false
    }

    /// Whether a text is as long as texts may be, and not empty.
    pub(super) fn text(&mut self, text: &At<String>, path: &str) -> bool {
        let problem = match text.value.len() {
            0 => "is empty".to_owned(),
            length if length > MAX_TEXT => format!("is {length} bytes, limit is {MAX_TEXT}"),
            _ => return true,
        };
        self.at(text, path, problem);
        false
    }
}

/// The built-in rule that does not follow those of a file.
const ONLY_WITHOUT_FILE: &str = "builtin/proven";
/// Longest id of a rule, in bytes.
const MAX_ID: usize = 128;
