//! JSON Web Tokens (RFC 7519) in compact form, signed (RFC 7515), strictly.
//!
//! A token is parsed as [`Unverified`]; [`verify`](Unverified::verify) with the issuer's keys makes
//! it [`Signed`]; [`accept`](Signed::accept) looks at issuer, audience and times and gives the
//! claims. Each can only be had from the one before. Keys in a token's own header (`jwk`, `jku`,
//! `x5c`, `x5u`) are not looked at.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::UnixTime;
use serde_json::{Map, Value};

use crate::proof::keys::KeySet;
use crate::proof::strict_json::{self, StrictJsonError};

/// Largest token read, in bytes. Kubernetes' have about one thousand, those of CI systems two.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// How far an issuer's clock may be from ours, in seconds.
pub const LEEWAY_SECONDS: i64 = 10;

/// Why a token is not accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenFault {
    /// Longer than [`MAX_TOKEN_BYTES`].
    #[error("the token is {len} bytes, limit is {max}", max = MAX_TOKEN_BYTES)]
    TooLarge {
        /// Its length in bytes.
        len: usize,
    },
    /// Not three parts of unpadded base64url, or not JSON in them.
    #[error("the token's {part} is malformed")]
    Malformed {
        /// Which part: form, header, claims, signature, or a claim's name.
        part: &'static str,
    },
    /// A field stands twice.
    #[error("a field of the token's {part} stands twice")]
    Duplicate {
        /// Header or claims.
        part: &'static str,
    },
    /// `none`, an algorithm with a shared key, or one that is not known.
    #[error("the token's algorithm {found:?} is not accepted")]
    Algorithm {
        /// The algorithm, at most 32 characters of it.
        found: String,
    },
    /// An extension that must be understood and is not (RFC 7515 §4.1.11).
    #[error("the token has a critical header")]
    Critical,
    /// The issuer has no such key.
    #[error("the token's key is not one of its issuer's")]
    UnknownKey,
    /// The signature does not verify.
    #[error("the token's signature does not verify")]
    Signature,
    /// An issuer that is not configured.
    #[error("the token's issuer {found:?} is not accepted")]
    Issuer {
        /// The issuer, at most 128 characters of it.
        found: String,
    },
    /// A cluster that is not configured, or is not of that issuer.
    #[error("the cluster {found:?} is not known, or its tokens have another issuer")]
    Cluster {
        /// What the header `clusterid` says, at most 63 characters of it; empty without one.
        found: String,
    },
    /// Made for somebody else.
    #[error("the token's audience is not ours")]
    Audience,
    /// No `exp`: it would be good for ever.
    #[error("the token has no expiry")]
    NoExpiry,
    /// Past its `exp`.
    #[error("the token expired at {at}")]
    Expired {
        /// Its `exp`.
        at: UnixTime,
    },
    /// Before its `nbf` or `iat`.
    #[error("the token is not valid before {at}")]
    NotYetValid {
        /// Its `nbf`, or `iat`.
        at: UnixTime,
    },
    /// Not of a service account.
    #[error("the token is not of a Kubernetes service account: {problem}")]
    NotServiceAccount {
        /// What is wrong.
        problem: &'static str,
    },
    /// The API server does not accept it.
    #[error("the Kubernetes API server does not accept the token")]
    NotReviewed,
}

impl TokenFault {
    /// Stable name of the rule that failed.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "jwt_too_large",
            Self::Malformed { .. } => "jwt_malformed",
            Self::Duplicate { .. } => "jwt_duplicate_field",
            Self::Algorithm { .. } => "jwt_algorithm",
            Self::Critical => "jwt_critical_header",
            Self::UnknownKey => "jwt_unknown_key",
            Self::Signature => "jwt_bad_signature",
            Self::Issuer { .. } => "jwt_wrong_issuer",
            Self::Cluster { .. } => "unknown_cluster",
            Self::Audience => "jwt_wrong_audience",
            Self::NoExpiry => "jwt_no_expiry",
            Self::Expired { .. } => "jwt_expired",
            Self::NotYetValid { .. } => "jwt_not_yet_valid",
            Self::NotServiceAccount { .. } => "jwt_not_service_account",
            Self::NotReviewed => "token_review_failed",
        }
    }
}

