//! Small signed JSON documents: the heads of deny lists and of policy bundles.
//!
//! A head travels as a JWS in compact serialization (RFC 7515 §7.1): header `{"alg":"ES256","kid":"…","typ":"…"}`,
//! with the signer's certificate in `x5c` (§4.1.6), the document as JSON, and r and s of 32 bytes each (RFC 7518
//! §3.4). One key signs all kinds; `typ` says which of them a head is, and is signed with it, so that none can pass
//! for another (RFC 8725 §3.11).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use self::members::Members;
use crate::UnixTime;
use crate::deny_list::{DenyList, HeaderProblem, ListSigners, SignerError};
use crate::x509::signature::ecdsa_raw_to_der;
use crate::x509::{SignatureAlgorithm, VerifySignature};

pub(crate) mod members;

/// Longest signed head, in bytes. Ours take 600, and 1,300 more for a certificate signed with P-256;
/// a signature of RSA 4096 makes that 2,200.
pub const MAX_HEAD_BYTES: usize = 8 * 1024;

/// What a head is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// A deny list.
    DenyList,
    /// A policy bundle.
    PolicyBundle,
}

impl Purpose {
    /// The header's `typ`.
    #[must_use]
    pub const fn typ(self) -> &'static str {
        match self {
            Self::DenyList => "countersign-deny-list+jws",
            Self::PolicyBundle => "countersign-policy-bundle+jws",
        }
    }
}

/// What the signature of a head is held against.
#[derive(Clone, Copy)]
pub struct Proof<'a> {
    /// Who may sign.
    pub signers: &'a ListSigners,
    /// The cryptography.
    pub verifier: &'a dyn VerifySignature,
    /// The time, for the signer's certificate.
    pub now: UnixTime,
    /// The deny list in hand: a certificate that it denies signs nothing.
    pub denied: Option<&'a DenyList>,
}

/// Why a signed head is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SignedError {
    /// More bytes than the limit.
    #[error("signed head is {len} bytes, limit is {MAX_HEAD_BYTES}")]
    TooLarge {
        /// Length found, in bytes.
        len: usize,
    },
    /// Not three parts of base64url without padding (RFC 7515 §7.1).
    #[error("signed head is not a JWS in compact serialization")]
    NotJws,
    /// The header is not exactly `alg` ES256, `kid`, the purpose's `typ` and maybe `x5c`.
    #[error("header of the signed head is refused: {problem}")]
    BadHeader {
        /// What is wrong with it.
        problem: HeaderProblem,
    },
    /// No pinned key has this key id.
    #[error("signed by key {kid:?}, which is not pinned")]
    UnknownKey {
        /// The key id, at most 64 characters of it.
        kid: String,
    },
    /// The signer's certificate is not one of the authority that is pinned.
    #[error(transparent)]
    BadSigner(#[from] SignerError),
    /// The key named did not make the signature.
    #[error("signature is not its key's")]
    BadSignature,
    /// The document is not that of the purpose.
    #[error("signed head is malformed at line {line}, column {column}")]
    BadDocument {
        /// Line of the JSON, from 1.
        line: usize,
        /// Column of the JSON, from 1.
        column: usize,
    },
}

/// The bytes to sign: header and document in base64url, with a dot between (RFC 7515 §5.1).
///
/// `kid` is [`ListKey::kid`](crate::deny_list::ListKey::kid) of the signing key, `certificate` the
/// signer's, in DER. Nothing is checked: a head beyond the limits is refused by every verifier.
#[must_use]
pub fn signing_input(
    purpose: Purpose,
    document: &str,
    kid: &str,
    certificate: Option<&[u8]>,
) -> Vec<u8> {
    let mut header = serde_json::json!({ "alg": ALGORITHM, "kid": kid, "typ": purpose.typ() });
    if let (Some(der), Some(header)) = (certificate, header.as_object_mut()) {
        // RFC 7515 §4.1.6: base64, not base64url.
        header.insert("x5c".to_owned(), serde_json::json!([STANDARD.encode(der)]));
    }
    let mut input = URL_SAFE_NO_PAD.encode(header.to_string());
    input.push('.');
    URL_SAFE_NO_PAD.encode_string(document, &mut input);
    input.into_bytes()
}

