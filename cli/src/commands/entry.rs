//! `countersign entry`: who may have what.

use agent::selector::Selector;
use api::admin::{CreateEntryRequest, DeleteEntryRequest, Entry, ListEntriesRequest};
use serde::Serialize;

use crate::admin;
use crate::args::EntryCommand;
use crate::failure::Failure;
use crate::output::{self, Row, duration};

pub(crate) async fn run(command: EntryCommand) -> Result<(), Failure> {
    match command {
        EntryCommand::Create {
            admin,
            output,
            parent,
            id,
            selectors,
            ttl,
        } => {
            check_selectors(&selectors)?;
            let entry = Entry {
                parent_id: parent.to_string(),
                spiffe_id: id.to_string(),
                selectors,
                ttl_seconds: i64::try_from(ttl)
                    .map_err(|_too_large| Failure::Check(format!("--ttl {ttl}: too long")))?,
                ..Entry::default()
            };
            let mut admin = admin::connect(&admin).await?;
            let answer = admin
                .create_entry(CreateEntryRequest { entry: Some(entry) })
                .await?
                .into_inner();
            let rows: Vec<_> = answer.entry.into_iter().map(Record::from).collect();
            output::list(output.output, &rows)
        }
        EntryCommand::List { admin, output } => {
            let mut admin = admin::connect(&admin).await?;
            let answer = admin
                .list_entries(ListEntriesRequest::default())
                .await?
                .into_inner();
            let rows: Vec<_> = answer.entries.into_iter().map(Record::from).collect();
            output::list(output.output, &rows)
        }
        EntryCommand::Delete { admin, entry } => {
            let mut admin = admin::connect(&admin).await?;
            admin
                .delete_entry(DeleteEntryRequest { id: entry.clone() })
                .await?;
            output::line(&format!("deleted entry {entry}"))
        }
    }
}

/// The authority takes any selector; one that no agent understands would give nobody the identity.
fn check_selectors(selectors: &[String]) -> Result<(), Failure> {
    for selector in selectors {
        selector
            .parse::<Selector>()
            .map_err(|error| Failure::part("--selector", error))?;
    }
    Ok(())
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    id: String,
    parent_id: String,
    spiffe_id: String,
    selectors: Vec<String>,
    ttl_seconds: i64,
    created_at: i64,
}

impl From<Entry> for Record {
    fn from(entry: Entry) -> Self {
        let Entry {
            id,
            parent_id,
            spiffe_id,
            selectors,
            ttl_seconds,
            created_at,
        } = entry;
        Self {
            id,
            parent_id,
            spiffe_id,
            selectors,
            ttl_seconds,
            created_at,
        }
    }
}

impl Row for Record {
    const HEADS: &'static [&'static str] = &["id", "parent", "identity", "selectors", "ttl"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.parent_id.clone(),
            self.spiffe_id.clone(),
            self.selectors.join(" "),
            duration(self.ttl_seconds),
        ]
    }
}