/// Signature algorithms accepted (RFC 7518 §3.1, RFC 8037). None has a shared key, and none is
/// `none`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

impl Algorithm {
    /// By its name in JOSE, which is case-sensitive.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" => Self::Es512,
            "EdDSA" => Self::EdDsa,
            _ => return None,
        })
    }
}

/// A token of which only the form is known to be right.
#[derive(Debug)]
pub(crate) struct Unverified<'a> {
    algorithm: Algorithm,
    kid: Option<String>,
    claims: Claims,
    signed: &'a [u8],
    signature: Vec<u8>,
}

/// A token whose signature verified.
#[derive(Debug)]
pub(crate) struct Signed(Claims);

/// What a token says.
#[derive(Clone, Debug)]
pub(crate) struct Claims(Map<String, Value>);

/// What a token must say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    /// One of them is enough.
    pub(crate) audiences: &'a [String],
}

impl<'a> Unverified<'a> {
    /// Parses a token.
    ///
    /// # Errors
    /// [`TokenFault`]: too large, malformed, or of an algorithm that is not accepted.
    pub(crate) fn parse(token: &'a str) -> Result<Self, TokenFault> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenFault::TooLarge { len: token.len() });
        }
        let form = TokenFault::Malformed { part: "form" };
        let (signed, signature) = token.rsplit_once('.').ok_or_else(|| form.clone())?;
        let (header, claims) = signed.split_once('.').ok_or_else(|| form.clone())?;
        if claims.contains('.') {
            return Err(form);
        }
        let header = object(header, "header")?;
        let algorithm = algorithm(&header)?;
        let signature = URL_SAFE_NO_PAD
            .decode(signature)
            .map_err(|_not_base64| TokenFault::Malformed { part: "signature" })?;
        Ok(Self {
            algorithm,
            kid: text(&header, "kid")?.map(ToOwned::to_owned),
            claims: Claims(object(claims, "claims")?),
            signed: signed.as_bytes(),
            signature,
        })
    }

    /// The issuer it says it has, which only tells whose keys to verify with.
    ///
    /// # Errors
    /// [`TokenFault::Malformed`] without one.
    pub(crate) fn issuer(&self) -> Result<&str, TokenFault> {
        self.claims.required("iss")
    }

    /// Whether it could pass [`Signed::accept`]: what is sure to be refused is not worth asking
    /// anybody about.
    pub(crate) fn precheck(&self, expected: Expected<'_>, now: UnixTime) -> Result<(), TokenFault> {
        self.claims.check(expected, now)
    }

    /// What it says, of which nothing is proven.
    #[cfg(any(fuzzing, test))]
    pub(crate) const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// When it says that it expires.
    pub(crate) fn expiry(&self) -> Result<UnixTime, TokenFault> {
        self.claims.expiry()
    }

    /// Verifies the signature with `keys`.
    ///
    /// # Errors
    /// [`TokenFault::UnknownKey`] or [`TokenFault::Signature`].
    pub(crate) fn verify(&self, keys: &KeySet) -> Result<Signed, TokenFault> {
        let mut fault = TokenFault::UnknownKey;
        for key in keys.for_token(self.algorithm, self.kid.as_deref()) {
            match key.verify(self.algorithm, self.signed, &self.signature) {
                Ok(()) => return Ok(Signed(self.claims.clone())),
                Err(_bad) => fault = TokenFault::Signature,
            }
        }
        Err(fault)
    }
}

impl Signed {
    /// Checks issuer, audience and times.
    ///
    /// # Errors
    /// [`TokenFault`], the first that fails.
    pub(crate) fn accept(
        self,
        expected: Expected<'_>,
        now: UnixTime,
    ) -> Result<Claims, TokenFault> {
        self.0.check(expected, now)?;
        Ok(self.0)
    }
}

