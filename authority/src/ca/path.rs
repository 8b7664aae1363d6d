//! Whether what is to be signed would validate (RFC 5280 §6.1): path length, name constraints,
//! lifetimes and extended key usage of every CA above it. Pure; asked before each signature.
//!
//! URI constraints are read as Envoy, OpenSSL and RFC 5280 §4.2.1.10 read them: `example.org` is
//! that host alone, `.example.org` the hosts below it. (Go also takes the hosts below in the first
//! case: what passes here passes there.) Directory-name and e-mail constraints are not evaluated,
//! for leaves carry neither; a CA below them is refused.

use std::net::IpAddr;

use identity::UnixTime;
use identity::x509::Validity;

use self::names::Name;
pub use self::names::{BadUriHost, Limits, NameConstraint, UriHost};
pub(crate) use self::names::{host_matches, permitted_uris};
use crate::ca::CaCertificate;

mod names;

/// What is to be signed.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// URI names, as written.
    pub uris: Vec<&'a str>,
    /// DNS names.
    pub dns: Vec<&'a str>,
    /// Addresses.
    pub ips: Vec<IpAddr>,
    /// `None` for a leaf.
    pub ca: Option<CaCandidate>,
    /// First second of its validity.
    pub not_before: UnixTime,
    /// Last second of its validity.
    pub not_after: UnixTime,
}

/// What a CA certificate that is to be signed would allow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CaCandidate {
    /// Most CA certificates that may follow it; `None` for any number.
    pub path_length: Option<u32>,
}

/// Why what is to be signed would not validate.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// There is no issuer.
    #[error("there is no CA certificate to sign with")]
    NoIssuer,
    /// A CA above is not valid now.
    #[error("the CA {issuer} is valid from {not_before} to {not_after}, and it is {now} now")]
    IssuerNotValid {
        /// Its subject.
        issuer: String,
        /// First second of its validity.
        not_before: UnixTime,
        /// Last second of its validity.
        not_after: UnixTime,
        /// The time now.
        now: UnixTime,
    },
    /// It would end before it begins.
    #[error("it would be valid from {not_before} to {not_after}")]
    NoLifetime {
        /// First second of its validity.
        not_before: UnixTime,
        /// Last second of its validity.
        not_after: UnixTime,
    },
    /// It would outlive a CA above it.
    #[error("it would be valid until {not_after}, the CA {issuer} only until {limit}")]
    OutlivesIssuer {
        /// The CA's subject.
        issuer: String,
        /// Last second of its validity.
        not_after: UnixTime,
        /// The CA's.
        limit: UnixTime,
    },
    /// It would begin before the CA that signs it.
    #[error("it would be valid from {not_before}, the CA {issuer} only from {limit}")]
    BeginsBeforeIssuer {
        /// The CA's subject.
        issuer: String,
        /// First second of its validity.
        not_before: UnixTime,
        /// The CA's.
        limit: UnixTime,
    },
    /// A CA above does not allow so many below it.
    #[error("the CA {issuer} allows {limit} CA certificates below it, here would be {found}")]
    PathTooLong {
        /// The CA's subject.
        issuer: String,
        /// What it allows.
        limit: u32,
        /// How many there would be.
        found: u32,
    },
    /// The new CA promises more below it than the ones above allow.
    #[error("a path length of {asked} is asked for, the CA {issuer} leaves at most {limit}")]
    PathLengthWidened {
        /// The CA's subject.
        issuer: String,
        /// What is left.
        limit: u32,
        /// What is asked for, `any` if nothing.
        asked: String,
    },
    /// A name is outside what a CA above permits.
    #[error("the CA {issuer} does not permit the name {name:?}")]
    NotPermitted {
        /// The CA's subject.
        issuer: String,
        /// The name.
        name: String,
    },
    /// A name is among what a CA above excludes.
    #[error("the CA {issuer} excludes the name {name:?} ({constraint})")]
    Excluded {
        /// The CA's subject.
        issuer: String,
        /// The name.
        name: String,
        /// What it matches.
        constraint: String,
    },
    /// A CA above constrains names in a way that is not evaluated.
    #[error("the CA {issuer} constrains {kind}, which is not evaluated here")]
    UnknownConstraint {
        /// The CA's subject.
        issuer: String,
        /// What it constrains.
        kind: &'static str,
    },
    /// A CA above is not for TLS.
    #[error("the CA {issuer} has an extended key usage without TLS client and server")]
    NotForTls {
        /// The CA's subject.
        issuer: String,
    },
}