/// The JWS of a [`signing_input`] and the signature over it: r and s, 32 bytes each, big-endian.
#[must_use]
pub fn assemble(signing_input: &[u8], raw_signature: &[u8; 64]) -> Vec<u8> {
    let mut jws = signing_input.to_vec();
    jws.push(b'.');
    jws.extend_from_slice(URL_SAFE_NO_PAD.encode(raw_signature).as_bytes());
    jws
}

/// Checks form, header, signer and signature of a head, and lets `read` take every member of its document, which is
/// not looked at before.
///
/// # Errors
/// See [`SignedError`].
pub(crate) fn open<T>(
    purpose: Purpose,
    jws: &[u8],
    proof: &Proof<'_>,
    read: fn(&mut Members) -> Option<T>,
) -> Result<T, SignedError> {
    let document = verified(purpose, jws, proof)?;
    let bad = |line, column| SignedError::BadDocument { line, column };
    let mut members =
        Members::read(&document).map_err(|error| bad(error.line(), error.column()))?;
    let read = read(&mut members).filter(|_| members.is_empty());
    // Of a field that is missing, unknown or of another type, where reading has ended.
    read.ok_or_else(|| bad(1, document.len()))
}

fn verified(purpose: Purpose, jws: &[u8], proof: &Proof<'_>) -> Result<Vec<u8>, SignedError> {
    if jws.len() > MAX_HEAD_BYTES {
        return Err(SignedError::TooLarge { len: jws.len() });
    }
    let parts = Parts::split(jws).ok_or(SignedError::NotJws)?;
    let header = Header::read(parts.header, purpose)?;
    let key = proof.signers.key(
        &header.kid,
        header.certificate.as_deref(),
        proof.verifier,
        proof.now,
        proof.denied,
    )?;
    let raw: [u8; 64] = decode(parts.signature)?
        .try_into()
        .map_err(|_other_length: Vec<u8>| SignedError::BadSignature)?;
    let signature = ecdsa_raw_to_der(&raw).ok_or(SignedError::BadSignature)?;
    proof
        .verifier
        .verify(
            SignatureAlgorithm::EcdsaSha256,
            key.spki_der(),
            parts.signed,
            &signature,
        )
        .map_err(|_bad| SignedError::BadSignature)?;
    decode(parts.payload)
}

/// A JWS in compact serialization, cut at its two dots.
struct Parts<'a> {
    header: &'a [u8],
    payload: &'a [u8],
    signature: &'a [u8],
    /// Header, dot, payload.
    signed: &'a [u8],
}

impl<'a> Parts<'a> {
    fn split(jws: &'a [u8]) -> Option<Self> {
        let dot = |byte: &u8| *byte == b'.';
        let first = jws.iter().position(dot)?;
        let last = jws.iter().rposition(dot)?;
        let payload = jws.get(first.checked_add(1)?..last)?;
        if payload.contains(&b'.') {
            return None;
        }
        Some(Self {
            header: jws.get(..first)?,
            payload,
            signature: jws.get(last.checked_add(1)?..)?,
            signed: jws.get(..last)?,
        })
    }
}

/// The JOSE header; RFC 7515 allows more in it, which would have to be understood.
struct Header {
    alg: String,
    typ: String,
    kid: String,
    certificate: Option<Vec<u8>>,
}

impl Header {
    fn read(part: &[u8], purpose: Purpose) -> Result<Self, SignedError> {
        let written = Members::read(&decode(part)?).ok();
        let problem = match written.and_then(Self::written) {
            None => HeaderProblem::Malformed,
            Some(header) if header.alg != ALGORITHM => HeaderProblem::Algorithm,
            Some(header) if header.typ != purpose.typ() => HeaderProblem::Type,
            Some(header) => return Ok(header),
        };
        Err(SignedError::BadHeader { problem })
    }

    fn written(mut members: Members) -> Option<Self> {
        let certificate = match members.take("x5c") {
            None => None,
            Some(Value::Array(one)) => match one.as_slice() {
                [Value::String(text)] => Some(STANDARD.decode(text).ok()?),
                _ => return None,
            },
            Some(_) => return None,
        };
        let header = Self {
            alg: members.text("alg")?,
            typ: members.text("typ")?,
            kid: members.text("kid")?,
            certificate,
        };
        members.is_empty().then_some(header)
    }
}

fn decode(part: &[u8]) -> Result<Vec<u8>, SignedError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_not_base64url| SignedError::NotJws)
}

const ALGORITHM: &str = "ES256";