impl Claims {
    fn check(&self, expected: Expected<'_>, now: UnixTime) -> Result<(), TokenFault> {
        let issuer = self.required("iss")?;
        if issuer != expected.issuer {
            return Err(TokenFault::Issuer {
                found: clip(issuer, 128),
            });
        }
        if !self.is_for(expected.audiences)? {
            return Err(TokenFault::Audience);
        }
        let expiry = self.expiry()?;
        // RFC 7519 §4.1.4: "on or after which the JWT MUST NOT be accepted".
        if now.secs_since(expiry) >= LEEWAY_SECONDS {
            return Err(TokenFault::Expired { at: expiry });
        }
        for claim in ["nbf", "iat"] {
            if let Some(at) = self.time(claim)?
                && at.secs_since(now) > LEEWAY_SECONDS
            {
                return Err(TokenFault::NotYetValid { at });
            }
        }
        Ok(())
    }

    /// Whether one of `audiences` is among its own. RFC 7519 §4.1.3: one text, or a list.
    fn is_for(&self, audiences: &[String]) -> Result<bool, TokenFault> {
        let malformed = TokenFault::Malformed { part: "aud" };
        let is_ours = |found: &str| audiences.iter().any(|ours| ours == found);
        match self.0.get("aud") {
            None => Ok(false),
            Some(Value::String(found)) => Ok(is_ours(found)),
            Some(Value::Array(list)) => {
                let found: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
                Ok(found.ok_or(malformed)?.into_iter().any(is_ours))
            }
            Some(_) => Err(malformed),
        }
    }

    /// Its `exp`.
    pub(crate) fn expiry(&self) -> Result<UnixTime, TokenFault> {
        self.time("exp")?.ok_or(TokenFault::NoExpiry)
    }

    /// Its `sub`.
    pub(crate) fn subject(&self) -> Result<&str, TokenFault> {
        self.required("sub")
    }

    /// Any claim.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    fn required(&self, name: &'static str) -> Result<&str, TokenFault> {
        text(&self.0, name)?
            .filter(|text| !text.is_empty())
            .ok_or(TokenFault::Malformed { part: name })
    }

    /// A NumericDate (RFC 7519 §2), which may have a fraction; it is cut off.
    fn time(&self, name: &'static str) -> Result<Option<UnixTime>, TokenFault> {
        let malformed = || TokenFault::Malformed { part: name };
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        let seconds = match (value.as_i64(), value.as_f64()) {
            (Some(seconds), _) => seconds,
            (None, Some(seconds)) if seconds.abs() < MAX_SECONDS => {
                // Within the bound every whole number is exact, in text and in either type.
                format!("{:.0}", seconds.trunc())
                    .parse()
                    .map_err(|_odd| malformed())?
            }
            _ => return Err(malformed()),
        };
        (0..=MAX_DATE)
            .contains(&seconds)
            .then_some(Some(UnixTime::from_secs(seconds)))
            .ok_or_else(malformed)
    }
}

fn object(part: &str, name: &'static str) -> Result<Map<String, Value>, TokenFault> {
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_not_base64| TokenFault::Malformed { part: name })?;
    strict_json::object(&bytes).map_err(|error| match error {
        StrictJsonError::Malformed => TokenFault::Malformed { part: name },
        StrictJsonError::Duplicate => TokenFault::Duplicate { part: name },
    })
}

fn algorithm(header: &Map<String, Value>) -> Result<Algorithm, TokenFault> {
    if header.contains_key("crit") {
        return Err(TokenFault::Critical);
    }
    let name = text(header, "alg")?.ok_or(TokenFault::Malformed { part: "alg" })?;
    Algorithm::named(name).ok_or_else(|| TokenFault::Algorithm {
        found: clip(name, 32),
    })
}

fn text<'m>(
    map: &'m Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'m str>, TokenFault> {
    match map.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(TokenFault::Malformed { part: name }),
    }
}

/// As much of what a stranger wrote as goes into a record.
pub(crate) fn clip(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// 2^53: beyond it a float has no whole seconds.
const MAX_SECONDS: f64 = 9_007_199_254_740_992.0;
/// The year 9999, the last one of certificates (RFC 5280 §4.1.2.5).
const MAX_DATE: i64 = 253_402_300_799;

#[cfg(test)]
mod tests;
