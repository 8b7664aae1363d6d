//! `countersign policy lint`: policies that compile, but hardly do what was meant.

use policy::lint::{self, Finding, LintContext, Severity};
use serde::Serialize;
use wasm_tests::runner::{Problem, ResourceName, Sources};

use super::check::{self, counted};
use super::style::{Style, plain};
use super::{scope, sources};
use crate::args::{LintArgs, LintFormat, Threshold};
use crate::failure::Failure;
use crate::output::{self, Format};

/// A finding, and where it was written.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    severity: Level,
    code: String,
    file: String,
    line: Option<u64>,
    column: Option<u64>,
    #[serde(flatten)]
    resource: Option<Box<ResourceName>>,
    path: String,
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    help: String,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Note,
    Warning,
    /// It does not compile.
    Error,
}

/// The code of what does not compile.
const INVALID: &str = "invalid";

pub(super) fn run(args: &LintArgs) -> Result<(), Failure> {
    let (read, mut problems) = sources::read(&args.sources);
    problems.extend(check::compile(&read)?);
    // What does not compile is not linted: findings about it would mislead.
    let found: Vec<Found> = if problems.is_empty() {
        lint::lint(&read.resources(), &context(args))
            .iter()
            .filter(|finding| {
                !args
                    .allowed
                    .iter()
                    .any(|code| code == finding.code.as_str())
            })
            .map(|finding| Found::of(finding, &read))
            .collect()
    } else {
        problems.into_iter().map(Found::invalid).collect()
    };
    match args.output {
        LintFormat::Table => table(&found, &read)?,
        LintFormat::Json => output::object(Format::Json, &found, Vec::new())?,
        LintFormat::Yaml => output::object(Format::Yaml, &found, Vec::new())?,
        LintFormat::Github => found
            .iter()
            .try_for_each(|found| output::line(&found.annotation()))?,
    }
    let failing = found
        .iter()
        .filter(|found| found.fails(args.fail_on))
        .count();
    if failing == 0 {
        return Ok(());
    }
    Err(Failure::Check(counted(failing, "finding", "findings")))
}

fn context(args: &LintArgs) -> LintContext {
    LintContext {
        trust_domains: args.trust_domains.iter().cloned().collect(),
        protocol: args.protocol.map(scope::protocol),
        tcp_ports: args.tcp_ports.iter().copied().collect(),
        root_namespace: args.root_namespace.clone(),
        path_normalization: scope::path_form(args.path_normalization),
    }
}

impl Found {
    fn of(finding: &Finding, sources: &Sources) -> Self {
        let resource = &finding.resource;
        let written = sources.policies().iter().find(|written| {
            written.kind() == resource.kind
                && written.namespace() == resource.namespace
                && written.name() == resource.name
        });
        let place = written
            .map(|written| written.error(&finding.path, ""))
            .unwrap_or_default();
        Self {
            severity: match finding.severity {
                Severity::Warning => Level::Warning,
                Severity::Note => Level::Note,
            },
            code: finding.code.as_str().to_owned(),
            file: place.file,
            line: place.line,
            column: place.column,
            resource: Some(Box::new(ResourceName {
                kind: resource.kind.to_owned(),
                namespace: resource.namespace.clone(),
                name: resource.name.clone(),
            })),
            path: finding.path.clone(),
            message: finding.message.clone(),
            help: finding.help.clone(),
        }
    }

    fn invalid(problem: Problem) -> Self {
        Self {
            severity: Level::Error,
            code: INVALID.to_owned(),
            file: problem.file,
            line: problem.line,
            column: problem.column,
            resource: problem.resource,
            path: problem.path,
            message: problem.problem,
            help: String::new(),
        }
    }

    fn fails(&self, threshold: Threshold) -> bool {
        match threshold {
            Threshold::Note => true,
            Threshold::Warning => self.severity >= Level::Warning,
            // What does not compile is no matter of taste.
            Threshold::Never => self.severity == Level::Error,
        }
    }

    fn resource(&self) -> String {
        let resource = self.resource.as_ref();
        resource.map(ToString::to_string).unwrap_or_default()
    }

    /// GitHub's workflow command.
    fn annotation(&self) -> String {
        let word = match self.severity {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Note => "notice",
        };
        let mut properties = vec![format!("file={}", property(&self.file))];
        properties.extend(self.line.map(|line| format!("line={line}")));
        properties.extend(self.column.map(|column| format!("col={column}")));
        properties.push(format!("title={}", property(&self.code)));
        let parts = [self.resource(), self.path.clone(), self.message.clone()];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let mut message = parts.join(": ");
        if !self.help.is_empty() {
            message.push('\n');
            message.push_str(&self.help);
        }
        format!("::{word} {}::{}", properties.join(","), data(&message))
    }
}

/// GitHub's escapes of a message.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// GitHub's escapes of a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

fn table(found: &[Found], read: &Sources) -> Result<(), Failure> {
    let style = Style::of_stdout();
    let mut lines = Vec::new();
    for found in found {
        let word = match found.severity {
            Level::Error => style.bad("error"),
            Level::Warning => style.strong("warning"),
            Level::Note => "note".to_owned(),
        };
        let numbers = [found.line, found.column].into_iter().flatten();
        let place: String = numbers.map(|number| format!(":{number}")).collect();
        lines.push(format!(
            "{word}[{}] {}{place}",
            found.code,
            plain(&found.file)
        ));
        let resource = [found.resource(), found.path.clone()];
        let resource: Vec<_> = resource.iter().filter(|part| !part.is_empty()).collect();
        for part in resource {
            lines.push(format!("  {}", plain(part)));
        }
        lines.extend(wrapped(&found.message, 4));
        if !found.help.is_empty() {
            let mut help = wrapped(&format!("help: {}", found.help), 4);
            lines.append(&mut help);
        }
        lines.push(String::new());
    }
    let of = |level| found.iter().filter(|found| found.severity == level).count();
    let counts = [
        (of(Level::Error), "error", "errors"),
        (of(Level::Warning), "warning", "warnings"),
        (of(Level::Note), "note", "notes"),
    ];
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(count, _, _)| *count > 0)
        .map(|(count, one, many)| counted(count, one, many))
        .collect();
    let policies = counted(read.policies().len(), "policy", "policies");
    lines.push(if counts.is_empty() {
        format!("{policies}, nothing found")
    } else {
        format!("{policies}, {}", counts.join(", "))
    });
    output::line(&lines.join("\n"))
}

/// Text in lines of at most 80 columns, as far as its words allow.
fn wrapped(text: &str, indent: usize) -> Vec<String> {
    let margin = " ".repeat(indent);
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in plain(text).split(' ') {
        let length = line.chars().count() + 1 + word.chars().count();
        if !line.is_empty() && indent + length > 80 {
            lines.push(format!("{margin}{line}"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(format!("{margin}{line}"));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_escaped() {
        let found = Found::invalid(Problem {
            file: "a,b:c.yaml".to_owned(),
            line: Some(3),
            problem: "100%\nsure".to_owned(),
            ..Problem::default()
        });
        let expected = "::error file=a%2Cb%3Ac.yaml,line=3,title=invalid::100%25%0Asure";
        assert_eq!(found.annotation(), expected);
    }

    #[test]
    fn text_is_wrapped_between_words() {
        let lines = wrapped(&"word ".repeat(40), 4);
        assert!(
            lines.len() > 2 && lines.iter().all(|line| line.len() <= 80),
            "{lines:?}"
        );
        assert_eq!(wrapped(&"x".repeat(100), 4).len(), 1);
    }
}
