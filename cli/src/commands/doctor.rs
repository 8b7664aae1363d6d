//! `countersign doctor`: settings of an Envoy that undo a check; what is wrong with an authority.

use std::fs;

use envoy_config::doctor::{Finding, inspect};
use lab::http::{self, Target};
use serde::Serialize;
use serde_json::Value;

use crate::args::DoctorArgs;
use crate::failure::Failure;
use crate::output::{self, Format, Row};

mod authority;

pub(crate) async fn run(args: DoctorArgs) -> Result<(), Failure> {
    if args.source.authority {
        return authority::run(&args.admin, args.output.output).await;
    }
    let config = match (args.source.envoy_admin, args.source.config) {
        (Some(admin), _) => dump(&admin).await?,
        (None, Some(file)) => {
            let text =
                fs::read_to_string(&file).map_err(|error| Failure::file("read", &file, error))?;
            serde_saphyr::from_str(&text)
                .map_err(|error| Failure::part(file.display().to_string(), error))?
        }
        (None, None) => return Err(Failure::Check("no configuration was named".to_owned())),
    };
    let rows: Vec<_> = inspect(&config).iter().map(Found::from).collect();
    if args.output.output != Format::Table || !rows.is_empty() {
        output::list(args.output.output, &rows)?;
    }
    match rows.len() {
        0 if args.output.output == Format::Table => output::line("nothing found"),
        0 => Ok(()),
        1 => Err(Failure::Check("1 setting undoes a check".to_owned())),
        count => Err(Failure::Check(format!("{count} settings undo a check"))),
    }
}

/// The configuration in force of a running Envoy.
async fn dump(admin: &str) -> Result<Value, Failure> {
    let target = admin
        .parse()
        .map_or_else(|_not_an_address| Target::Unix(admin.into()), Target::Tcp);
    let answer = http::get(&target, "/config_dump")
        .await
        .map_err(|error| Failure::part(format!("Envoy's administration at {target}"), error))?;
    if answer.status != 200 {
        return Err(Failure::Check(format!(
            "Envoy's administration at {target} answers {} to /config_dump",
            answer.status
        )));
    }
    serde_json::from_str(&answer.text())
        .map_err(|error| Failure::part(format!("Envoy's administration at {target}"), error))
}

#[derive(Debug, Serialize)]
struct Found {
    weakness: &'static str,
    path: String,
    meaning: String,
    remedy: &'static str,
}

impl From<&Finding> for Found {
    fn from(finding: &Finding) -> Self {
        Self {
            weakness: finding.weakness.code(),
            path: finding.path.clone(),
            meaning: finding.weakness.to_string(),
            remedy: finding.weakness.remedy(),
        }
    }
}

impl Row for Found {
    const HEADS: &'static [&'static str] = &["weakness", "where", "meaning", "what to do"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.weakness.to_owned(),
            self.path.clone(),
            self.meaning.clone(),
            self.remedy.to_owned(),
        ]
    }
}
