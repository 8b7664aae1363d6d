//! Keys and CSRs as the clients make them: a new key for every CSR.

use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType};

/// Kind of a workload's key.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum WorkloadKey {
    /// istio-agent's default.
    #[default]
    Rsa2048,
    /// istio-agent with `ECC_SIGNATURE_ALGORITHM=ECDSA`, and ztunnel.
    EcdsaP256,
}

/// A CSR and the key it is for, PEM.
#[derive(Clone)]
pub(crate) struct Requested {
    pub(crate) csr_pem: String,
    pub(crate) key_pem: String,
}

/// Makes a new key and a CSR that asks for `id` in its SAN, without a subject.
pub(crate) fn request(id: &str, kind: WorkloadKey) -> Result<Requested, rcgen::Error> {
    let key = match kind {
        WorkloadKey::Rsa2048 => {
            KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)?
        }
        WorkloadKey::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?,
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(id.try_into()?)];
    Ok(Requested {
        csr_pem: params.serialize_request(&key)?.pem()?,
        key_pem: key.serialize_pem(),
    })
}
