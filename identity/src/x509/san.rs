//! The one SPIFFE ID of a leaf.

use x509_parser::extensions::GeneralName;

use crate::SpiffeId;
use crate::x509::MAX_ID_BYTES;
use crate::x509::error::NameError;
use crate::x509::profile::{Extensions, SvidProfile};

/// Reads the SPIFFE ID of a leaf whose subject is empty or not.
///
/// X509-SVID §2: "An X.509 SVID MUST contain exactly one URI SAN", whatever other names there are.
pub(crate) fn spiffe_id(
    extensions: &Extensions<'_>,
    subject_is_empty: bool,
    profile: SvidProfile,
) -> Result<SpiffeId, NameError> {
    let (names, critical) = extensions.subject_alt_name.ok_or(NameError::NoSan)?;
    let mut only = None;
    let mut found = 0;
    for name in &names.general_names {
        match name {
            GeneralName::URI(uri) => {
                found += 1;
                only = Some(*uri);
            }
            GeneralName::Invalid(..) => return Err(NameError::MalformedEntry),
            _other => {}
        }
    }
    let id = match only {
        None => return Err(NameError::NoUri),
        Some(_) if found > 1 => return Err(NameError::SeveralUris { found }),
        Some(uri) => parse(uri)?,
    };
    match profile {
        SvidProfile::Strict if subject_is_empty && !critical => Err(NameError::SanNotCritical),
        SvidProfile::Strict | SvidProfile::Istio => Ok(id),
    }
}

fn parse(uri: &str) -> Result<SpiffeId, NameError> {
    if uri.len() > MAX_ID_BYTES {
        return Err(NameError::IdTooLong { len: uri.len() });
    }
    let id = SpiffeId::new(uri).map_err(NameError::InvalidId)?;
    if id.to_string() != uri {
        return Err(NameError::NotCanonical);
    }
    if id.path().is_empty() {
        return Err(NameError::RootPath);
    }
    Ok(id)
}
