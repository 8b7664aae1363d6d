//! Keys and certificate requests.

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};

use crate::failure::Failure;

/// A P-256 key and a PKCS#10 request for it, both PEM.
#[derive(Clone)]
pub(crate) struct Requested {
    pub(crate) key_pem: String,
    pub(crate) csr_pem: String,
}

pub(crate) fn request() -> Result<Requested, Failure> {
    let failed = Failure::part("certificate request");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(&failed)?;
    let csr_pem = CertificateParams::default()
        .serialize_request(&key)
        .and_then(|csr| csr.pem())
        .map_err(&failed)?;
    Ok(Requested {
        key_pem: key.serialize_pem(),
        csr_pem,
    })
}
