//! The certificate authority: attest, authorize, sign, record; revocation and signed deny lists.
