//! A certificate authority for tests: root, intermediate, deny list key. New for every test.

use std::time::{Duration, SystemTime};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use identity::{
    UnixTime,
    deny_list::{Entries, Head, ListKey, assemble, signing_input},
    policy_bundle::{self, Bundle},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType,
};

pub(crate) struct Ca {
    pub(crate) root_pem: String,
    pub(crate) intermediate_pem: String,
    intermediate: Issuer<'static, KeyPair>,
    list_key: KeyPair,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let root_key = KeyPair::generate().unwrap();
        let root = ca_params("root").self_signed(&root_key).unwrap();
        let root_issuer = Issuer::new(ca_params("root"), root_key);
        let key = KeyPair::generate().unwrap();
        let intermediate = ca_params("intermediate")
            .signed_by(&key, &root_issuer)
            .unwrap();
        Self {
            root_pem: root.pem(),
            intermediate_pem: intermediate.pem(),
            intermediate: Issuer::new(ca_params("intermediate"), key),
            list_key: KeyPair::generate().unwrap(),
        }
    }

    /// Signs a leaf for the key of a request: leaf, intermediate, root, PEM.
    pub(crate) fn sign(&self, csr_pem: &str, spiffe_id: &str, ttl: Duration) -> Vec<String> {
        let request = CertificateSigningRequestParams::from_pem(csr_pem).unwrap();
        let mut params = leaf_params(ttl);
        params.subject_alt_names = vec![SanType::URI(spiffe_id.try_into().unwrap())];
        let leaf = params
            .signed_by(&request.public_key, &self.intermediate)
            .unwrap();
        vec![
            leaf.pem(),
            self.intermediate_pem.clone(),
            self.root_pem.clone(),
        ]
    }

    /// A server certificate for the authority, with its key.
    pub(crate) fn server(&self) -> (String, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = leaf_params(Duration::from_secs(3600));
        params.subject_alt_names = vec![SanType::DnsName(
            "countersign-authority".try_into().unwrap(),
        )];
        let leaf = params.signed_by(&key, &self.intermediate).unwrap();
        (leaf.pem() + &self.intermediate_pem, key)
    }

    pub(crate) fn list_key_pem(&self) -> String {
        self.list_key.public_key_pem()
    }

    /// The signed head of a deny list.
    pub(crate) fn list_head(&self, position: (u64, u64), entries: &Entries) -> Vec<u8> {
        let now = UnixTime::from_secs(unix_now());
        let head = Head::of(entries, position, now, 60).unwrap();
        self.sign_jws(&signing_input(&head, &self.list_kid(), None))
    }

    /// A policy bundle, as it travels.
    pub(crate) fn policy_bundle(&self, name: &str, position: (u64, u64), body: &[u8]) -> Vec<u8> {
        let now = UnixTime::from_secs(unix_now());
        let head = policy_bundle::Head::of(name.parse().unwrap(), position, now, body).unwrap();
        let head = self.sign_jws(&policy_bundle::signing_input(&head, &self.list_kid(), None));
        Bundle { head: &head, body }.to_bytes()
    }

    fn list_kid(&self) -> String {
        let key = ListKey::from_spki_der(&self.list_key.subject_public_key_info());
        key.unwrap().kid().to_owned()
    }

    fn sign_jws(&self, input: &[u8]) -> Vec<u8> {
        let signer = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            self.list_key.serialized_der(),
        )
        .unwrap();
        let signature = signer.sign(&SystemRandom::new(), input).unwrap();
        assemble(input, signature.as_ref().try_into().unwrap())
    }
}

pub(crate) fn unix_now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(now.unwrap().as_secs()).unwrap()
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (SystemTime::now() - Duration::from_secs(60)).into();
    params.not_after = (SystemTime::now() + Duration::from_secs(86_400)).into();
    params
}

fn leaf_params(ttl: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    params.not_before = (SystemTime::now() - Duration::from_secs(10)).into();
    params.not_after = (SystemTime::now() + ttl).into();
    params
}