/// Checks `candidate` under `chain`, the CA that signs first, the root last, at `now`.
///
/// # Errors
/// [`PathError`], the first rule that fails, beginning with the CA that signs.
pub fn check(
    chain: &[&CaCertificate],
    candidate: &Candidate<'_>,
    now: UnixTime,
) -> Result<(), PathError> {
    let signer = chain.first().ok_or(PathError::NoIssuer)?;
    if candidate.not_before > candidate.not_after {
        return Err(PathError::NoLifetime {
            not_before: candidate.not_before,
            not_after: candidate.not_after,
        });
    }
    if candidate.not_before < signer.not_before() {
        return Err(PathError::BeginsBeforeIssuer {
            issuer: signer.subject().to_owned(),
            not_before: candidate.not_before,
            limit: signer.not_before(),
        });
    }
    for (depth, issuer) in (0_u32..).zip(chain) {
        check_validity(issuer, candidate, now)?;
        check_length(issuer, candidate.ca, depth)?;
        if !issuer.limits().allows_tls {
            return Err(PathError::NotForTls {
                issuer: issuer.subject().to_owned(),
            });
        }
        check_names(issuer, candidate)?;
    }
    Ok(())
}

/// When what is signed under `chain` can be valid: inside all of it.
#[must_use]
pub fn validity(chain: &[&CaCertificate]) -> Option<Validity> {
    Some(Validity {
        not_before: chain.first()?.not_before(),
        not_after: chain.iter().map(|ca| ca.not_after()).min()?,
    })
}

fn check_validity(
    issuer: &CaCertificate,
    candidate: &Candidate<'_>,
    now: UnixTime,
) -> Result<(), PathError> {
    if now < issuer.not_before() || now > issuer.not_after() {
        return Err(PathError::IssuerNotValid {
            issuer: issuer.subject().to_owned(),
            not_before: issuer.not_before(),
            not_after: issuer.not_after(),
            now,
        });
    }
    if candidate.not_after > issuer.not_after() {
        return Err(PathError::OutlivesIssuer {
            issuer: issuer.subject().to_owned(),
            not_after: candidate.not_after,
            limit: issuer.not_after(),
        });
    }
    Ok(())
}

/// `depth` CA certificates are between `issuer` and the candidate.
fn check_length(
    issuer: &CaCertificate,
    ca: Option<CaCandidate>,
    depth: u32,
) -> Result<(), PathError> {
    let Some(limit) = issuer.limits().path_length else {
        return Ok(());
    };
    let found = depth.saturating_add(u32::from(ca.is_some()));
    let left = limit
        .checked_sub(found)
        .ok_or_else(|| PathError::PathTooLong {
            issuer: issuer.subject().to_owned(),
            limit,
            found,
        })?;
    match ca {
        Some(CaCandidate { path_length }) if path_length.is_none_or(|asked| asked > left) => {
            Err(PathError::PathLengthWidened {
                issuer: issuer.subject().to_owned(),
                limit: left,
                asked: path_length.map_or_else(|| "any".to_owned(), |asked| asked.to_string()),
            })
        }
        _ => Ok(()),
    }
}

fn check_names(issuer: &CaCertificate, candidate: &Candidate<'_>) -> Result<(), PathError> {
    let limits = issuer.limits();
    if limits.permitted.is_empty() && limits.excluded.is_empty() {
        return Ok(());
    }
    let all = limits.permitted.iter().chain(&limits.excluded);
    if candidate.ca.is_some() {
        for constraint in all {
            if let NameConstraint::Other(kind) = constraint {
                return Err(PathError::UnknownConstraint {
                    issuer: issuer.subject().to_owned(),
                    kind,
                });
            }
        }
    }
    let uris = candidate.uris.iter().map(|uri| Name::Uri(uri));
    let dns = candidate.dns.iter().map(|name| Name::Dns(name));
    let ips = candidate.ips.iter().map(|ip| Name::Ip(*ip));
    for name in uris.chain(dns).chain(ips) {
        // RFC 5280 §4.2.1.10: a URI without a host must be rejected where URIs are constrained.
        if limits.constrains_uris() && !name.has_host() {
            return Err(PathError::NotPermitted {
                issuer: issuer.subject().to_owned(),
                name: name.to_string(),
            });
        }
        if let Some(constraint) = limits.excluded.iter().find(|one| name.matches(one)) {
            return Err(PathError::Excluded {
                issuer: issuer.subject().to_owned(),
                name: name.to_string(),
                constraint: constraint.to_string(),
            });
        }
        let mut of_its_kind = limits
            .permitted
            .iter()
            .filter(|one| name.is_kind(one))
            .peekable();
        if of_its_kind.peek().is_some() && !of_its_kind.any(|one| name.matches(one)) {
            return Err(PathError::NotPermitted {
                issuer: issuer.subject().to_owned(),
                name: name.to_string(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
