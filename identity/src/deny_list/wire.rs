//! The JWS around a deny list: writing it and checking it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::UnixTime;
use crate::deny_list::error::{Currency, DenyListError, HeaderProblem};
use crate::deny_list::key::ListKey;
use crate::deny_list::list::DenyList;
use crate::deny_list::payload::Payload;
use crate::deny_list::{MAX_CLOCK_AHEAD_SECONDS, MAX_JWS_BYTES};
use crate::x509::signature::ecdsa_raw_to_der;
use crate::x509::{SignatureAlgorithm, VerifySignature};

/// The bytes to sign: header and payload in base64url, with a dot between (RFC 7515 §5.1).
///
/// `kid` is [`ListKey::kid`] of the signing key. Nothing is checked: a payload beyond the limits is
/// refused by every verifier.
#[must_use]
pub fn signing_input(payload: &Payload, kid: &str) -> Vec<u8> {
    let header = serde_json::json!({ "alg": ALGORITHM, "kid": kid, "typ": TYPE });
    let mut input = URL_SAFE_NO_PAD.encode(header.to_string());
    input.push('.');
    URL_SAFE_NO_PAD.encode_string(payload.to_json(), &mut input);
    input.into_bytes()
}

/// The JWS of a [`signing_input`] and the signature over it: r and s, 32 bytes each, big-endian.
#[must_use]
pub fn assemble(signing_input: &[u8], raw_signature: &[u8; 64]) -> String {
    let mut jws = String::from_utf8_lossy(signing_input).into_owned();
    jws.push('.');
    URL_SAFE_NO_PAD.encode_string(raw_signature, &mut jws);
    jws
}

/// Checks a deny list: form, header, signature by one of the pinned `keys`, schema, numbers, time,
/// and that it is no older than `floor`, the newest (epoch, sequence) known.
///
/// The payload is not looked at before the signature is found good. A list equal to the floor is
/// accepted; so is every list of a later epoch.
///
/// # Errors
/// See [`DenyListError`].
pub fn verify(
    jws: &[u8],
    keys: &[ListKey],
    verifier: &dyn VerifySignature,
    now: UnixTime,
    floor: Option<(u64, u64)>,
) -> Result<DenyList, DenyListError> {
    if jws.len() > MAX_JWS_BYTES {
        return Err(DenyListError::TooLarge { len: jws.len() });
    }
    let parts = Parts::split(jws).ok_or(DenyListError::NotJws)?;
    let kid = read_header(parts.header)?;
    let key =
        keys.iter()
            .find(|key| key.kid() == kid)
            .ok_or_else(|| DenyListError::UnknownKey {
                kid: kid.chars().take(64).collect(),
            })?;
    let raw: [u8; 64] = decode(parts.signature)?
        .try_into()
        .map_err(|_other_length: Vec<u8>| DenyListError::BadSignature)?;
    let signature = ecdsa_raw_to_der(&raw).ok_or(DenyListError::BadSignature)?;
    verifier
        .verify(
            SignatureAlgorithm::EcdsaSha256,
            key.spki_der(),
            parts.signed,
            &signature,
        )
        .map_err(|_bad| DenyListError::BadSignature)?;
    let list = DenyList::from_payload(read_payload(parts.payload)?)?;
    check_time(&list, now)?;
    check_floor(&list, floor)?;
    Ok(list)
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

/// The JOSE header; RFC 7515 allows more, which would have to be understood.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
}

fn read_header(part: &[u8]) -> Result<String, DenyListError> {
    if part.len() > MAX_HEADER_BYTES {
        return Err(DenyListError::BadHeader {
            problem: HeaderProblem::Malformed,
        });
    }
    let problem = match serde_json::from_slice::<Header>(&decode(part)?) {
        Err(_malformed) => HeaderProblem::Malformed,
        Ok(header) if header.alg != ALGORITHM => HeaderProblem::Algorithm,
        Ok(header) if header.typ != TYPE => HeaderProblem::Type,
        Ok(header) => return Ok(header.kid),
    };
    Err(DenyListError::BadHeader { problem })
}

fn read_payload(part: &[u8]) -> Result<Payload, DenyListError> {
    serde_json::from_slice(&decode(part)?).map_err(|error| DenyListError::BadPayload {
        line: error.line(),
        column: error.column(),
    })
}

fn decode(part: &[u8]) -> Result<Vec<u8>, DenyListError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_not_base64url| DenyListError::NotJws)
}

fn check_time(list: &DenyList, now: UnixTime) -> Result<(), Currency> {
    if list.is_stale(now) {
        return Err(Currency::Expired {
            expires: list.expires(),
            now,
        });
    }
    if list.issued().secs_since(now) > MAX_CLOCK_AHEAD_SECONDS {
        return Err(Currency::FromTheFuture {
            issued: list.issued(),
            now,
        });
    }
    Ok(())
}

fn check_floor(list: &DenyList, floor: Option<(u64, u64)>) -> Result<(), DenyListError> {
    let (epoch, sequence) = (list.epoch(), list.sequence());
    match floor {
        Some((floor_epoch, floor_sequence))
            if (epoch, sequence) < (floor_epoch, floor_sequence) =>
        {
            Err(DenyListError::RolledBack {
                epoch,
                sequence,
                floor_epoch,
                floor_sequence,
            })
        }
        _ => Ok(()),
    }
}

const ALGORITHM: &str = "ES256";
const TYPE: &str = "countersign-deny-list+jws";
/// Longest header, in bytes of base64url; ours takes 176.
const MAX_HEADER_BYTES: usize = 512;
