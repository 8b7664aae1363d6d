//! Lints of names.

use std::collections::BTreeSet;

use identity::SpiffeId;
use x509_parser::prelude::{GeneralName, ParsedExtension};

use crate::issuance::dns;
use crate::issue::lint::chain::{IssuerFacts, Subtree};
use crate::issue::lint::{Leaf, Outcome, require};

impl Leaf<'_> {
    /// The alternative names, and whether they are critical.
    fn names(&self) -> Result<(&[GeneralName<'_>], bool), String> {
        self.certificate
            .extensions()
            .iter()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => {
                    Some((names.general_names.as_slice(), extension.critical))
                }
                _ => None,
            })
            .ok_or_else(|| "there are no alternative names".to_owned())
    }

    pub(super) fn one_uri(&self) -> Outcome {
        let (names, _) = self.names()?;
        let uris: Vec<&str> = names
            .iter()
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            })
            .collect();
        let [uri] = uris.as_slice() else {
            return Err(format!("there are {}", uris.len()));
        };
        let id = SpiffeId::new(uri).map_err(|error| format!("{uri:?}: {error}"))?;
        require(id.to_string() == *uri, || {
            format!("{uri:?} is not in its one form")
        })?;
        require(!id.path().is_empty(), || format!("{uri:?} has no path"))
    }

    pub(super) fn san_criticality(&self) -> Outcome {
        let (_, critical) = self.names()?;
        let is_empty = self.certificate.subject().iter_rdn().next().is_none();
        require(critical == is_empty, || {
            let subject = if is_empty { "empty" } else { "not empty" };
            let names = if critical { "are" } else { "are not" };
            format!("the subject is {subject}, and the names {names} critical")
        })
    }

    pub(super) fn other_names(&self) -> Outcome {
        let (names, _) = self.names()?;
        let mut seen = BTreeSet::new();
        for name in names {
            match name {
                GeneralName::URI(_) => {}
                GeneralName::DNSName(name) => {
                    let is_good = dns::is_name(name) || dns::wildcard(name).is_some();
                    require(is_good, || format!("{name:?} is no DNS name"))?;
                    require(seen.insert(name.as_bytes()), || {
                        format!("{name:?} is there twice")
                    })?;
                }
                GeneralName::IPAddress(octets) => {
                    require(matches!(octets.len(), 4 | 16), || {
                        format!("an address has {} octets", octets.len())
                    })?;
                    require(seen.insert(octets), || {
                        "an address is there twice".to_owned()
                    })?;
                }
                _ => return Err("there is a name of another kind".to_owned()),
            }
        }
        Ok(())
    }

    pub(super) fn name_constraints(&self) -> Outcome {
        let (names, _) = self.names()?;
        for issuer in &self.chain.issuers {
            names.iter().try_for_each(|name| within(name, issuer))?;
        }
        Ok(())
    }
}

/// RFC 5280 §6.1.4 (g): in no excluded subtree of its kind, and in a permitted one if there is any of
/// its kind.
fn within(name: &GeneralName<'_>, issuer: &IssuerFacts) -> Outcome {
    let Some(constraints) = &issuer.constraints else {
        return Ok(());
    };
    let shown = match name {
        GeneralName::URI(text) | GeneralName::DNSName(text) => (*text).to_owned(),
        GeneralName::IPAddress(octets) => hex::encode(octets),
        _ => return Ok(()),
    };
    let holds = |subtree: &Subtree| holds(subtree, name);
    let excluded = constraints
        .excluded
        .iter()
        .any(|it| holds(it) == Some(true));
    require(!excluded, || format!("{} excludes {shown}", issuer.name))?;
    let mut of_kind = constraints.permitted.iter().filter_map(holds).peekable();
    require(
        of_kind.peek().is_none() || of_kind.any(|holds| holds),
        || format!("{} does not permit {shown}", issuer.name),
    )
}

/// Whether a name is in a subtree; none where they are of different kinds.
fn holds(subtree: &Subtree, name: &GeneralName<'_>) -> Option<bool> {
    match (subtree, name) {
        (Subtree::Uri(wanted), GeneralName::URI(uri)) => {
            let host = uri.strip_prefix("spiffe://")?.split('/').next()?;
            // "When the constraint begins with a period, it MAY be expanded with one or more labels.
            // … When the constraint does not begin with a period, it specifies a host."
            Some(if wanted.starts_with('.') {
                host.ends_with(wanted.as_str()) && host.len() > wanted.len()
            } else {
                host == wanted
            })
        }
        (Subtree::Dns(wanted), GeneralName::DNSName(name)) => {
            let wanted = wanted.strip_prefix('.').unwrap_or(wanted);
            Some(
                wanted.is_empty()
                    || *name == wanted
                    || name
                        .strip_suffix(wanted)
                        .is_some_and(|labels| labels.ends_with('.')),
            )
        }
        (Subtree::Ip(range), GeneralName::IPAddress(address)) => {
            if range.len() != address.len() * 2 {
                return None;
            }
            let (network, mask) = range.split_at_checked(address.len())?;
            let octets = address.iter().zip(network).zip(mask);
            Some(octets.into_iter().all(|((a, n), m)| a & m == n & m))
        }
        _ => None,
    }
}
