//! `countersign doctor --authority`: what the authority finds in its own live state.

use api::admin::{DiagnoseRequest, Finding};
use serde::Serialize;

use crate::admin;
use crate::args::AdminArgs;
use crate::failure::Failure;
use crate::output::{self, Format, Row};

pub(super) async fn run(at: &AdminArgs, format: Format) -> Result<(), Failure> {
    let mut admin = admin::connect(at).await?;
    let answer = admin.diagnose(DiagnoseRequest {}).await?.into_inner();
    let found: Vec<_> = answer.findings.into_iter().map(Found::from).collect();
    match format {
        Format::Table => tell(&found)?,
        Format::Json | Format::Yaml => output::list(format, &found)?,
    }
    let serious = found
        .iter()
        .filter(|found| found.severity != NOTICE)
        .count();
    match serious {
        0 => Ok(()),
        1 => Err(Failure::Check("1 condition needs attention".to_owned())),
        count => Err(Failure::Check(format!("{count} conditions need attention"))),
    }
}

/// A paragraph each: remedies are too long for columns.
fn tell(found: &[Found]) -> Result<(), Failure> {
    if found.is_empty() {
        return output::line("nothing found");
    }
    for Found {
        condition,
        severity,
        subject,
        detail,
        remedy,
    } in found
    {
        output::line(&format!(
            "{severity}: {condition}: {subject}: {detail}\n    {remedy}"
        ))?;
    }
    Ok(())
}

#[derive(Debug, Serialize)]
struct Found {
    condition: String,
    severity: String,
    subject: String,
    detail: String,
    remedy: String,
}

impl From<Finding> for Found {
    fn from(finding: Finding) -> Self {
        let Finding {
            condition,
            severity,
            subject,
            detail,
            remedy,
        } = finding;
        Self {
            condition,
            severity,
            subject,
            detail,
            remedy,
        }
    }
}

impl Row for Found {
    const HEADS: &'static [&'static str] =
        &["severity", "condition", "about", "found", "what to do"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.severity.clone(),
            self.condition.clone(),
            self.subject.clone(),
            self.detail.clone(),
            self.remedy.clone(),
        ]
    }
}

/// The severity that fails nothing.
const NOTICE: &str = "notice";
