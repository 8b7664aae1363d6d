//! What `PeerAuthentication` and `RequestAuthentication` have in common: limits of a set, order of age.

use crate::{
    authorization_policy::Metadata,
    compile::limits,
    error::{CompileError, Problem},
    report::label,
};

/// Reports resources beyond the limit and those whose namespace and name were seen before.
pub(crate) fn check_set<'a>(
    kind: &'static str,
    resources: impl ExactSizeIterator<Item = (&'a Metadata, Vec<CompileError>)>,
) -> Vec<CompileError> {
    let total = resources.len();
    let mut errors = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for (index, (metadata, found)) in resources.enumerate() {
        let at = |path: &str, problem| CompileError {
            kind,
            policy: label(metadata, index),
            index,
            path: path.to_owned(),
            problem,
        };
        let limit = limits::MAX_POLICIES;
        if index == limit {
            let (found, unit) = (total, "resources");
            errors.push(at("metadata", Problem::TooMany { found, unit, limit }));
            break;
        }
        errors.extend(
            found
                .into_iter()
                .map(|error| CompileError { index, ..error }),
        );
        if !seen.insert((&metadata.namespace, &metadata.name)) {
            errors.push(at("metadata.name", Problem::Duplicate));
        }
    }
    errors
}

/// When the API server created the resource. Resources without a time, such as those in files, count as older
/// than all others, as in Istio.
///
/// # Errors
/// What was found instead of `YYYY-MM-DDTHH:MM:SSZ`, the one form an API server writes; in it, the order of
/// texts is that of time.
pub(crate) fn created(metadata: &Metadata) -> Result<&str, String> {
    match &metadata.creation_timestamp {
        None => Ok(""),
        Some(serde_json::Value::String(time)) if is_time(time) => Ok(time),
        Some(other) => Err(other.to_string()),
    }
}

fn is_time(text: &str) -> bool {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00Z";
    text.len() == SHAPE.len()
        && text.bytes().zip(SHAPE).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            _ => byte == *shape,
        })
}
