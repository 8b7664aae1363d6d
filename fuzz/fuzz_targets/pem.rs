//! PEM text, plain and URL-encoded: no panic, and what is accepted is what `encode` writes.

#![no_main]

use identity::deny_list::ListKey;
use identity::pem;
use identity::x509::{IssuerKey, SvidProfile, X509Svid};
use libfuzzer_sys::fuzz_target;

const MAX: usize = 64 * 1024;

fuzz_target!(|text: &[u8]| {
    if let Ok(svid) = X509Svid::parse_pem(text, SvidProfile::Istio) {
        let written = pem::encode(svid.der(), pem::CERTIFICATE);
        assert_eq!(
            X509Svid::parse_pem(written.as_bytes(), SvidProfile::Istio),
            Ok(svid)
        );
    }
    let Ok(text) = std::str::from_utf8(text) else {
        return;
    };
    if let Ok(blocks) = pem::blocks(text, pem::CERTIFICATE, MAX) {
        assert!(!blocks.is_empty());
        let written: String = blocks
            .iter()
            .map(|der| pem::encode(der, pem::CERTIFICATE))
            .collect();
        assert_eq!(pem::blocks(&written, pem::CERTIFICATE, 2 * MAX), Ok(blocks));
    }
    let _either = IssuerKey::from_certificate_pem(text);
    if let Ok(key) = ListKey::from_pem(text) {
        assert_eq!(ListKey::from_pem(&key.to_pem()), Ok(key));
    }
});
