//! Which certificates pass as leaves (X509-SVID §4–5).

use serde::{Deserialize, Serialize};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, ParsedExtension, SubjectAlternativeName,
    X509Extension,
};

use crate::x509::error::{ExtensionError, UsageError};
use crate::x509::{MAX_EXTENSIONS, der, oid};

/// How strictly a leaf is checked. A setting, never guessed from the certificate.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum SvidProfile {
    /// X509-SVID as written.
    #[default]
    Strict,
    /// For leaves of mesh authorities that were not made for SPIFFE. Differs from `Strict` in
    /// exactly this: basicConstraints may be absent; keyUsage may be absent or not critical; an
    /// extendedKeyUsage needs serverAuth or clientAuth, not both; and the subject alternative name
    /// need not be critical when the subject is empty. All else holds, above all that there is
    /// exactly one URI name.
    Istio,
}

impl SvidProfile {
    /// Checks basicConstraints, keyUsage and extendedKeyUsage of a leaf.
    pub(crate) fn check_usage(self, extensions: &Extensions<'_>) -> Result<(), UsageError> {
        self.check_basic_constraints(extensions)?;
        self.check_key_usage(extensions)?;
        self.check_extended_key_usage(extensions)
    }

    /// X509-SVID §5.2: "the validator MUST ensure that the `CA` field in the basic constraints
    /// extension is set to `false`".
    fn check_basic_constraints(self, extensions: &Extensions<'_>) -> Result<(), UsageError> {
        match (extensions.basic_constraints, self) {
            (Some(constraints), _) if constraints.ca => Err(UsageError::CertificateAuthority),
            (None, Self::Strict) => Err(UsageError::BasicConstraintsMissing),
            (Some(_), _) | (None, Self::Istio) => Ok(()),
        }
    }

    /// X509-SVID §4.3: "MUST be set on all SVIDs, and it MUST be marked as critical"; "leaf
    /// certificates MUST set `digitalSignature`"; "MUST NOT set `keyCertSign` or `cRLSign`".
    fn check_key_usage(self, extensions: &Extensions<'_>) -> Result<(), UsageError> {
        let Some((usage, critical)) = extensions.key_usage else {
            return match self {
                Self::Strict => Err(UsageError::KeyUsageMissing),
                Self::Istio => Ok(()),
            };
        };
        if usage.key_cert_sign() {
            return Err(UsageError::KeyCertSign);
        }
        if usage.crl_sign() {
            return Err(UsageError::CrlSign);
        }
        if !usage.digital_signature() {
            return Err(UsageError::NoDigitalSignature);
        }
        match self {
            Self::Strict if !critical => Err(UsageError::KeyUsageNotCritical),
            Self::Strict | Self::Istio => Ok(()),
        }
    }

    /// X509-SVID §4.4: "when included, fields id-kp-serverAuth and id-kp-clientAuth MUST be set".
    fn check_extended_key_usage(self, extensions: &Extensions<'_>) -> Result<(), UsageError> {
        let Some(usage) = extensions.extended_key_usage else {
            return Ok(());
        };
        match (usage.server_auth, usage.client_auth, self) {
            (true, true, _) | (true, _, Self::Istio) | (_, true, Self::Istio) => Ok(()),
            (false, false, Self::Istio) => Err(UsageError::NoTlsAuth),
            (false, _, Self::Strict) => Err(UsageError::NoServerAuth),
            (true, false, Self::Strict) => Err(UsageError::NoClientAuth),
        }
    }
}

/// The extensions that matter here, each at most once; the flag is `critical`.
#[derive(Default)]
pub(crate) struct Extensions<'a> {
    /// The first critical extension that is none of those below, dotted.
    pub(crate) unknown_critical: Option<String>,
    pub(crate) basic_constraints: Option<&'a BasicConstraints>,
    pub(crate) key_usage: Option<(&'a KeyUsage, bool)>,
    pub(crate) extended_key_usage: Option<&'a ExtendedKeyUsage<'a>>,
    pub(crate) subject_alt_name: Option<(&'a SubjectAlternativeName<'a>, bool)>,
    /// The purposes of extendedKeyUsage, dotted.
    pub(crate) purposes: Vec<String>,
    /// The policies of certificatePolicies, dotted.
    pub(crate) policies: Vec<String>,
}

impl<'a> Extensions<'a> {
    /// Reads all extensions of a certificate. RFC 5280 §4.2: "A certificate MUST NOT include more
    /// than one instance of a particular extension".
    pub(crate) fn read(certificate: &'a X509Certificate<'a>) -> Result<Self, ExtensionError> {
        let all = certificate.extensions();
        if all.len() > MAX_EXTENSIONS {
            return Err(ExtensionError::TooMany { found: all.len() });
        }
        let mut read = Self::default();
        for (at, extension) in all.iter().enumerate() {
            if all
                .iter()
                .take(at)
                .any(|earlier| earlier.oid == extension.oid)
            {
                return Err(ExtensionError::Duplicate {
                    oid: extension.oid.to_id_string(),
                });
            }
            read.add(extension)?;
        }
        Ok(read)
    }

    fn add(&mut self, extension: &'a X509Extension<'a>) -> Result<(), ExtensionError> {
        let critical = extension.critical;
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(found) => self.basic_constraints = Some(found),
            ParsedExtension::KeyUsage(found) => self.key_usage = Some((found, critical)),
            ParsedExtension::ExtendedKeyUsage(found) => {
                self.extended_key_usage = Some(found);
                self.purposes =
                    oid::purposes(extension.value).ok_or_else(|| malformed(extension))?;
            }
            ParsedExtension::SubjectAlternativeName(found) => {
                self.subject_alt_name = Some((found, critical));
            }
            ParsedExtension::ParseError { .. } => return Err(malformed(extension)),
            other => {
                if matches!(other, ParsedExtension::CertificatePolicies(_)) {
                    self.policies =
                        oid::policies(extension.value).ok_or_else(|| malformed(extension))?;
                }
                if critical && self.unknown_critical.is_none() {
                    self.unknown_critical = Some(extension.oid.to_id_string());
                }
                return Ok(());
            }
        }
        // The parser leaves bytes after the value unread, and takes lengths in any form.
        match der::read(extension.value) {
            Some(value) if value.rest.is_empty() => Ok(()),
            _ => Err(malformed(extension)),
        }
    }
}

fn malformed(extension: &X509Extension<'_>) -> ExtensionError {
    ExtensionError::Malformed {
        oid: extension.oid.to_id_string(),
    }
}
