//! Istio's principal: a SPIFFE ID without its scheme, as AuthorizationPolicy writes it.

use crate::{SpiffeId, SpiffeIdError};

/// The principal of an identity: `cluster.local/ns/x/sa/y` for `spiffe://cluster.local/ns/x/sa/y`
/// (Istio AuthorizationPolicy `source.principals`).
///
/// Every SPIFFE ID has one, also those outside Istio's `/ns/NS/sa/SA` form.
#[must_use]
pub fn principal(id: &SpiffeId) -> String {
    let (domain, path) = (id.trust_domain_name(), id.path());
    let mut text = String::with_capacity(domain.len() + path.len());
    text.push_str(domain);
    text.push_str(path);
    text
}

/// The identity whose [`principal`] is `text`.
///
/// # Errors
/// When `spiffe://` in front of `text` is no SPIFFE ID.
pub fn from_principal(text: &str) -> Result<SpiffeId, SpiffeIdError> {
    SpiffeId::new(format!("spiffe://{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_id_without_its_scheme() {
        let id: SpiffeId = "spiffe://cluster.local/ns/default/sa/sleep"
            .parse()
            .unwrap();
        assert_eq!(principal(&id), "cluster.local/ns/default/sa/sleep");
        assert_eq!(from_principal(&principal(&id)), Ok(id));
    }

    #[test]
    fn refuses_a_principal_that_brings_its_own_scheme() {
        let refused = from_principal("spiffe://cluster.local/ns/a/sa/b");
        assert_eq!(refused, Err(SpiffeIdError::BadTrustDomainChar));
    }
}
