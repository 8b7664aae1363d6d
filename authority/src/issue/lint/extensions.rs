//! Lints of extensions but for names.

use std::collections::BTreeSet;

use x509_parser::extensions::{ExtendedKeyUsage, KeyUsage};
use x509_parser::oid_registry as oid;
use x509_parser::prelude::{BasicConstraints, ParsedExtension};

use crate::issue::grant::Purpose;
use crate::issue::lint::{Leaf, Outcome, require};

impl Leaf<'_> {
    fn parsed(&self) -> impl Iterator<Item = (&ParsedExtension<'_>, bool)> {
        let all = self.certificate.extensions().iter();
        all.map(|extension| (extension.parsed_extension(), extension.critical))
    }

    pub(super) fn extension_set(&self) -> Outcome {
        let mut seen = BTreeSet::new();
        for extension in self.certificate.extensions() {
            let name = extension.oid.to_id_string();
            require(seen.insert(name.clone()), || {
                format!("{name} is there twice")
            })?;
            let is_known = KNOWN.iter().any(|(known, _)| *known == extension.oid);
            require(is_known, || format!("{name} is not part of the profile"))?;
            require(
                !matches!(
                    extension.parsed_extension(),
                    ParsedExtension::ParseError { .. }
                ),
                || format!("{name} does not parse"),
            )?;
        }
        Ok(())
    }

    /// Of the alternative names see `san_criticality`.
    pub(super) fn criticality(&self) -> Outcome {
        for extension in self.certificate.extensions() {
            let wanted = KNOWN
                .iter()
                .find(|(known, _)| *known == extension.oid)
                .and_then(|(_, critical)| *critical);
            require(
                wanted.is_none_or(|wanted| wanted == extension.critical),
                || {
                    let is = if extension.critical { "is" } else { "is not" };
                    format!("{} {is} critical", extension.oid)
                },
            )?;
        }
        Ok(())
    }

    pub(super) fn basic_constraints(&self) -> Outcome {
        let found = self.parsed().find_map(|(extension, _)| match extension {
            ParsedExtension::BasicConstraints(found) => Some(found),
            _ => None,
        });
        match found {
            None => Err("there are none".to_owned()),
            Some(BasicConstraints { ca: true, .. }) => Err("they say CA:TRUE".to_owned()),
            Some(BasicConstraints {
                path_len_constraint: Some(length),
                ..
            }) => Err(format!("they have the path length {length} without a CA")),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn key_usage(&self) -> Outcome {
        let found = self.parsed().find_map(|(extension, _)| match extension {
            ParsedExtension::KeyUsage(found) => Some(*found),
            _ => None,
        });
        let KeyUsage { flags } = found.ok_or("there is none")?;
        let algorithm = &self.certificate.public_key().algorithm.algorithm;
        let is_rsa = *algorithm == oid::OID_PKCS1_RSAENCRYPTION;
        // RFC 5280 §4.2.1.12: with clientAuth alone, keyEncipherment would be for nothing.
        let wanted = if is_rsa && self.purpose != Purpose::TlsClient {
            DIGITAL_SIGNATURE | KEY_ENCIPHERMENT
        } else {
            DIGITAL_SIGNATURE
        };
        require(flags == wanted, || format!("it is {}", KeyUsage { flags }))
    }

    pub(super) fn extended_key_usage(&self) -> Outcome {
        let found = self.parsed().find_map(|(extension, _)| match extension {
            ParsedExtension::ExtendedKeyUsage(found) => Some(found),
            _ => None,
        });
        let wanted = match self.purpose {
            Purpose::Tls => (true, true),
            Purpose::TlsServer => (true, false),
            Purpose::TlsClient => (false, true),
            Purpose::ListSigning => {
                return require(found.is_none(), || "there is one".to_owned());
            }
        };
        let Some(ExtendedKeyUsage {
            any,
            server_auth,
            client_auth,
            code_signing,
            email_protection,
            time_stamping,
            ocsp_signing,
            other,
        }) = found
        else {
            return Err("there is none".to_owned());
        };
        let has_others = *any
            || *code_signing
            || *email_protection
            || *time_stamping
            || *ocsp_signing
            || !other.is_empty();
        require(
            (*server_auth, *client_auth) == wanted && !has_others,
            || format!("serverAuth {server_auth}, clientAuth {client_auth}, others {has_others}"),
        )
    }

    pub(super) fn key_identifiers(&self) -> Outcome {
        let mut subject = None;
        let mut authority = None;
        for (extension, _) in self.parsed() {
            match extension {
                ParsedExtension::SubjectKeyIdentifier(id) => subject = Some(id.0),
                ParsedExtension::AuthorityKeyIdentifier(id) => authority = Some(id),
                _ => {}
            }
        }
        let issuer = self.chain.issuer().ok_or("there is no issuer")?;
        require(subject.is_some_and(|id| !id.is_empty()), || {
            "there is no subject key identifier".to_owned()
        })?;
        let authority = authority.ok_or("there is no authority key identifier")?;
        let id = authority.key_identifier.as_ref().map(|id| id.0);
        require(id == Some(issuer.key_id.as_slice()), || {
            format!(
                "the authority key identifier is not that of {}",
                issuer.name
            )
        })?;
        let is_short =
            authority.authority_cert_issuer.is_none() && authority.authority_cert_serial.is_none();
        require(is_short, || {
            "the authority key identifier has more than the key's".to_owned()
        })
    }
}

/// The extensions of the profile, and whether each is critical; none where that depends.
const KNOWN: [(oid::Oid<'static>, Option<bool>); 6] = [
    (oid::OID_X509_EXT_SUBJECT_KEY_IDENTIFIER, Some(false)),
    (oid::OID_X509_EXT_KEY_USAGE, Some(true)),
    (oid::OID_X509_EXT_SUBJECT_ALT_NAME, None),
    (oid::OID_X509_EXT_BASIC_CONSTRAINTS, Some(true)),
    (oid::OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER, Some(false)),
    (oid::OID_X509_EXT_EXTENDED_KEY_USAGE, Some(false)),
];
/// Bit 0 of KeyUsage, as x509-parser counts.
const DIGITAL_SIGNATURE: u16 = 1;
/// Bit 2 of KeyUsage.
const KEY_ENCIPHERMENT: u16 = 1 << 2;
