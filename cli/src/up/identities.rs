//! The newest certificate of each identity, and how often it was renewed.

use std::collections::BTreeMap;

use api::admin::ListCertificatesRequest;

use crate::admin::Admin;
use crate::commands::cert::state_name;
use crate::failure::Failure;

/// An identity's newest certificate.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) id: String,
    pub(crate) serial: String,
    pub(crate) not_after: i64,
    pub(crate) state: &'static str,
    /// Certificates that followed the first one seen.
    pub(crate) renewals: u64,
    issued_at: i64,
}

/// All identities that have an unexpired certificate, or had one since the view began.
#[derive(Debug, Default)]
pub(crate) struct Identities(BTreeMap<String, Identity>);

impl Identities {
    /// Every identity, by its SPIFFE ID.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Identity> {
        self.0.values()
    }

    /// Asks the authority.
    pub(crate) async fn refresh(&mut self, admin: &mut Admin) -> Result<(), Failure> {
        let request = ListCertificatesRequest {
            unexpired: true,
            limit: 200,
            ..ListCertificatesRequest::default()
        };
        let answer = admin.list_certificates(request).await?.into_inner();
        let first = self.0.is_empty();
        // Newest first; the oldest of them must be seen first for renewals to count.
        for certificate in answer.certificates.into_iter().rev() {
            let state = state_name(certificate.state());
            let fresh = Identity {
                id: certificate.spiffe_id.clone(),
                serial: certificate.serial,
                not_after: certificate.not_after,
                state,
                renewals: 0,
                issued_at: certificate.issued_at,
            };
            match self.0.get_mut(&certificate.spiffe_id) {
                None => {
                    self.0.insert(certificate.spiffe_id, fresh);
                }
                Some(known) if known.serial == fresh.serial => known.state = state,
                Some(known) if known.issued_at < fresh.issued_at => {
                    *known = Identity {
                        renewals: known.renewals + 1,
                        ..fresh
                    };
                }
                Some(_) => {}
            }
        }
        if first {
            // Certificates of an earlier run may still be unexpired; they are no renewals of this one.
            self.0
                .values_mut()
                .for_each(|identity| identity.renewals = 0);
        }
        Ok(())
    }
}
