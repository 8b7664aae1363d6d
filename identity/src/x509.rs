//! X509-SVIDs: parsing, profile checks (X509-SVID §4–5), validity times and the issuer's signature.
//!
//! A value of [`X509Svid`] has passed every profile check. Time and signature are checked apart,
//! by [`X509Svid::check_time`] and [`X509Svid::check_signature`], since they need the caller's
//! clock, trust bundle and cryptography.
//!
//! Not checked here: the chain above the issuer key, name constraints, revocation (see
//! [`crate::deny_list`]).

pub use crate::x509::digest::{BadDigest, Sha256Digest};
pub use crate::x509::error::{
    EncodingError, ExtensionError, IssuerError, NameError, SignatureError, SvidError, UsageError,
};
pub use crate::x509::issuer::IssuerKey;
pub use crate::x509::key_type::KeyType;
pub use crate::x509::profile::SvidProfile;
pub use crate::x509::signature::{BadSignature, SignatureAlgorithm, VerifySignature};
pub use crate::x509::svid::{Validity, X509Svid};

pub(crate) mod der;
mod digest;
mod error;
mod issuer;
mod key_type;
mod name;
mod oid;
mod outer;
mod profile;
mod san;
pub(crate) mod signature;
mod svid;

/// Longest certificate accepted, in bytes of DER. TLS peers send a few kilobytes; a key that needs
/// more is none that [`SignatureAlgorithm`] names.
pub const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;

/// Longest PEM text accepted for one certificate, in bytes: base64 of [`MAX_CERTIFICATE_BYTES`]
/// with its line ends and `+` and `/` URL-encoded.
pub const MAX_PEM_BYTES: usize = 3 * MAX_CERTIFICATE_BYTES;

/// Longest PEM text accepted for a set of issuer certificates, in bytes.
pub const MAX_ISSUER_PEM_BYTES: usize = 256 * 1024;

/// Longest SPIFFE ID accepted, in bytes (SPIFFE-ID §2.3).
pub const MAX_ID_BYTES: usize = 2048;

/// Most extensions accepted in one certificate.
pub const MAX_EXTENSIONS: usize = 32;

/// Longest serial number accepted, in bytes (RFC 5280 §4.1.2.2).
pub const MAX_SERIAL_BYTES: usize = 20;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
