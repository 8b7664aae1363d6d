//! Names of bundles.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::policy_bundle::error::BadName;

/// The name of a bundle: 1 to 63 lower-case letters, digits and `-`, of which the first and the last are no `-`
/// (a DNS label, RFC 1123 §2.1).
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct BundleName(String);

impl BundleName {
    /// Longest name, in bytes.
    pub const MAX_BYTES: usize = 63;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for BundleName {
    type Error = BadName;

    fn try_from(name: String) -> Result<Self, BadName> {
        let is_letter =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let good = (1..=Self::MAX_BYTES).contains(&name.len())
            && name.bytes().all(is_letter)
            && !name.starts_with('-')
            && !name.ends_with('-');
        if good {
            return Ok(Self(name));
        }
        Err(BadName {
            name: name.chars().take(Self::MAX_BYTES).collect(),
        })
    }
}

impl FromStr for BundleName {
    type Err = BadName;

    fn from_str(name: &str) -> Result<Self, BadName> {
        name.to_owned().try_into()
    }
}

impl From<BundleName> for String {
    fn from(name: BundleName) -> Self {
        name.0
    }
}

impl fmt::Display for BundleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
