//! What an upstream answers, checked against what was asked.

use crate::ca::import::chain_to_root;
use crate::ca::path::{self, Candidate};
use crate::ca::{CaCertificate, NameConstraint};
use crate::upstream::{SignedIntermediate, SigningRequest, UpstreamError};

/// Parses PEM certificates, the intermediate first, and [`check`]s them.
///
/// # Errors
/// [`UpstreamError`].
pub(crate) fn parse(
    text: &str,
    request: &SigningRequest,
) -> Result<SignedIntermediate, UpstreamError> {
    let certificates = CaCertificate::all_from_pem(text)
        .map_err(|problem| UpstreamError::BadAnswer { problem })?;
    check(certificates, request)
}

/// Checks certificates, the intermediate first, the others in any order, the root among them or not.
///
/// It must be for our key and our root, a CA with room for leaves, distinct in subject and key from
/// every CA above it, of our trust domain, constrained as asked, and every leaf of our trust domain
/// below it must validate. Its end may be sooner than asked, not in the past.
///
/// # Errors
/// [`UpstreamError`].
pub(crate) fn check(
    certificates: Vec<CaCertificate>,
    request: &SigningRequest,
) -> Result<SignedIntermediate, UpstreamError> {
    let bad = |problem| Err(UpstreamError::BadAnswer { problem });
    let mut certificates = certificates.into_iter();
    let Some(own) = certificates.next() else {
        return bad("there is no certificate in it");
    };
    if own.spki_der() != request.spki_der {
        return bad("its key is another one than was asked for");
    }
    if own.weakness().is_some() {
        return bad("its signature or key is too weak or not supported");
    }
    let chain = chain_to_root(own, certificates.collect(), request.root.clone())
        .map_err(|error| UpstreamError::BadChain(Box::new(error)))?;
    let (Some((certificate, above)), Some((_root, below))) =
        (chain.split_first(), chain.split_last())
    else {
        return bad("there is no chain in it");
    };
    if above.is_empty() {
        return bad("it is the root itself");
    }
    if above
        .iter()
        .any(|ca| ca.subject_der() == certificate.subject_der())
    {
        return bad("its subject is that of a CA above it");
    }
    if above.iter().any(|ca| ca.weakness().is_some()) {
        return bad("a CA above it is too weak or not supported");
    }
    let hosts = request.profile.uri_hosts.iter();
    let kept = hosts.map(|host| NameConstraint::Uri(host.as_str().to_owned()));
    if !kept
        .into_iter()
        .all(|host| certificate.limits().permitted.contains(&host))
    {
        return bad("it lacks the name constraints that were asked for");
    }
    let leaf = format!("{}/leaf", request.profile.trust_domain.id_string());
    let chain: Vec<&CaCertificate> = chain.iter().collect();
    let candidate = Candidate {
        uris: vec![&leaf],
        dns: Vec::new(),
        ips: Vec::new(),
        ca: None,
        not_before: request.now,
        not_after: request.now,
    };
    path::check(&chain, &candidate, request.now).map_err(UpstreamError::Path)?;
    Ok(SignedIntermediate {
        certificate: certificate.clone(),
        upper: below.get(1..).unwrap_or_default().to_vec(),
    })
}
