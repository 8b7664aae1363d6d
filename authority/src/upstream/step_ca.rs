//! A step-ca over its HTTPS API: a one-time token of a JWK provisioner, then `POST /1.0/sign`.
//!
//! The provisioner's template must make a CA of what it signs, and step-ca's own intermediate must
//! have room for one below it; `docs/ca.md` has both.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::ca::next::CSR_LABEL;
use crate::ca::{CaCertificate, CaKey as _, FileKey, KeyAlgorithm, PassphraseSource, der};
use crate::crypto::{random_bytes, sha256};
use crate::serve::tls::provider;
use crate::upstream::{SignedIntermediate, SigningRequest, Upstream, UpstreamError, answer};

/// Where a step-ca is, and who we are to it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StepCaSettings {
    /// Its address, `https://host:port`.
    pub url: String,
    /// Root certificate that its TLS certificate must chain to (PEM); ours, mostly.
    pub root_file: PathBuf,
    /// Name of the JWK provisioner.
    pub provisioner: String,
    /// The provisioner's private key: ECDSA P-256, PEM, may be encrypted.
    pub key_file: PathBuf,
    /// Key id of the provisioner; the key's JWK thumbprint (RFC 7638) if not given.
    #[serde(default)]
    pub key_id: Option<String>,
    /// Opens the key file.
    #[serde(default)]
    pub key_passphrase_file: Option<PathBuf>,
}

/// A step-ca.
#[derive(Debug)]
pub(super) struct StepCa {
    settings: StepCaSettings,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignResponse {
    crt: String,
    #[serde(default)]
    cert_chain: Vec<String>,
}

impl StepCa {
    pub(super) const fn new(settings: StepCaSettings) -> Self {
        Self { settings }
    }

    async fn ask(&self, request: &SigningRequest) -> Result<SignedIntermediate, UpstreamError> {
        let target = Target::of(&self.settings.url)?;
        let token = self.token(request, &target)?;
        let body = json!({
            "csr": request.csr_pem,
            "ott": token,
            "notAfter": rfc3339(request.profile.not_after)?,
        });
        let exchange = self.post(&target, body.to_string());
        let bytes = tokio::time::timeout(LIMIT, exchange)
            .await
            .map_err(|_elapsed| {
                self.unreachable(format!("no answer within {} s", LIMIT.as_secs()))
            })??;
        let response: SignResponse =
            serde_json::from_slice(&bytes).map_err(|_json| UpstreamError::BadAnswer {
                problem: "it is not step-ca's JSON",
            })?;
        let mut text = response.crt;
        // The chain repeats the certificate.
        for pem in response.cert_chain.iter().skip(1) {
            text.push('\n');
            text.push_str(pem);
        }
        answer::parse(&text, request)
    }

    /// The one-time token: a JWT of the provisioner for this request alone.
    fn token(&self, request: &SigningRequest, target: &Target) -> Result<String, UpstreamError> {
        let key = self.key()?;
        let kid = match &self.settings.key_id {
            Some(kid) => kid.clone(),
            None => thumbprint(key.public_key()),
        };
        let now = request.now.as_secs();
        let id = random_bytes::<16>().map_err(crate::ca::CaError::from)?;
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": kid});
        let claims = json!({
            "aud": format!("https://{}/1.0/sign", target.authority),
            "iss": self.settings.provisioner,
            "sub": request.profile.common_name,
            "sans": [request.profile.trust_domain.id_string()],
            "iat": now,
            "nbf": now.saturating_sub(SKEW_SECONDS),
            "exp": now.saturating_add(TOKEN_SECONDS),
            "jti": hex::encode(id),
            // Only for this key, whoever else gets hold of the token.
            "cnf": {"x5rt#S256": csr_fingerprint(&request.csr_pem)},
        });
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", encode(&header), encode(&claims));
        let failed = |source| crate::ca::CaError::BadKey {
            path: self.settings.key_file.clone(),
            source,
        };
        let signature = key.sign_now(input.as_bytes()).map_err(failed)?;
        let raw = der::ecdsa_raw(&signature, 32).ok_or(UpstreamError::BadAnswer {
            problem: "the provisioner's key gives no ECDSA signature",
        })?;
        Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(raw)))
    }

    fn key(&self) -> Result<FileKey, UpstreamError> {
        let path = &self.settings.key_file;
        let setting = |problem: String| UpstreamError::Setting {
            setting: "the provisioner's key",
            problem,
        };
        let text = std::fs::read(path).map(zeroize::Zeroizing::new);
        let text = text.map_err(|source| UpstreamError::File {
            action: "read",
            path: path.clone(),
            source,
        })?;
        let source = self
            .settings
            .key_passphrase_file
            .clone()
            .map_or(PassphraseSource::None, PassphraseSource::File);
        let passphrase = source.get().map_err(|error| setting(error.to_string()))?;
        let key = FileKey::open(&text, passphrase.as_ref()).map_err(|source| {
            crate::ca::CaError::BadKey {
                path: path.clone(),
                source,
            }
        })?;
        if key.algorithm() == KeyAlgorithm::EcdsaP256 {
            Ok(key)
        } else {
            Err(setting(format!(
                "it is {}, expected ecdsa-p256",
                key.algorithm()
            )))
        }
    }

    async fn post(&self, target: &Target, body: String) -> Result<Bytes, UpstreamError> {
        let lost = |error: &dyn std::fmt::Display| self.unreachable(error.to_string());
        let socket = TcpStream::connect((target.host.as_str(), target.port))
            .await
            .map_err(|error| lost(&error))?;
        let name = ServerName::try_from(target.host.clone()).map_err(|error| lost(&error))?;
        let stream = TlsConnector::from(self.tls()?)
            .connect(name, socket)
            .await
            .map_err(|error| lost(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| lost(&error))?;
        // Ends with the sender.
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(Method::POST)
            .uri("/1.0/sign")
            .header(header::HOST, &target.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| lost(&error))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| lost(&error))?;
        let status = response.status();
        let bytes = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await
            .map_err(|error| lost(&error))?
            .to_bytes();
        driver.abort();
        if status == StatusCode::CREATED || status == StatusCode::OK {
            return Ok(bytes);
        }
        Err(UpstreamError::Refused {
            upstream: self.name(),
            status: status.as_u16(),
            message: shortened(&bytes),
        })
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, UpstreamError> {
        let setting = |problem: String| UpstreamError::Setting {
            setting: "step-ca's root",
            problem,
        };
        let mut roots = RootCertStore::empty();
        for certificate in CaCertificate::read_all(&self.settings.root_file)? {
            roots
                .add(CertificateDer::from(certificate.der().to_vec()))
                .map_err(|error| setting(error.to_string()))?;
        }
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| setting(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }

    fn unreachable(&self, problem: String) -> UpstreamError {
        UpstreamError::Unreachable {
            upstream: self.name(),
            problem,
        }
    }
}

impl Upstream for StepCa {
    fn name(&self) -> String {
        format!("step-ca at {}", self.settings.url)
    }

    fn sign<'a>(
        &'a self,
        request: &'a SigningRequest,
    ) -> BoxFuture<'a, Result<SignedIntermediate, UpstreamError>> {
        Box::pin(self.ask(request))
    }
}

