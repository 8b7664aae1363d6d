//! The JWS around a deny list's head: writing it and checking it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;

use crate::UnixTime;
use crate::deny_list::MAX_HEAD_BYTES;
use crate::deny_list::error::{DenyListError, HeaderProblem};
use crate::deny_list::head::Head;
use crate::deny_list::list::DenyList;
use crate::deny_list::signers::ListSigners;
use crate::x509::signature::ecdsa_raw_to_der;
use crate::x509::{SignatureAlgorithm, VerifySignature};

/// The bytes to sign: header and head in base64url, with a dot between (RFC 7515 §5.1).
///
/// `kid` is [`ListKey::kid`](crate::deny_list::ListKey::kid) of the signing key, `certificate` the
/// signer's, in DER. Nothing is checked: a head beyond the limits is refused by every verifier.
#[must_use]
pub fn signing_input(head: &Head, kid: &str, certificate: Option<&[u8]>) -> Vec<u8> {
    let mut header = serde_json::json!({ "alg": ALGORITHM, "kid": kid, "typ": TYPE });
    if let (Some(der), Some(header)) = (certificate, header.as_object_mut()) {
        // RFC 7515 §4.1.6: base64, not base64url.
        header.insert("x5c".to_owned(), serde_json::json!([STANDARD.encode(der)]));
    }
    let mut input = URL_SAFE_NO_PAD.encode(header.to_string());
    input.push('.');
    URL_SAFE_NO_PAD.encode_string(head.to_json(), &mut input);
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

/// What a head is held against.
#[derive(Clone, Copy)]
pub struct Check<'a> {
    /// Who may sign.
    pub signers: &'a ListSigners,
    /// The cryptography.
    pub verifier: &'a dyn VerifySignature,
    /// The time.
    pub now: UnixTime,
    /// The newest epoch and sequence known; one equal to it is accepted, and so is every one of a
    /// later epoch.
    pub floor: Option<(u64, u64)>,
    /// The list in hand: what it denies signs no lists, and changes are made to its entries.
    pub held: Option<&'a DenyList>,
}

/// Checks a head: form, header, signer, signature, schema, numbers, time, floor.
///
/// The head is not looked at before the signature is found good.
///
/// # Errors
/// See [`DenyListError`].
pub fn verify(jws: &[u8], check: &Check<'_>) -> Result<Head, DenyListError> {
    if jws.len() > MAX_HEAD_BYTES {
        return Err(DenyListError::HeadTooLarge { len: jws.len() });
    }
    let parts = Parts::split(jws).ok_or(DenyListError::NotJws)?;
    let header = Header::read(parts.header)?;
    let key = check.signers.key(
        &header.kid,
        header.certificate.as_deref(),
        check.verifier,
        check.now,
        check.held,
    )?;
    let raw: [u8; 64] = decode(parts.signature)?
        .try_into()
        .map_err(|_other_length: Vec<u8>| DenyListError::BadSignature)?;
    let signature = ecdsa_raw_to_der(&raw).ok_or(DenyListError::BadSignature)?;
    check
        .verifier
        .verify(
            SignatureAlgorithm::EcdsaSha256,
            key.spki_der(),
            parts.signed,
            &signature,
        )
        .map_err(|_bad| DenyListError::BadSignature)?;
    let head = read_head(parts.payload)?;
    head.check_numbers()?;
    head.check_time(check.now)?;
    head.check_floor(check.floor)?;
    Ok(head)
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

/// The JOSE header as it is written; RFC 7515 allows more, which would have to be understood.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenHeader {
    alg: String,
    kid: String,
    typ: String,
    #[serde(default)]
    x5c: Option<[String; 1]>,
}

/// What a header says.
struct Header {
    kid: String,
    certificate: Option<Vec<u8>>,
}

impl Header {
    fn read(part: &[u8]) -> Result<Self, DenyListError> {
        let problem = match serde_json::from_slice::<WrittenHeader>(&decode(part)?) {
            Err(_malformed) => HeaderProblem::Malformed,
            Ok(header) if header.alg != ALGORITHM => HeaderProblem::Algorithm,
            Ok(header) if header.typ != TYPE => HeaderProblem::Type,
            Ok(WrittenHeader { kid, x5c, .. }) => match x5c.map(|[text]| STANDARD.decode(text)) {
                Some(Err(_not_base64)) => HeaderProblem::Malformed,
                None => {
                    let certificate = None;
                    return Ok(Self { kid, certificate });
                }
                Some(Ok(der)) => {
                    let certificate = Some(der);
                    return Ok(Self { kid, certificate });
                }
            },
        };
        Err(DenyListError::BadHeader { problem })
    }
}

fn read_head(part: &[u8]) -> Result<Head, DenyListError> {
    serde_json::from_slice(&decode(part)?).map_err(|error| DenyListError::BadHead {
        line: error.line(),
        column: error.column(),
    })
}

fn decode(part: &[u8]) -> Result<Vec<u8>, DenyListError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_not_base64url| DenyListError::NotJws)
}

const ALGORITHM: &str = "ES256";
const TYPE: &str = "countersign-deny-list+jws";
