//! What makes a registration entry of a request.

use api::admin::Entry;
use identity::SpiffeId;
use tonic::Status;

use super::AdminApi;
use super::fields::{id, is_selector};
use crate::crypto::random_bytes;
use crate::inventory::EntryRecord;

impl AdminApi {
    /// The entry that a request asks for, with an id of its own.
    pub(super) fn new_entry(&self, entry: Entry) -> Result<EntryRecord, Status> {
        if !entry.id.is_empty() || entry.created_at != 0 {
            return Err(Status::invalid_argument(
                "entry: id and created_at are not yours to set",
            ));
        }
        if entry.ttl_seconds < 0 {
            return Err(Status::invalid_argument(
                "entry.ttl_seconds: it is negative",
            ));
        }
        let mut selectors = entry.selectors;
        if selectors.len() > MAX_SELECTORS {
            return Err(Status::invalid_argument("entry.selectors: more than 32"));
        }
        if let Some(bad) = selectors.iter().find(|selector| !is_selector(selector)) {
            return Err(Status::invalid_argument(format!(
                "entry.selectors: {bad:?} is not `type:value` of at most 1024 bytes"
            )));
        }
        selectors.sort();
        selectors.dedup();
        let id = random_bytes::<8>().map_err(|error| {
            tracing::error!(%error, "no entry id");
            Status::internal("the system's random generator failed")
        })?;
        Ok(EntryRecord {
            id: hex::encode(id),
            parent_id: self.assignable("entry.parent_id", &entry.parent_id)?,
            spiffe_id: self.workload("entry.spiffe_id", &entry.spiffe_id)?,
            selectors,
            ttl_seconds: entry.ttl_seconds,
            created_at: self.issuance.now(),
        })
    }

    /// Tells the agents to read their entries again.
    pub(super) fn announce_entries(&self) {
        self.entries
            .send_modify(|generation| *generation = generation.wrapping_add(1));
    }

    /// An identity that an entry may give.
    fn workload(&self, field: &str, text: &str) -> Result<SpiffeId, Status> {
        let id = id(field, text)?;
        self.issuance
            .policy()
            .check_workload(&id)
            .map_err(|refusal| Status::invalid_argument(format!("{field}: {refusal}")))?;
        Ok(id)
    }
}

const MAX_SELECTORS: usize = 32;
