//! The root's key on this machine, opened for each signature and closed again.

use std::path::{Path, PathBuf};

use futures::future::BoxFuture;

use crate::ca::load::open_key;
use crate::ca::make::{Signer, Unsigned};
use crate::ca::{CaCertificate, CaError, PassphraseSource, names, path};
use crate::upstream::{SignedIntermediate, SigningRequest, Upstream, UpstreamError};

/// Signs with the root's key.
#[derive(Debug)]
pub(super) struct OwnRoot {
    folder: PathBuf,
    passphrase: PassphraseSource,
}

impl OwnRoot {
    pub(super) fn new(folder: &Path, passphrase: PassphraseSource) -> Self {
        Self {
            folder: folder.to_owned(),
            passphrase,
        }
    }

    async fn sign_now(
        &self,
        request: &SigningRequest,
    ) -> Result<SignedIntermediate, UpstreamError> {
        let key_path = self.folder.join(names::ROOT_KEY);
        match key_path.try_exists() {
            Ok(true) => {}
            Ok(false) => return Err(UpstreamError::RootKeyAway),
            Err(source) => {
                return Err(UpstreamError::File {
                    action: "look for",
                    path: key_path,
                    source,
                });
            }
        }
        let id = request.profile.trust_domain.id_string();
        path::check(
            &[&request.root],
            &request.profile.candidate(&id),
            request.now,
        )
        .map_err(UpstreamError::Path)?;
        let key = open_key(&key_path, &self.passphrase)?;
        if key.public_key() != request.root.public_key() {
            return Err(CaError::KeyMismatch {
                key: key_path,
                certificate: self.folder.join(names::ROOT_CERTIFICATE),
            }
            .into());
        }
        let signer = Signer::Ca(&request.root);
        let unsigned =
            Unsigned::certificate(&request.profile, &request.spki_der, signer, key.as_ref())?;
        let der = unsigned.sign(key.as_ref()).await?;
        let certificate =
            CaCertificate::from_der(der).map_err(|problem| CaError::BadResult { problem })?;
        Ok(SignedIntermediate {
            certificate,
            upper: Vec::new(),
        })
    }
}

impl Upstream for OwnRoot {
    fn name(&self) -> String {
        "the root's key on this machine".to_owned()
    }

    fn sign<'a>(
        &'a self,
        request: &'a SigningRequest,
    ) -> BoxFuture<'a, Result<SignedIntermediate, UpstreamError>> {
        Box::pin(self.sign_now(request))
    }
}
