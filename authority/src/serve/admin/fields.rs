//! Fields of administration messages.

use identity::SpiffeId;
use identity::policy_bundle::{BadName, BundleName};
use tonic::Status;

pub(super) fn id(field: &str, text: &str) -> Result<SpiffeId, Status> {
    SpiffeId::new(text)
        .map_err(|error| Status::invalid_argument(format!("{field}: {text:?}: {error}")))
}

pub(super) fn bundle_name(text: String) -> Result<BundleName, Status> {
    text.try_into()
        .map_err(|error: BadName| Status::invalid_argument(format!("name: {error}")))
}

pub(super) fn optional_id(field: &str, text: &str) -> Result<Option<SpiffeId>, Status> {
    if text.is_empty() {
        Ok(None)
    } else {
        id(field, text).map(Some)
    }
}

pub(crate) fn limit(asked: u32) -> Result<u32, Status> {
    match asked {
        0 => Ok(DEFAULT_LIMIT),
        1..=MAX_LIMIT => Ok(asked),
        _ => Err(Status::invalid_argument("limit: it is more than 10000")),
    }
}

/// Hex as the record holds it: lower case, without the colons some tools print.
pub(crate) fn hex_text(text: &str) -> String {
    text.chars()
        .filter(|c| *c != ':')
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

pub(super) fn is_selector(text: &str) -> bool {
    text.len() <= MAX_SELECTOR_BYTES
        && text
            .split_once(':')
            .is_some_and(|(kind, value)| !kind.is_empty() && !value.is_empty())
}

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 10_000;
const MAX_SELECTOR_BYTES: usize = 1024;