/// Host and port of an `https` address.
struct Target {
    authority: String,
    host: String,
    port: u16,
}

impl Target {
    fn of(url: &str) -> Result<Self, UpstreamError> {
        let bad = |problem: &str| UpstreamError::Setting {
            setting: "step-ca's address",
            problem: format!("{url:?}: {problem}"),
        };
        let uri: Uri = url.parse().map_err(|_bad| bad("not an address"))?;
        if uri.scheme_str() != Some("https") {
            return Err(bad("expected https://host:port"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("expected no path"));
        }
        let authority = uri.authority().ok_or_else(|| bad("there is no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("expected no user in it"));
        }
        Ok(Self {
            authority: authority.as_str().to_owned(),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(443),
        })
    }
}

/// JWK thumbprint of an uncompressed P-256 point (RFC 7638 §3).
fn thumbprint(point: &[u8]) -> String {
    let (x, y) = point
        .get(1..)
        .unwrap_or_default()
        .split_at_checked(32)
        .unwrap_or_default();
    let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    URL_SAFE_NO_PAD.encode(sha256(canonical.as_bytes()))
}

/// SHA-256 of the request's DER, base64url, as step-ca's `cnf` has it.
fn csr_fingerprint(csr_pem: &str) -> String {
    let der = identity::pem::single(csr_pem, CSR_LABEL, csr_pem.len()).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(sha256(&der))
}

fn rfc3339(time: identity::UnixTime) -> Result<String, UpstreamError> {
    let bad = || crate::ca::CaError::BadDate { time };
    time::OffsetDateTime::from_unix_timestamp(time.as_secs())
        .ok()
        .and_then(|time| {
            time.format(&time::format_description::well_known::Rfc3339)
                .ok()
        })
        .ok_or_else(|| bad().into())
}

/// The first characters of a message from elsewhere, on one line.
fn shortened(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_MESSAGE_CHARACTERS)
        .collect()
}

/// For connecting, asking and reading the answer.
const LIMIT: Duration = Duration::from_secs(30);
/// Largest answer read.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// Longest message shown of an upstream.
const MAX_MESSAGE_CHARACTERS: usize = 300;
/// How long a token is good.
const TOKEN_SECONDS: i64 = 300;
/// How far step-ca's clock may be behind ours.
const SKEW_SECONDS: i64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_https_and_nothing_else() {
        for (url, host, port) in [
            ("https://ca.example.org:9000", "ca.example.org", 9000),
            ("https://ca.example.org/", "ca.example.org", 443),
            ("https://[::1]:9000", "::1", 9000),
        ] {
            let target = Target::of(url).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!((target.host.as_str(), target.port), (host, port));
        }
        for url in [
            "",
            "ca",
            "http://ca",
            "https://ca/x",
            "https://a@ca",
            "https://ca?x=1",
        ] {
            assert!(
                matches!(Target::of(url), Err(UpstreamError::Setting { .. })),
                "{url}"
            );
        }
    }

    #[test]
    fn what_others_say_is_shortened_and_on_one_line() {
        let text = shortened(&[b"a\nb\x1b[31m", [b'x'; 1000].as_slice()].concat());
        assert_eq!(text.chars().count(), MAX_MESSAGE_CHARACTERS);
        assert!(text.starts_with("a b [31m"));
    }
}
