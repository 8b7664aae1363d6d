//! `countersign policy`: Istio's policies on a laptop.

use std::fs;
use std::path::{Path, PathBuf};

use policy::AuthorizationPolicy;
use policy::yaml::PolicyFiles;
use serde::Serialize;

use crate::args::PolicyCommand;
use crate::failure::Failure;
use crate::output::{self, Format, Row};
use crate::up::layout;

pub(crate) fn run(command: PolicyCommand) -> Result<(), Failure> {
    match command {
        PolicyCommand::Check { output, paths } => {
            let rows = check(&read(&paths)?)?;
            output::list(output.output, &rows)?;
            if output.output == Format::Table {
                output::line(&format!("{} policies compile", rows.len()))?;
            }
            Ok(())
        }
        PolicyCommand::Schema => {
            output::object(Format::Json, &policy::config::json_schema(), Vec::new())
        }
    }
}

/// Reads every policy of these files, and of the YAML and JSON files of these folders.
pub(crate) fn read(paths: &[PathBuf]) -> Result<PolicyFiles, Failure> {
    let mut files = PolicyFiles::new();
    let mut problems = Vec::new();
    for path in expand(paths)? {
        let text =
            fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, error))?;
        if let Err(errors) = files.add(&path.display().to_string(), &text) {
            problems.extend(errors.iter().map(ToString::to_string));
        }
    }
    if !problems.is_empty() {
        return Err(Failure::Policies(problems));
    }
    if files.policies().is_empty() {
        let names: Vec<_> = paths
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        return Err(Failure::Check(format!(
            "no AuthorizationPolicy in {}",
            names.join(", ")
        )));
    }
    Ok(files)
}

/// The files that are meant, folders replaced by what is in them, sorted.
fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = fs::read_dir(path).map_err(|error| Failure::file("read", path, error))?;
        let mut inside = Vec::new();
        for entry in entries {
            let file = entry
                .map_err(|error| Failure::file("read", path, error))?
                .path();
            if is_policy_file(&file) {
                inside.push(file);
            }
        }
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}

fn is_policy_file(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    path.is_file() && matches!(extension, Some("yaml" | "yml" | "json"))
}

/// Compiles all policies; the compiler looks at those outside the scope, too.
fn check(files: &PolicyFiles) -> Result<Vec<Checked>, Failure> {
    let scope = policy::Scope::new(layout::trust_domain()?, "default");
    match files.compile(&scope) {
        Ok(_) => Ok(files.policies().iter().map(Checked::of).collect()),
        Err(errors) => Err(Failure::Policies(
            errors.iter().map(ToString::to_string).collect(),
        )),
    }
}

#[derive(Debug, Serialize)]
struct Checked {
    namespace: String,
    name: String,
    action: &'static str,
    rules: usize,
}

impl Checked {
    fn of(policy: &AuthorizationPolicy) -> Self {
        Self {
            namespace: policy.metadata.namespace.clone().unwrap_or_default(),
            name: policy.metadata.name.clone().unwrap_or_default(),
            action: policy.spec.action.as_str(),
            rules: policy.spec.rules.as_ref().map_or(0, Vec::len),
        }
    }
}

impl Row for Checked {
    const HEADS: &'static [&'static str] = &["namespace", "name", "action", "rules"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.namespace.clone(),
            self.name.clone(),
            self.action.to_owned(),
            self.rules.to_string(),
        ]
    }
}
