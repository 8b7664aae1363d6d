//! `countersign policy check`: does every policy compile?

use policy::Scope;
use serde::Serialize;
use wasm_tests::runner::{Problem, Sources, Written};

use super::{scope, sources};
use crate::args::CheckArgs;
use crate::failure::Failure;
use crate::output::{self, Format, Row};
use crate::up::layout;

/// What a program is told.
#[derive(Debug, Serialize)]
struct Checked {
    policies: Vec<Policy>,
    problems: Vec<Problem>,
}

#[derive(Debug, Serialize)]
struct Policy {
    kind: String,
    namespace: String,
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<usize>,
    file: String,
}

pub(super) fn run(args: &CheckArgs) -> Result<(), Failure> {
    let (read, mut problems) = sources::read(&args.sources);
    problems.extend(compile(&read)?);
    problems.sort_by(|one, other| {
        (&one.file, one.line, one.column).cmp(&(&other.file, other.line, other.column))
    });
    let bad = |written: &Written| {
        problems.iter().any(|problem| {
            problem.file == written.file()
                && problem.resource.as_deref() == Some(&written.resource_name())
        })
    };
    let good = read.policies().iter().filter(|written| !bad(written));
    let checked = Checked {
        policies: good.map(Policy::of).collect(),
        problems: problems.clone(),
    };
    match args.output.output {
        Format::Table if problems.is_empty() => {
            output::list(Format::Table, &checked.policies)?;
            let skipped = match read.skipped() {
                0 => String::new(),
                count => format!("; {count} resources of other kinds left out"),
            };
            let count = counted(
                checked.policies.len(),
                "policy compiles",
                "policies compile",
            );
            output::line(&format!("{count}{skipped}"))?;
        }
        Format::Table => {}
        format => output::object(format, &checked, Vec::new())?,
    }
    if problems.is_empty() {
        return Ok(());
    }
    let mut files: Vec<&str> = problems
        .iter()
        .map(|problem| problem.file.as_str())
        .collect();
    files.sort_unstable();
    files.dedup();
    let problem_count = counted(problems.len(), "problem", "problems");
    let file_count = counted(files.len(), "file", "files");
    let mut lines: Vec<String> = match args.output.output {
        Format::Table => problems.iter().map(ToString::to_string).collect(),
        // They are in the document already.
        Format::Json | Format::Yaml => Vec::new(),
    };
    lines.push(format!("{problem_count} in {file_count}"));
    Err(Failure::Policies(lines))
}

/// Every problem of every policy. The compiler looks at policies outside the scope, too.
pub(super) fn compile(read: &Sources) -> Result<Vec<Problem>, Failure> {
    Ok(read.compile(&scope(read)?).err().unwrap_or_default())
}

/// Of some workload whose proxy has every provider that is named.
pub(super) fn scope(read: &Sources) -> Result<Scope, Failure> {
    let mut scope = Scope::new(layout::trust_domain()?, "default");
    scope.custom_providers = scope::providers(read).collect();
    Ok(scope)
}

pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

impl Policy {
    fn of(written: &Written) -> Self {
        let spec = |path: &str| written.part(&format!("spec.{path}"));
        let is_authorization = written.kind() == "AuthorizationPolicy";
        let action = spec("action").and_then(|action| action.as_str());
        let rules = spec("rules")
            .and_then(|rules| rules.as_array())
            .map_or(0, Vec::len);
        Self {
            kind: written.kind().to_owned(),
            namespace: written.namespace().to_owned(),
            name: written.name().to_owned(),
            action: if is_authorization {
                action.unwrap_or("ALLOW").to_owned()
            } else {
                String::new()
            },
            rules: is_authorization.then_some(rules),
            file: written.file().to_owned(),
        }
    }
}

impl Row for Policy {
    const HEADS: &'static [&'static str] = &["kind", "namespace", "name", "action", "rules"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.kind.clone(),
            self.namespace.clone(),
            self.name.clone(),
            self.action.clone(),
            self.rules
                .map(|rules| rules.to_string())
                .unwrap_or_default(),
        ]
    }
}
