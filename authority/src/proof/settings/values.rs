//! Values of the section, each parsed once.

use http::Uri;
use serde::Deserialize;

use crate::proof::kubernetes::is_name;

/// A name of ours: letters, digits, dots, dashes and underscores, at most 63.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(try_from = "String")]
pub struct ClusterName(String);

/// A token's issuer: not empty, at most 512 bytes.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
#[serde(try_from = "String")]
pub struct Issuer(String);

/// Audiences, at least one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "Vec<String>")]
pub struct Audiences(Vec<String>);

/// An address that starts with `https://`, without user and fragment.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub struct HttpsUrl(Uri);

/// A service account, `<namespace>/<name>`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub struct NodeAccount {
    namespace: String,
    name: String,
}

/// Why a value of the section is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// A name.
    #[error("{found:?} is not a name of 1 to 63 letters, digits, dots, dashes and underscores")]
    Name {
        /// What was found.
        found: String,
    },
    /// An issuer.
    #[error("an issuer is a text of 1 to 512 bytes, found {len}")]
    Issuer {
        /// Its length in bytes.
        len: usize,
    },
    /// Audiences.
    #[error("audiences are 1 to 16 texts, none of them empty")]
    Audiences,
    /// An address.
    #[error("{found:?} is not an address such as https://example.org/keys")]
    HttpsUrl {
        /// What was found.
        found: String,
    },
    /// A service account.
    #[error("{found:?} is not a service account such as istio-system/ztunnel")]
    NodeAccount {
        /// What was found.
        found: String,
    },
}

impl TryFrom<String> for ClusterName {
    type Error = ValueError;

    fn try_from(found: String) -> Result<Self, Self::Error> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=63).contains(&found.len()) && found.bytes().all(good) {
            Ok(Self(found))
        } else {
            Err(ValueError::Name { found })
        }
    }
}

impl ClusterName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Issuer {
    type Error = ValueError;

    fn try_from(found: String) -> Result<Self, Self::Error> {
        if (1..=512).contains(&found.len()) {
            Ok(Self(found))
        } else {
            Err(ValueError::Issuer { len: found.len() })
        }
    }
}

impl Issuer {
    /// The issuer.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<Vec<String>> for Audiences {
    type Error = ValueError;

    fn try_from(found: Vec<String>) -> Result<Self, Self::Error> {
        if (1..=16).contains(&found.len()) && found.iter().all(|one| !one.is_empty()) {
            Ok(Self(found))
        } else {
            Err(ValueError::Audiences)
        }
    }
}

impl Audiences {
    /// One audience, which is not empty.
    pub(super) fn of(audience: &str) -> Self {
        Self(vec![audience.to_owned()])
    }

    /// The audiences.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }
}

impl TryFrom<String> for HttpsUrl {
    type Error = ValueError;

    fn try_from(found: String) -> Result<Self, Self::Error> {
        let uri = found.parse::<Uri>().ok().filter(|uri| {
            uri.scheme_str() == Some("https")
                && uri.host().is_some_and(|host| !host.is_empty())
                && uri
                    .authority()
                    .is_some_and(|name| !name.as_str().contains('@'))
        });
        match uri {
            // `http` drops a fragment without a word.
            Some(uri) if !found.contains('#') => Ok(Self(uri)),
            _ => Err(ValueError::HttpsUrl { found }),
        }
    }
}

impl HttpsUrl {
    /// The address.
    #[must_use]
    pub const fn uri(&self) -> &Uri {
        &self.0
    }

    /// The address of `path` on the same server.
    pub(crate) fn at(&self, path: &str) -> Option<Uri> {
        let base = self.0.path().trim_end_matches('/');
        Uri::builder()
            .scheme("https")
            .authority(self.0.authority()?.clone())
            .path_and_query(format!("{base}{path}"))
            .build()
            .ok()
    }
}

impl TryFrom<String> for NodeAccount {
    type Error = ValueError;

    fn try_from(found: String) -> Result<Self, Self::Error> {
        let parts = found
            .split_once('/')
            .filter(|(namespace, name)| is_name(namespace) && is_name(name));
        match parts {
            Some((namespace, name)) => Ok(Self {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            }),
            None => Err(ValueError::NodeAccount { found }),
        }
    }
}

impl NodeAccount {
    /// Whether it is the account `name` in `namespace`.
    pub(crate) fn is(&self, namespace: &str, name: &str) -> bool {
        self.namespace == namespace && self.name == name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_https_and_says_nothing_else() {
        let url = |text: &str| HttpsUrl::try_from(text.to_owned());
        let good = url("https://10.0.0.1:6443/base/").unwrap();
        assert_eq!(
            good.at("/x?y=1").unwrap(),
            "https://10.0.0.1:6443/base/x?y=1"
        );
        url("https://[::1]:6443").unwrap();
        for bad in [
            "",
            "/keys",
            "http://example.org",
            "https://",
            "https://a@example.org",
            "https://example.org/#x",
            "https://exa mple.org",
            "ftp://example.org",
        ] {
            let found = bad.to_owned();
            assert_eq!(url(bad), Err(ValueError::HttpsUrl { found }));
        }
    }

    #[test]
    fn an_account_is_a_namespace_and_a_name() {
        let account = |text: &str| NodeAccount::try_from(text.to_owned());
        assert!(
            account("istio-system/ztunnel")
                .unwrap()
                .is("istio-system", "ztunnel")
        );
        assert!(
            !account("istio-system/ztunnel")
                .unwrap()
                .is("ztunnel", "istio-system")
        );
        for bad in [
            "",
            "ztunnel",
            "/ztunnel",
            "istio-system/",
            "a/b/c",
            "*/ztunnel",
            "Istio/ztunnel",
        ] {
            let found = bad.to_owned();
            assert_eq!(account(bad), Err(ValueError::NodeAccount { found }));
        }
    }
}
