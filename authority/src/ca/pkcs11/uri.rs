//! PKCS#11 URIs (RFC 7512), read strictly.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The name of a private key in a token, with the module that reaches it and the file of its PIN.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pkcs11Uri {
    token: String,
    object: String,
    module: PathBuf,
    pin_file: PathBuf,
}

/// Why a text names no key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Pkcs11UriError {
    /// Another scheme.
    #[error("a PKCS#11 URI begins with `pkcs11:`")]
    Scheme,
    /// Longer than any URI.
    #[error(
        "the PKCS#11 URI has {found} bytes, the limit is {}",
        Pkcs11Uri::MAX_BYTES
    )]
    TooLong {
        /// Its length, in bytes.
        found: usize,
    },
    /// An attribute that is not supported, or is given twice.
    #[error(
        "the PKCS#11 URI has the attribute {attribute:?}, expected token, object, type=private, module-path and pin-source, each once"
    )]
    Attribute {
        /// Its name.
        attribute: String,
    },
    /// The PIN itself.
    #[error("the PKCS#11 URI has the PIN in it: put it into a file and name that as pin-source")]
    PinValue,
    /// An attribute is missing.
    #[error("the PKCS#11 URI lacks {attribute}")]
    Missing {
        /// Its name.
        attribute: &'static str,
    },
    /// An attribute that is not percent-encoded UTF-8.
    #[error("the value of {attribute:?} in the PKCS#11 URI is not percent-encoded text")]
    Encoding {
        /// Its name.
        attribute: String,
    },
}

impl Pkcs11Uri {
    /// Longest URI, bytes.
    pub const MAX_BYTES: usize = 4096;

    /// Whether `text`, a key file's content, is meant as such a URI.
    #[must_use]
    pub fn is_meant(text: &[u8]) -> bool {
        text.trim_ascii_start().starts_with(SCHEME.as_bytes())
    }

    /// The token's label.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The key's label.
    #[must_use]
    pub fn object(&self) -> &str {
        &self.object
    }

    /// The shared library that reaches the token.
    #[must_use]
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// The file with the PIN.
    #[must_use]
    pub fn pin_file(&self) -> &Path {
        &self.pin_file
    }

    /// The same token, another key.
    #[must_use]
    pub fn with_object(&self, object: String) -> Self {
        Self {
            object,
            ..self.clone()
        }
    }
}

impl FromStr for Pkcs11Uri {
    type Err = Pkcs11UriError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.len() > Self::MAX_BYTES {
            return Err(Pkcs11UriError::TooLong { found: text.len() });
        }
        let rest = text.strip_prefix(SCHEME).ok_or(Pkcs11UriError::Scheme)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut values: [Option<String>; 5] = Default::default();
        let attributes = path.split(';').map(|part| (PATH.as_slice(), part));
        let queries = query.split('&').map(|part| (QUERY.as_slice(), part));
        for (known, part) in attributes
            .chain(queries)
            .filter(|(_, part)| !part.is_empty())
        {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            if name == "pin-value" {
                return Err(Pkcs11UriError::PinValue);
            }
            let attribute = || Pkcs11UriError::Attribute {
                attribute: name.to_owned(),
            };
            let at = known.iter().find(|(_, known)| *known == name);
            let slot = at.and_then(|(at, _)| values.get_mut(*at));
            let slot = slot.filter(|slot| slot.is_none()).ok_or_else(attribute)?;
            *slot = Some(decode(name, value)?);
        }
        let [token, object, kind, module, pin] = values;
        if kind.is_some_and(|kind| kind != "private") {
            return Err(Pkcs11UriError::Attribute {
                attribute: "type".to_owned(),
            });
        }
        let present = |value: Option<String>, attribute| {
            value
                .filter(|value| !value.is_empty())
                .ok_or(Pkcs11UriError::Missing { attribute })
        };
        let pin = present(pin, "pin-source")?;
        Ok(Self {
            token: present(token, "token")?,
            object: present(object, "object")?,
            module: present(module, "module-path")?.into(),
            pin_file: pin.strip_prefix("file:").unwrap_or(&pin).into(),
        })
    }
}

impl fmt::Display for Pkcs11Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{SCHEME}token={};object={};type=private?module-path={}&pin-source={}",
            encode(&self.token),
            encode(&self.object),
            encode(&self.module.to_string_lossy()),
            encode(&self.pin_file.to_string_lossy()),
        )
    }
}

fn decode(name: &str, value: &str) -> Result<String, Pkcs11UriError> {
    let bad = || Pkcs11UriError::Encoding {
        attribute: name.to_owned(),
    };
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().ok_or_else(bad)?, rest.next().ok_or_else(bad)?];
            let mut decoded = [0];
            hex::decode_to_slice(digits, &mut decoded).map_err(|_not_hex| bad())?;
            bytes.extend_from_slice(&decoded);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_not_text| bad())
}

fn encode(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

const SCHEME: &str = "pkcs11:";
const PATH: [(usize, &str); 3] = [(0, "token"), (1, "object"), (2, "type")];
const QUERY: [(usize, &str); 2] = [(3, "module-path"), (4, "pin-source")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_what_others_write() {
        let text = "pkcs11:token=the%20mesh;object=a%3Bb?module-path=/usr/lib/x.so&pin-source=file:/run/pin";
        let uri: Pkcs11Uri = text.parse().unwrap();
        assert_eq!(uri.token(), "the mesh");
        assert_eq!(uri.object(), "a;b");
        assert_eq!(uri.module(), Path::new("/usr/lib/x.so"));
        assert_eq!(uri.pin_file(), Path::new("/run/pin"));
        assert_eq!(uri.to_string().parse::<Pkcs11Uri>().unwrap(), uri);
    }

    #[test]
    fn refuses_the_rest() {
        use Pkcs11UriError as E;
        let full = "pkcs11:token=t;object=o?module-path=m&pin-source=p";
        full.parse::<Pkcs11Uri>().unwrap();
        let attribute = |name: &str| E::Attribute {
            attribute: name.to_owned(),
        };
        for (text, error) in [
            ("file:x".to_owned(), E::Scheme),
            (format!("{full}&pin-value=1234"), E::PinValue),
            (format!("{full}&pin-source=q"), attribute("pin-source")),
            (
                full.replace("token=t", "token=t;serial=1"),
                attribute("serial"),
            ),
            (
                full.replace("object=o", "object=o;type=public"),
                attribute("type"),
            ),
            (
                full.replace("token=t;", ""),
                E::Missing { attribute: "token" },
            ),
            (
                full.replace("object=o", "object="),
                E::Missing {
                    attribute: "object",
                },
            ),
            (
                full.replace("=o", "=%4"),
                E::Encoding {
                    attribute: "object".to_owned(),
                },
            ),
            (
                full.replace("=o", "=%ff"),
                E::Encoding {
                    attribute: "object".to_owned(),
                },
            ),
            (
                format!("pkcs11:{}", "x".repeat(5000)),
                E::TooLong { found: 5007 },
            ),
        ] {
            assert_eq!(text.parse::<Pkcs11Uri>(), Err(error), "{text}");
        }
    }
}
